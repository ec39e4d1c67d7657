"""The outbox as the dispatcher sees it: queued notifications, claimed, tried, and brought to an end.

Rows are written by the batch's own transaction (storage); this module says what the dispatcher asks of them
afterwards, and ships ``MemoryOutbox``, which keeps the same contract without a database.

The life of a row: *pending* -> (*claimed* -> *pending* again, later) ... -> *sent* or *abandoned*. Nothing is
deleted: an abandoned row keeps its error.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from alerting.model import Event, Severity

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from uuid import UUID

    from alerting.model import Notification

#: Of events of one alert at the same event time, which is told first.
EVENT_ORDER: Final = tuple(event.value for event in Event)


def urgency(payload: Mapping[str, Any]) -> int:
    """The rank of the severity by which a notification is put off or preferred: the worst that its alert has had.

    So whoever was woken by a critical alert is told at once that it is over. An unknown severity is the worst there is.
    """
    details = payload.get("details") or {}
    return max(_rank(payload.get("severity")), _rank(details.get("worst_severity")))


def _rank(severity: object) -> int:
    if severity is None:
        return Severity.INFO.rank
    known = [one.value for one in Severity]
    return known.index(severity) if isinstance(severity, str) and severity in known else len(known) - 1


class OutboxAway(Exception):  # noqa: N818  # named for the state, not the fault: the caller waits it out
    """The outbox cannot be reached now (database away). The call changed nothing, or is safe to repeat."""


@dataclass(slots=True, frozen=True)
class QueuedNotification:
    """One claimed row."""

    id: UUID
    alert_id: UUID
    channel: str
    event: str
    payload: dict[str, Any]  # JSON-ready, as built by alerting.notify
    attempts: int  # sends that failed before this one
    age_seconds: float = 0.0  # since it was queued, by the outbox's own clock


class Outbox(Protocol):
    """What the dispatcher needs of storage. Every method may raise ``OutboxAway``; none raises for an unknown id."""

    async def claim(
        self, channel: str, limit: int, lease_seconds: float, at_least: Severity = Severity.INFO
    ) -> Sequence[QueuedNotification]:
        """Take up to ``limit`` pending rows of one channel that are due, of the most urgent alerts, oldest first.

        An alert is as urgent as the most urgent of its pending rows for the channel (``urgency``): the less urgent
        before it are in its way. ``at_least``: alerts less urgent than this wait.

        A row taken is not given again before ``sent``, ``retry`` or ``abandon`` was called for it or the lease
        ended (its taker died). While a row of an alert is neither sent nor abandoned, no later row of the same
        alert and channel is given, due or not: "resolved" never overtakes "firing". "Later" is by ``at``, then by
        ``EVENT_ORDER``; so one claim gives at most one row of each alert.
        """

    async def recent(self, channel: str, seconds: float) -> Sequence[float]:
        """How many seconds ago each notification was sent that was sent within the last ``seconds``, oldest first."""

    async def sent(self, id: UUID, remark: str | None = None) -> None:  # noqa: A002  # the column's name
        """The channel took it: pending -> sent, attempts + 1, the remark in place of the error."""

    async def retry(self, id: UUID, error: str, delay_seconds: float) -> None:  # noqa: A002
        """Not this time: keep the error, attempts + 1, due again ``delay_seconds`` from now, lease ended."""

    async def release(self, id: UUID) -> None:  # noqa: A002
        """Not tried to the end (the dispatcher stops): lease ended, due now, attempts unchanged."""

    async def abandon(self, id: UUID, error: str) -> None:  # noqa: A002
        """Never again: keep the row and its error, attempts + 1."""


@dataclass(slots=True)
class _Row:
    notification: Notification
    queued_at: float
    due_at: float
    leased_until: float = float("-inf")
    attempts: int = 0
    status: Literal["pending", "sent", "abandoned"] = "pending"
    error: str | None = None
    sent_at: float = float("-inf")

    @property
    def order(self) -> tuple[int, int]:
        event = self.notification.event
        return self.notification.at, EVENT_ORDER.index(event) if event in EVENT_ORDER else len(EVENT_ORDER)


@dataclass(slots=True)
class MemoryOutbox:
    """An ``Outbox`` in memory, for tests and for running without a database. ``away`` makes every call fail."""

    clock: Callable[[], float] = time.monotonic  # seconds
    away: bool = False
    rows: dict[UUID, _Row] = field(default_factory=dict)

    def put(self, notification: Notification) -> None:
        """Queue one; one already there (same id) changes nothing."""
        now = self.clock()
        self.rows.setdefault(notification.id, _Row(notification, queued_at=now, due_at=now))

    async def claim(
        self, channel: str, limit: int, lease_seconds: float, at_least: Severity = Severity.INFO
    ) -> Sequence[QueuedNotification]:
        self._reach()
        now = self.clock()
        heads: dict[UUID, _Row] = {}
        urgent: dict[UUID, int] = {}
        for row in self.rows.values():
            if row.status == "pending" and row.notification.channel == channel:
                alert = row.notification.alert_id
                urgent[alert] = max(urgent.get(alert, 0), urgency(row.notification.payload))
                head = heads.setdefault(alert, row)
                if row.order < head.order:
                    heads[alert] = row
        ready = [
            row
            for alert, row in heads.items()
            if row.due_at <= now and row.leased_until <= now and urgent[alert] >= at_least.rank
        ]
        ready.sort(key=lambda row: (-urgent[row.notification.alert_id], row.queued_at, row.order))
        for row in ready[:limit]:
            row.leased_until = now + lease_seconds
        return [
            QueuedNotification(
                id=row.notification.id,
                alert_id=row.notification.alert_id,
                channel=channel,
                event=row.notification.event,
                payload=dict(row.notification.payload),
                attempts=row.attempts,
                age_seconds=now - row.queued_at,
            )
            for row in ready[:limit]
        ]

    async def recent(self, channel: str, seconds: float) -> Sequence[float]:
        self._reach()
        now = self.clock()
        ages = [now - row.sent_at for row in self.rows.values() if row.notification.channel == channel]
        return sorted((age for age in ages if age < seconds), reverse=True)

    async def sent(self, id: UUID, remark: str | None = None) -> None:  # noqa: A002
        self._end(id, "sent", remark)

    async def retry(self, id: UUID, error: str, delay_seconds: float) -> None:  # noqa: A002
        self._reach()
        if (row := self.rows.get(id)) is not None and row.status == "pending":
            row.attempts += 1
            row.error = error
            row.due_at = self.clock() + delay_seconds
            row.leased_until = float("-inf")

    async def release(self, id: UUID) -> None:  # noqa: A002
        self._reach()
        if (row := self.rows.get(id)) is not None and row.status == "pending":
            row.due_at = self.clock()
            row.leased_until = float("-inf")

    async def abandon(self, id: UUID, error: str) -> None:  # noqa: A002
        self._end(id, "abandoned", error)

    def _end(self, id: UUID, status: Literal["sent", "abandoned"], error: str | None) -> None:  # noqa: A002
        self._reach()
        if (row := self.rows.get(id)) is not None and row.status == "pending":
            row.status = status
            row.attempts += 1
            row.error = error
            if status == "sent":
                row.sent_at = self.clock()

    def _reach(self) -> None:
        if self.away:
            raise OutboxAway("the outbox is away")
