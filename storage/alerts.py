"""Alerts as people see them, and what people do to them. Times are aware ``datetime``.

Every function raises ``DatabaseAway`` or ``ConfigurationError`` where the database cannot be used.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from psycopg import AsyncConnection, sql

from alerting.model import AlertState, Severity, Subject, SubjectKind, Transition
from alerting.notify import notifications
from storage import ask, statements
from storage.errors import RequestRefused
from storage.payload import notification_rows
from storage.times import microseconds

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from alerting.notify import ChannelSpec

    Row = dict[str, Any]
    Connection = AsyncConnection[Row]

_ALERT: Final = sql.SQL(
    "id, rule_id, rule_version, subject_kind, subject_id, subject_name, key, state, severity, started_at, fired_at,"
    " last_at, acknowledged_at, acknowledged_by, resolved_at, resolved_by, value, zone_id, lon, lat, summary_en,"
    " summary_vi, details, revision, retracted, shadow, known_at"
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
    query = sql.SQL("SELECT {} FROM alerts{} ORDER BY started_at DESC, id LIMIT %s").format(_ALERT, condition)
    return await ask.rows(dsn, query, [*values, limit])


async def known(dsn: str, since: datetime, until: datetime, rules: Sequence[str]) -> list[Row]:
    """The alerts of these rules that became known from ``since`` up to, not including, ``until``, shadow or not.

    What was stored before that was kept counts by the time it fired at.
    """
    query = sql.SQL(
        "SELECT {} FROM alerts WHERE coalesce(known_at, fired_at) >= %s AND coalesce(known_at, fired_at) < %s"
        " AND rule_id = ANY(%s) ORDER BY coalesce(known_at, fired_at), id"
    ).format(_ALERT)
    return await ask.rows(dsn, query, (since, until, list(rules)))


async def alert(dsn: str, id_: UUID) -> Row:
    """One alert with its ``history`` and ``notifications``, oldest first.

    Raises:
        RequestRefused: there is no such alert.
    """
    async with ask.connected(dsn) as connection:
        found = await _alert(connection, id_, lock=False)
        history = await connection.execute(
            "SELECT seq, at, recorded_at, actor, from_state, to_state, change, note, details FROM alert_history"
            " WHERE alert_id = %s ORDER BY seq",
            (id_,),
        )
        told = await connection.execute(
            "SELECT id, channel, event, at, state, attempts, next_attempt_at, sent_at, last_error, created_at"
            " FROM notifications WHERE alert_id = %s ORDER BY at, created_at, channel",
            (id_,),
        )
        return {**found, "history": await history.fetchall(), "notifications": await told.fetchall()}


async def _alert(connection: Connection, id_: UUID, *, lock: bool) -> Row:
    query = sql.SQL("SELECT {} FROM alerts WHERE id = %s {}").format(_ALERT, sql.SQL("FOR UPDATE" if lock else ""))
    row = await (await connection.execute(query, (id_,))).fetchone()
    if row is None:
        raise RequestRefused(f"there is no alert {id_}")
    return row


async def acknowledge(
    dsn: str,
    id_: UUID,
    *,
    actor: str,
    note: str | None = None,
    at: datetime | None = None,
    channels: Sequence[ChannelSpec] = (),
    link: str | None = None,
) -> Row:
    """Somebody has seen it: firing -> acknowledged. The alert as it is then.

    Args:
        dsn: of the database.
        id_: the alert's.
        actor: who.
        note: what they say about it.
        at: when; None: now.
        channels: who is to be told, if they want to be.
        link: see ``alerting.notify.notifications``.

    Raises:
        RequestRefused: there is no such alert, or it is not firing.
    """
    change = _Change(AlertState.ACKNOWLEDGED, actor, note, at or datetime.now(UTC), channels, link)
    return await _change(dsn, id_, change, (AlertState.FIRING,))


async def resolve(
    dsn: str,
    id_: UUID,
    *,
    actor: str,
    note: str | None = None,
    at: datetime | None = None,
    channels: Sequence[ChannelSpec] = (),
    link: str | None = None,
) -> Row:
    """Somebody has ended it: firing or acknowledged -> resolved. Arguments and errors as of ``acknowledge``."""
    change = _Change(AlertState.RESOLVED, actor, note, at or datetime.now(UTC), channels, link)
    return await _change(dsn, id_, change, (AlertState.FIRING, AlertState.ACKNOWLEDGED))


@dataclass(slots=True, frozen=True)
class _Change:
    to: AlertState
    actor: str
    note: str | None
    at: datetime
    channels: Sequence[ChannelSpec]
    link: str | None


async def _change(dsn: str, id_: UUID, change: _Change, allowed: tuple[AlertState, ...]) -> Row:
    prefix = sql.SQL("acknowledged" if change.to is AlertState.ACKNOWLEDGED else "resolved")
    update = sql.SQL(
        "UPDATE alerts SET state = %s, {0}_at = %s, {0}_by = %s, last_at = greatest(last_at, %s),"
        " revision = revision + 1 WHERE id = %s RETURNING {1}"
    ).format(prefix, _ALERT)
    async with ask.connected(dsn) as connection:
        before = await _alert(connection, id_, lock=True)
        if before["state"] not in allowed:
            raise RequestRefused(f"alert {id_} is {before['state']} already")
        cursor = await connection.execute(update, (change.to, change.at, change.actor, change.at, id_))
        after = await cursor.fetchone()
        assert after is not None  # the row is locked
        await connection.execute(
            "INSERT INTO alert_history (alert_id, seq, at, actor, from_state, to_state, change, note)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
            (id_, after["revision"], change.at, change.actor, before["state"], change.to, change.to, change.note),
        )
        queued = notifications([_transition(after, change)], change.channels, link=change.link)
        if queued:
            await connection.execute(statements.QUEUE_NOTIFICATIONS, (notification_rows(queued),))
        return after


def _transition(row: Row, change: _Change) -> Transition:
    said = {"actor": change.actor} | ({"note": change.note} if change.note else {})
    return Transition(
        alert_id=row["id"],
        rule_id=row["rule_id"],
        rule_version=row["rule_version"],
        subject=Subject(SubjectKind(row["subject_kind"]), row["subject_id"], row["subject_name"]),
        key=row["key"],
        state=change.to,
        severity=Severity(row["severity"]),
        at=microseconds(change.at),
        started_at=microseconds(row["started_at"]),
        summary_en=row["summary_en"],
        summary_vi=row["summary_vi"],
        value=row["value"],
        zone_id=row["zone_id"],
        lon=row["lon"],
        lat=row["lat"],
        details={**row["details"], **said},
        shadow=row["shadow"],
    )
