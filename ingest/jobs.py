"""What the service does by the clock, beside the pipeline."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from alerting.daemon import in_daemon
from storage.errors import ConfigurationError, DatabaseAway
from storage.eviction import evict

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

log = structlog.get_logger()

#: Between two looks at how large quarantine is.
EVICT_SECONDS = 60.0


async def every(
    seconds: float, job: Callable[[], Awaitable[object]], hindrances: Mapping[type[Exception], str]
) -> None:
    """Do a job for ever, with a pause of so many seconds after each time.

    Args:
        seconds: the pause.
        job: what to do.
        hindrances: errors for which it is left for the next time, and the event that is logged when one begins to
            hinder it, and not again before it has been done.
    """
    said: str | None = None
    while True:
        try:
            await job()
        except tuple(hindrances) as exc:
            event = next(event for kind, event in hindrances.items() if isinstance(exc, kind))
            if event != said:
                log.warning(event, reason=str(exc))
            said = event
        else:
            said = None
        await asyncio.sleep(seconds)


async def evicting(dsn: str, most_bytes: int) -> None:
    """Keep quarantine within its bound: a flood fills it faster than retention comes by."""

    async def once() -> None:
        if evicted := await in_daemon(evict, dsn, most_bytes):
            log.warning("quarantine_evicted", messages=evicted)

    # Taking rows out takes a member of haidang_migrator.
    hindrances = {DatabaseAway: "eviction_postponed", ConfigurationError: "quarantine_over_bound"}
    await every(EVICT_SECONDS, once, hindrances)
