"""The one place where deliveries wait: bounded, and full means that sources stop reading.

A batch is whatever arrived while the last one committed, up to a size. There is no timer: a quiet system commits
each message as it comes, a busy one thousands at a time.

A deque and two events, not ``asyncio.Queue``: a consumer that dies cannot leave producers waiting for ever
(``close`` wakes all of them), and taking a whole batch is one call.

Here the order of arrival is made: every message gets an instant of its own, so that ``received_at`` says it for good,
and rows read from the tables can be judged again as they came (``decoders.arrival``).
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest.delivery import Delivery

#: How far the instants handed out may run ahead of the clock: one that was put back is not held up for longer.
_AHEAD_US: Final = 1_000_000


class InboxClosed(Exception):  # noqa: N818  # a state, not a fault
    """No more deliveries are taken in."""


class Inbox:
    """Bounded hand-off between sources and the pipeline, counted in messages and in payload bytes."""

    def __init__(self, max_messages: int = 50_000, max_bytes: int = 64 * 2**20) -> None:
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._waiting: deque[Delivery] = deque()
        self._messages = 0
        self._bytes = 0
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._closed = False
        self._free = 0  # the first instant that no message has yet

    @property
    def messages(self) -> int:
        """Messages waiting."""
        return self._messages

    @property
    def bytes(self) -> int:
        """Payload bytes waiting."""
        return self._bytes

    @property
    def full(self) -> bool:
        return self._messages >= self._max_messages or self._bytes >= self._max_bytes

    @property
    def closed(self) -> bool:
        return self._closed

    def oldest(self) -> int | None:
        """``received_at`` of the delivery that waits longest, or None."""
        return self._waiting[0].received_at if self._waiting else None

    async def put(self, delivery: Delivery) -> None:
        """Wait for room, then hand over: while this waits, the source does not read and TCP's window closes.

        Raises:
            InboxClosed: the pipeline has stopped.
        """
        while self.full and not self._closed:
            await self._room.wait()
        self.force(delivery)

    def offer(self, delivery: Delivery) -> bool:
        """Hand over if there is room. False: there is none, and what cannot be held back is to be shed.

        Raises:
            InboxClosed: the pipeline has stopped.
        """
        if self.full:
            return False
        self.force(delivery)
        return True

    def force(self, delivery: Delivery) -> None:
        """Hand over whatever the fill: for QoS 1, whose senders are bounded by Receive Maximum instead.

        Raises:
            InboxClosed: the pipeline has stopped.
        """
        if self._closed:
            raise InboxClosed
        if (instant := self.instant(delivery.received_at)) != delivery.received_at:
            delivery = delivery._replace(received_at=instant)
        self._took([delivery], instant + delivery.messages, delivery.messages, len(delivery.payload))

    def instant(self, now: int) -> int:
        """When what arrives now counts as received, microseconds: at an instant that no message has yet."""
        return self._free if 0 < self._free - now <= _AHEAD_US else now

    def force_all(self, deliveries: Sequence[Delivery]) -> None:
        """Hand over as ``force`` does what arrived together, at least one: a message each, its ``received_at`` the
        ``instant`` of the first, and of each of the others a microsecond more than of the one before.

        Raises:
            InboxClosed: the pipeline has stopped; none is taken.
        """
        if self._closed:
            raise InboxClosed
        count = len(deliveries)
        size = sum([len(delivery.payload) for delivery in deliveries])
        self._took(deliveries, deliveries[-1].received_at + 1, count, size)

    def _took(self, deliveries: Sequence[Delivery], free: int, messages: int, size: int) -> None:
        self._free = free
        self._waiting += deliveries
        self._messages += messages
        self._bytes += size
        self._arrived.set()
        if self.full:
            self._room.clear()

    async def room(self) -> None:
        """Wait until there is room (or the inbox is closed)."""
        await self._room.wait()

    async def take(self, max_messages: int, wait: float | None = None) -> list[Delivery]:
        """Everything that has arrived, in order, up to ``max_messages`` (but at least one delivery).

        Args:
            max_messages: where to end the batch; a single larger delivery still comes whole.
            wait: seconds to wait for the first delivery; None waits for ever.

        Returns:
            Deliveries; an empty list when ``wait`` ran out, after ``wake``, or when the inbox is closed and empty.
        """
        if not self._waiting and not self._closed:
            try:
                async with asyncio.timeout(wait):
                    await self._arrived.wait()
            except TimeoutError:
                return []
        batch: list[Delivery] = []
        taken = 0
        while self._waiting and (not batch or taken + self._waiting[0].messages <= max_messages):
            delivery = self._waiting.popleft()
            taken += delivery.messages
            self._bytes -= len(delivery.payload)
            batch.append(delivery)
        self._messages -= taken
        if not self._waiting and not self._closed:
            self._arrived.clear()
        if not self.full:
            self._room.set()
        return batch

    def wake(self) -> None:
        """Let ``take`` return, with nothing if nothing waits: something else needs its caller."""
        self._arrived.set()

    def close(self) -> None:
        """Take no more in; what waits can still be taken out. Safe to repeat."""
        self._closed = True
        self._arrived.set()
        self._room.set()
