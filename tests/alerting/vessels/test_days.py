"""Two days at sea, through the engine alone: each planted event is told once, and a hundred honest boats are not.

The rules are those that ``make quality`` is judged by. Reports are as they are at sea: every minute, five minutes or
two hours, some lost, some in a burst, positions some metres off and now and then some miles; identities are changed.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest

from alerting import pack
from alerting.model import Event
from decoders.identity import transponder_id
from quality.run import RULES
from quality.scenario import HOUR, MINUTE, SECOND, START, Expected, Told
from quality.scenarios.doings import doings, tracks
from quality.scenarios.ordinary import boats
from quality.scenarios.stage import WIRES, sailed
from quality.scenarios.vessels import silences, zones
from quality.score import score
from simulators.actors import Actor
from simulators.kinematics import sail
from tests.alerting.vessels.streams import HILL, TOWER, VMS_FEED, Row, run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from alerting.rules import Rule

HOURS = 48
BOOK = pack.load(RULES)
CHOSEN: list[Rule] = [rule for rule in BOOK.rules if rule.kind in {"zone", "gap", "jump", "identity_clash", "distress"}]
CHOSEN += [rule for rule in BOOK.rules if rule.kind in {"loitering", "port_visit", "fishing", "encounter"}]
CHOSEN += [rule for rule in BOOK.rules if rule.kind == "carried_beacons"]
#: Those that cannot be played beside the others: who lies where others do, and receivers that hear nobody else.
ALONE = {"zone-resident", "zone-edge", "feed_silent"}


def reports(actor: Actor, every: float, rng: Random, *, until: float = HOURS * 3600.0) -> Iterator[Row]:
    """What is heard of an actor: every so many seconds, most of it, by one of two towers."""
    id_ = transponder_id("device", f"vms-provider/{actor.vms}") if actor.vms else actor.mmsi
    offline = rng.uniform(0, HOURS * 3600) if rng.random() < 0.3 else -3600.0
    seconds, told = rng.uniform(0, every), -3601.0
    while seconds < until:
        if not actor.silent(seconds) and (actor.vms or rng.random() > 0.1):
            (lon, lat), course, speed = actor.at(seconds)
            wrong = rng.random() < 1 / 4000
            lon, lat = sail((lon, lat), rng.uniform(0, 360), rng.uniform(8e3, 3e4) if wrong else abs(rng.gauss(0, 12)))
            time = START + round(seconds * SECOND)
            received = time + round(rng.uniform(0, 2) * SECOND)
            if offline <= seconds < offline + 1200:
                received = START + round((offline + 1200) * SECOND) + round(seconds)
            source = VMS_FEED if actor.vms else rng.choice((TOWER, HILL))
            status = actor.nav_status
            yield Row("position", time, received, id_, lon, lat, speed, course, status, source=source)
            if not actor.vms and seconds - told > 3600:
                told = seconds
                yield Row("static", time, received, id_, source=source, said=actor.ship_type)
        seconds += every * rng.uniform(0.9, 1.1)


def swapped(number: int) -> tuple[list[Actor], list[Expected]]:
    """Two boats far from each other that change identities: each of them is where the other was."""
    places = (108.05, 16.95), (108.25, 16.30)
    ways = [sailed(0.0, 4.0, *(sail(place, 50.0 * n % 360, 9000.0) for n in range(20))) for place in places]
    middle, until = 8 * 3600.0, 16 * 3600.0
    actors = []
    for n in range(2):
        first, second = ways[n], ways[1 - n]
        at = Actor(0, second).at(middle + 60.0)[0], Actor(0, first).at(middle)[0]
        way = (*(stop for stop in first if stop[0] < middle), (middle, at[1]), (middle + 60.0, at[0]))
        later = (stop for stop in second if middle + 60.0 < stop[0] < until)
        actors.append(Actor(574_900_000 + number + n, (*way, *later)))
    return actors, [Expected("jump", str(a.mmsi), START + round(middle * SECOND), 10 * MINUTE) for a in actors]


@pytest.mark.parametrize("seed", [1, 2])
def test_each_event_is_told_once_and_honest_boats_are_not(seed: int) -> None:
    rng = Random(seed)
    ends: dict[str, int] = {}  # when an actor is heard no more, for its scene is over
    rows = [row for boat in boats(seed, 100, HOURS * 3600.0) for row in reports(boat, boat.interval_s, rng)]
    expected: list[Expected] = []
    for wire in WIRES:
        for scene in (*zones(wire), *silences(wire), *tracks(wire), *doings(wire)):
            if scene.name in ALONE:
                continue
            expected += scene.expected
            for actor in scene.actors:
                ends[wire.subject(actor)] = START + round((scene.seconds - 9000) * SECOND)
                rows += reports(actor, max(60.0, actor.interval_s), rng, until=scene.seconds)
    changed, jumps = swapped(0)
    expected += jumps
    ends |= {str(actor.mmsi): START + 15 * HOUR for actor in changed}
    rows += [row for actor in changed for row in reports(actor, 60.0, rng, until=16 * 3600.0)]
    rows.sort(key=lambda row: row.received)

    cuts = [(n, 0.0) for n in range(0, len(rows), 500)]
    found = run(rows, CHOSEN, START + (HOURS + 1) * HOUR, zones=list(BOOK.zones), cuts=cuts)
    names = {transponder_id("device", f"vms-provider/HUE-{n}"): f"vms-provider/HUE-{n}" for n in range(100)}
    told: dict[object, Told] = {}
    for t in found.transitions:
        name = names.get(t.subject.id, t.subject.name)
        if t.event is Event.FIRING and (t.rule_id != "gap" or t.started_at < ends.get(name, t.at)):
            told[t.alert_id] = Told(t.rule_id, name, t.started_at, t.at, t.severity.value)
    result = score([Expected(e.rule, e.subject, e.since, e.give + 5 * MINUTE) for e in expected], told.values())
    assert result.false == []
    assert result.missed == []
