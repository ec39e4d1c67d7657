"""Zones drawn as a point or a line with a size: circles and corridors, as the polygons that the index works on.

Sizes are metres on a sphere of the Earth's mean radius (which on the ellipsoid is up to 0.3 % off, as every spherical
distance). A circle is a polygon whose corners lie on two sides of it by turns of sagitta: it is nowhere farther from
the true circle than ``CIRCLE_ERROR`` of the radius. A corridor is all that is within half its width of its line, whose
edges are straight in longitude and latitude like all others: within ``CORRIDOR_ERROR`` of half the width, joined from
the hulls of circles around the ends of pieces of at most half a degree.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np
import shapely

from geofence.sphere import EARTH_RADIUS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

#: Of the radius, at most.
CIRCLE_ERROR: Final = 1e-4
#: Of half the width, at most.
CORRIDOR_ERROR: Final = 5e-4
#: Metres. A larger one is better drawn.
MAX_RADIUS: Final = 1_000_000.0
#: Degrees of latitude that no circle may reach beyond: there, edges straight in degrees bend too much.
MAX_LATITUDE: Final = 80.0
#: Edges of a circle, and of the circles at the joints of a corridor.
_CIRCLE: Final = 256
_JOINT: Final = 128
_PIECE: Final = 0.5  # degrees
MAX_PIECES: Final = 20_000


def circle(lon: float, lat: float, radius: float, edges: int = _CIRCLE) -> Floats:
    """The corners [edges + 1, 2] of a circle, closed; longitudes run on and may pass 180.

    Args:
        lon: degrees, of the centre.
        lat: degrees, likewise.
        radius: metres.
        edges: how many.

    Raises:
        ValueError: the radius is not between 0 and ``MAX_RADIUS``, or the circle reaches beyond ``MAX_LATITUDE``.
    """
    if not 0 < radius <= MAX_RADIUS:
        raise ValueError(f"{radius:g} m is no size: more than 0, at most {MAX_RADIUS:g}")
    if abs(lat) + math.degrees(radius / EARTH_RADIUS) > MAX_LATITUDE:
        raise ValueError(f"reaches beyond {MAX_LATITUDE:g} degrees of latitude")
    angle = np.linspace(0.0, 2 * np.pi, edges, endpoint=False)
    # Half of the sagitta farther out than the circle: so edges are as far inside it as corners are outside.
    away = radius / EARTH_RADIUS * (1 + (1 - math.cos(math.pi / edges)) / 2)
    north = np.arcsin(
        math.sin(math.radians(lat)) * np.cos(away) + math.cos(math.radians(lat)) * np.sin(away) * np.cos(angle)
    )
    east = np.arctan2(
        np.sin(angle) * np.sin(away) * math.cos(math.radians(lat)),
        np.cos(away) - math.sin(math.radians(lat)) * np.sin(north),
    )
    corners = np.stack([lon + np.degrees(east), np.degrees(north)], axis=1)
    return np.concatenate([corners, corners[:1]])


def corridor(line: Floats, width: float) -> shapely.Polygon:
    """All within half a width of a line.

    Args:
        line: [n, 2] degrees, longitudes running on.
        width: metres, from one side to the other.

    Raises:
        ValueError: as ``circle``, or the line is of more than ``MAX_PIECES`` pieces.
    """
    pieces = np.ceil(np.abs(np.diff(line, axis=0)).max(axis=1) / _PIECE).astype(int).clip(min=1)
    if pieces.sum() > MAX_PIECES:
        raise ValueError(f"a corridor of {pieces.sum()} half degrees; at most {MAX_PIECES} are taken")
    hulls = []
    for start, end, count in zip(line[:-1], line[1:], pieces.tolist(), strict=True):
        along = np.linspace(start, end, count + 1).tolist()
        joints = [circle(lon, lat, width / 2, _JOINT) for lon, lat in along]
        hulls += [shapely.convex_hull(shapely.MultiPoint(np.concatenate(pair))) for pair in pairwise(joints)]
    whole = shapely.union_all(hulls)
    assert isinstance(whole, shapely.Polygon)
    return whole
