"""Jumps and identity clashes under streams of any kind: the same however they are cut, and as a plain oracle says."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from alerting.rules.vessels import IdentityClashRule, JumpRule
from tests.alerting.vessels.streams import HOUR, MINUTE, START, Row, Told, assert_same, rule, run, told, vms

if TYPE_CHECKING:
    from alerting.rules import Rule

SHIPS = (574_000_001, vms(1))
RULES = [
    rule(id="jump", kind="jump", resolve_after="90m"),
    rule(id="jump-fishing", kind="jump", settle="0s", max_speed=20.0, scope={"ship_types": [30]}),
    rule(id="clash", kind="identity_clash"),
    rule(id="clash-soon", kind="identity_clash", min_fixes=2, over_after="40m", min_distance=20_000.0),
]


def far(x: float, y: float) -> float:
    """Metres between two longitudes at 16 degrees north, by the spherical law of cosines."""
    lat, east = np.radians(16.0), np.radians(abs(x - y))
    return float(np.arccos(min(1.0, np.sin(lat) ** 2 + np.cos(lat) ** 2 * np.cos(east))) * 6_371_008.8)


@st.composite
def streams(draw: st.DrawFn) -> list[Row]:
    """Vessels at and around a few places that lie too far apart to go to and fro between."""
    received, rows = START, []
    for _ in range(draw(st.integers(0, 30))):
        received += draw(st.sampled_from([1, 1, 2, 3, 12, 50, 130, 400])) * MINUTE
        time = received - draw(st.sampled_from([0, 0, 0, 3])) * MINUTE
        ship = draw(st.sampled_from(SHIPS))
        if draw(st.integers(0, 7)) == 0:
            rows.append(Row("static", time, received, ship, said=draw(st.sampled_from([30, 70]))))
        else:
            lon = draw(st.sampled_from([107.0, 107.0, 107.005, 107.05, 108.0, 108.0, 108.01, 110.0]))
            rows.append(Row("position", time, received, ship, lon, 16.0))
    return rows


class Oracle:
    def __init__(self, rules: list[Rule]) -> None:
        self.rules = rules
        self.told: list[Told] = []
        self.last: dict[int, Row] = {}
        self.types: dict[int, tuple[int, int]] = {}
        self.parted: dict[tuple[int, int], dict[str, Any]] = {}
        self.alerts: dict[tuple[int, int], dict[str, Any]] = {}

    def tell(self, n: int, ship: int, what: str, at: int) -> Told:
        alert = self.alerts[n, ship]
        alert["at"] = max(at, alert["at"])
        return (self.rules[n].id, "transponder", ship, "", what, alert["at"], alert["start"], "warning")

    def tick(self, now: int) -> None:
        found = []
        for (n, ship), alert in list(self.alerts.items()):
            r = self.rules[n]
            assert isinstance(r, JumpRule | IdentityClashRule)
            wait = r.resolve_after if isinstance(r, JumpRule) else r.over_after
            if alert["received"] + wait < now:
                found.append(
                    ((alert["received"] + wait, ship, n), self.tell(n, ship, "resolved", alert["time"] + wait))
                )
                del self.alerts[n, ship]
                if isinstance(r, IdentityClashRule):
                    del self.parted[n, ship]
        self.told += [t for _, t in sorted(found)]

    def feed(self, row: Row) -> None:
        self.tick(row.received)
        if row.kind == "static":
            if row.transponder not in self.types or row.time >= self.types[row.transponder][0]:
                self.types[row.transponder] = (row.time, row.said)
            return
        before = self.last.get(row.transponder)
        if before is not None and row.time <= before.time:
            return
        self.last[row.transponder] = row
        for n, r in enumerate(self.rules):
            assert isinstance(r, JumpRule | IdentityClashRule)
            key = (n, row.transponder)
            if key in self.parted:
                if isinstance(r, JumpRule):
                    self.jump(key, r, row)
                else:
                    self.clash(key, r, row)
            elif before is not None and not self.near(r, (before.time, before.lon), row):
                old = {"time": before.time, "lon": before.lon, "n": 0}
                self.parted[key] = {
                    "start": row.time,
                    "old": old,
                    "new": self.begun(row),
                    "both": False,
                    "way": ["new"],
                }

    def begun(self, row: Row) -> dict[str, Any]:
        return {"time": row.time, "lon": row.lon, "n": 1}

    def near(self, r: JumpRule | IdentityClashRule, place: tuple[int, float], row: Row) -> bool:
        hours = (row.time - place[0]) / HOUR
        return far(place[1], row.lon) <= max(r.min_distance, r.max_speed * 1852 * hours)

    def belongs(self, r: JumpRule | IdentityClashRule, parted: dict[str, Any], row: Row) -> str | None:
        ways = {x: (parted[x]["time"], parted[x]["lon"]) for x in ("old", "new")}
        able = [x for x, place in ways.items() if self.near(r, place, row)]
        if able:
            return min(able, key=lambda x: (far(ways[x][1], row.lon), x == "new"))
        if parted["new"]["n"] == 1:
            parted["new"], parted["start"] = self.begun(row), row.time
        return None

    def add(self, side: dict[str, Any], row: Row) -> None:
        side["time"], side["lon"], side["n"] = row.time, row.lon, side["n"] + 1

    def scope(self, n: int, ship: int) -> bool:
        r = self.rules[n]
        assert isinstance(r, JumpRule | IdentityClashRule)
        return bool(r.scope.matches(ship, self.types.get(ship, (0, None))[1]))

    def jump(self, key: tuple[int, int], r: JumpRule, row: Row) -> None:
        parted = self.parted[key]
        side = self.belongs(r, parted, row)
        gone = parted["both"] and row.time - min(parted["old"]["time"], parted["new"]["time"]) > 6 * HOUR
        if gone or (side == "old" and parted["new"]["n"] == 1):
            del self.parted[key]
        elif side == "old":
            parted["both"] = True
            self.add(parted["old"], row)
        elif side == "new":
            self.add(parted["new"], row)
            if parted["both"] or row.time < parted["start"] + r.settle:
                return
            del self.parted[key]
            if key in self.alerts:
                self.alerts[key] |= {"received": row.received, "time": row.time}
            elif self.scope(*key):
                self.alerts[key] = {"start": parted["start"], "at": 0, "received": row.received, "time": row.time}
                self.told.append(self.tell(*key, "firing", row.time))

    def clash(self, key: tuple[int, int], r: IdentityClashRule, row: Row) -> None:
        parted = self.parted[key]
        side = self.belongs(r, parted, row)
        anew = side == "new" and key not in self.alerts and key[1] < 2**62
        if anew and row.time - parted["new"]["time"] > 30 * MINUTE:
            parted |= {"start": row.time, "way": [parted["way"][-1]]}
            parted["new"]["n"] = 0
        if side is not None:
            parted["way"].append(side)
            self.add(parted[side], row)
        if key in self.alerts and side is not None:
            self.alerts[key] |= {"received": row.received, "time": row.time}
        if row.time - min(parted["old"]["time"], parted["new"]["time"]) > r.over_after:
            del self.parted[key]
            if key in self.alerts:
                self.told.append(self.tell(*key, "resolved", row.time))
                del self.alerts[key]
        elif key not in self.alerts and min(parted["old"]["n"], parted["new"]["n"]) >= r.min_fixes and self.scope(*key):
            if sum(x != y for x, y in pairwise(parted["way"])) < 3:
                return
            self.alerts[key] = {"start": parted["start"], "at": 0, "received": row.received, "time": row.time}
            self.told.append(self.tell(*key, "firing", row.time))


@settings(max_examples=150)
@given(
    streams(),
    st.lists(st.tuples(st.integers(0, 30), st.floats(0, 1)), max_size=6),
    st.sampled_from([0, 45, 2000]),
    st.sampled_from([[0, 1, 2, 3], [0], [2], [3]]),
)
def test_tracks_that_part_do_not_hang_on_batches_or_restarts_and_agree_with_the_oracle(
    rows: list[Row], cuts: list[tuple[int, float]], rest: int, chosen: list[int]
) -> None:
    rules = [RULES[n] for n in chosen]
    end = (rows[-1].received if rows else START) + rest * MINUTE
    oracle = Oracle(rules)
    for row in rows:
        oracle.feed(row)
    oracle.tick(end)
    for rule_id, _, _, _, what, *_ in oracle.told:
        event(f"{rule_id} {what}")

    whole = run(rows, rules, end)
    assert told(whole.transitions) == oracle.told
    assert_same(whole, run(rows, rules, end, cuts=cuts))
    assert_same(whole, run(rows, rules, end, cuts=cuts, restart=True))


def at(minute: float, lon: float) -> Row:
    time = START + round(minute * MINUTE)
    return Row("position", time, time, SHIPS[0], lon, 16.0)


@pytest.mark.parametrize("wrong", [(60, 61, 62), (60, 100, 140), (60, 180, 300)], ids=["in a row", "apart", "rare"])
def test_three_positions_that_are_wrong_are_no_second_vessel(wrong: tuple[int, ...]) -> None:
    rows = [at(minute, 108.0 if minute in wrong else 107.0) for minute in range(400)]
    assert run(rows, RULES[:3], START + 12 * HOUR).transitions == []


def test_a_vessel_that_is_heard_now_and_then_beside_another_is_a_second_one() -> None:
    rows = [at(minute, 107.0) for minute in range(200)] + [at(60.5 + 15 * n, 108.0) for n in range(6)]
    found = run(sorted(rows, key=lambda row: row.received), [RULES[2]], START + 4 * HOUR).transitions
    assert [t.started_at for t in found] == [START + round(60.5 * MINUTE)]
