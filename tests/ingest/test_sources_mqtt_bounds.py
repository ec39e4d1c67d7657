"""What the MQTT source holds at most, whatever a scripted broker sends, and where the rest waits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import structlog

from ingest.inbox import Inbox
from ingest.sources.mqtt import MqttSource
from tests.ingest.mqtt import CLIENTS, TOPIC, Client, ack, numbered, options, running, take
from tests.ingest.running import until
from tests.ingest.watcher import Recorder
from tests.servers import mqtt_packets as mqtt
from tests.servers.scripted_broker import Peer, ScriptedBroker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from ingest.delivery import Delivery

both = pytest.mark.parametrize("client", CLIENTS)


@pytest.fixture
async def broker() -> AsyncIterator[ScriptedBroker]:
    async with ScriptedBroker() as scripted:
        yield scripted


class Gauge(Inbox):
    """An inbox that knows the most that was ever received and not yet acked: looked at with each delivery."""

    def __init__(self) -> None:
        super().__init__()
        self.under_way = self.highest = 0  # messages
        self.bytes_under_way = self.highest_bytes = 0

    def force_all(self, deliveries: Sequence[Delivery]) -> None:
        super().force_all(deliveries)
        self.under_way += len(deliveries)
        self.bytes_under_way += sum(len(delivery.payload) for delivery in deliveries)
        self.highest = max(self.highest, self.under_way)
        self.highest_bytes = max(self.highest_bytes, self.bytes_under_way)

    async def take_and_ack(self, count: int) -> list[bytes]:
        """The payloads of so many messages, each acked before the next is taken."""
        out = []
        for _ in range(count):
            batch = await take(self, 1)
            self.under_way -= 1
            self.bytes_under_way -= len(batch[0].payload)
            ack(batch)
            out.append(batch[0].payload)
        return out


async def pinged(peer: Peer, times: int = 3) -> None:
    """Wait until the client has pinged so often: it has turned its loop, and read what it was to read."""
    seen = peer.pings
    await until(lambda: peer.pings >= seen + times, 30)


@both
async def test_ten_times_receive_maximum_never_takes_more_than_receive_maximum_and_one(
    client: Client, broker: ScriptedBroker
) -> None:
    inbox = Gauge()
    async with running(MqttSource("m", Recorder(), options(broker, "overshoot", client, receive_maximum=20)), inbox):
        peer = await broker.accept()
        await peer.welcome()
        peer.send(*(mqtt.publish(TOPIC, str(n).encode(), n) for n in range(1, 201)))
        for left in range(200, 0, -21):
            full = min(left, 21)
            await until(lambda full=full: inbox.under_way >= full)  # type: ignore[misc]
            assert await inbox.take_and_ack(full) == numbered(full, 201 - left)
        assert inbox.highest == 21
        assert await peer.ids(mqtt.PUBACK, 200) == list(range(1, 201))


@both
async def test_bytes_are_bounded_as_messages_are(client: Client, broker: ScriptedBroker) -> None:
    inbox, bound, size = Gauge(), 200_000, 50_000
    async with running(
        MqttSource("m", Recorder(), options(broker, "heavy", client, receive_bytes=bound, keepalive=1)), inbox
    ):
        peer = await broker.accept()
        await peer.welcome()
        peer.send(*(mqtt.publish(TOPIC, b"x" * size, n) for n in range(1, 401)))
        await until(lambda: inbox.bytes_under_way >= bound)
        await pinged(peer)
        await inbox.take_and_ack(400)
        # One read of the socket may bring 256 KiB.
        assert bound <= inbox.highest_bytes <= bound + 2**18 + size
        assert await peer.ids(mqtt.PUBACK, 400) == list(range(1, 401))


@both
async def test_what_is_beyond_the_bound_waits_in_tcp_and_at_the_broker(client: Client, broker: ScriptedBroker) -> None:
    inbox, size = Gauge(), 200_000
    source = MqttSource("m", Recorder(), options(broker, "tcp", client, receive_maximum=20, keepalive=1))
    async with running(source, inbox):
        peer = await broker.accept()
        await peer.welcome()
        peer.send(*(mqtt.publish(TOPIC, b"x" * size, n) for n in range(1, 201)))
        await until(lambda: inbox.under_way == 21)
        await pinged(peer)
        # Of 40 MB, 4 are here; the windows of TCP on one machine take some more.
        assert inbox.under_way == 21
        assert peer.unsent > 40 * size
        await inbox.take_and_ack(200)
        assert await peer.ids(mqtt.PUBACK, 200) == list(range(1, 201))


@both
async def test_while_we_ourselves_do_not_read_no_silence_is_held_against_the_broker(
    client: Client, broker: ScriptedBroker
) -> None:
    watcher, inbox = Recorder(), Gauge()
    source = MqttSource("m", watcher, options(broker, "deaf", client, keepalive=1, receive_maximum=2))
    async with running(source, inbox):
        peer = await broker.accept()
        await peer.welcome()
        # As good as unread: a client that did read would give this broker up within two keep-alives.
        peer.answering = False
        peer.send(*(mqtt.publish(TOPIC, str(n).encode(), n) for n in range(1, 11)))
        # It pings each half keep-alive at most: three and more go by, and the broker hears of us all the while.
        await pinged(peer, 8)
        assert [up for up, _ in watcher.edges] == [True]
        peer.answering = True
        assert await inbox.take_and_ack(10) == numbered(10, 1)
        assert await peer.ids(mqtt.PUBACK, 10) == list(range(1, 11))


@pytest.mark.parametrize("five", [True, False])
async def test_a_payload_far_too_large_is_delivered_by_its_beginning_and_acked(
    five: bool, broker: ScriptedBroker
) -> None:
    inbox = Inbox()
    source = MqttSource("m", Recorder(), options(broker, "large", max_payload=1024, protocol="5" if five else "3.1.1"))
    async with running(source, inbox):
        peer = await broker.accept()
        await peer.welcome()
        payload = b"0123456789" * 300_000
        peer.send(mqtt.publish(TOPIC, payload, 1, five=five), mqtt.publish(TOPIC, b"next", 2, five=five))
        large, after = await take(inbox, 2)
        assert (large.payload, large.size) == (payload[:1025], len(payload))
        assert (after.payload, after.size) == (b"next", 4)
        ack([large, after])
        assert await peer.ids(mqtt.PUBACK, 2) == [1, 2]


@both
async def test_qos_0_is_shed_first_counted_and_said_once(client: Client, broker: ScriptedBroker) -> None:
    watcher, inbox = Recorder(), Inbox(max_messages=3)
    with structlog.testing.capture_logs() as logs:
        async with running(MqttSource("m", watcher, options(broker, "shed", client)), inbox):
            peer = await broker.accept()
            await peer.welcome()
            peer.send(*(mqtt.publish(TOPIC, b"0", qos=0) for _ in range(8)))
            peer.send(*(mqtt.publish(TOPIC, str(n).encode(), n) for n in (1, 2)))
            await until(lambda: watcher.counts["received"] == 10)
            assert watcher.counts["dropped:overload"] == 5
            assert len(await take(inbox, 5)) == 5
            peer.send(mqtt.publish(TOPIC, b"0", qos=0))
            await take(inbox, 1)
    assert [log["event"] for log in logs if "shedding" in log["event"]] == ["shedding_began", "shedding_ended"]
