"""The outbox as the dispatcher sees it: queued notifications, claimed, tried, and brought to an end.

Rows are written by the batch's own transaction (storage); this module says what the dispatcher asks of them
afterwards (``storage.outbox`` does it).

The life of a row: *pending* -> (*claimed* -> *pending* again, later) ... -> *sent* or *abandoned*. Nothing is
deleted: an abandoned row keeps its error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from alerting.model import Event, Severity

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

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
    payload: dict[str, Any]  # JSON-ready, as built by alerting.desk.notify
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
