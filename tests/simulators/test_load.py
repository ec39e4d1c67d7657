"""The load generator's books are right: what it says was taken, was taken, once."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import TYPE_CHECKING, Any, Literal

import aiomqtt
import pyais
import pytest

from simulators.events import BadConfig
from simulators.load import METRICS, MqttLoad, load_ais, load_mqtt, value
from simulators.mqtt import Broker
from simulators.wire import UdpSend, Unreachable
from tests.simulators.samples import until
from tests.simulators.test_mqtt import listening

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.embedded_broker import EmbeddedBroker
    from services.mosquitto import Mosquitto
    from tests.conftest import Make
    from tests.servers.tcp_proxy import TcpProxy

FIRST_MS = 1_790_000_000_000
Key = tuple[str, int]  # topic, time in ms


def booked(outcome: MqttLoad, *, acknowledged: bool = True) -> dict[Key, float]:
    """What the books say was acknowledged (or else: sent at all)."""
    out = {}
    for device in outcome.devices:
        ranges = device.acknowledged if acknowledged else [[0, device.sent - 1]]
        for first, last in ranges:
            for n in range(first, last + 1):
                out[f"haidang/v1/{device.gateway}/{device.device}/readings", device.first_ms + n] = value(
                    device.offset + n
                )
    return out


def arrived(heard: list[tuple[str, bytes]], metrics: tuple[str, ...] = METRICS[:1]) -> dict[Key, float]:
    out: dict[Key, float] = {}
    for topic, payload in heard:
        said = json.loads(payload)
        assert said.keys() == {"time", "readings"}
        assert set(said["readings"]) == set(metrics)
        assert len(set(said["readings"].values())) == 1
        assert (topic, said["time"]) not in out
        out[topic, said["time"]] = said["readings"][metrics[0]]
    return out


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_what_is_booked_as_acknowledged_is_what_arrived(
    broker_factory: Make[Mosquitto], protocol: Literal["5", "3.1.1"]
) -> None:
    broker = broker_factory(settings={"max_inflight_messages": "20"})  # the broker's own default: a small window
    where = Broker("127.0.0.1", broker.port, protocol=protocol)
    async with listening(broker.port, aiomqtt.ProtocolVersion.V5) as heard:
        outcome = await load_mqtt(where, devices=7, clients=3, count=3001, metrics=3, first_ms=FIRST_MS)
        await until(lambda: len(heard) >= 3001)
        assert arrived(heard, METRICS[:3]) == booked(outcome)
    assert outcome.summary() | {"seconds": 0, "messages_per_second": 0} == {
        "sent": 3001,
        "acknowledged": 3001,
        "refused": 0,
        "rows": 9003,
        "devices": 7,
        "broken_connections": 0,
        "seconds": 0,
        "messages_per_second": 0,
    }


async def test_a_seed_says_which_values_and_places(broker: Mosquitto) -> None:
    where = Broker("127.0.0.1", broker.port)
    first: dict[int, float] = {}
    for seed in (1, 2, 2):
        async with listening(broker.port, aiomqtt.ProtocolVersion.V5) as heard:
            gateway = f"seed-{seed}"
            outcome = await load_mqtt(
                where, devices=2, clients=1, count=9, first_ms=FIRST_MS, gateway=gateway, seed=seed
            )
            await until(lambda: len(heard) >= 9)
            assert arrived(heard) == booked(outcome)
        said = outcome.devices[0].record()["first_value"]
        assert first.setdefault(seed, said) == said
    assert first[1] == 0.0 != first[2]
    places = {seed: await sent_places(seed) for seed in (1, 2)}
    assert len(places[1]) == len(places[2]) == 20
    assert not places[1] & places[2]
    assert await sent_places(2) == places[2]


async def sent_places(seed: int) -> set[tuple[int, float, float]]:
    """Where which vessels are, of a load of twenty positions over UDP."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        async with UdpSend("127.0.0.1", listener.getsockname()[1]) as target:
            await load_ais(target, vessels=5, count=20, seed=seed)
        listener.settimeout(10)
        found: list[dict[str, Any]] = [pyais.decode(listener.recv(200)).asdict() for _ in range(20)]
    return {(one["mmsi"], one["lon"], one["lat"]) for one in found}


async def test_a_set_rate_and_time_are_kept_to(broker: Mosquitto) -> None:
    where = Broker("127.0.0.1", broker.port)
    outcome = await load_mqtt(where, devices=5, clients=2, rate=500.0, seconds=1.0, gateway="rate-gw")
    assert 450 <= outcome.sent == outcome.acknowledged <= 500


async def test_a_load_can_be_stopped_and_still_tells_what_it_sent(broker: Mosquitto) -> None:
    stop = asyncio.Event()
    told: list[int] = []

    def progress(sent: int) -> None:
        told.append(sent)
        stop.set()

    where = Broker("127.0.0.1", broker.port)
    work = load_mqtt(where, rate=100.0, seconds=60.0, gateway="stop-gw", progress=progress, stop=stop)
    outcome = await asyncio.wait_for(work, 20)
    assert outcome.sent == outcome.acknowledged >= told[0] > 50


async def test_refused_messages_are_not_booked_as_taken(broker_factory: Make[Mosquitto]) -> None:
    broker = broker_factory(passwords={"load": "x"}, acl="user load\ntopic write haidang/v1/load-gw-1/#\n")
    where = Broker("127.0.0.1", broker.port, "load", "x")
    outcome = await load_mqtt(where, devices=4, clients=2, count=400)
    # mosquitto 2.0 answers a refused publish, and closes the connection when the next one comes ("Quota exceeded").
    assert outcome.acknowledged == 200
    assert outcome.summary()["refused"] >= 1
    assert outcome.summary()["refused"] + outcome.acknowledged <= outcome.sent
    assert {d.gateway for d in outcome.devices if d.acknowledged} == {"load-gw-1"}


async def test_after_a_broken_line_what_is_booked_has_arrived_and_what_arrived_was_sent(
    broker_factory: Make[Mosquitto], tcp_proxy: Callable[[int], TcpProxy]
) -> None:
    broker = broker_factory()
    proxy = tcp_proxy(broker.port)
    async with listening(broker.port, aiomqtt.ProtocolVersion.V5) as heard:
        work = asyncio.create_task(
            load_mqtt(Broker("127.0.0.1", proxy.port), devices=10, clients=2, rate=2000.0, count=100_000)
        )
        await until(lambda: len(heard) > 500)
        await asyncio.to_thread(proxy.cut)
        outcome = await asyncio.wait_for(work, 20)
        assert outcome.broken == 2
        acknowledged, sent = booked(outcome), booked(outcome, acknowledged=False)
        await until(lambda: acknowledged.keys() <= arrived(heard).keys())
        assert acknowledged.items() <= arrived(heard).items() <= sent.items()


async def test_a_broker_that_is_away_or_refuses_us_is_told_in_one_line(
    broker_factory: Make[Mosquitto], embedded_broker: EmbeddedBroker
) -> None:
    guarded = broker_factory(passwords={"load": "x"})
    for where in (
        Broker("127.0.0.1", 1),
        Broker("127.0.0.1", guarded.port),
        Broker("127.0.0.1", guarded.port, protocol="3.1.1"),
        Broker("127.0.0.1", embedded_broker.port),  # speaks no MQTT 5
    ):
        with pytest.raises(Unreachable) as error:
            await load_mqtt(where, count=1)
        assert str(where.port) in str(error.value)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"count": 1, "seconds": 1.0},
        {"count": 1, "metrics": 9},
        {"count": 1, "rate": 0.0},
        {"count": 1, "devices": 0},
    ],
)
async def test_a_load_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadConfig):
        await load_mqtt(Broker("127.0.0.1", 1), **wrong)
