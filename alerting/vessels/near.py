"""Whether a place is within a distance of zones: in port, near the shore."""

from __future__ import annotations

from math import cos, radians
from typing import TYPE_CHECKING

import numpy as np
import shapely

from geofence.sphere import METRES_PER_DEGREE, east

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from geofence.zones import Zone

    Floats = NDArray[np.float64]


class Near:
    """Distances to zones, 0 inside them, in a plane around each: within some 0.5 % of the sphere near them."""

    def __init__(self, zones: Iterable[Zone], reach: float) -> None:
        """``reach``: metres; farther than that from all of them, distances are infinite."""
        self._reach = reach
        self._zones: list[tuple[str, float, float, shapely.Geometry, tuple[float, ...]]] = []
        for zone in sorted(zones, key=lambda zone: zone.id):
            west, south, right, north = zone.geometry.bounds
            lon, lat = (west + right) / 2, (south + north) / 2
            scale = METRES_PER_DEGREE * cos(radians(lat))
            plane = shapely.transform(
                zone.geometry, lambda c, x=lon, y=lat, s=scale: (c - (x, y)) * (s, METRES_PER_DEGREE)
            )
            shapely.prepare(plane)
            self._zones.append((zone.id, lon, lat, plane, plane.bounds))

    def __bool__(self) -> bool:
        return bool(self._zones)

    def nearest(self, lon: float, lat: float) -> tuple[str, float] | None:
        """The zone nearest to a place and metres to it; None if none is within reach."""
        found: tuple[str, float] | None = None
        for zone_id, x0, y0, plane, bounds in self._zones:
            x = east(x0, lon) * METRES_PER_DEGREE * cos(radians(y0))
            y = (lat - y0) * METRES_PER_DEGREE
            if not (
                bounds[0] - self._reach <= x <= bounds[2] + self._reach
                and bounds[1] - self._reach <= y <= bounds[3] + self._reach
            ):
                continue
            away = float(shapely.distance(plane, shapely.Point(x, y)))
            if away <= self._reach and (found is None or away < found[1]):
                found = zone_id, away
        return found

    def holds(self, lon: float, lat: float) -> bool:
        """Whether a place is within reach of any of the zones."""
        return self.nearest(lon, lat) is not None

    def maybe(self, lon: Floats, lat: Floats) -> NDArray[np.bool_]:
        """False where a place is certainly out of reach."""
        out = np.zeros(len(lon), bool)
        for _, x0, y0, _, bounds in self._zones:
            x = ((lon - x0 + 540.0) % 360.0 - 180.0) * (METRES_PER_DEGREE * cos(radians(y0)))
            y = (lat - y0) * METRES_PER_DEGREE
            out |= (
                (x >= bounds[0] - self._reach)
                & (x <= bounds[2] + self._reach)
                & (y >= bounds[1] - self._reach)
                & (y <= bounds[3] + self._reach)
            )
        return out


def within(zones: Sequence[Zone], ids: Iterable[str], reach: float) -> Near:
    """The zones of these ids.

    Raises:
        ValueError: one of them is not there.
    """
    wanted = set(ids)
    missing = sorted(wanted - {zone.id for zone in zones})
    if missing:
        raise ValueError(f"rules speak of unknown zones: {', '.join(missing)}")
    return Near((zone for zone in zones if zone.id in wanted), reach)
