"""What a batch becomes before it is committed: decoded, freed of what was heard before, judged.

Everything depends on the deliveries, their order, and the ``Mind``; the mind changes with every batch thought about, so
batches are thought about one after the other, in order, and one that could not be committed as it was costs a new mind.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, replace
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Protocol

import numpy as np

from decoders.arrival import in_order, spread
from decoders.block import Block
from decoders.identity import source_id
from decoders.records import Name, Observations, Reason, Reject, concatenate
from ingest.deciding import deciding
from storage.batch import Batch
from storage.errors import RowRefused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from alerting.engine import Engine
    from alerting.model import Notification, Transition
    from decoders.block import Decoder
    from decoders.window import ReceptionWindow
    from ingest.delivery import Delivery
    from storage.work import Work

#: Below this many messages a batch is decoded and judged on the event loop; above, in a thread, so that
#: keep-alives and health checks go on being answered, and the commit of the batch before goes on.
_THREAD_FROM = 500
_FORMER_SOURCE = "former"

_SENT = ("transponder", "digest", "source", "time", "received_at")
_TRANSMISSION = np.dtype([(name, "i8") for name in (*_SENT, "first_time", "first_source")])


@dataclass(slots=True)
class Mind:
    """All that a batch's outcome depends on beside the batch: rebuilt from the database at start, and whenever a
    batch was decoded and judged but could not be committed as it was.
    """

    decoders: Mapping[str, Decoder]  # by the format of the source
    window: ReceptionWindow
    engine: Engine
    listened: int | None = None  # until when what was committed had listened, microseconds; None: not known
    fragments: Sequence[Block] = ()  # as stored


class Notifier(Protocol):
    """Who is to be told of a transition: the outbox rows to write."""

    def __call__(self, transitions: Sequence[Transition], /) -> Sequence[Notification]: ...


def nobody(_transitions: Sequence[Transition], /) -> Sequence[Notification]:
    """A ``Notifier`` by which nobody is told of anything."""
    return ()


@dataclass(slots=True, frozen=True)
class Thought:
    """A batch, ready to be committed."""

    deliveries: Sequence[Delivery]
    observations: Observations
    duplicates: set[int]  # messages of which nothing is left: all of it was heard before
    batch: Batch
    work: Work | None = None  # the batch made ready; None: it cannot be, and committing it will say why

    @property
    def empty(self) -> bool:
        """Whether there is nothing to write, nor to count."""
        return (
            not self.observations.messages
            and not self.observations.rejects
            and not self.batch.verdict.transitions
            and not self.batch.verdict.states
            and self.batch.fragments is None
        )


class Thinker:
    """Turns deliveries into thoughts.

    Args:
        formats: source name to the key of its decoder in ``Mind.decoders``.
        notifier: who is told of transitions.
        known: says which transmissions that the wire may have brought before are stored already: given rows of
            _TRANSMISSION, those of them, with time and source of the first hearing.
        prepare: makes a batch ready for its commit; raises RowRefused.
    """

    def __init__(
        self,
        formats: Mapping[str, str],
        notifier: Notifier,
        known: Callable[[NDArray[np.void]], Awaitable[NDArray[np.void]]],
        prepare: Callable[[Batch], Work],
    ) -> None:
        self._formats = dict(formats)
        self._notifier = notifier
        self._known = known
        self._prepare = prepare
        # Fragments may be waiting of a source that is configured no more.
        self.names = defaultdict(lambda: _FORMER_SOURCE, {source_id(name): name for name in formats})

    async def think(self, mind: Mind, deliveries: Sequence[Delivery], now: int) -> Thought:
        """Decode and judge; ``now`` is the tick that ends the batch, microseconds."""
        large = sum(d.messages for d in deliveries) >= _THREAD_FROM
        redelivered = _redelivered(deliveries)
        if not redelivered:
            if large:
                return await asyncio.to_thread(self._think, mind, deliveries, now)
            return self._think(mind, deliveries, now)
        observations = await asyncio.to_thread(self._decode, mind, deliveries, now)
        known = await self._stored(observations, redelivered)
        return await asyncio.to_thread(self._judge, mind, deliveries, observations, now, redelivered, known)

    def refuse(self, mind: Mind, delivery: Delivery, reason: Reason, detail: str, now: int) -> Thought:
        """A delivery that goes to quarantine as it is."""
        observations = Observations(messages=delivery.messages, rejects=[_as_it_is(delivery, 0, reason, detail)])
        verdict = mind.engine.judge(Observations(), now)
        batch = Batch(observations, verdict, self._told(verdict.transitions))
        return self._ready(Thought([delivery], observations, set(), batch))

    def note(self, thought: Thought) -> Thought:
        """A thought that holds nothing, to be committed all the same: that we listened."""
        return replace(thought, work=self._prepare(thought.batch))

    def give_up(self, mind: Mind, now: int) -> Thought:
        """The input has ended for good: what still waits for its other parts will wait in vain."""
        expired = concatenate(decoder.expire(2**62) for decoder in mind.decoders.values())
        return self._judge(mind, (), expired, now)

    def _think(self, mind: Mind, deliveries: Sequence[Delivery], now: int) -> Thought:
        return self._judge(mind, deliveries, self._decode(mind, deliveries, now), now)

    def _decode(self, mind: Mind, deliveries: Sequence[Delivery], now: int) -> Observations:
        blocks: dict[str, list[Block]] = defaultdict(list)
        damaged: list[Reject] = []
        first = 0
        for source, group in groupby(deliveries, attrgetter("source")):
            number = source_id(source)
            for d in group:
                if d.damaged:
                    damaged.append(_as_it_is(d, first, Reason.SPOOL_DAMAGED, "the checksum is wrong"))
                else:
                    block = Block(d.payload, number, d.origin, d.received_at, first, d.per_line, d.line, d.size)
                    blocks[self._formats[source]].append(block)
                first += d.messages
        parts = [mind.decoders[name].decode(of) for name, of in blocks.items()]
        if mind.fragments or any(part.pending for part in parts):
            expired = (decoder.expire(now) for decoder in mind.decoders.values())
            parts += [part for part in expired if part.rejects]
        observations = concatenate(parts)
        observations.rejects += damaged
        observations.messages = first
        if first > len(deliveries):
            messages = [d.messages for d in deliveries]
            spread(observations, np.repeat(np.cumsum(messages) - messages, messages))
        in_order(observations)
        sources = {d.source for d in deliveries if not d.damaged}
        observations.names.extend(Name("source", source_id(s), s, self._formats[s]) for s in sorted(sources))
        return observations

    async def _stored(self, observations: Observations, redelivered: set[int]) -> NDArray[np.void]:
        """What the database has already of AIS messages that the broker says it may have sent before.

        Most such messages carry no time of their own but their reception, which is another one the second time.
        """
        rows = [
            (*(int(row[name]) for name in _SENT), 0, 0)
            for table in (observations.positions, observations.statics)
            for row in table[(table["msg_type"] > 0) & np.isin(table["message"], list(redelivered))]
        ]
        rows += [
            (r.transponder, r.digest, r.source, r.time, r.received_at, 0, 0)
            for r in observations.records
            if r.message in redelivered
        ]
        sent = np.array(rows, _TRANSMISSION)
        if not len(sent):
            return sent
        return await self._known(sent)

    def _judge(
        self,
        mind: Mind,
        deliveries: Sequence[Delivery],
        observations: Observations,
        now: int,
        redelivered: set[int] | None = None,
        known: NDArray[np.void] | None = None,
    ) -> Thought:
        again = redelivered or set()
        heard = len(observations.positions) or len(observations.statics) or observations.records
        duplicates = mind.window.apply(observations, again, known) if heard else set()
        duplicates |= set(observations.repeated)
        if again:
            duplicates |= _finished_before(observations, again)
        verdict = mind.engine.judge(observations, now)
        fragments = [block for decoder in mind.decoders.values() for block in decoder.pending()]
        waited, mind.fragments = mind.fragments, fragments
        changed = fragments != list(waited)
        told = self._told(verdict.transitions)
        batch = Batch(observations, verdict, told, fragments=fragments if changed else None, until=now)
        if verdict.transitions:
            batch.deciding = deciding(deliveries, observations, verdict.transitions, waited, self._formats)
        return self._ready(Thought(deliveries, observations, duplicates, batch))

    def _ready(self, thought: Thought) -> Thought:
        if thought.empty:
            return thought
        try:
            return replace(thought, work=self._prepare(thought.batch))
        except RowRefused:  # told when its turn to be committed has come
            return thought

    def _told(self, transitions: Sequence[Transition]) -> Sequence[Notification]:
        return self._notifier(transitions) if transitions else ()


def _as_it_is(delivery: Delivery, message: int, reason: Reason, detail: str) -> Reject:
    return Reject(
        message,
        reason,
        delivery.payload,
        delivery.received_at,
        source_id(delivery.source),
        delivery.origin,
        detail,
        delivery.line,
    )


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
            out.update(range(first, first + delivery.messages))
        first += delivery.messages
    return out
