"""Half a day of several hundred honest boats, by AIS and by VMS, and among them one of each event."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest
import shapely

from alerting.model import Event
from geofence.zones import Zone
from simulators.fleet import FleetConfig, plan, track
from simulators.kinematics import between, sail
from simulators.waters import THUAN_AN, TU_HIEN
from tests.alerting.vessels.streams import HOUR, START, TOWER, VMS_FEED, Row, rule, run, vms

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulators.kinematics import Place

SECOND = 1_000_000
HOURS = 12
PORTS = [
    Zone(name, name, name, "port", shapely.Point(port.berth).buffer(0.01))
    for name, port in (("thuan-an", THUAN_AN), ("tu-hien", TU_HIEN))
]
_ALL = [port.id for port in PORTS]
RULES = [
    rule(id="gap", kind="gap", ports=_ALL),
    rule(id="feed", kind="feed_silent", after="3h"),
    rule(id="jump", kind="jump"),
    rule(id="clash", kind="identity_clash"),
    rule(id="distress", kind="distress"),
    rule(id="encounter", kind="encounter", ports=_ALL, port_distance=10_000.0),
    rule(id="loitering", kind="loitering", away_from=_ALL, distance=37_040.0),
    rule(id="carried", kind="carried_beacons", ports=_ALL),
]


def fixes(
    transponder: int, way: Callable[[float], Place], interval: float, *, start: float = 0.0, end: float = HOURS * 3600.0
) -> list[Row]:
    """Reports of a vessel that is at ``way(seconds)``, with the errors of a GNSS receiver and of a clock."""
    rng, rows, seconds = Random(transponder), [], start + Random(transponder).uniform(0, interval)
    source = VMS_FEED if transponder > 2**62 else TOWER
    while seconds < end:
        lon, lat = sail(way(seconds), rng.uniform(0, 360), abs(rng.gauss(0, 5)))
        time = START + round(seconds * SECOND)
        rows.append(Row("position", time, time + rng.randrange(2 * SECOND), transponder, lon, lat, source=source))
        seconds += interval * rng.uniform(0.95, 1.05)
    return rows


def line(start: Place, course: float, speed_kn: float) -> Callable[[float], Place]:
    return lambda seconds: sail(start, course, speed_kn * 0.5144 * seconds)


@pytest.fixture(scope="module")
def honest() -> list[Row]:
    """300 boats by AIS every two minutes or so, 60 more by VMS every two hours."""
    config = FleetConfig(seed=7, vessels=360)
    rows: list[Row] = []
    for number, boat in enumerate(plan(config)):
        knots = track(boat, Random(number))
        a = b = next(knots)
        places: list[Place] = []
        for tick in range(HOURS * 30 + 2):
            while b.time < tick * 120.0:
                a, b = b, next(knots)
            state = between(a, b, tick * 120.0)
            places.append((state.lon, state.lat))

        def way(seconds: float, places: list[Place] = places) -> Place:
            n, part = divmod(seconds / 120.0, 1.0)
            (x0, y0), (x1, y1) = places[int(n)], places[int(n) + 1]
            return x0 + part * (x1 - x0), y0 + part * (y1 - y0)

        device = number >= 300
        rows += fixes(vms(number) if device else boat.mmsi, way, 7200.0 if device else 150.0)
    return rows


def told(rows: list[Row], *, end: float = HOURS * 3600.0) -> list[tuple[str, str]]:
    rows = sorted(rows, key=lambda row: row.received)
    cuts = [(n, 0.5) for n in range(0, len(rows), 2000)]
    found = run(rows, RULES, START + round(end * SECOND), zones=PORTS, cuts=cuts).transitions
    return sorted((t.rule_id, t.subject.name) for t in found if t.event is Event.FIRING)


def test_several_hundred_honest_boats_raise_nothing(honest: list[Row]) -> None:
    assert len(honest) > 80_000
    assert told(honest) == []


@pytest.mark.parametrize("interval", [20.0, 7200.0], ids=["ais", "vms"])
def test_each_planted_event_is_told_exactly_once(honest: list[Row], interval: float) -> None:
    far: Place = (109.5, 16.9)
    slow = interval > 3600

    def name(number: int) -> int:
        return vms(1000 + number) if slow else 416_000_000 + number

    planted: list[Row] = []
    # Silent for more than six hours.
    out = line((108.5, 16.5), 60.0, 5.0)
    planted += fixes(name(1), out, interval, end=4.5 * 3600)
    planted += [row for row in fixes(name(1), out, interval) if row.time > START + 11.5 * HOUR]
    # Somewhere else from one fix to the next.
    planted += fixes(name(2), line((108.6, 17.0), 30.0, 6.0), interval, end=5.0 * 3600)
    planted += fixes(name(2), line((112.6, 14.0), 30.0, 6.0), interval, start=5.0 * 3600)
    # Two under one identity.
    planted += fixes(name(3), line((108.7, 17.2), 30.0, 6.0), interval)
    planted += fixes(name(3), line((113.0, 15.0), 200.0, 8.0), interval * 1.1, start=600.0)
    # Two that lie side by side.
    for number, offset in ((4, 0.0), (5, 0.002)):
        place = (109.0 + offset, 16.2)
        planted += fixes(name(number), line(place, 90.0, 0.3), interval)
    # Three on one hull, a fourth in convoy half a mile behind.
    body = line((108.2, 17.5), 45.0, 6.0)
    for number in (6, 7, 8):
        planted += fixes(name(number), body, interval)
    planted += fixes(name(9), line(sail((108.2, 17.5), 225.0, 900.0), 45.0, 6.0), interval)
    # One that idles.
    planted += fixes(name(10), line(far, 10.0, 0.4), interval)
    if not slow:
        planted += fixes(970_123_456, line((108.0, 16.6), 0.0, 0.5), 60.0, start=4.0 * 3600, end=5.0 * 3600)
    expected = [
        ("carried", min(name(n) for n in (6, 7, 8))),
        ("clash", name(3)),
        ("encounter", min(name(4), name(5))),
        ("gap", name(1)),
        ("jump", name(2)),
        *(("loitering", name(n)) for n in (4, 5, 10)),  # those that meet idle as well
        *([] if slow else [("distress", 970_123_456)]),
    ]
    assert told(honest + planted) == sorted((rule_id, str(number)) for rule_id, number in expected)
