"""A service under test: built as ``haidang run`` builds it, with the ends of its wires in the test's hands."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import aiomqtt
import orjson
import psycopg
from pydantic import SecretStr

from alerting.pack import RuleBook
from ingest.service import Service
from ingest.settings import Database, Http, MqttSettings, Settings
from ingest.settings import Service as ServiceSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from pathlib import Path

    from services.mosquitto import Mosquitto

#: 2026-06-01T00:00:00Z in milliseconds: what tests count event times from.
EPOCH_MS = 1_780_272_000_000
TOPIC = "haidang/v1/{gateway}/{device}/readings"


def settings(dsn: str, broker: Mosquitto, gateway: str, **more: Any) -> Settings:
    """One MQTT source, subscribed to one gateway of the test's own."""
    return Settings(
        database=Database(dsn=SecretStr(dsn), connect_timeout=2.0),
        sources={
            "gateways": MqttSettings(
                type="mqtt",
                host="127.0.0.1",
                port=broker.port,
                client_id=f"haidang-{gateway}",
                topics=(f"haidang/v1/{gateway}/+/readings", f"haidang/v1/{gateway}/nmea"),
            )
        },
        http=Http(port=0),
        service=ServiceSettings(grace_seconds=10.0),
        **more,
    )


@contextlib.asynccontextmanager
async def serving(config: Settings, book: RuleBook | None = None) -> AsyncIterator[Service]:
    """The service, running and subscribed; stopped as by SIGTERM at the end."""
    service = Service(config, book or RuleBook((), ()))
    stop = asyncio.Event()
    task = asyncio.create_task(service.run(stop))
    ready = asyncio.create_task(_subscribed(service))
    done, _ = await asyncio.wait((task, ready), return_when=asyncio.FIRST_COMPLETED, timeout=30)
    if task in done:
        await task
    assert ready in done, "the service did not come up"
    try:
        yield service
    finally:
        stop.set()
        async with asyncio.timeout(30):
            await task


async def _subscribed(service: Service) -> None:
    await service.running.wait()
    for source in service.sources.values():
        await source.subscribed.wait()  # type: ignore[attr-defined]  # the sources of `settings` are MQTT


def reading(n: int, value: float | None = None) -> bytes:
    """A payload whose event time says which of a device's readings it is."""
    return orjson.dumps(
        {"time": EPOCH_MS + 1000 * n, "readings": {"water_level": n / 1000 if value is None else value}}
    )


async def publish(
    broker: Mosquitto, gateway: str, device: str, payloads: Iterable[bytes], *, at_once: int = 50
) -> None:
    """At QoS 1; returns when the broker has acknowledged all."""
    topic = TOPIC.format(gateway=gateway, device=device)
    async with aiomqtt.Client(
        "127.0.0.1", broker.port, protocol=aiomqtt.ProtocolVersion.V5, max_inflight_messages=at_once
    ) as client:
        client.pending_calls_threshold = at_once
        waiting: set[asyncio.Task[None]] = set()
        for payload in payloads:
            waiting.add(asyncio.create_task(client.publish(topic, payload, qos=1)))
            if len(waiting) >= at_once:
                _, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.gather(*waiting)


async def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait for a condition that has no event of its own."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def times(dsn: str, device: str) -> list[int]:
    """Which readings of a device are stored, in order: the numbers of ``reading``."""
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(
            "SELECT extract(epoch FROM r.time)::bigint FROM readings r JOIN devices d ON d.id = r.device_id"
            " WHERE d.name = %s ORDER BY r.time",
            [device],
        ).fetchall()
    return [row[0] - EPOCH_MS // 1000 for row in rows]


def count(dsn: str, query: str) -> int:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return int(row[0])


def dump(dsn: str, *queries: str) -> list[list[tuple[Any, ...]]]:
    """The rows of tables, to compare two runs by."""
    with psycopg.connect(dsn) as connection:
        return [connection.execute(query.encode()).fetchall() for query in queries]


def balanced(service: Service) -> bool:
    """received = stored + duplicate + ignored + quarantined + dropped + what can be counted as waiting."""
    ledger = service.telemetry.ledger.total()
    return ledger.in_flight == service.inbox.messages + service.pipeline.waiting()


class Process:
    """``haidang run`` as a process of its own, to be killed."""

    def __init__(self, config: Path) -> None:
        self._config = config
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "ingest.cli",
            "run",
            "--config",
            str(self._config),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )

    async def kill(self) -> None:
        """As a power cut: SIGKILL."""
        assert self._process is not None
        self._process.kill()
        await self._process.wait()

    async def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            return await self._process.wait()
