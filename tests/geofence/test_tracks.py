"""Tracks judge as one row after another would, however the rows fall into batches."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from decoders.records import POSITION, empty
from geofence.index import ZoneIndex
from geofence.moves import HOUR, Fix, Move, MoveFinder
from geofence.sphere import KNOT, metres
from geofence.tracks import SETTLED, SLOT, Tracks
from geofence.zones import Zone

MINUTE = HOUR // 60
SQUARES = {
    "a": shapely.box(107.0, 16.0, 107.2, 16.2),
    "b": shapely.box(107.1, 16.1, 107.3, 16.3),
    "thin": shapely.box(107.4, 15.0, 107.401, 17.0),
}
INDEX = ZoneIndex([Zone(name, name, name, "test", shape) for name, shape in SQUARES.items()])
BOUNDARIES = (30 * MINUTE,)

#: (transponder, time, lon, lat)
Row = tuple[int, int, float, float]


def table(rows: list[Row]) -> Any:
    out = empty(POSITION, len(rows))
    for i, (transponder, time, lon, lat) in enumerate(rows):
        out["transponder"][i], out["time"][i], out["lon"][i], out["lat"][i] = transponder, time, lon, lat
        out["message"][i] = i
        out["received_at"][i] = i
    return out


@dataclass
class Oracle:
    """One row at a time, with shapely's plain predicates."""

    capacity: int = 1_000_000
    state: dict[int, tuple[Fix, tuple[str, ...], int]] = field(default_factory=dict)
    first: dict[int, int] = field(default_factory=dict)
    forgotten: list[set[int]] = field(default_factory=list)
    late: int = 0
    arrived: int = 0

    def feed(self, row: Row) -> tuple[Any, ...] | None:
        transponder, time, lon, lat = row
        self.arrived += 1
        if transponder not in self.state and len(self.state) >= self.capacity:
            worth = sorted(self.state, key=self._worth)
            self.forgotten.append(set(worth[: max(1, self.capacity // 8)]))
            for t in self.forgotten[-1]:
                del self.state[t], self.first[t]
        old = self.state.get(transponder)
        if old and time <= old[0].time:
            self.late += 1
            return None
        fix = Fix(time, lon, lat)
        self.first.setdefault(transponder, time)
        now = tuple(name for name, shape in SQUARES.items() if shape.intersects(shapely.Point(lon, lat)))
        self.state[transponder] = (fix, now, self.arrived)
        if old is None:
            return (transponder, None, fix, (), now, ()) if now else None
        before, was, _ = old
        crossed: list[str] = []
        fast = metres(before.lon, before.lat, lon, lat) > 60 * KNOT * (time - before.time) / 1e6
        if time - before.time <= 6 * HOUR and not fast and (before.lon, before.lat) != (lon, lat):
            line = shapely.LineString([(before.lon, before.lat), (lon, lat)])
            crossed = [n for n, shape in SQUARES.items() if shape.intersects(line) and n not in (*was, *now)]
        era = any(before.time < b <= time for b in BOUNDARIES)
        if was != now or crossed or era:
            return (transponder, before, fix, was, now, tuple(crossed))
        return None

    def _worth(self, transponder: int) -> tuple[bool, bool, int]:
        fix, zones, heard = self.state[transponder]
        return fix.time - self.first[transponder] >= SETTLED, bool(zones), heard


def told(move: Move) -> tuple[Any, ...]:
    return (move.transponder, move.before, move.after, move.was, move.now, tuple(p.zone for p in move.crossed))


rows = st.tuples(
    st.integers(1, 4),
    st.integers(0, 60).map(lambda m: m * 10 * MINUTE),
    st.sampled_from([106.9, 107.0, 107.05, 107.15, 107.2, 107.25, 107.39, 107.4, 107.41, 107.6]),
    st.sampled_from([15.9, 16.0, 16.1, 16.15, 16.25, 16.4]),
)


@settings(max_examples=200)
@given(st.lists(rows, max_size=40), st.lists(st.integers(0, 40), max_size=6), st.sampled_from([1, 2, 3, 100]))
def test_any_cut_of_a_stream_into_batches_gives_the_moves_of_one_row_after_another(
    stream: list[Row], cuts: list[int], capacity: int
) -> None:
    oracle = Oracle(capacity=capacity)
    expected = [move for row in stream if (move := oracle.feed(row))]
    tracks = Tracks(MoveFinder(INDEX, boundaries=BOUNDARIES), capacity=capacity)
    moves, late, forgotten = [], 0, []
    edges = sorted({0, len(stream), *(c for c in cuts if c < len(stream))})
    for start, stop in itertools.pairwise(edges):
        advance = tracks.advance(table(stream[start:stop]))
        moves += [told(move) for move in advance.moves]
        late += advance.late
        forgotten += [set(gone.state["transponder"].tolist()) for gone in advance.forgotten]
    assert forgotten == oracle.forgotten
    assert moves == expected
    assert late == oracle.late
    for transponder, (fix, zones, _) in oracle.state.items():
        assert tracks.last(transponder) == (fix, zones)
    assert len(tracks) == len(oracle.state)


@settings(max_examples=100)
@given(
    st.lists(rows, max_size=20),
    st.lists(rows, max_size=20),
    st.integers(0, 25),
    st.integers(1, 4),
    st.sampled_from([1, 2, 3, 100]),
)
def test_where_a_transponder_was_when_a_message_came(
    earlier: list[Row], batch: list[Row], message: int, transponder: int, capacity: int
) -> None:
    oracle = Oracle(capacity=capacity)
    for row in [*earlier, *batch[:message]]:
        oracle.feed(row)
    tracks = Tracks(MoveFinder(INDEX), capacity=capacity)
    tracks.advance(table(earlier))
    found = tracks.advance(table(batch)).at(transponder, message)
    known = oracle.state.get(transponder)
    assert found == (known and known[:2])


@settings(max_examples=50)
@given(st.lists(rows, max_size=30), st.integers(0, 30))
def test_a_restart_from_the_latest_positions_changes_nothing_but_looks_once_more(stream: list[Row], cut: int) -> None:
    before = Tracks(MoveFinder(INDEX, boundaries=BOUNDARIES))
    before.advance(table(stream[:cut]))
    latest: dict[int, Row] = {}
    for row in stream[:cut]:
        if row[0] not in latest or row[1] > latest[row[0]][1]:
            latest[row[0]] = row
    after = Tracks(MoveFinder(INDEX, boundaries=BOUNDARIES))
    after.restore(table(list(latest.values())))
    kept = before.advance(table(stream[cut:]))
    again = after.advance(table(stream[cut:]))
    assert again.late == kept.late
    extra = [m for m in again.moves if m not in kept.moves]
    assert [m for m in again.moves if m in kept.moves] == kept.moves
    assert all(m.was == m.now and not m.crossed for m in extra)
    assert len({m.transponder for m in extra}) == len(extra)


def test_a_passage_is_interpolated_in_place_and_time() -> None:
    tracks = Tracks(MoveFinder(INDEX))
    moves = tracks.advance(table([(1, 0, 107.35, 16.5), (1, 100 * MINUTE, 107.45, 16.5)])).moves
    [passage] = moves[0].crossed
    assert passage.zone == "thin"
    assert passage.time == pytest.approx(50 * MINUTE, abs=2)
    assert passage.lon == pytest.approx(107.4)
    assert passage.lat == 16.5


@pytest.mark.parametrize(
    ("minutes", "far", "crossed"),
    [
        (30, 107.45, True),
        (6 * 60, 107.45, True),
        (6 * 60 + 1, 107.45, False),  # too long ago
        (3, 107.45, False),  # some 6 nautical miles in 3 minutes
    ],
)
def test_nothing_is_concluded_about_the_way_of_a_long_or_impossible_move(
    minutes: int, far: float, crossed: bool
) -> None:
    tracks = Tracks(MoveFinder(INDEX))
    moves = tracks.advance(table([(1, 0, 107.35, 16.5), (1, minutes * MINUTE, far, 16.5)])).moves
    assert any(m.crossed for m in moves) is crossed


def test_membership_holds_however_long_the_silence() -> None:
    tracks = Tracks(MoveFinder(INDEX))
    moves = tracks.advance(
        table([(1, 0, 106.0, 16.1), (1, 99 * HOUR, 107.05, 16.1), (1, 99 * HOUR + 1, 0.0, 0.0)])
    ).moves
    assert [(m.entered, m.left) for m in moves] == [(("a",), ()), ((), ("a",))]


def test_first_seen_inside_is_inside_and_no_entry() -> None:
    [move] = Tracks(MoveFinder(INDEX)).advance(table([(1, 0, 107.05, 16.1)])).moves
    assert (move.before, move.now, move.entered) == (None, ("a",), ())


def test_a_flood_of_identities_costs_bounded_memory() -> None:
    tracks = Tracks(MoveFinder(INDEX), capacity=1000)
    for batch in range(20):
        rows = empty(POSITION, 500)
        rows["transponder"] = np.arange(500) + 500 * batch
        rows["lon"], rows["lat"], rows["time"] = 107.0, 16.0, batch
        tracks.advance(rows)
        assert len(tracks) <= 1000
    assert tracks.evicted >= 9000
    assert len(tracks._state) <= 1000
    assert SLOT.itemsize <= 53
    assert tracks.last(9999) is not None


def test_a_restart_with_too_many_keeps_those_heard_more_than_once() -> None:
    tracks = Tracks(MoveFinder(INDEX), capacity=2)
    latest = table([(1, 99 * MINUTE, 107.0, 16.0), (2, 100 * MINUTE, 107.0, 16.0), (3, 101 * MINUTE, 107.0, 16.0)])
    tracks.restore(latest, np.array([0, 100 * MINUTE, 101 * MINUTE]))
    assert [tracks.last(transponder) is not None for transponder in (1, 2, 3)] == [True, False, True]
