"""The MQTT source between a broker that fails and a real database: nothing acked is missing, nothing is there twice."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import aiomqtt
import psycopg
import pytest

from ingest.sources.base import SourceUnavailable
from services.mosquitto import Mosquitto, Tls
from tests.alerting.certificates import self_signed
from tests.ingest.mqtt import CLIENTS, Client
from tests.ingest.running import (
    TOPIC,
    balanced,
    count,
    draw_seed,
    dump,
    publish,
    reading,
    serving,
    settings,
    times,
    until,
)
from tests.servers import mqtt_packets as mqtt
from tests.servers.scripted_broker import ScriptedBroker

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ingest.service import Service
    from ingest.settings import Settings
    from services.postgres import Postgres
    from tests.servers.tcp_proxy import TcpProxy

both = pytest.mark.parametrize("client", CLIENTS)
MANY = 1_500


@pytest.fixture
def gateway() -> str:
    """A gateway of the test's own, so that tests can share a broker."""
    return f"gw-{uuid4().hex[:8]}"


def using(config: Settings, client: Client, **more: Any) -> Settings:
    """The same settings with another MQTT client."""
    source = config.sources["gateways"].model_copy(update={"client": client, **more})
    return config.model_copy(update={"sources": {"gateways": source}})


def through(dsn: str, port: int) -> str:
    """The same database, by way of a proxy."""
    head, _, rest = dsn.rpartition(":")
    return f"{head}:{port}/{rest.split('/', 1)[1]}"


def ledger(service: Service) -> dict[str, int]:
    return service.telemetry.ledger.account("gateways").as_dict()


async def settled(service: Service, unique: int) -> None:
    """Wait until so many different messages are stored or refused, and nothing is under way."""
    account = service.telemetry.ledger.account("gateways")
    await until(lambda: account.stored + account.quarantined >= unique and account.in_flight == 0, 60)
    assert balanced(service)


class Gateway:
    """Publishes until the broker has acknowledged all, whatever becomes of the line; at least once, in order."""

    def __init__(self, broker: Mosquitto, gateway: str) -> None:
        self.broker = broker
        self.topic = TOPIC.format(gateway=gateway, device="a")
        self.acknowledged = 0

    async def publish(self, total: int) -> None:
        while self.acknowledged < total:
            try:
                async with aiomqtt.Client(
                    "127.0.0.1", self.broker.port, protocol=aiomqtt.ProtocolVersion.V5, timeout=5
                ) as client:
                    while self.acknowledged < total:
                        await client.publish(self.topic, reading(self.acknowledged), qos=1)
                        self.acknowledged += 1
            except aiomqtt.MqttError:
                await asyncio.sleep(0.05)


@both
@pytest.mark.parametrize("fault", ["restart", "kill"])
async def test_a_broker_restarted_or_killed_under_load_loses_and_doubles_nothing(
    fault: str, client: Client, migrated: str, broker_factory: Callable[..., Mosquitto], gateway: str
) -> None:
    # Every change is on disk before it is acknowledged: what a kill loses then is ours.
    broker = broker_factory(settings={"autosave_on_changes": "true", "autosave_interval": "1"})
    async with serving(using(settings(migrated, broker, gateway), client)) as service:
        sender = Gateway(broker, gateway)
        sending = asyncio.create_task(sender.publish(MANY))
        for goal in (MANY // 4, MANY // 2):
            await until(lambda goal=goal: sender.acknowledged >= goal, 60)  # type: ignore[misc]
            if fault == "kill":
                await asyncio.to_thread(broker.kill)
                await asyncio.to_thread(broker.start)
            else:
                await asyncio.to_thread(broker.restart)
        async with asyncio.timeout(60):
            await sending
        await settled(service, MANY)
    assert times(migrated, "a") == list(range(MANY))


@both
async def test_a_broker_that_forgot_us_is_noticed_and_counted_and_we_go_on(
    client: Client, migrated: str, broker_factory: Callable[..., Mosquitto], gateway: str
) -> None:
    broker = broker_factory(settings={"persistence": "false"})
    async with serving(using(settings(migrated, broker, gateway), client)) as service:
        await publish(broker, gateway, "a", map(reading, range(100)))
        await settled(service, 100)
        await asyncio.to_thread(broker.restart)
        sessions = service.telemetry.registry.get_sample_value
        labels = {"source": "gateways", "session": "new"}
        await until(lambda: sessions("haidang_mqtt_sessions_total", labels) == 2)
        await until(lambda: service.telemetry.sources["gateways"])
        await publish(broker, gateway, "a", map(reading, range(100, 200)))
        await settled(service, 200)
    assert times(migrated, "a") == list(range(200))


@both
async def test_a_line_cut_at_random_moments_loses_and_doubles_nothing(
    client: Client, migrated: str, broker: Mosquitto, gateway: str, tcp_proxy: Callable[[int], TcpProxy]
) -> None:
    seed = draw_seed()
    rng = random.Random(seed)
    assert broker.port is not None
    proxy = tcp_proxy(broker.port)
    config = using(settings(migrated, broker, gateway), client, port=proxy.port, receive_maximum=50)
    async with serving(config) as service:
        account = service.telemetry.ledger.account("gateways")
        publishing = asyncio.create_task(publish(broker, gateway, "a", map(reading, range(MANY)), at_once=20))
        for _ in range(6):
            goal = account.received + rng.randrange(1, 150)
            await until(lambda goal=goal: account.received >= goal or publishing.done())  # type: ignore[misc]
            proxy.cut()
            proxy.resume()
        await publishing
        await settled(service, MANY)
        assert account.stored == MANY
    assert times(migrated, "a") == list(range(MANY)), f"seed {seed}"


@both
async def test_when_a_member_of_a_shared_subscription_dies_nothing_is_lost_or_doubled(
    client: Client,
    migrated: str,
    timescale: Postgres,
    broker: Mosquitto,
    gateway: str,
    tcp_proxy: Callable[[int], TcpProxy],
) -> None:
    shared = (f"$share/{gateway}/haidang/v1/{gateway}/+/readings",)
    database = tcp_proxy(timescale.port)
    alive = using(settings(migrated, broker, gateway), client, topics=shared)
    doomed = using(settings(through(migrated, database.port), broker, gateway), client, topics=shared)
    doomed = using(doomed, client, client_id=f"haidang-{gateway}-doomed")
    short = doomed.model_copy(update={"service": doomed.service.model_copy(update={"grace_seconds": 0.1})})
    async with serving(alive) as survivor:
        async with serving(short) as member:
            database.cut()
            await publish(broker, gateway, "a", map(reading, range(200)))
            await until(lambda: ledger(member)["received"] + ledger(survivor)["stored"] == 200)
            held = ledger(member)["received"]
            assert 0 < held < 200
        # It died with messages it had not acked: they are with the broker, and the survivor goes on.
        await publish(broker, gateway, "a", map(reading, range(200, 300)))
        await until(lambda: ledger(survivor)["received"] >= 200 - held)
        database.resume()
        async with serving(doomed):
            await until(lambda: len(times(migrated, "a")) == 300)
        assert balanced(survivor)
    assert times(migrated, "a") == list(range(300))


@both
async def test_what_a_dead_member_leaves_is_taken_over_where_the_broker_hands_it_on(
    client: Client, migrated: str, broker: Mosquitto, gateway: str
) -> None:
    """MQTT 5, 4.8.2: a server may send to another member what one that died had not acknowledged."""
    topic = TOPIC.format(gateway=gateway, device="a")
    async with ScriptedBroker() as scripted:
        config = using(settings(migrated, broker, gateway), client, port=scripted.port, topics=(f"$share/g/{topic}",))
        welcoming = asyncio.create_task(_checked_and_welcomed(scripted))
        async with serving(config) as service:
            peer = await welcoming
            own = [mqtt.publish(topic, reading(n), n) for n in range(1, 51)]
            # Of another member: under new packet ids, some of them committed there before it died.
            inherited = [mqtt.publish(topic, reading(n), 100 + n, dup=True) for n in range(41, 91)]
            peer.send(*own, *inherited)
            assert await peer.ids(mqtt.PUBACK, 100) == [*range(1, 51), *range(141, 191)]
            await settled(service, 90)
            assert ledger(service)["duplicate"] == 10
    assert times(migrated, "a") == list(range(1, 91))


@both
@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_retained_messages_are_stored_once_however_often_we_subscribe(
    protocol: str, client: Client, migrated: str, broker_factory: Callable[..., Mosquitto], gateway: str
) -> None:
    broker = broker_factory()
    sentence = b"!AIVDM,1,1,,A,13RlIW?04F1beOVEFLB9bRvH0L0L,0*6C"
    async with aiomqtt.Client("127.0.0.1", broker.port) as sender:
        await sender.publish(TOPIC.format(gateway=gateway, device="a"), reading(1), qos=1, retain=True)
        await sender.publish(f"haidang/v1/{gateway}/nmea", sentence, qos=1, retain=True)
    config = using(settings(migrated, broker, gateway), client, protocol=protocol)
    async with serving(config) as service:
        await settled(service, 2)
    for _ in range(2):
        async with serving(config) as service:
            # Something new comes behind what is retained.
            await publish(broker, gateway, "b", [reading(random.randrange(10**6))])
            await settled(service, 1)
            assert ledger(service)["stored"] == 1
            assert ledger(service)["duplicate"] == (0 if protocol == "5" else 2)
    assert times(migrated, "a") == [1]
    assert count(migrated, "SELECT count(*) FROM positions") == 1


@both
async def test_qos_0_and_qos_2_publishes_are_stored_too(
    client: Client, migrated: str, broker: Mosquitto, gateway: str
) -> None:
    async with serving(using(settings(migrated, broker, gateway), client)) as service:
        async with aiomqtt.Client("127.0.0.1", broker.port) as sender:
            for n in range(60):
                await sender.publish(TOPIC.format(gateway=gateway, device="a"), reading(n), qos=n % 3)
        await settled(service, 60)
    assert times(migrated, "a") == list(range(60))


@both
async def test_odd_topics_odd_payloads_and_qos_2_end_in_quarantine_or_tables_and_are_acked(
    client: Client, migrated: str, broker: Mosquitto, gateway: str
) -> None:
    good = TOPIC.format(gateway=gateway, device="a")
    large = b"[" + b" " * 2_000_000 + b"]"
    async with ScriptedBroker() as scripted:
        config = using(settings(migrated, broker, gateway), client, port=scripted.port)
        welcoming = asyncio.create_task(_checked_and_welcomed(scripted))
        async with serving(config) as service:
            peer = await welcoming
            peer.send(
                mqtt.publish(good, reading(1), 1),
                mqtt.publish(b"haidang/v1/\xff\xfe/a/readings", reading(2), 2),
                mqtt.publish(b"haidang/v1/\0/a/readings", reading(3), 3),
                mqtt.publish(good, large, 4),
                mqtt.publish(good, reading(5), 5, qos=2),
                mqtt.publish(good, reading(5), 5, qos=2, dup=True),
                mqtt.publish(good, reading(6), 6),
            )
            answers = [await peer.next() for _ in range(6)]
            assert [(a.kind, a.packet_id) for a in answers if a] == [
                (mqtt.PUBACK, 1),
                (mqtt.PUBACK, 2),
                (mqtt.PUBACK, 3),
                (mqtt.PUBACK, 4),
                (mqtt.PUBREC, 5),
                (mqtt.PUBACK, 6),
            ]
            peer.send(mqtt.pubrel(5))
            assert await peer.ids(mqtt.PUBCOMP, 1) == [5]
            await settled(service, 6)
            assert ledger(service)["quarantined"] == 3
    assert times(migrated, "a") == [1, 5, 6]
    (rows,) = dump(migrated, "SELECT origin, reason, size FROM quarantine ORDER BY size, origin")
    assert rows == [
        ("haidang/v1/\\x00/a/readings", "bad_name", len(reading(3))),
        ("haidang/v1/\\xff\\xfe/a/readings", "bad_name", len(reading(2))),
        (good, "too_large", len(large)),
    ]


async def _checked_and_welcomed(broker: ScriptedBroker) -> Any:
    peer = await broker.accept()
    await peer.welcome()
    return peer


# --- TLS


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """PEM files: server, client, another authority, one out of date, one for another name."""
    folder = tmp_path_factory.mktemp("certificates")
    self_signed(folder, "127.0.0.1", "localhost", stem="server")
    self_signed(folder, "haidang", stem="client")
    self_signed(folder, "127.0.0.1", stem="other")
    self_signed(folder, "elsewhere.example", stem="elsewhere")
    self_signed(folder, "127.0.0.1", stem="expired", until="20200102000000Z")
    return folder


def secured(config: Settings, broker: Mosquitto, client: Client, **tls: Path) -> Settings:
    from ingest.settings import TlsSettings

    return using(config, client, port=broker.tls_port, tls=TlsSettings(**tls))


@both
async def test_readings_come_over_mutual_tls_with_a_private_authority(
    client: Client, migrated: str, broker_factory: Callable[..., Mosquitto], gateway: str, certificates: Path
) -> None:
    files = Tls(certificates / "server.crt", certificates / "server.key", certificates / "client.crt")
    broker = broker_factory(tls=files)
    config = secured(
        settings(migrated, broker, gateway),
        broker,
        client,
        ca=certificates / "server.crt",
        certificate=certificates / "client.crt",
        key=certificates / "client.key",
    )
    async with serving(config) as service:
        await service.sources["gateways"].check()
        await publish(broker, gateway, "a", map(reading, range(MANY)))
        await settled(service, MANY)
    assert times(migrated, "a") == list(range(MANY))


@both
@pytest.mark.parametrize(
    ("server", "ca", "with_certificate", "said"),
    [
        ("server", "other", True, "certificate"),
        ("elsewhere", "elsewhere", True, "not valid for '127.0.0.1'"),
        ("expired", "expired", True, "expired"),
        ("server", "server", False, "certificate"),
    ],
)
async def test_a_certificate_that_is_not_right_is_said_in_one_line(
    server: str,
    ca: str,
    with_certificate: bool,
    said: str,
    client: Client,
    broker_factory: Callable[..., Mosquitto],
    certificates: Path,
) -> None:
    from ingest.sources.mqtt import MqttOptions, MqttSource
    from ingest.sources.mqtt import Tls as ClientTls
    from tests.ingest.watcher import Recorder

    files = Tls(certificates / f"{server}.crt", certificates / f"{server}.key", certificates / "client.crt")
    broker = broker_factory(tls=files)
    tls = ClientTls(
        certificates / f"{ca}.crt",
        certificates / "client.crt" if with_certificate else None,
        certificates / "client.key" if with_certificate else None,
    )
    source = MqttSource("m", Recorder(), MqttOptions("127.0.0.1", broker.tls_port, client=client, tls=tls, timeout=5))
    with pytest.raises(SourceUnavailable) as caught:
        await source.check()
    assert "\n" not in str(caught.value)
    if client == "native" or with_certificate:
        assert said in str(caught.value)


@both
async def test_bad_credentials_are_said_in_one_line(client: Client, broker_factory: Callable[..., Mosquitto]) -> None:
    from ingest.sources.mqtt import MqttOptions, MqttSource
    from tests.ingest.watcher import Recorder

    broker = broker_factory(passwords={"haidang": "right"})
    assert broker.port is not None
    for protocol in ("5", "3.1.1"):
        for user, password in (("haidang", "wrong"), ("nobody", "right"), (None, None)):
            source = MqttSource(
                "m",
                Recorder(),
                MqttOptions(
                    "127.0.0.1",
                    broker.port,
                    username=user,
                    password=password,
                    client=client,
                    protocol=protocol,
                ),
            )
            with pytest.raises(SourceUnavailable, match=r"(?i)not authori[sz]ed") as caught:
                await source.check()
            assert "wrong" not in str(caught.value)
            assert "\n" not in str(caught.value)


@both
async def test_two_services_under_one_client_id_lose_and_double_nothing(
    client: Client, migrated: str, broker: Mosquitto, gateway: str
) -> None:
    config = using(settings(migrated, broker, gateway), client)
    async with serving(config) as first:
        await publish(broker, gateway, "a", map(reading, range(100)))
        await settled(first, 100)
        async with serving(config) as second:
            await until(lambda: not first.telemetry.sources["gateways"])
            await publish(broker, gateway, "a", map(reading, range(100, 200)))
            await until(lambda: ledger(second)["stored"] == 100)
            assert balanced(first)
            assert balanced(second)
    assert times(migrated, "a") == list(range(200))
    with psycopg.connect(migrated) as connection:
        assert connection.execute("SELECT count(*) FROM quarantine").fetchone() == (0,)
