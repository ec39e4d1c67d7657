"""The composition root: the parts put together, for the service, the replay, the demo and tests alike."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from alerting.channels import open_channels
from alerting.desk.notify import notifications
from alerting.dispatch import Dispatcher
from ingest.clock import wall_clock
from ingest.http import HttpServer
from ingest.inbox import Inbox
from ingest.jobs import Jobs
from ingest.pipeline import Pipeline
from ingest.recall import Recall
from ingest.reload import Rules
from ingest.sources.factory import decoder_key, make_source
from ingest.spool import Spool
from ingest.spool_file import SpoolRefused
from ingest.telemetry import Telemetry
from storage.errors import DatabaseAway
from storage.outbox import DatabaseOutbox
from storage.writer import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from alerting.model import Transition
    from alerting.pack import RuleBook
    from ingest.settings import Settings
    from storage.batch import Committed

log = structlog.get_logger()

#: What "--wait" pauses between two looks at parts that do not answer yet.
_LOOK_AGAIN_SECONDS = 0.5


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
        for name in settings.sources:
            self.telemetry.expect(name)
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
        self._notifier = partial(notifications, channels=settings.specs, link=settings.alerts.link)
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
        self._jobs = Jobs(
            settings,
            self._notifier,
            self._rules,
            self.pipeline.between,
            on_told=self._tell,
            on_reviewed=self._reviewed,
            on_open=self.telemetry.incidents,
        )
        self._on_committed = on_committed
        self._dispatcher: Dispatcher | None = None
        self.running = asyncio.Event()

    async def check(self, wait: float = 0.0) -> None:
        """Ask every part whether it answers, for up to ``wait`` seconds.

        If one does not, that is the end of this service: it is closed.

        Raises:
            StorageError, SourceUnavailable: one does not.
            PackError: a rule or zone file is wrong.
            SpoolRefused: the spool cannot serve.
        """
        deadline = time.monotonic() + wait
        try:
            if self.spool is not None:
                await self.spool.open()
        except SpoolRefused:
            await self.close()
            raise
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
                    await self.close()
                    raise
                await asyncio.sleep(_LOOK_AGAIN_SECONDS)
            else:
                return

    async def close(self) -> None:
        """Let go of what it has taken. Safe to repeat."""
        self.http.close()
        await self.store.close()
        if self.spool is not None:
            await self.spool.close()

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
            stack.push_async_callback(self.close)
            if self.spool is not None:
                await self.spool.open()
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
                group.create_task(self._dispatcher.run(), name="dispatch")
                beside = [group.create_task(job, name=name) for name, job in self._beside().items()]
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
                in_time = await self._drain(committing, reading)
                self._dispatcher.stop()
                for task in beside:
                    task.cancel()
            if in_time:  # else the database has other troubles, and the next start seals all
                await self._jobs.seal_last()
        log.info("stopped")

    async def _drain(self, committing: asyncio.Task[None], reading: Sequence[asyncio.Task[None]]) -> bool:
        """Stop reading, commit, ack; then let the connections go. False: the grace was over before that."""
        in_time = True
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
            in_time = False
            self.inbox.close()
            committing.cancel()
        for source in self.sources.values():
            source.release()
        if reading:
            await asyncio.wait(reading)
        return in_time

    def _beside(self) -> dict[str, Coroutine[Any, Any, None]]:
        """What goes on beside the pipeline until the end, by name."""
        beside = {"http": self.http.run(), **self._jobs.all()}
        if self._book is None:  # else it was given as it is
            beside["rules"] = self._reload.watch()
        return beside

    def _reviewed(self, change: Transition) -> None:
        self.telemetry.alert(change.rule_id, change.event)
        self._tell()

    def _tell(self) -> None:
        """There is something new in the outbox."""
        if self._dispatcher is not None:
            self._dispatcher.notify()

    def _committed(self, committed: Committed) -> None:
        if committed.alerts_fired or committed.alerts_changed or committed.alerts_resolved:
            self._tell()
        if self._on_committed is not None:
            self._on_committed(committed)

    def readiness(self) -> dict[str, Any]:
        """What /readyz says: ready when batches can be committed, with the ledger of every source."""
        oldest = self.pipeline.oldest()
        up = self.telemetry.database_up
        connected = self.telemetry.sources
        sources = {name: connected.get(name, False) for name in self.sources}
        return {
            "ready": up and self.pipeline.started.is_set(),
            "status": "ok" if up and all(sources.values()) and not self._reload.refused else "degraded",
            "database": up,
            "sources": sources,
            "channels_failing": sorted(self._dispatcher.failing) if self._dispatcher else [],
            "rules_refused": list(self._reload.refused),
            "devices_without_place": self._recall.without_place,
            "inbox": {"messages": self.inbox.messages, "bytes": self.inbox.bytes},
            "spool": {"messages": self.spool.messages, "bytes": self.spool.bytes} if self.spool else None,
            "oldest_unacked_seconds": max(0.0, time.time() - oldest / 1e6) if oldest is not None else 0.0,
            "ledger": self.telemetry.ledger.as_dict(),
        }
