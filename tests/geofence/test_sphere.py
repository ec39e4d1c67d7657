"""Distances and places on the sphere agree with vectors in space."""

from __future__ import annotations

from math import cos, inf, radians, sin

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from geofence.sphere import EARTH_RADIUS, METRES_PER_DEGREE, all_metres, between, course, east, knots, metres, sailed

LON = st.floats(-180, 180)
LAT = st.floats(-90, 90)


def space(lon: float, lat: float) -> np.ndarray:
    """The unit vector of a place."""
    x, y = radians(lon), radians(lat)
    return np.array([cos(y) * cos(x), cos(y) * sin(x), sin(y)])


def angle(a: np.ndarray, b: np.ndarray) -> float:
    """Between two vectors, radians: exact near nothing and near a half-turn, too."""
    return float(np.arctan2(np.linalg.norm(np.cross(a, b)), np.dot(a, b)))


@given(LON, LAT, LON, LAT)
def test_the_distance_is_the_angle_at_the_centre_across_the_date_line_too(
    lon0: float, lat0: float, lon1: float, lat1: float
) -> None:
    expected = EARTH_RADIUS * angle(space(lon0, lat0), space(lon1, lat1))
    # Towards the antipode haversine is good to some 0.1 m: sqrt of what a double can hold.
    close = 0.5 if expected > 3 * EARTH_RADIUS else 1e-6
    assert metres(lon0, lat0, lon1, lat1) == pytest.approx(expected, rel=1e-9, abs=close)
    assert metres(lon0 + 360, lat0, lon1, lat1) == pytest.approx(expected, rel=1e-9, abs=close)
    [found] = all_metres(np.array([lon0]), np.array([lat0]), np.array([lon1]), np.array([lat1])).tolist()
    assert found == pytest.approx(metres(lon0, lat0, lon1, lat1), rel=1e-12, abs=close)


def test_a_minute_of_latitude_is_about_a_nautical_mile_and_steps_of_a_centimetre_are_told() -> None:
    assert metres(107.0, 16.0, 107.0, 16.0 + 1 / 60) == pytest.approx(1852, rel=2e-3)
    step = 0.01 / METRES_PER_DEGREE
    assert metres(179.0, 16.0, 179.0, 16.0 + step) == pytest.approx(0.01, rel=1e-3)
    assert knots(1852.0, 3_600_000_000) == pytest.approx(1.0)
    assert knots(1.0, 0) == inf


@given(LON, st.floats(-89, 89), st.floats(0, 360, exclude_max=True), st.floats(1, 15_000_000))
def test_a_place_sailed_to_is_that_far_and_on_that_course(lon: float, lat: float, heading: float, away: float) -> None:
    x, y = sailed(lon, lat, heading, away)
    assert -180 <= x <= 180
    assert -90 <= y <= 90
    assert metres(lon, lat, x, y) == pytest.approx(away, rel=1e-6, abs=1e-3)
    # The same by turning the vector of the place towards that course.
    here, north, easterly = space(lon, lat), space(lon, lat + 90.0), space(lon + 90.0, 0.0)
    ahead = cos(radians(heading)) * north + sin(radians(heading)) * easterly
    there = cos(away / EARTH_RADIUS) * here + sin(away / EARTH_RADIUS) * ahead
    assert EARTH_RADIUS * angle(space(x, y), there) == pytest.approx(0.0, abs=1e-2)
    assume(away > 100)
    assert abs(east(heading, course(lon, lat, x, y))) < 1e-3


@given(LON, st.floats(-80, 80), st.floats(-179, 179), st.floats(-80, 80), st.integers(0, 100), st.integers(0, 100))
def test_between_two_fixes_a_place_divides_the_way_as_the_time(
    lon: float, lat: float, eastward: float, end: float, before: int, after: int
) -> None:
    last = (lon + eastward + 540) % 360 - 180
    x, y = between(before, (0, lon, lat), (before + after, last, end))
    share = before / (before + after) if before + after else 1.0
    assert y == pytest.approx(lat + share * (end - lat))
    assert abs(east(x, lon + share * eastward)) < 1e-9
