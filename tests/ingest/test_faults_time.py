"""Time goes wrong: messages come five times, an hour out of order, and the wall clock is put forward and back."""

from __future__ import annotations

import asyncio
import random
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from alerting import pack
from ingest.clock import Steps
from tests.ingest.command import rows
from tests.ingest.running import (
    balanced,
    count,
    draw_seed,
    publish,
    publish_all,
    reading,
    serving,
    settings,
    times,
    until,
)
from tests.ingest.test_delivery import proxied

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from alerting.pack import RuleBook
    from ingest.delivery import Delivery
    from ingest.pipeline import Pipeline
    from services.mosquitto import Mosquitto
    from services.postgres import Postgres
    from tests.servers.tcp_proxy import TcpProxy

HOUR = 3_600

_SILENT = """
[[rule]]
id = "silent"
kind = "no_data"
title = { en = "Gauge silent", vi = "Trạm mất tín hiệu" }
severity = "major"
metric = "water_level"
devices = ["gauge-*"]
after = "10m"
source = "a test"
"""


@pytest.fixture
def gateway() -> str:
    return f"gw-{uuid4().hex[:8]}"


@pytest.fixture
def silent(tmp_path: Path) -> RuleBook:
    """A gauge that is not heard for ten minutes is worth an alert."""
    file = tmp_path / "rules.toml"
    file.write_text(_SILENT)
    return pack.load([file])


@pytest.fixture
def step(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Puts the wall clock forward by so many seconds, or back."""
    real_ns, real = time.time_ns, time.time
    ahead = 0

    def put(seconds: int) -> None:
        nonlocal ahead
        ahead += seconds

    monkeypatch.setattr(time, "time_ns", lambda: real_ns() + ahead * 1_000_000_000)
    monkeypatch.setattr(time, "time", lambda: real() + ahead)
    return put


async def test_five_times_and_an_hour_out_of_order_is_stored_once_and_judged_once(
    migrated: str, broker: Mosquitto, gateway: str
) -> None:
    seed = draw_seed()
    rng = random.Random(seed)
    each = list(range(HOUR // 4))  # one in four seconds of an hour
    messages = [reading(4 * n, n / 100) for n in each for _ in range(5)]
    rng.shuffle(messages)
    async with serving(settings(migrated, broker, gateway)) as service:
        await publish(broker, gateway, "a", messages)
        account = service.telemetry.ledger.account("gateways")
        await until(lambda: account.received == len(messages) and account.in_flight == 0)
        assert (account.stored, account.duplicate) == (len(each), 4 * len(each)), f"HAIDANG_TEST_SEED={seed}"
        assert balanced(service)
    assert times(migrated, "a") == [4 * n for n in each], f"HAIDANG_TEST_SEED={seed}"
    latest = "SELECT value FROM latest_readings"
    assert rows(migrated, latest) == [(each[-1] / 100,)], f"HAIDANG_TEST_SEED={seed}"
    assert count(migrated, "SELECT count(*) FROM quarantine") == 0


@pytest.mark.parametrize("seconds", [HOUR, -HOUR])
async def test_a_clock_put_forward_or_back_loses_nothing_and_raises_no_alarm(
    migrated: str, broker: Mosquitto, gateway: str, silent: RuleBook, step: Callable[[int], None], seconds: int
) -> None:
    gauges = [f"gauge-{n}" for n in range(5)]

    async def hear(number: int) -> None:
        await publish_all(broker, [(f"haidang/v1/{gateway}/{one}/readings", reading(number)) for one in gauges])
        await until(lambda: account.received == account.stored == 5 * (number + 1))

    with capture_logs() as log:
        async with serving(settings(migrated, broker, gateway), silent) as service:
            account = service.telemetry.ledger.account("gateways")
            ticked = ticks(service.pipeline)
            await hear(0)
            await hear(1)
            step(seconds)
            for number in (2, 3):
                before = ticked()
                await until(lambda before=before: ticked() > before)  # type: ignore[misc]
                await hear(number)
                assert rows(migrated, "SELECT subject_name, started_at, fired_at FROM alerts") == []
                assert service.readiness()["oldest_unacked_seconds"] >= 0
                assert balanced(service)
    for one in gauges:
        assert times(migrated, one) == list(range(4))
    assert [entry["seconds"] for entry in log if entry["event"] == "clock_stepped"] == [seconds]


def ticks(pipeline: Pipeline) -> Callable[[], int]:
    """How often it has looked at the clock since, with nothing to do."""
    process, counted = pipeline._process, 0

    async def counting(deliveries: Sequence[Delivery]) -> None:
        nonlocal counted
        await process(deliveries)
        counted += not deliveries

    pipeline._process = counting  # type: ignore[method-assign]  # to look on
    return lambda: counted


@pytest.fixture
def wait(step: Callable[[int], None], monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Lets so many seconds pass, by the clock on the wall and by the steady one, without waiting for them."""
    passed = 0

    def let_pass(seconds: int) -> None:
        nonlocal passed
        passed += seconds
        step(seconds)

    real_ns, real = time.monotonic_ns, time.monotonic

    def monotonic() -> float:
        return real() + passed

    monkeypatch.setattr("ingest.pipeline.Steps", lambda: Steps(lambda: real_ns() + passed * 1_000_000_000))
    monkeypatch.setattr("ingest.pipeline.time", SimpleNamespace(time=time.time, monotonic=monotonic))
    return let_pass


async def test_an_outage_of_the_database_that_held_the_sources_back_is_no_silence_of_the_stations(
    migrated: str,
    timescale: Postgres,
    broker: Mosquitto,
    gateway: str,
    tcp_proxy: Callable[[int], TcpProxy],
    silent: RuleBook,
    wait: Callable[[int], None],
) -> None:
    proxy = tcp_proxy(timescale.port)
    config = settings(proxied(migrated, proxy.port), broker, gateway, receive_maximum=5)
    async with serving(config, silent) as service:
        account = service.telemetry.ledger.account("gateways")
        await publish(broker, gateway, "gauge-1", map(reading, range(10)))
        await until(lambda: account.stored == 10)
        proxy.cut()
        # More than is taken in unacked: what the gauge sends from here on waits in the broker.
        await publish(broker, gateway, "gauge-1", map(reading, range(10, 60)))
        # Until it waits for a commit, the next batch thought about already.
        await until(lambda: not service.telemetry.database_up and commits() and service.pipeline._flight is None)
        wait(HOUR)
        proxy.resume()
        await until(lambda: account.stored == 60)
        ticked = ticks(service.pipeline)
        await until(lambda: ticked() > 1 and not commits())
        assert count(migrated, "SELECT count(*) FROM alerts") == 0
        # A gauge that is silent while we can hear is told of as ever.
        wait(HOUR)
        await until(lambda: count(migrated, "SELECT count(*) FROM alerts WHERE state = 'firing'") == 1)
        assert balanced(service)


def commits() -> bool:
    """Whether a commit is under way."""
    return any(task.get_name() == "commit" for task in asyncio.all_tasks())


async def test_an_idle_service_notes_that_it_listens(
    migrated: str, broker: Mosquitto, gateway: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.pipeline._NOTE_US", 100_000)
    query = "SELECT extract(epoch FROM received_at)::bigint FROM progress"
    async with serving(settings(migrated, broker, gateway)) as service:
        await publish(broker, gateway, "a", [reading(1)])
        await until(lambda: service.telemetry.ledger.account("gateways").stored == 1)
        first = count(migrated, query)
        await until(lambda: count(migrated, query) >= first + 2)
