"""A fleet and a sensor network on one clock, and the scenario of the demonstration."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from simulators.events import Event, Publish, Sentences
from simulators.fleet import FleetConfig, fleet_events
from simulators.reception import THUAN_AN_LIGHT, TU_HIEN_HILL
from simulators.sensors import PREFIX, SensorConfig, sensor_events
from simulators.series import HOUR, Weather

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulators.areas import Area


@dataclass(slots=True, frozen=True)
class ScenarioConfig:
    """Both halves. Each has its own speed: weather may run fast while boats keep to their knots."""

    fleet: FleetConfig
    sensors: SensorConfig


def scenario_events(config: ScenarioConfig) -> Iterator[Event]:
    """Everything both halves say and everything that was true, in time order."""
    return heapq.merge(fleet_events(config.fleet), sensor_events(config.sensors), key=lambda event: event.time)


def demonstration(
    *, seed: int, start: int, seconds: float | None, zones: tuple[Area, ...], vessels: int = 12, first: float = 12.0
) -> ScenarioConfig:
    """A minute in which things happen, though every boat keeps to its knots and every time stamp to the wall clock.

    After ``first`` seconds boats begin to enter the zones. A day of weather passes in a minute and a half: rain from
    the start, then the rivers rise through their alarm levels, the first within ``first`` seconds or so.
    """
    receivers = tuple(replace(r, loss=0.005) for r in (THUAN_AN_LIGHT, TU_HIEN_HILL))
    fleet = FleetConfig(
        seed=seed, start=start, seconds=seconds, vessels=vessels, zones=zones, first_entry=first, receivers=receivers
    )
    sensors = SensorConfig(
        seed=seed,
        start=start,
        seconds=seconds,
        speed=1000.0,
        interval_s=1000.0,  # a reading of each device every second on the wire
        weather=Weather(flood=0.2 * HOUR, wind=2.0 * HOUR, smog=1.0 * HOUR),
    )
    return ScenarioConfig(fleet, sensors)


def as_publish(event: Sentences) -> Publish:
    """A receiver's sentences as it would publish them: ``haidang/v1/{receiver}/nmea``."""
    return Publish(event.time, event.receiver, f"{PREFIX}/{event.receiver}/nmea", event.data)
