"""A service under test: built as ``haidang run`` builds it, with the ends of its wires in the test's hands."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sys
from pathlib import Path
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
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence

    from services.mosquitto import Mosquitto

#: 2026-06-01T00:00:00Z in milliseconds: what tests count event times from.
EPOCH_MS = 1_780_272_000_000
TOPIC = "haidang/v1/{gateway}/{device}/readings"
ROOT = Path(__file__).resolve().parents[2]


def settings(dsn: str, broker: Mosquitto, gateway: str, *, receive_maximum: int = 10_000, **more: Any) -> Settings:
    """One MQTT source, subscribed to one gateway of the test's own."""
    return Settings(
        database=Database(dsn=SecretStr(dsn), connect_timeout=2.0),
        sources={
            "gateways": MqttSettings(
                type="mqtt",
                host="127.0.0.1",
                port=broker.port,
                client_id=f"haidang-{gateway}",
                receive_maximum=receive_maximum,
                topics=(f"haidang/v1/{gateway}/+/readings", f"haidang/v1/{gateway}/nmea"),
            )
        },
        http=Http(port=0),
        service=ServiceSettings(grace_seconds=10.0),
        **more,
    )


def write_config(path: Path, dsn: str, broker: Mosquitto, gateway: str, more: str = "") -> Path:
    """The same as a file for a process, which logs JSON; ``more`` is further TOML, whose first table is [service]."""
    path.write_text(
        f"""
        [database]
        dsn = "{dsn}"
        connect_timeout = 2
        [sources.gateways]
        type = "mqtt"
        host = "127.0.0.1"
        port = {broker.port}
        client_id = "haidang-{gateway}"
        topics = ["haidang/v1/{gateway}/+/readings", "haidang/v1/{gateway}/nmea"]
        receive_maximum = 500
        [http]
        port = 0
        [service]
        log_format = "json"
        {more}
        """
    )
    return path


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
        ready: asyncio.Event = source.subscribed if hasattr(source, "subscribed") else source.listening  # type: ignore[attr-defined]  # MQTT; others
        await ready.wait()


def reading(n: int, value: float | None = None) -> bytes:
    """A payload whose event time says which of a device's readings it is."""
    return orjson.dumps(
        {"time": EPOCH_MS + 1000 * n, "readings": {"water_level": n / 1000 if value is None else value}}
    )


async def publish(
    broker: Mosquitto, gateway: str, device: str, payloads: Iterable[bytes], *, at_once: int = 50
) -> None:
    """Readings of one device at QoS 1; returns when the broker has acknowledged all."""
    topic = TOPIC.format(gateway=gateway, device=device)
    await publish_all(broker, ((topic, payload) for payload in payloads), at_once=at_once)


async def publish_all(broker: Mosquitto, messages: Iterable[tuple[str, bytes]], *, at_once: int = 50) -> None:
    """Topics and payloads at QoS 1, in order; returns when the broker has acknowledged all."""
    async with aiomqtt.Client(
        "127.0.0.1", broker.port, protocol=aiomqtt.ProtocolVersion.V5, max_inflight_messages=at_once
    ) as client:
        client.pending_calls_threshold = at_once
        waiting: set[asyncio.Task[None]] = set()
        for topic, payload in messages:
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
    """``haidang run`` as a process of its own, to be killed.

    Args:
        config: its configuration.
        killed: a boundary of ``tests.ingest.killed`` and the how-manieth time there it kills itself.
        log: takes its standard error, one JSON object a line if the configuration says so.
        options: further ones of the command.
        module: a script of ``tests.ingest`` to run in place of the command, with the same arguments.
    """

    PYTHON = sys.executable

    def __init__(
        self,
        config: Path,
        *,
        killed: tuple[str, int] | None = None,
        log: Path | None = None,
        options: Sequence[str] = (),
        module: str = "ingest.cli",
    ) -> None:
        before = ["tests.ingest.killed", killed[0], str(killed[1])] if killed else [module]
        self._command = [self.PYTHON, "-m", *before, "run", "--config", str(config), *options]
        self._log = log
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with contextlib.ExitStack() as stack:
            log = asyncio.subprocess.DEVNULL if self._log is None else stack.enter_context(self._log.open("ab"))
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=log,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                cwd=ROOT,
            )

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def errors(self) -> str:
        """What it wrote to standard error."""
        assert self._log is not None
        return self._log.read_text()

    def told(self, event: str) -> list[dict[str, Any]]:
        """The lines of a JSON log that tell of an event."""
        whole = self.errors.rpartition("\n")[0].splitlines()
        return [line for line in map(orjson.loads, whole) if line["event"] == event]

    async def started(self) -> str:
        """Wait until it has, and is subscribed; the URL of its HTTP paths. The log must be JSON."""
        process = self._process
        assert process is not None
        await until(lambda: process.returncode is not None or bool(self.told("source_connected")))
        assert process.returncode is None, self.errors
        return str(self.told("started")[-1]["http"])

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    async def kill(self) -> None:
        """As a power cut: SIGKILL."""
        self.signal(signal.SIGKILL)
        await self.ended()

    async def stop(self) -> int:
        """SIGTERM, as soon as the process minds it; the exit code."""
        await until(lambda: self.has_ended or self._minds(signal.SIGTERM))
        self.signal(signal.SIGTERM)
        return await self.ended()

    @property
    def has_ended(self) -> bool:
        assert self._process is not None
        return self._process.returncode is not None

    def _minds(self, number: int) -> bool:
        """Whether it has a handler for a signal (proc(5), SigCgt)."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        (caught,) = (line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
        return bool(int(caught, 16) >> (number - 1) & 1)

    async def ended(self, seconds: float = 30.0) -> int:
        """Wait until it has; the exit code, below nought where a signal ended it."""
        assert self._process is not None
        async with asyncio.timeout(seconds):
            return await self._process.wait()

    async def end(self) -> None:
        """Leave nothing behind, whatever became of it."""
        if self._process is not None and self._process.returncode is None:
            await self.kill()


def draw_seed() -> int:
    """The seed of a test's chance: HAIDANG_TEST_SEED repeats one. A test that fails, however it does, names it."""
    seed = int(os.environ.get("HAIDANG_TEST_SEED") or random.randrange(2**32))
    print(f"HAIDANG_TEST_SEED={seed}")  # noqa: T201  # pytest shows it with the failure
    return seed
