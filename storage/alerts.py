"""Alerts as people see them. Times are aware ``datetime``.

Every function raises ``DatabaseAway`` or ``ConfigurationError`` where the database cannot be used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from psycopg import AsyncConnection, sql

from alerting.model import Severity
from storage import ask
from storage.errors import RequestRefused

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from alerting.model import AlertState

    Row = dict[str, Any]
    Connection = AsyncConnection[Row]

COLUMNS: Final = sql.SQL(
    "id, rule_id, rule_version, subject_kind, subject_id, subject_name, key, state, severity, started_at, fired_at,"
    " last_at, acknowledged_at, acknowledged_by, resolved_at, resolved_by, value, zone_id, lon, lat, summary_en,"
    " summary_vi, details, revision, retracted, shadow, known_at, assignee, closed_at,"
    " closed_by, verdict, channels"
)


async def alerts(
    dsn: str,
    *,
    state: AlertState | None = None,
    rule: str | None = None,
    severity: Severity | None = None,
    since: datetime | None = None,
    shadow: bool = False,
    limit: int = 100,
) -> list[Row]:
    """Alerts, the newest first: of rules in force, or of those in ``shadow`` mode.

    ``severity`` is the least that is shown; ``since`` bounds ``started_at``.
    """
    severities = [s.value for s in Severity if severity is not None and s.rank >= severity.rank]
    condition, values = ask.where(
        {
            "state = %s": state and state.value,
            "rule_id = %s": rule,
            "severity = ANY(%s)": severities or None,
            "started_at >= %s": since,
            "shadow = %s": shadow,
        }
    )
    query = sql.SQL("SELECT {} FROM alerts{} ORDER BY started_at DESC, id LIMIT %s").format(COLUMNS, condition)
    return await ask.rows(dsn, query, [*values, limit])


async def known(dsn: str, since: datetime, until: datetime, rules: Sequence[str]) -> list[Row]:
    """The alerts of these rules that became known from ``since`` up to, not including, ``until``, shadow or not.

    What was stored before that was kept counts by the time it fired at.
    """
    query = sql.SQL(
        "SELECT {} FROM alerts WHERE coalesce(known_at, fired_at) >= %s AND coalesce(known_at, fired_at) < %s"
        " AND rule_id = ANY(%s) ORDER BY coalesce(known_at, fired_at), id"
    ).format(COLUMNS)
    return await ask.rows(dsn, query, (since, until, list(rules)))


async def alert(dsn: str, id_: UUID) -> Row:
    """One alert with its ``history`` and ``notifications``, oldest first.

    Raises:
        RequestRefused: there is no such alert.
    """
    async with ask.connected(dsn) as connection:
        found = await _alert(connection, id_, lock=False)
        history = await connection.execute(
            "SELECT seq, at, recorded_at, actor, from_state, to_state, change, note, details,"
            " encode(hash, 'hex') AS hash FROM alert_history"
            " WHERE alert_id = %s ORDER BY seq",
            (id_,),
        )
        told = await connection.execute(
            "SELECT id, channel, event, at, state, attempts, next_attempt_at, sent_at, last_error, created_at"
            " FROM notifications WHERE alert_id = %s ORDER BY at, created_at, channel",
            (id_,),
        )
        return {**found, "history": await history.fetchall(), "notifications": await told.fetchall()}


async def locked(connection: Connection, id_: UUID) -> Row:
    """One alert, nobody else's to change before the transaction ends, and its incident.

    The incident first, as whoever writes a batch does: two that lock crosswise would wait for each other.

    Raises:
        RequestRefused: there is no such alert.
    """
    await connection.execute(_INCIDENT, (id_,))
    return await _alert(connection, id_, lock=True)


_INCIDENT: Final = b"""
SELECT FROM incidents WHERE id = (SELECT incident_id FROM incident_alerts WHERE alert_id = %s) FOR UPDATE
"""


async def _alert(connection: Connection, id_: UUID, *, lock: bool) -> Row:
    query = sql.SQL("SELECT {} FROM alerts WHERE id = %s {}").format(COLUMNS, sql.SQL("FOR UPDATE" if lock else ""))
    row = await (await connection.execute(query, (id_,))).fetchone()
    if row is None:
        raise RequestRefused(f"there is no alert {id_}")
    return row


async def pending(dsn: str, *, rule: str | None = None, limit: int = 100) -> list[Row]:
    """Conditions that hold, but not for as long as their rule asks yet: the longest pending first.

    Rows have ``rule_id``, ``severity``, ``subject_kind``, ``subject_name``, ``key``, ``since`` and ``due`` (event
    times), and ``value``. Nobody is told of them, and they have no id: one that passes leaves no trace.
    """
    return await ask.rows(dsn, _PENDING, {"rule": rule, "limit": limit})


#: A rung of a ladder that is held and does not count yet, of a rule whose levels must be held for some time; or all
#: conditions of a combined rule. Conditions of combined rules themselves are nobody's business.
_PENDING: Final = b"""
SELECT s.rule_id, coalesce(r.body -> 'levels' -> (rung ->> 'step')::integer ->> 'severity', r.body ->> 'severity')
        AS severity,
    s.subject_kind, coalesce(d.gateway || '/' || d.name, s.subject_id::text) AS subject_name, s.key,
    'epoch'::timestamptz + (rung ->> 'since')::bigint * interval '1 microsecond' AS since,
    'epoch'::timestamptz + (rung ->> 'since')::bigint * interval '1 microsecond' + (r.body ->> 'for')::interval
        AS due,
    (rung ->> 'value')::double precision AS value
FROM rule_state AS s JOIN rules AS r ON r.id = s.rule_id AND r.active
CROSS JOIN LATERAL jsonb_array_elements(s.state -> 'rungs') AS rung
LEFT JOIN devices AS d ON s.subject_kind = 'device' AND d.id = s.subject_id
WHERE jsonb_typeof(s.state -> 'rungs') = 'array' AND NOT (rung ->> 'counts')::boolean AND r.body ? 'for'
    AND r.body ->> 'mode' IS DISTINCT FROM 'condition'
    AND (%(rule)s::text IS NULL OR s.rule_id = %(rule)s)
ORDER BY since, s.rule_id, s.subject_id, s.key LIMIT %(limit)s
"""
