"""With a spool, an outage longer than the broker's queue loses nothing: acked once on disk, stored once."""

from __future__ import annotations

import asyncio
import os
import random
from typing import TYPE_CHECKING, Any, Final

import httpx
import psycopg
import pytest
from structlog.testing import capture_logs

from alerting import pack
from alerting.pack import RuleBook
from ingest.settings import Spool as SpoolSettings
from ingest.watch import install
from services.ports import find_free
from storage.migrate import upgrade
from tests.ingest.running import (
    Process,
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
from tests.ingest.test_delivery import COMPARED, flood, proxied
from tests.servers.small_disk import SmallDisk
from tests.storage.cutter import Cutter

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ingest.settings import Settings
    from services.mosquitto import Mosquitto
    from services.postgres import Postgres
    from tests.servers.tcp_proxy import TcpProxy

MANY = 3_000


def spooling(config: Settings, path: Path, max_bytes: int = 2**30) -> Settings:
    """The same settings with a spool that is used almost at once."""
    return config.model_copy(update={"spool": SpoolSettings(path=path, after_seconds=0.05, max_bytes=max_bytes)})


async def test_an_outage_goes_to_the_spool_is_acked_and_stored_in_order_when_it_is_over(
    migrated: str,
    plain_migrated: str,
    timescale: Postgres,
    broker: Mosquitto,
    gateway: str,
    tcp_proxy: Callable[[int], TcpProxy],
    tmp_path: Path,
) -> None:
    book = pack.load(["pack:hue"])
    rules = RuleBook(tuple(rule for rule in book.rules if rule.id.startswith("flood-kim-long")), ())
    messages = flood(0, MANY)
    calm = f"{gateway}-calm"
    async with serving(settings(plain_migrated, broker, calm), rules) as service:
        await publish(broker, calm, "kim-long", messages)
        await until(lambda: service.telemetry.ledger.account("gateways").stored == MANY)

    proxy = tcp_proxy(timescale.port)
    config = spooling(settings(proxied(migrated, proxy.port), broker, gateway), tmp_path / "spool")
    async with serving(config, rules) as service:
        account, spool = service.telemetry.ledger.account("gateways"), service.spool
        assert spool is not None
        await publish(broker, gateway, "kim-long", messages[:500])
        await until(lambda: account.stored == 500)
        proxy.cut()
        await publish(broker, gateway, "kim-long", messages[500:2_500])
        await until(lambda: spool.messages == 2_000)
        assert service.readiness()["ready"] is False
        assert service.readiness()["spool"]["messages"] == 2_000
        # All of it is acked: nothing received waits for its ack.
        assert service.pipeline.oldest() is None
        assert account.in_flight == 2_000
        assert balanced(service)
        proxy.resume()
        await publish(broker, gateway, "kim-long", messages[2_500:])
        await until(lambda: account.stored == MANY)
        await until(lambda: not spool.entries)
        assert account.in_flight == 0
        assert account.duplicate == 0
    assert times(migrated, "kim-long") == list(range(MANY))
    assert dump(migrated, *COMPARED) == dump(plain_migrated, *COMPARED)


@pytest.mark.parametrize("seed", [1, 2])
async def test_outages_at_any_moment_neither_lose_nor_double(
    migrated: str,
    timescale: Postgres,
    broker: Mosquitto,
    gateway: str,
    tcp_proxy: Callable[[int], TcpProxy],
    tmp_path: Path,
    seed: int,
) -> None:
    rng = random.Random(seed)
    proxy = tcp_proxy(timescale.port)
    config = spooling(settings(proxied(migrated, proxy.port), broker, gateway), tmp_path / "spool")
    async with serving(config) as service:
        account, spool = service.telemetry.ledger.account("gateways"), service.spool
        assert spool is not None
        publishing = asyncio.create_task(publish(broker, gateway, "a", map(reading, range(2 * MANY)), at_once=20))
        outages = 0
        while not publishing.done():
            goal = account.received + rng.randrange(1, 400)
            await until(lambda goal=goal: account.received >= goal or publishing.done())  # type: ignore[misc]
            proxy.cut()
            size = spool.entries + rng.randrange(1, 200)
            await until(lambda size=size: spool.entries >= size or publishing.done())  # type: ignore[misc]
            proxy.resume()
            outages += 1
        await publishing
        await until(lambda: account.received >= 2 * MANY and account.in_flight == 0 and not spool.entries)
        assert account.stored + account.duplicate == account.received
        assert outages > 2
        assert balanced(service)
    assert times(migrated, "a") == list(range(2 * MANY)), f"seed {seed}"


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_commit_whose_answer_is_lost_as_the_outage_begins_is_asked_about_afterwards(
    migrated: str, broker: Mosquitto, gateway: str, tmp_path: Path, when: Any
) -> None:
    async with Cutter(migrated, "haidang writer") as cutter:
        config = spooling(settings(cutter.dsn, broker, gateway), tmp_path / "spool")
        async with serving(config) as service:
            account, spool = service.telemetry.ledger.account("gateways"), service.spool
            assert spool is not None
            cutter.when = when
            cutter.refusing = True
            await publish(broker, gateway, "a", map(reading, range(300)))
            await until(lambda: spool.messages == 300)
            assert cutter.cuts == 1
            cutter.refusing = False
            await until(lambda: account.in_flight == 0)
            assert (account.stored, account.duplicate) == (300, 0)
            await until(lambda: not spool.entries)
    assert times(migrated, "a") == list(range(300))


async def test_a_refused_row_of_the_spool_is_quarantined_alone(
    migrated: str,
    timescale: Postgres,
    broker: Mosquitto,
    gateway: str,
    tcp_proxy: Callable[[int], TcpProxy],
    tmp_path: Path,
) -> None:
    with psycopg.connect(migrated) as connection:
        connection.execute("ALTER TABLE readings ADD CONSTRAINT poison CHECK (value <> 6.66)")
    proxy = tcp_proxy(timescale.port)
    config = spooling(settings(proxied(migrated, proxy.port), broker, gateway), tmp_path / "spool")
    async with serving(config) as service:
        account, spool = service.telemetry.ledger.account("gateways"), service.spool
        assert spool is not None
        proxy.cut()
        await publish(broker, gateway, "a", [reading(n, 6.66 if n in {17, 250} else None) for n in range(400)])
        await until(lambda: spool.messages == 400)
        proxy.resume()
        await until(lambda: account.in_flight == 0 and not spool.entries)
        assert (account.stored, account.quarantined, account.duplicate) == (398, 2, 0)
    assert count(migrated, "SELECT count(*) FROM quarantine WHERE reason = 'database_refused'") == 2


async def test_a_full_spool_holds_the_broker_back_and_loses_nothing(
    migrated: str,
    timescale: Postgres,
    broker: Mosquitto,
    gateway: str,
    tcp_proxy: Callable[[int], TcpProxy],
    tmp_path: Path,
) -> None:
    proxy = tcp_proxy(timescale.port)
    bound = 2**20
    config = spooling(settings(proxied(migrated, proxy.port), broker, gateway), tmp_path / "spool", bound)
    small = {"limits": config.limits.model_copy(update={"batch_messages": 500})}
    async with serving(config.model_copy(update=small)) as service:
        account, spool = service.telemetry.ledger.account("gateways"), service.spool
        assert spool is not None
        proxy.cut()
        total = 9_000  # of about 190 bytes each in the spool
        await publish(broker, gateway, "a", map(reading, range(total)))
        await until(lambda: account.received == total and spool.bytes > bound * 0.85)
        assert spool.bytes <= bound
        assert service.inbox.messages > 0
        assert balanced(service)
        proxy.resume()
        await until(lambda: account.stored == total)
        assert account.in_flight == 0
    assert times(migrated, "a") == list(range(total))


async def test_a_disk_filled_by_others_is_waited_out_while_spooling_and_drained_while_it_is_full(
    migrated: str,
    timescale: Postgres,
    broker: Mosquitto,
    gateway: str,
    tcp_proxy: Callable[[int], TcpProxy],
    tmp_path: Path,
) -> None:
    proxy = tcp_proxy(timescale.port)
    folder = tmp_path / "disk"
    folder.mkdir()
    with SmallDisk(folder, 16, os.getuid(), os.getgid()) as disk, capture_logs() as log:
        config = spooling(settings(proxied(migrated, proxy.port), broker, gateway), folder / "spool")
        small = {"limits": config.limits.model_copy(update={"batch_messages": 500})}
        async with serving(config.model_copy(update=small)) as service:
            account, spool = service.telemetry.ledger.account("gateways"), service.spool
            assert spool is not None
            proxy.cut()
            await publish(broker, gateway, "a", map(reading, range(MANY)))
            await until(lambda: spool.messages == MANY)
            spool._file.database.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # else its log may have room for what comes
            disk.fill()
            await publish(broker, gateway, "a", map(reading, range(MANY, 2 * MANY)))
            await until(lambda: any(line["event"] == "spool_full" for line in log))
            await until(lambda: account.received == 2 * MANY)
            assert spool.messages < 2 * MANY
            assert balanced(service)
            disk.free()
            await until(lambda: spool.messages == 2 * MANY)
            disk.fill()
            proxy.resume()
            await until(lambda: account.stored == 2 * MANY and not spool.entries)
            assert (account.in_flight, account.duplicate) == (0, 0)
    assert times(migrated, "a") == list(range(2 * MANY))


class Killable:
    """``haidang run`` with a spool behind a proxy, to be killed and asked about its spool."""

    def __init__(self, dsn: str, broker: Mosquitto, gateway: str, folder: Path) -> None:
        self.port = find_free()
        config = folder / "haidang.toml"
        config.write_text(
            f"""
            [database]
            dsn = "{dsn}"
            connect_timeout = 2
            [sources.gateways]
            type = "mqtt"
            host = "127.0.0.1"
            port = {broker.port}
            client_id = "haidang-{gateway}"
            topics = ["haidang/v1/{gateway}/+/readings"]
            [rules]
            packs = ["hue"]
            [http]
            port = {self.port}
            [spool]
            path = "{folder / "spool"}"
            after_seconds = 0.05
            [limits]
            batch_messages = 200
            """
        )
        self._config, self._log = config, folder / "log"
        self.process = Process(config)

    async def dies(self, boundary: str, times: int) -> None:
        """Have a life that ends itself when it has come to a boundary of ``tests.ingest.killed`` so often."""
        self.process = Process(self._config, killed=(boundary, times), log=self._log)
        await self.process.start()
        assert await self.process.ended(60) == -9, self.process.errors
        self.process = Process(self._config, log=self._log)

    async def spooled(self) -> int:
        """Messages in its spool; -1 while it does not answer."""
        async with httpx.AsyncClient(timeout=5) as client:
            try:
                answer = await client.get(f"http://127.0.0.1:{self.port}/readyz")
            except httpx.TransportError:
                return -1
        return int(answer.json()["spool"]["messages"])

    async def until_spooled(self, low: int, high: int = 2**31) -> int:
        async with asyncio.timeout(60):
            while not low <= (now := await self.spooled()) <= high:  # noqa: ASYNC110  # over HTTP
                await asyncio.sleep(0.005)
        return now


#: Boundaries within the spool, to how often one is come to at most: while it is filled, and while it is emptied.
WHILE_SPOOLING: Final = {"in_spool": (12, 6), "after_spool": (12, 6)}


@pytest.mark.timeout(180)
async def test_kill_9_while_spooling_and_while_draining_ends_with_the_tables_of_a_run_never_killed(
    timescale: Postgres,
    migrated: str,
    plain_migrated: str,
    broker: Mosquitto,
    gateway: str,
    tcp_proxy: Callable[[int], TcpProxy],
    tmp_path: Path,
) -> None:
    seed = draw_seed()
    rng = random.Random(seed)
    messages = flood(0, 2 * MANY)
    calm = f"{gateway}-calm"
    book = pack.load(["pack:hue"])
    async with serving(settings(plain_migrated, broker, calm), book) as service:
        await publish(broker, calm, "kim-long", messages)
        await until(lambda: service.telemetry.ledger.account("gateways").stored == len(messages))

    await install(["pack:hue"], migrated)
    proxy = tcp_proxy(timescale.port)
    run = Killable(proxied(migrated, proxy.port), broker, gateway, tmp_path)
    async with serving(settings(migrated, broker, gateway)):
        pass  # the session must exist before anything is published, for the broker to keep what comes meanwhile
    proxy.cut()
    publishing = asyncio.create_task(publish(broker, gateway, "kim-long", messages, at_once=20))
    # It starts without a database, and takes in.
    for boundary, (most, _) in WHILE_SPOOLING.items():
        await run.dies(boundary, rng.randint(1, most))
    await run.process.start()
    await publishing
    await run.until_spooled(len(messages))
    await run.process.kill()
    proxy.resume()
    for boundary, (_, most) in WHILE_SPOOLING.items():
        await run.dies(boundary, rng.randint(1, most))
    await run.process.start()
    await until(lambda: len(times(migrated, "kim-long")) == len(messages), 60)
    await run.until_spooled(0, 0)
    assert await run.process.stop() == 0
    assert times(migrated, "kim-long") == list(range(len(messages))), f"seed {seed}"
    assert dump(migrated, *COMPARED) == dump(plain_migrated, *COMPARED), f"seed {seed}"
    assert count(migrated, "SELECT count(*) FROM alerts") > 3


async def test_started_without_a_database_it_takes_in_and_stores_when_there_is_one(
    postgres_factory: Callable[[], Postgres], broker: Mosquitto, gateway: str, tmp_path: Path
) -> None:
    server = postgres_factory()
    dsn = server.create_database("late")
    upgrade(dsn)
    server.stop()
    config = spooling(settings(dsn, broker, gateway), tmp_path / "spool")
    async with serving(config) as service:
        await publish(broker, gateway, "a", map(reading, range(100)))
        account, spool = service.telemetry.ledger.account("gateways"), service.spool
        assert spool is not None
        await until(lambda: spool.messages == 100)
        server.start()
        await until(lambda: account.stored == 100)
    assert times(dsn, "a") == list(range(100))
