"""Vessels together: crowds, reports hours apart, bursts of one that was offline, and who is none to compare."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from random import Random
from typing import TYPE_CHECKING

import pytest

from alerting.engine import Engine
from alerting.model import Event
from simulators.kinematics import sail
from tests.alerting.vessels.streams import HOUR, MINUTE, START, Row, observations, rule, run, vms

if TYPE_CHECKING:
    from collections.abc import Callable

    from alerting.rules import Rule
    from simulators.kinematics import Place

FISHING = rule(id="fishing", kind="fishing", ports=[])
MEETING = rule(id="meeting", kind="encounter", ports=[])
CARRIED = rule(id="carried", kind="carried_beacons", ports=[])
IDLING = rule(id="idling", kind="loitering", away_from=[])
SPOT: Place = (108.5, 16.5)


def reports(
    ship: int,
    way: Callable[[float], Place],
    every: float,
    *,
    phase: float = 0.0,
    hours: float = 12.0,
    sog: float | None = None,
    status: int | None = None,
) -> list[Row]:
    """Reports of a vessel that is at ``way(hours)``; ``every`` and ``phase`` in minutes."""
    rows, minute = [], phase
    while minute < hours * 60:
        time = START + round(minute * MINUTE)
        lon, lat = way(minute / 60)
        rows.append(Row("position", time, time, ship, lon, lat, sog=sog, nav_status=status))
        minute += every
    return rows


def fired(rows: list[Row], chosen: Rule, *, hours: float = 24.0) -> list[tuple[int, list[str]]]:
    rows = sorted(rows, key=lambda row: row.received)
    found = run(rows, [chosen], START + round(hours * HOUR)).transitions
    return [(t.subject.id, t.details.get("vessels", [])) for t in found if t.event is Event.FIRING]


def meeting(ship: int, bearing: float, hours: float, phase: float) -> list[Row]:
    """By VMS every two hours: alongside from 6:00 on for some hours, 9 km off before and after."""

    def way(hour: float) -> Place:
        off = min(1.0, max(0.0, 6.0 - hour, hour - 6.0 - hours))
        return sail(SPOT, bearing, 60.0 + off * 9000.0)

    return reports(ship, way, 120.0, phase=phase, hours=20.0)


@pytest.mark.parametrize("chosen", [MEETING, CARRIED], ids=lambda chosen: chosen.kind)
def test_what_is_held_of_a_crowd_grows_with_its_number_and_not_with_its_square(chosen: Rule) -> None:
    engine, written, crowded = Engine([chosen], []), 0, 0
    for tick in range(4):
        place = 108.5 + 0.02 * tick if chosen is CARRIED else 108.5
        at = START + tick * 11 * MINUTE
        rows = [Row("position", at, at, 300_000_000 + n, place, 16.5) for n in range(600)]
        verdict = engine.judge(observations(rows), at)
        written = max(written, len(verdict.states))
        assert verdict.crowded.keys() <= {chosen.id}
        crowded += sum(verdict.crowded.values())
    assert 600 <= written <= 6 * 600
    assert crowded > 300  # of 600 vessels, those that came when 256 were near had no further partner sought


def test_a_raft_of_boats_is_one_meeting() -> None:
    rows = []
    for n in range(40):
        place = partial(lambda place, _: place, sail(SPOT, 9.0 * n, 10.0 + 3 * n))
        rows += reports(574_001_000 + n, place, 3.0, phase=0.01 * n, hours=4.0, sog=0.0)
    found = fired(rows, MEETING)
    assert [subject for subject, _ in found] == [574_001_000]
    assert len(found[0][1]) == 40


def test_who_joins_a_meeting_revises_it_and_who_goes_does_not_end_it() -> None:
    first, second, third = 574_000_001, 574_000_002, 574_000_003
    rows = reports(first, lambda _: SPOT, 3.0, hours=4.0, sog=0.1)
    rows += reports(second, lambda _: sail(SPOT, 90.0, 50.0), 3.0, hours=12.0, sog=0.1)
    rows += [row for row in reports(third, lambda _: sail(SPOT, 0.0, 50.0), 3.0, sog=0.1) if row.time > START + HOUR]
    rows.sort(key=lambda row: row.received)
    found = run(rows, [MEETING], START + 24 * HOUR).transitions
    assert [t.event for t in found] == [Event.FIRING, Event.REVISED, Event.RESOLVED]
    assert found[1].details["vessels"] == [str(first), str(second), str(third)]
    assert found[2].at >= START + 11 * HOUR


@pytest.mark.parametrize("a", [0.0, 35.0, 70.0, 110.0])
@pytest.mark.parametrize("b", [5.0, 50.0, 90.0])
def test_by_vms_every_two_hours_a_meeting_of_five_hours_is_told_whenever_the_reports_come(a: float, b: float) -> None:
    assert len(fired(meeting(vms(1), 0.0, 5.0, a) + meeting(vms(2), 180.0, 5.0, b), MEETING)) == 1


def test_by_vms_two_that_go_to_and_fro_at_three_knots_do_not_meet() -> None:
    """They are at one place every two hours, and report how fast they are."""
    rows = reports(vms(1), lambda _: SPOT, 120.0, sog=3.0)
    rows += reports(vms(2), lambda _: sail(SPOT, 90.0, 100.0), 120.0, phase=40.0, sog=3.0)
    assert fired(rows, MEETING) == []
    assert fired([r for r in rows if r.transponder == vms(1)], IDLING) == []


@pytest.mark.parametrize("phase", [0.0, 30.0, 60.0, 90.0, 119.0])
def test_by_vms_every_two_hours_six_hours_adrift_are_told_whenever_the_reports_come(phase: float) -> None:
    def way(hour: float) -> Place:
        return sail(SPOT, 90.0, 15_000.0 * min(1.0, max(-1.0, hour - 8.0 if hour > 8.0 else min(0.0, hour - 2.0))))

    rows = reports(vms(1), way, 120.0, phase=phase)
    rows = [replace(row, sog=0.7 if 2 * HOUR <= row.time - START <= 8 * HOUR else 8.0) for row in rows]
    assert [subject for subject, _ in fired(rows, IDLING)] == [vms(1)]


def test_a_meeting_is_told_of_when_one_was_offline_and_its_reports_come_in_a_burst() -> None:
    live = reports(574_000_001, lambda _: SPOT, 3.0, hours=5.0, sog=0.1)
    kept = reports(574_000_002, lambda _: sail(SPOT, 90.0, 50.0), 3.0, hours=4.0, sog=0.1)
    away = reports(574_000_001, lambda hour: sail(SPOT, 0.0, 9000.0 * (hour - 5.0)), 3.0, hours=6.0)
    away = [row for row in away if row.time >= START + 5 * HOUR]
    burst = [Row("position", r.time, START + 6 * HOUR, r.transponder, r.lon, r.lat, sog=r.sog) for r in kept]
    found = run([*live, *away, *burst], [MEETING], START + 24 * HOUR).transitions
    assert [t.event for t in found] == [Event.FIRING, Event.RESOLVED]
    assert START < found[0].started_at <= START + 70 * MINUTE  # as far back as places are kept


def test_a_buoy_with_a_number_that_is_nobodys_does_not_meet_its_boat() -> None:
    boat = reports(574_000_001, lambda _: SPOT, 3.0, sog=0.1)
    for number in (123_456_789, 912_345_678):
        assert fired(boat + reports(number, lambda _: sail(SPOT, 90.0, 50.0), 3.0, sog=0.1), MEETING) == []
    listed = rule(id="meeting", kind="encounter", ports=[], scope={"mmsi": [574_000_001, 912_345_678]})
    assert len(fired(boat + reports(912_345_678, lambda _: SPOT, 3.0, sog=0.1), listed)) == 1


@pytest.mark.parametrize(("kind", "status", "expected"), [(None, None, 1), (52, None, 0), (31, None, 0), (None, 11, 0)])
def test_a_tug_and_its_tow_are_no_carried_beacons(kind: int | None, status: int | None, expected: int) -> None:
    tug, tow = 574_000_001, 574_000_002
    rows = [Row("static", START - MINUTE, START - MINUTE, tug, said=kind)] if kind else []
    rows += reports(tug, lambda hour: sail(SPOT, 45.0, 9260.0 * hour), 3.0, hours=6.0, status=status)
    rows += reports(tow, lambda hour: sail(SPOT, 45.0, 9260.0 * hour - 50.0), 3.0, hours=6.0)
    assert len(fired(rows, CARRIED)) == expected


def winding(seed: int, degrees: float) -> Callable[[float], Place]:
    """At 5 knots for a day, to another course every half an hour."""
    rng, course, places = Random(seed), 360.0 * Random(seed).random(), [SPOT]
    for _ in range(52):
        places.append(sail(places[-1], course, 5.0 * 926))
        course += rng.gauss(0.0, degrees)

    def way(hour: float) -> Place:
        leg, part = divmod(hour * 2, 1.0)
        (x0, y0), (x1, y1) = places[int(leg)], places[int(leg) + 1]
        return x0 + part * (x1 - x0), y0 + part * (y1 - y0)

    return way


@pytest.mark.parametrize("degrees", [0.0, 5.0])
def test_beacons_on_one_hull_by_vms_are_told_on_winding_ways_too_and_a_convoy_is_not(degrees: float) -> None:
    for seed in range(4):
        way, phase = winding(seed, degrees), (37.0 + 20 * seed) % 110

        def behind(hour: float, way: Callable[[float], Place] = way) -> Place:
            return sail(way(hour), 200.0, 700.0)

        first = reports(vms(1), way, 120.0, hours=25.0, sog=5.0)
        second, follower = (reports(vms(2), w, 118.0, phase=phase, hours=25.0, sog=5.0) for w in (way, behind))
        assert len(fired(first + second, CARRIED, hours=30.0)) == 1
        assert fired(first + follower, CARRIED, hours=30.0) == []


def zigzag(hour: float) -> Place:
    """At 3 knots, to another side every quarter of an hour."""
    legs, part = divmod(hour * 4, 1.0)
    place = SPOT
    for leg in range(int(legs)):
        place = sail(place, 45.0 if leg % 2 else 135.0, 1389.0)
    return sail(place, 45.0 if int(legs) % 2 else 135.0, 1389.0 * part)


def test_status_seven_counts_while_slow_and_not_of_one_that_steams() -> None:
    slow = reports(574_000_001, zigzag, 3.0, hours=3.0, sog=3.0, status=7)
    fast = reports(574_000_001, lambda hour: sail(SPOT, 45.0, 9.0 * 1852 * hour), 3.0, hours=3.0, sog=9.0, status=7)
    assert len(fired(slow, FISHING)) == 1
    assert fired(fast, FISHING) == []


def test_one_at_anchor_whose_speed_is_noise_does_not_fish() -> None:
    rows: list[Row] = []
    for n, row in enumerate(reports(574_000_001, lambda _: SPOT, 3.0, hours=8.0)):
        lon, lat = sail(SPOT, 77.0 * n % 360, 40.0 * (n % 3) / 2)  # it swings
        rows.append(replace(row, lon=lon, lat=lat, sog=0.5 + 0.1 * (n % 3)))
    assert fired(rows, FISHING) == []
