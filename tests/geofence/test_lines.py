"""Lines are crossed from one side to the other, and by nothing else."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import pytest
import shapely
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from decoders.records import POSITION, empty
from geofence.index import ZoneIndex
from geofence.lines import Lines
from geofence.moves import HOUR, MoveFinder
from geofence.tracks import Tracks
from geofence.zones import Zone, read_zones
from tests.geofence.drawings import collection
from tests.geofence.exact import exact, on_segment, ring_place

if TYPE_CHECKING:
    from fractions import Fraction

MINUTE = HOUR // 60
#: Coordinates on a coarse grid, so that tracks touch lines, run along them and turn on their bends.
step = st.integers(0, 6).map(float)


def legs(lines: Lines, track: list[tuple[float, float]]) -> list[tuple[int, bool, bool]]:
    """(net, begun on, ended on) of every move along a track, of the first line."""
    lon, lat = (np.array(column) for column in zip(*track, strict=True))
    lon = lon - 360 * ((lon > 180).astype(float) - (lon < -180))
    met = lines.met(lon[:-1], lat[:-1], lon[1:], lat[1:])
    out = [(0, False, False)] * (len(track) - 1)
    columns = (met.move.tolist(), met.net.tolist(), met.begun_on.tolist(), met.ended_on.tolist())
    for move, net, begun, ended in zip(*columns, strict=True):
        out[move] = (net, begun, ended)
    return out


@settings(max_examples=300)
@given(
    st.lists(step, min_size=3, max_size=6),
    st.lists(st.tuples(step, step), min_size=2, max_size=8),
    st.sampled_from([(107.0, 16.0), (178.0, -3.0), (-182.0, 0.0)]),
    st.booleans(),
)
@example([3.0, 3.0, 3.0], [(0, 0), (3, 3), (5, 3), (6, 6)], (107.0, 16.0), False)
@example([3.0, 3.0, 3.0], [(0, 0), (3, 3), (5, 3), (6, 0)], (107.0, 16.0), True)
def test_the_sum_of_moves_between_fixes_off_the_line_is_the_change_of_side(
    heights: list[float], track: list[tuple[float, float]], where: tuple[float, float], backward: bool
) -> None:
    """A line from the west end of a box to its east end parts it in two; what is above is left of it, eastward."""
    x0, y0 = where
    bends = [(x0 - 1, y0 + heights[0]), *((x0 + 2 * i, y0 + h) for i, h in enumerate(heights))]
    bends += [(x0 + 20, y0 + heights[-1])]
    above = [*bends, (x0 + 20, y0 + 30), (x0 - 1, y0 + 30), bends[0]]
    drawn = bends[::-1] if backward else bends
    lines = Lines(read_zones(collection("LineString", drawn)))
    fixes = [(x0 + x, y0 + y) for x, y in track]
    line = exact(bends)

    def is_on(place: tuple[float, float]) -> bool:
        [point] = exact([place])
        return any(on_segment(a, b, point) for a, b in itertools.pairwise(line))

    def is_above(place: tuple[float, float]) -> bool:
        return ring_place(exact(above), exact([place])[0]) > 0

    net, since = 0, None if is_on(fixes[0]) else fixes[0]
    for (before, after), (counted, begun, ended) in zip(itertools.pairwise(fixes), legs(lines, fixes), strict=True):
        assert (begun, ended) == (is_on(before), is_on(after))
        net += counted
        if not is_on(after):
            if since is not None:
                change = int(is_above(after)) - int(is_above(since))
                event(f"change of side: {change}, by way of the line: {begun}")
                assert net == (-change if backward else change)
            net, since = 0, after


@settings(max_examples=100)
@given(st.lists(st.tuples(step, step), min_size=2, max_size=2, unique=True), st.integers(0, 2**32))
def test_moves_told_together_are_told_as_each_by_itself(line: list[tuple[float, float]], seed: int) -> None:
    lines = Lines([Zone("z", "Z", "Z", "line", shapely.LineString(line))])
    rng = np.random.default_rng(seed)
    start = rng.uniform(0, 6, (200, 2))
    end = start + rng.choice([0.01, 0.1, 1.0, 5.0], (200, 1)) * rng.uniform(-1, 1, (200, 2))
    met = lines.met(start[:, 0], start[:, 1], end[:, 0], end[:, 1])
    a, b = exact(line)
    for i, (p, q) in enumerate(zip(exact(start), exact(end), strict=True)):
        [found] = met.net[met.move == i].tolist() or [0]
        sides = [_sign(a, b, p), _sign(a, b, q)]
        over = sides[0] != sides[1] and _sign(p, q, a) != _sign(p, q, b)
        assert found == (sides[1] if over else 0)


def _sign(a: tuple[Fraction, Fraction], b: tuple[Fraction, Fraction], c: tuple[Fraction, Fraction]) -> int:
    cross = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
    return (cross > 0) - (cross < 0)


def test_going_round_the_end_of_a_line_is_no_crossing() -> None:
    lines = Lines([Zone("z", "Z", "Z", "line", shapely.LineString([(0, 0), (0, 1)]))])
    assert legs(lines, [(-1, 0.5), (-1, 1.5), (1, 1.5), (1, 0.5)]) == [(0, False, False)] * 3


def test_no_line_costs_nothing_and_meets_nothing() -> None:
    none = np.zeros(3)
    assert len(Lines([]).met(none, none, none + 1, none + 1).move) == 0


@pytest.mark.parametrize(("minutes", "told"), [(60, True), (6 * 60, True), (6 * 60 + 1, False), (10, False)])
def test_nothing_is_concluded_of_a_move_too_long_or_impossible(minutes: int, told: bool) -> None:
    border = Lines([Zone("z", "Z", "Z", "line", shapely.LineString([(107.0, 16.0), (107.0, 17.0)]))])
    tracks = Tracks(MoveFinder(ZoneIndex([]), lines=border))
    rows = empty(POSITION, 2)
    rows["transponder"], rows["time"] = 574_000_001, [0, minutes * MINUTE]
    rows["lon"], rows["lat"], rows["message"] = [106.75, 107.25], 16.5, [0, 1]
    moves = tracks.advance(rows).moves
    assert [leg.net for move in moves for leg in move.legs] == ([-1] if told else [])
    if told:
        [leg] = moves[0].legs
        assert leg.time == pytest.approx(minutes * MINUTE / 2, abs=2)
        assert leg.lon == pytest.approx(107.0)
