"""The oracle of the index: point in polygon and segment meets polygon, in fractions."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import shapely

Point = tuple[Fraction, Fraction]


def exact(points: object) -> list[Point]:
    return [(Fraction(x), Fraction(y)) for x, y in np.asarray(points).tolist()]


def side(a: Point, b: Point, c: Point) -> int:
    """On which side of the line a-b point c lies."""
    cross = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
    return (cross > 0) - (cross < 0)


def on_segment(a: Point, b: Point, p: Point) -> bool:
    return (
        side(a, b, p) == 0 and min(a[0], b[0]) <= p[0] <= max(a[0], b[0]) and min(a[1], b[1]) <= p[1] <= max(a[1], b[1])
    )


def ring_place(ring: list[Point], p: Point) -> int:
    """1 inside, 0 on the edge, -1 outside."""
    inside = False
    for a, b in itertools.pairwise(ring):
        if on_segment(a, b, p):
            return 0
        if (a[1] > p[1]) != (b[1] > p[1]):
            x = a[0] + (p[1] - a[1]) * (b[0] - a[0]) / (b[1] - a[1])
            inside ^= x > p[0]
    return 1 if inside else -1


def rings(polygon: shapely.Polygon) -> tuple[list[Point], list[list[Point]]]:
    return exact(polygon.exterior.coords), [exact(hole.coords) for hole in polygon.interiors]


def contains(geometry: shapely.Geometry, p: Point) -> bool:
    for polygon in shapely.get_parts(geometry).tolist():
        shell, holes = rings(polygon)
        if ring_place(shell, p) >= 0 and all(ring_place(hole, p) <= 0 for hole in holes):
            return True
    return False


def segments_meet(a: Point, b: Point, c: Point, d: Point) -> bool:
    if side(a, b, c) != side(a, b, d) and side(c, d, a) != side(c, d, b):
        return True
    return on_segment(a, b, c) or on_segment(a, b, d) or on_segment(c, d, a) or on_segment(c, d, b)


def meets(geometry: shapely.Geometry, a: Point, b: Point) -> bool:
    if contains(geometry, a) or contains(geometry, b):
        return True
    for polygon in shapely.get_parts(geometry).tolist():
        shell, holes = rings(polygon)
        for ring in (shell, *holes):
            if any(segments_meet(a, b, c, d) for c, d in itertools.pairwise(ring)):
                return True
    return False
