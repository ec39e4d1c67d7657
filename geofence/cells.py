"""Where on the globe each part of a zone is inside, outside, or has an edge: a tree of cells, made where points fall.

The globe is a table of cells of 16 degrees; a cell with several edges is a table of smaller ones, and so on down to
seven metres. A *leaf* has few edges or none: a point in it is wholly inside some parts, and only the leaf's
own edges are left to be looked at. So the cost of a point depends neither on how many zones there are nor on how large
or small they are. A cell is divided when a point first falls into it: nothing is built beforehand, and nothing at all
where nobody sails. What was made is forgotten when it exceeds ``MAX_CELLS`` or ``MAX_ROWS``, and made again.

It is exact. Which part a point is in is a matter of parity: of the number of edges on any path from the point to a
place known to be in or out. A leaf knows that of its *corner* (its north-east end), and the path leads east from the
point to the leaf's east side, then along it to the corner: it stays in the leaf, so the edges that meet the leaf are
all that can count. Corner and path are thought of as moved north by an infinitesimal e, and east by an infinitesimal of
a higher order: no edge then passes through the path's bend or end, and no vertex lies on it. The sides that decide come
from ``geofence.orientation``. A point *on* an edge is inside.

Cells are cut from whole numbers, 65,536 a degree; each counts as larger than it is by ``PAD``, far above what rounding
can do to a point's way into it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from geofence.division import PAD, PER_DEGREE, Cell, Edges, divide, moved
from geofence.orientation import maybe_on, side

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Bools = NDArray[np.bool_]

#: A cell with more edges is divided, unless it is of the smallest.
LEAF_EDGES: Final = 6
#: What to keep of the tree: some 40 MB each of cells and of edges in leaves. A country takes a tenth of it.
MAX_CELLS: Final = 8_388_608
MAX_ROWS: Final = 4_194_304

#: Sizes of cells, as powers of two: 16 degrees, 1 degree, then 3.5 km, 430 m, 54 m and 7 m of latitude.
_SIZES: Final = (20, 16, 11, 8, 5, 2)
_DEGREE: Final = 16
_ROOT: Final = (23, 12)  # cells east, north: 368 x 192 degrees hold the globe
#: Where to begin below each degree: the cell of that degree, or the larger leaf around it. -1: not looked up yet.
_TOP: Final = (368, 192)
#: Cells times parts looked at in one go when cells are divided: bounds the memory that takes.
_BLOCK: Final = 8_388_608

_LEAF: Final = {
    "set": np.int32,  # of the zones around the whole leaf
    "start": np.int32,  # its rows
    "count": np.int32,  # how many; -1: to be divided when the first point comes
    "east": np.float64,  # longitude of its corner
}
#: An edge in a leaf. A leaf's rows are ordered by part.
_ROW: Final = {
    "edge": np.int32,
    "over": np.int8,  # the corner's side of it if it spans the leaf's east side's longitude, otherwise 0
    "head": np.int8,  # 0, but in the first row of a part: 1 if the corner is outside that part, 2 if inside
}


@dataclass(slots=True, frozen=True)
class Leaves:
    """Where points fall. [n] each."""

    at: Ints  # the cell: equal for two points iff they share one
    leaf: NDArray[np.int32]
    count: NDArray[np.int32]  # of the leaf's edges


class Cells:
    """The tree over polygons.

    Args:
        parts: valid polygons within [-180, 180] x [-90, 90].
        zones: the zone of each, ascending.
        join: (set, zones) -> the set with these zones added; the empty set is 0.
    """

    def __init__(self, parts: NDArray[np.object_], zones: Ints, join: Callable[[int, tuple[int, ...]], int]) -> None:
        self._edges = Edges(parts)
        self._zones = zones
        self._join = join
        self.forgotten = 0
        self._cells = np.zeros(_ROOT[0] * _ROOT[1], np.int32)  # >= 0: where the smaller cells are; else ~leaf
        self._top = np.full(_TOP[0] * _TOP[1], -1, np.int32)
        self._size = np.zeros(len(self._cells), np.int8)  # of each cell, a power of two
        self._leaves: dict[str, NDArray[Any]] = {name: np.zeros(1024, kind) for name, kind in _LEAF.items()}
        self._rows: dict[str, NDArray[Any]] = {name: np.zeros(1024, kind) for name, kind in _ROW.items()}
        self._used = [len(self._cells), 0, 0]  # of cells, leaves, rows
        self._waiting: dict[int, Cell] = {}  # by leaf: to be divided
        self._plain: dict[int, int] = {}  # by set: the leaf without edges, one for all such cells
        names = np.arange(len(parts), dtype=np.int32)
        whole = Cell(0, 0, self._edges.all, names, np.zeros(len(names), bool))  # its corner is beyond every zone
        self._divide([whole], [0], [0], _ROOT, _SIZES[0])
        self._root = (self._cells.copy(), self._used.copy(), self._waiting.copy(), self._plain.copy())

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        waiting = sum(cell.nbytes for cell in self._waiting.values())
        arrays: tuple[NDArray[Any], ...] = (
            self._cells,
            self._top,
            self._size,
            *self._leaves.values(),
            *self._rows.values(),
        )
        return self._edges.nbytes + sum(array.nbytes for array in arrays) + waiting

    def find(self, lon: Floats, lat: Floats) -> Leaves:
        """The leaf of every point. [n] degrees in [-180, 180] x [-90, 90]."""
        if self._used[0] > MAX_CELLS or self._used[2] > MAX_ROWS:
            self._forget()
        x = ((lon + 180.0) * PER_DEGREE).astype(np.int64)
        y = ((lat + 90.0) * PER_DEGREE).astype(np.int64)
        while True:
            found = self._find(x, y)
            asked = np.flatnonzero(found.count < 0)
            if not len(asked):
                return found
            at, first = np.unique(found.at[asked], return_index=True)
            self._divide_waiting(found.leaf[asked[first]], at)

    def sets(self, leaves: Leaves) -> NDArray[np.int32]:
        """The set of zones around the whole of each leaf."""
        sets: NDArray[np.int32] = self._leaves["set"][leaves.leaf]
        return sets

    def inside(self, leaf: NDArray[np.int32], lon: Floats, lat: Floats) -> tuple[Ints, Ints]:
        """Which parts with edges in their leaf the points are in: (point, part) pairs, by point, then part."""
        point, row = self._spread(leaf)
        edge = self._rows["edge"][row]
        over, head = self._rows["over"][row], self._rows["head"][row]
        ax, ay, bx, by = self._edges.ends(edge)
        py = lat[point]
        # The points themselves, and where their paths bend.
        px = np.stack([lon, self._leaves["east"][leaf]])[:, point]
        here, bend = side(ax, ay, bx, by, px, py)
        bend = moved(bend, ax, ay, bx, by)
        crossed = ((ay > py) != (by > py)) & (here != bend)
        crossed ^= (over != 0) & (over != bend)
        heads = np.flatnonzero(head)
        within = np.logical_xor.reduceat(crossed, heads) ^ (head[heads] == 2)
        # On the edge itself; on its line but beyond its ends, it counts for nothing above.
        tied = np.flatnonzero(here == 0)
        if len(tied):
            ax, ay, bx, by, x, y = (v[tied] for v in (ax, ay, bx, by, px[0], py))
            on = (np.minimum(ax, bx) <= x) & (x <= np.maximum(ax, bx))
            on &= (np.minimum(ay, by) <= y) & (y <= np.maximum(ay, by))
            within[np.searchsorted(heads, tied[on], side="right") - 1] = True
        heads = heads[within]
        return point[heads], self._edges.part[edge[heads]].astype(np.int64)

    def clear(self, lon0: Floats, lat0: Floats, lon1: Floats, lat1: Floats, most: int = 32) -> Bools:
        """True only for straight moves within [-180, 180] x [-90, 90] that meet no edge of any part.

        A move through more than ``most`` cells is not called clear, nor is one that doubles cannot tell from touching.
        """
        out = np.zeros(len(lon0), bool)
        east, north = lon1 - lon0, lat1 - lat0
        length = np.maximum(np.abs(east), np.abs(north))
        going = np.arange(len(lon0))
        share = np.zeros(len(lon0))  # of the move that is known to be clear
        for _ in range(most):
            if not len(going):
                break
            x, y = lon0[going], lat0[going]
            dx, dy = east[going], north[going]
            here = self.find(x + share * dx, y + share * dy)
            edged = np.flatnonzero(here.count)
            free = np.ones(len(going), bool)
            if len(edged):
                free[edged] = ~self._touches(here.leaf[edged], *(v[going[edged]] for v in (lon0, lat0, lon1, lat1)))
            size = np.ldexp(1.0 / PER_DEGREE, self._size[here.at].astype(np.int32))
            west = np.floor((x + share * dx + 180.0) / size) * size - 180.0
            south = np.floor((y + share * dy + 90.0) / size) * size - 90.0
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                reach = np.minimum(
                    np.where(dx > 0, (west + size - x) / dx, np.where(dx < 0, (west - x) / dx, np.inf)),
                    np.where(dy > 0, (south + size - y) / dy, np.where(dy < 0, (south - y) / dy, np.inf)),
                )
                # A fifth of the padding into the next cell.
                share = np.maximum(reach, share) + 0.2 * PAD / length[going]
            out[going[free & (reach >= 1.0)]] = True
            more = free & (reach < 1.0)
            out[going[more & (share >= 1.0)]] = True
            more &= share < 1.0
            going, share = going[more], share[more]
        return out

    # --- reading

    def _find(self, x: Ints, y: Ints) -> Leaves:
        degree = (y >> _DEGREE) * _TOP[0] + (x >> _DEGREE)
        at = self._top[degree].astype(np.int64)
        if at.min(initial=0) < 0:
            self._look_up(np.unique(degree[at < 0]))
            at = self._top[degree].astype(np.int64)
        value = self._cells[at]
        down = np.flatnonzero(value >= 0)
        x, y, block = x[down], y[down], value[down]
        size = _DEGREE
        for smaller in _SIZES[2:]:
            if not len(down):
                break
            bits = size - smaller
            size, last = smaller, (1 << bits) - 1
            place = block + (((y >> size & last) << bits) + (x >> size & last))
            block = self._cells[place]
            at[down], value[down] = place, block
            deeper = np.flatnonzero(block >= 0)
            down, x, y, block = down[deeper], x[deeper], y[deeper], block[deeper]
        leaf = ~value
        return Leaves(at, leaf, self._leaves["count"][leaf])

    def _look_up(self, degree: Ints) -> None:
        """Where to begin below each of these degrees."""
        y, x = np.divmod(degree, _TOP[0])
        root = (y >> 4) * _ROOT[0] + (x >> 4)
        leaves = np.unique(root)
        leaves = leaves[self._cells[leaves] < 0]
        asked = leaves[self._leaves["count"][~self._cells[leaves]] < 0]
        if len(asked):
            self._divide_waiting(~self._cells[asked], asked)
        value = self._cells[root]
        self._top[degree] = np.where(value >= 0, value + ((y & 15) << 4) + (x & 15), root)

    def _spread(self, leaf: NDArray[np.int32]) -> tuple[Ints, Ints]:
        """(index into ``leaf``, row) for every row of every leaf."""
        count = self._leaves["count"][leaf].astype(np.int64)
        point = np.repeat(np.arange(len(leaf)), count)
        first = self._leaves["start"][leaf] - (np.cumsum(count) - count)
        return point, np.arange(len(point)) + first[point]

    def _touches(self, leaf: NDArray[np.int32], lon0: Floats, lat0: Floats, lon1: Floats, lat1: Floats) -> Bools:
        """Whether a move may meet an edge of a leaf."""
        move, row = self._spread(leaf)
        ax, ay, bx, by = self._edges.ends(self._rows["edge"][row])
        x0, y0, x1, y1 = lon0[move], lat0[move], lon1[move], lat1[move]
        near = (np.minimum(ax, bx) <= np.maximum(x0, x1)) & (np.maximum(ax, bx) >= np.minimum(x0, x1))
        near &= (np.minimum(ay, by) <= np.maximum(y0, y1)) & (np.maximum(ay, by) >= np.minimum(y0, y1))
        pairs = np.flatnonzero(near)
        out = np.zeros(len(leaf), bool)
        if len(pairs):
            ax, ay, bx, by, x0, y0, x1, y1 = (v[pairs] for v in (ax, ay, bx, by, x0, y0, x1, y1))
            apart = maybe_on(ax, ay, bx, by, x0, y0) * maybe_on(ax, ay, bx, by, x1, y1) > 0
            apart |= maybe_on(x0, y0, x1, y1, ax, ay) * maybe_on(x0, y0, x1, y1, bx, by) > 0
            out[move[pairs[~apart]]] = True
        return out

    # --- making

    def _forget(self) -> None:
        cells, used, waiting, plain = self._root
        self._cells, self._size = cells.copy(), self._size[: used[0]].copy()
        self._leaves = {name: column[: used[1]].copy() for name, column in self._leaves.items()}
        self._rows = {name: column[: used[2]].copy() for name, column in self._rows.items()}
        self._top[:] = -1
        self._used, self._waiting, self._plain = used.copy(), waiting.copy(), plain.copy()
        self.forgotten += 1

    def _divide_waiting(self, leaf: NDArray[np.integer[Any]], at: Ints) -> None:
        """Divide cells, those of one size together, as many at a time as memory is given for."""
        sizes = self._size[at]
        for size in np.unique(sizes).tolist():
            smaller = _SIZES[_SIZES.index(size) + 1]
            fan = 1 << (size - smaller)
            these = np.flatnonzero(sizes == size)
            while len(these):
                load = np.cumsum([len(self._waiting[number].parts) * fan * fan for number in leaf[these].tolist()])
                many = max(1, int(np.searchsorted(load, _BLOCK)))
                some, these = these[:many], these[many:]
                numbers = leaf[some].tolist()
                blocks = [self._used[0] + i * fan * fan for i in range(len(some))]
                self._used[0] += len(some) * fan * fan
                self._cells, self._size = _room(self._cells, self._used[0]), _room(self._size, self._used[0])
                sets = self._leaves["set"][numbers].tolist()
                self._divide([self._waiting.pop(n) for n in numbers], sets, blocks, (fan, fan), smaller)
                self._cells[at[some]] = blocks

    def _divide(self, cells: list[Cell], sets: list[int], blocks: list[int], fan: tuple[int, int], shift: int) -> None:
        """Fill in the smaller cells of cells of one size (``geofence.division``) from ``blocks`` on."""
        across, up = fan
        many = across * up
        made = divide(self._edges, cells, fan, shift)
        around = np.concatenate(
            [self._around(number, inside, parts) for number, (parts, inside) in zip(sets, made.around, strict=True)]
        )
        place = made.owner * many + made.child
        starts = np.flatnonzero(np.r_[True, place[1:] != place[:-1]]) if len(place) else np.zeros(0, np.int64)
        counts = np.diff(np.r_[starts, len(place)])
        large = (counts > LEAF_EDGES) & (shift > _SIZES[-1])
        leaves = np.empty(len(starts), np.int64)
        small, rows = starts[~large], np.flatnonzero(np.repeat(~large, counts))
        heads = np.where(made.head[rows], 1 + made.corner[rows], 0)
        leaves[~large] = self._add(
            around[place[small]], counts[~large], made.east[small], made.edge[rows], made.over[rows], heads
        )
        leaves[large] = self._add_waiting(around[place[starts[large]]])
        for leaf, start, count in np.stack([leaves, starts, counts], axis=1)[large].tolist():
            y, x = divmod(int(made.child[start]), across)
            cell = cells[int(made.owner[start])]
            own = slice(start, start + count)
            first = start + np.flatnonzero(made.head[own])
            self._waiting[leaf] = Cell(
                cell.x * across + x,
                cell.y * up + y,
                made.edge[own].astype(np.int32),
                self._edges.part[made.edge[first]],
                made.corner[first],
            )
        values = np.array([self._plain_leaf(number) for number in around.tolist()])
        values[place[starts]] = leaves
        for i, block in enumerate(blocks):
            self._cells[block : block + many] = ~values[i * many : (i + 1) * many]
            self._size[block : block + many] = shift

    def _around(self, number: int, inside: Bools, parts: Ints) -> Ints:
        """The set of the zones around the whole of each smaller cell. inside: [part, smaller cell]."""
        if not inside.any():
            return np.full(inside.shape[1], number)
        patterns = np.ascontiguousarray(np.packbits(inside, axis=0).T).view(f"S{-(-len(parts) // 8)}").ravel().tolist()
        sets: dict[bytes, int] = {}
        for child, pattern in enumerate(patterns):
            if pattern not in sets:
                sets[pattern] = self._join(number, tuple(self._zones[parts[inside[:, child]]].tolist()))
        return np.array([sets[pattern] for pattern in patterns])

    def _plain_leaf(self, number: int) -> int:
        leaf = self._plain.get(number)
        if leaf is None:
            none = np.zeros(0, np.int64)
            leaf = self._plain[number] = int(
                self._add(np.array([number]), np.zeros(1), np.zeros(1), none, none, none)[0]
            )
        return leaf

    def _add_waiting(self, sets: Ints) -> Ints:
        none = np.zeros(0, np.int64)
        leaves = self._add(sets, np.zeros(len(sets)), np.zeros(len(sets)), none, none, none)
        self._leaves["count"][leaves] = -1
        return leaves

    def _add(
        self,
        sets: Ints,
        counts: NDArray[Any],
        east: Floats,
        edges: NDArray[Any],
        over: NDArray[Any],
        heads: NDArray[Any],
    ) -> Ints:
        """New leaves with so many rows each; their numbers."""
        leaf, row = self._used[1:]
        self._used[1:] = leaf + len(sets), row + len(edges)
        new, rows = slice(leaf, self._used[1]), slice(row, self._used[2])
        starts = row + np.cumsum(counts) - counts
        for name, column in (("set", sets), ("start", starts), ("count", counts), ("east", east)):
            self._leaves[name] = _room(self._leaves[name], self._used[1])
            self._leaves[name][new] = column
        for name, column in (("edge", edges), ("over", over), ("head", heads)):
            self._rows[name] = _room(self._rows[name], self._used[2])
            self._rows[name][rows] = column
        return np.arange(leaf, self._used[1])


def _room(array: NDArray[Any], size: int) -> NDArray[Any]:
    if size <= len(array):
        return array
    grown = np.zeros(max(size, 2 * len(array)), array.dtype)
    grown[: len(array)] = array
    return grown
