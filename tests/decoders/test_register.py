"""Names from outside are bounded, and those that are known are never turned away."""

from __future__ import annotations

import gc
import tracemalloc
from collections import Counter

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decoders.bounds import Bounds
from decoders.catalogue import METRICS
from decoders.identity import device_id, metric_id, source_id, transponder_id
from decoders.mqtt import TopicDecoder
from decoders.records import Name, Observations, Reason
from decoders.register import Register
from decoders.topics import route
from tests.decoders.support import publish

ROOM = len(METRICS)
TIME = "2026-01-02T03:04:00Z"


def reading(device: str, metric: str = "pm2_5", value: float = 1.0, gateway: str = "g") -> tuple[str, bytes]:
    return f"haidang/v1/{gateway}/{device}/readings", orjson.dumps({"time": TIME, "readings": {metric: value}})


def fix(device: str, gateway: str = "g") -> tuple[str, bytes]:
    return f"haidang/v1/{gateway}/{device}/position", orjson.dumps({"time": TIME, "lon": 107.6, "lat": 16.5})


def decode(decoder: TopicDecoder, *messages: tuple[str, bytes]) -> Observations:
    return decoder.decode([publish(topic, data, first=n) for n, (topic, data) in enumerate(messages)])


def told(found: Observations) -> list[tuple[int, Reason]]:
    return [(r.message, r.reason) for r in found.rejects]


def test_a_gateway_that_makes_up_devices_leaves_room_for_others() -> None:
    decoder = TopicDecoder(bounds=Bounds(devices_per_gateway=2, devices=4))
    found = decode(decoder, reading("a"), reading("b"), reading("c"), reading("a"), reading("c", gateway="h"))
    assert told(found) == [(2, Reason.TOO_MANY_DEVICES)]
    assert found.readings["message"].tolist() == [0, 1, 3, 4]
    found = decode(decoder, reading("d", gateway="h"), reading("e", gateway="i"), reading("b"))
    assert told(found) == [(1, Reason.TOO_MANY_DEVICES)]


def test_positions_and_readings_of_one_name_are_one_device() -> None:
    decoder = TopicDecoder(bounds=Bounds(devices=1))
    found = decode(decoder, fix("a"), reading("a"), fix("b"), reading("b"), fix("a"))
    assert told(found) == [(2, Reason.TOO_MANY_DEVICES), (3, Reason.TOO_MANY_DEVICES)]
    assert (found.positions["message"].tolist(), found.readings["message"].tolist()) == ([0, 4], [1])


def test_what_is_refused_takes_no_room() -> None:
    decoder = TopicDecoder(bounds=Bounds(devices=1, metrics=ROOM + 1))
    refused = decode(
        decoder, reading("a", value=-1), reading("b", "Bad"), (*fix("c")[:1], b"{}"), reading("d", "x", 1e19)
    )
    assert len(refused.rejects) == 4
    assert told(decode(decoder, reading("e", "y"))) == []


def test_metrics_are_bounded_in_all_and_by_device() -> None:
    decoder = TopicDecoder(bounds=Bounds(metrics=ROOM + 2, metrics_per_device=2))
    found = decode(
        decoder,
        reading("a", "m1"),
        reading("a", "pm2_5"),
        reading("a", "pm10"),  # a third of this device
        reading("b", "m2"),
        reading("c", "m3"),  # a third outside the catalogue
        reading("c", "m1"),
        reading("a", "m1"),
    )
    assert told(found) == [(2, Reason.TOO_MANY_METRICS), (4, Reason.TOO_MANY_METRICS)]
    assert found.readings["message"].tolist() == [0, 1, 3, 5, 6]
    assert orjson.loads(found.rejects[0].raw) == {"time": TIME, "readings": {"pm10": 1.0}}


def test_metrics_of_all_devices_together_are_bounded_across_restarts() -> None:
    bounds = Bounds(series=3)
    found = decode(
        TopicDecoder(bounds=bounds),
        reading("a", "pm10"),
        reading("b", value=-1),  # refused: takes no room
        reading("b"),
        reading("b", "pm10"),
        reading("a"),
        reading("c"),
        reading("b"),
    )
    assert told(found)[1:] == [(4, Reason.TOO_MANY_METRICS), (5, Reason.TOO_MANY_METRICS)]
    assert found.readings["message"].tolist() == [0, 2, 3, 6]
    names = {("device", device_id("g", d)): f"g/{d}" for d in "ab"}
    series = [(device_id("g", d), metric_id(m)) for d, m in (("a", "pm10"), ("b", "pm2_5"), ("b", "pm10"))]
    again = TopicDecoder(bounds=bounds, register=Register(bounds, names, series))
    assert told(decode(again, reading("a"), reading("a", "pm10"))) == [(0, Reason.TOO_MANY_METRICS)]
    fresh = orjson.dumps({"time": TIME, "readings": {"pm2_5": 1.0, "pm10": 1.0, "no2": 1.0, "so2": 1.0}})
    found = decode(TopicDecoder(bounds=bounds), ("haidang/v1/g/new/readings", fresh))
    assert told(found) == [(0, Reason.TOO_MANY_METRICS)]
    assert len(found.readings) == 3, "a device that is not known yet counts, too"


def test_gateways_that_hear_ais_are_bounded() -> None:
    decoder = TopicDecoder(bounds=Bounds(gateways=2))
    found = decode(decoder, *((f"haidang/v1/{g}/nmea", b"# nothing") for g in "abcab"))
    assert told(found) == [(2, Reason.TOO_MANY_GATEWAYS)]
    assert [n.name for n in found.names] == ["gateway/a", "gateway/b"]


def test_what_the_database_knows_counts_and_is_never_turned_away() -> None:
    names = {
        ("device", device_id("g", "a")): "g/a",
        ("transponder", transponder_id("device", "g/v")): "g/v",
        ("metric", metric_id("m1")): "m1",
        ("metric", metric_id("m2")): "m2",
        ("source", source_id("gateway/g")): "gateway/g",
        ("source", source_id("main")): "main",
    }
    bounds = Bounds(gateways=1, devices=1, devices_per_gateway=1, metrics=1, metrics_per_device=1)
    series = [(device_id("g", "a"), metric_id("m1")), (device_id("g", "a"), metric_id("m2")), (1, 2)]
    decoder = TopicDecoder(bounds=bounds, register=Register(bounds, names, series))
    found = decode(
        decoder,
        reading("a", "m1"),
        reading("a", "m2"),
        fix("v"),
        ("haidang/v1/g/nmea", b""),
        reading("a", "m3"),
        reading("a", "pm10"),
        reading("b", "m1"),
        ("haidang/v1/h/nmea", b""),
    )
    assert found.readings["message"].tolist() == [0, 1]
    assert found.positions["message"].tolist() == [2]
    assert told(found) == [
        (4, Reason.TOO_MANY_METRICS),
        (5, Reason.TOO_MANY_METRICS),
        (6, Reason.TOO_MANY_DEVICES),
        (7, Reason.TOO_MANY_GATEWAYS),
    ]


@given(
    st.lists(
        st.tuples(st.sampled_from("gh"), st.sampled_from("abcd"), st.sampled_from(["pm10", "m1", "m2"])), max_size=20
    ),
    st.integers(0, 20),
)
def test_a_restart_changes_nothing(messages: list[tuple[str, str, str]], cut: int) -> None:
    """The names and series told are all that another process needs to go on as this one would have."""
    bounds = Bounds(devices=3, devices_per_gateway=2, metrics=ROOM + 1, metrics_per_device=2)
    sent = [reading(device, metric, gateway=gateway) for gateway, device, metric in messages]
    before = decode(TopicDecoder(bounds=bounds), *sent)
    first = decode(TopicDecoder(bounds=bounds), *sent[:cut])
    names = {(n.kind, n.id): n.name for n in first.names}
    register = Register(bounds, names, first.readings[["device", "metric"]].tolist())
    second = decode(TopicDecoder(bounds=bounds, register=register), *sent[cut:])
    assert len(before.readings) == len(first.readings) + len(second.readings)
    assert np.array_equal(
        before.readings[["device", "metric"]], np.concatenate([first.readings, second.readings])[["device", "metric"]]
    )


def test_a_flood_of_made_up_devices_leaves_memory_flat_and_known_ones_stored() -> None:
    decoder = TopicDecoder(bounds=Bounds(devices=500, metrics=100, gateways=50))
    decode(decoder, reading("real"))
    told_names: set[Name] = set()

    def flood(numbers: range) -> int:
        most = 0  # bytes: memories that are emptied when they are full are seen full
        for start in range(numbers.start, numbers.stop, 1_000):
            sent = [reading(f"fake-{n}", f"m{n}", gateway=f"g{n % 7}") for n in range(start, start + 500)]
            sent += [fix(f"fake-{n}") for n in range(start + 500, start + 800)]
            sent += [(f"haidang/v1/fake-{n}/nmea", b"") for n in range(start + 800, start + 1_000)]
            found = decode(decoder, *sent, reading("real", value=start % 2_000))
            assert found.readings["message"].tolist()[-1] == 1_000
            told_names.update(found.names)
            gc.collect()
            most = max(most, tracemalloc.get_traced_memory()[0])
        return most

    tracemalloc.start()
    try:
        full = flood(range(20_000))  # every memory of the decoders is full by now
        assert flood(range(20_000, 35_000)) < 1.1 * full
    finally:
        tracemalloc.stop()
    kinds = Counter(name.kind for name in told_names)
    assert kinds["device"] + kinds["transponder"] <= 500
    assert kinds["metric"] <= 100
    assert kinds["source"] <= 50


@pytest.mark.parametrize("topic", ["haidang/v1/g/" + "x" * 129 + "/readings", "haidang/v1/" + "ạ" * 43 + "/d/readings"])
def test_a_name_is_at_most_128_bytes(topic: str) -> None:
    assert told(decode(TopicDecoder(), (topic, b"{}"))) == [(0, Reason.BAD_NAME)]
    assert route("haidang/v1/g/" + "x" * 128 + "/readings").name == "g/" + "x" * 128  # type: ignore[union-attr]


def test_a_name_is_told_with_the_row_that_takes_it_in() -> None:
    found = decode(TopicDecoder(), reading("a", "m1"))
    assert found.names == [Name("metric", metric_id("m1"), "m1"), Name("device", device_id("g", "a"), "g/a")]
