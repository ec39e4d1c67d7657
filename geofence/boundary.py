"""How far it is to a zone's boundary, on the sphere.

Edges are straight in longitude and latitude, as everywhere (``geofence.index``). The nearest place on each edge is
sought in a plane around the point in which a degree of longitude is as long as midway between the point and what is
looked at; the distance to the nearest place is then the great circle's. Up to 100 km away and 70 degrees of latitude
that is wrong by less than a thousandth, and never too short: it is the way to a place that is on the boundary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import shapely

from geofence.sphere import all_metres

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


class Boundary:
    """The edges of a zone, or a line."""

    def __init__(self, geometry: shapely.Geometry) -> None:
        edges = [
            np.concatenate([xy[:-1], xy[1:]], axis=1)
            for part in shapely.get_parts(geometry).tolist()
            for xy in map(shapely.get_coordinates, (part.exterior, *part.interiors) if _area(part) else (part,))
        ]
        ends = np.concatenate(edges)
        west, east = ends[:, (0, 2)].min(axis=1), ends[:, (0, 2)].max(axis=1)
        if _area(geometry) and west.min() == -180.0 and east.max() == 180.0:
            # A zone that was cut at the 180th meridian has no boundary there.
            ends = ends[(east != -180.0) & (west != 180.0)]
        self._ends = ends

    def distance(self, lon: float, lat: float) -> float:
        """Metres from a place in degrees to the nearest of the boundary; infinite where there is no boundary."""
        if not len(self._ends):
            return float("inf")
        ax, ay, bx, by = self._ends.T
        middle = (ax + bx) / 2 - lon
        ax, bx = ax - lon - 360.0 * np.round(middle / 360.0), bx - ax  # as a whole to the nearer side of the globe
        by = by - ay
        # Metres do not matter for choosing: degrees of latitude do.
        scale = np.cos(np.radians((lat + np.clip(lat, np.minimum(ay, ay + by), np.maximum(ay, ay + by))) / 2))
        x0, y0, dx, dy = ax * scale, ay - lat, bx * scale, by
        length = dx * dx + dy * dy
        along = np.clip(-(x0 * dx + y0 * dy) / np.where(length > 0, length, 1.0), 0.0, 1.0)
        x, y = ax + along * bx, y0 + along * dy
        squared = (x * scale) ** 2 + y**2
        near = squared <= squared.min() * 1.01 + 1e-18
        return float(all_metres(0.0, lat, x[near], lat + y[near]).min())


def _area(geometry: shapely.Geometry) -> bool:
    return isinstance(geometry, shapely.Polygon | shapely.MultiPolygon)
