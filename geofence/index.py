"""Where is it? Points and moves against many zones at once, exactly.

A point on an edge or a vertex counts as inside; a move that merely touches a zone counts as through it. GEOS decides
both with robust predicates, so there is no tolerance to choose. Candidates come from a tree of bounding boxes of the
zones' parts; a finer structure (a grid of cells known to be inside or outside) can stand before it without any change
outside this module.

A move is taken to be straight in longitude and latitude, the shorter way round: over the distance between two fixes
the difference from a great circle or a rhumb line is far below what the fixes themselves are worth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import shapely

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from geofence.zones import Zone

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

#: The zone set of a point in no zone.
NOWHERE: Final = 0


@dataclass(slots=True, frozen=True)
class Crossings:
    """Moves that meet zones, one row per (move, zone), ordered by move, then zone."""

    move: Ints  # index into the arrays given
    zone: Ints  # index into ZoneIndex.zones
    fraction: Floats  # of the move at its first point in the zone, 0..1
    lon: Floats  # that point
    lat: Floats


class ZoneIndex:
    """An index over fixed zones. Zone sets are interned: equal sets have equal ids for as long as the index lives."""

    def __init__(self, zones: Sequence[Zone]) -> None:
        self.zones = tuple(zones)
        self.ids = tuple(zone.id for zone in self.zones)
        self._geometry = np.array([zone.geometry for zone in self.zones], dtype=object)
        self._parts, self._part_zone = shapely.get_parts(self._geometry, return_index=True)
        shapely.prepare(self._parts)
        self._tree = shapely.STRtree(self._parts)
        bounds = shapely.bounds(self._parts)
        low, high = bounds[:, :2].min(axis=0, initial=np.inf), bounds[:, 2:].max(axis=0, initial=-np.inf)
        self._west, self._south = float(low[0]), float(low[1])
        self._east, self._north = float(high[0]), float(high[1])
        self._sets: list[tuple[int, ...]] = [()]
        self._names: list[tuple[str, ...]] = [()]
        self._grown: dict[tuple[int, int], int] = {}  # (set, zone greater than all of its) -> set

    def zone_set(self, number: int) -> tuple[str, ...]:
        """The zone ids of an interned set, in the order of ``zones``."""
        return self._names[number]

    def locate(self, lon: Floats, lat: Floats) -> NDArray[np.int32]:
        """The zone set of every point. [n] degrees, longitude in [-180, 180] -> [n]."""
        out = np.full(len(lon), NOWHERE, np.int32)
        near = np.flatnonzero(
            (lon >= self._west) & (lon <= self._east) & (lat >= self._south) & (lat <= self._north)
            | (np.abs(lon) == 180.0)
        )
        if not len(near) or not len(self._parts):
            return out
        point, zone = self._containing(lon[near], lat[near])
        edge = np.flatnonzero(np.abs(lon[near]) == 180.0)
        if len(edge):  # one meridian, two longitudes
            other, also = self._containing(-lon[near][edge], lat[near][edge])
            point, zone = np.concatenate([point, edge[other]]), np.concatenate([zone, also])
        pairs = np.unique(point * len(self.zones) + zone)
        point, zone = np.divmod(pairs, len(self.zones))
        out[near] = self._intern(point, zone, len(near))
        return out

    def crossed(self, lon0: Floats, lat0: Floats, lon1: Floats, lat1: Floats) -> Crossings:
        """The zones that each straight move from (lon0, lat0) to (lon1, lat1) meets, endpoints included.

        A move of no length meets nothing.
        """
        step = lon1 - lon0
        step = step - 360.0 * ((step > 180.0).astype(float) - (step < -180.0))
        move = np.arange(len(lon0))
        # Zones lie within [-180, 180]: a move that leaves it is asked about a second time, one turn further on.
        beyond = np.sign(lon0 + step) * (np.abs(lon0 + step) >= 180.0)
        again = np.flatnonzero((beyond != 0) | (np.abs(lon0) == 180.0))
        side = np.where(beyond[again] != 0, beyond[again], np.sign(lon0[again]))
        start = np.concatenate([lon0, lon0[again] - 360.0 * side])
        move = np.concatenate([move, again])
        found = self._meeting(start, lat0[move], start + step[move], lat1[move])
        line, zone, fraction = found
        key = move[line] * max(1, len(self.zones)) + zone
        order = np.lexsort((fraction, key))
        order = order[np.unique(key[order], return_index=True)[1]]
        move, zone, fraction = move[line][order], zone[order], fraction[order]
        lon = lon0[move] + fraction * step[move]
        return Crossings(
            move,
            zone,
            fraction,
            lon - 360.0 * ((lon > 180.0).astype(float) - (lon < -180.0)),
            lat0[move] + fraction * (lat1[move] - lat0[move]),
        )

    def _containing(self, lon: Floats, lat: Floats) -> tuple[Ints, Ints]:
        """(point, zone) pairs; a pair comes twice where two parts of a zone share the point."""
        point, part = self._tree.query(shapely.points(lon, lat))
        hit = shapely.intersects_xy(self._parts[part], lon[point], lat[point])
        return point[hit], self._part_zone[part[hit]]

    def _meeting(self, lon0: Floats, lat0: Floats, lon1: Floats, lat1: Floats) -> tuple[Ints, Ints, Floats]:
        """(line, zone, fraction of the line at first meeting); a pair may come twice, once per part."""
        near = np.flatnonzero(
            (np.minimum(lon0, lon1) <= self._east)
            & (np.maximum(lon0, lon1) >= self._west)
            & (np.minimum(lat0, lat1) <= self._north)
            & (np.maximum(lat0, lat1) >= self._south)
            & ((lon0 != lon1) | (lat0 != lat1))
        )
        if not len(near):
            return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
        ends = np.stack([lon0[near], lat0[near], lon1[near], lat1[near]], axis=1).reshape(-1, 2, 2)
        lines: NDArray[np.object_] = np.asarray(shapely.linestrings(ends), dtype=object)
        line, part = self._tree.query(lines)
        hit = shapely.intersects(self._parts[part], lines[line])
        line, part = line[hit], part[hit]
        fraction = np.array(
            [_first_meeting(lines[i], self._parts[j]) for i, j in zip(line.tolist(), part.tolist(), strict=True)],
            dtype=np.float64,
        )
        return near[line], self._part_zone[part], fraction

    def _intern(self, point: Ints, zone: Ints, points: int) -> NDArray[np.int32]:
        """Zone sets from (point, zone) pairs sorted by point, then zone: the k-th zone of every point in round k."""
        sets = np.full(points, NOWHERE, np.int32)
        starts = np.flatnonzero(np.r_[True, point[1:] != point[:-1]]) if len(point) else np.zeros(0, np.int64)
        counts = np.diff(np.r_[starts, len(point)])
        taken = 0
        while len(starts):
            who, what = point[starts], zone[starts + taken]
            grown, back = np.unique(sets[who].astype(np.int64) * len(self.zones) + what, return_inverse=True)
            ids = np.array([self._grow(*divmod(pair, len(self.zones))) for pair in grown.tolist()], np.int32)
            sets[who] = ids[back]
            taken += 1
            more = counts > taken
            starts, counts = starts[more], counts[more]
        return sets

    def _grow(self, number: int, zone: int) -> int:
        found = self._grown.get((number, zone))
        if found is None:
            found = self._grown[number, zone] = len(self._sets)
            self._sets.append((*self._sets[number], zone))
            self._names.append((*self._names[number], self.ids[zone]))
        return found


def _first_meeting(line: shapely.LineString, part: shapely.Polygon) -> float:
    """How far along the line its first point in the part lies, 0..1. The two are known to meet."""
    (x0, y0), (x1, y1) = shapely.get_coordinates(line).tolist()
    dx, dy = x1 - x0, y1 - y0
    length = dx * dx + dy * dy
    common = shapely.intersection(line, part)
    if common.is_empty:  # they touch at a point that no double lies on exactly
        common = shapely.shortest_line(line, part)
    along = ((shapely.get_coordinates(common) - (x0, y0)) @ (dx, dy)) / length
    return float(min(1.0, max(0.0, along.min())))
