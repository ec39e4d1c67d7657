"""Encounters and carried beacons under streams of any kind, however they are cut; encounters by a plain oracle, too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from hypothesis import event, given, settings
from hypothesis import strategies as st

from geofence.zones import Zone
from tests.alerting.vessels.streams import HOUR, MINUTE, START, Row, Told, assert_same, rule, run, told, vms

if TYPE_CHECKING:
    from alerting.rules.vessels import EncounterRule

A, B, C, V, W = 574_000_001, 574_000_002, 416_000_003, vms(1), vms(2)
ZONES = [Zone("port", "P", "P", "port", shapely.box(107.0, 16.45, 107.1, 16.55))]
STEP = 10 * MINUTE

PLAIN = rule(id="encounter", kind="encounter", ports=["port"])
SOON = rule(
    id="soon",
    kind="encounter",
    min_fixes=2,
    mixed=True,
    max_gap="3h",
    scope={"flags": [574], "vms": True},
    **{"for": "20m"},
)
CARRIED = rule(id="carried", kind="carried_beacons", path=2000.0, **{"for": "30m"}, min_fixes=2, mixed=True)


@st.composite
def streams(draw: st.DrawFn) -> list[Row]:
    """Vessels at places close to each other or not, at sea or in port, some moving together."""
    received, rows = START, []
    way = draw(st.sampled_from(["any", "moving", "together", "together"]))
    for _ in range(draw(st.integers(0, 40))):
        received += draw(st.sampled_from([1, 2, 4, 4, 11, 11, 25, 130])) * MINUTE
        time = received - draw(st.sampled_from([0, 0, 0, 0, 5])) * MINUTE
        ship = draw(st.sampled_from([A, A, B, B, C, V, W]))
        lon = draw(st.sampled_from([107.6, 107.6, 107.601, 107.604, 107.63, 107.12, 108.0]))
        if way == "together":
            lon = draw(st.sampled_from([107.6] * 12 + [107.601, 107.602, 107.7]))
            ship = draw(st.sampled_from([A, B, B, V, W]))
        if way == "moving":
            lon = 107.6 + (time - START) / HOUR * 0.1 + draw(st.sampled_from([0, 0, 0, 0.0005, 0.02]))
        sog = draw(st.sampled_from([None, 0.1, 0.5, 1.9, 6.0])) if way != "together" else 0.2
        rows.append(Row("position", time, received, ship, lon, 16.5, sog=sog))
    return rows


def far(a: tuple[float, float], b: tuple[float, float]) -> float:
    """Metres between two places, by the spherical law of cosines in unit vectors."""
    units = [np.array([np.cos(y) * np.cos(x), np.cos(y) * np.sin(x), np.sin(y)]) for x, y in np.radians([a, b])]
    return float(2 * np.arcsin(np.linalg.norm(units[0] - units[1]) / 2) * 6_371_008.8)


class Oracle:
    """Every vessel with every other, and nothing thinned but by the steps."""

    def __init__(self, rule: EncounterRule) -> None:
        self.rule = rule
        self.told: list[Told] = []
        self.last: dict[int, Row] = {}
        self.knots: dict[int, tuple[Row, Row]] = {}
        self.pairs: dict[tuple[int, int], dict[str, Any]] = {}

    def end(self, key: tuple[int, int], at: int) -> None:
        pair = self.pairs.pop(key)
        if pair["at"] is not None:
            self.say(key, "resolved", max(at, pair["at"]), pair["since"])

    def say(self, key: tuple[int, int], what: str, at: int, since: int) -> None:
        self.told.append((self.rule.id, "transponder", key[0], str(key[1]), what, at, since, "warning"))

    def tick(self, now: int) -> None:
        for _, key in sorted((pair["received"], key) for key, pair in self.pairs.items()):
            if self.pairs[key]["received"] + self.rule.max_gap < now:
                self.end(key, self.pairs[key]["last"] + self.rule.max_gap)

    def feed(self, row: Row) -> None:
        self.tick(row.received)
        ship, before = row.transponder, self.last.get(row.transponder)
        if before is not None and row.time <= before.time:
            return
        self.last[ship] = row
        if before is None or before.time // STEP == row.time // STEP:
            return
        if not self.suits(before, row):
            for key in sorted(k for k in self.pairs if ship in k):
                self.end(key, row.time)
            self.knots.pop(ship, None)
            return
        for other in sorted(self.knots):
            if other != ship and (self.rule.mixed or (other > 2**62) == (ship > 2**62)):
                self.compare(row, before, other)
        self.knots[ship] = (before, row)

    def suits(self, before: Row, row: Row) -> bool:
        if self.rule.scope.matches(row.transponder, None) is False:
            return False
        away = far((before.lon, before.lat), (row.lon, row.lat))
        hours = (row.time - before.time) / HOUR
        if hours > 12 or (away > 2000 and away / 1852 / hours > 60):
            return False
        if self.rule.ports and row.lon < 107.19:  # 10 km are 0.0938 degrees here
            return False
        since = self.knots[row.transponder][1] if row.transponder in self.knots else before
        speed = row.sog
        if row.time - since.time >= 5 * MINUTE or speed is None:
            speed = far((since.lon, since.lat), (row.lon, row.lat)) / 1852 / ((row.time - since.time) / HOUR)
        return speed < self.rule.max_speed

    def place(self, knot: tuple[Row, Row], time: int) -> tuple[float, float]:
        a, b = knot
        share = (time - a.time) / (b.time - a.time)
        return a.lon + share * (b.lon - a.lon), a.lat + share * (b.lat - a.lat)

    def compare(self, row: Row, before: Row, other: int) -> None:
        key = (min(row.transponder, other), max(row.transponder, other))
        mine, beside, pair = (before, row), self.knots[other], self.pairs.get(key)
        time = min(row.time, beside[1].time) // STEP * STEP
        if time <= max(before.time, beside[0].time) or (pair and time <= pair["last"]):
            return
        if pair and time - pair["last"] > self.rule.max_gap:
            self.end(key, time)
            pair = None
        if far(self.place(mine, time), self.place(beside, time)) > self.rule.distance:
            if pair:
                self.end(key, time)
            return
        if pair is None:
            pair = self.pairs[key] = {"since": time, "n": 0, "at": None}
        pair |= {"last": time, "received": row.received, "n": pair["n"] + 1}
        scope = all(self.rule.scope.matches(name, None) for name in key)
        ripe = time - pair["since"] >= self.rule.for_ and pair["n"] >= self.rule.min_fixes
        if pair["at"] is None and ripe and scope:
            pair["at"] = time
            self.say(key, "firing", time, pair["since"])


CUTS = st.lists(st.tuples(st.integers(0, 40), st.floats(0, 1)), max_size=6)


@settings(max_examples=300, deadline=None)
@given(streams(), CUTS, st.sampled_from([0, 45, 2000]), st.sampled_from([PLAIN, SOON]))
def test_encounters_do_not_hang_on_batches_or_restarts_and_agree_with_the_oracle(
    rows: list[Row], cuts: list[tuple[int, float]], rest: int, chosen: EncounterRule
) -> None:
    end = (rows[-1].received if rows else START) + rest * MINUTE
    oracle = Oracle(chosen)
    for row in rows:
        oracle.feed(row)
    oracle.tick(end)
    for rule_id, _, _, _, what, *_ in oracle.told:
        event(f"{rule_id} {what}")

    whole = run(rows, [chosen], end, zones=ZONES)
    assert sorted(told(whole.transitions)) == sorted(oracle.told)
    assert_same(whole, run(rows, [chosen], end, zones=ZONES, cuts=cuts))
    assert_same(whole, run(rows, [chosen], end, zones=ZONES, cuts=cuts, restart=True))


@settings(max_examples=150, deadline=None)
@given(streams(), CUTS, st.sampled_from([0, 45, 2000]))
def test_carried_beacons_do_not_hang_on_batches_or_restarts(
    rows: list[Row], cuts: list[tuple[int, float]], rest: int
) -> None:
    end = (rows[-1].received if rows else START) + rest * MINUTE
    whole = run(rows, [CARRIED], end, zones=ZONES)
    for transition in whole.transitions:
        event(f"{transition.event.value} {len(transition.details['vessels'])}")
    assert_same(whole, run(rows, [CARRIED], end, zones=ZONES, cuts=cuts))
    assert_same(whole, run(rows, [CARRIED], end, zones=ZONES, cuts=cuts, restart=True))
