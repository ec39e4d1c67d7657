"""Where is it? Points and moves against many zones at once, exactly.

A point on an edge or a vertex counts as inside; a move that merely touches a zone counts as through it. Both are
decided exactly, so there is no tolerance to choose: for points by ``geofence.cells``, for the few moves that may have
met an edge by GEOS.

A move is taken to be straight in longitude and latitude, the shorter way round: over the distance between two fixes
the difference from a great circle or a rhumb line is far below what the fixes themselves are worth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import shapely

from geofence.cells import Cells
from geofence.sets import NOWHERE, ZoneSets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from geofence.zones import Zone

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]


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
        geometry = np.array([zone.geometry for zone in self.zones], dtype=object)
        self._parts, self._part_zone = shapely.get_parts(geometry, return_index=True)
        shapely.prepare(self._parts)
        self._tree = shapely.STRtree(self._parts)
        bounds = shapely.bounds(self._parts)
        low, high = bounds[:, :2].min(axis=0, initial=np.inf), bounds[:, 2:].max(axis=0, initial=-np.inf)
        self._west, self._south = float(low[0]), float(low[1])
        self._east, self._north = float(high[0]), float(high[1])
        self._sets = ZoneSets(self.ids)
        self._cells = Cells(self._parts, self._part_zone, self._sets.join)

    @property
    def nbytes(self) -> int:
        """Bytes of the index's own arrays; GEOS's copies of the zones are not in it."""
        return self._cells.nbytes

    def zone_set(self, number: int) -> tuple[str, ...]:
        """The zone ids of an interned set, in the order of ``zones``."""
        return self._sets.names(number)

    def locate(self, lon: Floats, lat: Floats) -> NDArray[np.int32]:
        """The zone set of every point. [n] degrees -> [n]. What is no place on the globe, NaN too, is in no zone."""
        if self._all_near(lon, lat):
            return self._within(lon, lat)
        out = np.full(len(lon), NOWHERE, np.int32)
        at_edge = np.abs(lon) == 180.0
        level = (lat >= self._south) & (lat <= self._north)
        near = np.flatnonzero(((lon >= self._west) & (lon <= self._east) | at_edge) & level)
        if not len(near):
            return out
        out[near] = self._within(lon[near], lat[near])
        edge = np.flatnonzero(at_edge & level)
        if len(edge):  # one meridian, two longitudes
            others = self._within(-lon[edge], lat[edge])
            out[edge] = [
                self._sets.join(a, self._sets[b]) for a, b in zip(out[edge].tolist(), others.tolist(), strict=True)
            ]
        return out

    def clear(self, lon0: Floats, lat0: Floats, lon1: Floats, lat1: Floats) -> NDArray[np.bool_]:
        """True for moves that certainly meet no edge of any zone: nothing on the way but what is around both ends.

        Most moves are called so, at a fraction of the cost of ``crossed``; a False says nothing.
        """
        out = np.zeros(len(lon0), bool)
        far = np.maximum(np.abs(lon0), np.abs(lon1))
        inner = np.flatnonzero(
            (far < 180.0) & (np.maximum(np.abs(lat0), np.abs(lat1)) <= 90.0) & (np.abs(lon1 - lon0) < 180.0)
        )
        out[inner] = self._cells.clear(lon0[inner], lat0[inner], lon1[inner], lat1[inner])
        return out

    def crossed(
        self, lon0: Floats, lat0: Floats, lon1: Floats, lat1: Floats, but: NDArray[np.int32] | None = None
    ) -> Crossings:
        """The zones that each straight move from (lon0, lat0) to (lon1, lat1) meets, endpoints included.

        A move of no length meets nothing. ``but``: [k, n] sets of zones that are not asked about, k for each move.
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
        found = self._meeting(start, lat0[move], start + step[move], lat1[move], None if but is None else but[:, move])
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

    def _all_near(self, lon: Floats, lat: Floats) -> bool:
        """Whether all points are about where zones are, none of them at the edge of the map: the ordinary case."""
        if not len(lon):
            return False
        west, east = lon.min(), lon.max()
        return bool(
            min(west, -east) > -180.0
            and self._west <= west
            and east <= self._east
            and self._south <= lat.min()
            and lat.max() <= self._north
        )

    def _within(self, lon: Floats, lat: Floats) -> NDArray[np.int32]:
        found = self._cells.find(lon, lat)
        sets = self._cells.sets(found)
        edged = np.flatnonzero(found.count)
        if len(edged):
            point, part = self._cells.inside(found.leaf[edged], lon[edged], lat[edged])
            self._sets.add(sets, edged[point], self._part_zone[part])
        return sets

    def _meeting(
        self, lon0: Floats, lat0: Floats, lon1: Floats, lat1: Floats, but: NDArray[np.int32] | None
    ) -> tuple[Ints, Ints, Floats]:
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
        if but is not None:
            pairs = zip(self._part_zone[part].tolist(), but[:, near[line]].T.tolist(), strict=True)
            asked = np.array([all(zone not in self._sets[number] for number in sets) for zone, sets in pairs], bool)
            line, part = line[asked], part[asked]
        hit = shapely.intersects(self._parts[part], lines[line])
        line, part = line[hit], part[hit]
        fraction = np.array(
            [_first_meeting(lines[i], self._parts[j]) for i, j in zip(line.tolist(), part.tolist(), strict=True)],
            dtype=np.float64,
        )
        return near[line], self._part_zone[part], fraction


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
