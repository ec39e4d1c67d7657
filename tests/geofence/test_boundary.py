"""The distance to a boundary is that to the nearest of its points."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from geofence.boundary import Boundary
from geofence.zones import read_zones
from tests.geofence.drawings import collection

RADIUS = 6_371_008.8


def apart(lon0: float, lat0: float, lon1: Any, lat1: Any) -> Any:
    """By the chord between two points of the sphere: another way than the one that is tested. Broadcasts."""
    chord = np.linalg.norm(_unit(np.asarray(lon1), np.asarray(lat1)) - _unit(np.array(lon0), np.array(lat0)), axis=-1)
    return 2 * RADIUS * np.arcsin(chord / 2)


def _unit(lon: Any, lat: Any) -> Any:
    x, y = np.radians(lon), np.radians(lat)
    return np.stack([np.cos(y) * np.cos(x), np.cos(y) * np.sin(x), np.sin(y)], axis=-1)


corners = st.tuples(st.floats(-1, 1), st.floats(-1, 1))


@settings(max_examples=60)
@given(
    st.lists(corners, min_size=3, max_size=6, unique=True),
    corners,
    st.sampled_from([(107.0, 16.0), (180.0, 0.0), (10.0, 65.0), (-180.0, -50.0)]),
)
def test_it_is_the_least_of_the_distances_to_all_points_of_the_boundary(
    shape: list[tuple[float, float]], at: tuple[float, float], where: tuple[float, float]
) -> None:
    line = shapely.LineString([(x + where[0], y + where[1]) for x, y in shape])
    lon, lat = at[0] / 2 + where[0], at[1] / 2 + where[1]
    nearest = apart(lon, lat, *shapely.get_coordinates(line.segmentize(0.002)).T).min()
    found = Boundary(line).distance(lon - 360 * ((lon > 180) - (lon < -180)), lat)
    assert found == pytest.approx(nearest, rel=1e-3, abs=130)  # half the step between points
    assert found >= nearest - 130


def test_a_zone_cut_at_the_180th_meridian_has_no_boundary_there() -> None:
    [zone] = read_zones(
        collection("Polygon", [[[179.0, -1.0], [181.0, -1.0], [181.0, 1.0], [179.0, 1.0], [179.0, -1.0]]])
    )
    boundary = Boundary(zone.geometry)
    for lon in (180.0, -180.0):
        assert boundary.distance(lon, 0.0) == pytest.approx(apart(180, 0, 179, 0), rel=1e-4)


def test_a_box_around_the_world_has_its_boundary_in_the_north_and_south() -> None:
    assert Boundary(shapely.box(-180, -80, 180, 80)).distance(107.0, 79.0) == pytest.approx(111_195, rel=1e-3)
