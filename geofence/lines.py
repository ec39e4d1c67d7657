"""Lines: which moves go over them, and to which side, exactly.

What a move counts for is the sum, over the line's edges, of +1 for each that it crosses to the left (seen along the
line) and -1 to the right. For that the whole track, not the line, is thought of as moved north by an infinitesimal,
and east by one of a higher order (``geofence.division.moved``): then no fix lies on an edge, no vertex on a move, and
the sum of several moves on end is that of the way as a whole. So a vessel that runs along the line, or stops on it,
has crossed it when it leaves on the other side than it came from, and has not when it turns back: add up its moves
from the last fix that was off the line to the next. What goes over the line and back in one move counts for nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import shapely

from geofence.division import moved
from geofence.orientation import side

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from geofence.zones import Zone

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Bools = NDArray[np.bool_]

#: Cells a degree of the raster that says where lines are not.
_PER_DEGREE: Final = 8
_SHAPE: Final = (180 * _PER_DEGREE + 1, 360 * _PER_DEGREE)


@dataclass(slots=True, frozen=True)
class Legs:
    """Moves that meet lines, one row per (move, line), ordered by move, then line."""

    move: Ints  # index into the arrays given
    line: Ints  # index into Lines.ids
    net: Ints  # > 0 to the left, < 0 to the right
    begun_on: Bools  # whether its first fix lies exactly on the line
    ended_on: Bools  # and its last
    fraction: Floats  # of the move where it first crosses that way; its end if it does not


class Lines:
    """An index over zones that are lines."""

    def __init__(self, zones: Sequence[Zone]) -> None:
        self.ids = tuple(zone.id for zone in zones)
        ends, owner = [np.zeros((0, 4))], [np.zeros(0, np.int64)]
        for number, zone in enumerate(zones):
            for part in shapely.get_parts(zone.geometry).tolist():
                xy = shapely.get_coordinates(part)
                edges = np.concatenate([xy[:-1], xy[1:]], axis=1)
                ends.append(edges[(edges[:, :2] != edges[:, 2:]).any(axis=1)])
                owner.append(np.full(len(ends[-1]), number))
        self._ends, self._owner = np.concatenate(ends), np.concatenate(owner)
        self._tree = shapely.STRtree(_boxes(*self._ends.T))
        self._near = _raster(self._ends)

    def met(self, lon0: Floats, lat0: Floats, lon1: Floats, lat1: Floats) -> Legs:
        """What straight moves, the shorter way round, have to do with lines. [n] degrees; a move may have no length."""
        step = lon1 - lon0
        step = step - 360.0 * ((step > 180.0).astype(float) - (step < -180.0))
        maybe = np.flatnonzero(self._maybe(lon0, lat0, step, lat1 - lat0))
        # Lines lie within [-180, 180]: a move that leaves it is looked at a second time, one turn further on.
        end = lon0[maybe] + step[maybe]
        beyond = np.where(np.abs(end) >= 180.0, np.sign(end), np.sign(lon0[maybe]) * (np.abs(lon0[maybe]) == 180.0))
        again = np.flatnonzero(beyond)
        move = np.concatenate([maybe, maybe[again]])
        x0 = np.concatenate([lon0[maybe], lon0[maybe[again]] - 360.0 * beyond[again]])
        x1, y0, y1 = x0 + step[move], lat0[move], lat1[move]
        which, edge = self._tree.query(_boxes(x0, y0, x1, y1))
        px, py, qx, qy = (v[which] for v in (x0, y0, x1, y1))
        ax, ay, bx, by = self._ends[edge].T
        p, q = side(ax, ay, bx, by, px, py), side(ax, ay, bx, by, qx, qy)
        on_p, on_q = (p == 0) & _within(ax, ay, bx, by, px, py), (q == 0) & _within(ax, ay, bx, by, qx, qy)
        p, q = moved(p, ax, ay, bx, by), moved(q, ax, ay, bx, by)
        # The track is moved, not the line: seen from it, the line's vertices move the other way.
        a, b = (
            -moved(-side(px, py, qx, qy, ax, ay), px, py, qx, qy),
            -moved(-side(px, py, qx, qy, bx, by), px, py, qx, qy),
        )
        crossed = (p != q) & (a != b)
        net = np.where(crossed, q, 0).astype(np.int64)
        with np.errstate(divide="ignore", invalid="ignore"):
            east, north = bx - ax, by - ay
            share = ((ax - px) * north - (ay - py) * east) / ((qx - px) * north - (qy - py) * east)
        share = np.where(crossed & np.isfinite(share), np.clip(share, 0.0, 1.0), 1.0)
        return self._summed(move[which], self._owner[edge], net, on_p, on_q, share)

    def _summed(self, move: Ints, line: Ints, net: Ints, on_p: Bools, on_q: Bools, share: Floats) -> Legs:
        """Put together what edges of one line say of one move; what says nothing is left out."""
        keys, back = np.unique(move * max(1, len(self.ids)) + line, return_inverse=True)
        total = np.zeros(len(keys), np.int64)
        np.add.at(total, back, net)
        begun, ended, first = np.zeros(len(keys), bool), np.zeros(len(keys), bool), np.ones(len(keys))
        np.logical_or.at(begun, back, on_p)
        np.logical_or.at(ended, back, on_q)
        same = np.sign(net) == np.sign(total)[back]
        np.minimum.at(first, back[same], share[same])
        kept = np.flatnonzero((total != 0) | begun | ended)
        move, line = np.divmod(keys[kept], max(1, len(self.ids)))
        return Legs(move, line, total[kept], begun[kept], ended[kept], first[kept])

    def _maybe(self, lon: Floats, lat: Floats, east: Floats, north: Floats) -> Bools:
        """False only where a move meets no line: it is shorter than a cell, and begins where no line is near."""
        short = (np.abs(east) < 1 / _PER_DEGREE) & (np.abs(north) < 1 / _PER_DEGREE)
        x = np.floor((lon + 180.0) * _PER_DEGREE).astype(np.int64) % _SHAPE[1]
        y = np.floor((lat + 90.0) * _PER_DEGREE).astype(np.int64)
        return ~short | self._near[y, x]


def _boxes(x0: Floats, y0: Floats, x1: Floats, y1: Floats) -> NDArray[np.object_]:
    ends = np.stack([x0, y0, x1, y1], axis=-1).reshape(-1, 2, 2)
    return np.asarray(shapely.linestrings(ends), dtype=object)  # the tree looks at their boxes alone


def _within(ax: Floats, ay: Floats, bx: Floats, by: Floats, x: Floats, y: Floats) -> Bools:
    inside: Bools = (np.minimum(ax, bx) <= x) & (x <= np.maximum(ax, bx))
    inside &= (np.minimum(ay, by) <= y) & (y <= np.maximum(ay, by))
    return inside


def _raster(ends: Floats) -> Bools:
    """Where a move no longer than a cell may begin and meet an edge: two cells around every half cell of edges."""
    near = np.zeros(_SHAPE, bool)
    for ax, ay, bx, by in ends.tolist():
        steps = 1 + int(2 * _PER_DEGREE * max(abs(bx - ax), abs(by - ay)))
        share = np.linspace(0.0, 1.0, steps + 1)
        x = np.floor((ax + share * (bx - ax) + 180.0) * _PER_DEGREE).astype(np.int64)
        y = np.floor((ay + share * (by - ay) + 90.0) * _PER_DEGREE).astype(np.int64)
        for up in range(-2, 3):
            for right in range(-2, 3):
                near[np.clip(y + up, 0, _SHAPE[0] - 1), (x + right) % _SHAPE[1]] = True
    return near
