"""Zones as the ground truth sees them, against shapely."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from shapely import LineString, MultiPoint, MultiPolygon, Point, Polygon

from simulators.areas import Area, BadZones, area, load_areas
from tests.simulators.samples import ZONES

if TYPE_CHECKING:
    from pathlib import Path

PLACE = st.tuples(st.floats(0, 10).map(lambda x: round(x, 3)), st.floats(0, 10).map(lambda x: round(x, 3)))


@st.composite
def polygons(draw: st.DrawFn) -> Polygon:
    """A convex polygon with, sometimes, a hole."""
    hull = MultiPoint(draw(st.lists(PLACE, min_size=3, max_size=8))).convex_hull
    assume(isinstance(hull, Polygon) and hull.area > 0.5)
    assert isinstance(hull, Polygon)
    if draw(st.booleans()):
        hole = hull.centroid.buffer(0.2 * hull.exterior.distance(hull.centroid), quad_segs=2)
        assume(hole.area > 0.01)
        return Polygon(hull.exterior.coords, [hole.exterior.coords])
    return hull


def ours(shape: Polygon) -> Area:
    rings = [shape.exterior, *shape.interiors]
    return area("z", [[[list(p) for p in ring.coords] for ring in rings]])


@given(polygons(), PLACE)
def test_inside_is_what_shapely_calls_inside(shape: Polygon, place: tuple[float, float]) -> None:
    assume(shape.boundary.distance(Point(place)) > 1e-9)
    assert ours(shape).contains(place) == shape.contains(Point(place))


@given(polygons(), PLACE, PLACE)
def test_crossings_cut_a_way_where_shapely_cuts_it(
    shape: Polygon, a: tuple[float, float], b: tuple[float, float]
) -> None:
    assume(shape.boundary.distance(Point(a)) > 1e-6 and shape.boundary.distance(Point(b)) > 1e-6 and a != b)
    line = LineString([a, b])
    parts = ours(shape).crossings(a, b)
    assert parts == sorted(parts)
    assert (len(parts) % 2 == 1) == (shape.contains(Point(a)) != shape.contains(Point(b)))
    inside, before, length = shape.contains(Point(a)), 0.0, 0.0
    for part in [*parts, 1.0]:
        length += (part - before) * line.length if inside else 0.0
        inside, before = not inside, part
    assert length == pytest.approx(line.intersection(shape).length, abs=1e-6)


@given(polygons())
def test_the_heart_is_inside(shape: Polygon) -> None:
    assert shape.contains(Point(ours(shape).heart()))


def test_the_hearts_of_the_sample_zones_are_inside() -> None:
    for zone in ZONES:
        assert MultiPolygon([Polygon(zone.rings[0], zone.rings[1:])]).contains(Point(zone.heart()))


def test_a_zone_file_is_read_with_its_ids(tmp_path: Path) -> None:
    square = {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]}
    features = [
        {"type": "Feature", "id": "by-id", "properties": {"name": "no"}, "geometry": square},
        {"type": "Feature", "properties": {"name": "by-name"}, "geometry": square},
        {"type": "Feature", "properties": None, "geometry": {"type": "Point", "coordinates": [0, 0]}},
        {
            "type": "Feature",
            "properties": {},
            "geometry": {"type": "MultiPolygon", "coordinates": [square["coordinates"]]},
        },
    ]
    path = tmp_path / "zones.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    assert [zone.id for zone in load_areas(path)] == ["by-id", "by-name", "zone-4"]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"features": []}',
        '{"features": [3]}',
        '{"features": [{"geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]}}]}',
        '{"features": [{"geometry": {"type": "Polygon", "coordinates": [["a"]]}}]}',
    ],
)
def test_a_bad_zone_file_is_refused_in_one_line(tmp_path: Path, content: str) -> None:
    path = tmp_path / "zones.geojson"
    path.write_text(content)
    with pytest.raises(BadZones) as error:
        load_areas(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_an_absent_zone_file_is_refused(tmp_path: Path) -> None:
    arguments: Any = tmp_path / "none.geojson"
    with pytest.raises(BadZones, match="No such file"):
        load_areas(arguments)
