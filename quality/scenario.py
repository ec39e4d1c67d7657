"""What a scenario is: events for the wire, and the alerts that a perfect officer would raise, no more and no fewer."""

from __future__ import annotations

import heapq
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from simulators.events import Publish, Sentences, Truth, iso
from simulators.reception import THUAN_AN_LIGHT, TU_HIEN_HILL, Receiver
from simulators.scenario import as_publish

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from simulators.events import Event
    from simulators.kinematics import Place

SECOND: Final = 1_000_000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
#: 2026-10-05T00:00Z, seven in the morning at Huế.
START: Final = 1_791_158_400_000_000
#: The shipped receivers, hearing everything within their range: what a clean scenario has.
CLEAN: Final = (Receiver("hue-ais-1", THUAN_AN_LIGHT.place, 60.0, loss=0.0, delay_s=0.0),)
#: Two that overlap, lose messages and are late with them, one of them without times.
NOISY: Final = (
    Receiver("hue-ais-1", THUAN_AN_LIGHT.place, 60.0, loss=0.15, delay_s=2.0),
    Receiver("hue-ais-2", TU_HIEN_HILL.place, 60.0, loss=0.15, delay_s=2.0),
)


@dataclass(slots=True, frozen=True)
class Expected:
    """One alert. Times in microseconds UTC; the alert must start within ``give`` of ``since``."""

    rule: str
    subject: str  # MMSI, VMS device, "gateway/device" or source; of a group any of several, with "|" between
    since: int
    give: int
    worst: str | None = None  # its greatest severity, where the rule is a ladder


@dataclass(slots=True, frozen=True)
class Told:
    """An alert as the database has it."""

    rule: str
    subject: str
    started_at: int
    fired_at: int
    worst: str  # the greatest severity it had
    retracted: bool = False

    def fits(self, expected: Expected) -> bool:
        return (
            self.rule == expected.rule
            and self.subject in expected.subject.split("|")
            and abs(self.started_at - expected.since) <= expected.give
            and expected.worst in {None, self.worst}
        )


@dataclass(slots=True, frozen=True)
class Scenario:
    """``events`` makes what is said on the wire, in time order; nothing but ``expected`` may come of it."""

    name: str
    noisy: bool
    events: Callable[[], Iterable[Event]]
    expected: Sequence[Expected] = field(default_factory=tuple)
    places: Mapping[str, Place] = field(default_factory=dict)  # of stations, "gateway/device", as the registry has them


def together(*parts: Iterable[Event]) -> Iterator[Event]:
    """Several in one, in time order."""
    return heapq.merge(*parts, key=lambda event: event.time)


def heartbeat(seconds: float, every: float = 600.0) -> Iterator[Event]:
    """A station far from everything that is never silent: time goes on when all else is."""
    for n in range(int(seconds // every) + 1):
        at = START + round(n * every * SECOND)
        said = {"time": iso(at), "readings": {"battery_voltage": 3.9}}
        yield Publish(at, "clock", "haidang/v1/clock/beat/readings", json.dumps(said).encode())


def recording(events: Iterable[Event]) -> Iterator[bytes]:
    """As ``haidang replay`` reads it: one line for each publish; what receivers hear is published by them."""
    for event in events:
        if isinstance(event, Truth):
            continue
        publish = as_publish(event) if isinstance(event, Sentences) else event
        line = {"received_at": iso(publish.time), "topic": publish.topic, "payload": publish.payload.decode()}
        yield json.dumps(line, ensure_ascii=False).encode() + b"\n"
