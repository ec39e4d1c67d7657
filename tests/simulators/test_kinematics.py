"""Boats move as boats can."""

from __future__ import annotations

from itertools import islice, pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators.fleet import FleetConfig, plan, track
from simulators.kinematics import KNOT_MPS, MAX_TURN_DPS, along, rhumb, sail, turn
from tests.simulators.samples import START, ZONES

PLACES = st.tuples(st.floats(-180, 179.9), st.floats(-80, 80))


@given(PLACES, st.floats(0, 359.99), st.floats(1, 500_000))
def test_sailing_a_rhumb_line_is_undone_by_measuring_it(
    start: tuple[float, float], course: float, metres: float
) -> None:
    end = sail(start, course, metres)
    if abs(end[1]) < 85:
        measured, length = rhumb(start, end)
        assert length == pytest.approx(metres, rel=1e-5, abs=1e-3)
        assert turn(course, measured) == pytest.approx(0.0, abs=0.05)


def test_a_degree_of_latitude_is_111_2_km_and_an_equal_way_along_the_parallel_is_shorter() -> None:
    assert rhumb((107.0, 16.0), (107.0, 17.0)) == pytest.approx((0.0, 111_195.08), abs=0.1)
    assert rhumb((107.0, 60.0), (108.0, 60.0)) == pytest.approx((90.0, 55_597.5), abs=0.1)


def test_a_point_along_a_route_divides_it() -> None:
    route = ((107.0, 16.0), (107.0, 17.0), (108.0, 17.0))
    place, following = along(route, 111_195.08 + 10_000)
    assert following == 2
    assert rhumb(route[1], place)[1] == pytest.approx(10_000, abs=1)
    assert along(route, 1e9) == (route[-1], 2)


@pytest.mark.parametrize("seed", range(4))
def test_no_boat_jumps_spins_or_speeds_in_two_days(seed: int) -> None:
    for vessel in plan(FleetConfig(seed=seed, start=START, vessels=6, zones=ZONES)):
        knots = []
        for knot in track(vessel, Random(seed)):
            knots.append(knot)
            if knot.time > 2 * 86_400:
                break
        phases = [knot.phase for knot in knots]
        assert {"moored", "transit", "fishing"} == set(phases)
        for a, b in pairwise(knots):
            assert b.time >= a.time
            metres = rhumb((a.lon, a.lat), (b.lon, b.lat))[1]
            assert metres <= max(a.speed, b.speed) * KNOT_MPS * (b.time - a.time) + 0.01
            assert b.speed <= 9.0
            if a.phase == b.phase != "moored":
                assert abs(turn(a.course, b.course)) <= MAX_TURN_DPS * (b.time - a.time) + 1e-6
            if b.phase == "moored":
                assert metres == 0.0
                assert rhumb((b.lon, b.lat), vessel.route[0])[1] < 60.0
        fishing = [k.speed for a, k in pairwise(knots) if a.phase == k.phase == "fishing"][100:]
        assert 1.9 <= min(fishing) <= max(fishing) <= 4.1 or len(set(phases)) > 2


def test_a_voyage_goes_through_its_phases_in_order() -> None:
    vessel = plan(FleetConfig(seed=3, start=START, vessels=1))[0]
    phases = [k.phase for k in islice(track(vessel, Random(1)), 40_000)]
    changes = [b for a, b in pairwise(phases) if a != b]
    following = {"moored": "transit", "transit": ("fishing", "moored"), "fishing": "transit"}
    assert all(b in following[a] for a, b in pairwise(changes))
    assert len(changes) > 4
