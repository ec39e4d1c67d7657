"""Dividing cells: which smaller cells each edge meets, and what each smaller cell is inside of.

The geometry behind ``geofence.cells``, which says what a corner is and why this is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import shapely

from geofence.orientation import side

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Bools = NDArray[np.bool_]
    Signs = NDArray[np.int8]

PER_DEGREE: Final = 65_536
#: Degrees by which a cell is larger than its numbers say: a tenth of a millimetre.
PAD: Final = 1e-9
#: Edges looked at in one go: bounds the memory that takes.
_EDGES: Final = 262_144


class Edges:
    """The edges of polygons, each by the number of its first vertex; ``part`` is the polygon of each vertex."""

    def __init__(self, parts: NDArray[np.object_]) -> None:
        rings, of = shapely.get_rings(parts, return_index=True)
        xy, ring = shapely.get_coordinates(rings, return_index=True)
        self._x, self._y = np.ascontiguousarray(xy[:, 0]), np.ascontiguousarray(xy[:, 1])
        self.part = of[ring].astype(np.int32)
        self.parts = len(parts)
        real = (ring[1:] == ring[:-1]) & (xy[1:] != xy[:-1]).any(axis=1)
        self.all = np.flatnonzero(real).astype(np.int32)

    @property
    def nbytes(self) -> int:
        return self._x.nbytes + self._y.nbytes + self.part.nbytes

    def ends(self, edge: NDArray[np.integer[Any]]) -> tuple[Floats, Floats, Floats, Floats]:
        return self._x[edge], self._y[edge], self._x[edge + 1], self._y[edge + 1]


@dataclass(slots=True, frozen=True)
class Cell:
    """A cell with edges: its place in numbers of its size, its edges, and what its corner is inside of."""

    x: int
    y: int
    edges: NDArray[np.int32]  # ordered, so by part
    parts: NDArray[np.int32]  # those with edges in it, ascending
    inside: Bools  # of each of them: the corner

    @property
    def nbytes(self) -> int:
        return self.edges.nbytes + self.parts.nbytes + self.inside.nbytes


@dataclass(slots=True, frozen=True)
class Division:
    """Rows are (smaller cell, edge) wherever the two meet, ordered by cell divided, smaller cell, part and edge."""

    owner: Ints  # index of the cell divided
    child: Ints  # the smaller cell in it, row by row from the south-west
    edge: Ints
    east: Floats  # longitude of the smaller cell's corner
    over: Signs  # the corner's side of the edge if that spans the corner's longitude, otherwise 0
    head: Bools  # first of its smaller cell and part
    corner: Bools  # whether the corner is inside the edge's part
    around: list[tuple[Ints, Bools]]  # by cell divided: parts, and whether [part, smaller cell] is wholly inside


def moved(sides: Signs, ax: Floats, ay: Floats, bx: Floats, by: Floats) -> Signs:
    """Sides of points moved north by an infinitesimal, and east by one of a higher order: never 0. In place."""
    tied = np.flatnonzero(sides == 0)
    if len(tied):
        north, east = np.sign(bx - ax)[tied], -np.sign(by - ay)[tied]
        sides[tied] = np.where(north != 0, north, east)
    return sides


def divide(edges: Edges, cells: list[Cell], fan: tuple[int, int], shift: int) -> Division:
    """Divide cells of one size into ``fan[0]`` east by ``fan[1]`` north of 2**shift / PER_DEGREE degrees."""
    across, up = fan
    many = across * up
    size = 2.0**shift / PER_DEGREE
    west, south = np.array([c.x * across for c in cells]), np.array([c.y * up for c in cells])
    owner, edge, child = _meeting(edges, cells, west, south, fan, size)
    row, column = np.divmod(child, across)
    east = (west[owner] + column + 1) * size - 180.0 + PAD
    north = (south[owner] + row + 1) * size - 90.0 + PAD
    ax, ay, bx, by = edges.ends(edge)
    corner = moved(side(ax, ay, bx, by, east, north), ax, ay, bx, by)
    across_east = (ax > east) != (bx > east)

    # What lies between the corners of neighbours are edges of the cell between: in each row from west to east, in the
    # last column also from south to north.
    level = np.flatnonzero(((ay > north) != (by > north)) & (column > 0))
    before = (west[owner] + column)[level] * size - 180.0 + PAD
    level = level[corner[level] != _side(edges, edge[level], before, north[level])]
    upright = np.flatnonzero(across_east & (column == across - 1) & (row > 0))
    below = (south[owner] + row)[upright] * size - 90.0 + PAD
    upright = upright[corner[upright] != _side(edges, edge[upright], east[upright], below)]

    base = np.cumsum([0, *(len(c.parts) for c in cells)])
    parts = np.concatenate([c.parts for c in cells]).astype(np.int64)
    known = np.repeat(np.arange(len(cells)), np.diff(base)) * (edges.parts + 1) + parts
    which = np.searchsorted(known, owner * (edges.parts + 1) + edges.part[edge])  # (cell, part), numbered through
    flips = np.zeros((len(parts), up, across), bool)
    _flip(flips, which[level] * many + child[level])
    rises = np.zeros((len(parts), up), bool)
    _flip(rises, which[upright] * up + row[upright])
    inside = _corners(flips, rises, np.concatenate([c.inside for c in cells])).reshape(len(parts), many)

    order = np.argsort(owner * many + child, kind="stable")
    owner, edge, child, which = owner[order], edge[order], child[order], which[order]
    head = np.ones(len(edge), bool)
    head[1:] = (which[1:] != which[:-1]) | (child[1:] != child[:-1])
    at_corner = inside[which, child]
    inside[which, child] = False  # from here on: the whole of the smaller cell
    around = [(parts[i:j], inside[i:j]) for i, j in zip(base[:-1].tolist(), base[1:].tolist(), strict=True)]
    over = np.where(across_east, corner, 0)[order]
    return Division(owner, child, edge, east[order], over, head, at_corner, around)


def _side(edges: Edges, edge: Ints, x: Floats, y: Floats) -> Signs:
    ends = edges.ends(edge)
    return moved(side(*ends, x, y), *ends)


def _corners(flips: Bools, rises: Bools, last: Bools) -> Bools:
    """[part, row, column]: whether the corner is inside.

    Args:
        flips: [part, row, column]: whether it differs from that of the neighbour west.
        rises: [part, row]: whether in the last column it differs from that of the neighbour south.
        last: [part]: of the north-east cell.
    """
    inside = np.zeros_like(flips)
    inside[:, :, :-1] = np.logical_xor.accumulate(flips[:, :, :0:-1], axis=2)[:, :, ::-1]
    column = np.zeros_like(rises)
    column[:, :-1] = np.logical_xor.accumulate(rises[:, :0:-1], axis=1)[:, ::-1]
    inside ^= (column ^ last[:, None])[:, :, None]
    return inside


def _flip(flags: Bools, places: Ints) -> None:
    """Set those named an odd number of times."""
    found, count = np.unique(places, return_counts=True)
    flags.reshape(-1)[found[count % 2 == 1]] = True


def _meeting(
    edges: Edges, cells: list[Cell], west: Ints, south: Ints, fan: tuple[int, int], size: float
) -> tuple[Ints, Ints, Ints]:
    """(cell, edge, smaller cell) wherever an edge meets a smaller cell, or seems to; ordered by cell, then edge."""
    owners = np.repeat(np.arange(len(cells)), [len(c.edges) for c in cells])
    names = np.concatenate([c.edges for c in cells]).astype(np.int64)
    found = [
        _meeting_some(edges, owners[i : i + _EDGES], names[i : i + _EDGES], west, south, fan, size)
        for i in range(0, max(1, len(names)), _EDGES)
    ]
    owner, edge, child = (np.concatenate(column) for column in zip(*found, strict=True))
    return owner, edge, child


def _meeting_some(
    edges: Edges, owner: Ints, edge: Ints, west: Ints, south: Ints, fan: tuple[int, int], size: float
) -> tuple[Ints, Ints, Ints]:
    across, up = fan
    ax, ay, bx, by = edges.ends(edge)
    x0 = np.floor((np.minimum(ax, bx) - 2 * PAD + 180.0) / size).astype(np.int64) - west[owner]
    x1 = np.floor((np.maximum(ax, bx) + 2 * PAD + 180.0) / size).astype(np.int64) - west[owner]
    y0 = np.floor((np.minimum(ay, by) - 2 * PAD + 90.0) / size).astype(np.int64) - south[owner]
    y1 = np.floor((np.maximum(ay, by) + 2 * PAD + 90.0) / size).astype(np.int64) - south[owner]
    x0, y0 = np.maximum(x0, 0), np.maximum(y0, 0)
    wide = np.maximum(np.minimum(x1, across - 1) - x0 + 1, 0)
    count = wide * np.maximum(np.minimum(y1, up - 1) - y0 + 1, 0)
    which = np.repeat(np.arange(len(edge)), count)
    number = np.arange(len(which)) - np.repeat(np.cumsum(count) - count, count)
    north, east = np.divmod(number, wide[which])
    row, column = y0[which] + north, x0[which] + east
    # Of an edge that spans several rows and columns, the cells wholly on one side of its line go.
    slant = np.flatnonzero((wide[which] > 1) & (count[which] > wide[which]))
    if len(slant):
        s = which[slant]
        dx, dy = (bx - ax)[s], (by - ay)[s]
        x = (west[owner[s]] + column[slant] + 0.5) * size - 180.0 - ax[s]
        y = (south[owner[s]] + row[slant] + 0.5) * size - 90.0 - ay[s]
        reach = (np.abs(dx) + np.abs(dy)) * (size / 2 + 2 * PAD)
        error = 1e-13 * (np.abs(dx * y) + np.abs(dy * x))
        keep = np.ones(len(which), bool)
        keep[slant] = np.abs(dx * y - dy * x) <= reach + error
        which, row, column = which[keep], row[keep], column[keep]
    return owner[which], edge[which], row * across + column
