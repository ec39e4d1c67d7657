"""Alerts that are to be looked at again, because rows of their time and subject came late.

The batch that brings such rows asks for it in its own transaction (``statements.ASK_FOR_REVIEWS``), so a request is as
safe as the rows. What comes of it is committed together with the end of the request: killed at any moment, a review is
done again, and what is in the history is not done twice.

Every function raises ``DatabaseAway`` or ``ConfigurationError`` where the database cannot be used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from alerting.model import AlertState, SubjectKind
from storage import ask, statements
from storage.payload import changed_row, json_text, queueing
from storage.times import microseconds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from alerting.model import Notification, Transition

_DUE: Final = b"""
SELECT r.alert_id, r.asked, r.until, a.rule_id, a.rule_version, a.subject_kind, a.subject_id, a.started_at,
    greatest(a.last_at, a.resolved_at, r.until) AS ended_at, a.details, v.body
FROM alert_reviews AS r JOIN alerts AS a ON a.id = r.alert_id
    LEFT JOIN rules AS v ON (v.id, v.version) = (a.rule_id, a.rule_version)
WHERE r.asked_at <= now() - make_interval(secs => %s)
ORDER BY r.asked_at, r.alert_id LIMIT %s
"""


@dataclass(slots=True, frozen=True)
class Review:
    """A request, and what is known of its alert. Event times, microseconds UTC."""

    alert: UUID
    asked: int
    until: int  # the greatest time of what came late
    rule_version: str
    rule: Mapping[str, Any] | None  # as it was written; None: it is not kept
    kind: SubjectKind
    subject: int
    started_at: int
    ended_at: int  # of the alert, or of what came late
    details: Mapping[str, Any]


async def due(dsn: str, settle_seconds: float, limit: int = 100) -> list[Review]:
    """Requests that were not repeated for that long, the oldest first."""
    rows = await ask.rows(dsn, _DUE, (settle_seconds, limit))
    return [
        Review(
            alert=row["alert_id"],
            asked=row["asked"],
            until=microseconds(row["until"]),
            rule_version=row["rule_version"],
            rule=row["body"],
            kind=SubjectKind(row["subject_kind"]),
            subject=row["subject_id"],
            started_at=microseconds(row["started_at"]),
            ended_at=microseconds(row["ended_at"]),
            details=row["details"],
        )
        for row in rows
    ]


async def conclude(
    dsn: str, review: Review, change: Transition | None = None, notifications: Sequence[Notification] = ()
) -> bool:
    """End a request with what came of it; False if it was repeated meanwhile, and nothing was done."""
    async with ask.connected(dsn) as connection:
        cursor = await connection.execute(
            "DELETE FROM alert_reviews WHERE (alert_id, asked) = (%s, %s)", (review.alert, review.asked)
        )
        if not cursor.rowcount:
            return False
        if change is not None:
            ends = change.state is AlertState.RESOLVED
            statement = statements.RESOLVE_ALERTS if ends else statements.CHANGE_ALERTS
            await connection.execute(statement, (json_text([changed_row(change)]),))
        for queue, rows in queueing(notifications):
            await connection.execute(queue, rows)
    return True
