"""A sensor network as its MQTT gateways publish it: ``haidang/v1/{gateway}/{device}/readings``, QoS 1.

As with the fleet, the simulation's clock runs ``speed`` times as fast as the wire's, and every time stamp is the
wire's: with ``speed=1440`` a day of weather passes in a minute. Gateways fall silent now and then and afterwards
send what they kept, oldest first, many readings to a message; some messages come twice.
"""

from __future__ import annotations

import heapq
import json
import math
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any, Final

from simulators.events import SECOND, BadConfig, Event, Publish, Truth, iso
from simulators.series import CALM, channels

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulators.series import Channel, Weather

PREFIX: Final = "haidang/v1"
_BURST: Final = 20  # readings to a message when a gateway sends what it kept
_NOISE_TIME_S: Final = 900.0  # of the simulation: over this time a sensor's error forgets itself


@dataclass(slots=True, frozen=True)
class Level:
    """A level whose passing is worth a line of truth. A value equal to it has reached it."""

    metric: str
    level: float
    devices: tuple[str, ...] = ()  # names; empty: every device with the metric
    label: str = ""


#: Flood alarm levels I-III (Decision 05/2020/QĐ-TTg), PM2.5 of 50 µg/m³ and Beaufort 6 (10.8 m/s).
LEVELS: Final = (
    Level("water_level", 1.0, ("kim-long",), "alarm I"),
    Level("water_level", 2.0, ("kim-long",), "alarm II"),
    Level("water_level", 3.5, ("kim-long",), "alarm III"),
    Level("water_level", 1.5, ("phu-oc",), "alarm I"),
    Level("water_level", 3.0, ("phu-oc",), "alarm II"),
    Level("water_level", 4.5, ("phu-oc",), "alarm III"),
    Level("pm2_5", 50.0, (), "PM2.5 above 50"),
    Level("wind_speed", 10.8, (), "Beaufort 6"),
)


@dataclass(slots=True, frozen=True)
class SensorConfig:
    """What network to simulate. The same config gives the same bytes."""

    seed: int = 1
    start: int = 0  # microseconds UTC: the wire's clock when the simulation begins
    seconds: float | None = None  # of the wire's clock; None for ever
    speed: float = 1.0
    gateways: int = 3
    air: int = 2
    rain: int = 2
    wind: int = 2
    lagoon: int = 3
    interval_s: float = 60.0  # of the simulation, between two readings of a device
    weather: Weather = CALM
    levels: tuple[Level, ...] = LEVELS
    dropouts_per_day: float = 0.0  # of the simulation: how often each gateway falls silent, on average
    dropout_s: float = 1200.0  # of the simulation: how long it then stays so, on average
    duplicates: float = 0.0  # part of the messages that are sent twice

    def __post_init__(self) -> None:
        """Refuse what cannot be simulated."""
        if self.gateways < 1 or self.speed <= 0 or self.interval_s <= 0:
            raise BadConfig("a sensor network needs at least one gateway, speed > 0 and interval_s > 0")
        if self.interval_s / self.speed < 0.001:
            raise BadConfig("readings of a device would come less than a millisecond apart: raise the interval")


@dataclass(slots=True, frozen=True)
class Device:
    """One sensor station and the gateway that speaks for it."""

    gateway: str
    name: str
    channels: tuple[Channel, ...]

    @property
    def subject(self) -> str:
        """How truth names it: ``gateway/device``."""
        return f"{self.gateway}/{self.name}"

    @property
    def topic(self) -> str:
        return f"{PREFIX}/{self.gateway}/{self.name}/readings"


def devices(config: SensorConfig) -> tuple[Device, ...]:
    """The stations of a network, dealt to its gateways in turn. The river gauges stand first."""
    names = [("kim-long", "kim-long", 1), ("phu-oc", "phu-oc", 1)]
    for kind in ("air", "rain", "wind", "lagoon"):
        names += [(f"{kind}-{n}", kind, n) for n in range(1, getattr(config, kind) + 1)]
    return tuple(
        Device(f"hue-gw-{i % config.gateways + 1}", name, channels(kind, number, config.weather))
        for i, (name, kind, number) in enumerate(names)
    )


def _rng(config: SensorConfig, what: str) -> Random:
    return Random(f"{config.seed}/sensors/{what}")  # noqa: S311  # simulation, not secrets


def hour_of_day(config: SensorConfig, t: float) -> float:
    """The local hour (UTC+7) at ``t`` seconds of the simulation, counted on from the day of its start."""
    return (config.start / SECOND % 86_400 + t) / 3600.0 + 7.0


@dataclass(slots=True, frozen=True)
class _Sample:
    time: int  # the wire's clock, whole milliseconds
    device: int
    values: dict[str, float]


def _samples(config: SensorConfig, index: int, device: Device) -> Iterator[_Sample]:
    """The readings of one device, with the errors of its sensors: noise that remembers itself a while (AR(1))."""
    rng = _rng(config, f"device/{device.subject}")
    offset = rng.uniform(0.0, config.interval_s)
    keep = math.exp(-config.interval_s / _NOISE_TIME_S)
    errors = [rng.gauss(0.0, 1.0) for _ in device.channels]
    n = 0
    while True:
        t = offset + n * config.interval_s
        day = hour_of_day(config, t)
        values = {}
        for i, channel in enumerate(device.channels):
            true = channel.series(t, day)
            error = errors[i] * channel.noise * (true if channel.relative else 1.0)
            value = round(max(channel.low, min(channel.high, true + error)), channel.decimals)
            values[channel.metric] = value + 0.0  # no "-0.0" on the wire
            errors[i] = keep * errors[i] + math.sqrt(1.0 - keep * keep) * rng.gauss(0.0, 1.0)
        yield _Sample(config.start + round(t / config.speed * 1000.0) * 1000, index, values)
        n += 1


def _silences(config: SensorConfig, gateway: str) -> Iterator[tuple[int, int]]:
    """When a gateway is cut off, on the wire's clock: (from, until), one after the other, without end."""
    rng = _rng(config, f"gateway/{gateway}")
    t = 0.0
    while config.dropouts_per_day > 0:
        t += rng.expovariate(config.dropouts_per_day / 86_400.0)
        length = rng.uniform(0.3, 1.7) * config.dropout_s
        yield _wire(config, t), _wire(config, t + length)
        t += length


def _wire(config: SensorConfig, t: float) -> int:
    return config.start + round(t / config.speed * SECOND)


class _Gateway:
    """Publishes what its devices measure, or keeps it while it is cut off.

    Gateways come in two makes: odd ones write ISO 8601 times, even ones milliseconds since 1970.
    """

    def __init__(self, config: SensorConfig, name: str, network: tuple[Device, ...]) -> None:
        self._config = config
        self._name = name
        self._network = network
        self._rng = _rng(config, f"uplink/{name}")
        self._silences = _silences(config, name)
        self._silence = next(self._silences, None)
        self._kept: list[_Sample] = []
        self._sent_at = 0
        self._epoch_ms = int(name.rsplit("-", 1)[1]) % 2 == 0

    def take(self, sample: _Sample) -> Iterator[Publish]:
        """What leaves by the time of the sample, the sample itself included or kept."""
        yield from self.wake(sample.time)
        if self._silence and sample.time >= self._silence[0]:
            self._kept.append(sample)
            return
        yield from self._publish(sample.time, self._network[sample.device], [sample])

    def wake(self, time: int) -> Iterator[Publish]:
        """End the silence that is over by ``time``: everything kept goes out in one burst."""
        while self._silence and time >= self._silence[1]:
            self._silence = next(self._silences, None)
            kept, self._kept = self._kept, []
            for index in sorted({sample.device for sample in kept}):
                own = [sample for sample in kept if sample.device == index]
                for i in range(0, len(own), _BURST):
                    yield from self._publish(time, self._network[index], own[i : i + _BURST])

    def _publish(self, time: int, device: Device, samples: list[_Sample]) -> Iterator[Publish]:
        # The way to the broker takes 20 to 250 ms, and one connection keeps its order.
        self._sent_at = max(self._sent_at, time + round(self._rng.uniform(0.02, 0.25) * SECOND))
        said = [self._say(sample) for sample in samples]
        payload = json.dumps(said if len(said) > 1 else said[0], separators=(",", ":")).encode()
        event = Publish(self._sent_at, self._name, device.topic, payload)
        yield event
        if self._rng.random() < self._config.duplicates:
            yield event

    def _say(self, sample: _Sample) -> dict[str, Any]:
        time = sample.time // 1000 if self._epoch_ms else iso(sample.time)
        return {"time": time, "readings": sample.values}


def _publishes(config: SensorConfig) -> Iterator[Publish]:
    """Every gateway's messages, in the order in which they leave."""
    network = devices(config)
    gateways = {name: _Gateway(config, name, network) for name in sorted({d.gateway for d in network})}
    samples = heapq.merge(*(_samples(config, i, d) for i, d in enumerate(network)), key=lambda s: s.time)
    waiting: list[tuple[int, int, Publish]] = []
    count = 0
    for sample in samples:
        while waiting and waiting[0][0] <= sample.time:
            yield heapq.heappop(waiting)[2]
        for event in gateways[network[sample.device].gateway].take(sample):
            heapq.heappush(waiting, (event.time, count, event))
            count += 1


_SCAN_S: Final = 60.0  # of the simulation: no level is passed twice within it, at the pace of weather


def crossings(config: SensorConfig, device: Device) -> Iterator[Truth]:
    """When the true series of a device passes the levels, up or down; at the start, the levels already passed."""
    watched = [
        (channel, level)
        for channel in device.channels
        for level in config.levels
        if level.metric == channel.metric and (not level.devices or device.name in level.devices)
    ]
    if not watched:
        return

    def value(channel: Channel, t: float) -> float:
        return channel.series(t, hour_of_day(config, t))

    above = [value(channel, 0.0) >= level.level for channel, level in watched]
    for (channel, level), already in zip(watched, above, strict=True):
        if already:
            yield _passed(config, device, level, "rises", 0.0, value(channel, 0.0), at_start=True)
    n = 0
    while True:
        found = []
        for i, (channel, level) in enumerate(watched):
            t0, t1 = n * _SCAN_S, (n + 1) * _SCAN_S
            if (value(channel, t1) >= level.level) == above[i]:
                continue
            while t1 - t0 > 1e-4:
                middle = (t0 + t1) / 2
                t0, t1 = (t0, middle) if (value(channel, middle) >= level.level) != above[i] else (middle, t1)
            above[i] = not above[i]
            found.append((t1, channel, level, "rises" if above[i] else "falls"))
        for t, channel, level, direction in sorted(found, key=lambda f: f[0]):
            yield _passed(config, device, level, direction, t, value(channel, t))
        # A quiet stretch still has to move the merge of all truths on.
        n += 1
        yield Truth(_wire(config, n * _SCAN_S), {})


def _passed(
    config: SensorConfig,
    device: Device,
    level: Level,
    direction: str,
    t: float,
    value: float,
    *,
    at_start: bool = False,
) -> Truth:
    time = _wire(config, t)
    fields: dict[str, Any] = {
        "kind": "threshold",
        "subject": device.subject,
        "metric": level.metric,
        "level": level.level,
        "direction": direction,
        "time": iso(time),
        "value": round(value, 4),
        "label": level.label,
    }
    if at_start:
        fields["at_start"] = True
    return Truth(time, fields)


def sensor_events(config: SensorConfig) -> Iterator[Event]:
    """What the gateways publish and what was true, in time order."""
    end = None if config.seconds is None else config.start + round(config.seconds * SECOND)
    truths = (crossings(config, device) for device in devices(config))
    both: list[Iterator[Publish | Truth]] = [_publishes(config), *truths]
    for event in heapq.merge(*both, key=lambda event: event.time):
        if end is not None and event.time > end:
            return
        if not isinstance(event, Truth) or event.fields:
            yield event
