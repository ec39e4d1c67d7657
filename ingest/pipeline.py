"""The data's way: inbox -> decode -> judge -> commit -> ledger -> ack.

One batch, one transaction. What is observed, what the rules made of it, the alerts and the notifications to send
commit together; only then is the wire told. Nothing here catches what it does not know: an unknown error ends the
process, the supervisor restarts it, and the broker delivers again what was not acked.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol, TypeVar, cast

import numpy as np
import structlog

from decoders.block import Block
from decoders.identity import source_id
from decoders.records import Name, Observations, Reason, Reject, concatenate
from ingest.delivery import count_lines
from ingest.ledger import fates, settle
from storage.batch import Batch, Committed
from storage.errors import CommitUnknown, DatabaseAway, RowRefused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from alerting.engine import Engine
    from alerting.model import Notification, Transition
    from decoders.block import Decoder
    from decoders.window import ReceptionWindow
    from ingest.delivery import Delivery
    from ingest.inbox import Inbox
    from ingest.telemetry import Telemetry
    from storage.writer import Store

log = structlog.get_logger()

T = TypeVar("T")

#: Below this many messages a batch is decoded and judged on the event loop; above, in a thread, so that
#: keep-alives and health checks go on being answered.
_THREAD_FROM = 500
_LONGEST_BACKOFF = 10.0
_FORMER_SOURCE = "former"
#: How long a broker may keep a message for us, and so how far back a redelivered one is looked for.
_REDELIVERED_US = 14 * 86_400_000_000


@dataclass(slots=True)
class Mind:
    """All that a batch's outcome depends on beside the batch: rebuilt from the database at start, and whenever a
    batch was decoded and judged but could not be committed as it was.
    """

    decoders: Mapping[str, Decoder]  # by the format of the source
    window: ReceptionWindow
    engine: Engine
    fragments: Sequence[Block] = ()  # as stored


class Notifier(Protocol):
    """Who is to be told of a transition: the outbox rows to write."""

    def __call__(self, transitions: Sequence[Transition]) -> Sequence[Notification]: ...


@dataclass(slots=True)
class Totals:
    """What the pipeline has written since it started."""

    rows: dict[str, int] = field(default_factory=lambda: {"positions": 0, "readings": 0, "statics": 0})
    alerts: int = 0  # fired


class Pipeline:
    """Takes batches out of the inbox until it is closed and empty."""

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
    ) -> None:
        self._inbox = inbox
        self._store = store
        self._telemetry = telemetry
        self._remember = remember
        self._formats = dict(formats)
        self._notifier = notifier
        self._batch_messages = batch_messages
        self._tick = tick
        self._clock = clock
        self._on_committed = on_committed
        self._mind: Mind | None = None
        # Fragments may be waiting of a source that is configured no more.
        self._names = defaultdict(lambda: _FORMER_SOURCE, {source_id(name): name for name in formats})
        self._busy_since: int | None = None
        self._now = 0  # the latest received_at
        self.totals = Totals()
        self.started = asyncio.Event()
        telemetry.oldest = self.oldest

    def oldest(self) -> int | None:
        """``received_at`` of the oldest message that is not yet committed, microseconds, or None."""
        return self._busy_since if self._busy_since is not None else self._inbox.oldest()

    def waiting(self) -> int:
        """Messages that wait for the other parts of a multi-sentence message, counted where they wait."""
        return sum(block.messages for block in self._mind.fragments) if self._mind is not None else 0

    async def run(self) -> None:
        """Until the inbox is closed and empty."""
        self._mind = await self._hold(self._remember)
        for block in self._mind.fragments:
            self._telemetry.ledger.inherit(self._names[block.source], block.messages)
        self.started.set()
        while True:
            deliveries = await self._inbox.take(self._batch_messages, self._tick)
            if not deliveries and self._inbox.closed:
                return
            self._busy_since = deliveries[0].received_at if deliveries else None
            await self._process(deliveries)
            self._busy_since = None

    async def finish(self) -> None:
        """The input has ended for good (a replay): what still waits for its other parts will wait in vain."""
        assert self._mind is not None
        await self._settle_expired(2**62, self._now)

    # --- one batch

    async def _process(self, deliveries: Sequence[Delivery]) -> None:
        now = self._time(deliveries)
        try:
            observations, duplicates, batch = await self._think(deliveries, now)
            committed = await self._commit(batch)
        except RowRefused as exc:
            await self._divide(deliveries, exc)
            return
        self._enter(deliveries, observations, duplicates, committed, batch)
        for delivery in deliveries:
            if delivery.ack is not None:
                delivery.ack()
        await self._settle_expired(now, now)

    def _time(self, deliveries: Sequence[Delivery]) -> int:
        """The tick that ends this batch: never ahead of what still waits, or alerts would depend on batches.

        Only when nothing waits is it the wall clock; in a replay there is none.
        """
        if deliveries:
            self._now = max(self._now, deliveries[-1].received_at)
        elif self._clock is not None:
            self._now = max(self._now, self._clock())
        return self._now

    async def _think(self, deliveries: Sequence[Delivery], now: int) -> tuple[Observations, set[int], Batch]:
        """Decode and judge."""
        assert self._mind is not None
        mind = self._mind
        messages = sum(d.messages for d in deliveries)
        if messages < _THREAD_FROM:
            observations = self._decode(mind, deliveries)
        else:
            observations = await asyncio.to_thread(self._decode, mind, deliveries)
        redelivered = _redelivered(deliveries)
        known = await self._known(observations, redelivered) if redelivered else None
        if messages < _THREAD_FROM:
            return self._judge(mind, observations, redelivered, known, now)
        return await asyncio.to_thread(self._judge, mind, observations, redelivered, known, now)

    async def _known(self, observations: Observations, redelivered: set[int]) -> NDArray[np.void] | None:
        """What the database has already of AIS messages that the broker says it may have sent before.

        Such a message carries no time of its own but its reception, which is another one the second time.
        """
        rows = [
            (int(row["transponder"]), int(row["digest"]), int(row["source"]), int(row["received_at"]))
            for table in (observations.positions, observations.statics)
            for row in table[(table["msg_type"] > 0) & np.isin(table["message"], list(redelivered))]
        ]
        rows += [
            (r.transponder, r.digest, r.source, r.received_at) for r in observations.records if r.message in redelivered
        ]
        if not rows:
            return None
        found = np.array(rows, [("transponder", "i8"), ("digest", "i8"), ("source", "i8"), ("received_at", "i8")])
        since, until = int(found["received_at"].min()) - _REDELIVERED_US, int(found["received_at"].max())
        times = await self._hold(
            lambda: self._store.known(found["transponder"].copy(), found["digest"].copy(), since, until)
        )
        known: NDArray[np.void] = found[times != np.iinfo(np.int64).min]
        return known

    def _decode(self, mind: Mind, deliveries: Sequence[Delivery]) -> Observations:
        blocks: dict[str, list[Block]] = {}
        first = 0
        for d in deliveries:
            block = Block(d.payload, source_id(d.source), d.origin, d.received_at, first, d.per_line, d.line, d.size)
            blocks.setdefault(self._formats[d.source], []).append(block)
            first += d.messages
        observations = concatenate(mind.decoders[name].decode(of) for name, of in blocks.items())
        observations.messages = first
        sources = {d.source for d in deliveries}
        observations.names.extend(Name("source", source_id(s), s, self._formats[s]) for s in sorted(sources))
        return observations

    def _judge(
        self,
        mind: Mind,
        observations: Observations,
        redelivered: set[int],
        known: NDArray[np.void] | None,
        now: int,
    ) -> tuple[Observations, set[int], Batch]:
        duplicates = mind.window.apply(observations, redelivered, known)
        duplicates |= _finished_before(observations, redelivered)
        verdict = mind.engine.judge(observations, now)
        fragments = [block for decoder in mind.decoders.values() for block in decoder.pending()]
        batch = Batch(
            observations,
            verdict,
            self._notifier(verdict.transitions),
            fragments=fragments if fragments != list(mind.fragments) else None,
        )
        mind.fragments = fragments
        return observations, duplicates, batch

    async def _settle_expired(self, before: int, now: int) -> None:
        """Quarantine fragments that have waited too long for the rest of their message."""
        assert self._mind is not None
        if not self._mind.fragments:
            return
        expired = concatenate(decoder.expire(before) for decoder in self._mind.decoders.values())
        if not expired.rejects:
            return
        verdict = self._mind.engine.judge(Observations(), now)
        fragments = [block for decoder in self._mind.decoders.values() for block in decoder.pending()]
        self._mind.fragments = fragments
        batch = Batch(expired, verdict, self._notifier(verdict.transitions), fragments=fragments)
        committed = await self._commit(batch)
        self._enter((), expired, set(), committed, batch)

    # --- commit

    async def _commit(self, batch: Batch) -> Committed:
        """Commit, holding the batch for as long as the database is away."""
        observations = batch.observations
        nothing = (
            not observations.messages
            and not observations.rejects
            and not batch.verdict.transitions
            and not batch.verdict.states
            and batch.fragments is None
        )
        if nothing:
            return Committed.nothing()
        began = time.monotonic()
        committed = await self._hold(lambda: self._store.commit(batch))
        wait = time.time() - self._busy_since / 1e6 if self._busy_since is not None and self._clock else None
        rows = {
            "positions": int(committed.positions.sum()),
            "readings": int(committed.readings.sum()),
            "statics": int(committed.statics.sum()),
            "ais_messages": int(committed.records.sum()),
            "receptions": int(committed.receptions.sum()),
            "quarantine": int(committed.rejects.sum()) + len(committed.conflicts),
        }
        for table in self.totals.rows:
            self.totals.rows[table] += rows[table]
        self.totals.alerts += committed.alerts_fired
        self._telemetry.committed(seconds=time.monotonic() - began, wait=wait, rows=rows, batch_rows=sum(rows.values()))
        if self._on_committed is not None:
            self._on_committed(committed)
        return committed

    async def _hold(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Try until the database answers, with full-jitter back-off: nothing is dropped, nothing is acked meanwhile.

        Raises:
            RowRefused: the database will not take a row of the batch.
        """
        ceiling = 0.1
        unknown: CommitUnknown | None = None
        while True:
            try:
                if unknown is not None:
                    # The answer to a COMMIT was lost on the wire: it is either all there or not at all.
                    if await self._store.resolve(unknown.token):
                        self._telemetry.database(up=True)
                        return cast("T", unknown.committed)
                    unknown = None
                result = await attempt()
            except CommitUnknown as exc:
                unknown = exc
                reason = str(exc)
            except DatabaseAway as exc:
                reason = str(exc)
            else:
                self._telemetry.database(up=True)
                return result
            self._telemetry.database(up=False, reason=reason)
            await asyncio.sleep(random.uniform(0, ceiling))  # noqa: S311  # jitter, not a secret
            ceiling = min(ceiling * 2, _LONGEST_BACKOFF)

    def _enter(
        self,
        deliveries: Sequence[Delivery],
        observations: Observations,
        duplicates: Iterable[int],
        committed: Committed,
        batch: Batch,
    ) -> None:
        """Into the ledger and the counters."""
        found = fates(observations, committed, duplicates)
        spans, first = [], 0
        for delivery in deliveries:
            spans.append((delivery.source, first, delivery.messages))
            first += delivery.messages
        settle(self._telemetry.ledger, observations, found, spans, self._names, committed.rejects.tolist())
        for reject in observations.rejects:
            self._telemetry.rejected(reject.reason)
        for transition in batch.verdict.transitions:
            self._telemetry.alert(transition.rule_id, transition.state)
        self._telemetry.late("positions", batch.verdict.late_positions)
        self._telemetry.late("readings", batch.verdict.late_readings)

    # --- what could not be committed as it was

    async def _divide(self, deliveries: Sequence[Delivery], refusal: RowRefused) -> None:
        """Halve the batch until the culprit is alone, quarantine it, and store the rest.

        The decoders and the engine have already seen the whole batch, so they are rebuilt from the database, as
        after a restart, before the halves are tried.
        """
        self._mind = await self._hold(self._remember)
        if len(deliveries) > 1:
            middle = len(deliveries) // 2
            await self._process(deliveries[:middle])
            await self._process(deliveries[middle:])
            return
        (delivery,) = deliveries
        if delivery.messages > 1:
            for part in _halves(delivery):
                await self._process([part])
            return
        log.warning("row_refused", source=delivery.source, origin=delivery.origin, error=str(refusal))
        reject = Reject(
            0,
            Reason.DATABASE_REFUSED,
            delivery.payload,
            delivery.received_at,
            source_id(delivery.source),
            delivery.origin,
            str(refusal).splitlines()[0],
            delivery.line,
        )
        observations = Observations(messages=1, rejects=[reject])
        assert self._mind is not None
        verdict = self._mind.engine.judge(Observations(), self._now)
        batch = Batch(observations, verdict, self._notifier(verdict.transitions))
        committed = await self._commit(batch)
        self._enter(deliveries, observations, set(), committed, batch)
        if delivery.ack is not None:
            delivery.ack()


def _finished_before(observations: Observations, redelivered: set[int]) -> set[int]:
    """Take out last parts of messages that were finished before the broker sent them again; the messages they were.

    The broker delivers again in order: had the first part not been committed and acked, it would be here too.
    """
    late = [r for r in observations.rejects if r.reason is Reason.INCOMPLETE_MESSAGE and r.message in redelivered]
    if late:
        observations.rejects = [r for r in observations.rejects if r not in late]
    return {r.message for r in late}


def _redelivered(deliveries: Iterable[Delivery]) -> set[int]:
    """Messages of the batch that the broker says it may have sent before."""
    out: set[int] = set()
    first = 0
    for delivery in deliveries:
        if delivery.redelivered:
            out.add(first)
        first += delivery.messages
    return out


def _halves(delivery: Delivery) -> tuple[Delivery, Delivery]:
    """A delivery of several lines as two; the ack goes with the second."""
    lines = [line + b"\n" for line in delivery.payload.removesuffix(b"\n").split(b"\n")]
    middle = len(lines) // 2
    first, second = b"".join(lines[:middle]), b"".join(lines[middle:])
    return (
        replace(delivery, payload=first, messages=count_lines(first), ack=None),
        replace(delivery, payload=second, messages=count_lines(second), line=delivery.line and delivery.line + middle),
    )
