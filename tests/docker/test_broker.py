"""The broker as deployed: the real mosquitto with our configuration, and the secrets that prepare.py makes."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING
from uuid import uuid4

import aiomqtt
import pytest
from paho.mqtt.client import MQTT_CLEAN_START_FIRST_ONLY
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from alerting.channels.base import PermanentFailure
from alerting.channels.mqtt import Mqtt
from alerting.channels.settings import MqttSettings
from services.mosquitto import Mosquitto
from services.server import own
from tests.alerting.samples import queued, transition
from tests.docker.deployment import DOCKER, compose, prepare

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from services.debian_root import DebianRoot


class Deployed(Mosquitto):
    """mosquitto with the files of docker/, only its paths and port changed."""

    secrets: Path

    def _prepare(self, port: int) -> None:
        inside = self.root.inside(self.folder)
        text = (DOCKER / "mosquitto/mosquitto.conf").read_text()
        text = text.replace("/run/secrets/", f"{inside}/").replace("/mosquitto/config/", f"{inside}/")
        text = text.replace("/mosquitto/data/", f"{inside}/data/").replace(
            "listener 8883", f"listener {port} 127.0.0.1"
        )
        (self.folder / "mosquitto.conf").write_text(text.replace("log_dest stdout", "log_dest stderr"))
        data = self.folder / "data"
        data.mkdir(exist_ok=True)
        files = {name: self.secrets / entry["file"].rpartition("/")[2] for name, entry in compose()["secrets"].items()}
        files["acl"] = DOCKER / "mosquitto/acl"
        for name, source in files.items():
            (self.folder / name).write_bytes(source.read_bytes())
            own(self.folder / name, self._user.uid, self._user.gid, 0o600)
        own(data, self._user.uid, self._user.gid, 0o700)

    def _answers(self, port: int) -> bool:
        async def try_it() -> bool:
            try:
                async with client(self, "officer", port=port, timeout=5):
                    return True
            except aiomqtt.MqttError:
                return False

        return asyncio.run(try_it())

    def password(self, user: str) -> str:
        path = self.secrets / f"mqtt_{user}"
        return (path if path.exists() else self.secrets / f"mqtt_gateway_{user}").read_text()


def client(
    broker: Deployed, user: str, *, port: int | None = None, session: str | None = None, timeout: float = 10
) -> aiomqtt.Client:
    expiry = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    expiry.SessionExpiryInterval = 3600
    return aiomqtt.Client(
        "localhost",
        port or broker.port,
        username=user,
        password=broker.password(user),
        identifier=session,
        protocol=aiomqtt.ProtocolVersion.V5,
        clean_start=False if session else MQTT_CLEAN_START_FIRST_ONLY,
        properties=expiry if session else None,
        timeout=timeout,
        tls_context=ssl.create_default_context(cafile=broker.secrets / "mqtt_ca.crt"),
    )


@pytest.fixture(scope="module")
def broker(debian_root: DebianRoot, root_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    secrets = tmp_path_factory.mktemp("deployed") / "secrets"
    prepare(secrets, "--gateway", "gw1", "--gateway", "gw2")
    made = Deployed(debian_root, root_folder / "mosquitto-deployed")
    made.secrets = secrets
    try:
        with made:
            yield made
    finally:
        made.remove()


async def refusal(broker: Deployed, user: str, topic: str) -> bool:
    """Whether the broker refuses that ``user`` publishes to ``topic``."""
    settings = MqttSettings.model_validate(
        {
            "name": "x",
            "url": f"mqtts://localhost:{broker.port}",
            "ca_file": broker.secrets / "mqtt_ca.crt",
            "username": user,
            "password": broker.password(user),
            "client_id": f"test-{uuid4().hex}",
            "topic": topic,
        }
    )
    async with Mqtt(settings) as channel:
        try:
            await channel.send(queued(transition()))
        except PermanentFailure:
            return True
    return False


@pytest.mark.parametrize(
    ("user", "topic", "refused"),
    [
        ("gw1", "haidang/v1/gw1/pm-3/readings", False),
        ("gw1", "haidang/v1/gw1/boat-1/position", False),
        ("gw1", "haidang/v1/gw1/nmea", False),
        ("gw1", "haidang/v1/gw2/pm-3/readings", True),
        ("gw1", "haidang/v1/gw1/pm-3/else", True),
        ("gw1", "haidang/v1/alerts/vms.gap/1", True),
        ("gw2", "haidang/v1/gw1/nmea", True),
        ("officer", "haidang/v1/alerts/vms.gap/1", True),
        ("haidang", "haidang/v1/alerts/vms.gap/1", False),
        ("haidang", "haidang/v1/gw1/pm-3/readings", True),
    ],
)
async def test_each_user_speaks_for_itself_only(broker: Deployed, user: str, topic: str, refused: bool) -> None:
    assert await refusal(broker, user, topic) is refused


async def test_nobody_comes_in_without_a_password_or_without_tls(broker: Deployed) -> None:
    context = ssl.create_default_context(cafile=broker.secrets / "mqtt_ca.crt")
    for user, password in [(None, None), ("gw1", "wrong"), ("nobody", "x")]:
        with pytest.raises(aiomqtt.MqttError):
            async with aiomqtt.Client(
                "localhost", broker.port, username=user, password=password, tls_context=context, timeout=5
            ):
                pass
    with pytest.raises(aiomqtt.MqttError):
        async with aiomqtt.Client("localhost", broker.port, username="gw1", password=broker.password("gw1"), timeout=2):
            pass


async def test_what_is_published_while_the_service_is_away_waits_for_it_through_a_restart(broker: Deployed) -> None:
    """More than the 1000 messages a stock mosquitto keeps."""
    count, session = 3000, f"test-{uuid4().hex}"
    async with client(broker, "haidang", session=session) as service:
        await service.subscribe("haidang/v1/+/+/readings", qos=1)
    async with client(broker, "gw1") as gateway:
        gateway.pending_calls_threshold = count
        await asyncio.gather(
            *(gateway.publish("haidang/v1/gw1/pm-3/readings", str(number), qos=1) for number in range(count))
        )
    await asyncio.to_thread(broker.restart)
    got = []
    async with client(broker, "haidang", session=session) as service, asyncio.timeout(30):
        async for message in service.messages:
            got.append(int(str(message.payload, "ascii")))
            if len(got) >= count:
                break
    assert sorted(got) == list(range(count))


def test_preparing_again_keeps_passwords_and_adds_what_is_new(tmp_path: Path) -> None:
    prepare(tmp_path, "--gateway", "gw1")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    said = prepare(tmp_path, "--gateway", "gw9", "--host", "broker.example.org", "--host", "10.1.2.3")
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert "gw1, gw9, haidang, officer" in said
    new = {"mqtt_gateway_gw9", "mqtt_passwords", "mqtt_server.crt", "mqtt_server.key", "mqtt_server.names"}
    assert {name for name in after if after[name] != before.get(name)} == new
    assert after["mqtt_passwords"].count(b"\n") == 4
    context = ssl.create_default_context(cafile=tmp_path / "mqtt_ca.crt")
    context.load_cert_chain(tmp_path / "mqtt_server.crt", tmp_path / "mqtt_server.key")  # they belong together
    names = (tmp_path / "mqtt_server.names").read_text().split()
    assert names == ["mosquitto", "localhost", "127.0.0.1", "broker.example.org", "10.1.2.3"]
    assert (tmp_path / "mqtt_ca.key").stat().st_mode & 0o077 == 0
    assert tmp_path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("name", ["alerts", "haidang", "officer", "a/b", "a:b", "+", ""])
def test_a_gateway_s_name_cannot_be_a_topic_of_ours(tmp_path: Path, name: str) -> None:
    with pytest.raises(AssertionError, match="cannot be the name of a gateway"):
        prepare(tmp_path, f"--gateway={name}")
