"""The MQTT source against a real mosquitto: no ack before commit, acks belong to their connection."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import aiomqtt
import pytest

from ingest.inbox import Inbox
from ingest.sources.base import SourceUnavailable
from ingest.sources.mqtt import MqttOptions, MqttSource
from tests.ingest.mqtt import CLIENTS, TOPIC, Client, numbered, options, reading, take
from tests.ingest.running import until
from tests.ingest.watcher import Recorder

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.mosquitto import Mosquitto

pytestmark = pytest.mark.parametrize("client", CLIENTS)


async def publish(broker: Mosquitto, payloads: list[bytes], *, qos: int = 1, retain: bool = False) -> None:
    async with aiomqtt.Client("127.0.0.1", broker.port, protocol=aiomqtt.ProtocolVersion.V5) as client:
        for payload in payloads:
            await client.publish(TOPIC, payload, qos=qos, retain=retain)


async def test_what_was_not_acked_comes_again_and_what_was_acked_does_not(client: Client, broker: Mosquitto) -> None:
    first, inbox = MqttSource("m", Recorder(), options(broker, f"again-{client}", client)), Inbox()
    async with reading(first, inbox):
        await publish(broker, numbered(10))
        got = await take(inbox, 10)
        for delivery in got[:4]:
            assert delivery.ack is not None
            delivery.ack()
    assert not any(d.redelivered for d in got)
    watcher, inbox = Recorder(), Inbox()
    async with reading(MqttSource("m", watcher, options(broker, f"again-{client}", client)), inbox):
        again = await take(inbox, 6)
        while again[-1].payload != b"9":
            again += await take(inbox, 1)
    assert [d.payload for d in again[-6:]] == numbered(6, 4)
    assert all(d.redelivered for d in again)
    # paho hangs up at once after DISCONNECT: a broker that is busy may see who comes next before the last acks.
    assert len(again) == 6 or client == "aiomqtt"
    assert watcher.sessions == [True]


async def test_messages_queue_at_the_broker_while_we_are_away(client: Client, broker: Mosquitto) -> None:
    async with reading(MqttSource("m", Recorder(), options(broker, f"away-{client}", client)), Inbox()):
        pass
    await publish(broker, numbered(5))
    inbox = Inbox()
    async with reading(MqttSource("m", Recorder(), options(broker, f"away-{client}", client)), inbox):
        assert [d.payload for d in await take(inbox, 5)] == numbered(5)


async def test_an_ack_of_a_lost_connection_does_nothing_and_is_counted(
    client: Client,
    broker_factory: Callable[..., Mosquitto],
) -> None:
    broker = broker_factory()
    watcher, inbox = Recorder(), Inbox()
    async with reading(MqttSource("m", watcher, options(broker, f"stale-{client}", client)), inbox):
        await publish(broker, numbered(3))
        old = await take(inbox, 3)
        # The old packet ids are about to be used again on the new connection.
        await asyncio.to_thread(broker.restart)
        await until(lambda: len(watcher.sessions) == 2)
        again = await take(inbox, 3)
        for delivery in old:
            assert delivery.ack is not None
            delivery.ack()
        assert watcher.counts["stale_ack"] == 3
        assert watcher.sessions == [False, True]
    inbox = Inbox()
    async with reading(MqttSource("m", Recorder(), options(broker, f"stale-{client}", client)), inbox):
        assert [d.payload for d in await take(inbox, 3)] == [d.payload for d in again]


async def test_no_more_than_receive_maximum_is_in_flight(client: Client, broker: Mosquitto) -> None:
    inbox = Inbox()
    async with reading(
        MqttSource("m", Recorder(), options(broker, f"window-{client}", client, receive_maximum=7)), inbox
    ):
        await publish(broker, numbered(50))
        got = await take(inbox, 7)
        assert inbox.messages == 0
        for delivery in got:
            assert delivery.ack is not None
            delivery.ack()
            got += await take(inbox, 1) if len(got) < 50 else []
        assert [d.payload for d in got] == numbered(50)


async def test_qos_0_is_shed_when_the_inbox_is_full_and_qos_1_is_not(client: Client, broker: Mosquitto) -> None:
    watcher, inbox = Recorder(), Inbox(max_messages=3)
    async with reading(MqttSource("m", watcher, options(broker, f"shed-{client}", client)), inbox):
        await publish(broker, numbered(5), qos=0)
        await publish(broker, numbered(2, 5), qos=1)
        async with asyncio.timeout(10):
            while watcher.counts["received"] < 7:  # noqa: ASYNC110  # counted by the source, which has no event for it
                await asyncio.sleep(0)
        assert watcher.counts["dropped:overload"] == 2
        assert [d.payload for d in await take(inbox, 5)] == [*numbered(3), *numbered(2, 5)]


async def test_mqtt_3_1_1_keeps_its_session_too(client: Client, broker: Mosquitto) -> None:
    async with reading(
        MqttSource("m", Recorder(), options(broker, f"old-{client}", client, protocol="3.1.1")), Inbox()
    ):
        pass
    await publish(broker, numbered(3))
    watcher, inbox = Recorder(), Inbox()
    async with reading(MqttSource("m", watcher, options(broker, f"old-{client}", client, protocol="3.1.1")), inbox):
        assert [d.payload for d in await take(inbox, 3)] == numbered(3)
    assert watcher.sessions == [True]


async def test_a_broker_that_cannot_be_reached_is_said_in_one_line(client: Client) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        source = MqttSource(
            "coast", Recorder(), MqttOptions("127.0.0.1", closed.getsockname()[1], client=client, timeout=2.0)
        )
        with pytest.raises(SourceUnavailable, match=r"source coast: no MQTT broker at mqtt://127\.0\.0\.1") as caught:
            await source.check()
        assert "\n" not in str(caught.value)
