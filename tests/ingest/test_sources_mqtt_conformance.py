"""What the MQTT source does with a broker that misbehaves: scripted, byte by byte, over real TCP."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import structlog

from ingest.inbox import Inbox
from ingest.loop import runner
from ingest.sources.base import SourceUnavailable
from ingest.sources.mqtt import MqttSource
from ingest.sources.mqtt.connection import Session
from ingest.sources.mqtt.native import NativeConnection
from tests.ingest.mqtt import CLIENTS, TOPIC, Client, ack, options, reading, running, take
from tests.ingest.running import until
from tests.ingest.watcher import Recorder
from tests.servers import mqtt_packets as mqtt
from tests.servers.scripted_broker import ScriptedBroker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from services.mosquitto import Mosquitto
    from tests.servers.tcp_proxy import TcpProxy

both = pytest.mark.parametrize("client", CLIENTS)


@pytest.fixture
async def broker() -> AsyncIterator[ScriptedBroker]:
    async with ScriptedBroker() as scripted:
        yield scripted


def publishes(count: int, start: int = 1, *, qos: int = 1) -> list[bytes]:
    """Messages whose payload is their packet id."""
    return [mqtt.publish(TOPIC, str(n).encode(), n, qos=qos) for n in range(start, start + count)]


# --- acks


@both
async def test_no_ack_before_it_is_given_and_then_in_the_order_of_arrival(
    client: Client, broker: ScriptedBroker
) -> None:
    inbox = Inbox()
    async with running(MqttSource("m", Recorder(), options(broker, "order", client)), inbox):
        peer = await broker.accept()
        await peer.welcome()
        peer.send(*publishes(6))
        got = await take(inbox, 6)
        peer.send(mqtt.publish(TOPIC, b"unacked", 7))
        await take(inbox, 1)
        await peer.round_trip()
        ack([got[3], got[1], got[5]])
        await peer.round_trip()
        ack([got[0], got[0]])  # given twice: sent once
        assert await peer.ids(mqtt.PUBACK, 2) == [1, 2]
        ack([got[4], got[2]])
        assert await peer.ids(mqtt.PUBACK, 4) == [3, 4, 5, 6]
    last = await peer.next()
    assert last is not None
    assert last.kind == mqtt.DISCONNECT  # and no PUBACK of 7 before it


@both
async def test_the_ack_of_a_lost_connection_does_not_ack_another_message_under_the_same_packet_id(
    client: Client, broker: ScriptedBroker
) -> None:
    watcher, inbox = Recorder(), Inbox()
    async with running(MqttSource("m", watcher, options(broker, "reuse", client)), inbox):
        peer = await broker.accept()
        await peer.welcome()
        peer.send(*publishes(3))
        old = await take(inbox, 3)
        peer.reset()
        peer = await broker.accept()
        await peer.welcome(present=True)
        peer.send(mqtt.publish(TOPIC, b"another", 2), mqtt.publish(TOPIC, b"third", 9))
        new = await take(inbox, 2)
        ack(old)
        assert watcher.counts["stale_ack"] == 3
        ack(new[1:])
        ack(new[:1])
        assert await peer.ids(mqtt.PUBACK, 2) == [2, 9]
        await peer.round_trip()


@both
async def test_a_connection_reset_in_the_midst_of_a_packet_loses_and_doubles_nothing(
    client: Client, broker: ScriptedBroker
) -> None:
    inbox = Inbox()
    async with running(MqttSource("m", Recorder(), options(broker, "midst", client)), inbox):
        whole = mqtt.publish(TOPIC, b"x" * 500, 2)
        for cut in (1, 2, 30, len(whole) - 1):
            peer = await broker.accept()
            await peer.welcome(present=True)
            peer.send(mqtt.publish(TOPIC, b"before", 1))
            ack(await take(inbox, 1))
            assert await peer.ids(mqtt.PUBACK, 1) == [1]
            peer.send(whole[:cut])
            await peer.drain()
            peer.reset()
        peer = await broker.accept()
        await peer.welcome(present=True)
        peer.send(mqtt.publish(TOPIC, b"x" * 500, 2, dup=True))
        (again,) = await take(inbox, 1)
        assert again.payload == b"x" * 500
        assert again.redelivered
        assert inbox.messages == 0


# --- QoS 2, which nobody asked for


@both
async def test_a_qos_2_message_is_answered_for_only_when_acked_and_never_doubled(
    client: Client, broker: ScriptedBroker
) -> None:
    inbox = Inbox()
    async with running(MqttSource("m", Recorder(), options(broker, "exactly", client)), inbox):
        peer = await broker.accept()
        await peer.welcome()
        peer.send(*publishes(2, qos=2), mqtt.publish(TOPIC, b"1", 1, qos=2, dup=True), mqtt.publish(TOPIC, b"one", 3))
        got = await take(inbox, 3)
        assert [d.payload for d in got] == [b"1", b"2", b"one"]
        await peer.round_trip()
        ack(got)
        assert await peer.ids(mqtt.PUBREC, 2) == [1, 2]
        assert await peer.ids(mqtt.PUBACK, 1) == [3]
        peer.send(mqtt.pubrel(1))
        assert await peer.ids(mqtt.PUBCOMP, 1) == [1]
        # The PUBREC of 2 was lost with the line: the broker sends again what we have answered for.
        peer.reset()
        peer = await broker.accept()
        await peer.welcome(present=True)
        peer.send(mqtt.publish(TOPIC, b"2", 2, qos=2, dup=True), mqtt.publish(TOPIC, b"1, anew", 1, qos=2))
        assert await peer.ids(mqtt.PUBREC, 1) == [2]
        (anew,) = await take(inbox, 1)
        assert anew.payload == b"1, anew"
        ack([anew])
        assert await peer.ids(mqtt.PUBREC, 1) == [1]
        peer.send(mqtt.pubrel(2), mqtt.pubrel(1), mqtt.pubrel(77))
        assert await peer.ids(mqtt.PUBCOMP, 3) == [2, 1, 77]
        assert inbox.messages == 0


@both
async def test_of_a_new_session_no_qos_2_packet_id_is_remembered(client: Client, broker: ScriptedBroker) -> None:
    inbox = Inbox()
    async with running(MqttSource("m", Recorder(), options(broker, "forget", client)), inbox):
        peer = await broker.accept()
        await peer.welcome()
        peer.send(*publishes(1, qos=2))
        ack(await take(inbox, 1))
        assert await peer.ids(mqtt.PUBREC, 1) == [1]
        peer.reset()
        peer = await broker.accept()
        await peer.welcome(present=False)
        peer.send(mqtt.publish(TOPIC, b"new", 1, qos=2))
        assert [d.payload for d in await take(inbox, 1)] == [b"new"]


# --- refusals


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (mqtt.connack(0x86), "the broker refuses us: bad user name or password"),
        (mqtt.connack(0x87, mqtt.reason_string("not you")), r"refuses us: not authorized \(not you\)"),
        (b"\x20\x02\0\x01", "unsupported protocol version"),
        (b"\x00\x00", "malformed packet"),
        (b"\x90\x04\0\x01\0\x01", "answers CONNECT with SUBACK"),
    ],
)
async def test_a_refused_connection_is_said_in_one_line(answer: bytes, said: str, broker: ScriptedBroker) -> None:
    source = MqttSource("coast", Recorder(), options(broker, "refused"))
    checking = asyncio.create_task(source.check())
    peer = await broker.accept()
    await peer.expect(mqtt.CONNECT)
    peer.send(answer)
    with pytest.raises(SourceUnavailable, match=said) as caught:
        await checking
    assert str(caught.value).startswith(f"source coast: no MQTT broker at mqtt://127.0.0.1:{broker.port} (")
    assert "\n" not in str(caught.value)


async def test_a_check_leaves_the_session_alone(broker: ScriptedBroker) -> None:
    checking = asyncio.create_task(MqttSource("m", Recorder(), options(broker, "haidang-of-the-coast")).check())
    peer = await broker.accept()
    hello = await peer.expect(mqtt.CONNECT)
    assert hello.body[7] & 0x02  # clean start
    assert mqtt.text("haidang-of-the-coast") not in hello.body
    peer.send(mqtt.connack())
    await checking
    await peer.expect(mqtt.DISCONNECT)


@both
@pytest.mark.parametrize(
    ("codes", "said"),
    [
        ([1, 0x87], "the broker refuses the subscription to 'b/#': not authorized"),
        ([1, 0], "grants QoS 0, not 1, on 'b/#'"),
    ],
)
async def test_a_subscription_refused_or_granted_less_is_said_and_tried_again(
    codes: list[int], said: str, client: Client, broker: ScriptedBroker
) -> None:
    watcher = Recorder()
    source = MqttSource("m", watcher, options(broker, "less", client, topics=("a/#", "b/#")))
    async with running(source, Inbox()):
        await (await broker.accept()).welcome(granted=codes)
        again = await broker.accept()
        await again.welcome()
        await source.subscribed.wait()
    up, detail = watcher.edges[0]
    assert not up
    assert said in detail


@both
@pytest.mark.parametrize(
    "bad",
    [
        b"\x00\x00",  # a reserved type
        b"\x36\x05\0\x01t\0\x01",  # QoS 3
        b"\x30\xff\xff\xff\xff\x01",  # a remaining length without an end
    ],
)
async def test_a_malformed_packet_ends_the_connection_and_what_came_before_it_comes_again(
    bad: bytes, client: Client, broker: ScriptedBroker
) -> None:
    watcher, inbox = Recorder(), Inbox()
    async with running(MqttSource("m", watcher, options(broker, "malformed", client)), inbox):
        peer = await broker.accept()
        await peer.welcome()
        peer.send(*publishes(1), bad)
        (sound,) = await take(inbox, 1)
        again = await broker.accept()
        await again.welcome(present=True)
        again.send(mqtt.publish(TOPIC, b"1", 1, dup=True))
        (same,) = await take(inbox, 1)
        ack([sound, same])
        assert await again.ids(mqtt.PUBACK, 1) == [1]
        assert watcher.counts["stale_ack"] == 1
    if client == "native":
        farewell = await peer.expect(mqtt.DISCONNECT)
        assert farewell.body[0] == 0x81
        assert any("malformed packet" in detail for _, detail in watcher.edges)


async def test_a_topic_alias_is_refused_with_its_reason(broker: ScriptedBroker) -> None:
    async with running(MqttSource("m", Recorder(), options(broker, "alias")), Inbox()):
        peer = await broker.accept()
        await peer.welcome()
        peer.send(mqtt.publish("", b"1", 1, b"\x23\0\x01"))
        farewell = await peer.expect(mqtt.DISCONNECT)
        assert farewell.body[0] == 0x94


# --- what only looks like a fault


@both
async def test_a_topic_that_is_no_utf_8_is_delivered_with_its_bytes_shown_and_acked(
    client: Client, broker: ScriptedBroker
) -> None:
    inbox = Inbox()
    async with running(MqttSource("m", Recorder(), options(broker, "topic", client)), inbox):
        peer = await broker.accept()
        await peer.welcome()
        peer.send(mqtt.publish(b"haidang/v1/\xff/x", b"1", 1), mqtt.publish(b"haidang/\0", b"2", 2))
        got = await take(inbox, 2)
        assert [d.origin for d in got] == ["haidang/v1/\\xff/x", "haidang/\\x00"]
        ack(got)
        assert await peer.ids(mqtt.PUBACK, 2) == [1, 2]


@both
async def test_dup_and_retained_say_that_it_may_have_come_before(client: Client, broker: ScriptedBroker) -> None:
    inbox = Inbox()
    async with running(MqttSource("m", Recorder(), options(broker, "before", client)), inbox):
        peer = await broker.accept()
        await peer.welcome()
        flags = [(False, False), (True, False), (False, True)]
        peer.send(*(mqtt.publish(TOPIC, b"", n + 1, dup=d, retain=r) for n, (d, r) in enumerate(flags)))
        assert [d.redelivered for d in await take(inbox, 3)] == [False, True, True]


@both
async def test_subscription_identifiers_and_user_properties_are_passed_over(
    client: Client, broker: ScriptedBroker
) -> None:
    inbox = Inbox()
    async with running(MqttSource("m", Recorder(), options(broker, "props", client)), inbox):
        peer = await broker.accept()
        await peer.welcome(b"\x21\0\x05", b"\x22\0\x05", b"\x26" + mqtt.text("a") + mqtt.text("b"))
        user = b"\x26" + mqtt.text("k") + mqtt.text("v")
        peer.send(mqtt.publish(TOPIC, b"1", 1, user, b"\x0b\x80\x01", b"\x0b\x02", user, b"\x02\0\0\0\x09"))
        assert [d.payload for d in await take(inbox, 1)] == [b"1"]


# --- whose session, whose turn


@both
async def test_a_lost_session_is_told_from_a_resumed_one(client: Client, broker: ScriptedBroker) -> None:
    watcher = Recorder()
    with structlog.testing.capture_logs() as logs:
        async with running(MqttSource("m", watcher, options(broker, "sessions", client)), Inbox()):
            for count, present in enumerate((False, True, False), start=1):
                peer = await broker.accept()
                await peer.welcome(present=present)
                await until(lambda count=count: len(watcher.sessions) == count)  # type: ignore[misc]
                peer.reset()
    assert watcher.sessions == [False, True, False]
    assert [log["event"] for log in logs].count("mqtt_session_lost") == 1


@both
async def test_a_client_id_taken_over_is_not_fought_for(client: Client, broker: ScriptedBroker) -> None:
    watcher = Recorder()
    source = MqttSource("m", watcher, options(broker, "taken", client, taken_over_pause=0.05))
    with structlog.testing.capture_logs() as logs:
        async with running(source, Inbox()):
            for _ in range(4):
                peer = await broker.accept()
                await peer.welcome()
                peer.send(mqtt.disconnect(0x8E))
            await until(lambda: sum(not up for up, _ in watcher.edges) == 4)
    pauses = [log["back_in_seconds"] for log in logs if log["event"] == "mqtt_client_id_taken_over"]
    assert len(pauses) == 4
    # It stays away longer each time: at least 0.05, 0.1, 0.2, 0.4 s, though each connection had come up well.
    assert all(pause >= 0.05 * 2**n for n, pause in enumerate(pauses))
    assert "the broker disconnects us: session taken over" in [detail for _, detail in watcher.edges]


@both
async def test_the_brokers_reason_for_disconnecting_is_given_in_words(client: Client, broker: ScriptedBroker) -> None:
    watcher = Recorder()
    async with running(MqttSource("m", watcher, options(broker, "reason", client)), Inbox()):
        peer = await broker.accept()
        await peer.welcome()
        peer.send(mqtt.disconnect(0x8B))
        await until(lambda: (False, "the broker disconnects us: server shutting down") in watcher.edges)


# --- given up while it connects


def test_a_connection_given_up_as_it_is_made_closes_without_a_word_on_the_loop_of_the_service() -> None:
    """As when another part is refused at start: the check of the broker is cancelled at any moment."""

    async def give_up() -> None:
        async with ScriptedBroker() as broker, asyncio.timeout(20):
            current = asyncio.current_task()
            assert current is not None
            opening: asyncio.Task[None] = current

            class GivenUp(NativeConnection):
                def made(self, transport: asyncio.Transport) -> None:
                    super().made(transport)
                    opening.cancel()

            wanted = options(broker, "given-up")
            connection = GivenUp(wanted, Session(), lambda _publishes, _window: False, lambda: None)
            try:
                with pytest.raises(asyncio.CancelledError):
                    await connection.open()
            finally:
                opening.uncancel()
                await connection.close()
            peer = await broker.accept()
            assert await peer.next() is None

    with runner() as loop:
        loop.run(give_up())


# --- is the line alive?


@both
async def test_a_line_that_swallows_everything_is_found(
    client: Client, broker_factory: Callable[..., Mosquitto], tcp_proxy: Callable[[int], TcpProxy]
) -> None:
    mosquitto = broker_factory()
    assert mosquitto.port is not None
    proxy = tcp_proxy(mosquitto.port)
    watcher = Recorder()
    async with reading(
        MqttSource("m", watcher, options(proxy, f"dead-{client}", client, keepalive=1, timeout=2)), Inbox()
    ):
        proxy.stall()
        await until(lambda: any(not up for up, _ in watcher.edges), 20)
        proxy.resume()
        await until(lambda: watcher.edges[-1][0], 20)


@both
async def test_the_brokers_own_keep_alive_is_kept(client: Client, broker: ScriptedBroker) -> None:
    async with running(MqttSource("m", Recorder(), options(broker, "server", client, keepalive=600)), Inbox()):
        peer = await broker.accept()
        await peer.welcome(b"\x13\0\x01")
        await until(lambda: peer.pings >= 2, 20)


def test_a_pulse_finds_a_dead_line_within_two_keep_alives_and_no_live_one() -> None:
    from ingest.sources.mqtt.native import _Pulse

    for offset in range(40):  # where the last byte lies between two looks
        pulse = _Pulse(8.0, 0.0)
        last = 10 + offset / 10
        now, dead_at = 0.0, None
        while dead_at is None:
            before, now = now, now + pulse.interval
            if now <= last or before <= last < now:
                pulse.heard(min(now, last))
            _, dead = pulse.look(now, deaf=False)
            dead_at = now if dead else None
            assert now < 100
        assert last < dead_at <= last + 2 * 8.0
    pulse = _Pulse(8.0, 0.0)
    assert not any(pulse.look(n * 2.0, deaf=True)[1] for n in range(1, 50))
    # A look that is itself late holds nothing against the broker.
    pulse = _Pulse(8.0, 0.0)
    looks = [pulse.look(now, deaf=False) for now in (2.0, 4.0, 6.0, 100.0)]
    assert looks[1] == (True, False)
    assert not looks[3][1]
