"""After reviews the alerts that follow are those of rows that were never late: by the command, for several kinds."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from tests.ingest.command import done, rows

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from services.postgres import Postgres

START = datetime(2026, 10, 5, tzinfo=UTC)
_HEAD = """
[[rule]]
id = "{0}"
kind = "{0}"
title = {{ en = "T", vi = "T" }}
severity = "major"
metric = "water_level"
unit = "m"
source = "a test"
"""
_KINDS = {
    "threshold": "raise = 2.0\nclear = 0.5",
    "window": 'aggregate = "mean"\nover = "1h"\nmin_samples = 3\nmin_coverage = 0.25\nraise = 1.7\nclear = 1.2',
    "rate": 'over = "1h"\nper = "1h"\nchange = "rising"\nraise = 0.7\nclear = -0.7',
    "range": "high = 2.2\nmargin = 1.8",
}
#: Of what lasts, by which rules; and all that began in the second half, whatever stands for what lasted then.
_LASTING = "SELECT DISTINCT rule_id FROM alerts WHERE state = 'firing' ORDER BY 1"
_SINCE = f"""
SELECT id::text, rule_id, state, severity, started_at, resolved_at, retracted FROM alerts
WHERE started_at >= '{(START + timedelta(hours=9)).isoformat()}' ORDER BY rule_id, started_at
"""


def levels(seed: int) -> list[tuple[int, float]]:
    """Minutes and metres: 14 hours in which the water is seldom so high or so low that rules change their minds."""
    chance = random.Random(seed)
    return [(m, chance.choice([1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 2.5, 0.3])) for m in range(0, 14 * 60, 10)]


def write(file: Path, sent: Iterable[tuple[int, float, float]]) -> Path:
    """A recording of (minute made, minute received, metres)."""
    with file.open("w") as out:
        for made, received, level in sorted(sent, key=lambda one: one[1]):
            said = {"time": (START + timedelta(minutes=made)).isoformat(), "readings": {"water_level": level}}
            heard = (START + timedelta(minutes=received)).isoformat()
            line = {"received_at": heard, "topic": "haidang/v1/gw/gauge/readings", "payload": json.dumps(said)}
            out.write(json.dumps(line) + "\n")
    return file


@pytest.mark.parametrize("seed", [6, 7, 9])  # in each, what goes on differs unless the engine goes on from the review
def test_what_follows_a_review_is_what_follows_rows_that_were_never_late(
    seed: int, migrated: str, timescale: Postgres, timescale_template: str, tmp_path: Path
) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text("".join(_HEAD.format(kind) + said + "\n" for kind, said in _KINDS.items()))
    sent, chance = levels(seed), random.Random(seed)
    late = [
        (m, m + (chance.choice([0, 25, 55]) if level in {2.5, 0.3} else 0) + m % 7 / 60, level) for m, level in sent
    ]
    late = [one for one in late if one[0] < 8 * 60]
    rest = [(m, m, level) for m, level in sent if m >= 9 * 60]
    first, second = write(tmp_path / "late.jsonl", late), write(tmp_path / "rest.jsonl", rest)
    whole = write(tmp_path / "whole.jsonl", [*((m, m, level) for m, _, level in late), *rest])
    for file in (first, second):
        done("replay", file, "--dsn", migrated, "--rules", rules)
    assert rows(migrated, "SELECT count(*) FROM rule_reviews") != [(0,)]
    true = timescale.create_database("never_late", timescale_template)
    try:
        done("replay", whole, "--dsn", true, "--rules", rules)
        assert rows(migrated, _SINCE) == rows(true, _SINCE)
        assert rows(migrated, _LASTING) == rows(true, _LASTING)
    finally:
        timescale.drop_database("never_late")
