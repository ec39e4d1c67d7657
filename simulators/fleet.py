"""A fishing fleet out of Thuận An and Tư Hiền: boats lie in port, leave, fish, come home, and say so by AIS.

The clock of a simulation runs ``speed`` times as fast as the clock on the wire: with ``speed=60`` a boat makes a
mile in eight seconds of wire time, while every time stamp stays on the wire's clock and the speed a boat reports
stays its own. Zone truth is computed from the track itself, before noise, loss or quantisation.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random
from typing import TYPE_CHECKING, Final, Literal

from simulators import ais_wire
from simulators.ais_wire import Hull, Report
from simulators.events import SECOND, BadConfig, Event, Truth, iso
from simulators.kinematics import KNOT_MPS as _KNOT
from simulators.kinematics import Helm, Knot, Place, along, between, fish, lie, rhumb, sail, transit, turn
from simulators.reception import THUAN_AN_LIGHT, TU_HIEN_HILL, Reception, Transmission
from simulators.reporting import (
    ATON_INTERVAL_S,
    BASE_STATION_INTERVAL_S,
    FISHING,
    MOORED,
    STATIC_INTERVAL_S,
    UNDER_WAY,
    TurnDetector,
    class_a_interval,
    class_b_interval,
)
from simulators.waters import GROUNDS, LAGOON_WAY, THUAN_AN, TU_HIEN, Port, lagoon_reach

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulators.areas import Area
    from simulators.reception import Receiver

NAV_STATUS: Final = {"moored": MOORED, "transit": UNDER_WAY, "fishing": FISHING}
_STATIC_TICKS: Final = round(STATIC_INTERVAL_S * 3 / 10)
_MMSI: Final = 574_990_001  # flag Viet Nam; numbers counted up from here
_STAGGER_S: Final = 15.0  # between the first entries of two boats staged for the same zone


@dataclass(slots=True, frozen=True)
class FleetConfig:
    """What fleet to simulate. The same config gives the same bytes."""

    seed: int = 1
    start: int = 0  # microseconds UTC: the wire's clock when the simulation begins
    seconds: float | None = None  # of the wire's clock; None for ever
    vessels: int = 12
    speed: float = 1.0
    zones: tuple[Area, ...] = ()
    intruders: int | None = None  # boats whose way leads through a zone; None: two for each zone, at most all
    first_entry: float | None = None  # seconds after start at which the first boat enters each zone; None: by chance
    receivers: tuple[Receiver, ...] = (THUAN_AN_LIGHT, TU_HIEN_HILL)
    gnss_noise_m: float = 3.0  # standard deviation, east and north each

    def __post_init__(self) -> None:
        """Refuse what cannot be simulated."""
        if self.vessels < 0 or self.speed <= 0 or not self.receivers:
            raise BadConfig("a fleet needs vessels >= 0, speed > 0 and at least one receiver")


@dataclass(slots=True, frozen=True)
class Vessel:
    """One boat and its plan."""

    hull: Hull
    station: Literal["A", "B"]
    extended: bool  # class B that sends message 19 beside 18, instead of 24
    gyro: bool  # has a heading and a rate of turn to tell
    port: Port
    route: tuple[Place, ...]  # from the berth to the ground
    ground_radius_m: float
    transit_kn: float
    fishing_kn: float
    moored_s: float
    fishing_s: float
    begin: Literal["moored", "outbound", "fishing", "inbound"]
    begin_at: float  # moored: seconds left at the berth; outbound and inbound: metres made good; fishing: seconds left
    zone: str | None = None  # the zone its way leads through

    @property
    def mmsi(self) -> int:
        return self.hull.mmsi


@dataclass(slots=True)
class _Change:
    """A boat's entering or leaving a zone, at ``time`` seconds of the simulation."""

    time: float
    zone: str
    entered: bool
    place: Place
    at_start: bool = False


def _rng(config: FleetConfig, what: str) -> Random:
    return Random(f"{config.seed}/fleet/{what}")  # noqa: S311  # simulation, not secrets


def plan(config: FleetConfig) -> tuple[Vessel, ...]:
    """The boats of a fleet, from the seed alone."""
    wanted = 2 * len(config.zones) if config.intruders is None else config.intruders
    intruders = min(wanted, config.vessels) if config.zones else 0
    boats = []
    for i in range(config.vessels):
        zone = config.zones[i % len(config.zones)] if i < intruders else None
        turn_of_zone = i // len(config.zones) if zone else 0
        boats.append(_boat(config, i, zone, turn_of_zone))
    return tuple(boats)


def _boat(config: FleetConfig, i: int, zone: Area | None, nth: int) -> Vessel:
    rng = _rng(config, f"boat/{i}")
    port, route = _way(rng, zone)
    in_lagoon = route[-1] == LAGOON_WAY[-1]
    staged = zone is not None and config.first_entry is not None
    # Boats of the lagoon are small. The first boat staged for a zone at sea is class A: it reports every 10 s.
    large = rng.random() < 0.45 or (staged and nth == 0)
    station: Literal["A", "B"] = "A" if large and not in_lagoon else "B"
    length = rng.randint(17, 27) if station == "A" else rng.randint(9, 16)
    beam = max(3, round(length / 3.6))
    hull = Hull(
        mmsi=_MMSI + i,
        name=f"TTH {90_000 + (config.seed * 131 + i * 7) % 9_999:05d} TS",
        callsign=f"XV{1000 + i % 9000}",
        to_bow=length * 2 // 3,
        to_stern=length - length * 2 // 3,
        to_port=beam // 2,
        to_starboard=beam - beam // 2,
        draught=round(rng.uniform(1.2, 2.6), 1),
        destination=port.name,
    )
    transit_kn = round(rng.uniform(6.0, 9.0), 1)
    moored_s, fishing_s = rng.uniform(2, 8) * 3600, rng.uniform(3, 8) * 3600
    begin, begin_at = _beginning(rng, route, moored_s, fishing_s)
    if zone is not None and config.first_entry is not None:
        # The way to the boundary that is left, backed up by what the boat makes good until it is to enter.
        sail_s = (config.first_entry + nth * _STAGGER_S) * config.speed
        made_good = _first_entry_m(route, zone) - sail_s * transit_kn * _KNOT
        begin, begin_at = ("outbound", made_good) if made_good > 0 else ("moored", -made_good / (transit_kn * _KNOT))
    return Vessel(
        hull=hull,
        station=station,
        extended=station == "B" and rng.random() < 0.25,
        gyro=station == "A" and rng.random() < 0.5,
        port=port,
        route=route,
        ground_radius_m=500.0 if in_lagoon else 2500.0,
        transit_kn=transit_kn,
        fishing_kn=round(rng.uniform(2.2, 3.8), 1),
        moored_s=moored_s,
        fishing_s=fishing_s,
        begin=begin,
        begin_at=begin_at,
        zone=zone.id if zone else None,
    )


def _way(rng: Random, zone: Area | None) -> tuple[Port, tuple[Place, ...]]:
    """From a berth to a ground; with a zone, through the middle of it."""
    port = THUAN_AN if rng.random() < 0.75 else TU_HIEN
    quay = sail(port.berth, rng.uniform(0, 360), rng.uniform(0, 80))
    ground = sail(rng.choice(GROUNDS), rng.uniform(0, 360), rng.uniform(0, 4000))
    if zone is None:
        return port, (quay, *port.way_out, ground)
    # A little off the middle, so that two boats do not sail in one another's wake.
    heart = zone.heart()
    for _ in range(20):
        off = sail(heart, rng.uniform(0, 360), rng.uniform(0, 150))
        if zone.contains(off):
            heart = off
            break
    reach = lagoon_reach(heart)
    if reach is not None:
        quay = sail(THUAN_AN.berth, rng.uniform(0, 360), rng.uniform(0, 80))
        return THUAN_AN, (quay, *LAGOON_WAY[:reach], heart, LAGOON_WAY[-1])
    return port, (quay, *port.way_out, heart, ground)


def _beginning(
    rng: Random, route: tuple[Place, ...], moored_s: float, fishing_s: float
) -> tuple[Literal["moored", "outbound", "fishing", "inbound"], float]:
    """Where in its plan a boat is when the simulation begins."""
    whole = sum(rhumb(a, b)[1] for a, b in pairwise(route))
    match rng.choices(("moored", "outbound", "fishing", "inbound"), (3, 2, 4, 2))[0]:
        case "moored":
            return "moored", rng.uniform(0, moored_s)
        case "outbound":
            return "outbound", rng.uniform(0, 0.9) * whole
        case "fishing":
            return "fishing", rng.uniform(0, fishing_s)
        case _:
            return "inbound", rng.uniform(0, 0.9) * whole


def _first_entry_m(route: tuple[Place, ...], zone: Area) -> float:
    """Metres along the route to where it first enters the zone; 0 where it begins inside."""
    metres = 0.0
    if zone.contains(route[0]):
        return 0.0
    for a, b in pairwise(route):
        length = rhumb(a, b)[1]
        if hits := zone.crossings(a, b):
            return metres + hits[0] * length
        metres += length
    return metres


def track(vessel: Vessel, rng: Random) -> Iterator[Knot]:
    """The boat's way without end, from ``time`` 0: moored, out, fishing, home, and again."""
    route, home = vessel.route, vessel.route[::-1]
    phase: str = vessel.begin
    moored_s, fishing_s = vessel.moored_s, vessel.fishing_s
    leg = route[1:]
    match vessel.begin:
        case "outbound" | "inbound":
            way = route if vessel.begin == "outbound" else home
            place, following = along(way, vessel.begin_at)
            leg = way[following:]
            helm = Helm(0.0, *place, rhumb(place, leg[0])[0], vessel.transit_kn)
        case "fishing":
            place = sail(route[-1], rng.uniform(0, 360), rng.uniform(0, vessel.ground_radius_m))
            helm = Helm(0.0, *place, rng.uniform(0, 360), vessel.fishing_kn)
            fishing_s = vessel.begin_at
        case "moored":
            helm = Helm(0.0, *route[0], rng.uniform(0, 360), 0.0)
            moored_s = vessel.begin_at
    yield helm.knot(NAMES[phase])
    while True:
        match phase:
            case "moored":
                yield from lie(helm, moored_s)
                moored_s, leg, phase = vessel.moored_s, route[1:], "outbound"
                helm.course = rhumb((helm.lon, helm.lat), leg[0])[0]
            case "outbound":
                yield from transit(helm, leg, vessel.transit_kn, berth=False)
                phase = "fishing"
            case "fishing":
                yield from fish(helm, rng, route[-1], vessel.ground_radius_m, vessel.fishing_kn, fishing_s)
                fishing_s, leg, phase = vessel.fishing_s, home[1:], "inbound"
            case "inbound":
                yield from transit(helm, leg, vessel.transit_kn, berth=True)
                phase = "moored"


NAMES: Final = {"moored": "moored", "outbound": "transit", "inbound": "transit", "fishing": "fishing"}


@dataclass(slots=True)
class _Station:
    """One boat's transponder: goes along the track tick by tick and says what is due."""

    config: FleetConfig
    vessel: Vessel
    index: int
    rng: Random = field(init=False)
    turns: TurnDetector = field(default_factory=TurnDetector)
    inside: set[str] = field(default_factory=set)
    changes: list[_Change] = field(default_factory=list)
    sent: int = 0

    def __post_init__(self) -> None:
        self.rng = _rng(self.config, f"station/{self.index}")

    def run(self) -> Iterator[Transmission | Truth]:
        knots = track(self.vessel, _rng(self.config, f"track/{self.index}"))
        a = b = next(knots)
        for zone in self.config.zones:
            if zone.contains((a.lon, a.lat)):
                self.inside.add(zone.id)
                self.changes.append(_Change(0.0, zone.id, entered=True, place=(a.lon, a.lat), at_start=True))
        # A tick of 10/3 s divides every interval that applies to these boats.
        phase = self.rng.randrange(10 * SECOND)
        last = -float("inf")
        tick = -1
        while True:
            tick += 1
            now = phase + tick * 10 * SECOND // 3
            seconds = now / SECOND
            while b.time < seconds:
                a, b = b, next(knots)
                self._cross(a, b)
            state = between(a, b, seconds)
            status = NAV_STATUS[state.phase]
            turning = self.turns.update(state.course) and status != MOORED
            if self.vessel.station == "A":
                interval = class_a_interval(status, state.speed, turning=turning)
            else:
                interval = class_b_interval(state.speed)
            time = self._wire(now)
            if seconds - last >= interval - 1e-3:
                last = seconds
                yield from self._truths(seconds, time)
                yield self._position(state, status, a, b, time, turning=turning)
            yield from self._statics(tick, time, state, status)

    def _wire(self, now: float) -> int:
        return self.config.start + round(now / self.config.speed)

    def _cross(self, a: Knot, b: Knot) -> None:
        for zone in self.config.zones:
            for part in zone.crossings((a.lon, a.lat), (b.lon, b.lat)):
                entered = zone.id not in self.inside
                (self.inside.add if entered else self.inside.remove)(zone.id)
                at = between(a, b, a.time + part * (b.time - a.time))
                self.changes.append(_Change(at.time, zone.id, entered, (at.lon, at.lat)))

    def _truths(self, seconds: float, reported: int) -> Iterator[Truth]:
        """What became true since the last report. In and out again between two reports is one crossing."""
        due = sorted((c for c in self.changes if c.time <= seconds), key=lambda c: c.time)
        self.changes = [c for c in self.changes if c.time > seconds]
        while due:
            change = due.pop(0)
            fields = {
                "kind": "zone_entered" if change.entered else "zone_left",
                "subject": str(self.vessel.mmsi),
                "zone": change.zone,
                "time": iso(self._wire(change.time * SECOND)),
                "reported": iso(reported),  # the first position report sent from there on
                "lon": round(change.place[0], 7),
                "lat": round(change.place[1], 7),
            }
            if change.at_start:
                fields["at_start"] = True
            follower = next((c for c in due if c.zone == change.zone), None)
            if follower and change.entered and not change.at_start:
                due.remove(follower)
                fields |= {"kind": "zone_crossed", "until": iso(self._wire(follower.time * SECOND))}
            yield Truth(reported, fields)

    def _position(self, state: Knot, status: int, a: Knot, b: Knot, time: int, *, turning: bool) -> Transmission:
        report = self._report(state, status, a, b, time)
        if self.vessel.station == "B":
            return self._transmit(18, ais_wire.position_b(report), state, time, report=report)
        payload = ais_wire.position_a(report, msg_type=3 if turning else 1)
        return self._transmit(3 if turning else 1, payload, state, time, report=report, turning=turning)

    def _report(self, state: Knot, status: int, a: Knot, b: Knot, time: int) -> Report:
        rng, noise = self.rng, self.config.gnss_noise_m
        east, north = rng.gauss(0.0, noise), rng.gauss(0.0, noise)
        lon, lat = sail(sail((state.lon, state.lat), 90.0, east), 0.0, north)
        under_way = status != MOORED
        heading = rot = None
        if self.vessel.gyro:
            heading = round(state.course + (rng.gauss(0.0, 1.0) if under_way else 0.0)) % 360
            rate = turn(a.course, b.course) / (b.time - a.time) * 60.0 if under_way and b.time > a.time else 0.0
            rot = max(-126, min(126, round(4.733 * abs(rate) ** 0.5) * (1 if rate >= 0 else -1)))
        return Report(
            mmsi=self.vessel.mmsi,
            lon=lon,
            lat=lat,
            sog=max(0.0, round(state.speed + rng.gauss(0.0, 0.1 if under_way else 0.03), 1)),
            cog=round((state.course + rng.gauss(0.0, 1.0)) % 360.0, 1) % 360.0 if under_way else None,
            heading=heading,
            nav_status=status,
            second=time // SECOND % 60,
            rot=rot,
            comm_state=1 if self.turns.holding else ais_wire.sotdma(7 - self.sent % 8, time),
        )

    def _statics(self, tick: int, time: int, state: Knot, status: int) -> Iterator[Transmission]:
        """Static data every six minutes, for the first time right after switching on."""
        due = tick % _STATIC_TICKS
        hull = self.vessel.hull
        if self.vessel.station == "A":
            if due == 1:
                yield self._transmit(5, ais_wire.static_a(hull), state, time)
        elif self.vessel.extended:
            if due == 1:
                report = self._report(state, status, state, state, time)
                yield self._transmit(19, ais_wire.extended_b(report, hull), state, time, report=report)
        elif due in (1, 2):
            yield self._transmit(24, ais_wire.static_b(hull, due - 1), state, time)

    def _transmit(
        self,
        msg_type: int,
        payload: ais_wire.Payload,
        state: Knot,
        time: int,
        *,
        report: Report | None = None,
        turning: bool = False,
    ) -> Transmission:
        self.sent += 1
        channel = "AB"[self.sent % 2]  # stations use both channels in turn
        place = (state.lon, state.lat)
        return Transmission(time, place, payload, channel, msg_type, self.vessel.mmsi, report, turning)


def _shore_station(config: FleetConfig) -> Iterator[Transmission]:
    """The base station beside the first receiver."""
    place = config.receivers[0].place
    mmsi = 5_740_101  # 005740101
    sent = 0
    while True:
        time = config.start + round((1.0 + sent * BASE_STATION_INTERVAL_S) * SECOND)
        payload = ais_wire.base_station(mmsi, *place, time, ais_wire.sotdma(7 - sent % 8, time))
        yield Transmission(time, place, payload, "AB"[sent % 2], 4, mmsi)
        sent += 1


def _buoy(config: FleetConfig) -> Iterator[Transmission]:
    """The fairway buoy off Thuận An."""
    place = THUAN_AN.way_out[-1]
    mmsi = 995_741_001
    sent = 0
    while True:
        time = config.start + round((2.0 + sent * ATON_INTERVAL_S) * SECOND)
        payload = ais_wire.aid_to_navigation(mmsi, "THUAN AN 0", 30, *place, time // SECOND % 60)
        yield Transmission(time, place, payload, "AB"[sent % 2], 21, mmsi)
        sent += 1


def transmissions(config: FleetConfig) -> Iterator[Transmission | Truth]:
    """Everything on the air, in time order, and the truth of the zones; before any receiver."""
    boats = (_Station(config, vessel, i).run() for i, vessel in enumerate(plan(config)))
    end = None if config.seconds is None else config.start + round(config.seconds * SECOND)
    for item in heapq.merge(*boats, _shore_station(config), _buoy(config), key=lambda item: item.time):
        if end is not None and item.time > end:
            return
        yield item


def fleet_events(config: FleetConfig) -> Iterator[Event]:
    """What the receivers put out and what was true, in time order."""
    reception = Reception(config.receivers, f"{config.seed}/fleet")
    for item in transmissions(config):
        yield from reception.ready(item.time)
        if isinstance(item, Truth):
            yield item
        else:
            reception.hear(item)
    yield from reception.ready(None)
