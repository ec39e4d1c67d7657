"""The composition root: the parts put together, for the service, the replay, the demo and tests alike."""

from __future__ import annotations

import asyncio
import ssl
import time
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import structlog

from alerting.channels import open_channels
from alerting.daemon import in_daemon
from alerting.dispatch import Dispatcher
from alerting.engine import Engine
from alerting.notify import notifications
from alerting.pack import RuleBook
from decoders.assembler import TIMEOUT_US
from decoders.bounds import Bounds
from decoders.identity import source_id
from decoders.mqtt import TopicDecoder
from decoders.nmea_decoder import NmeaDecoder
from decoders.register import Register
from decoders.times import MAX_FUTURE_US
from decoders.window import ReceptionWindow
from geofence.tracks import CAPACITY
from ingest import jobs
from ingest.desk import Desk
from ingest.http import HttpServer
from ingest.inbox import Inbox
from ingest.pipeline import Pipeline
from ingest.reload import Rules
from ingest.review import Reviewer
from ingest.settings import ConfigError, MqttSettings, NmeaTcpSettings, NmeaUdpSettings, Settings
from ingest.sources.mqtt import MqttOptions, MqttSource, Tls
from ingest.sources.nmea_tcp import NmeaTcpClient, NmeaTcpServer
from ingest.sources.nmea_udp import NmeaUdp
from ingest.spool import Spool
from ingest.telemetry import Telemetry
from ingest.thought import Mind
from storage.errors import DatabaseAway
from storage.outbox import DatabaseOutbox
from storage.retention import Retention, retain
from storage.seals import seal
from storage.writer import Store

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from alerting.model import Notification, Transition
    from alerting.notify import ChannelSpec
    from decoders.block import Block
    from ingest.settings import SourceSettings
    from ingest.sources.base import Source
    from storage.batch import Committed

log = structlog.get_logger()

#: Devices that one line of the log names.
_NAMED = 20
#: What "--wait" pauses between two looks at parts that do not answer yet.
_LOOK_AGAIN_SECONDS = 0.5


def wall_clock() -> int:
    """Microseconds since the epoch, UTC."""
    return time.time_ns() // 1000


def make_source(name: str, settings: SourceSettings, telemetry: Telemetry, *, payload_bytes: int) -> Source:
    """The source that a table of the settings describes; ``payload_bytes`` is the largest MQTT payload taken.

    Raises:
        ConfigError: TLS files that cannot be used.
    """
    match settings:
        case MqttSettings():
            tls = Tls(settings.tls.ca, settings.tls.certificate, settings.tls.key) if settings.tls else None
            try:
                if tls:
                    tls.context()
            except (OSError, ssl.SSLError) as exc:
                raise ConfigError(f"sources.{name}.tls: {exc.strerror or exc}") from exc
            return MqttSource(
                name,
                telemetry,
                MqttOptions(
                    host=settings.host,
                    port=settings.port,
                    username=settings.username,
                    password=settings.password.get_secret_value() if settings.password else None,
                    client_id=settings.client_id,
                    topics=settings.topics,
                    protocol=settings.protocol,
                    client=settings.client,
                    session_expiry=settings.session_expiry,
                    receive_maximum=settings.receive_maximum,
                    receive_bytes=settings.receive_bytes,
                    keepalive=settings.keepalive,
                    tls=tls,
                    max_payload=payload_bytes,
                ),
            )
        case NmeaTcpSettings(mode="client"):
            return NmeaTcpClient(name, telemetry, host=settings.host, port=settings.port, idle=settings.idle)
        case NmeaTcpSettings():
            return NmeaTcpServer(name, telemetry, host=settings.host, port=settings.port, idle=settings.idle)
        case NmeaUdpSettings():
            return NmeaUdp(name, telemetry, host=settings.host, port=settings.port)


def decoder_key(source: Source, settings: SourceSettings | None = None) -> str:
    """Which of the pipeline's decoders reads a source."""
    if isinstance(settings, NmeaTcpSettings | NmeaUdpSettings) and not settings.trusted_time:
        return "nmea, times untrusted"
    return source.format


class Recall:
    """Builds the pipeline's ``Mind`` from what the database remembers: at start, and after a batch was refused."""

    def __init__(
        self,
        store: Store,
        book: RuleBook | Callable[[], Awaitable[RuleBook]],
        formats: Mapping[str, str],
        *,
        bounds: Bounds | None = None,
        transponders: int = CAPACITY,
        future_us: int = MAX_FUTURE_US,
        timeout_us: int = TIMEOUT_US,
    ) -> None:
        """Remember where to look.

        Args:
            store: the database.
            book: rules and zones, or what reads them from the database.
            formats: source name to the key of its decoder.
            bounds: what is taken of MQTT publishes, and how many distinct names.
            transponders: how many the engine remembers.
            future_us: how far ahead of its receipt an event time may be.
            timeout_us: how long a fragment waits for the rest of its message.
        """
        self._formats = {source_id(name): key for name, key in formats.items()}
        self._timeout_us = timeout_us
        self._store = store
        self._book = book
        self._bounds = bounds or Bounds()
        self._transponders = transponders
        self._future_us = future_us
        self._fences: dict[tuple[str, str], tuple[str, str]] | None = None  # of the mind before
        self.without_place: list[
            str
        ] = []  # devices that rules ask to be near something, and nobody knows where they are

    async def __call__(self) -> Mind:
        book = self._book if isinstance(self._book, RuleBook) else await self._book()
        memory = await self._store.memory(transponders=self._transponders)
        series = () if memory.readings is None else memory.readings[["device", "metric"]].tolist()
        register = Register(self._bounds, memory.names, series)
        decoders: Mapping[str, NmeaDecoder | TopicDecoder] = {
            "nmea": NmeaDecoder(max_future_us=self._future_us, timeout_us=self._timeout_us),
            "nmea, times untrusted": NmeaDecoder(
                trusted=False, max_future_us=self._future_us, timeout_us=self._timeout_us
            ),
            "mqtt": TopicDecoder(bounds=self._bounds, register=register, max_future_us=self._future_us),
        }
        window = ReceptionWindow()
        window.restore(await self._store.recent())
        engine = Engine(book.rules, book.zones, registry=book.registry, capacity=self._transponders)
        engine.restore(memory, before=self._fences)
        self._fences = engine.fences
        self._say_who_has_no_place(engine.without_place())
        # Unfinished messages are kept as the lines they are, and finished by decoding them again.
        waiting: dict[str, list[Block]] = {}
        for block in await self._store.fragments():
            key = self._formats.get(block.source) or ("nmea" if block.per_line else "mqtt")
            of = waiting.setdefault(key, [])
            of.append(block._replace(first=sum(b.messages for b in of)))
        for key, blocks in waiting.items():
            decoders[key].decode(blocks)
        fragments = [block for decoder in decoders.values() for block in decoder.pending()]
        return Mind(decoders, window, engine, memory.listened, fragments)

    def _say_who_has_no_place(self, devices: list[str]) -> None:
        if devices and devices != self.without_place:
            log.warning("devices_without_place", devices=devices[:_NAMED], count=len(devices))
        self.without_place = devices


class Notifier:
    """The outbox rows of transitions, for the channels of the settings; ``link``: see ``alerting.notify``."""

    def __init__(self, channels: Sequence[ChannelSpec], link: str | None = None) -> None:
        self._channels, self._link = channels, link

    def __call__(self, transitions: Sequence[Transition]) -> Sequence[Notification]:
        return notifications(transitions, self._channels, link=self._link) if transitions else ()


class Service:
    """``haidang run``: everything between the wire and the outbox, and the dispatch of the outbox."""

    def __init__(
        self,
        settings: Settings,
        book: RuleBook | None = None,
        *,
        on_committed: Callable[[Committed], None] | None = None,
    ) -> None:
        """Put the parts together; nothing is connected yet.

        Args:
            settings: all of them.
            book: the rules and zones in force; None: those that the settings name, once the database answers, and
                as they change.
            on_committed: called after each commit.

        Raises:
            ConfigError: TLS files that cannot be used.
            HttpUnavailable: the HTTP address is taken.
        """
        self.settings = settings
        self._book = book
        self.telemetry = Telemetry()
        self.sources = {
            name: make_source(name, source, self.telemetry, payload_bytes=settings.limits.payload_bytes)
            for name, source in settings.sources.items()
        }
        self.inbox = Inbox(settings.limits.inbox_messages, settings.limits.inbox_bytes)
        self.store = Store(
            settings.database.dsn.get_secret_value(),
            connect_timeout=settings.database.connect_timeout,
            statement_timeout=settings.database.statement_timeout,
        )
        self.spool = Spool(settings.spool.path, settings.spool.max_bytes) if settings.spool.path is not None else None
        self.telemetry.spool = self.spool
        self.http = HttpServer(self.telemetry, self.readiness, host=settings.http.host, port=settings.http.port)
        self._notifier = Notifier(settings.specs, settings.alerts.link)
        formats = {name: decoder_key(self.sources[name], settings.sources[name]) for name in self.sources}
        self._recall = Recall(
            self.store,
            self._rules,
            formats,
            bounds=settings.limits.bounds(),
            transponders=settings.limits.transponders,
            future_us=round(settings.limits.future_seconds * 1_000_000),
        )
        self.pipeline = Pipeline(
            self.inbox,
            self.store,
            self.telemetry,
            self._recall,
            formats=formats,
            notifier=self._notifier,
            batch_messages=settings.limits.batch_messages,
            clock=wall_clock,
            on_committed=self._committed,
            spool=self.spool,
            patience=settings.spool.after_seconds,
        )
        self._reload = Rules(settings, self.pipeline.forget)
        self._on_committed = on_committed
        self._dispatcher: Dispatcher | None = None
        self.running = asyncio.Event()

    async def check(self, wait: float = 0.0) -> None:
        """Ask every part whether it answers, for up to ``wait`` seconds.

        Raises:
            StorageError, SourceUnavailable: one does not.
            PackError: a rule or zone file is wrong.
            SpoolRefused: the spool cannot serve.
        """
        deadline = time.monotonic() + wait
        if self.spool is not None:
            await self.spool.open()
        while True:
            try:
                await self._open_store()
                if self.telemetry.database_up:
                    await self._rules()
                async with asyncio.TaskGroup() as group:
                    for source in self.sources.values():
                        group.create_task(source.check())
            except Exception as exc:
                if time.monotonic() >= deadline or not isinstance(exc, (DatabaseAway, ExceptionGroup)):
                    raise
                await asyncio.sleep(_LOOK_AGAIN_SECONDS)
            else:
                return

    async def _rules(self) -> RuleBook:
        return self._book if self._book is not None else await self._reload.get()

    def reload(self) -> None:
        """Look now at whether rules or zones have changed."""
        self._reload.look_now()

    async def _open_store(self) -> None:
        """Connect; where there is a spool, an absent database is no reason not to start."""
        try:
            await self.store.open()
        except DatabaseAway as exc:
            if self.spool is None:
                raise
            self.telemetry.database(up=False, reason=str(exc))
        else:
            self.telemetry.database(up=True)

    async def run(self, stop: asyncio.Event) -> None:
        """Until ``stop`` is set; then what was received is committed and acked, within the grace period."""
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self.store.close)
            if self.spool is not None:
                await self.spool.open()
                stack.push_async_callback(self.spool.close)
            await self._open_store()
            channels = await stack.enter_async_context(open_channels(self.settings.channels.values()))
            outbox = DatabaseOutbox(self.store.dsn)
            await outbox.open()
            stack.push_async_callback(outbox.close)
            self._dispatcher = Dispatcher(
                outbox,
                channels,
                policies={name: channel.policy for name, channel in self.settings.channels.items()},
                on_outcome=self.telemetry.notification,
            )
            async with asyncio.TaskGroup() as group:
                serving = group.create_task(self.http.run(), name="http")
                group.create_task(self._dispatcher.run(), name="dispatch")
                retaining = group.create_task(self._retain(), name="retention")
                evicting = group.create_task(self._evict(), name="eviction")
                reviewing = group.create_task(self._review(), name="review")
                sealing = group.create_task(self._seal(), name="seals")
                reloading = group.create_task(self._watch_rules(), name="rules")
                minding = group.create_task(self._desk().run(), name="desk")
                committing = group.create_task(self.pipeline.run(), name="pipeline")
                started = asyncio.create_task(self.pipeline.started.wait(), name="pipeline started")
                stopped = asyncio.create_task(stop.wait(), name="stop")
                await asyncio.wait((started, stopped), return_when=asyncio.FIRST_COMPLETED)
                reading = [
                    group.create_task(source.run(self.inbox), name=f"source {name}")
                    for name, source in self.sources.items()
                    if started.done()
                ]
                log.info("started", sources=sorted(self.sources), channels=sorted(channels), http=self.http.url)
                self.running.set()
                await stopped
                started.cancel()
                log.info("stopping")
                await self._drain(committing, reading)
                self._dispatcher.stop()
                retaining.cancel()
                evicting.cancel()
                reviewing.cancel()
                sealing.cancel()
                reloading.cancel()
                minding.cancel()
                serving.cancel()
            await self._seal_once()
        log.info("stopped")

    async def _drain(self, committing: asyncio.Task[None], reading: Sequence[asyncio.Task[None]]) -> None:
        """Stop reading, commit, ack; then let the connections go."""
        for source in self.sources.values():
            source.stop()
        held = [task for task, source in zip(reading, self.sources.values(), strict=False) if source.format != "mqtt"]
        try:
            async with asyncio.timeout(self.settings.service.grace_seconds):
                if held:
                    await asyncio.wait(held)
                self.inbox.close()
                await asyncio.wait([committing])
        except TimeoutError:
            log.warning("grace_over", waiting=self.inbox.messages)
            self.inbox.close()
            committing.cancel()
        for source in self.sources.values():
            source.release()
        if reading:
            await asyncio.wait(reading)

    async def _retain(self) -> None:
        """Our own retention job, where the database has no policies of its own."""
        settings = self.settings.retention
        policy = Retention(
            positions_days=settings.positions_days,
            readings_days=settings.readings_days,
            quarantine_days=settings.quarantine_days,
        )
        while True:
            try:
                dropped = await in_daemon(retain, self.store.dsn, policy)
            except DatabaseAway as exc:
                log.warning("retention_postponed", reason=str(exc))
            else:
                log.info("retention_done", **dropped)
            await asyncio.sleep(settings.every_seconds)

    async def _watch_rules(self) -> None:
        """Follow the rules and zones that the settings name, unless they were given as they are."""
        if self._book is None:
            await self._reload.watch()

    async def _review(self) -> None:
        """Look again at alerts of whose time something came late."""
        settle = self.settings.rules.review_after_seconds
        await Reviewer(self.store.dsn, self._notifier, settle_seconds=settle, on_change=self._reviewed).run()

    def _reviewed(self, change: Transition) -> None:
        self.telemetry.alert(change.rule_id, change.event)
        if self._dispatcher is not None:
            self._dispatcher.notify()

    async def _evict(self) -> None:
        most = self.settings.retention.quarantine_bytes
        if most is not None:
            await jobs.evicting(self.store.dsn, most)

    def _desk(self) -> Desk:
        settings = self.settings.alerts
        return Desk(
            self.store.dsn,
            self.settings.specs,
            link=settings.link,
            every=settings.desk_seconds,
            close_after=None if settings.close_after_days is None else timedelta(days=settings.close_after_days),
            on_told=lambda: self._dispatcher.notify() if self._dispatcher is not None else None,
        )

    async def _seal(self) -> None:
        """Seal the record of alerts, about once a minute."""
        await self._seal_once(everything=True)
        while True:
            await asyncio.sleep(self.settings.alerts.seal_seconds)
            await self._seal_once()

    async def _seal_once(self, *, everything: bool = False) -> None:
        """Seal what has been written of alerts; the log keeps the copy that a change of the database cannot reach."""
        try:
            made = await seal(self.store.dsn, everything=everything)
        except DatabaseAway as exc:
            log.warning("seal_postponed", reason=str(exc))
        else:
            if made is not None:
                log.info("sealed", seal=str(made), chains=made.heads)

    def _committed(self, committed: Committed) -> None:
        if self._dispatcher is not None and (
            committed.alerts_fired or committed.alerts_changed or committed.alerts_resolved
        ):
            self._dispatcher.notify()
        if self._on_committed is not None:
            self._on_committed(committed)

    def readiness(self) -> dict[str, Any]:
        """What /readyz says: ready when batches can be committed, with the ledger of every source."""
        oldest = self.pipeline.oldest()
        up = self.telemetry.database_up
        sources = self.telemetry.sources
        return {
            "ready": up and self.pipeline.started.is_set(),
            "status": "ok" if up and all(sources.values()) and not self._reload.refused else "degraded",
            "database": up,
            "sources": {name: sources.get(name, False) for name in self.sources},
            "channels_failing": sorted(self._dispatcher.failing) if self._dispatcher else [],
            "rules_refused": list(self._reload.refused),
            "devices_without_place": self._recall.without_place,
            "inbox": {"messages": self.inbox.messages, "bytes": self.inbox.bytes},
            "spool": {"messages": self.spool.messages, "bytes": self.spool.bytes} if self.spool else None,
            "oldest_unacked_seconds": max(0.0, time.time() - oldest / 1e6) if oldest is not None else 0.0,
            "ledger": self.telemetry.ledger.as_dict(),
        }
