"""What scenarios with vessels are made of: ways, wires, and a stage to play on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

from quality.scenario import CLEAN, MINUTE, NOISY, SECOND, START, heartbeat, together
from simulators.actors import Actor, actor_events
from simulators.kinematics import KNOT_MPS, Place, rhumb

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from quality.scenario import Expected
    from simulators.events import Event

Way = tuple[tuple[float, Place], ...]

_MMSI: Final = 574_800_000
#: Seconds between two reports, where they are mixed.
_MIXED: Final = (30.0, 10.0, 60.0)
#: At sea, fifteen miles off.
SEA: Final = (107.70, 16.80)


class Scene(NamedTuple):
    """Something that vessels do, and what is to come of it."""

    name: str
    actors: Sequence[Actor]
    seconds: float
    expected: Sequence[Expected]


@dataclass(slots=True, frozen=True)
class Wire:
    """How vessels are heard."""

    name: str
    interval_s: float

    @property
    def vms(self) -> bool:
        return self.name == "vms"

    @property
    def give(self) -> int:
        """How far the start of an alert may be from the truth, microseconds."""
        return 125 * MINUTE if self.vms else 5 * MINUTE

    def actor(self, n: int, way: Way, *, mute: tuple[tuple[float, float], ...] = ()) -> Actor:
        return Actor(_MMSI + n, way, self.interval_s, mute=mute, vms=f"HUE-{n}" if self.vms else None)

    def subject(self, one: Actor) -> str:
        return f"vms-provider/{one.vms}" if one.vms else str(one.mmsi)


#: AIS each 10 s, and VMS each 2 h.
WIRES: Final = (Wire("ais", 10.0), Wire("vms", 7200.0))


def sailed(start: float, knots: float, *places: Place) -> Way:
    """A way through places at one speed, begun at ``start`` seconds."""
    way, time = [(start, places[0])], start
    for a, b in pairwise(places):
        time += rhumb(a, b)[1] / (knots * KNOT_MPS)
        way.append((time, b))
    return tuple(way)


def when(way: Way, lon: float) -> int:
    """When a way first reaches a longitude, microseconds."""
    for (t0, a), (t1, b) in pairwise(way):
        if min(a[0], b[0]) <= lon <= max(a[0], b[0]) and a[0] != b[0]:
            return START + round((t0 + (t1 - t0) * (lon - a[0]) / (b[0] - a[0])) * SECOND)
    raise ValueError("the way does not lead there")


def played(actors: Sequence[Actor], seconds: float, seed: int, *, noisy: bool) -> Iterator[Event]:
    if noisy:  # as class A and B report, and such as are heard now and then
        actors = [
            replace(actor, noise_m=15.0, interval_s=max(actor.interval_s, _MIXED[n % len(_MIXED)]))
            for n, actor in enumerate(actors)
        ]
    receivers = NOISY if noisy else CLEAN
    return together(
        actor_events(actors, start=START, seconds=seconds, receivers=receivers, seed=seed), heartbeat(seconds)
    )
