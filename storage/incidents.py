"""Incidents: what is told of alerts that have one cause, and what people do with them as one.

Which alerts are of an incident, and what there is to say of it as of when, is decided in the transaction of what made
it so (migration 0025). Here it is told: to each channel that was told of one of its alerts, about the first of those.

Every function raises ``DatabaseAway`` or ``ConfigurationError`` where the database cannot be used.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from psycopg import sql

from alerting.desk.notify import notifications
from alerting.messages import incidents as messages
from alerting.model import AlertState, Event, Severity
from storage import acts, ask
from storage.acts import OPEN, Said, Verdict, transition
from storage.alerts import COLUMNS, locked
from storage.errors import RequestRefused
from storage.payload import queueing
from storage.times import microseconds

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from uuid import UUID

    from psycopg import AsyncConnection

    from alerting.desk.notify import ChannelSpec
    from storage.ask import Whom

    Row = dict[str, Any]
    Connection = AsyncConnection[Row]

_MOST: Final = 500  # said at a time
_NAMED: Final = 50  # alerts named in what is told

_COLUMNS: Final = sql.SQL(
    "id, policy, labels, body -> 'title' AS title, first_alert, state, severity, alerts, opened_at, joined_at, over_at"
)
#: What is known by then, and not what the clock says: rows that are still to be committed may have been received since.
_DUE: Final = b"""
WITH due AS MATERIALIZED (
    SELECT id, due_at FROM incidents
    WHERE due_at <= least(%s, (SELECT max(received_at) FROM progress)) ORDER BY id FOR UPDATE SKIP LOCKED
)
SELECT count(incident_says(id, 'grouped', due_at)::text) FROM due
"""
_NEWS: Final = b"""
SELECT incident_id, seq FROM incident_news WHERE told_at IS NULL ORDER BY at, incident_id, seq LIMIT %s
"""
_SAID: Final = b"""
UPDATE incident_news SET told_at = clock_timestamp() WHERE (incident_id, seq) = (%s, %s) AND told_at IS NULL
RETURNING at, event, alerts
"""
#: By channel that was told of one of its alerts, the first of those.
_TOLD: Final = b"""
SELECT DISTINCT ON (n.channel) n.channel, m.alert_id
FROM incident_alerts AS m JOIN notifications AS n ON n.alert_id = m.alert_id
WHERE m.incident_id = %s AND n.state NOT IN ('held', 'muted')
    AND n.event IN ('firing', 'escalated', 'deescalated', 'revised')
ORDER BY n.channel, m.seq
"""
#: Its alerts as they were known to be at an instant: those that had joined it, without those that were none.
_THEN: Final = b"""
SELECT m.alert_id, a.rule_id, a.subject_name, m.severity,
    a.state IN ('firing', 'acknowledged') OR coalesce(a.ended_known_at, a.resolved_at) > %(at)s AS lasts
FROM incident_alerts AS m JOIN alerts AS a ON a.id = m.alert_id
WHERE m.incident_id = %(id)s AND m.seq <= %(alerts)s
    AND NOT (a.retracted AND coalesce(a.changed_known_at, a.resolved_at) <= %(at)s)
ORDER BY m.seq
"""


async def tell(
    whom: Whom, actor: str, channels: Sequence[ChannelSpec], now: datetime, *, link: str | None = None
) -> int:
    """Say what is due by ``now`` of incidents, once; how many notifications were queued."""
    async with ask.connected(whom) as connection:
        await connection.execute(_DUE, (now,))
    found = await ask.rows(whom, _NEWS, (_MOST,))
    said = Said(actor, channels=channels, link=link)
    return sum([await _tell(whom, row["incident_id"], row["seq"], said) for row in found])


async def _tell(whom: Whom, id_: UUID, seq: int, said: Said) -> int:
    async with ask.connected(whom) as connection:
        incident = await _locked(connection, id_)
        news = await (await connection.execute(_SAID, (id_, seq))).fetchone()
        if news is None:  # another has said it
            return 0
        at, event = news["at"], Event(news["event"])
        first_of = await (await connection.execute(_TOLD, (id_,))).fetchall()
        parts = {"id": id_, "at": at, "alerts": news["alerts"]}
        members = await (await connection.execute(_THEN, parts)).fetchall()
        details = {"incident": _described(incident, members)}
        alert = await locked(connection, incident["first_alert"])
        await acts.said_of_incident(connection, alert, said, event, details, at)
        queued = []
        for row in first_of:
            own = [
                replace(one, rules=("*",), min_severity=Severity.INFO)
                for one in said.channels
                if one.name == row["channel"]
            ]
            lead = await _alert(connection, row["alert_id"])
            worst = max(
                (Severity(m["severity"]) for m in members), key=lambda s: s.rank, default=Severity(lead["severity"])
            )
            text = messages.incident(event, incident["title"], microseconds(incident["opened_at"]), members)
            # As of then, whatever has become of the alert since.
            change = replace(
                transition(lead, event, at, {}),
                state=AlertState.FIRING if event is Event.GROUPED else AlertState.RESOLVED,
                severity=worst,
                summary_en=text.en,
                summary_vi=text.vi,
                value=None,
                lon=None,
                lat=None,
                details={"actor": said.actor, **details},
                known=microseconds(at),
            )
            queued += notifications([change], own, link=said.link)
        for statement, rows in queueing(queued):
            await connection.execute(statement, rows)
        return len(queued)


def _described(incident: Row, members: Sequence[Row]) -> dict[str, Any]:
    """What a notification and the history say of an incident, JSON-ready."""
    named = [
        {
            "alert_id": str(row["alert_id"]),
            "rule": row["rule_id"],
            "subject": row["subject_name"],
            "severity": row["severity"],
            "open": row["lasts"],
        }
        for row in members[:_NAMED]
    ]
    return {
        "id": str(incident["id"]),
        "policy": incident["policy"],
        "labels": incident["labels"],
        "opened_at": incident["opened_at"].isoformat(),
        "alerts": len(members),
        "open": sum(row["lasts"] for row in members),
        "members": named,
    }


# --- what people see and do


async def incidents(dsn: str, *, over: bool = False, limit: int = 100) -> list[Row]:
    """Incidents that last, the newest first; with ``over``, also those that are over."""
    query = sql.SQL("SELECT {} FROM incidents WHERE %s OR state = 'open' ORDER BY opened_at DESC, id LIMIT %s")
    return await ask.rows(dsn, query.format(_COLUMNS), (over, limit))


async def incident(dsn: str, id_: UUID) -> Row:
    """One incident, with its alerts as ``members`` in the order in which they joined; ``news`` is what was said of it.

    Raises:
        RequestRefused: there is no such incident.
    """
    async with ask.connected(dsn) as connection:
        found = await _incident(connection, id_, lock=False)
        members = await connection.execute(
            b"SELECT m.seq, m.joined_at, a.id, a.rule_id, a.subject_name, a.state, a.severity, a.retracted,"
            b" a.summary_en, a.summary_vi FROM incident_alerts AS m JOIN alerts AS a ON a.id = m.alert_id"
            b" WHERE m.incident_id = %s ORDER BY m.seq",
            (id_,),
        )
        news = await connection.execute(
            b"SELECT seq, at, event, alerts, told_at FROM incident_news WHERE incident_id = %s ORDER BY seq", (id_,)
        )
        return {**found, "members": await members.fetchall(), "news": await news.fetchall()}


async def acknowledge(dsn: str, id_: UUID, said: Said) -> Row:
    """Somebody has seen it: each of its alerts that is firing is acknowledged.

    Raises:
        RequestRefused: there is no such incident, or none of its alerts is firing.
    """
    return await _each(dsn, id_, said, acts.acknowledging, (AlertState.FIRING,))


async def close(dsn: str, id_: UUID, said: Said, verdict: Verdict | None = None) -> Row:
    """It is dealt with: each of its alerts is closed, and resolved first if it is not over.

    Raises:
        RequestRefused: there is no such incident, or all of its alerts are closed.
    """

    async def closing(connection: Connection, alert: Row, said: Said) -> Row:
        return await acts.closing(connection, alert, said, verdict)

    return await _each(dsn, id_, said, closing, (*OPEN, AlertState.RESOLVED))


async def _each(
    dsn: str,
    id_: UUID,
    said: Said,
    act: Callable[[Connection, Row, Said], Awaitable[Row]],
    states: Sequence[AlertState],
) -> Row:
    """Do something to all of its alerts that are in one of the states, all or none."""
    said = replace(said, at=said.at or datetime.now(UTC))
    async with ask.connected(dsn) as connection:
        await _locked(connection, id_)
        rows = await connection.execute(
            b"SELECT a.id FROM incident_alerts AS m JOIN alerts AS a ON a.id = m.alert_id"
            b" WHERE m.incident_id = %s AND a.state = ANY(%s) ORDER BY a.id FOR UPDATE OF a",
            (id_, [state.value for state in states]),
        )
        found = [row["id"] for row in await rows.fetchall()]
        if not found:
            raise RequestRefused(f"no alert of incident {id_} is {' or '.join(states)}")
        for one in found:
            await act(connection, await locked(connection, one), said)
        return await _incident(connection, id_, lock=False)


async def _alert(connection: Connection, id_: UUID) -> Row:
    row = await (
        await connection.execute(sql.SQL("SELECT {} FROM alerts WHERE id = %s").format(COLUMNS), (id_,))
    ).fetchone()
    assert row is not None  # alerts stay
    return row


async def _locked(connection: Connection, id_: UUID) -> Row:
    return await _incident(connection, id_, lock=True)


async def _incident(connection: Connection, id_: UUID, *, lock: bool) -> Row:
    query = sql.SQL("SELECT {} FROM incidents WHERE id = %s {}").format(_COLUMNS, sql.SQL("FOR UPDATE" if lock else ""))
    row = await (await connection.execute(query, (id_,))).fetchone()
    if row is None:
        raise RequestRefused(f"there is no incident {id_}")
    return row


async def open_incidents(whom: Whom) -> dict[str, int]:
    """How many incidents of each policy last."""
    rows = await ask.rows(
        whom, b"SELECT policy, count(*)::integer AS open FROM incidents WHERE state = 'open' GROUP BY 1"
    )
    return {row["policy"]: row["open"] for row in rows}
