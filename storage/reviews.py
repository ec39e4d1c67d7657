"""Alerts that are to be looked at again, because rows of their time and subject came late.

The batch that brings such rows asks for it in its own transaction (``statements.ASK_FOR_REVIEWS``), so a request is as
safe as the rows. Alerts of one rule and subject are looked at together. What comes of it is committed with the end of
the requests, and with what the engine is to go on from: killed at any moment, a review is done again or not at all.

Every function raises ``DatabaseAway`` or ``ConfigurationError`` where the database cannot be used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from psycopg.types.json import Jsonb

from alerting.model import AlertState, RuleState, Severity, Subject, SubjectKind
from alerting.rejudging.case import Known
from storage import ask
from storage.decisions import decisions
from storage.payload import queueing, remembering
from storage.times import microseconds, moment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from alerting.model import Notification
    from alerting.rejudging.case import Found
    from storage.ask import Whom

#: One look is all it takes for the alerts of a rule and subject, so those that have settled wait for the others; but
#: where late rows go on coming, for one alert after the other, no longer than again as long.
_DUE: Final = b"""
SELECT rule_id, rule_version, subject_kind, subject_id
FROM alert_reviews AS r JOIN alerts AS a ON a.id = r.alert_id
WHERE a.told IS FALSE OR NOT %(untold)s
GROUP BY 1, 2, 3, 4
HAVING max(r.asked_at) <= now() - make_interval(secs => %(settle)s)
    OR min(r.asked_at) <= now() - make_interval(secs => 2 * %(settle)s)
ORDER BY min(r.asked_at), 1, 2, 3, 4 LIMIT %(limit)s
"""
#: Alerts that are over and of another time than those asked for say nothing of what the engine holds.
_ALERTS: Final = b"""
WITH mine AS (
    SELECT a.id, a.key, a.subject_name, a.state, a.severity, a.resolved_by, a.retracted, a.started_at,
        a.revision, a.details, a.zone_id, r.asked,
        greatest(a.last_at, a.resolved_at) AS ended_at, r.asked_at <= now() - make_interval(secs => %(settle)s) AS due
    FROM alerts AS a LEFT JOIN alert_reviews AS r ON r.alert_id = a.id
    WHERE (a.rule_id, a.rule_version, a.subject_kind, a.subject_id)
        = (%(rule_id)s, %(rule_version)s, %(subject_kind)s, %(subject_id)s)
)
SELECT * FROM mine
WHERE asked IS NOT NULL OR state IN ('firing', 'acknowledged')
    OR ended_at >= (SELECT min(started_at) - interval '2 days' FROM mine WHERE due)
ORDER BY started_at, id
"""
_RULE: Final = b"SELECT body FROM rules WHERE (id, version) = (%(rule_id)s, %(rule_version)s)"
_STATES: Final = b"""
SELECT key, state FROM rule_state
WHERE (rule_id, subject_kind, subject_id) = (%(rule_id)s, %(subject_kind)s, %(subject_id)s) ORDER BY key
"""
_BEFORE: Final = b"""
SELECT until, stands FROM rule_reviews WHERE (rule_id, rule_version, subject_kind, subject_id)
    = (%(rule_id)s, %(rule_version)s, %(subject_kind)s, %(subject_id)s)
"""
_LOCK: Final = b"SELECT id, revision FROM alerts WHERE id = ANY(%s) ORDER BY id FOR UPDATE"
_END: Final = b"""
WITH given AS (SELECT * FROM unnest(%s::uuid[], %s::integer[]) AS t (id, asked))
DELETE FROM alert_reviews AS r USING given WHERE (r.alert_id, r.asked) = (given.id, given.asked)
"""
_FORGET: Final = b"""
DELETE FROM rule_state
WHERE (rule_id, subject_kind, subject_id) = (%s, %s, %s) AND key <> ALL(%s)
    AND coalesce(key = ANY(%s::text[]), true)
"""
_KEEP: Final = b"""
INSERT INTO rule_reviews AS r (rule_id, subject_kind, subject_id, rule_version, until, stands)
VALUES (%s, %s, %s, %s, %s, %s)
ON CONFLICT (rule_id, subject_kind, subject_id) DO UPDATE
SET rule_version = excluded.rule_version, stands = excluded.stands,
    until = CASE WHEN r.rule_version = excluded.rule_version THEN coalesce(excluded.until, r.until)
        ELSE excluded.until END
"""


@dataclass(slots=True, frozen=True)
class Request:
    """That the alerts of a version of a rule on a subject are to be looked at."""

    rule_id: str
    rule_version: str
    kind: SubjectKind
    subject: int

    @property
    def _names(self) -> dict[str, Any]:
        return {
            "rule_id": self.rule_id,
            "rule_version": self.rule_version,
            "subject_kind": self.kind.value,
            "subject_id": self.subject,
        }


@dataclass(slots=True, frozen=True)
class Review:
    """A request, and what is stored about its alerts. Event times, microseconds UTC."""

    request: Request
    rule: Mapping[str, Any] | None  # as it was written; None: it is not kept
    subject: Subject
    asked: Mapping[UUID, int]  # by alert that it is asked for and has settled: how often
    alerts: Sequence[Known]
    revisions: Mapping[UUID, int]
    details: Mapping[UUID, Mapping[str, Any]]
    zones: Mapping[UUID, str | None]
    states: Sequence[RuleState]  # that the engine keeps
    cut: int | None  # see ``alerting.rejudging.case.Case``
    stands: Mapping[UUID, Sequence[UUID]]


async def due(whom: Whom, settle_seconds: float, *, untold: bool = False, limit: int = 100) -> list[Request]:
    """Requests that were not repeated for that long, the oldest first; ``untold``: of alerts that nobody is told of.

    Of one rule and subject it may be twice as long, until all have settled.
    """
    rows = await ask.rows(whom, _DUE, {"settle": settle_seconds, "untold": untold, "limit": limit})
    return [
        Request(row["rule_id"], row["rule_version"], SubjectKind(row["subject_kind"]), row["subject_id"])
        for row in rows
    ]


async def load(whom: Whom, request: Request, settle_seconds: float) -> Review | None:
    """What there is to look at; None if it is not asked for any more."""
    names = request._names  # noqa: SLF001  # of this module
    async with ask.connected(whom) as connection:
        await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        alerts = await (await connection.execute(_ALERTS, names | {"settle": settle_seconds})).fetchall()
        rule = await (await connection.execute(_RULE, names)).fetchone()
        states = await (await connection.execute(_STATES, names)).fetchall()
        before = await (await connection.execute(_BEFORE, names)).fetchone() or {"until": None, "stands": {}}
    if not any(row["due"] for row in alerts):
        return None
    return Review(
        request=request,
        rule=rule and rule["body"],
        subject=Subject(request.kind, request.subject, alerts[0]["subject_name"]),
        asked={row["id"]: row["asked"] for row in alerts if row["due"]},
        alerts=[_known(row) for row in alerts],
        revisions={row["id"]: row["revision"] for row in alerts},
        details={row["id"]: row["details"] for row in alerts},
        zones={row["id"]: row["zone_id"] for row in alerts},
        states=[RuleState(request.rule_id, request.kind, request.subject, row["key"], row["state"]) for row in states],
        cut=before["until"] and microseconds(before["until"]),
        stands={UUID(alert): [UUID(one) for one in ids] for alert, ids in before["stands"].items()},
    )


def _known(row: Mapping[str, Any]) -> Known:
    return Known(
        id=row["id"],
        key=row["key"],
        started_at=microseconds(row["started_at"]),
        state=AlertState(row["state"]),
        by_people=row["resolved_by"] not in {None, "engine"},
        severity=Severity(row["severity"]),
        retracted=row["retracted"],
        said=row["details"].get("now") if row["details"].get("reason") == "late_data" else None,
    )


async def conclude(
    whom: Whom,
    review: Review,
    found: Found,
    until: int,
    notifications: Sequence[Notification] = (),
    *,
    tells: bool = True,
) -> bool:
    """End requests with what came of them, looked at up to a receive time (microseconds).

    ``tells``: whether anybody is to be told of an alert that fires thereby, now or ever (``Store``).

    Where that says what the engine is to go on from, the engine must stand still until it goes on from there.

    Returns:
        Whether that was done. Nothing was if more came late meanwhile, or somebody has done something to an alert.
    """
    request = review.request
    async with ask.connected(whom) as connection:
        locked = await (await connection.execute(_LOCK, (list(review.revisions),))).fetchall()
        ended = await connection.execute(_END, (list(review.asked), list(review.asked.values())))
        if {row["id"]: row["revision"] for row in locked} != review.revisions or ended.rowcount < len(review.asked):
            await connection.rollback()
            return False
        if not tells:
            await connection.execute("SET LOCAL haidang.tells = 'off'")
        for statement, rows in (*decisions(found.transitions).statements(), *queueing(notifications)):
            await connection.execute(statement, rows)
        place = (request.rule_id, request.kind.value, request.subject)
        if found.states is not None:
            keys = None if found.keys is None else list(found.keys)
            await connection.execute(_FORGET, (*place, [state.key for state in found.states], keys))
            for statement, rows in remembering([*found.states, *found.meters]):
                await connection.execute(statement, rows)
        if found.states is not None or found.stands != review.stands:
            stands = Jsonb({str(alert): [str(one) for one in ids] for alert, ids in found.stands.items()})
            cut = None if found.states is None else moment(until)
            await connection.execute(_KEEP, (*place, request.rule_version, cut, stands))
    return True
