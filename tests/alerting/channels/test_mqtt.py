"""The MQTT channel, against a real mosquitto that acknowledges, refuses, hangs and restarts."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import socket
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import aiomqtt
import pytest
from pydantic import ValidationError

from alerting.channels.base import PermanentFailure, TemporaryFailure
from alerting.channels.mqtt import Mqtt, render
from alerting.channels.settings import MqttSettings
from services.mosquitto import Mosquitto, Tls
from tests.alerting.certificates import self_signed
from tests.alerting.samples import queued, transition
from tests.alerting.target import target

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from services.debian_root import DebianRoot

ACL = """
user alerts
topic write haidang/v1/alerts/#
user officer
topic read haidang/v1/alerts/#
"""
PASSWORDS = {"alerts": "s3cret", "officer": "t0psecret"}


@pytest.fixture(scope="module")
def guarded(
    debian_root: DebianRoot, root_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mosquitto]:
    """A broker with users, an ACL and a TLS listener whose certificate names localhost."""
    cert, key = self_signed(tmp_path_factory.mktemp("tls"), "localhost", "127.0.0.1")
    broker = Mosquitto(debian_root, root_folder / "mosquitto-alerts", passwords=PASSWORDS, acl=ACL, tls=Tls(cert, key))
    try:
        with broker:
            shutil.copyfile(cert, broker.folder / "authority-for-clients.pem")
            yield broker
    finally:
        broker.remove()


def settings(broker: Mosquitto, **more: Any) -> MqttSettings:
    return MqttSettings.model_validate(
        {
            "name": "hook",
            "url": broker.url,
            "username": "alerts",
            "password": "s3cret",
            "client_id": f"test-{uuid4().hex}",
            **more,
        }
    )


@pytest.fixture
async def officer(guarded: Mosquitto) -> AsyncIterator[aiomqtt.Client]:
    async with aiomqtt.Client(
        "127.0.0.1", guarded.port, username="officer", password="t0psecret", protocol=aiomqtt.ProtocolVersion.V5
    ) as client:
        await client.subscribe("haidang/v1/alerts/#", qos=1)
        yield client


async def heard(client: aiomqtt.Client) -> aiomqtt.Message:
    async with asyncio.timeout(10):
        return await anext(aiter(client.messages))


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_the_payload_is_published_with_qos_1(guarded: Mosquitto, officer: aiomqtt.Client, protocol: str) -> None:
    notification = queued(transition())
    async with Mqtt(settings(guarded, protocol=protocol)) as channel:
        await channel.send(notification)
    message = await heard(officer)
    assert str(message.topic) == f"haidang/v1/alerts/vms.gap/{notification.alert_id}"
    assert message.qos == 1
    assert json.loads(message.payload) == notification.payload


async def test_many_at_once_share_one_connection_and_all_arrive(guarded: Mosquitto, officer: aiomqtt.Client) -> None:
    sent = [queued(transition(start=number)) for number in range(100)]
    async with Mqtt(settings(guarded)) as channel:
        await asyncio.gather(*(channel.send(notification) for notification in sent))
    ids = {json.loads((await heard(officer)).payload)["notification_id"] for _ in sent}
    assert ids == {str(notification.id) for notification in sent}


async def test_a_publish_that_the_acl_refuses_is_a_failure_although_it_returns(guarded: Mosquitto) -> None:
    async with Mqtt(settings(guarded, topic="elsewhere/{alert_id}")) as channel:
        with pytest.raises(PermanentFailure, match=r"elsewhere/.* refused: Not authorized"):
            await channel.send(queued(transition()))
        with pytest.raises(PermanentFailure):  # and the connection still stands
            await channel.send(queued(transition()))


async def test_wrong_credentials_are_temporary_nothing_was_said_about_the_notification(guarded: Mosquitto) -> None:
    async with Mqtt(settings(guarded, password="wrong")) as channel:
        for _ in range(2):
            with pytest.raises(TemporaryFailure, match="Not authorized"):
                await channel.send(queued(transition()))


async def test_it_connects_again_after_the_broker_restarted(guarded: Mosquitto, officer: aiomqtt.Client) -> None:
    async with Mqtt(settings(guarded)) as channel:
        await channel.send(queued(transition()))
        await asyncio.to_thread(guarded.stop)
        with pytest.raises(TemporaryFailure):
            await channel.send(queued(transition()))
        await asyncio.to_thread(guarded.start)
        await channel.send(queued(transition()))
        await asyncio.to_thread(guarded.kill)
        await asyncio.to_thread(guarded.start)
        for _ in range(3):  # the first may find out that the connection is gone
            try:
                await channel.send(queued(transition()))
            except TemporaryFailure:
                continue
            break
        else:
            pytest.fail("it did not come back")


async def test_a_broker_that_accepts_and_says_nothing_is_left_in_time() -> None:
    async with target() as silent:
        silent.silent = True
        made = MqttSettings(name="m", url=f"mqtt://127.0.0.1:{silent.port}", timeout_seconds=0.2)
        async with asyncio.timeout(10), Mqtt(made) as channel:
            with pytest.raises(TemporaryFailure):
                await channel.send(queued(transition()))


async def test_a_broker_that_stops_answering_is_left_in_time_and_found_again(guarded: Mosquitto) -> None:
    assert guarded.process
    async with Mqtt(settings(guarded, timeout_seconds=2.0)) as channel:
        await channel.send(queued(transition()))
        guarded.process.send(signal.SIGSTOP)
        try:
            for _ in range(2):
                with pytest.raises(TemporaryFailure):
                    await channel.send(queued(transition()))
        finally:
            guarded.process.send(signal.SIGCONT)
        async with asyncio.timeout(10):
            while True:
                try:
                    return await channel.send(queued(transition()))
                except TemporaryFailure:
                    continue


async def test_no_broker_at_all_is_temporary() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    async with Mqtt(MqttSettings(name="m", url=f"mqtt://127.0.0.1:{port}")) as channel:
        with pytest.raises(TemporaryFailure, match=f"127.0.0.1:{port}"):
            await channel.send(queued(transition()))


async def test_tls_is_verified(guarded: Mosquitto, officer: aiomqtt.Client, tmp_path: Path) -> None:
    authority = guarded.folder / "authority-for-clients.pem"
    async with Mqtt(settings(guarded, url=f"mqtts://localhost:{guarded.tls_port}", ca_file=authority)) as channel:
        await channel.send(queued(transition()))
    assert (await heard(officer)).qos == 1
    other, _ = self_signed(tmp_path, "localhost", stem="other")
    async with Mqtt(settings(guarded, url=f"mqtts://localhost:{guarded.tls_port}", ca_file=other)) as channel:
        with pytest.raises(TemporaryFailure, match="CERTIFICATE_VERIFY_FAILED"):
            await channel.send(queued(transition()))


async def test_retained_messages_show_to_who_comes_later(guarded: Mosquitto) -> None:
    topic = f"haidang/v1/alerts/now/{uuid4().hex}"
    async with Mqtt(settings(guarded, topic=topic, retain=True)) as channel:
        await channel.send(queued(transition()))
    async with aiomqtt.Client("127.0.0.1", guarded.port, username="officer", password="t0psecret") as late:
        await late.subscribe(topic, qos=1)
        assert (await heard(late)).retain


def test_nothing_in_a_payload_adds_levels_or_wildcards_to_the_topic() -> None:
    payload = queued(transition(rule="a/b+c#d\0e")).payload
    assert render("x/{rule}/{subject_kind}/{event}/{state}", payload) == "x/a_b_c_d_e/transponder/firing/firing"


@pytest.mark.parametrize(
    "topic", ["", "a/+", "a/#", "$SYS/x", "a/{b}", "a/{rule", "a/rule}", "a\0", "{rule.__class__}", "{}"]
)
def test_a_topic_nobody_could_publish_to_is_refused_at_load(topic: str) -> None:
    with pytest.raises(ValidationError):
        MqttSettings(name="m", url="mqtt://h", topic=topic)
