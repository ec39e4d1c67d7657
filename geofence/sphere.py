"""Distances and places between places, on a sphere. Degrees, metres, microseconds, knots."""

from __future__ import annotations

from math import asin, atan2, cos, degrees, radians, sin, sqrt
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

EARTH_RADIUS: Final = 6_371_008.8  # m, IUGG mean radius
KNOT: Final = 1852 / 3600  # m/s
METRES_PER_DEGREE: Final = EARTH_RADIUS * radians(1.0)


def east(lon0: float, lon1: float) -> float:
    """Degrees from one longitude to another, the shorter way."""
    return (lon1 - lon0 + 540.0) % 360.0 - 180.0


def metres(lon0: float, lat0: float, lon1: float, lat1: float) -> float:
    """Great-circle distance (haversine)."""
    x, y = radians(lon1 - lon0), radians(lat1 - lat0)
    chord = sin(y / 2) ** 2 + cos(radians(lat0)) * cos(radians(lat1)) * sin(x / 2) ** 2
    return 2 * EARTH_RADIUS * asin(sqrt(min(1.0, chord)))


def all_metres(lon0: float | Floats, lat0: float | Floats, lon1: float | Floats, lat1: float | Floats) -> Floats:
    """``metres`` of many."""
    x, y = np.radians(np.subtract(lon1, lon0)), np.radians(np.subtract(lat1, lat0))
    chord = np.sin(y / 2) ** 2 + np.cos(np.radians(lat0)) * np.cos(np.radians(lat1)) * np.sin(x / 2) ** 2
    out: Floats = 2 * EARTH_RADIUS * np.arcsin(np.sqrt(np.minimum(1.0, chord)))
    return out


def knots(distance: float, microseconds: int) -> float:
    """The speed that covers a distance in a time; infinite if there is none."""
    return distance / (microseconds / 1e6) / KNOT if microseconds > 0 else float("inf")


def course(lon0: float, lat0: float, lon1: float, lat1: float) -> float:
    """The initial course from one place to another, degrees true."""
    x, a, b = radians(east(lon0, lon1)), radians(lat0), radians(lat1)
    return degrees(atan2(sin(x) * cos(b), cos(a) * sin(b) - sin(a) * cos(b) * cos(x))) % 360.0


def sailed(lon: float, lat: float, heading: float, distance: float) -> tuple[float, float]:
    """The place metres away on a great circle that begins at a course in degrees."""
    away, bearing, y = distance / EARTH_RADIUS, radians(heading), radians(lat)
    north = asin(max(-1.0, min(1.0, sin(y) * cos(away) + cos(y) * sin(away) * cos(bearing))))
    turned = atan2(sin(bearing) * sin(away) * cos(y), cos(away) - sin(y) * sin(north))
    return (lon + degrees(turned) + 540.0) % 360.0 - 180.0, degrees(north)


def between(time: int, first: tuple[int, float, float], second: tuple[int, float, float]) -> tuple[float, float]:
    """Where something was at a time between two fixes (time, lon, lat), if it kept course and speed."""
    if second[0] == first[0]:
        return second[1], second[2]
    share = (time - first[0]) / (second[0] - first[0])
    lon = first[1] + share * east(first[1], second[1])
    return (lon + 540.0) % 360.0 - 180.0, first[2] + share * (second[2] - first[2])
