"""Vessels that do what a script says: for scenarios in which one thing happens, and its truth is known.

Between two places of its way a vessel is on the straight line of longitude and latitude that joins them, at the speed
that takes. It reports every ``interval_s``, with the errors of its receiver of satellites, and not while it is mute.
"""

from __future__ import annotations

import heapq
import json
from bisect import bisect_right
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

from simulators import ais_wire
from simulators.ais_wire import Hull, Report
from simulators.events import SECOND, Publish, iso
from simulators.kinematics import KNOT_MPS, Place, rhumb, sail
from simulators.reception import Reception, Transmission
from simulators.reporting import STATIC_INTERVAL_S
from simulators.sensors import PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from simulators.events import Event
    from simulators.reception import Receiver


@dataclass(slots=True, frozen=True)
class Actor:
    """One vessel. ``way`` is (seconds since the start, place), rising; before and after it the vessel stays put."""

    mmsi: int
    way: tuple[tuple[float, Place], ...]
    interval_s: float = 10.0
    noise_m: float = 3.0  # standard deviation, east and north each
    mute: tuple[tuple[float, float], ...] = ()  # spans of seconds in which it sends nothing
    vms: str | None = None  # sends its position by this VMS device over MQTT, and no AIS
    ship_type: int = 30  # fishing vessel
    length_m: int = 18
    nav_status: int = 0

    def at(self, seconds: float) -> tuple[Place, float, float]:
        """Place, course and speed in knots."""
        if seconds <= self.way[0][0]:
            return self.way[0][1], 0.0, 0.0
        following = bisect_right(self.way, seconds, key=lambda stop: stop[0])
        if following == len(self.way):
            return self.way[-1][1], 0.0, 0.0
        (t0, a), (t1, b) = self.way[following - 1], self.way[following]
        part = (seconds - t0) / (t1 - t0)
        course, metres = rhumb(a, b)
        place = (a[0] + part * (b[0] - a[0]), a[1] + part * (b[1] - a[1]))
        return place, course, metres / (t1 - t0) / KNOT_MPS

    def silent(self, seconds: float) -> bool:
        return any(since <= seconds < until for since, until in self.mute)


@dataclass(slots=True)
class _Radio:
    """What one actor sends."""

    actor: Actor
    start: int
    seconds: float
    rng: Random
    sent: int = field(default=0)

    def ais(self) -> Iterator[Transmission]:
        actor = self.actor
        phase = self.rng.uniform(0, actor.interval_s)
        static_due = phase
        n = 0
        while (now := phase + n * actor.interval_s) < self.seconds:
            n += 1
            if actor.silent(now):
                continue
            time = self.start + round(now * SECOND)
            place, course, speed = self._seen(now)
            if now >= static_due:
                static_due = now + STATIC_INTERVAL_S
                yield self._transmit(time, place, 5, ais_wire.static_a(self._hull()))
            report = Report(
                mmsi=actor.mmsi,
                lon=place[0],
                lat=place[1],
                sog=speed,
                cog=course if speed > 0.5 else None,
                heading=None,
                nav_status=actor.nav_status,
                second=time // SECOND % 60,
                rot=None,
                comm_state=1,
            )
            yield self._transmit(time, place, 1, ais_wire.position_a(report), report)

    def _seen(self, now: float) -> tuple[Place, float, float]:
        (lon, lat), course, speed = self.actor.at(now)
        east, north = self.rng.gauss(0, self.actor.noise_m), self.rng.gauss(0, self.actor.noise_m)
        return sail(sail((lon, lat), 90.0, east), 0.0, north), course, max(0.0, round(speed, 1))

    def _transmit(
        self, time: int, place: Place, msg_type: int, payload: ais_wire.Payload, report: Report | None = None
    ) -> Transmission:
        self.sent += 1
        return Transmission(time, place, payload, "AB"[self.sent % 2], msg_type, self.actor.mmsi, report)

    def _hull(self) -> Hull:
        length = self.actor.length_m
        return Hull(
            mmsi=self.actor.mmsi,
            name=f"SCENE {self.actor.mmsi % 100_000:05d}",
            callsign=f"XV{self.actor.mmsi % 10_000:04d}",
            to_bow=length * 2 // 3,
            to_stern=length - length * 2 // 3,
            to_port=2,
            to_starboard=3,
            draught=1.8,
            destination="",
            ship_type=self.actor.ship_type,
        )

    def vms(self) -> Iterator[Publish]:
        gateway, device = "vms-provider", str(self.actor.vms)
        phase = self.rng.uniform(0, self.actor.interval_s)
        n = 0
        while (now := phase + n * self.actor.interval_s) < self.seconds:
            n += 1
            if self.actor.silent(now):
                continue
            time = self.start + round(now * SECOND)
            (lon, lat), course, speed = self._seen(now)
            said = {
                "time": iso(time),
                "lon": round(lon, 5),
                "lat": round(lat, 5),
                "sog": speed,
                "cog": round(course, 1),
            }
            yield Publish(time, gateway, f"{PREFIX}/{gateway}/{device}/position", json.dumps(said).encode())


def actor_events(
    actors: Sequence[Actor], *, start: int, seconds: float, receivers: tuple[Receiver, ...], seed: int = 1
) -> Iterator[Event]:
    """What the receivers put out and the VMS provider publishes, in time order. The same arguments, the same bytes."""
    radios = [
        _Radio(actor, start, seconds, Random(f"{seed}/actor/{n}"))  # noqa: S311  # simulation, not secrets
        for n, actor in enumerate(actors)
    ]
    reception = Reception(receivers, f"{seed}/actors")
    sent: list[Iterator[Transmission | Publish]] = [
        radio.vms() if radio.actor.vms is not None else radio.ais() for radio in radios
    ]
    for item in heapq.merge(*sent, key=lambda item: item.time):
        yield from reception.ready(item.time)
        if isinstance(item, Publish):
            yield item
        else:
            reception.hear(item)
    yield from reception.ready(None)
