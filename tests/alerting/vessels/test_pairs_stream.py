"""Encounters and carried beacons under streams of any kind, however they are cut; encounters by a plain oracle, too."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import shapely
from hypothesis import event, given, settings
from hypothesis import strategies as st

from geofence import apart
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
    if rows and draw(st.sampled_from([False, True])):  # one is offline for a while, and what it kept comes at once
        ship, since = draw(st.sampled_from([A, B, V])), draw(st.integers(0, len(rows) - 1))
        until = draw(st.integers(since, len(rows) - 1))
        kept = [
            replace(row, received=rows[until].received) for row in rows[since : until + 1] if row.transponder == ship
        ]
        others = [row for row in rows[since : until + 1] if row.transponder != ship]
        rows[since : until + 1] = others + kept
    return rows


def far(a: tuple[float, float], b: tuple[float, float]) -> float:
    """Metres between two places, by the spherical law of cosines in unit vectors."""
    units = [np.array([np.cos(y) * np.cos(x), np.cos(y) * np.sin(x), np.sin(y)]) for x, y in np.radians([a, b])]
    return float(2 * np.arcsin(np.linalg.norm(units[0] - units[1]) / 2) * 6_371_008.8)


class Oracle:
    """Every vessel with every other at every step, and nothing thinned but by the steps."""

    def __init__(self, rule: EncounterRule) -> None:
        self.rule = rule
        self.told: list[Told] = []
        self.last: dict[int, Row] = {}
        self.places: dict[int, dict[int, tuple[float, float, int]]] = {}
        self.end_of: dict[int, Row] = {}
        self.left: dict[int, int] = {}
        self.pairs: dict[tuple[int, int], dict[str, Any]] = {}
        self.groups: list[dict[str, Any]] = []

    def end(self, key: tuple[int, int], at: int) -> None:
        del self.pairs[key]
        for group in self.groups:
            if set(key) <= group["members"]:
                alone = [x for x in key if not any(x in k and set(k) <= group["members"] for k in self.pairs)]
                group["members"] -= set(alone)
                if not group["members"]:
                    self.say(group, "resolved", at)
        self.groups = [group for group in self.groups if group["members"]]

    def say(self, group: dict[str, Any], what: str, at: int) -> None:
        a, b = group["key"]
        group["at"] = max(group["at"], at)
        self.told.append((self.rule.id, "transponder", a, str(b), what, group["at"], group["since"], "warning"))

    def tick(self, now: int) -> None:
        for ship in [s for s, row in self.end_of.items() if row.received + self.rule.max_gap < now]:
            self.places.pop(ship)
            self.end_of.pop(ship)
            self.left.pop(ship, None)
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
            if ship in self.places:
                self.left.setdefault(ship, row.time)
                self.settle(ship)
            else:
                for key in sorted(k for k in self.pairs if ship in k):
                    self.end(key, row.time)
            return
        self.left.pop(ship, None)
        self.end_of[ship] = row
        known = self.places.setdefault(ship, {})
        for step in range(before.time // STEP + 1, row.time // STEP + 1):
            if row.time // STEP - step > self.rule.max_gap // STEP:
                continue
            share = (step * STEP - before.time) / (row.time - before.time)
            lon, lat = before.lon + share * (row.lon - before.lon), before.lat + share * (row.lat - before.lat)
            known[step] = lon, lat, row.time - before.time
            self.compare(row, step)
        for step in [step for step in known if row.time // STEP - step > self.rule.max_gap // STEP]:
            del known[step]
        self.settle(ship)

    def suits(self, before: Row, row: Row) -> bool:
        if self.rule.scope.matches(row.transponder, None) is False:
            return False
        away = far((before.lon, before.lat), (row.lon, row.lat))
        hours = (row.time - before.time) / HOUR
        if hours > 12 or (away > 2000 and away / 1852 / hours > 60):
            return False
        if self.rule.ports and row.lon < 107.19:  # 10 km are 0.0938 degrees here
            return False
        since = before if row.transponder in self.left else self.end_of.get(row.transponder, before)
        speed = row.sog
        if row.time - since.time >= 5 * MINUTE or speed is None:
            speed = far((since.lon, since.lat), (row.lon, row.lat)) / 1852 / ((row.time - since.time) / HOUR)
            if row.sog is not None and row.time - since.time >= 30 * MINUTE:
                speed = max(speed, row.sog)
        return speed < self.rule.max_speed

    def settle(self, ship: int) -> None:
        """Pairs of which one has left are over once the other is known as far, or has left too."""
        for key in sorted(k for k in self.pairs if ship in k):
            gone = [x for x in key if x in self.left]
            there = [x for x in key if x in self.places and x not in self.left]
            if gone and not (there and max(self.places[there[0]]) < max(self.places[gone[0]])):
                self.end(key, max(self.pairs[key]["last"], min(self.left[x] for x in gone)))

    def compare(self, row: Row, step: int) -> None:
        ship, time = row.transponder, step * STEP
        here = self.places[ship][step]
        beside = {other: places[step] for other, places in self.places.items() if other != ship and step in places}
        away = {other: far(here[:2], place[:2]) for other, place in beside.items()}
        for key in sorted(k for k in self.pairs if ship in k):
            other, pair = sum(key) - ship, self.pairs[key]
            if other not in beside:
                continue
            if time - pair["last"] > self.rule.max_gap or away[other] > self.rule.distance:
                self.end(key, time)
                continue
            taken = max(pair["taken"], here[2], beside[other][2])
            pair |= {"last": time, "received": row.received, "n": pair["n"] + 1, "taken": taken}
            self.grown(key, pair)
        for other in sorted(beside, key=lambda other: (away[other], other)):
            key = (min(ship, other), max(ship, other))
            alike = self.rule.mixed or (other > 2**62) == (ship > 2**62)
            if alike and key not in self.pairs and away[other] <= self.rule.distance:
                taken = max(here[2], beside[other][2])
                self.pairs[key] = {"since": time, "last": time, "received": row.received, "n": 1, "taken": taken}

    def grown(self, key: tuple[int, int], pair: dict[str, Any]) -> None:
        groups = [group for group in self.groups if group["members"] & set(key)]
        if any(set(key) <= group["members"] for group in groups) or len(groups) > 1:
            return
        half_unseen = pair["taken"] // 2 if pair["taken"] >= 30 * MINUTE else 0
        wanted = max(self.rule.for_ - half_unseen, self.rule.for_ // 2)
        if pair["last"] - pair["since"] < wanted or pair["n"] < self.rule.min_fixes:
            return
        if not all(self.rule.scope.matches(name, None) for name in key):
            return
        if groups:
            groups[0]["members"] |= set(key)
            self.say(groups[0], "revised", pair["last"])
            return
        if any(group["key"] == key for group in self.groups):
            return
        grouped = {x for group in self.groups for x in group["members"]}
        members, grows = set(key), True
        while grows:
            more = {
                x
                for k, p in self.pairs.items()
                if set(k) & members and p["last"] - p["since"] >= self.rule.for_ // 2
                for x in k
            }
            grows = not more - grouped <= members
            members |= more - grouped
        group = {"key": key, "members": members, "since": pair["since"], "at": pair["last"]}
        self.groups.append(group)
        self.say(group, "firing", pair["last"])


CUTS = st.lists(st.tuples(st.integers(0, 40), st.floats(0, 1)), max_size=6)


@settings(max_examples=150)
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

    with pytest.MonkeyPatch.context() as patch:
        # The oracle knows of no two vessels under one identity (``test_apart.py``).
        patch.setattr(apart, "LEAST", 2**62)
        assert sorted(told(run(rows, [chosen], end, zones=ZONES).transitions)) == sorted(oracle.told)
    whole = run(rows, [chosen], end, zones=ZONES)
    assert_same(whole, run(rows, [chosen], end, zones=ZONES, cuts=cuts))
    assert_same(whole, run(rows, [chosen], end, zones=ZONES, cuts=cuts, restart=True))


@settings(max_examples=80)
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
