"""How a vessel moves: rhumb lines on a sphere, turns and changes of speed no hull could refuse.

A track is a sequence of knots; between two knots a vessel is, by definition, on the straight line of longitude and
latitude that joins them. So where it is at any instant, and when it crosses a boundary, has an exact answer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from random import Random

EARTH_RADIUS_M: Final = 6_371_008.8  # mean radius, IUGG
KNOT_MPS: Final = 1852 / 3600  # one knot (speed) in m/s, exact by definition
STEP_S: Final = 5.0  # between two knots of a vessel under way
MAX_TURN_DPS: Final = 3.0  # degrees per second a small hull turns at without heeling
MAX_ACCELERATION_MPS2: Final = 0.05

Place = tuple[float, float]  # longitude, latitude; degrees WGS 84


@dataclass(slots=True, frozen=True)
class Knot:
    """Where and how a vessel is at one instant. ``time`` in seconds of the simulation, ``speed`` in knots."""

    time: float
    lon: float
    lat: float
    course: float
    speed: float
    phase: str


@dataclass(slots=True)
class Helm:
    """The state that steering changes; position and motion of one vessel."""

    time: float
    lon: float
    lat: float
    course: float
    speed: float  # knots

    def knot(self, phase: str) -> Knot:
        return Knot(self.time, self.lon, self.lat, self.course, self.speed, phase)


def turn(from_course: float, to_course: float) -> float:
    """The shorter turn between two courses, degrees in [-180, 180), positive to starboard."""
    return (to_course - from_course + 180.0) % 360.0 - 180.0


def rhumb(a: Place, b: Place) -> tuple[float, float]:
    """The rhumb line from ``a`` to ``b`` by the shorter way round: true bearing in [0, 360), and metres.

    The loxodrome on a sphere: bearing = atan2(dlon, dpsi) with psi the isometric latitude; distance =
    hypot(dlat, q dlon) R, where q = dlat/dpsi, or cos(lat) on an east-west line.
    """
    lat1, lat2 = math.radians(a[1]), math.radians(b[1])
    dlat = lat2 - lat1
    dlon = math.radians((b[0] - a[0] + 180.0) % 360.0 - 180.0)
    dpsi = math.asinh(math.tan(lat2)) - math.asinh(math.tan(lat1))
    q = dlat / dpsi if abs(dpsi) > 1e-9 else math.cos(lat1)
    return math.degrees(math.atan2(dlon, dpsi)) % 360.0, math.hypot(dlat, q * dlon) * EARTH_RADIUS_M


def sail(a: Place, course: float, metres: float) -> Place:
    """Where a rhumb line of this course and length ends."""
    delta, theta = metres / EARTH_RADIUS_M, math.radians(course)
    lat1 = math.radians(a[1])
    lat2 = lat1 + delta * math.cos(theta)
    dpsi = math.asinh(math.tan(lat2)) - math.asinh(math.tan(lat1))
    q = (lat2 - lat1) / dpsi if abs(dpsi) > 1e-9 else math.cos(lat1)
    lon = a[0] + math.degrees(delta * math.sin(theta) / q)
    return (lon + 180.0) % 360.0 - 180.0, math.degrees(lat2)


def along(route: Sequence[Place], metres: float) -> tuple[Place, int]:
    """The point ``metres`` along a route from its first place, and the index of the next place of the route."""
    for i in range(1, len(route)):
        course, length = rhumb(route[i - 1], route[i])
        if metres < length:
            return sail(route[i - 1], course, metres), i
        metres -= length
    return route[-1], len(route) - 1


def advance(helm: Helm, course: float, speed: float) -> None:
    """One step of ``STEP_S`` towards a course and a speed, as far as the hull allows."""
    change = max(-MAX_TURN_DPS * STEP_S, min(MAX_TURN_DPS * STEP_S, turn(helm.course, course)))
    gain = MAX_ACCELERATION_MPS2 * STEP_S / KNOT_MPS
    faster = max(helm.speed - gain, min(helm.speed + gain, speed))
    metres = (helm.speed + faster) / 2 * KNOT_MPS * STEP_S
    helm.lon, helm.lat = sail((helm.lon, helm.lat), helm.course + change / 2, metres)
    helm.course = (helm.course + change) % 360.0
    helm.speed = faster
    helm.time += STEP_S


def transit(helm: Helm, route: Sequence[Place], speed: float, *, berth: bool) -> Iterator[Knot]:
    """Sail the places of a route in turn; with ``berth``, slow down for the last one and stop there."""
    for i, place in enumerate(route):
        last = berth and i == len(route) - 1
        capture = 15.0 if last else 120.0
        while True:
            bearing, metres = rhumb((helm.lon, helm.lat), place)
            passed = metres < 4 * capture and abs(turn(helm.course, bearing)) > 90.0
            if metres < capture or passed:
                break
            # v = sqrt(2 a d) is the speed from which this hull can still stop; half the brake leaves a margin.
            stoppable = math.sqrt(MAX_ACCELERATION_MPS2 * metres) / KNOT_MPS if last else speed
            advance(helm, bearing, max(1.0, min(speed, stoppable)))
            yield helm.knot("transit")
    if berth:
        helm.speed = 0.0


def fish(helm: Helm, rng: Random, centre: Place, radius_m: float, speed: float, seconds: float) -> Iterator[Knot]:
    """Wander slowly about a ground, as a boat with its gear out does, and come back when drifting off it."""
    until = helm.time + seconds
    rate = 0.0  # degrees per second
    pace = speed
    while helm.time < until:
        bearing, metres = rhumb((helm.lon, helm.lat), centre)
        rate = max(-1.0, min(1.0, 0.9 * rate + rng.gauss(0.0, 0.08)))
        homing = turn(helm.course, bearing)
        if metres > radius_m and abs(homing) > 30.0:
            rate = math.copysign(0.6, homing)
        pace = max(2.0, min(4.0, pace + 0.05 * (speed - pace) + rng.gauss(0.0, 0.05)))
        advance(helm, helm.course + rate * STEP_S, pace)
        yield helm.knot("fishing")


def lie(helm: Helm, seconds: float) -> Iterator[Knot]:
    """Lie at the berth: one knot where it begins and one where it ends."""
    helm.speed = 0.0
    yield helm.knot("moored")
    helm.time += seconds
    yield helm.knot("moored")


def between(a: Knot, b: Knot, time: float) -> Knot:
    """How the vessel is at ``time`` in [a.time, b.time]; the phase is the one that ``b`` ends."""
    part = (time - a.time) / (b.time - a.time) if b.time > a.time else 1.0
    return Knot(
        time,
        a.lon + part * (b.lon - a.lon),
        a.lat + part * (b.lat - a.lat),
        (a.course + part * turn(a.course, b.course)) % 360.0,
        a.speed + part * (b.speed - a.speed),
        b.phase,
    )
