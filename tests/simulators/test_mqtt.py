"""Gateways deliver everything at least once, and know what the broker refused."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import aiomqtt
import pytest

from simulators.drive import drive
from simulators.events import Event, Publish
from simulators.mqtt import BadUrl, Broker, MqttTarget
from simulators.sensors import SensorConfig, sensor_events
from simulators.series import HOUR, Weather
from simulators.wire import Unreachable
from tests.simulators.samples import START, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from services.embedded_broker import EmbeddedBroker
    from services.mosquitto import Mosquitto
    from tests.conftest import Make
    from tests.servers.tcp_proxy import TcpProxy

CONFIG = SensorConfig(seed=2, start=START, seconds=60.0, speed=600.0, interval_s=600.0, weather=Weather(flood=2 * HOUR))
EVENTS: list[Event] = list(sensor_events(CONFIG))
SENT = [(event.topic, event.payload) for event in EVENTS if isinstance(event, Publish)]


@contextlib.asynccontextmanager
async def listening(port: int, version: aiomqtt.ProtocolVersion) -> AsyncIterator[list[tuple[str, bytes]]]:
    """Everything published below haidang/v1, in the order of arrival."""
    heard: list[tuple[str, bytes]] = []
    async with aiomqtt.Client("127.0.0.1", port, protocol=version, identifier="listener") as client:
        await client.subscribe("haidang/v1/#", qos=1)

        async def listen() -> None:
            async for message in client.messages:
                assert isinstance(message.payload, bytes)
                assert message.qos == 1
                heard.append((str(message.topic), message.payload))

        task = asyncio.create_task(listen())
        yield heard
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_every_reading_arrives_once_and_in_the_order_of_its_gateway(broker_factory: Make[Mosquitto]) -> None:
    broker = broker_factory()
    async with listening(broker.port, aiomqtt.ProtocolVersion.V5) as heard:
        async with MqttTarget(broker.url) as target:
            await drive(EVENTS, [target], start=START, paced=False)
        await until(lambda: len(heard) >= len(SENT))
        assert Counter(heard) == Counter(SENT)
        for gateway in ("hue-gw-1", "hue-gw-2", "hue-gw-3"):
            assert [m for m in heard if f"/{gateway}/" in m[0]] == [m for m in SENT if f"/{gateway}/" in m[0]]
        assert target.summary() == {
            "messages": len(SENT),
            "bytes": sum(len(payload) for _, payload in SENT),
            "lost": 0,
            "acknowledged": len(SENT),
            "refused": {},
        }


async def test_a_broken_line_loses_nothing(
    broker_factory: Make[Mosquitto], tcp_proxy: Callable[[int], TcpProxy]
) -> None:
    broker = broker_factory()
    proxy = tcp_proxy(broker.port)
    async with listening(broker.port, aiomqtt.ProtocolVersion.V5) as heard:
        async with MqttTarget(f"mqtt://127.0.0.1:{proxy.port}") as target:
            half = len(EVENTS) // 2
            await drive(EVENTS[:half], [target], start=START, paced=False)
            await until(lambda: target.acknowledged > 0)
            proxy.stall()
            await drive(EVENTS[half:], [target], start=START, paced=False)
            proxy.cut()
            accepted = proxy.accepted
            await until(lambda: proxy.accepted > accepted)
            proxy.resume()
        await until(lambda: set(heard) >= set(SENT))
        assert target.acknowledged == len(SENT)
        assert set(heard) == set(SENT)
        # A message that came twice aside, the order of a gateway is kept.
        once = list(dict.fromkeys(m for m in heard if "/hue-gw-1/" in m[0]))
        assert once == list(dict.fromkeys(m for m in SENT if "/hue-gw-1/" in m[0]))


async def test_what_the_broker_refuses_is_counted_by_its_reason(broker_factory: Make[Mosquitto]) -> None:
    broker = broker_factory(passwords={"gw": "pa ss"}, acl="user gw\ntopic write haidang/v1/hue-gw-1/#\n")
    config = replace(CONFIG, seconds=0.5, speed=1200.0)
    async with MqttTarget(f"mqtt://gw:pa%20ss@127.0.0.1:{broker.port}") as target:
        await drive(sensor_events(config), [target], start=config.start, seconds=config.seconds)
        await until(
            lambda: target.acknowledged + sum(target.summary()["refused"].values()) >= target.summary()["messages"]
        )
    told = target.summary()
    own = sum(isinstance(e, Publish) and e.gateway == "hue-gw-1" for e in sensor_events(config))
    assert told["acknowledged"] == own > 0
    assert told["refused"] == {"Not authorized": told["messages"] - own}
    assert told["messages"] > own


async def test_a_broker_that_speaks_only_3_1_1_is_served_too(embedded_broker: EmbeddedBroker) -> None:
    sent = [(e.topic, e.payload) for e in EVENTS[:200] if isinstance(e, Publish)]
    async with listening(embedded_broker.port, aiomqtt.ProtocolVersion.V311) as heard:
        async with MqttTarget(embedded_broker.url, protocol="3.1.1") as target:
            await drive(EVENTS[:200], [target], start=START, paced=False)
        await until(lambda: len(heard) >= len(sent))
        assert Counter(heard) == Counter(sent)
        assert target.acknowledged == len(sent)


async def test_a_broker_that_is_away_or_refuses_us_is_told_in_one_line(broker_factory: Make[Mosquitto]) -> None:
    broker = broker_factory(passwords={"gw": "pass"})
    for url in (f"mqtt://gw:wrong@127.0.0.1:{broker.port}", "mqtt://127.0.0.1:1"):
        with pytest.raises(Unreachable) as error:
            async with MqttTarget(url):
                pass
        assert "\n" not in str(error.value)
        assert "wrong" not in str(error.value)


@pytest.mark.parametrize(
    ("url", "broker"),
    [
        ("mqtt://host", Broker("host", 1883)),
        ("mqtts://host", Broker("host", 8883, tls=True)),
        ("mqtt://u%40x:p%3A@[::1]:1884/", Broker("::1", 1884, "u@x", "p:")),
    ],
)
def test_a_broker_url_is_read(url: str, broker: Broker) -> None:
    assert Broker.parse(url) == broker


@pytest.mark.parametrize("url", ["", "host:1883", "http://host", "mqtt://", "mqtt://host:99999", "mqtt://host/topic"])
def test_a_url_that_names_no_broker_is_refused(url: str) -> None:
    with pytest.raises(BadUrl):
        Broker.parse(url)
