"""Vessels and zones, vessels lost from sight, and receivers that fall silent with all they heard."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from quality.scenario import CLEAN, HOUR, MINUTE, NOISY, SECOND, START, Expected, Scenario
from quality.scenarios.doings import doings, tracks
from quality.scenarios.stage import SEA, WIRES, Scene, Wire, played, sailed, when
from simulators.kinematics import sail

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: West of the core of quality/zones.geojson, and east of it.
_WEST, _EAST = (107.37, 16.965), (107.49, 16.965)
#: The edges of core, as longitudes.
_CORE: Final = (107.40, 107.46)
#: From three to five hours.
_MUTE: Final = ((10_800.0, 18_000.0),)


def scenarios(seed: int) -> Sequence[Scenario]:
    """Each clean, and each with two receivers that lose messages and are late; by AIS and by VMS."""
    out = []
    for noisy in (False, True):
        for wire in WIRES:
            for scene in (*zones(wire), *silences(wire), *tracks(wire), *doings(wire)):
                expected = scene.expected
                if scene.name == "feed_silent":
                    silent = [receiver.name for receiver in (NOISY if noisy else CLEAN)]
                    since = START + 3 * HOUR
                    expected = [Expected("feed_silent", f"gateway/{name}", since, 5 * MINUTE) for name in silent]
                label = f"{scene.name}-{wire.name}{'-noisy' if noisy else ''}"
                events = partial(played, scene.actors, scene.seconds, seed, noisy=noisy)
                out.append(Scenario(label, noisy, events, expected))
    return out


def zones(wire: Wire) -> Iterator[Scene]:
    """Into a zone and out of it, there from the start, through it, and along its edge."""
    # Slow enough that VMS sees it inside: 3.5 nm through the core, with a stay of six hours in the middle of it.
    stay = (107.43, 16.965)
    way_in, hours = sailed(3 * 3600.0, 6.0, _WEST, stay), 6
    way = (*way_in, *sailed(way_in[-1][0] + hours * 3600, 6.0, stay, _EAST))
    visitor = wire.actor(1, way)
    entered, left = when(way_in, _CORE[0]), when(way[len(way_in) :], _CORE[1])
    yield Scene(
        "zone",
        [visitor],
        way[-1][0] + 4 * 3600,
        [
            Expected("zone-entered", wire.subject(visitor), entered, wire.give),
            Expected("zone-inside", wire.subject(visitor), entered, wire.give),
            Expected("zone-left", wire.subject(visitor), left, wire.give),
            # A stay of hours more than 20 nm out is that, too; by VMS, which does not see the short way there, with the
            # three hours before it.
            Expected("loitering", wire.subject(visitor), START + round(way_in[-1][0] * SECOND), wire.give + 3 * HOUR),
        ],
    )

    resident = wire.actor(2, ((0.0, stay),))
    yield Scene(
        "zone-resident", [resident], 3.5 * 3600.0, [Expected("zone-inside", wire.subject(resident), START, wire.give)]
    )

    if not wire.vms:
        through = wire.actor(3, sailed(600.0, 12.0, (107.25, 16.96), (107.35, 16.96)))
        yield Scene(
            "zone-crossed",
            [through],
            2 * 3600.0,
            [Expected("zone-crossed", wire.subject(through), when(through.way, 107.30001), wire.give)],
        )

    if not wire.vms:
        # Three hours along the edge, as near to it as positions are wrong: in and out of it, and one visit.
        edge = sailed(3600.0, 3.0, (107.37, 16.98995), (107.455, 16.98995))
        away = sailed(edge[-1][0], 6.0, (107.455, 16.98995), (107.49, 17.03))
        skirting = wire.actor(50, (*edge, *away[1:]))
        first, last = when(edge, _CORE[0]), when(away, _CORE[1])
        yield Scene(
            "zone-edge",
            [skirting],
            away[-1][0] + 600,
            [
                Expected("zone-entered", wire.subject(skirting), first, 20 * MINUTE),
                Expected("zone-inside", wire.subject(skirting), first, 20 * MINUTE),
                Expected("zone-left", wire.subject(skirting), last, 20 * MINUTE),
            ],
        )


def silences(wire: Wire) -> Iterator[Scene]:
    """One vessel falls silent; all that a receiver hears do."""
    patrol = sailed(0.0, 4.0, *(sail(SEA, 70.0 * n % 360, 9000.0) for n in range(60)))
    lost = wire.actor(4, patrol, mute=((6 * 3600.0, 16 * 3600.0),))
    yield Scene(
        "gap",
        [lost],
        20 * 3600.0,
        [Expected("gap", wire.subject(lost), START + 6 * HOUR - (HOUR if wire.vms else 0), wire.give, "major")],
    )

    if not wire.vms:
        ways = [[sail(SEA, 40.0 * k + 25 * n, 6000.0 + 300.0 * n) for k in range(60)] for n in range(12)]
        together_lost = [wire.actor(10 + n, sailed(0.0, 4.0, *way), mute=_MUTE) for n, way in enumerate(ways)]
        yield Scene("feed_silent", together_lost, 8 * 3600.0, [])
