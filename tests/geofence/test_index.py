"""The index agrees with exact arithmetic, edges and vertices included."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from geofence.index import ZoneIndex
from geofence.zones import Zone

Point = tuple[Fraction, Fraction]


def zone(name: str, geometry: shapely.Polygon | shapely.MultiPolygon) -> Zone:
    return Zone(name, name, name, "test", geometry)


# --- the oracle: point in polygon and segment meets polygon, in fractions ------------------------------------------


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


def contains(geometry: shapely.Polygon | shapely.MultiPolygon, p: Point) -> bool:
    for polygon in shapely.get_parts(geometry).tolist():
        shell, holes = rings(polygon)
        if ring_place(shell, p) >= 0 and all(ring_place(hole, p) <= 0 for hole in holes):
            return True
    return False


def segments_meet(a: Point, b: Point, c: Point, d: Point) -> bool:
    if side(a, b, c) != side(a, b, d) and side(c, d, a) != side(c, d, b):
        return True
    return on_segment(a, b, c) or on_segment(a, b, d) or on_segment(c, d, a) or on_segment(c, d, b)


def meets(geometry: shapely.Polygon | shapely.MultiPolygon, a: Point, b: Point) -> bool:
    if contains(geometry, a) or contains(geometry, b):
        return True
    for polygon in shapely.get_parts(geometry).tolist():
        shell, holes = rings(polygon)
        for ring in (shell, *holes):
            if any(segments_meet(a, b, c, d) for c, d in itertools.pairwise(ring)):
                return True
    return False


# --- strategies: small grids make points fall on edges and vertices, odd fractions make rounding matter ------------

cell = st.integers(0, 12)
scales = st.sampled_from([1.0, 0.1, 1 / 3, 0.001])


@st.composite
def polygons(draw: st.DrawFn) -> shapely.Polygon:
    """A valid polygon on a grid, star-shaped or not, maybe with a hole."""
    scale = draw(scales)
    points = draw(st.lists(st.tuples(cell, cell), min_size=3, max_size=7, unique=True))
    shell = shapely.MultiPoint(points).convex_hull if draw(st.booleans()) else shapely.Polygon(points)
    if not isinstance(shell, shapely.Polygon) or not shell.is_valid or shell.area == 0:
        shell = shapely.box(1, 1, 9, 8)
    if draw(st.booleans()):
        x, y = draw(cell), draw(cell)
        holed = shell.difference(shapely.box(x, y, x + 2, y + 1))
        if isinstance(holed, shapely.Polygon) and not holed.is_empty:
            shell = holed
    scaled = shapely.transform(shell, lambda xy: xy * scale + 107)
    return scaled if scaled.is_valid else shapely.box(107, 107, 107 + scale, 107 + scale)


@st.composite
def places(draw: st.DrawFn) -> tuple[float, float]:
    scale = draw(scales)
    half = draw(st.sampled_from([0.0, 0.5, 0.25]))
    return (draw(cell) + half) * scale + 107, (draw(cell) + draw(st.sampled_from([0.0, 0.5]))) * scale + 107


@settings(max_examples=150, deadline=None)
@given(st.lists(polygons(), min_size=1, max_size=5), st.lists(places(), min_size=1, max_size=20))
def test_a_point_is_in_exactly_the_zones_that_exact_arithmetic_says(
    shapes: list[shapely.Polygon], points: list[tuple[float, float]]
) -> None:
    zones = [zone(f"z{i}", shape) for i, shape in enumerate(shapes)]
    points += [tuple(p) for shape in shapes for p in shape.exterior.coords]  # type: ignore[misc]
    index = ZoneIndex(zones)
    lon, lat = np.array(points).T
    sets = index.locate(lon, lat)
    for (x, y), number in zip(points, sets.tolist(), strict=True):
        expected = tuple(z.id for z in zones if contains(z.geometry, (Fraction(x), Fraction(y))))
        assert index.zone_set(number) == expected
    assert (index.locate(lon, lat) == sets).all()


@settings(max_examples=150, deadline=None)
@given(st.lists(polygons(), min_size=1, max_size=4), st.lists(st.tuples(places(), places()), min_size=1, max_size=12))
def test_a_move_meets_exactly_the_zones_that_exact_arithmetic_says(
    shapes: list[shapely.Polygon], moves: list[tuple[tuple[float, float], tuple[float, float]]]
) -> None:
    moves = [m for m in moves if m[0] != m[1]]
    zones = [zone(f"z{i}", shape) for i, shape in enumerate(shapes)]
    found = ZoneIndex(zones).crossed(*np.array(moves, float).reshape(-1, 4).T)
    expected = [
        (i, j)
        for i, (a, b) in enumerate(moves)
        for j, z in enumerate(zones)
        if meets(z.geometry, *exact([a]), *exact([b]))
    ]
    assert list(zip(found.move.tolist(), found.zone.tolist(), strict=True)) == expected
    assert ((found.fraction >= 0) & (found.fraction <= 1)).all()
    for j, x, y in zip(found.zone.tolist(), found.lon.tolist(), found.lat.tolist(), strict=True):
        assert zones[j].geometry.distance(shapely.Point(x, y)) < 1e-9


def test_the_first_meeting_is_where_the_move_enters() -> None:
    index = ZoneIndex([zone("square", shapely.box(107.0, 16.0, 107.2, 16.2))])
    found = index.crossed(np.array([106.9]), np.array([16.1]), np.array([107.3]), np.array([16.1]))
    assert found.fraction.tolist() == pytest.approx([0.25])
    assert found.lon.tolist() == pytest.approx([107.0])
    assert found.lat.tolist() == pytest.approx([16.1])


def test_a_hole_is_outside_and_its_edge_is_inside() -> None:
    ring = shapely.Polygon(shapely.box(0, 0, 10, 10).exterior, [shapely.box(4, 4, 6, 6).exterior])
    index = ZoneIndex([zone("ring", ring)])
    sets = index.locate(np.array([5.0, 4.0, 1.0]), np.array([5.0, 5.0, 1.0]))
    assert [index.zone_set(s) for s in sets] == [(), ("ring",), ("ring",)]


@pytest.mark.parametrize("west", [-1, 1])
def test_zones_and_moves_across_the_180th_meridian(west: int) -> None:
    both = shapely.MultiPolygon([shapely.box(170, 0, 180, 10), shapely.box(-180, 0, -170, 10)])
    index = ZoneIndex([zone("dateline", both), zone("east-only", shapely.box(178, 20, 180, 30))])
    lon = np.array([180.0, -180.0, 175.0, -175.0, 0.0, 165.0, 180.0, -180.0])
    lat = np.array([5.0, 5.0, 5.0, 5.0, 5.0, 5.0, 25.0, 25.0])
    assert [index.zone_set(s) for s in index.locate(lon, lat)] == [
        *[("dateline",)] * 4,
        (),
        (),
        ("east-only",),
        ("east-only",),
    ]
    start, end = (160.0, -160.0) if west > 0 else (-160.0, 160.0)
    found = index.crossed(np.array([start]), np.array([5.0]), np.array([end]), np.array([5.0]))
    assert found.zone.tolist() == [0]
    assert found.fraction.tolist() == pytest.approx([0.25])
    assert found.lon.tolist() == pytest.approx([170.0 * west])
    touching = index.crossed(np.array([-179.0]), np.array([25.0]), np.array([-180.0]), np.array([25.0]))
    assert touching.zone.tolist() == [1]


def test_an_index_without_zones_finds_nothing() -> None:
    index = ZoneIndex([])
    assert index.locate(np.array([180.0, 1.0]), np.array([1.0, 1.0])).tolist() == [0, 0]
    assert len(index.crossed(np.zeros(1), np.zeros(1), np.ones(1), np.ones(1)).move) == 0


def test_ten_thousand_points_in_a_zone_of_ten_thousand_vertices_are_found_fast() -> None:
    turn = np.linspace(0, 2 * np.pi, 10_001)[:-1]
    radius = 1 + 0.1 * np.sin(50 * turn)
    blob = shapely.Polygon(np.column_stack([107 + radius * np.cos(turn), 16 + radius * np.sin(turn)]))
    index = ZoneIndex([zone("blob", blob)])
    rng = np.random.default_rng(1)
    lon, lat = 107 + rng.uniform(-1, 1, 10_000), 16 + rng.uniform(-1, 1, 10_000)
    inside = index.locate(lon, lat) != 0
    assert (inside == shapely.contains_xy(blob, lon, lat)).all()
