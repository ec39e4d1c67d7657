"""Both brokers pass messages; mosquitto keeps them for those who are away, and lets in whom it should."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from typing import TYPE_CHECKING

import aiomqtt
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from services.errors import ServerFailed
from services.mosquitto import Mosquitto, Tls
from tests.alerting.certificates import self_signed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from services.embedded_broker import EmbeddedBroker

V5, V311 = aiomqtt.ProtocolVersion.V5, aiomqtt.ProtocolVersion.V311


async def round_trip(port: int, protocol: aiomqtt.ProtocolVersion) -> bytes:
    async with asyncio.timeout(10), aiomqtt.Client("127.0.0.1", port, protocol=protocol) as client:
        await client.subscribe("a/#", qos=1)
        await client.publish("a/b", b"hello", qos=1)
        async for message in client.messages:
            assert isinstance(message.payload, bytes)
            return message.payload
    raise AssertionError("the connection ended")


@pytest.mark.parametrize("protocol", [V5, V311])
async def test_mosquitto_speaks_both_versions(broker: Mosquitto, protocol: aiomqtt.ProtocolVersion) -> None:
    assert broker.url == f"mqtt://127.0.0.1:{broker.port}"
    assert await round_trip(broker.port, protocol) == b"hello"


async def test_the_broker_in_python_speaks_3_1_1(embedded_broker: EmbeddedBroker) -> None:
    assert await round_trip(embedded_broker.port, V311) == b"hello"


def sleeper(port: int) -> aiomqtt.Client:
    """A client whose session goes on while it is away."""
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = 3600
    return aiomqtt.Client(
        "127.0.0.1", port, identifier="sleeper", protocol=V5, clean_start=False, properties=properties
    )


async def test_all_that_waits_for_a_client_outlives_a_restart(broker_factory: Callable[[], Mosquitto]) -> None:
    """Stock mosquitto would have discarded what is over 1000."""
    count = 1500
    broker = broker_factory()
    async with asyncio.timeout(60):
        async with sleeper(broker.port) as client:
            await client.subscribe("kept/#", qos=1)
        async with aiomqtt.Client("127.0.0.1", broker.port, protocol=V5) as client:
            for number in range(count):
                await client.publish("kept/it", str(number), qos=1)
        await asyncio.to_thread(broker.restart)
        received: list[int] = []
        async with sleeper(broker.port) as client:
            async for message in client.messages:
                assert isinstance(message.payload, bytes)
                received.append(int(message.payload))
                if len(received) == count:
                    break
    assert received == list(range(count))


async def test_passwords_and_acl_hold(broker_factory: Callable[..., Mosquitto]) -> None:
    passwords = {"reader": "geheim:ö", "writer": "x" * 100}
    acl = "user reader\ntopic read #\n\nuser writer\ntopic write #\n"
    broker = broker_factory(passwords=passwords, acl=acl)
    for user, password in ((None, None), ("reader", "wrong"), ("nobody", "geheim:ö")):
        with pytest.raises(aiomqtt.MqttError):
            async with aiomqtt.Client("127.0.0.1", broker.port, username=user, password=password, protocol=V5):
                pass
    reader, writer, intruder = (
        aiomqtt.Client("127.0.0.1", broker.port, username=user, password=passwords[user], protocol=V5)
        for user in ("reader", "writer", "reader")
    )
    async with asyncio.timeout(10), reader, writer:
        await reader.subscribe("t", qos=1)
        with contextlib.suppress(aiomqtt.MqttError):  # mosquitto 2.0.21 cuts a client off after it denied it
            async with intruder:
                await intruder.publish("t", b"not allowed", qos=1)
        await writer.publish("t", b"allowed", qos=1)
        async for message in reader.messages:
            assert message.payload == b"allowed"
            break
    assert "geheim" not in (broker.folder / "passwords").read_text()
    assert (broker.folder / "passwords").stat().st_mode & 0o077 == 0


def test_a_user_name_that_would_break_the_password_file_is_refused(broker_factory: Callable[..., Mosquitto]) -> None:
    for name in ("a:b", "a\nb"):
        with pytest.raises(ServerFailed, match="colon or line break"):
            broker_factory(passwords={name: "x"})


async def test_the_second_listener_speaks_tls(broker_factory: Callable[..., Mosquitto], tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path, "localhost")
    broker = broker_factory(tls=Tls(certificate, key))
    context = ssl.create_default_context(cafile=str(certificate))
    async with asyncio.timeout(10), aiomqtt.Client("localhost", broker.tls_port, tls_context=context, protocol=V5) as c:
        await c.publish("t", b"x", qos=1)
    with pytest.raises(ServerFailed, match="no TLS listener"):
        _ = broker_factory().tls_port


async def test_a_tls_listener_with_an_authority_wants_a_certificate(
    broker_factory: Callable[..., Mosquitto], tmp_path: Path
) -> None:
    certificate, key = self_signed(tmp_path, "localhost")
    broker = broker_factory(tls=Tls(certificate, key, authority=certificate))
    context = ssl.create_default_context(cafile=str(certificate))
    with (
        socket.create_connection(("localhost", broker.tls_port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as stream,
        pytest.raises(ssl.SSLError, match="CERTIFICATE_REQUIRED"),
    ):
        stream.recv(1)
    context.load_cert_chain(certificate, key)
    async with asyncio.timeout(10), aiomqtt.Client("localhost", broker.tls_port, tls_context=context, protocol=V5) as c:
        await c.publish("t", b"x", qos=1)
