"""Vessels: into zones and through them, lost from sight, and receivers that fall silent with all they heard."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from quality.scenario import CLEAN, HOUR, MINUTE, NOISY, SECOND, START, Expected, Scenario, heartbeat, together
from simulators.actors import Actor, actor_events
from simulators.kinematics import KNOT_MPS, Place, rhumb, sail

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from simulators.events import Event

_MMSI: Final = 574_800_000
#: West of the core of quality/zones.geojson, and east of it.
_WEST, _EAST = (107.37, 16.965), (107.49, 16.965)
#: From three to five hours.
_MUTE: Final = ((10_800.0, 18_000.0),)
#: The edges of core, as longitudes.
_CORE: Final = (107.40, 107.46)


def sailed(start: float, knots: float, *places: Place) -> tuple[tuple[float, Place], ...]:
    """A way through places at one speed, begun at ``start`` seconds."""
    way, time = [(start, places[0])], start
    for a, b in pairwise(places):
        time += rhumb(a, b)[1] / (knots * KNOT_MPS)
        way.append((time, b))
    return tuple(way)


def _when(way: tuple[tuple[float, Place], ...], lon: float) -> int:
    """When a way first reaches a longitude, microseconds."""
    for (t0, a), (t1, b) in pairwise(way):
        if min(a[0], b[0]) <= lon <= max(a[0], b[0]) and a[0] != b[0]:
            return START + round((t0 + (t1 - t0) * (lon - a[0]) / (b[0] - a[0])) * SECOND)
    raise ValueError("the way does not lead there")


def _played(actors: Sequence[Actor], seconds: float, seed: int, *, noisy: bool) -> Iterator[Event]:
    if noisy:
        actors = [replace(actor, noise_m=10.0) for actor in actors]
    receivers = NOISY if noisy else CLEAN
    return together(
        actor_events(actors, start=START, seconds=seconds, receivers=receivers, seed=seed), heartbeat(seconds)
    )


def scenarios(seed: int) -> Sequence[Scenario]:
    """Each clean, and each with two receivers that lose messages and are late; by AIS and by VMS."""
    out = []
    for noisy in (False, True):
        for wire, interval_s in (("ais", 10.0), ("vms", 7200.0)):
            for kind, actors, seconds, planted in _scenes(wire, interval_s):
                label = f"{kind}-{wire}{'-noisy' if noisy else ''}"
                expected = planted
                if kind == "feed_silent":
                    silent = [receiver.name for receiver in (NOISY if noisy else CLEAN)]
                    expected = [Expected(kind, f"gateway/{name}", START + 3 * HOUR, 5 * MINUTE) for name in silent]
                events = partial(_played, actors, seconds, seed, noisy=noisy)
                out.append(Scenario(label, noisy, events, expected))
    return out


def _scenes(wire: str, interval_s: float) -> Iterator[tuple[str, list[Actor], float, list[Expected]]]:
    """(kind, actors, seconds, what is expected), all of one wire: AIS each 10 s, or VMS each 2 h."""
    vms = wire == "vms"
    give = 125 * MINUTE if vms else 5 * MINUTE

    def actor(n: int, way: tuple[tuple[float, Place], ...], **more: object) -> Actor:
        return Actor(_MMSI + n, way, interval_s, vms=f"HUE-{n}" if vms else None, **more)  # type: ignore[arg-type]

    def subject(one: Actor) -> str:
        return f"vms-provider/{one.vms}" if one.vms else str(one.mmsi)

    # Slow enough that VMS sees it inside: 3.5 nm through the core, with a stay of six hours in the middle of it.
    stay = (107.43, 16.965)
    way_in, hours = sailed(3 * 3600.0, 6.0, _WEST, stay), 6
    way = (*way_in, *sailed(way_in[-1][0] + hours * 3600, 6.0, stay, _EAST))
    visitor = actor(1, way)
    entered, left = _when(way_in, _CORE[0]), _when(way[len(way_in) :], _CORE[1])
    yield (
        "zone",
        [visitor],
        way[-1][0] + 4 * 3600,
        [
            Expected("zone-entered", subject(visitor), entered, give),
            Expected("zone-inside", subject(visitor), entered, give),
            Expected("zone-left", subject(visitor), left, give),
        ],
    )

    resident = actor(2, ((0.0, stay),))
    yield "zone-resident", [resident], 5 * 3600.0, [Expected("zone-inside", subject(resident), START, give)]

    if not vms:
        through = actor(3, sailed(600.0, 12.0, (107.25, 16.96), (107.35, 16.96)))
        yield (
            "zone-crossed",
            [through],
            2 * 3600.0,
            [Expected("zone-crossed", subject(through), _when(through.way, 107.30001), give)],
        )

    sea = (107.70, 16.80)
    patrol = sailed(0.0, 4.0, *(sail(sea, 70.0 * n % 360, 9000.0) for n in range(60)))
    lost = actor(4, patrol, mute=((6 * 3600.0, 16 * 3600.0),))
    yield (
        "gap",
        [lost],
        20 * 3600.0,
        [Expected("gap", subject(lost), START + 6 * HOUR - (HOUR if vms else 0), give, "major")],
    )

    if not vms:
        together_lost = [
            actor(10 + n, sailed(0.0, 4.0, *(sail(sea, 40.0 * k + 90 * n, 8000.0) for k in range(60))), mute=_MUTE)
            for n in range(12)
        ]
        yield "feed_silent", together_lost, 8 * 3600.0, []

    # Two hours' sailing, and then it goes on from 50 nm away.
    far = (108.35, 16.25)
    there = sailed(0.0, 4.0, *(sail(sea, 70.0 * n % 360, 9000.0) for n in range(8)))
    moved = sailed(there[-1][0] + 1.0, 4.0, *(sail(far, 70.0 * n % 360, 9000.0) for n in range(8)))
    jumper = actor(30, (*there, *moved))
    if not vms:  # with two hours between fixes, 50 nm are no impossible way
        yield (
            "jump",
            [jumper],
            moved[-1][0],
            [Expected("jump", subject(jumper), START + round(there[-1][0] * SECOND), give)],
        )

    twins = [
        replace(actor(40, sailed(0.0, 4.0, *(sail(place, 70.0 * n % 360, 9000.0) for n in range(20)))), vms=None)
        for place in (sea, (108.35, 16.25))
    ]
    if not vms:
        yield "identity_clash", twins, 6 * 3600.0, [Expected("identity_clash", subject(twins[0]), START, 30 * MINUTE)]
        beacon = Actor(970_123_456, sailed(0.0, 0.8, sea, sail(sea, 120.0, 9000.0)), 60.0, nav_status=14)
        yield "distress", [beacon], 2 * 3600.0, [Expected("distress", "970123456", START, give)]
