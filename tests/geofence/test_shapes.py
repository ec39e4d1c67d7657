"""Circles and corridors hold what is within their size of what was drawn, on the sphere, as exactly as they say."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from geofence.geometries import ZoneError
from geofence.index import ZoneIndex
from geofence.sets import NOWHERE
from geofence.shapes import CIRCLE_ERROR, CORRIDOR_ERROR
from geofence.zones import Zone, read_zones, to_feature_collection
from tests.geofence.drawings import collection
from tests.geofence.test_boundary import apart


def zone(shape: str, coordinates: Any, **properties: Any) -> Zone:
    [found] = read_zones(collection(shape, coordinates, **properties))
    return found


def held(index: ZoneIndex, lon: float, lat: float) -> bool:
    lon -= 360 * round(lon / 360)
    return int(index.locate(np.array([lon]), np.array([lat]))[0]) != NOWHERE


@settings(max_examples=60)
@given(
    st.floats(-180, 180),
    st.floats(-70, 70),
    st.floats(1, 1_000_000).filter(lambda r: r >= 1),
    st.lists(st.tuples(st.floats(0, 360), st.floats(0, 2)), min_size=20, max_size=20),
)
def test_a_circle_holds_what_is_no_farther_from_its_centre_than_its_radius(
    lon: float, lat: float, radius: float, ways: list[tuple[float, float]]
) -> None:
    circle = ZoneIndex([zone("Point", [lon, lat], radius_m=radius)])
    for course, far in [*ways, *((course, f) for course, _ in ways for f in (0.9999, 1.0001))]:
        away, angle, north = radius * far / 6_371_008.8, math.radians(course), math.radians(lat)
        y = math.asin(math.sin(north) * math.cos(away) + math.cos(north) * math.sin(away) * math.cos(angle))
        east = math.atan2(
            math.sin(angle) * math.sin(away) * math.cos(north), math.cos(away) - math.sin(north) * math.sin(y)
        )
        x, y = lon + math.degrees(east), math.degrees(y)
        metres = float(apart(lon, lat, x, y))
        if abs(metres - radius) > CIRCLE_ERROR * radius:
            assert held(circle, x, y) is (metres < radius), (course, far)


places = st.tuples(st.floats(-1.5, 1.5), st.floats(-1.5, 1.5))


@settings(max_examples=50)
@given(
    st.lists(places, min_size=2, max_size=4, unique=True),
    st.sampled_from([(107.0, 16.0), (180.0, 10.0), (-179.5, -40.0), (20.0, 60.0)]),
    st.floats(500, 60_000),
    st.lists(places, min_size=30, max_size=30),
)
def test_a_corridor_holds_what_is_within_half_its_width_of_its_line(
    line: list[tuple[float, float]], where: tuple[float, float], width: float, points: list[tuple[float, float]]
) -> None:
    drawn = [(where[0] + x, where[1] + y) for x, y in line]
    assume(len(set(drawn)) > 1)  # places a hair apart have become one
    index = ZoneIndex([zone("LineString", drawn, width_m=width)])
    along = shapely.get_coordinates(shapely.LineString(drawn).segmentize(0.001)).T
    for x, y in points:
        lon, lat = where[0] + x, where[1] + y
        metres = float(apart(lon, lat, *along).min())
        # Places along the line lie 111 m apart at most.
        slack = CORRIDOR_ERROR * width / 2 + metres - math.sqrt(max(0.0, metres**2 - 56**2))
        if abs(metres - width / 2) > slack:
            assert held(index, lon, lat) is (metres < width / 2)


@pytest.mark.parametrize(
    ("shape", "coordinates", "size"),
    [
        ("Point", [107.6, 16.5], {"radius_m": 3000.0}),
        ("Point", [179.99, 16.5], {"radius_m": 5000.5}),
        ("LineString", [[107.0, 16.0], [108.0, 17.0]], {"width_m": 1852.0}),
        ("LineString", [[179.0, 16.0], [181.0, 17.0]], {"width_m": 1852.0}),
        ("LineString", [[107.0, 16.0], [108.0, 17.0]], {}),
        ("LineString", [[179.5, 16.0], [180.5, 17.0], [179.0, 18.0]], {}),
    ],
)
def test_what_was_drawn_is_written_back_as_it_was(shape: str, coordinates: Any, size: dict[str, float]) -> None:
    first = zone(shape, coordinates, **size)
    [feature] = to_feature_collection([first])["features"]
    assert feature["geometry"] == {"type": shape, "coordinates": coordinates}
    assert {key: feature["properties"].get(key) for key in size} == size
    again = zone(shape, feature["geometry"]["coordinates"], **size)
    assert (again, again.version) == (first, first.version)
    west, south, east, north = first.geometry.bounds
    assert -180 <= west <= east <= 180
    assert -90 <= south <= north <= 90
    assert first.is_line is (shape == "LineString" and not size)


def test_a_line_that_jumps_over_the_180th_meridian_is_the_one_drawn_beyond_it() -> None:
    assert zone("LineString", [[179.0, 16.0], [-179.0, 17.0]]) == zone("LineString", [[179.0, 16.0], [181.0, 17.0]])


@pytest.mark.parametrize(
    ("shape", "coordinates", "size", "reason"),
    [
        ("Point", [107.6, 16.5], {}, "a Point is the centre of a circle: it needs the property radius_m"),
        ("Point", [107.6, 16.5], {"radius_m": 0}, "radius_m: expected metres, more than 0 and less than 1e9, found 0"),
        (
            "Point",
            [107.6, 16.5],
            {"radius_m": "3 km"},
            'radius_m: expected metres, more than 0 and less than 1e9, found "3 km"',
        ),
        (
            "Point",
            [107.6, 16.5],
            {"radius_m": True},
            "radius_m: expected metres, more than 0 and less than 1e9, found true",
        ),
        ("Point", [107.6, 16.5], {"radius_m": 2e6}, "circle: 2e+06 m is no size: more than 0, at most 1e+06"),
        ("Point", [107.6, 79.5], {"radius_m": 9e5}, "circle: reaches beyond 80 degrees of latitude"),
        ("Point", [16.5, 107.6], {"radius_m": 10}, "coordinates: latitude 107.6 is outside -90..90; longitude"),
        ("Point", [107.6, 16.5], {"radius_m": 10, "width_m": 5}, "width_m is of corridors, whose geometry is a Lin"),
        ("LineString", [[107, 16], [108, 16]], {"radius_m": 5}, "radius_m is of circles, whose geometry is a Point"),
        ("LineString", [[107, 16], [107, 16]], {}, "1 different points; a line needs 2 or more"),
        ("LineString", "x", {}, "coordinates: expected an array of positions"),
        ("LineString", [[107, 16], [108, 89]], {"width_m": 10}, "corridor: reaches beyond 80 degrees of latitude"),
        ("MultiPoint", [[107, 16]], {}, "geometry: expected Polygon, MultiPolygon, Point or LineString, found"),
    ],
)
def test_what_cannot_be_a_zone_is_refused_with_the_reason(
    shape: str, coordinates: Any, size: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ZoneError) as refused:
        zone(shape, coordinates, **size)
    assert refused.value.reason.startswith(reason)
