"""The sensor network says what its weather does, in the project's own JSON, and loses nothing over a silence."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from typing import Any

import pytest

from decoders.catalogue import METRICS
from simulators.events import SECOND, BadConfig, Publish, Truth
from simulators.sensors import SensorConfig, devices, hour_of_day, sensor_events
from simulators.series import HOUR, Weather, pulse
from tests.simulators.samples import START

STORMY = Weather(flood=6 * HOUR, wind=3 * HOUR, smog=1 * HOUR)
DAY = 86_400.0
TWO_DAYS = SensorConfig(seed=4, start=START, seconds=2 * DAY, interval_s=600.0, weather=STORMY)


def published(config: SensorConfig) -> list[Publish]:
    return [event for event in sensor_events(config) if isinstance(event, Publish)]


def truths(config: SensorConfig) -> list[dict[str, Any]]:
    return [dict(event.fields) for event in sensor_events(config) if isinstance(event, Truth)]


def microseconds(time: str | int) -> int:
    if isinstance(time, int):
        return time * 1000
    return round(datetime.fromisoformat(time).timestamp() * 1e6)


def readings(events: list[Publish]) -> dict[tuple[str, str, int], float]:
    """(device, metric, time) -> value, of every entry of every message; a second value for a key is an error."""
    out: dict[tuple[str, str, int], float] = {}
    for event in events:
        said = json.loads(event.payload)
        for entry in said if isinstance(said, list) else [said]:
            for metric, value in entry["readings"].items():
                key = (event.topic, metric, microseconds(entry["time"]))
                assert out.setdefault(key, value) == value
    return out


def test_the_same_seed_and_start_give_the_same_bytes_and_truth() -> None:
    config = replace(TWO_DAYS, dropouts_per_day=4.0, duplicates=0.02)
    assert list(sensor_events(config)) == list(sensor_events(config))
    assert list(sensor_events(replace(config, seed=5))) != list(sensor_events(config))


def test_topics_and_payloads_are_those_of_the_contract() -> None:
    shapes = set()
    for event in published(TWO_DAYS):
        prefix, version, gateway, device, last = event.topic.split("/")
        assert (prefix, version, gateway, last) == ("haidang", "v1", event.gateway, "readings")
        entry = json.loads(event.payload)
        assert entry.keys() == {"time", "readings"}
        shapes.add(type(entry["time"]))
        assert abs(microseconds(entry["time"]) - event.time) < SECOND
        for metric, value in entry["readings"].items():
            assert METRICS[metric].low <= value <= METRICS[metric].high, (device, metric)
            assert not (value == 0.0 and math.copysign(1.0, value) < 0)
    assert shapes == {int, str}  # both makes of gateway
    assert {d.name for d in devices(TWO_DAYS)} >= {"kim-long", "phu-oc", "air-1", "rain-1", "wind-1", "lagoon-1"}


def test_events_come_in_time_order() -> None:
    times = [e.time for e in sensor_events(replace(TWO_DAYS, dropouts_per_day=6.0, duplicates=0.1))]
    assert times == sorted(times)


def test_a_gateway_that_was_cut_off_sends_all_it_kept_and_says_nothing_new() -> None:
    steady = readings(published(TWO_DAYS))
    broken = published(replace(TWO_DAYS, dropouts_per_day=6.0, dropout_s=7200.0, duplicates=0.05))
    delivered = readings(broken)
    assert delivered.items() <= steady.items()
    missing = steady.keys() - delivered.keys()
    last: dict[str, int] = {}
    for topic, _, time in delivered:
        last[topic] = max(time, last.get(topic, 0))
    # Only what was kept when the simulation ended may be missing: nothing older than the newest delivered.
    assert all(time > last[topic] for topic, _, time in missing)
    assert len(missing) < 0.1 * len(steady)
    assert any(isinstance(json.loads(event.payload), list) for event in broken)
    assert max(e.time - microseconds(json.loads(e.payload)[0]["time"]) for e in broken if e.payload[:1] == b"[") > (
        1800 * SECOND
    )
    assert len(broken) - len({(e.topic, e.payload) for e in broken}) > 10  # sent twice


def test_a_device_never_repeats_a_time_however_fast_the_weather() -> None:
    config = replace(TWO_DAYS, speed=10_000.0, seconds=30.0, interval_s=60.0)
    times = defaultdict(list)
    for event in published(config):
        times[event.topic].append(microseconds(json.loads(event.payload)["time"]))
    assert all(t == sorted(set(t)) for t in times.values())
    assert all(START <= t[0] <= t[-1] <= START + 31 * SECOND for t in times.values())


def test_truth_of_levels_is_what_dense_sampling_of_the_true_series_finds() -> None:
    found = []
    for device in devices(TWO_DAYS):
        for channel in device.channels:
            for level in TWO_DAYS.levels:
                if level.metric != channel.metric or (level.devices and device.name not in level.devices):
                    continue
                values = [channel.series(t, hour_of_day(TWO_DAYS, t)) >= level.level for t in range(0, int(2 * DAY), 5)]
                found += [
                    (device.subject, level.metric, level.level, "rises" if b else "falls", (i + 1) * 5)
                    for i, (a, b) in enumerate(pairwise(values))
                    if a != b
                ]
    told = [t for t in truths(TWO_DAYS) if "at_start" not in t]
    assert len(told) == len(found) >= 20
    for truth, (subject, metric, height, direction, at) in zip(
        sorted(told, key=lambda t: (t["time"], t["subject"])),
        sorted(found, key=lambda f: (f[4], f[0])),
        strict=True,
    ):
        assert (truth["subject"], truth["metric"], truth["level"], truth["direction"]) == (
            subject,
            metric,
            height,
            direction,
        )
        assert 0 <= at - (microseconds(truth["time"]) - START) / SECOND <= 5.01
        assert truth["value"] == pytest.approx(height, abs=0.01)


def test_the_flood_passes_its_alarm_levels_up_and_down_and_the_rain_comes_first() -> None:
    told = [t for t in truths(TWO_DAYS) if t["subject"].endswith("/kim-long")]
    assert [(t["level"], t["direction"]) for t in told] == [
        (1.0, "rises"),
        (2.0, "rises"),
        (3.5, "rises"),
        (3.5, "falls"),
        (2.0, "falls"),
        (1.0, "falls"),
    ]
    first_rain = min(t for (topic, m, t), v in readings(published(TWO_DAYS)).items() if m == "rain_1h" and v > 5.0)
    assert first_rain < microseconds(told[0]["time"])


def test_what_is_measured_stays_near_the_truth() -> None:
    config = TWO_DAYS
    by_topic = {d.topic: {c.metric: c for c in d.channels} for d in devices(config)}
    for (topic, metric, time), value in readings(published(config)).items():
        channel = by_topic[topic][metric]
        t = (time - START) / SECOND
        true = channel.series(t, hour_of_day(config, t))
        scale = channel.noise * (true if channel.relative else 1.0)
        true = max(channel.low, min(channel.high, true))
        assert abs(value - true) <= 6 * scale + 10.0**-channel.decimals


def test_a_level_already_passed_at_the_start_is_told_as_such() -> None:
    config = replace(TWO_DAYS, weather=Weather(flood=-12 * HOUR), seconds=60.0)
    told = [t for t in truths(config) if t["subject"].endswith("/kim-long")]
    assert [(t["level"], t.get("at_start")) for t in told] == [(1.0, True), (2.0, True), (3.5, True)]


def test_a_pulse_is_nothing_before_its_onset_and_one_at_its_crest() -> None:
    assert pulse(10.0, None, 1.0, 3.0) == pulse(5.0, 5.0, 1.0, 3.0) == 0.0
    assert pulse(5.0 + 2 * HOUR, 5.0, 2.0, 3.0) == pytest.approx(1.0)


@pytest.mark.parametrize(
    "wrong", [{"gateways": 0}, {"speed": -1.0}, {"interval_s": 0.0}, {"interval_s": 1.0, "speed": 2000.0}]
)
def test_a_network_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadConfig):
        SensorConfig(**wrong)
