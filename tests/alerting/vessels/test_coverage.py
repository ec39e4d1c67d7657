"""Who sails out of what we hear is not missed, who falls silent within it is: learned from boats that come and go."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from alerting.model import Event
from simulators.kinematics import rhumb, sail
from tests.alerting.vessels.streams import HOUR, MINUTE, START, Row, rule, run

if TYPE_CHECKING:
    from simulators.kinematics import Place

TOWER: Place = (107.63, 16.57)
RANGE_M = 30 * 1852.0
GAP = rule(id="gap", kind="gap", after="5h", known_for="30m", ports=[], min_probability=0.5)


def trip(number: int, start: float, *, out_m: float, stops_at: float | None = None) -> list[Row]:
    """Out at some speed and course, some hours there, and back, every five minutes; as far as the tower hears.

    ``stops_at``: metres from the tower at which it stops sending for good.
    """
    rng, rows, minute = Random(number), [], 0.0
    course, knots, stays = rng.uniform(10, 80), rng.uniform(6, 9), rng.uniform(6, 8) * 60
    way = out_m / (knots * 1852 / 60)
    while minute < 2 * way + stays:
        back = minute > way + stays
        away = min(out_m, minute * knots * 1852 / 60, max(0.0, (2 * way + stays - minute) * knots * 1852 / 60))
        lon, lat = sail(TOWER, course + 5 * rng.uniform(-1, 1), away)
        if stops_at is not None and away >= stops_at:
            break
        part = rhumb(TOWER, (lon, lat))[1] / RANGE_M
        if part < 1 and rng.random() > part**6:
            still = way <= minute <= way + stays
            at = START + round((start * 60 + minute) * MINUTE)
            cog = None if still else (course + 180 * back) % 360
            rows.append(Row("position", at, at, 574_000_000 + number, lon, lat, 0.5 if still else knots, cog))
        minute += 5 + rng.uniform(-1, 1)
    return rows


def lost(rows: list[Row], hours: float) -> set[int]:
    rows.sort(key=lambda row: row.received)
    found = run(rows, [GAP], START + round(hours * HOUR)).transitions
    return {t.subject.id - 574_000_000 for t in found if t.event is Event.FIRING}


def test_who_sails_out_of_range_is_not_missed_and_who_falls_silent_within_it_is() -> None:
    rows = [row for n in range(60) for row in trip(n, n % 7, out_m=20 * 1852 + n % 6 * 3704)]
    rows += [row for n in range(100, 140) for row in trip(n, 40 + n % 5, out_m=60 * 1852.0)]
    rows += [
        row for n in range(200, 220) for row in trip(n, 40 + n % 5, out_m=60 * 1852.0, stops_at=9000 + 850 * (n - 200))
    ]
    found = lost(rows, 80)
    honest, silent = {n for n in found if 100 <= n < 200}, {n for n in found if n >= 200}
    # By the cell of the last fix, without looking ahead, nearly all of the honest ones were missed, too.
    assert len(honest) <= 6
    assert len(silent) == 20


def test_boats_at_anchor_do_not_say_how_well_they_are_heard() -> None:
    """Heard once an hour where boats that pass are heard always: what is learned is of those."""
    rng, place = Random(1), sail(TOWER, 45.0, 40_000.0)
    rows: list[Row] = []
    for n in range(30):
        hours = [hour for hour in range(30) if rng.random() < 0.9]
        rows += [Row("position", (at := START + hour * HOUR + n), at, 574_000_500 + n, *place, 0.0) for hour in hours]
    lonely = run(sorted(rows, key=lambda row: row.received), [GAP], START + 40 * HOUR).transitions
    assert {t.details["probability_heard"] for t in lonely} == {None}
