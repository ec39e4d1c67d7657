"""Gaps and silent feeds under streams of any kind: the same however they are cut, and as a plain oracle says."""

from __future__ import annotations

from math import floor
from typing import Any

import numpy as np
import shapely
from hypothesis import event, given, settings
from hypothesis import strategies as st

from alerting.engine import Engine
from alerting.rules import FeedSilentRule, GapRule, Rule
from geofence.zones import Zone
from tests.alerting.vessels.streams import (
    HILL,
    HOUR,
    MINUTE,
    START,
    TOWER,
    Row,
    Told,
    assert_same,
    observations,
    rule,
    run,
    told,
    vms,
)
from tests.alerting.vessels.streams import SOURCES as NAMES

SHIPS = (574_000_001, 574_000_002, 416_000_003, vms(1))
#: Places on one line of latitude: in port, beside it, a cell further, ten cells further.
PLACES = (107.60, 107.63, 107.72, 108.6)
ZONES = [Zone("port", "P", "P", "port", shapely.box(107.58, 16.5, 107.61, 16.6))]

RULES = [
    rule(id="gap", kind="gap", after="3h", after_in_port="8h", ports=["port"], port_distance=2000.0, known_for="0s"),
    rule(
        id="steps",
        kind="gap",
        after="2h",
        vms_after="4h",
        known_for="30m",
        steps=[{"after": "5h", "severity": "major"}, {"after": "1d", "severity": "critical"}],
    ),
    rule(id="fishing", kind="gap", after="90m", known_for="0s", scope={"ship_types": [30], "vms": True}),
    rule(id="seen", kind="gap", after="2h", known_for="0s", min_probability=0.6),
    rule(id="feed", kind="feed_silent", after="40m", min_vessels=1, grace="2h"),
    rule(id="tower", kind="feed_silent", after="90m", sources=["tow*"], min_vessels=2, heard_within="2h", grace="0s"),
]


@st.composite
def streams(draw: st.DrawFn) -> list[Row]:
    received, rows = START, []
    for _ in range(draw(st.integers(0, 24))):
        received += draw(st.sampled_from([0, 1, 5, 30, 95, 200])) * MINUTE
        if draw(st.integers(0, 9)) == 0:
            since, received = received, received + draw(st.sampled_from([1, 2, 45, 300])) * MINUTE
            rows.append(Row("deaf", since, received))
        time = received - draw(st.sampled_from([0, 0, 0, 1, 45])) * MINUTE
        ship = draw(st.sampled_from(SHIPS))
        if draw(st.integers(0, 5)) == 0:
            said, source = draw(st.sampled_from([None, 30, 30, 70])), draw(st.sampled_from([TOWER, HILL]))
            rows.append(Row("static", time, received, ship, said=said, source=source))
        else:
            lon, source = draw(st.sampled_from(PLACES)), draw(st.sampled_from([TOWER, TOWER, HILL]))
            sog, cog = draw(st.sampled_from([(None, None), (0.2, None), (6.0, 90.0), (9.0, 270.0), (None, 90.0)]))
            rows.append(Row("position", time, received, ship, lon, 16.55, sog, cog, source=source))
    return rows


class Oracle:
    """One row after another; whoever is silent is worked out anew each time from lists of what was."""

    def __init__(self, rules: list[Rule]) -> None:
        self.rules = rules
        self.told: list[Told] = []
        self.last: dict[int, Row] = {}
        self.first: dict[int, int] = {}
        self.types: dict[int, tuple[int, int]] = {}
        self.gaps: dict[tuple[int, int], dict[str, Any]] = {}  # (ship, rule)
        self.passed: set[tuple[int, int]] = set()  # silences decided about without an alert
        self.unmatched: set[tuple[int, int]] = set()
        self.deaf: list[tuple[int, int]] = []
        self.feeds: dict[int, int] = {}
        self.heard_by: dict[int, dict[int, int]] = {}  # by source and ship, ten minutes
        self.feed_alerts: dict[tuple[int, int], tuple[int, int]] = {}  # (source, rule) -> (start, at)
        self.feed_passed: set[tuple[int, int]] = set()
        self.spans: list[tuple[int, int, int, int]] = []  # source, since, until, grace
        self.intervals: list[tuple[str, int, int, int, bool]] = []  # class, x, y, hour, heard

    # --- time that does not count

    def deadline(self, source: int | None, heard: int, after: int) -> int:
        due = heard + after
        spans = [[a, b, min(after, 10 * MINUTE)] for a, b in self.deaf]
        spans += [[a, b, min(after, grace)] for s, a, b, grace in self.spans if s == source]
        merged: list[list[int]] = []
        for a, b, grace in sorted([max(a, heard), b, grace] for a, b, grace in spans if b > heard):
            if merged and a <= merged[-1][1]:
                merged[-1][1:] = [max(merged[-1][1], b), max(merged[-1][2], grace)]
            else:
                merged.append([a, b, grace])
        for a, b, grace in merged:
            if a <= due:
                due = max(due + b - a, b + grace)
        return due

    def silent(self, source: int) -> int:
        """Since when it is told to be."""
        return min((at for (s, _), (_, at) in self.feed_alerts.items() if s == source), default=2**62)

    # --- what is due

    def due(self) -> list[tuple[int, int, int, int]]:
        """(instant, 0 for feeds and 1 for vessels, subject, rule)."""
        found = []
        for source, heard in self.feeds.items():
            for n, r in enumerate(self.rules):
                key = (source, n)
                if not isinstance(r, FeedSilentRule) or key in self.feed_alerts or key in self.feed_passed:
                    continue
                if r.sources == ("*",) or NAMES[source] == "tower":
                    found.append((self.deadline(None, heard, r.after + MINUTE), 0, source, n))
        for ship, row in self.last.items():
            for n, r in enumerate(self.rules):
                after = self.next_limit(ship, n, r, row) if isinstance(r, GapRule) else None
                due = 0 if after is None else self.deadline(row.source, row.received, after)
                if after is not None and due < self.silent(row.source):
                    found.append((due, 1, ship, n))
        return found

    def next_limit(self, ship: int, n: int, r: GapRule, row: Row) -> int | None:
        gap = self.gaps.get((ship, n))
        if gap is None:
            return None if (ship, n) in self.passed | self.unmatched else self.limit(r, row)
        if gap["port"] or gap["step"] + 1 >= len(r.steps):
            return None
        step: int = gap["step"] + 1
        return r.steps[step].after

    def in_port(self, r: GapRule, row: Row) -> bool:
        # At this latitude 2,000 m are 0.0188 degrees, so of the places only the first is in port.
        return bool(r.ports) and row.lon == PLACES[0]

    def limit(self, r: GapRule, row: Row) -> int | None:
        device = row.transponder == SHIPS[3]
        if self.in_port(r, row):
            return (r.vms_after_in_port if device else None) or r.after_in_port
        return (r.vms_after if device else None) or r.after

    def tick(self, now: int) -> None:
        while True:
            due = sorted(d for d in self.due() if d[0] < now)
            if not due:
                return
            at = due[0][0]
            feeds = [d for d in due if d[0] == at and d[1] == 0]
            if feeds:
                for _, _, source, n in feeds:
                    self.feed_silent(source, n, at)
                continue
            # At one instant by subject, then rule.
            for _, _, ship, n in [d for d in due if d[0] == at]:
                self.too_long(ship, n, at)

    def feed_silent(self, source: int, n: int, at: int) -> None:
        r, heard = self.rules[n], self.feeds[source]
        assert isinstance(r, FeedSilentRule)
        vessels = [x for x in self.heard_by[source].values() if (x + 1) * 10 * MINUTE > heard - r.heard_within]
        if len(vessels) < r.min_vessels:
            self.feed_passed.add((source, n))
            return
        self.feed_alerts[source, n] = (heard, at)
        self.told.append((r.id, "source", source, "", "firing", at, heard, "warning"))

    def too_long(self, ship: int, n: int, at: int) -> None:
        r, row, key = self.rules[n], self.last[ship], (ship, n)
        assert isinstance(r, GapRule)
        gap = self.gaps.get(key)
        if gap is not None:
            gap["step"] += 1
            severity = r.steps[gap["step"]].severity.value
            self.told.append((r.id, "transponder", ship, "", "escalated", at, row.time, severity))
            return
        if row.time - self.first[ship] < r.known_for:
            self.passed.add(key)
            return
        matches = r.scope.matches(ship, self.types.get(ship, (0, 0))[1] or None)
        if matches:
            self.lost(ship, n, at, at)
        else:
            (self.unmatched if matches is None else self.passed).add(key)

    def lost(self, ship: int, n: int, at: int, known: int) -> None:
        r, row, key = self.rules[n], self.last[ship], (ship, n)
        assert isinstance(r, GapRule)
        limit = self.limit(r, row)
        assert limit is not None
        chance = self.chance(ship, row, limit)
        if r.min_probability is not None and chance is not None and chance < r.min_probability:
            self.passed.add(key)
            return
        step, severity = -1, "warning"
        if not self.in_port(r, row):
            while step + 1 < len(r.steps) and self.deadline(row.source, row.received, r.steps[step + 1].after) < known:
                step += 1
                severity = r.steps[step].severity.value
        self.gaps[key] = {"port": self.in_port(r, row), "step": step, "severity": severity}
        self.told.append((r.id, "transponder", ship, "", "firing", at, row.time, severity))

    # --- rows

    def feed(self, row: Row) -> None:
        if row.kind == "deaf":
            if row.received - row.time > MINUTE:
                self.deaf.append((row.time, row.received))
            return
        self.tick(row.received)
        before, numbers = len(self.told), [r.id for r in self.rules]
        self.alive(row)
        self.first[row.transponder] = min(row.time, self.first.get(row.transponder, row.time))
        if row.kind == "static":
            self.static(row)
        elif row.transponder not in self.last or row.time > self.last[row.transponder].time:
            self.position(row)
        self.told[before:] = sorted(self.told[before:], key=lambda told: numbers.index(told[0]))

    def alive(self, row: Row) -> None:
        """Whatever a source brings."""
        if not any(isinstance(r, FeedSilentRule) for r in self.rules):
            return
        for n, r in enumerate(self.rules):
            if not isinstance(r, FeedSilentRule) or (row.source, n) not in self.feed_alerts:
                continue
            start, _ = self.feed_alerts.pop((row.source, n))
            self.spans.append((row.source, start + MINUTE, row.received, r.grace))
            self.told.append((r.id, "source", row.source, "", "resolved", row.received, start, "warning"))
        self.feeds[row.source] = row.received // MINUTE * MINUTE
        self.feed_passed = {k for k in self.feed_passed if k[0] != row.source}
        self.heard_by.setdefault(row.source, {})[row.transponder] = row.received // (10 * MINUTE)

    def static(self, row: Row) -> None:
        ship = row.transponder
        newest, known = self.types.get(ship, (row.time, 0))
        if row.time < newest:
            return
        self.types[ship] = (row.time, known if row.said is None else row.said)
        for n, r in enumerate(self.rules):
            if (ship, n) not in self.unmatched or not isinstance(r, GapRule):
                continue
            matches = r.scope.matches(ship, self.types[ship][1] or None)
            if matches is False:
                self.unmatched.discard((ship, n))
                self.passed.add((ship, n))
            if matches:
                self.unmatched.discard((ship, n))
                limit = self.limit(r, self.last[ship])
                assert limit is not None
                at = self.deadline(self.last[ship].source, self.last[ship].received, limit)
                self.lost(ship, n, at, row.received)

    def position(self, row: Row) -> None:
        ship = row.transponder
        found = []
        for n, r in enumerate(self.rules):
            if gap := self.gaps.pop((ship, n), None):
                severity = r.steps[gap["step"]].severity.value if gap["step"] >= 0 else "warning"  # type: ignore[union-attr]
                start = self.last[ship].time
                found.append((n, (r.id, "transponder", ship, "", "resolved", row.received, start, severity)))
        self.told += [t for _, t in sorted(found)]
        for held in (self.passed, self.unmatched):
            held -= {k for k in held if k[0] == ship}
        if ship in self.last:
            self.learn(self.last[ship], row)
        self.last[ship] = row

    # --- coverage

    def learn(self, old: Row, new: Row) -> None:
        name = "vms" if new.transponder == SHIPS[3] else "ais"
        length, reason = (3 * HOUR, 24 * HOUR) if name == "vms" else (10 * MINUTE, 6 * HOUR)
        a, b = old.time // length, new.time // length
        if a == b:
            return
        deaf = [*self.deaf, *((x, y) for s, x, y, _ in self.spans if s == new.source)]
        heard_all = all(y <= old.time or new.time <= x for x, y in deaf)
        # A tenth of a degree of longitude is 10.66 km here.
        away = abs(new.lon - old.lon) * 106_600
        if away / ((new.time - old.time) / 1e6) * 3600 / 1852 > 60 or (away < 500 and (new.sog or 0.0) < 1.0):
            return
        if b - a > 1 and away >= 500 and heard_all:
            missed = [(a + 1, old.lon)]
            if new.time - old.time <= reason:
                missed = []
                for k in range(a + 1, b):
                    share = ((k + 0.5) * length - old.time) / (new.time - old.time)
                    missed.append((k, old.lon + share * (new.lon - old.lon)))
            for k, lon in missed:
                self.intervals.append((name, *cell(lon, 16.55), k * length // HOUR % 24, False))
        self.intervals.append((name, *cell(new.lon, 16.55), b * length // HOUR % 24, True))

    def share(self, name: str, x: int, y: int, hour: int) -> float | None:
        here = [i for i in self.intervals if i[:3] == (name, x, y)]
        for found in ([i for i in here if (i[3] - hour + 1) % 24 <= 2], here):
            if len(found) >= 6:
                return (sum(i[4] for i in found) + 0.5) / (len(found) + 1)
        return None

    def near(self, name: str, x: int, y: int, hour: int) -> float | None:
        if (own := self.share(name, x, y, hour)) is not None:
            return own
        around = [self.share(name, x + dx, y + dy, hour) for dx in (-1, 0, 1) for dy in (-1, 0, 1)]
        if all(share is None for share in around):
            return None
        known = [share for share in around if share is not None]
        return sum(known) / (9 if name == "ais" else len(known))

    def chance(self, ship: int, row: Row, silence: int) -> float | None:
        """At the hour at which it would have been heard best; courses by plane trigonometry."""
        name = "vms" if ship == SHIPS[3] else "ais"
        now = self.near(name, *cell(row.lon, row.lat), row.time // HOUR % 24)
        if now is None:
            return None
        best = 0.0
        for hours in range(1, silence // HOUR + 1):
            places = [(row.lon, row.lat)]
            ways: list[tuple[float, float]] = []
            if row.sog is None or (row.sog >= 1.0 and row.cog is None):
                ways = [(45.0 * k, 5.0 if row.sog is None else row.sog) for k in range(8)]
            elif row.sog >= 1.0 and row.cog is not None:
                ways = [(row.cog, row.sog)] * 3 + [(row.cog, row.sog / 2)]
                ways += [(row.cog + turn, row.sog) for turn in (-45.0, 45.0)]
            for course, speed in ways:
                east, north = (f(np.radians(course)) * speed * hours * 1852 for f in (np.sin, np.cos))
                places.append((row.lon + east / 106_600, row.lat + north / 111_195))
            hour = (row.time + hours * HOUR) // HOUR % 24
            shares = [self.near(name, *cell(*place), hour) for place in places]
            counted = [(0.0 if name == "ais" else now) if share is None else share for share in shares]
            best = max(best, sum(counted) / len(counted))
        return round(best, 3)


def cell(lon: float, lat: float) -> tuple[int, int]:
    return floor(lon / 0.1), floor(lat / 0.1)


@settings(max_examples=120)
@given(
    streams(),
    st.lists(st.tuples(st.integers(0, 24), st.floats(0, 1)), max_size=6),
    st.sampled_from([0, 5, 45, 200, 2000]),
    st.sampled_from([[0, 1, 2, 3, 4, 5], [0, 4], [2], [3, 5], [1, 4], [1]]),
)
def test_gaps_do_not_hang_on_batches_or_restarts_and_agree_with_the_oracle(
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

    whole = run(rows, rules, end, zones=ZONES)
    assert told(whole.transitions) == oracle.told
    assert_same(whole, run(rows, rules, end, zones=ZONES, cuts=cuts))
    assert_same(whole, run(rows, rules, end, zones=ZONES, cuts=cuts, restart=True))
    if len(rows) <= 12:  # killed after every row
        every = [(n, 0.5) for n in range(len(rows) + 1)]
        assert_same(whole, run(rows, rules, end, zones=ZONES, cuts=every, restart=True))


def test_of_a_vessel_whose_kind_is_known_at_last_nothing_is_left_waiting() -> None:
    engine = Engine([RULES[2]], ZONES)
    silent = Row("position", START, START, SHIPS[0], 107.8, 16.5)
    engine.judge(observations([silent]), START + 2 * HOUR)
    assert engine._vessels._gaps._unmatched == {SHIPS[0]: {0}}
    told_late = Row("static", START, START + 2 * HOUR, SHIPS[0], said=30)
    [lost] = engine.judge(observations([told_late]), START + 2 * HOUR).transitions
    assert (lost.rule_id, lost.subject.id) == ("fishing", SHIPS[0])
    assert engine._vessels._gaps._unmatched == {}


def test_what_was_decided_by_one_ship_type_is_not_decided_by_a_later_one_after_a_restart() -> None:
    rows = [
        Row("position", START, START, SHIPS[0], 107.8, 16.55, source=TOWER),
        Row("static", START + 14 * MINUTE, START + 14 * MINUTE, SHIPS[0], said=70, source=TOWER),
        Row("static", START + 2 * HOUR, START + 2 * HOUR, SHIPS[0], said=30, source=TOWER),
    ]
    every = [(n, 0.5) for n in range(len(rows) + 1)]
    stopped = run(rows, [RULES[2]], START + 3 * HOUR, zones=ZONES, cuts=every, restart=True)
    assert (stopped.transitions, stopped.states) == ([], {})
