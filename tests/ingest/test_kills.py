"""Killed at any boundary and started again, the service leaves the tables of a run that was never killed.

What may differ, and is left out of the comparison: ``received_at`` of every row and receive times within rule states (a
message delivered again is received again) and ``known_at`` of alerts, ``recorded_at`` of the history (its hashes are
equal), when deadlines run out (they count from when the alert was known), and of notifications the times and the count
of their sending.
"""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import aiomqtt
import psycopg
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from psycopg import sql

from ingest.settings import load
from ingest.watch import rule_book
from storage.audit import audit
from storage.migrate import MigrationState, status, upgrade
from tests.ingest import test_kills_beside, test_spooling, traffic
from tests.ingest.killed import BOUNDARIES
from tests.ingest.running import EPOCH_MS, ROOT, Process, balanced, draw_seed, publish_all, serving, until
from tests.servers.http_target import HttpTarget

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from services.mosquitto import Mosquitto
    from services.postgres import Postgres
    from tests.servers.http_target import Request

#: Boundary to the greatest number of the time at which the process dies there: early enough to be reached.
DEATHS: Final = {
    "after_receive": 900,
    "after_decode": 20,
    "before_insert": 20,
    "after_insert": 20,
    "after_commit": 20,
    "after_ack": 900,
    "before_send": 10,
    "after_send": 10,
    "after_mark": 10,
}
#: Notifications that a webhook has on their way at once: what a kill may tell twice.
IN_HAND: Final = 4
_LEFT_OUT: Final = {
    "alerts": {"known_at", "ended_known_at", "changed_known_at"},
    "alert_history": {"recorded_at"},
    "alert_timers": {"due_at"},
    "notifications": {"next_attempt_at", "created_at", "sent_at", "leased_until", "attempts", "last_error"},
}
_TABLES: Final = (
    *("positions", "readings", "statics", "ais_messages", "receptions", "quarantine", "fragments"),
    *("alerts", "alert_history", "notifications", "rule_state", "latest_positions", "latest_readings"),
    *("alert_timers", "alert_inhibitors", "desk_policies", "devices", "transponders", "sources", "zones", "rules"),
)

#: What the traffic makes of rules: alerts of all, and states kept.
_RULES: Final = {
    *("high", "high-for-long", "mean", "rate", "inside", "left", "distress", "encounter", "carried", "loitering"),
    *("fishing", "port", "jump", "clash", "gap"),
}

#: Microseconds after the last event of the traffic: a number in a state that is greater is when something was received.
_RECEIVED_FROM: Final = (EPOCH_MS + 86_400_000) * 1000

Tables = dict[str, list[tuple[Any, ...]]]


def tables(dsn: str) -> Tables:
    """The rows of every table, sorted, without what only says when they were received or written."""
    out = {}
    with psycopg.connect(dsn) as connection:
        for table in _TABLES:
            cursor = connection.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(table)))
            assert cursor.description is not None
            left_out = {"received_at"} | _LEFT_OUT.get(table, set())
            keep = [n for n, column in enumerate(cursor.description) if column.name not in left_out]
            out[table] = sorted(
                (tuple(_timeless(row[n]) if isinstance(row[n], dict) else row[n] for n in keep) for row in cursor),
                key=repr,
            )
    return out


def _timeless(value: Any) -> Any:
    if isinstance(value, list):
        return [_timeless(of) for of in value]
    if isinstance(value, dict):
        return {key: _timeless(of) for key, of in value.items()}
    return "received" if isinstance(value, int) and value > _RECEIVED_FROM else value


@dataclass(frozen=True, slots=True)
class Scene:
    """One traffic, published once, that every boundary's session has waiting at the broker."""

    seed: int
    gateway: str
    made: traffic.Traffic
    target: HttpTarget
    port: int
    rules: list[Path]

    def config(self, name: str, dsn: str) -> str:
        topics = [f"haidang/v1/{self.gateway}{of}" for of in ("/+/readings", "/nmea", "-2/nmea")]
        return f"""
            [database]
            dsn = "{dsn}"
            [sources.gateways]
            type = "mqtt"
            host = "127.0.0.1"
            port = {self.port}
            client_id = "{self.client(name)}"
            receive_maximum = 100
            topics = {json.dumps(topics)}
            [rules]
            files = {json.dumps([str(file) for file in self.rules])}
            [channels.duty]
            type = "webhook"
            url = "{self.target.url}/{name}"
            allow_networks = ["127.0.0.0/8"]
            [limits]
            batch_messages = 40
            [http]
            port = 0
            [service]
            log_format = "json"
            """

    def client(self, name: str) -> str:
        return f"haidang-{self.gateway}-{name}"

    def told(self, name: str) -> list[Request]:
        """What the webhook of a run was sent."""
        return [request for request in self.target.requests if request.path == f"/{name}"]


@pytest.fixture(scope="module")
def scene(broker: Mosquitto, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    seed = draw_seed()
    gateway = f"gw-{uuid4().hex[:8]}"
    made = traffic.make(seed, gateway)
    with HttpTarget() as target:
        scene = Scene(seed, gateway, made, target, broker.port, traffic.rules(tmp_path_factory.mktemp("rules")))
        asyncio.run(_publish(scene, broker))
        yield scene


async def _publish(scene: Scene, broker: Mosquitto) -> None:
    """Make the sessions that keep the messages until their service asks for them, then publish."""
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = 3600
    for name in ("calm", "spool", *DEATHS):
        session: dict[str, Any] = {"identifier": scene.client(name), "clean_start": False, "properties": properties}
        async with aiomqtt.Client("127.0.0.1", broker.port, protocol=aiomqtt.ProtocolVersion.V5, **session) as client:
            for of in ("/+/readings", "/nmea", "-2/nmea"):
                await client.subscribe(f"haidang/v1/{scene.gateway}{of}", qos=1)
    await publish_all(broker, scene.made.messages)


async def finish(scene: Scene, name: str, config: Path) -> None:
    """Run the service, in this process and unhurt, until everything is stored and told."""
    settings = load(config)
    dsn = settings.database.dsn.get_secret_value()
    with psycopg.connect(dsn, autocommit=True) as connection:
        # What a dead process had in hand is due when its lease ends: now, and not in half a minute. Before this one has
        # something in hand, which would be sent twice.
        connection.execute("UPDATE notifications SET leased_until = now() WHERE leased_until > now()")
    async with serving(settings, await rule_book(settings)) as service:
        await until(lambda: _has_ended(dsn), 60)
        account = service.telemetry.ledger.account("gateways")
        await until(lambda: account.in_flight == 0 and _is_told(dsn), 60)
        assert balanced(service)
        assert account.dropped == 0


def _has_ended(dsn: str) -> bool:
    return _number(dsn, "SELECT count(*) FROM readings r JOIN devices d ON d.id = device_id WHERE d.name = 'end'") == 1


def _is_told(dsn: str) -> bool:
    return _number(dsn, "SELECT count(*) FROM notifications WHERE state = 'queued'") == 0


def _number(dsn: str, query: str) -> int:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return int(row[0])


@pytest.fixture(scope="module")
def calm(
    scene: Scene, timescale: Postgres, timescale_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Tables]:
    """The tables of the run that was never killed."""
    name = f"calm_{uuid4().hex[:8]}"
    dsn = timescale.create_database(name, timescale_template)
    config = tmp_path_factory.mktemp("calm") / "haidang.toml"
    config.write_text(scene.config("calm", dsn))
    asyncio.run(finish(scene, "calm", config))
    yield tables(dsn)
    timescale.drop_database(name)


def rows(dsn: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(query.encode()).fetchall()


def test_a_run_never_killed_stores_what_was_published_and_tells_of_it(scene: Scene, calm: Tables) -> None:
    """What the others are compared with is right by itself, and has something of everything."""
    assert {bytes(row[6]) for row in calm["quarantine"]} == scene.made.refused
    assert len(calm["readings"]) == len(scene.made.readings)
    assert {(row[1], int(row[0].timestamp())) for row in calm["positions"]} == scene.made.positions
    assert len(calm["positions"]) == len(scene.made.positions)
    assert {(row[1], int(row[0].timestamp())) for row in calm["statics"]} == scene.made.statics
    assert calm["receptions"]
    assert not calm["fragments"]
    assert {row[1] for row in calm["alerts"]} == _RULES - {"gap"}  # nobody is silent for so long
    assert {row[0] for row in calm["rule_state"]} >= _RULES - {"gap"}
    assert calm["alert_timers"]
    assert calm["alert_inhibitors"]
    assert calm["rule_state"]
    sent = [request.headers["x-haidang-notification-id"] for request in scene.told("calm")]
    assert sorted(sent) == sorted(str(row[0]) for row in calm["notifications"])


@pytest.mark.parametrize("boundary", DEATHS)
async def test_killed_at_a_boundary_and_started_again_it_ends_with_the_tables_of_a_run_never_killed(
    boundary: str, scene: Scene, calm: Tables, migrated: str, tmp_path: Path
) -> None:
    times = random.Random(f"{scene.seed} {boundary}").randint(1, DEATHS[boundary])
    how = f"killed {boundary} for the {times}. time: HAIDANG_TEST_SEED={scene.seed}"
    config = tmp_path / "haidang.toml"
    config.write_text(scene.config(boundary, migrated))
    process = Process(config, killed=(boundary, times), log=tmp_path / "log")
    await process.start()
    assert await process.ended(60) == -9, f"{how}: {process.errors}"
    assert not _has_ended(migrated), f"{how}: it died too late to prove anything"

    await finish(scene, boundary, config)

    found = tables(migrated)
    for table in _TABLES:
        assert found[table] == calm[table], f"{table}, {how}"
    record = await audit(migrated)
    assert (record.faults, record.unsealed) == ([], 0), how
    delivered = rows(migrated, "SELECT notification_id FROM alert_deliveries WHERE outcome = 'sent'")
    assert sorted(str(id_) for (id_,) in delivered) == sorted(str(row[0]) for row in calm["notifications"]), how
    told = scene.told(boundary)
    ids = {request.headers["x-haidang-notification-id"] for request in told}
    assert ids == {str(row[0]) for row in calm["notifications"]}, how
    assert len(told) - len(ids) <= IN_HAND, f"told again beyond what was in hand: {how}"
    assert _in_order(told), how


def _in_order(told: list[Request]) -> bool:
    """No alert is told to be over before it was told to have begun."""
    begun = set()
    for request in told:
        body = json.loads(request.body)
        if body["event"] == "firing":
            begun.add(body["alert_id"])
        elif body["alert_id"] not in begun:
            return False
    return True


_SCHEMA: Final = (
    """SELECT table_name, column_name, ordinal_position, data_type, is_nullable, column_default
    FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 3""",
    "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1, 2",
    """SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2""",
    "SELECT relname, relacl::text FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1",
    "SELECT version, name, checksum, state FROM schema_migrations ORDER BY 1",
    "SELECT hypertable_name, num_dimensions FROM timescaledb_information.hypertables ORDER BY 1",
    "SELECT id, name, unit FROM metrics ORDER BY 1",
)


@pytest.mark.parametrize("boundary", ["before_statement", "after_statement"])
async def test_an_upgrade_killed_again_and_again_ends_with_the_schema_of_one_never_killed(
    boundary: str, database: str, migrated: str
) -> None:
    seed = draw_seed()
    rng = random.Random(f"{seed} {boundary}")
    left = len(status(migrated).steps)
    for life in range(2):
        # The statements before are preparations, then come two for each step that is left, and then grants.
        times = rng.randint(12, 2 * left + (8 if life == 0 else 12))
        process = await asyncio.create_subprocess_exec(
            *(Process.PYTHON, "-m", "tests.ingest.killed", boundary, str(times)),
            *("db", "upgrade", "--dsn", database),
            stdout=asyncio.subprocess.DEVNULL,
            cwd=ROOT,
        )
        assert await process.wait() == -9, f"at statement {times}: HAIDANG_TEST_SEED={seed}"
        left = sum(step.state is MigrationState.PENDING for step in status(database).steps)
        assert left or life, f"HAIDANG_TEST_SEED={seed}"
    assert upgrade(database).current
    for query in _SCHEMA:
        assert rows(database, query) == rows(migrated, query), f"HAIDANG_TEST_SEED={seed}: {query}"


def test_every_boundary_is_tried() -> None:
    beside = {boundary for deaths in test_kills_beside.DEATHS.values() for boundary in deaths}
    upgrade, spool = {"before_statement", "after_statement"}, {*test_spooling.WHILE_SPOOLING}
    assert BOUNDARIES.keys() == DEATHS.keys() | beside | upgrade | spool
