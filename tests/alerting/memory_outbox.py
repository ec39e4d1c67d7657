"""An outbox without a database, which a test holds to the contract of the real one."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from alerting.desk.outbox import EVENT_ORDER, OutboxAway, QueuedNotification, urgency
from alerting.model import Severity

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

    from alerting.model import Notification


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
    """An ``Outbox`` in memory. ``away`` makes every call fail."""

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
