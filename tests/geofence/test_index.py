"""The index agrees with exact arithmetic, edges and vertices included."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from geofence import cells
from geofence.index import ZoneIndex
from geofence.zones import Zone
from tests.geofence.exact import contains, exact, meets, segments_meet


def zone(name: str, geometry: shapely.Polygon | shapely.MultiPolygon) -> Zone:
    return Zone(name, name, name, "test", geometry)


# --- strategies: small grids make points fall on edges and vertices, odd fractions make rounding matter ------------

ORIGIN = np.array([107.0, 16.0])

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
    scaled = shapely.transform(shell, lambda xy: xy * scale + ORIGIN)
    return scaled if scaled.is_valid else shapely.box(107, 16, 107 + scale, 16 + scale)


@st.composite
def places(draw: st.DrawFn) -> tuple[float, float]:
    scale = draw(scales)
    half = draw(st.sampled_from([0.0, 0.5, 0.25]))
    return (draw(cell) + half) * scale + 107, (draw(cell) + draw(st.sampled_from([0.0, 0.5]))) * scale + 16


@settings(max_examples=150)
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


@settings(max_examples=150)
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


# --- anywhere on the globe: points on cell borders, at the poles and at 180 degrees, zones of any size


def near(value: float, steps: int) -> float:
    """Some doubles further on."""
    for _ in range(abs(steps)):
        value = float(np.nextafter(value, np.inf if steps > 0 else -np.inf))
    return value


def coordinates(limit: int) -> st.SearchStrategy[float]:
    """On borders of cells of every size, a double beside them, at the limits, near zero, and anywhere."""
    borders = st.builds(
        lambda k, bits, step: near(k / 2**bits % (2 * limit) - limit, step),
        st.integers(0, 2**25),
        st.sampled_from([0, 4, 8, 14]),
        st.sampled_from([0, 0, -1, 1]),
    )
    edges = st.sampled_from([-limit, limit, near(limit, -1), near(-limit, 1), 0.0, -0.0, 5e-324, 1e-160])
    return st.one_of(borders, edges, st.floats(-limit, limit)).map(lambda v: min(max(v, -limit), limit))


@st.composite
def anywhere(draw: st.DrawFn) -> tuple[float, float]:
    return draw(coordinates(180)), draw(coordinates(90))


@st.composite
def zones_anywhere(draw: st.DrawFn) -> shapely.Polygon | shapely.MultiPolygon:
    """From a metre to the whole globe, some with a hole, some in parts, some with many vertices."""
    west, south = draw(anywhere())
    size = draw(st.sampled_from([1e-5, 0.001, 0.02, 1.0, 20.0, 360.0]))
    kind = draw(st.sampled_from(["box", "ring", "star", "parts", "world"]))
    box = shapely.box(west, south, min(180, west + size), min(90, south + size / 2))
    if kind == "world":
        box = shapely.box(-180, -90, 180, 90)
    x, y = (west + box.bounds[2]) / 2, (south + box.bounds[3]) / 2
    if kind == "ring":
        hole = shapely.box(x, y, (x + box.bounds[2]) / 2, (y + box.bounds[3]) / 2)
        shape = box.difference(hole)
    elif kind == "star":
        turn = np.linspace(0, 2 * np.pi, draw(st.integers(3, 30)), endpoint=False)
        radius = size / 4 * (1 + 0.9 * np.cos(5 * turn))
        around = np.column_stack([x + radius * np.cos(turn), y + radius * np.sin(turn)]).clip((-180, -90), (180, 90))
        shape = shapely.Polygon(around)
    elif kind == "parts":
        shape = shapely.union_all([shapely.box(west, south, x, y), shapely.box(x, y, box.bounds[2], box.bounds[3])])
    else:
        shape = box
    if isinstance(shape, shapely.Polygon | shapely.MultiPolygon) and shape.is_valid and not shape.is_empty:
        return shape
    return shapely.box(106, 15, 108, 17)


def points_about(shapes: list[shapely.Polygon | shapely.MultiPolygon]) -> list[tuple[float, float]]:
    """Vertices and the middles of edges."""
    out: list[tuple[float, float]] = []
    for shape in shapes:
        xy = shapely.get_coordinates(shape)[:6]
        out += [(x, y) for x, y in [*xy.tolist(), *((xy[1:] + xy[:-1]) / 2).tolist()] if abs(x) <= 180 and abs(y) <= 90]
    return out


@settings(max_examples=50)
@given(
    st.lists(zones_anywhere(), min_size=1, max_size=5),
    st.lists(anywhere(), max_size=12),
    st.sampled_from([0, 1, 12]),
    st.sampled_from([3_000, cells.MAX_CELLS]),
)
def test_anywhere_on_the_globe_a_point_is_in_the_zones_that_exact_arithmetic_says(
    shapes: list[shapely.Polygon | shapely.MultiPolygon],
    points: list[tuple[float, float]],
    leaf_edges: int,
    most: int,
) -> None:
    zones = [zone(f"z{i}", shape) for i, shape in enumerate(shapes)]
    points = [*points, *points_about(shapes)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cells, "LEAF_EDGES", leaf_edges)
        patch.setattr(cells, "MAX_CELLS", most)  # so that the tree is forgotten every now and then
        index = ZoneIndex(zones)
        lon, lat = np.array(points).T
        at_once = index.locate(lon, lat)
        one_by_one = [int(index.locate(lon[i : i + 1], lat[i : i + 1])[0]) for i in range(len(points))]
    assert at_once.tolist() == one_by_one
    for (x, y), number in zip(points, one_by_one, strict=True):
        same = [(Fraction(x), Fraction(y))] + ([(Fraction(-x), Fraction(y))] if abs(x) == 180 else [])
        expected = tuple(z.id for z in zones if any(contains(z.geometry, p) for p in same))
        assert index.zone_set(number) == expected, (x, y)


@settings(max_examples=50)
@given(st.lists(zones_anywhere(), min_size=1, max_size=4), st.data(), st.sampled_from([0, 1, 12]))
def test_a_move_called_clear_meets_no_edge(
    shapes: list[shapely.Polygon | shapely.MultiPolygon], data: st.DataObject, leaf_edges: int
) -> None:
    known = points_about(shapes)
    place = st.one_of(anywhere(), st.sampled_from(known)) if known else anywhere()
    step = st.floats(-0.01, 0.01)
    moves = []
    for _ in range(12):
        x, y = data.draw(place)
        there = data.draw(place)
        if data.draw(st.booleans()):
            there = x + data.draw(step), y + data.draw(step)
        moves.append((x, y, *there))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cells, "LEAF_EDGES", leaf_edges)
        index = ZoneIndex([zone(f"z{i}", shape) for i, shape in enumerate(shapes)])
        clear = index.clear(*np.array(moves).T)
    for move, said in zip(moves, clear.tolist(), strict=True):
        if said:
            a, b = exact([move[:2], move[2:]])
            for shape in shapes:
                assert contains(shape, a) == contains(shape, b), move
                for ring in shapely.get_rings(shapely.get_parts(shape)):
                    corners = exact(ring.coords)
                    assert not any(
                        segments_meet(a, b, c, d) for c, d in itertools.pairwise(corners) if c != d and a != b
                    ), move


def test_an_ordinary_move_is_called_clear() -> None:
    index = ZoneIndex([zone("square", shapely.box(107.0, 16.0, 107.2, 16.2))])
    ways = np.array(
        [(107.1, 16.1, 107.101, 16.1), (106.0, 15.0, 106.9, 17.0), (106.9, 16.1, 107.1, 16.1), (1, 2, 1, 2)]
    )
    assert index.clear(*ways.T).tolist() == [True, True, False, True]


def test_what_is_no_place_on_the_globe_is_in_no_zone() -> None:
    index = ZoneIndex([zone("world", shapely.box(-180, -90, 180, 90))])
    bad = np.array([np.nan, np.inf, -np.inf, 180.1, -1e300, 181.0])
    assert index.locate(bad, np.zeros(6)).tolist() == [0] * 6
    assert index.locate(np.zeros(6), bad).tolist() == [0] * 6
    assert not index.clear(bad, np.zeros(6), np.zeros(6), np.zeros(6)).any()


def test_memory_is_bounded_by_what_is_kept_of_the_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "MAX_CELLS", 5_000)
    rng = np.random.default_rng(3)
    corners = np.column_stack([rng.uniform(100, 110, 400), rng.uniform(10, 20, 400)]).tolist()
    index = ZoneIndex([zone(f"z{i}", shapely.Point(c).buffer(0.2)) for i, c in enumerate(corners)])
    for _ in range(20):
        index.locate(rng.uniform(100, 110, 500), rng.uniform(10, 20, 500))
    assert index.nbytes < 3_000_000
