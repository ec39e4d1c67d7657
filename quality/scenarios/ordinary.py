"""The ordinary sea: boats that do nothing wrong and stations that work. Nothing may come of it."""

from __future__ import annotations

from functools import partial
from random import Random
from typing import TYPE_CHECKING, Final

from quality.scenario import CLEAN, NOISY, START, Scenario, together
from quality.scenarios.stage import sailed
from simulators.actors import Actor, actor_events
from simulators.fleet import FleetConfig, fleet_events
from simulators.kinematics import Place, rhumb, sail
from simulators.sensors import SensorConfig, sensor_events
from simulators.waters import GROUNDS, THUAN_AN, TU_HIEN

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from simulators.events import Event

_DAY: Final = 86_400.0
_MMSI: Final = 574_600_000


def scenarios(seed: int) -> Sequence[Scenario]:
    """Some hours of a fleet as the standard has it report, and a day of boats heard every five minutes or two hours."""
    return [
        Scenario("fleet", True, partial(_fleet, seed, vessels=40, hours=3.0)),
        week(seed, vessels=60, stations=20, days=1.0, name="day"),
        week(seed, vessels=60, stations=20, days=1.0, name="day-noisy", noisy=True),
    ]


def week(
    seed: int,
    *,
    vessels: int = 400,
    stations: int = 60,
    days: float = 7.0,
    name: str = "week",
    noisy: bool = False,
) -> Scenario:
    """Honest boats that go out and come home each day, a third of them heard by VMS, and as many stations."""
    return Scenario(name, noisy, partial(_honest, seed, vessels, stations, days * _DAY, noisy))


def _fleet(seed: int, *, vessels: int, hours: float) -> Iterator[Event]:
    sensors = SensorConfig(seed=seed, start=START, seconds=hours * 3600, dropouts_per_day=4.0, duplicates=0.05)
    fleet = FleetConfig(seed=seed, start=START, seconds=hours * 3600, vessels=vessels)
    return together(fleet_events(fleet), sensor_events(sensors))


def _honest(seed: int, vessels: int, stations: int, seconds: float, noisy: bool) -> Iterator[Event]:
    each = stations // 5
    sensors = SensorConfig(
        seed=seed,
        start=START,
        seconds=seconds,
        gateways=5,
        air=each,
        rain=each,
        wind=each,
        lagoon=stations - 3 * each - 2,
        interval_s=600.0,
        dropouts_per_day=1.0 if noisy else 0.0,
        dropout_s=600.0,  # up to 17 minutes, and 10 between two readings: within the half hour of the rules
        duplicates=0.05 if noisy else 0.0,
    )
    receivers = NOISY if noisy else CLEAN
    return together(
        actor_events(boats(seed, vessels, seconds), start=START, seconds=seconds, receivers=receivers, seed=seed),
        sensor_events(sensors),
    )


def boats(seed: int, vessels: int, seconds: float) -> list[Actor]:
    """Honest boats; a third of them are heard by VMS."""
    return [_boat(seed, n, seconds) for n in range(vessels)]


def _boat(seed: int, n: int, seconds: float) -> Actor:
    """Out in the morning, a day's fishing about a ground of its own, home at night, and the same the day after."""
    rng = Random(f"{seed}/honest/{n}")  # noqa: S311  # simulation, not secrets
    port = THUAN_AN if rng.random() < 0.75 else TU_HIEN
    quay = sail(port.berth, rng.uniform(0, 360), rng.uniform(0, 60))
    ground = sail(GROUNDS[n % len(GROUNDS)], rng.uniform(0, 360), rng.uniform(500, 9000))
    way: list[tuple[float, Place]] = [(0.0, quay)]
    day = 0.0
    while day < seconds:
        leave = day + rng.uniform(4, 7) * 3600
        out = sailed(leave, rng.uniform(6.0, 9.0), quay, *port.way_out, ground)
        way += [(leave, quay), *out[1:]]
        time, place = out[-1]
        until = time + rng.uniform(5, 8) * 3600
        pace = rng.uniform(2.4, 3.6) * 0.514
        while time < until:
            step = sail(ground, rng.uniform(0, 360), rng.uniform(300, 2500))
            time += max(1.0, rhumb(place, step)[1] / pace)
            place = step
            way.append((time, place))
        way += sailed(time, rng.uniform(6.0, 9.0), place, *reversed(port.way_out), quay)[1:]
        day = (way[-1][0] // _DAY + 1) * _DAY
    vms = n % 3 == 0
    return Actor(
        _MMSI + n, tuple(way), 7200.0 if vms else 300.0, vms=f"TTH-{n}" if vms else None, length_m=rng.randint(9, 26)
    )
