"""Each alert of a scenario comes out again: of a backtest over the stored rows, and of its evidence file alone."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from quality.run import RULES, run
from quality.scenarios import scenarios
from tests.ingest.command import done, rows

if TYPE_CHECKING:
    from pathlib import Path

    from quality.scenario import Scenario

#: Of the kinds of rules those that judge in ways of their own.
NAMES = (
    *("gap-vms-noisy", "encounter-ais-noisy", "identity_clash-ais-noisy", "distress-ais-noisy", "jump-ais-noisy"),
    *("carried_beacons-ais-noisy", "fishing-ais-noisy", "zone-edge-ais-noisy", "silent-gauge-noisy"),
    "stuck-probe-noisy",
)
SCENARIOS = [one for one in scenarios(seed=1) if one.name in NAMES]
_FIRST = """
SELECT to_char(least((SELECT min(received_at) FROM positions), (SELECT min(received_at) FROM readings))
    AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
"""
_LIVE = """
SELECT id::text, rule_id, severity, date_trunc('second', known_at), date_trunc('second', resolved_at)
FROM alerts WHERE id NOT IN (
    SELECT alert_id FROM alert_history WHERE details->>'reason' IN ('late_data', 'delivered_late'))
ORDER BY 1
"""


def test_there_is_a_scenario_of_every_name() -> None:
    assert sorted(one.name for one in SCENARIOS) == sorted(NAMES)


@pytest.mark.parametrize("scenario", [pytest.param(one, id=one.name) for one in SCENARIOS])
def test_the_alerts_of_a_scenario_come_out_again(scenario: Scenario, migrated: str, tmp_path: Path) -> None:
    run(scenario, migrated, tmp_path)
    live = rows(migrated, _LIVE)
    assert live
    since = str(rows(migrated, _FIRST)[0][0])
    tested: dict[str, Any] = done("rules", "backtest", *RULES, "--dsn", migrated, "--from", since, "--json").only
    again = {
        alert["id"]: (alert["rule"], alert["severity"], _time(alert["known_at"]), _time(alert["ended_at"]))
        for alert in tested["alerts"]
    }
    assert {id_: again.get(id_) for id_, *_ in live} == {id_: tuple(rest) for id_, *rest in live}
    for id_, rule, *_ in live:
        out = tmp_path / f"{rule}-{id_}.zip"
        done("alerts", "evidence", id_, "--dsn", migrated, "-o", out)
        done("alerts", "verify", out)


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
