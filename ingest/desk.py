"""The desk, by the clock: what was held is told, deadlines are seen to, what is long over is closed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from storage import budgets, desk, incidents, silences
from storage.errors import RequestRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime, timedelta

    from alerting.desk.notify import ChannelSpec
    from storage.ask import Whom

log = structlog.get_logger()


class Desk:
    """Restarted, or killed, it goes on from what the database says.

    Args:
        database: whom to ask; a look has many questions.
        channels: who may be told.
        link: see ``alerting.desk.notify.notifications``.
        close_after: how long an alert has been over when it is closed by itself; None: never.
        on_told: called when there is something new in the outbox.
        on_open: called with how many incidents of each policy last.
    """

    def __init__(
        self,
        database: Whom,
        channels: Sequence[ChannelSpec],
        *,
        link: str | None = None,
        close_after: timedelta | None = None,
        on_told: Callable[[], None] = lambda: None,
        on_open: Callable[[Mapping[str, int]], None] = lambda _open: None,
    ) -> None:
        self._database = database
        self._channels, self._link = channels, link
        self._close_after = close_after
        self._on_told, self._on_open = on_told, on_open

    async def once(self, now: datetime) -> None:
        """One look."""
        await silences.expire(self._database)
        told = await desk.release(self._database)
        told += await desk.deadlines(self._database, self._channels, now, link=self._link)
        told += await budgets.warn(self._database, desk.ACTOR, self._channels, link=self._link)
        told += await incidents.tell(self._database, desk.ACTOR, self._channels, now, link=self._link)
        self._on_open(await incidents.open_incidents(self._database))
        if self._close_after is not None:
            try:
                await desk.close_old(self._database, self._channels, self._close_after, now, link=self._link)
            except RequestRefused:  # somebody has closed it at this moment
                log.debug("closed_already")
        if told:
            self._on_told()
