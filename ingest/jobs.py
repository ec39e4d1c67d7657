"""What the service does by the clock, beside the pipeline: each job goes on from what the database says."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import structlog

from alerting.channels.daemon import in_daemon
from ingest.desk import Desk
from ingest.review import Reviewer
from storage.ask import Link
from storage.errors import ConfigurationError, DatabaseAway
from storage.eviction import evict
from storage.retention import Retention, retain
from storage.seals import seal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping

    from alerting.model import Transition
    from alerting.pack import RuleBook
    from ingest.review import Act
    from ingest.settings import Settings
    from ingest.thought import Notifier

log = structlog.get_logger()

#: Between two looks at how large quarantine is, seconds.
EVICT_SECONDS: Final = 60.0
#: Between two looks at which alerts are to be judged again, seconds.
_REVIEW_SECONDS: Final = 5.0


async def every(
    seconds: float,
    job: Callable[[], Awaitable[object]],
    name: str,
    hindrances: Mapping[type[Exception], str] | None = None,
) -> None:
    """Do a job for ever, with a pause of so many seconds after each time. A database that is away is waited for.

    Args:
        seconds: the pause.
        job: what to do.
        name: of the job. That a database is away is logged when it begins to hinder it, as ``NAME_postponed``, and
            when it has been done again, as ``NAME_resumed``.
        hindrances: other errors for which it is left for the next time, and the event that each is logged as.
    """
    events: dict[type[Exception], str] = {DatabaseAway: f"{name}_postponed", **(hindrances or {})}
    resumed = f"{name}_resumed"
    said: str | None = None
    while True:
        try:
            await job()
        except tuple(events) as exc:
            event = next(event for kind, event in events.items() if isinstance(exc, kind))
            if event != said:
                log.warning(event, reason=str(exc))
            said = event
        else:
            if said is not None:
                log.info(resumed)
            said = None
        await asyncio.sleep(seconds)


class Jobs:
    """All of them.

    Args:
        settings: all of them.
        notifier: who is to be told of a review.
        book: reads the rules in force.
        between: has something done between two batches (``Pipeline.between``).
        on_told: called when there is something new in the outbox.
        on_reviewed: called with each change that a review has made.
        on_open: called with how many incidents of each policy last.
    """

    def __init__(
        self,
        settings: Settings,
        notifier: Notifier,
        book: Callable[[], Awaitable[RuleBook]],
        between: Callable[[Act], Awaitable[None]],
        *,
        on_told: Callable[[], None],
        on_reviewed: Callable[[Transition], None],
        on_open: Callable[[Mapping[str, int]], None] = lambda _open: None,
    ) -> None:
        self._settings = settings
        self._dsn = settings.database.dsn.get_secret_value()
        settle = settings.rules.review_after_seconds
        self._reviewer = Reviewer(self._dsn, notifier, book, between, settle_seconds=settle, on_change=on_reviewed)
        days = settings.alerts.close_after_days
        self._asked = Link(self._dsn)  # by the desk
        self._desk = Desk(
            self._asked,
            settings.specs,
            link=settings.alerts.link,
            close_after=None if days is None else timedelta(days=days),
            on_told=on_told,
            on_open=on_open,
        )

    def all(self) -> dict[str, Coroutine[Any, Any, None]]:
        """What is to be run, by name."""
        settings = self._settings
        jobs = {
            "retention": every(settings.retention.every_seconds, self._retain, "retention"),
            "review": every(_REVIEW_SECONDS, self._reviewer.all, "reviews"),
            "seals": self._seal(),
            "desk": self._look_after(),
        }
        if (most := settings.retention.quarantine_bytes) is not None:
            jobs["eviction"] = evicting(self._dsn, most)
        return jobs

    async def _look_after(self) -> None:
        """The desk: a connection for each question of each second would cost more than all that it asks."""
        async with self._asked:
            await every(self._settings.alerts.desk_seconds, lambda: self._desk.once(datetime.now(UTC)), "desk")

    async def seal_last(self) -> None:
        """Seal what was written since the last time, before the service ends."""
        try:
            await self._seal_once()
        except DatabaseAway as exc:
            log.warning("seal_postponed", reason=str(exc))

    async def _retain(self) -> None:
        """Our own retention job, where the database has no policies of its own."""
        settings = self._settings.retention
        policy = Retention(
            positions_days=settings.positions_days,
            readings_days=settings.readings_days,
            quarantine_days=settings.quarantine_days,
        )
        log.info("retention_done", **await in_daemon(retain, self._dsn, policy))

    async def _seal(self) -> None:
        """Seal the record of alerts: everything once, and what is new about once a minute."""
        everything = True

        async def once() -> None:
            nonlocal everything
            await self._seal_once(everything=everything)
            everything = False

        await every(self._settings.alerts.seal_seconds, once, "seal")

    async def _seal_once(self, *, everything: bool = False) -> None:
        """The log keeps the copy of a seal that a change of the database cannot reach."""
        made = await seal(self._dsn, everything=everything)
        if made is not None:
            log.info("sealed", seal=str(made), chains=made.heads)


async def evicting(dsn: str, most_bytes: int) -> None:
    """Keep quarantine within its bound, for ever: a flood fills it faster than retention comes by."""

    async def once() -> None:
        if evicted := await in_daemon(evict, dsn, most_bytes):
            log.warning("quarantine_evicted", messages=evicted)

    # Making room takes a member of haidang_writer.
    await every(EVICT_SECONDS, once, "eviction", {ConfigurationError: "quarantine_over_bound"})
