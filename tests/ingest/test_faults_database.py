"""Whatever becomes of the database: what was acked is there, once, the rest comes again, nothing is quarantined."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time
from ipaddress import IPv4Network
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo
from structlog.testing import capture_logs

from alerting import pack
from alerting.channels.settings import WebhookSettings
from alerting.pack import RuleBook
from ingest.settings import Database
from services.postgres import THROWAWAY, Postgres
from tests.ingest.running import (
    balanced,
    count,
    draw_seed,
    publish,
    reading,
    serving,
    settings,
    times,
    until,
)
from tests.servers.small_disk import SmallDisk
from tests.storage.cutter import Cutter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from ingest.service import Service
    from ingest.settings import Settings
    from services.debian_root import DebianRoot
    from services.mosquitto import Mosquitto
    from tests.conftest import Make
    from tests.servers.http_target import HttpTarget
    from tests.servers.tcp_proxy import TcpProxy

    Log = list[Any]

#: HAIDANG_TEST_LONG=1: outages of a minute, as an operator knows them. Otherwise as short as they can be.
LONG = os.environ.get("HAIDANG_TEST_LONG") == "1"
MANY = 2_000


@pytest.fixture
def gateway() -> str:
    return f"gw-{uuid4().hex[:8]}"


@pytest.fixture(scope="module")
def own_server(debian_root: DebianRoot, root_folder: Path) -> Iterator[Postgres]:
    """A server that has few connections, and that a test may make read-only as a whole."""
    with Postgres(debian_root, root_folder / "own", settings={**THROWAWAY, "max_connections": "20"}) as server:
        yield server


@pytest.fixture
def own_migrated(own_server: Postgres) -> Iterator[str]:
    from storage.migrate import upgrade

    name = f"own_{uuid4().hex[:8]}"
    dsn = own_server.create_database(name)
    upgrade(dsn)
    yield dsn
    own_server.drop_database(name)


@contextlib.asynccontextmanager
async def loaded(config: Settings, broker: Mosquitto, gateway: str, total: int = MANY) -> AsyncIterator[Service]:
    """A service under load: what the body does to its database must not show in the end."""
    async with serving(config) as service:
        account = service.telemetry.ledger.account("gateways")
        publishing = asyncio.create_task(publish(broker, gateway, "a", map(reading, range(total)), at_once=20))
        try:
            await until(lambda: account.stored > total // 20)
            yield service
            await publishing
        finally:
            publishing.cancel()
        await until(lambda: account.received >= total and account.in_flight == 0, 60)
        assert account.stored + account.duplicate == account.received
        assert balanced(service)
        assert service.readiness()["ready"]


def intact(dsn: str, total: int = MANY) -> bool:
    """Every reading is there once, and nothing was laid at a message's door that it had no part in."""
    return times(dsn, "a") == list(range(total)) and count(dsn, "SELECT count(*) FROM quarantine") == 0


def flood_rules() -> RuleBook:
    """The alarm levels of Kim Long, of which 9.9 m are three at once."""
    book = pack.load(["pack:hue"])
    return RuleBook(tuple(rule for rule in book.rules if rule.id.startswith("flood-kim-long")), ())


def edges(log: Log) -> list[str]:
    return [entry["event"] for entry in log if entry["event"] in {"database_away", "database_back"}]


def reasons(log: Log) -> str:
    return " | ".join(entry["reason"] for entry in log if entry["event"] == "database_away")


def run(dsn: str, *statements: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def backends(dsn: str) -> str:
    """SQL that ends every other connection to this database."""
    return (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name LIKE 'haidang%'"
    )


def name_of(dsn: str) -> str:
    return dsn.rpartition("/")[2]


# --- away


async def test_down_under_load_it_holds_what_receive_maximum_allows_and_acks_nothing(
    migrated: str, timescale: Postgres, broker: Mosquitto, gateway: str, tcp_proxy: Callable[[int], TcpProxy]
) -> None:
    proxy = tcp_proxy(timescale.port)
    config = settings(make_conninfo(migrated, port=proxy.port), broker, gateway, receive_maximum=200)
    with capture_logs() as log:
        async with serving(config) as service:
            account = service.telemetry.ledger.account("gateways")
            proxy.cut()
            down = time.monotonic()
            before = proxy.accepted
            await publish(broker, gateway, "a", map(reading, range(MANY)))
            await until(lambda: account.received == 200 and proxy.accepted > before + 3)
            await until(lambda: not LONG or time.monotonic() - down > 60, 90)
            # The broker keeps the rest: this process holds what it was given, and asks for no more.
            assert account.as_dict() == dict.fromkeys(account.as_dict(), 0) | {"received": 200, "in_flight": 200}
            assert balanced(service) or service.inbox.messages < 200
            assert not service.readiness()["ready"]
            proxy.resume()
            await until(lambda: account.stored == MANY, 60)
            assert balanced(service)
    assert intact(migrated)
    assert edges(log) == ["database_away", "database_back"]


async def test_crashed_and_restarted_under_load(
    postgres_factory: Make[Postgres], broker: Mosquitto, gateway: str
) -> None:
    from storage.migrate import upgrade

    server = postgres_factory()
    upgrade(server.dsn)
    async with loaded(settings(server.dsn, broker, gateway), broker, gateway) as service:
        await asyncio.to_thread(server.kill)
        await until(lambda: not service.telemetry.database_up)
        await asyncio.to_thread(server.start)
    assert intact(server.dsn)


async def test_its_connections_ended_by_the_server_again_and_again(
    migrated: str, broker: Mosquitto, gateway: str
) -> None:
    seed = draw_seed()
    rng = random.Random(seed)
    async with loaded(settings(migrated, broker, gateway), broker, gateway, 2 * MANY) as service:
        account = service.telemetry.ledger.account("gateways")
        for _ in range(10):
            goal = account.stored + rng.randrange(1, MANY // 10)
            await until(lambda goal=goal: account.stored >= min(goal, 2 * MANY))  # type: ignore[misc]
            run(migrated, backends(migrated))
    assert intact(migrated, 2 * MANY), f"HAIDANG_TEST_SEED={seed}"


async def test_a_server_that_says_nothing_for_a_while(
    migrated: str, timescale: Postgres, broker: Mosquitto, gateway: str, tcp_proxy: Callable[[int], TcpProxy]
) -> None:
    proxy = tcp_proxy(timescale.port)
    config = settings(make_conninfo(migrated, port=proxy.port), broker, gateway, receive_maximum=200)
    async with loaded(config, broker, gateway) as service:
        account = service.telemetry.ledger.account("gateways")
        proxy.stall()
        await until(lambda: account.in_flight == 200)
        proxy.resume()
    assert intact(migrated)


async def test_a_long_thin_line_to_it(
    migrated: str, timescale: Postgres, broker: Mosquitto, gateway: str, tcp_proxy: Callable[[int], TcpProxy]
) -> None:
    proxy = tcp_proxy(timescale.port)
    async with loaded(settings(make_conninfo(migrated, port=proxy.port), broker, gateway), broker, gateway):
        proxy.slow(0.05, 200_000)
    assert intact(migrated)


@pytest.mark.parametrize("when", ["before", "after"])
async def test_the_answer_to_a_commit_lost_on_the_wire_again_and_again(
    migrated: str, broker: Mosquitto, gateway: str, when: str
) -> None:
    """``before``: the COMMIT did not arrive; ``after``: it did, and only its answer is lost. Either way: once."""
    async with Cutter(migrated) as cutter, serving(settings(cutter.dsn, broker, gateway)) as service:
        account = service.telemetry.ledger.account("gateways")
        for cuts in range(1, 7):
            cutter.when = when  # type: ignore[assignment]  # one of the literals
            await publish(broker, gateway, "a", map(reading, range(50 * (cuts - 1), 50 * cuts)))
            await until(lambda cuts=cuts: account.received == 50 * cuts and account.in_flight == 0)  # type: ignore[misc]
            assert cutter.cuts == cuts
        # What was committed and not answered counts as stored, once.
        assert (account.stored, account.duplicate) == (300, 0)
        assert balanced(service)
    assert intact(migrated, 300)


# --- there, and unwilling


async def test_read_only_as_a_whole_is_waited_out(own_migrated: str, broker: Mosquitto, gateway: str) -> None:
    with capture_logs() as log:
        async with loaded(settings(own_migrated, broker, gateway), broker, gateway) as service:
            run(own_migrated, "ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()")
            await until(lambda: not service.telemetry.database_up)
            run(
                own_migrated,
                "SET default_transaction_read_only = off",
                "ALTER SYSTEM RESET default_transaction_read_only",
                "SELECT pg_reload_conf()",
            )
    assert intact(own_migrated)
    assert "read-only transaction" in reasons(log)


async def test_a_fail_over_behind_one_address(
    migrated: str,
    timescale: Postgres,
    own_server: Postgres,
    broker: Mosquitto,
    gateway: str,
    tcp_proxy: Callable[[int], TcpProxy],
) -> None:
    """The old server goes on answering, read-only: its connections must not be clung to."""
    from storage.migrate import upgrade

    old = own_server.create_database(name_of(migrated))
    upgrade(old)
    proxy = tcp_proxy(own_server.port)
    with own_role(migrated) as (role, dsn), own_role(old, role):
        async with serving(settings(make_conninfo(dsn, port=proxy.port), broker, gateway)) as service:
            account = service.telemetry.ledger.account("gateways")
            await publish(broker, gateway, "before", [reading(0)])
            await until(lambda: account.stored == 1)
            run(own_server.dsn, "ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()")
            try:
                await publish(broker, gateway, "a", map(reading, range(100)))
                await until(lambda: not service.telemetry.database_up)
                proxy.target_port = timescale.port
                await until(lambda: account.stored == 101)
            finally:
                run(
                    own_server.dsn,
                    "SET default_transaction_read_only = off",
                    "ALTER SYSTEM RESET default_transaction_read_only",
                    "SELECT pg_reload_conf()",
                )
            assert balanced(service)
    assert times(old, "before") == [0]
    assert intact(migrated, 100)
    own_server.drop_database(name_of(migrated))


async def test_connections_that_are_read_only_for_good_are_given_up_for_others(
    migrated: str, broker: Mosquitto, gateway: str, http_target: HttpTarget
) -> None:
    """As after a fail-over: the server they lead to will never take a row again, and another one does."""
    channel = WebhookSettings(name="duty", url=http_target.url, allow_networks=(IPv4Network("127.0.0.0/8"),))
    config = settings(migrated, broker, gateway, channels={"duty": channel.model_dump()})
    async with serving(config, flood_rules()) as service:
        account = service.telemetry.ledger.account("gateways")
        await publish(broker, gateway, "kim-long", [reading(0, 0.1)])
        await until(lambda: account.stored == 1)
        run(migrated, f"ALTER DATABASE {name_of(migrated)} SET default_transaction_read_only = on", backends(migrated))
        await publish(broker, gateway, "kim-long", [reading(1, 9.9)])
        await until(lambda: not service.telemetry.database_up)
        # The outbox looks every second: it has a connection again, to no avail.
        dispatch = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'haidang outbox' AND datname = "
        await until(lambda: count(migrated, f"{dispatch} current_database()") > 0)
        run(
            migrated,
            "SET default_transaction_read_only = off",
            f"ALTER DATABASE {name_of(migrated)} RESET default_transaction_read_only",
        )
        await until(lambda: account.stored == 2)
        await until(lambda: count(migrated, "SELECT count(*) FROM notifications WHERE state = 'sent'") == 1)
        assert balanced(service)
    assert times(migrated, "kim-long") == [0, 1]
    assert len(http_target.requests) == 1


async def test_no_connection_left_for_it(migrated: str, broker: Mosquitto, gateway: str) -> None:
    with own_role(migrated) as (role, dsn):
        async with loaded(settings(dsn, broker, gateway), broker, gateway) as service:
            run(migrated, f"ALTER ROLE {role} CONNECTION LIMIT 0", backends(migrated))
            await until(lambda: not service.telemetry.database_up)
            with pytest.raises(psycopg.OperationalError, match="too many connections"):
                await psycopg.AsyncConnection.connect(dsn)
            await publish(broker, gateway, "b", [reading(0)])
            assert not service.readiness()["ready"]
            run(migrated, f"ALTER ROLE {role} CONNECTION LIMIT -1")
            await until(lambda: times(migrated, "b") == [0])
        assert intact(migrated)


@contextlib.contextmanager
def own_role(dsn: str, role: str | None = None) -> Iterator[tuple[str, str]]:
    """A login of the test's own that may do what the service needs: its name, and the DSN with it."""
    role = role or f"ingest_{uuid4().hex[:8]}"
    run(dsn, f"CREATE ROLE {role} LOGIN PASSWORD 'first' IN ROLE haidang_writer")
    try:
        yield role, make_conninfo(dsn, user=role, password="first")
    finally:
        run(dsn, backends(dsn), f"DROP ROLE IF EXISTS {role}")


# --- locks


@contextlib.contextmanager
def holding(dsn: str, statement: str) -> Iterator[psycopg.Connection]:
    """Somebody else's transaction, which has done something and does not end."""
    with psycopg.connect(dsn, application_name="somebody else") as other:
        other.execute("SET deadlock_timeout = '1h'")  # the other one is to find it
        other.execute(statement.encode())
        yield other
        other.rollback()


_LATEST = "UPDATE latest_readings SET value = value"


def waits(dsn: str) -> bool:
    query = (
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'haidang writer' AND wait_event_type = 'Lock'"
    )
    return count(dsn, f"{query} AND datname = current_database()") == 1


async def test_a_deadlock_of_which_it_is_the_victim(migrated: str, broker: Mosquitto, gateway: str) -> None:
    run(migrated, f"ALTER DATABASE {name_of(migrated)} SET deadlock_timeout = '2s'")
    with capture_logs() as log:
        async with serving(settings(migrated, broker, gateway)) as service:
            account = service.telemetry.ledger.account("gateways")
            await publish(broker, gateway, "a", [reading(0)])
            await until(lambda: account.stored == 1)
            with holding(migrated, _LATEST) as other:
                await publish(broker, gateway, "a", [reading(1)])
                await until(lambda: waits(migrated))
                # It has inserted this reading and waits for us; now we wait for it.
                await asyncio.to_thread(
                    other.execute,
                    "INSERT INTO readings SELECT time + interval '1 s', received_at, device_id, metric_id, source_id,"
                    " value FROM readings",
                )
                await until(lambda: "deadlock" in reasons(log))
            await until(lambda: account.stored == 2)
            assert balanced(service)
    assert intact(migrated, 2)
    assert edges(log) == ["database_away", "database_back"]


async def test_a_serialization_failure(migrated: str, broker: Mosquitto, gateway: str) -> None:
    run(migrated, f"ALTER DATABASE {name_of(migrated)} SET default_transaction_isolation = 'repeatable read'")
    with capture_logs() as log:
        async with serving(settings(migrated, broker, gateway)) as service:
            account = service.telemetry.ledger.account("gateways")
            for n in range(4):
                await publish(broker, gateway, "a", [reading(2 * n)])
                await until(lambda n=n: account.stored == 2 * n + 1)  # type: ignore[misc]
                with holding(migrated, _LATEST) as other:
                    await publish(broker, gateway, "a", [reading(2 * n + 1)])
                    await until(lambda: waits(migrated))
                    other.commit()
                await until(lambda n=n: account.stored == 2 * n + 2)  # type: ignore[misc]
            assert balanced(service)
    assert intact(migrated, 8)
    assert "could not serialize" in reasons(log)


@pytest.mark.parametrize("limit", ["statement_timeout", "lock_timeout"])
@pytest.mark.parametrize(
    "statement", [_LATEST, "LOCK TABLE readings IN ACCESS EXCLUSIVE MODE", "LOCK TABLE progress IN EXCLUSIVE MODE"]
)
async def test_a_lock_held_for_longer_than_a_statement_may_take_is_waited_out(
    migrated: str, broker: Mosquitto, gateway: str, limit: str, statement: str
) -> None:
    config = settings(migrated, broker, gateway)
    if limit == "lock_timeout":
        run(migrated, f"ALTER DATABASE {name_of(migrated)} SET lock_timeout = '100ms'")
    else:
        database = Database(dsn=config.database.dsn, statement_timeout=0.1)
        config = config.model_copy(update={"database": database})
    with capture_logs() as log:
        async with serving(config) as service:
            account = service.telemetry.ledger.account("gateways")
            await publish(broker, gateway, "a", [reading(0)])
            await until(lambda: account.stored == 1)
            with holding(migrated, statement):
                await publish(broker, gateway, "a", map(reading, range(1, 50)))
                await until(lambda: not service.telemetry.database_up)
                assert account.stored == 1
            await until(lambda: account.stored == 50)
            assert balanced(service)
    assert intact(migrated, 50)
    assert "timeout" in reasons(log)
    assert edges(log) == ["database_away", "database_back"]


# --- full


async def test_a_full_disk_is_waited_out_and_nobody_is_quarantined_for_it(
    timescale: Postgres, timescale_template: str, broker: Mosquitto, gateway: str
) -> None:
    name = f"small_{uuid4().hex[:8]}"
    folder = timescale.folder / name
    with SmallDisk(folder, 100, *timescale._owner) as disk:
        admin = timescale.dsn_of("postgres")
        run(admin, f"CREATE TABLESPACE {name} LOCATION '{timescale._as_seen(folder)}'")
        run(admin, f"CREATE DATABASE {name} TEMPLATE {timescale_template} TABLESPACE {name} STRATEGY FILE_COPY")
        try:
            dsn = timescale.dsn_of(name)
            with capture_logs() as log:
                async with loaded(settings(dsn, broker, gateway), broker, gateway, 2 * MANY) as service:
                    disk.fill()
                    await until(lambda: not service.telemetry.database_up)
                    assert "No space left" in reasons(log)
                    disk.free()
            assert intact(dsn, 2 * MANY)
        finally:
            timescale.drop_database(name)
            with psycopg.connect(admin, autocommit=True) as connection:
                connection.execute(sql.SQL("DROP TABLESPACE {}").format(sql.Identifier(name)))
