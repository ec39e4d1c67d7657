"""What waits for a database that stays away: on disk where there is a spool, in order, before anything newer.

The way of a delivery during an outage: it was on its way into the database, or comes out of the inbox -> ``aside``
(in memory, not acked, a batch or two) -> the spool -> acked -> when the database is back, thought about and committed
like any other, and forgotten by the spool. While anything is left in the spool, what arrives goes behind it.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import structlog

from ingest.spool import SpoolFull

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence
    from uuid import UUID

    from ingest.delivery import Delivery
    from ingest.inbox import Inbox
    from ingest.ledger import Ledger
    from ingest.spool import Spool
    from ingest.spool_file import Entries
    from ingest.thought import Thought
    from storage.batch import Committed
    from storage.writer import Store

log = structlog.get_logger()

#: How long a look at the inbox, or at a full spool's room, may take while the database is waited for.
_LOOK_SECONDS = 0.2
_FIRST_BACKOFF = 0.1
_LONGEST_BACKOFF = 5.0


@dataclass(slots=True)
class Unsure:
    """A batch whose COMMIT was sent and not answered, until the database can be asked."""

    token: UUID
    thought: Thought
    committed: Committed
    #: Whether its deliveries stand at the head of those set aside, not acked; else they are in the spool.
    aside: bool


class Backlog:
    """The spool, and what is about to go into it.

    Args:
        spool: opened, with what an earlier process may have left.
        inbox: where deliveries come from.
        ledger: that of the process.
        batch_messages: most messages taken from either at once.
    """

    def __init__(self, spool: Spool, inbox: Inbox, ledger: Ledger, batch_messages: int) -> None:
        self._spool = spool
        self._inbox = inbox
        self._ledger = ledger
        self._batch_messages = batch_messages
        self._aside: deque[Delivery] = deque()
        self._unsure: Unsure | None = None
        self._inherited_mark = False
        self._full = False

    def __bool__(self) -> bool:
        """Whether anything is left to be stored before what the inbox holds."""
        return bool(self._spool.entries or self._aside)

    @property
    def held(self) -> int:
        """Messages set aside in memory, not acked."""
        return sum(d.messages for d in self._aside)

    @property
    def messages(self) -> int:
        """Messages that wait here, on disk or aside."""
        return self._spool.messages + self.held

    async def inherit(self) -> int:
        """At start: count what an earlier process left; their fate will be known to this one.

        Returns:
            When it last took something in, microseconds; 0 if it left nothing.
        """
        if (found := self._spool.salvaged) is not None:
            log.error(
                "spool_salvaged",
                fault=found.fault,
                entries=found.entries,
                unreadable=found.unreadable,
                kept=str(found.kept),
            )
        mark = await self._spool.marked()
        self._inherited_mark = mark is not None
        # Those that may be stored already are counted when that is known.
        await self._count(after=mark[1] if mark else 0)
        return await self._spool.latest()

    async def _count(self, after: int = 0, until: int = 2**62) -> None:
        for source, messages in (await self._spool.by_source(after, until)).items():
            self._ledger.inherit(source, messages)

    # --- while the database is away

    async def take_in(self, deliveries: Iterable[Delivery], unsure: Unsure | None) -> None:
        """Be given what was on its way into the database, in order; that which is unsure is at its head.

        What came out of the spool is in it still, and not to be given.
        """
        self._aside.extend(deliveries)
        self._unsure = unsure
        if unsure is None or not unsure.aside:
            await self._shelve(len(self._aside))
            return
        count = len(unsure.thought.deliveries)
        seq = await self._shelve(count, unsure.token)
        if seq is not None:
            unsure.aside = False
            await self._shelve(len(self._aside))

    async def while_waiting(self, waited_for: asyncio.Future[Any]) -> bool:
        """Move what arrives into the spool until ``waited_for`` is done.

        Returns:
            False if the inbox was closed and everything that was in it is in the spool: nothing is left to do.
        """
        while not waited_for.done():
            if not self._aside and not self._inbox.messages and self._inbox.closed:
                return False
            if not self._aside and not self._spool.full:
                self._aside.extend(await self._inbox.take(self._batch_messages, _LOOK_SECONDS))
            blocked = self._unsure is not None and self._unsure.aside
            if blocked or self._spool.full or await self._shelve(len(self._aside)) is None:
                await asyncio.wait((waited_for,), timeout=_LOOK_SECONDS)
        return True

    async def _shelve(self, count: int, token: UUID | None = None) -> int | None:
        """Write the first ``count`` of what is aside to the spool, marked with ``token``, and ack it; None if there is
        no room.
        """
        batch = [self._aside[n] for n in range(count)]
        if not batch:
            return 0
        try:
            seq = await self._spool.append(batch, token)
        except SpoolFull as exc:
            self._room(full=True, reason=str(exc))
            return None
        self._room(full=False)
        for delivery in batch:
            self._aside.popleft()
            if delivery.ack is not None:
                delivery.ack()
        return seq

    def _room(self, *, full: bool, reason: str = "") -> None:
        if full is not self._full:
            self._full = full
            if full:
                log.warning("spool_full", reason=reason)
            else:
                log.info("spool_has_room")

    # --- when it is back

    async def settle(self, store: Store, enter: Callable[[Thought, Committed], None]) -> None:
        """Find out about a commit whose answer was lost: in this process, or in one that was killed.

        Args:
            store: to ask.
            enter: called if the batch that this process was unsure of is stored.

        Raises:
            DatabaseAway: ask again later.
        """
        unsure, mark = self._unsure, await self._spool.marked()
        token = mark[0] if mark is not None else unsure.token if unsure is not None else None
        if token is None:
            return
        stored = await store.resolve(token)
        self._unsure = None
        if not stored:
            if mark is not None and self._inherited_mark:
                await self._count(until=mark[1])
        elif unsure is not None:
            enter(unsure.thought, unsure.committed)
            if unsure.aside:
                for delivery in unsure.thought.deliveries:
                    self._aside.popleft()
                    if delivery.ack is not None:
                        delivery.ack()
        if stored and mark is not None:
            await self._written(lambda: self._spool.forget(mark[1]))
        self._inherited_mark = False

    async def next(self) -> Entries | Sequence[Delivery]:
        """The next batch to store: entries of the spool, to be forgotten later, or deliveries that never got in.

        What has come into the inbox goes into the spool first, if it has room.
        """
        if self._spool.entries:
            if not self._aside and self._inbox.messages and not self._spool.full:
                self._aside.extend(await self._inbox.take(self._batch_messages, 0))
            await self._shelve(len(self._aside))
            return await self._spool.first(self._batch_messages)
        deliveries = list(self._aside)
        self._aside.clear()
        return deliveries

    async def committing(self, entries: Entries) -> UUID:
        """Before a batch of entries is committed: the token that its transaction is to leave."""
        token = uuid4()
        await self._written(lambda: self._spool.mark(token, entries.seq))
        return token

    async def committed(self, entries: Entries) -> None:
        """They are in the database."""
        await self._written(lambda: self._spool.forget(entries.seq))

    async def _written(self, write: Callable[[], Awaitable[None]]) -> None:
        """Hold until there is room on the disk for what takes something out of the spool."""
        ceiling, held = _FIRST_BACKOFF, False
        while True:
            try:
                await write()
            except SpoolFull as exc:
                held = True
                self._room(full=True, reason=str(exc))
            else:
                if held:
                    self._room(full=False)
                return
            await asyncio.sleep(random.uniform(0, ceiling))  # noqa: S311  # jitter, not a secret
            ceiling = min(2 * ceiling, _LONGEST_BACKOFF)
