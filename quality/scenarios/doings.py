"""What vessels do that a duty officer wants to know: impossible ways, meetings, idling, calls at port, fishing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from quality.scenario import MINUTE, SECOND, START, Expected
from quality.scenarios.stage import SEA, Scene, Wire, sailed
from simulators.actors import Actor
from simulators.kinematics import sail
from simulators.waters import THUAN_AN

if TYPE_CHECKING:
    from collections.abc import Iterator


def tracks(wire: Wire) -> Iterator[Scene]:
    """Ways that no vessel can sail, and a beacon of distress."""
    # Two hours' sailing, and then it goes on from 50 nm away.
    far = (108.35, 16.25)
    there = sailed(0.0, 4.0, *(sail(sail(SEA, 10.0, 15_000.0), 70.0 * n % 360, 9000.0) for n in range(8)))
    moved = sailed(there[-1][0] + 1.0, 4.0, *(sail(far, 70.0 * n % 360, 9000.0) for n in range(8)))
    jumper = wire.actor(30, (*there, *moved))
    if not wire.vms:  # with two hours between fixes, 50 nm are no impossible way
        yield Scene(
            "jump",
            [jumper],
            moved[-1][0],
            [Expected("jump", wire.subject(jumper), START + round(there[-1][0] * SECOND), wire.give)],
        )

    twins = [
        replace(wire.actor(40, sailed(0.0, 4.0, *(sail(place, 70.0 * n % 360, 9000.0) for n in range(20)))), vms=None)
        for place in (sail(SEA, 60.0, 20_000.0), (108.35, 16.25))
    ]
    if not wire.vms:
        yield Scene(
            "identity_clash",
            twins,
            6 * 3600.0,
            [Expected("identity_clash", wire.subject(twins[0]), START, 30 * MINUTE)],
        )
        beacon = Actor(970_123_456, sailed(0.0, 0.8, SEA, sail(SEA, 120.0, 9000.0)), 60.0, nav_status=14)
        yield Scene("distress", [beacon], 2 * 3600.0, [Expected("distress", "970123456", START, wire.give)])


def doings(wire: Wire) -> Iterator[Scene]:
    """Idling, calling at port, fishing, meeting, and carrying the beacons of others."""
    # Out at 8 kn, six hours adrift at less than a knot, and home.
    idle = (107.95, 17.05)
    out = sailed(0.0, 8.0, SEA, idle)
    drift = sailed(out[-1][0], 0.7, idle, sail(idle, 100.0, 7800.0))
    home = sailed(drift[-1][0], 8.0, drift[-1][1], SEA)
    loiterer = wire.actor(51, (*out, *drift[1:], *home[1:]))
    yield Scene(
        "loitering",
        [loiterer],
        home[-1][0] + 2 * 3600,
        [Expected("loitering", wire.subject(loiterer), START + round(out[-1][0] * SECOND), 125 * MINUTE)],
    )

    if not wire.vms:
        port = THUAN_AN
        inbound = sailed(0.0, 7.0, SEA, *reversed(port.way_out), port.berth)
        visitor = wire.actor(60, (*inbound, (inbound[-1][0] + 5 * 3600, port.berth)))
        yield Scene(
            "port_visit",
            [visitor],
            visitor.way[-1][0],
            [Expected("port_visit", wire.subject(visitor), START + round(inbound[-1][0] * SECOND), 40 * MINUTE)],
        )

        steaming = sailed(0.0, 9.0, SEA, idle)
        hauls = [idle, *(sail(idle, 110.0 * n % 360, 700.0) for n in range(24))]
        trawl = sailed(steaming[-1][0], 3.0, *hauls)
        back = sailed(trawl[-1][0], 9.0, trawl[-1][1], SEA)
        trawler = wire.actor(61, (*steaming, *trawl[1:], *back[1:]))
        yield Scene(
            "fishing",
            [trawler],
            back[-1][0],
            [Expected("fishing", wire.subject(trawler), START + round(steaming[-1][0] * SECOND), 20 * MINUTE)],
        )

    # Two meet, lie side by side for five hours, and part.
    meeting = sail(SEA, 45.0, 4000.0)
    pair = [
        wire.actor(70 + n, (*to, *sailed(to[-1][0] + 5 * 3600, 6.0, to[-1][1], sail(meeting, 180.0 * n, 9000.0))))
        for n, to in enumerate(
            sailed(3600.0, 6.0, sail(meeting, 180.0 * n, 9000.0), sail(meeting, 180.0 * n, 60.0)) for n in range(2)
        )
    ]
    began = START + round(pair[0].way[1][0] * SECOND)
    yield Scene(
        "encounter",
        pair,
        pair[0].way[-1][0] + 3 * 3600,
        [Expected("encounter", "|".join(map(wire.subject, pair)), began, 125 * MINUTE)],
    )

    # Three identities on one hull, twelve hours under way.
    ends = sail(SEA, 290.0, 45_000.0), sail(SEA, 110.0, 60_000.0)
    hull = [wire.actor(80 + n, sailed(0.0, 5.0, *(sail(end, 90.0, 5.0 * n) for end in ends))) for n in range(3)]
    yield Scene(
        "carried_beacons",
        hull,
        hull[0].way[-1][0],
        [
            Expected(
                "carried_beacons", "|".join(map(wire.subject, hull)), START, 310 * MINUTE if wire.vms else 130 * MINUTE
            )
        ],
    )
