"""The process from its start to its end: stopped under load, stopped without a database, refused by the database."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING
from uuid import uuid4

import httpx
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from ingest.settings import load
from tests.ingest.running import Process, balanced, count, publish, reading, serving, times, until, write_config
from tests.servers.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from services.mosquitto import Mosquitto
    from services.postgres import Postgres
    from tests.conftest import Make
    from tests.servers.tcp_proxy import TcpProxy

MANY = 3_000


@pytest.fixture
def gateway() -> str:
    return f"gw-{uuid4().hex[:8]}"


@contextlib.asynccontextmanager
async def running(process: Process) -> AsyncIterator[Process]:
    await process.start()
    try:
        await process.started()
        yield process
    finally:
        await process.end()


def run(dsn: str, *statements: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


async def continues(config: Path, dsn: str, total: int = MANY) -> bool:
    """Started again, it has everything, once."""
    async with serving(load(config)) as service:
        await until(lambda: len(times(dsn, "a")) == total, 60)
        account = service.telemetry.ledger.account("gateways")
        await until(lambda: account.in_flight == 0)
        assert account.received == account.stored + account.duplicate
        assert balanced(service)
    return times(dsn, "a") == list(range(total)) and count(dsn, "SELECT count(*) FROM quarantine") == 0


# --- stops


@pytest.mark.parametrize(
    "signals", [(signal.SIGTERM,), (signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGTERM, signal.SIGINT)]
)
async def test_a_stop_under_load_ends_well_and_the_next_start_goes_on(
    migrated: str, broker: Mosquitto, gateway: str, tmp_path: Path, signals: tuple[signal.Signals, ...]
) -> None:
    config = write_config(tmp_path / "haidang.toml", migrated, broker, gateway)
    async with running(Process(config, log=tmp_path / "log")) as process:
        publishing = asyncio.create_task(publish(broker, gateway, "a", map(reading, range(MANY)), at_once=20))
        await until(lambda: len(times(migrated, "a")) > MANY // 20)
        for number in signals:
            process.signal(number)
        assert await process.ended() == 0, process.errors
        assert process.told("stopped")
        assert "Traceback" not in process.errors
        acked = len(times(migrated, "a"))
    await publishing
    # What came after the stop waits at the broker; what was stored before it is not sent again.
    async with serving(load(config)) as service:
        await until(lambda: len(times(migrated, "a")) == MANY, 60)
        account = service.telemetry.ledger.account("gateways")
        await until(lambda: account.in_flight == 0)
        assert account.stored == MANY - acked
        assert balanced(service)
    assert times(migrated, "a") == list(range(MANY))


@pytest.mark.parametrize("how", ["cut", "stall"])
async def test_a_stop_while_the_database_is_away_ends_within_the_grace_and_leaves_the_rest_to_the_broker(
    migrated: str,
    timescale: Postgres,
    broker: Mosquitto,
    gateway: str,
    tcp_proxy: Callable[[int], TcpProxy],
    tmp_path: Path,
    how: str,
) -> None:
    proxy = tcp_proxy(timescale.port)
    dsn = make_conninfo(migrated, port=proxy.port)
    config = write_config(tmp_path / "haidang.toml", dsn, broker, gateway, "grace_seconds = 1")
    async with running(Process(config, log=tmp_path / "log")) as process:
        url = process.told("started")[0]["http"]
        getattr(proxy, how)()
        await publish(broker, gateway, "a", map(reading, range(MANY)))
        async with httpx.AsyncClient() as client:
            received = 0
            async with asyncio.timeout(20):
                while received < 500:
                    ready = (await client.get(f"{url}/readyz")).json()
                    received = ready["ledger"].get("gateways", {"received": 0})["received"]
        assert ready["ledger"]["gateways"]["stored"] == 0
        process.signal(signal.SIGTERM)
        assert await process.ended(25) == 0, process.errors
        assert process.told("grace_over")
        assert "Traceback" not in process.errors
    proxy.resume()
    assert await continues(config, migrated)


async def test_a_stop_while_the_database_stands_still_ends_soon_after_the_grace_and_leaves_the_rest_to_the_broker(
    postgres_factory: Make[Postgres], broker: Mosquitto, gateway: str, tmp_path: Path
) -> None:
    from storage.migrate import upgrade

    server = postgres_factory(settings={"fsync": "off"})
    upgrade(server.dsn)
    more = 'grace_seconds = 1\n[channels.desk]\ntype = "log"'
    config = write_config(tmp_path / "haidang.toml", server.dsn, broker, gateway, more)
    async with running(Process(config, log=tmp_path / "log")) as process:
        await publish(broker, gateway, "a", map(reading, range(100)))
        await until(lambda: len(times(server.dsn, "a")) == 100)
        with frozen(server):
            await publish(broker, gateway, "a", map(reading, range(100, MANY)))
            process.signal(signal.SIGTERM)
            assert await process.ended(40) == 0, process.errors
        assert process.told("grace_over")
        assert "Traceback" not in process.errors
    assert await continues(config, server.dsn)


async def test_a_stop_ends_it_although_retention_waits_for_a_lock(
    migrated: str, broker: Mosquitto, gateway: str, tmp_path: Path
) -> None:
    config = write_config(tmp_path / "haidang.toml", migrated, broker, gateway)
    with psycopg.connect(migrated) as other:
        other.execute("LOCK TABLE quarantine IN ACCESS EXCLUSIVE MODE")
        async with running(Process(config, log=tmp_path / "log")) as process:
            waits = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'haidang retention'"
            # The eviction of quarantine waits beside it, under the same name.
            await until(lambda: count(migrated, f"{waits} AND wait_event_type = 'Lock'") >= 1)
            assert await process.stop() == 0, process.errors
            assert process.told("stopped")


# --- what waiting does not heal


@contextlib.contextmanager
def own_role(dsn: str) -> Iterator[tuple[str, str]]:
    role = f"ingest_{uuid4().hex[:8]}"
    run(dsn, f"CREATE ROLE {role} LOGIN PASSWORD 'first' IN ROLE haidang_writer")
    try:
        yield role, make_conninfo(dsn, user=role, password="first")
    finally:
        run(dsn, f"DROP ROLE IF EXISTS {role}")


async def test_a_password_changed_under_it_ends_it_with_one_line_and_loses_nothing(
    migrated: str, broker: Mosquitto, gateway: str, tmp_path: Path
) -> None:
    with own_role(migrated) as (role, dsn):
        config = write_config(tmp_path / "haidang.toml", dsn, broker, gateway)
        async with running(Process(config, log=tmp_path / "log")) as process:
            await publish(broker, gateway, "a", map(reading, range(100)))
            await until(lambda: len(times(migrated, "a")) == 100)
            run(migrated, f"ALTER ROLE {role} PASSWORD 'second'", _ENDED)
            await publish(broker, gateway, "a", map(reading, range(100, 200)))
            await refused(process, "password authentication failed")
        write_config(config, make_conninfo(dsn, password="second"), broker, gateway)
        assert await continues(config, migrated, 200)


_ENDED = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND application_name LIKE 'haidang%'"
)


async def test_a_table_gone_under_it_ends_it_with_one_line_and_loses_nothing(
    migrated: str, broker: Mosquitto, gateway: str, tmp_path: Path
) -> None:
    """Whoever renames a table must hear of it: waiting for it to come back by itself would be silence."""
    config = write_config(tmp_path / "haidang.toml", migrated, broker, gateway)
    async with running(Process(config, log=tmp_path / "log")) as process:
        await publish(broker, gateway, "a", map(reading, range(100)))
        await until(lambda: len(times(migrated, "a")) == 100)
        run(migrated, "ALTER TABLE latest_readings RENAME TO gone")
        await publish(broker, gateway, "a", map(reading, range(100, 200)))
        await refused(process, 'relation "latest_readings" does not exist: run `haidang db upgrade`')
    run(migrated, "ALTER TABLE gone RENAME TO latest_readings")
    assert await continues(config, migrated, 200)


async def test_rights_taken_from_it_end_it_with_one_line_and_lose_nothing(
    migrated: str, broker: Mosquitto, gateway: str, tmp_path: Path
) -> None:
    with own_role(migrated) as (role, dsn):
        config = write_config(tmp_path / "haidang.toml", dsn, broker, gateway)
        async with running(Process(config, log=tmp_path / "log")) as process:
            await publish(broker, gateway, "a", map(reading, range(100)))
            await until(lambda: len(times(migrated, "a")) == 100)
            run(migrated, f"REVOKE haidang_writer FROM {role}")
            await publish(broker, gateway, "a", map(reading, range(100, 200)))
            await refused(process, "permission denied for table")
        run(migrated, f"GRANT haidang_writer TO {role}")
        assert await continues(config, migrated, 200)


async def refused(process: Process, why: str) -> None:
    """It ends by itself, exit code 2, and the last line it writes says why."""
    assert await process.ended() == 2, process.errors
    *_, last = process.errors.splitlines()
    assert last.startswith("haidang: ")
    assert why in last
    assert "Traceback" not in process.errors


# --- starts


async def test_a_full_server_at_the_start_is_refused_in_one_line_or_waited_for(
    postgres_factory: Make[Postgres], broker: Mosquitto, gateway: str, tmp_path: Path
) -> None:
    from storage.migrate import upgrade

    server = postgres_factory(settings={"fsync": "off", "max_connections": "12"})
    upgrade(server.dsn)
    config = write_config(tmp_path / "haidang.toml", server.dsn, broker, gateway)
    with contextlib.ExitStack() as stack:
        taken = iter(lambda: stack.enter_context(contextlib.closing(psycopg.connect(server.dsn))), None)
        with pytest.raises(psycopg.OperationalError, match="too many clients"):
            list(taken)
        process = Process(config, log=tmp_path / "log")
        await process.start()
        await refused(process, "too many clients")
        waiting = Process(config, log=tmp_path / "waiting", options=["--wait", "60"])
        await waiting.start()
        # It has no log before it has started: that it still runs when the other had long given up is the sign.
        with pytest.raises(TimeoutError):
            await waiting.ended(4)
    try:
        await waiting.started()
        await publish(broker, gateway, "a", map(reading, range(100)))
        await until(lambda: len(times(server.dsn, "a")) == 100)
        assert await waiting.stop() == 0
    finally:
        await waiting.end()
    assert times(server.dsn, "a") == list(range(100))
