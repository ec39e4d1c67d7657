"""The data's way: inbox -> decode -> judge -> commit -> ledger -> ack.

One batch, one transaction. What is observed, what the rules made of it, the alerts and the notifications to send
commit together; only then is the wire told. Nothing here catches what it does not know: an unknown error ends the
process, the supervisor restarts it, and the broker delivers again what was not acked.

While one batch commits, the next is decoded and judged; never more than these two are out of the inbox. When the
database stays away and there is a spool, both go there, and everything that comes after them (``ingest.backlog``).
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
import structlog

from decoders.records import Reason
from decoders.window import SPAN_US
from ingest.backlog import Backlog, Unsure
from ingest.books import Books
from ingest.clock import Steps
from ingest.hold import Hold, Outage
from ingest.spool_file import Entries
from ingest.thought import Thinker
from storage.errors import RowRefused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from uuid import UUID

    from numpy.typing import NDArray

    from ingest.books import Totals
    from ingest.delivery import Delivery
    from ingest.inbox import Inbox
    from ingest.spool import Spool
    from ingest.telemetry import Telemetry
    from ingest.thought import Mind, Notifier, Thought
    from storage.batch import Committed
    from storage.writer import Store

log = structlog.get_logger()

T = TypeVar("T")

#: How often an idle process notes that it has been listening.
_NOTE_US = 30_000_000
#: A commit that took this long may have held the sources back: what did not come meanwhile was perhaps not heard.
_HELD_SECONDS = 60.0
#: How long a broker may keep a message for us, and so how far back a redelivered one is looked for.
_REDELIVERED_US = 14 * 86_400_000_000
_NOT_STORED = np.iinfo(np.int64).min


@dataclass(slots=True, frozen=True)
class _Flight:
    """A batch on its way into the database."""

    thought: Thought
    landing: asyncio.Task[None]


class _Act(NamedTuple):
    """Something to do between two batches, and who waits for it."""

    act: Callable[[], Awaitable[bool]]
    done: asyncio.Future[None]


class _Interrupted(Exception):  # noqa: N818  # a state, not a fault
    """The database stays away; ``unsure`` is the batch whose COMMIT was sent and not answered, if any."""

    def __init__(self, unsure: Unsure | None = None) -> None:
        super().__init__("the database stays away")
        self.unsure = unsure


class Pipeline:
    """Takes batches out of the inbox until it is closed and empty.

    Args:
        inbox: where deliveries come from.
        store: where they go.
        telemetry: what is told, the ledger above all.
        remember: builds a mind from the database; raises DatabaseAway.
        formats: source name to the key of its decoder.
        notifier: who is told of alerts.
        batch_messages: most messages in one transaction.
        tick: seconds after which rules are looked at though nothing came; None: never.
        clock: microseconds; None: time is that of the deliveries alone (a replay).
        on_committed: called after each commit.
        spool: opened; where deliveries go when the database stays away. None: they are held.
        patience: seconds the database may be away before the spool is used.
    """

    def __init__(
        self,
        inbox: Inbox,
        store: Store,
        telemetry: Telemetry,
        remember: Callable[[], Awaitable[Mind]],
        *,
        formats: Mapping[str, str],
        notifier: Notifier,
        batch_messages: int = 20_000,
        tick: float | None = 1.0,
        clock: Callable[[], int] | None = None,
        on_committed: Callable[[Committed], None] | None = None,
        spool: Spool | None = None,
        patience: float = 5.0,
    ) -> None:
        self._inbox = inbox
        self._store = store
        self._telemetry = telemetry
        self._remember = remember
        self._thinker = Thinker(formats, notifier, self._known, store.prepare)
        self._books = Books(telemetry, self._thinker.names, live=clock is not None, on_committed=on_committed)
        self._batch_messages = batch_messages
        self._tick = tick
        self._clock = clock
        self._backlog = Backlog(spool, inbox, telemetry.ledger, batch_messages) if spool is not None else None
        self._hold = Hold(store, telemetry, patience if spool is not None else None)
        self._mind: Mind | None = None
        self._stale = False  # it is to be made anew
        self._remembered = False
        self._noted = 0  # the latest tick committed
        self._listening_since = 0  # when this process began to; 0: when it has its first mind
        self._held_until: int | None = None  # when a long hold ended, until what came after it is judged
        #: Spans in which we could not hear (``alerting.judging.hearing``), for minds to come.
        self._deaf: list[tuple[int, int]] = []
        self._flight: _Flight | None = None
        self._acts: deque[_Act] = deque()  # to be done between two batches
        #: Out of the inbox, and neither committed nor in the backlog; in order.
        self._aloft: deque[Delivery] = deque()
        self._steps = Steps()
        self._now = 0  # the latest received_at, or tick
        self.started = asyncio.Event()
        telemetry.oldest = self.oldest

    @property
    def totals(self) -> Totals:
        """What has been written since the start."""
        return self._books.totals

    def oldest(self) -> int | None:
        """``received_at`` of the oldest message that is neither committed nor in the spool, microseconds, or None."""
        return self._aloft[0].received_at if self._aloft else self._inbox.oldest()

    def waiting(self) -> int:
        """Messages that wait for the other parts of a multi-sentence message, or in the backlog."""
        return self._books.unfinished + (self._backlog.messages if self._backlog is not None else 0)

    async def run(self) -> None:
        """Until the inbox is closed and empty; what is in the spool then stays there."""
        if self._backlog is not None:
            self._now = max(self._now, await self._backlog.inherit())
            self._listening_since = self._clock() if self._clock is not None else 0
        try:
            going = True
            while going:
                try:
                    going = await self._step()
                except _Interrupted as interrupted:
                    going = await self._sit_out(interrupted.unsure)
        finally:
            if self._flight is not None:
                self._flight.landing.cancel()

    def forget(self) -> None:
        """Have a new mind after this batch: what it is made of has changed."""
        self._stale = True
        self._inbox.wake()

    async def between(self, act: Callable[[], Awaitable[bool]]) -> None:
        """Have something done while no batch is under way and all that was judged is committed.

        ``act`` says whether the mind is to be made anew, for what it is made of has changed; if it raises, it is, and
        what it raised is raised here.
        """
        waiting = _Act(act, asyncio.get_running_loop().create_future())
        self._acts.append(waiting)
        self._inbox.wake()
        await waiting.done

    async def finish(self) -> None:
        """The input has ended for good (a replay): what still waits for its other parts will wait in vain."""
        assert self._mind is not None
        self._launch(self._thinker.give_up(self._mind, self._now))
        await self._landed()

    # --- one batch after the other

    async def _step(self) -> bool:
        """One batch; False when there will be no more."""
        if self._acts and self._mind is not None:
            await self._landed()
            await self._act()
        if self._stale and self._mind is not None:
            await self._landed()  # the new mind is to know what the old one made of this batch
            self._mind = None
        if self._mind is None:
            self._stale = False
            self._mind = await self._until(self._recall)
        if not self.started.is_set():
            self.started.set()
        if self._backlog:
            batch = await self._backlog.next()
            if isinstance(batch, Entries):
                await self._drain(self._backlog, batch)
                return not self._inbox.closed or bool(self._inbox.messages or self._backlog.held)
        else:
            batch = await self._inbox.take(self._batch_messages, self._tick)
        self._aloft.extend(batch)
        await self._process(batch)
        if batch or not self._inbox.closed:
            return True
        await self._landed()
        return False

    async def _act(self) -> None:
        """Do what is to be done between two batches."""
        while self._acts:
            act, done = self._acts.popleft()
            if done.cancelled():
                continue
            try:
                self._stale |= await act()
            except BaseException as exc:  # it is for who asked to see to it
                self._stale = True
                if not isinstance(exc, Exception):
                    raise
                if not done.cancelled():
                    done.set_exception(exc)
            else:
                if not done.cancelled():
                    done.set_result(None)

    async def _process(self, deliveries: Sequence[Delivery]) -> None:
        """Think about a batch while the one before commits, then commit it in its turn."""
        if self._held_until is not None:
            deliveries = await self._after_hold(deliveries, self._held_until)
        now = self._time(deliveries)
        if any(d.redelivered for d in deliveries):
            await self._landed()  # the database is to be asked about them
        thought = await self._think(deliveries, now)
        if await self._landed():
            thought = await self._think(deliveries, now)
        if thought.empty and self._clock is not None and now - self._noted >= _NOTE_US:
            thought = self._thinker.note(thought)
        if thought.work is not None or not thought.empty:
            self._launch(thought)

    async def _after_hold(self, deliveries: Sequence[Delivery], until: int) -> Sequence[Delivery]:
        """Judge what had come before a long hold ended, then say that we could not hear; what is left of the batch."""
        before = [d for d in deliveries if d.received_at <= until]
        if before and len(before) == len(deliveries):
            return deliveries
        self._held_until = None
        if before:
            await self._process(before)
        self._cannot_hear(self._now, until)
        return deliveries[len(before) :]

    def _cannot_hear(self, since: int, until: int) -> None:
        self._deaf = [*self._deaf[-15:], (since, until)]
        if self._mind is not None:
            self._mind.engine.deaf(since, until)

    async def _drain(self, backlog: Backlog, entries: Entries) -> None:
        """Commit a batch of the spool."""
        await self._landed()
        thought = await self._think(entries.deliveries, self._time(entries.deliveries))
        token = await backlog.committing(entries)
        parts: list[Delivery] = []
        try:
            await self._land(thought, token)
        except RowRefused as exc:
            try:
                await self._divide(entries.deliveries, exc, parts)
            except _Interrupted:
                for part in parts:  # stored, and about to come out of the spool again
                    self._telemetry.received(part.source, part.messages)
                raise _Interrupted from None
        await backlog.committed(entries)

    def _time(self, deliveries: Sequence[Delivery]) -> int:
        """The tick that ends this batch: never ahead of what still waits, or alerts would depend on batches.

        Only when nothing waits is it the wall clock; in a replay there is none.
        """
        before = self._now
        if deliveries:
            self._now = max(self._now, deliveries[-1].received_at + deliveries[-1].messages - 1)
        elif self._clock is not None:
            self._now = max(self._now, self._clock())
        if self._clock is not None and (gained := self._steps.gained(self._clock())):
            # Nobody was silent during an hour that never was, or that this machine slept through.
            log.warning("clock_stepped", seconds=round(gained / 1e6))
            if before and gained > 0:
                self._cannot_hear(before, before + gained)
        return self._now

    async def _think(self, deliveries: Sequence[Delivery], now: int) -> Thought:
        assert self._mind is not None
        return await self._thinker.think(self._mind, deliveries, now)

    async def _known(self, sent: NDArray[np.void]) -> NDArray[np.void]:
        # What says itself when it was sent is not what was sent at another time, however alike: a vessel at anchor.
        own = sent["time"] != sent["received_at"]
        since = np.where(own, sent["time"] - SPAN_US, sent["received_at"] - _REDELIVERED_US)
        until = np.where(own, sent["time"] + SPAN_US, sent["received_at"])
        times, sources = await self._until(
            lambda: self._store.known(sent["transponder"].copy(), sent["digest"].copy(), since, until)
        )
        stored = times != _NOT_STORED
        known: NDArray[np.void] = sent[stored]
        known["first_time"], known["first_source"] = times[stored], sources[stored]
        return known

    # --- commit

    def _launch(self, thought: Thought) -> None:
        landing = asyncio.create_task(self._land(thought), name="commit")
        landing.add_done_callback(self._look)
        self._flight = _Flight(thought, landing)

    def _look(self, landing: asyncio.Task[None]) -> None:
        """A commit that failed is to be seen to at once, not when the next message comes."""
        if landing.cancelled() or landing.exception() is not None:
            self._inbox.wake()

    async def _landed(self) -> bool:
        """Wait for the commit under way. True: it was refused and divided, and the mind is a new one.

        Raises:
            _Interrupted: the database stays away.
        """
        flight, self._flight = self._flight, None
        if flight is None:
            return False
        try:
            await flight.landing
        except RowRefused as exc:
            await self._divide(flight.thought.deliveries, exc, [])
            return True
        finally:
            del flight  # its task holds an error whose traceback holds this frame
        return False

    async def _land(self, thought: Thought, token: UUID | None = None) -> None:
        """Commit, enter it into the ledger, ack.

        Raises:
            RowRefused: the database will not take a row of it.
            _Interrupted: the database stays away.
        """
        began = time.monotonic()
        try:
            committed = await self._hold.commit(lambda: self._store.commit(thought.work or thought.batch, token))
        except Outage as outage:
            lost = outage.unknown
            unsure = None if lost is None else Unsure(lost.token, thought, lost.committed, aside=token is None)
            raise _Interrupted(unsure) from None
        took = time.monotonic() - began
        self._books.enter(thought, committed, took)
        if thought.batch.until is not None:
            self._noted = thought.batch.until
        if took > _HELD_SECONDS and self._clock is not None and self._backlog is None:
            self._held_until = self._clock()
        for delivery in thought.deliveries:
            if self._aloft and self._aloft[0] is delivery:
                self._aloft.popleft()
            if delivery.ack is not None:
                delivery.ack()

    # --- what could not be committed as it was

    async def _divide(self, deliveries: Sequence[Delivery], refusal: RowRefused, landed: list[Delivery]) -> None:
        """Halve the batch until the culprit is alone, quarantine it, and store the rest.

        The decoders and the engine have already seen the whole batch, so they are rebuilt from the database, as
        after a restart, before the halves are tried. What has been stored is added to ``landed``.
        """
        if not deliveries:  # it is not what was received that is refused, but what we made of the time
            raise refusal
        self._mind = await self._until(self._remember_all)
        if len(deliveries) > 1:
            middle = len(deliveries) // 2
            parts: Sequence[Sequence[Delivery]] = (deliveries[:middle], deliveries[middle:])
        elif deliveries[0].messages > 1:
            halves = deliveries[0].halves()
            if self._aloft and self._aloft[0] is deliveries[0]:
                self._aloft.popleft()
                self._aloft.extendleft(reversed(halves))
            parts = [[half] for half in halves]
        else:
            (delivery,) = deliveries
            log.warning("row_refused", source=delivery.source, origin=delivery.origin, error=str(refusal))
            why = str(refusal).splitlines()[0]
            await self._land(self._thinker.refuse(self._mind, delivery, Reason.DATABASE_REFUSED, why, self._now))
            landed.append(delivery)
            return
        for part in parts:
            try:
                await self._land(await self._think(part, self._time(part)))
            except RowRefused as exc:
                await self._divide(part, exc, landed)
            else:
                landed.extend(part)

    # --- while the database is away

    async def _until(self, attempt: Callable[[], Awaitable[T]]) -> T:
        try:
            return await self._hold.until(attempt)
        except Outage:
            raise _Interrupted from None

    async def _recall(self) -> Mind:
        """A new mind, after what the last commit left open is known."""
        if self._backlog is not None:
            await self._backlog.settle(self._store, self._books.enter)
        mind = await self._remember_all()
        self._books.open(mind.fragments)
        if not self._remembered:
            self._remembered = True
            if self._clock is not None and mind.listened is not None:
                # What was sent while no process listened could not be heard.
                span = max(mind.listened, self._now), self._listening_since or self._clock()
                self._deaf.append(span)
                mind.engine.deaf(*span)
            self._books.inherit(mind.fragments)
        return mind

    async def _remember_all(self) -> Mind:
        mind = await self._remember()
        for since, until in self._deaf:
            mind.engine.deaf(since, until)
        return mind

    async def _sit_out(self, unsure: Unsure | None) -> bool:
        """Move what is aloft, and what arrives, into the spool until the database is back.

        Returns:
            False: the inbox was closed, and all of it is in the spool.
        """
        assert self._backlog is not None
        self._mind = self._flight = None
        aloft = list(self._aloft)
        self._aloft.clear()
        await self._backlog.take_in(aloft, unsure)
        self.started.set()
        back = asyncio.create_task(self._hold.until(self._recall, patient=True), name="database away")
        try:
            if not await self._backlog.while_waiting(back):
                return False
            self._mind = await back
        finally:
            back.cancel()
        return True
