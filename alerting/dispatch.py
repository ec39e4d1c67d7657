"""Sending: reads the outbox, sends, THEN marks sent. Its own tasks, its own pace.

Each channel has a worker, so that one which hangs holds nobody else; each worker has a bounded number of sends on
their way. What fails for now is due again after a full-jitter exponential back-off; what fails for good, too often or
for too long is abandoned and stays in the outbox with its error. What a channel's rate limit or its quiet hours hold
back is left in the outbox, unclaimed, until its time (``alerting.desk.pace``). Killed between a send and its mark, the
same notification goes out again, with the same id: at least once, never lost.
"""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import structlog

from alerting.channels.base import PermanentFailure, Policy, TemporaryFailure
from alerting.desk.outbox import OutboxAway, urgency
from alerting.desk.pace import WINDOW, Pace, at_least, open_seconds

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from alerting.channels.base import Channel
    from alerting.desk.outbox import Outbox, QueuedNotification

_log = structlog.get_logger("haidang.dispatch")

#: A channel bounds its own time; this much later the dispatcher does, whatever the channel thinks.
_BACKSTOP_SECONDS: Final = 5.0
#: A claim outlives the longest send by this, for the mark that follows it.
_LEASE_MARGIN_SECONDS: Final = 10.0
#: Retry-After is obeyed up to here: nobody may park an alert for a week.
_MAX_RETRY_AFTER_SECONDS: Final = 3600.0
#: Between tries while the outbox is away.
_AWAY_SECONDS: Final = (0.1, 5.0)
#: For giving back, at the end, what could not be sent.
_RELEASE_SECONDS: Final = 1.0
_MAX_ERROR_CHARS: Final = 500


class Outcome(StrEnum):
    """What became of one try; told to ``on_outcome`` after the outbox knows."""

    SENT = "sent"
    RETRIED = "retried"  # failed for now
    ABANDONED = "abandoned"  # failed too often or for too long
    REFUSED = "refused"  # failed for good at the first answer


class Dispatcher:
    """Sends what the outbox holds. ``async with`` nothing: run it as one task, and ``stop`` it.

    ``on_outcome(channel, outcome)`` is called once for each finished try. Rows of a channel that is not in
    ``channels`` stay where they are. ``clock`` is unix time, ``monotonic`` one that never goes back; seconds.
    """

    def __init__(
        self,
        outbox: Outbox,
        channels: Mapping[str, Channel],
        *,
        policies: Mapping[str, Policy] | None = None,
        poll_seconds: float = 1.0,
        grace_seconds: float = 5.0,
        rng: random.Random | None = None,
        on_outcome: Callable[[str, Outcome], None] = lambda _channel, _outcome: None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._grace_seconds = grace_seconds
        self._stopping = asyncio.Event()
        policies = policies or {}
        self._workers = [
            _Worker(
                name=name,
                channel=channel,
                outbox=outbox,
                policy=policies.get(name, Policy()),
                poll_seconds=poll_seconds,
                rng=rng or random.Random(),  # noqa: S311  # spreads load, guards nothing
                on_outcome=on_outcome,
                stopping=self._stopping,
                clock=clock,
                monotonic=monotonic,
            )
            for name, channel in channels.items()
        ]

    async def run(self) -> None:
        """Send until ``stop``. Sends on their way then get ``grace_seconds`` to end; the others are given back.

        Raises:
            ExceptionGroup: a channel or the outbox raised what its protocol does not allow (a bug).
        """
        async with asyncio.TaskGroup() as group:
            for worker in self._workers:
                group.create_task(worker.run(self._grace_seconds), name=f"dispatch {worker.name}")

    def notify(self) -> None:
        """There may be something new in the outbox: look now, not at the next poll. Call it from the loop's thread."""
        for worker in self._workers:
            worker.wake.set()

    def stop(self) -> None:
        """Ask ``run`` to return. Safe to call twice."""
        self._stopping.set()
        self.notify()

    @property
    def failing(self) -> frozenset[str]:
        """Channels whose last try failed for now."""
        return frozenset(worker.name for worker in self._workers if worker.failing)


@dataclass(slots=True)
class _OnItsWay:
    row: QueuedNotification
    settled: bool = False  # the outbox knows what became of it


class _Worker:
    """One channel: claims no more than it can send at once."""

    def __init__(
        self,
        *,
        name: str,
        channel: Channel,
        outbox: Outbox,
        policy: Policy,
        poll_seconds: float,
        rng: random.Random,
        on_outcome: Callable[[str, Outcome], None],
        stopping: asyncio.Event,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self.name = name
        self.wake = asyncio.Event()
        self.failing = False
        self._channel = channel
        self._outbox = outbox
        self._policy = policy
        self._poll_seconds = poll_seconds
        self._rng = rng
        self._on_outcome = on_outcome
        self._stopping = stopping
        self._clock = clock
        self._monotonic = monotonic
        self._pace: Pace | None = None  # once known what was sent before we began
        self._lease_seconds = policy.timeout_seconds + _BACKSTOP_SECONDS + _LEASE_MARGIN_SECONDS
        self._away = 0  # calls in a row that found the outbox away
        self._tasks: dict[asyncio.Task[None], _OnItsWay] = {}

    async def run(self, grace_seconds: float) -> None:
        async with asyncio.TaskGroup() as sends:
            while not self._stopping.is_set():
                self.wake.clear()
                if not await self._claim(sends):
                    held = self._pace.wait(self._monotonic()) if self._pace else 0.0
                    await self._sleep(min(self._poll_seconds, held) if held else self._poll_seconds)
            await self._finish(grace_seconds)

    async def _claim(self, sends: asyncio.TaskGroup) -> bool:
        """Start what is due, up to the free places. False if there is nothing to do until something happens."""
        free = self._policy.concurrency - len(self._tasks)
        if free <= 0:
            return False
        try:
            pace = await self._paced()
            if pace is not None:
                free = min(free, pace.free(self._monotonic()))
            if free <= 0:
                return False
            severe = at_least(self._policy.quiet, self._clock())
            rows = await self._outbox.claim(self.name, free, self._lease_seconds, severe)
        except OutboxAway as error:
            await self._wait_out(error)
            return True
        self._back()
        ours = {entry.row.id for entry in self._tasks.values() if not entry.settled}
        for row in rows:
            # Ours still: its lease ended while the outbox was away, and its mark is yet to be made.
            if row.id not in ours:
                if pace is not None:
                    pace.took(self._monotonic())
                entry = _OnItsWay(row)
                task = sends.create_task(self._deliver(entry), name=f"send {self.name} {row.id}")
                self._tasks[task] = entry
                task.add_done_callback(self._ended)
        return False

    async def _paced(self) -> Pace | None:
        """The rate limit, if there is one; what was sent before this process began counts."""
        policy = self._policy
        if policy.rate_per_minute is not None and self._pace is None:
            ages = await self._outbox.recent(self.name, WINDOW)
            now = self._monotonic()
            self._pace = Pace(policy.rate_per_minute, policy.burst)
            for age in ages:
                self._pace.took(now - age)
        return self._pace

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._tasks[task]
        self.wake.set()

    async def _deliver(self, entry: _OnItsWay) -> None:
        row = entry.row
        failures = row.attempts + 1
        try:
            async with asyncio.timeout(self._policy.timeout_seconds + _BACKSTOP_SECONDS):
                remark = await self._channel.send(row)
        except PermanentFailure as error:
            outcome, text = Outcome.REFUSED, _clean(error)
            await self._settle(entry, lambda: self._outbox.abandon(row.id, text))
        except (TemporaryFailure, TimeoutError) as error:
            text = _clean(error)
            self._edge(error=text)
            if failures >= self._policy.max_attempts or self._age(row) >= self._policy.max_age_seconds:
                outcome = Outcome.ABANDONED
                await self._settle(entry, lambda: self._outbox.abandon(row.id, text))
            else:
                outcome = Outcome.RETRIED
                asked = getattr(error, "retry_after", None) or 0.0
                delay = max(self._policy.delay(failures, self._rng), min(asked, _MAX_RETRY_AFTER_SECONDS))
                await self._settle(entry, lambda: self._outbox.retry(row.id, text, delay))
        else:
            outcome, text = Outcome.SENT, ""
            self._edge(error=None)
            await self._settle(entry, lambda: self._outbox.sent(row.id, remark))
            if remark is not None:
                _log.warning("notification.sent_in_part", channel=self.name, notification_id=str(row.id), remark=remark)
        if outcome in {Outcome.ABANDONED, Outcome.REFUSED}:
            _log.error(
                "notification.abandoned",
                channel=self.name,
                notification_id=str(row.id),
                alert_id=str(row.alert_id),
                attempts=failures,
                outcome=outcome.value,
                error=text,
            )
        self._on_outcome(self.name, outcome)

    def _age(self, row: QueuedNotification) -> float:
        """Seconds in which it might have been sent: those that quiet hours kept from it are not held against it."""
        now = self._clock()
        return open_seconds(self._policy.quiet, urgency(row.payload), now - row.age_seconds, now)

    async def _settle(self, entry: _OnItsWay, mark: Callable[[], Awaitable[None]]) -> None:
        """Tell the outbox, however long it is away; the place stays taken meanwhile."""
        while True:
            try:
                await mark()
            except OutboxAway as error:
                await self._wait_out(error)
            else:
                self._back()
                entry.settled = True
                return

    async def _finish(self, grace_seconds: float) -> None:
        """Let what is on its way end within the grace; give the rest back, so that it is due at once."""
        entries = list(self._tasks.values())
        if tasks := list(self._tasks):
            _, late = await asyncio.wait(tasks, timeout=grace_seconds)
            for task in late:
                task.cancel()
            await asyncio.wait(tasks)
        with suppress(TimeoutError, OutboxAway):  # then the leases end by themselves
            async with asyncio.timeout(_RELEASE_SECONDS):
                for entry in entries:
                    if not entry.settled:
                        await self._outbox.release(entry.row.id)

    async def _sleep(self, seconds: float) -> None:
        """Until woken, at most ``seconds``."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.wake.wait()

    async def _wait_out(self, error: OutboxAway) -> None:
        self._away += 1
        if self._away == 1:
            _log.warning("outbox.away", channel=self.name, error=str(error))
        first, most = _AWAY_SECONDS
        delay = self._rng.uniform(0.0, min(most, first * 2.0 ** min(self._away, 60)))
        with suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await self._stopping.wait()
        if self._stopping.is_set():
            await asyncio.sleep(first)  # the last tries within the grace are no busy loop

    def _back(self) -> None:
        if self._away:
            _log.info("outbox.back", channel=self.name)
        self._away = 0

    def _edge(self, *, error: str | None) -> None:
        """Log where a channel starts failing and where it recovers, not every failure between."""
        if error is not None and not self.failing:
            _log.warning("channel.failing", channel=self.name, error=error)
        elif error is None and self.failing:
            _log.info("channel.recovered", channel=self.name)
        self.failing = error is not None


def _clean(error: Exception) -> str:
    """One printable line that every database takes, for a person."""
    text = str(error) or type(error).__name__
    return "".join(char if char.isprintable() else " " for char in text)[:_MAX_ERROR_CHARS]
