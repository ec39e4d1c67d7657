"""Zones as a ground truth sees them: exact crossings of a straight segment with polygons, in plain arithmetic.

Written apart from ``geofence`` on purpose: a truth computed by the code under test would prove nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from simulators.events import BadConfig

if TYPE_CHECKING:
    from pathlib import Path

    from simulators.kinematics import Place

Ring = tuple["Place", ...]


class BadZones(BadConfig):
    """A zone file that cannot be read, or holds no polygon."""


@dataclass(slots=True, frozen=True)
class Area:
    """A polygon or multipolygon with its holes. By the even-odd rule all rings count alike, so they lie in one list.

    ``bounds`` is west, south, east, north.
    """

    id: str
    rings: tuple[Ring, ...]
    bounds: tuple[float, float, float, float]

    def contains(self, place: Place) -> bool:
        """Whether the place lies inside (even-odd rule; on the boundary either answer may come)."""
        x, y = place
        west, south, east, north = self.bounds
        if not (west <= x <= east and south <= y <= north):
            return False
        inside = False
        for ring in self.rings:
            for (x1, y1), (x2, y2) in pairwise(ring):
                if (y1 > y) != (y2 > y) and x < x1 + (y - y1) / (y2 - y1) * (x2 - x1):
                    inside = not inside
        return inside

    def crossings(self, a: Place, b: Place) -> list[float]:
        """Where the way from ``a`` to ``b`` changes sides of the boundary: parts of it in [0, 1], ascending."""
        west, south, east, north = self.bounds
        if max(a[0], b[0]) < west or min(a[0], b[0]) > east or max(a[1], b[1]) < south or min(a[1], b[1]) > north:
            return []
        dx, dy = b[0] - a[0], b[1] - a[1]
        hits = []
        for ring in self.rings:
            for (x1, y1), (x2, y2) in pairwise(ring):
                ex, ey = x2 - x1, y2 - y1
                cross = dx * ey - dy * ex
                if cross == 0.0:
                    continue
                t = ((x1 - a[0]) * ey - (y1 - a[1]) * ex) / cross
                u = ((x1 - a[0]) * dy - (y1 - a[1]) * dx) / cross
                if 0.0 <= t <= 1.0 and 0.0 <= u <= 1.0:
                    hits.append(t)
        cuts = [0.0, *sorted(hits), 1.0]
        sides = [self.contains((a[0] + (t + s) / 2 * dx, a[1] + (t + s) / 2 * dy)) for t, s in pairwise(cuts)]
        # A vertex is hit by two edges, and an edge may only be touched: what counts is a change of side. A piece of
        # no length has no side of its own and takes the one before it.
        changes: list[float] = []
        before = self.contains(a)
        for (t, s), inside in zip(pairwise(cuts), sides, strict=True):
            if s - t > 1e-12 and inside != before:
                changes.append(t)
                before = inside
        return changes

    def heart(self) -> Place:
        """A place well inside: the middle of the widest piece of the parallels through its middle and quarters."""
        west, south, _, north = self.bounds
        best = (0.0, (west, south))
        for part in (0.5, 0.25, 0.75):
            # A hair off the round fraction, so that no vertex lies on the scan line.
            y = south + (part + 1e-7) * (north - south)
            xs = sorted(
                x1 + (y - y1) / (y2 - y1) * (x2 - x1)
                for ring in self.rings
                for (x1, y1), (x2, y2) in pairwise(ring)
                if (y1 > y) != (y2 > y)
            )
            best = max(best, *((b - a, ((a + b) / 2, y)) for a, b in zip(xs[::2], xs[1::2], strict=True)))
        return best[1]


def area(identifier: str, polygons: list[list[list[list[float]]]]) -> Area:
    """An area from GeoJSON MultiPolygon coordinates."""
    rings = tuple(tuple((float(p[0]), float(p[1])) for p in ring) for polygon in polygons for ring in polygon)
    if not rings or any(len(ring) < 4 or ring[0] != ring[-1] for ring in rings):
        raise BadZones(f"zone {identifier!r}: a ring is not closed or has fewer than four positions")
    xs = [p[0] for ring in rings for p in ring]
    ys = [p[1] for ring in rings for p in ring]
    return Area(identifier, rings, (min(xs), min(ys), max(xs), max(ys)))


def load_areas(path: Path) -> tuple[Area, ...]:
    """The polygons and multipolygons of a GeoJSON FeatureCollection (RFC 7946); other geometries are passed over.

    A zone is known by its feature's ``id``, else by its property ``id``, else ``name``.

    Raises:
        BadZones: the file cannot be read, is not a FeatureCollection, or has no polygon in it.
    """
    try:
        features = json.loads(path.read_text("utf-8"))["features"]
        found = []
        for number, feature in enumerate(features):
            properties = feature.get("properties") or {}
            name = feature.get("id") or properties.get("id") or properties.get("name") or f"zone-{number + 1}"
            geometry = feature.get("geometry") or {}
            match geometry.get("type"):
                case "Polygon":
                    found.append(area(str(name), [geometry["coordinates"]]))
                case "MultiPolygon":
                    found.append(area(str(name), geometry["coordinates"]))
    except OSError as error:
        raise BadZones(f"{path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        if isinstance(error, BadZones):
            raise BadZones(f"{path}: {error}") from error
        raise BadZones(f"{path}: not a GeoJSON FeatureCollection ({type(error).__name__}: {error})") from error
    if not found:
        raise BadZones(f"{path}: no polygon in it")
    return tuple(found)
