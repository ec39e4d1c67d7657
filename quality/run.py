"""A scenario end to end: recorded as on the wire, put in a database by ``haidang replay``, and read back."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from psycopg import connect

from alerting.model import Severity
from quality.scenario import Told, recording
from quality.score import by_kind

if TYPE_CHECKING:
    from quality.scenario import Scenario
    from quality.score import Score

#: The rules that scenarios are judged by, and the zones they speak of.
RULES = (Path(__file__).with_name("rules.toml"), Path(__file__).with_name("zones.geojson"))

_ALERTS = """
SELECT a.rule_id, a.subject_name, extract(epoch FROM a.started_at) * 1000000,
    extract(epoch FROM a.fired_at) * 1000000, a.retracted,
    array_remove(array_agg(h.details->>'severity') || array_agg(h.details->>'from_severity') || a.severity, NULL)
FROM alerts AS a JOIN alert_history AS h ON h.alert_id = a.id
GROUP BY a.id
"""


class Failed(Exception):  # noqa: N818  # named for what is known
    """The program refused a scenario."""


def run(scenario: Scenario, dsn: str, folder: Path) -> dict[str, Score]:
    """Judge a scenario in an empty database; the score of each kind of rule.

    Raises:
        Failed: the program refused it.
    """
    if scenario.places:
        places = folder / f"{scenario.name}.csv"
        rows = [(*name.split("/"), lon, lat) for name, (lon, lat) in scenario.places.items()]
        with places.open("w", newline="") as out:
            csv.writer(out).writerows([("gateway", "device", "lon", "lat"), *rows])
        _haidang(scenario, "devices", "import", places, "--dsn", dsn)
        places.unlink()
    file = folder / f"{scenario.name}.jsonl"
    with file.open("wb") as recorded:
        recorded.writelines(recording(scenario.events()))
    rules = [argument for rules in RULES for argument in ("--rules", rules)]
    _haidang(scenario, "replay", file, "--dsn", dsn, "--format", "mqtt", *rules, "--json")
    file.unlink()
    return by_kind(scenario.expected, alerts(dsn))


def _haidang(scenario: Scenario, *arguments: object) -> None:
    done = subprocess.run(  # noqa: S603  # our own program
        [sys.executable, "-m", "ingest.cli", *map(str, arguments)], check=False, capture_output=True, text=True
    )
    if done.returncode:
        raise Failed(f"{scenario.name}: {done.stderr.strip() or done.stdout.strip()}")


def alerts(dsn: str) -> list[Told]:
    """What was told."""
    with connect(dsn) as connection:
        return [
            Told(rule, subject, int(started), int(fired), max(severities, key=_rank), retracted)
            for rule, subject, started, fired, retracted, severities in connection.execute(_ALERTS).fetchall()
        ]


def _rank(severity: str) -> int:
    return Severity(severity).rank
