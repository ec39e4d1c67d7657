"""Silences: while one lasts, nobody is told of the alerts it matches.

Every function raises ``DatabaseAway`` or ``ConfigurationError`` where the database cannot be used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from psycopg.types.json import Jsonb

from alerting.desk.matching import compiled, matches
from storage import ask
from storage.errors import RequestRefused

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime
    from uuid import UUID

    from storage.ask import Whom

    Row = dict[str, Any]

_COLUMNS: Final = b"id, matcher, starts_at, ends_at, author, reason, created_at, ended_by, now() AS asked_at"


async def silence(
    dsn: str,
    matcher: Mapping[str, tuple[str, ...]],
    *,
    starts_at: datetime,
    ends_at: datetime,
    author: str,
    reason: str,
) -> Row:
    """Silence what matches (``alerting.desk.matching.Matcher``) for a time.

    Raises:
        RequestRefused: it ends before it starts, or has ended already.
    """
    if ends_at <= starts_at:
        raise RequestRefused("a silence ends after it starts")
    async with ask.connected(dsn) as connection:
        cursor = await connection.execute(
            b"INSERT INTO silences (matcher, compiled, starts_at, ends_at, author, reason)"
            b" SELECT %s, %s, %s, %s, %s, %s WHERE %s > now() RETURNING " + _COLUMNS,
            (*(Jsonb(matcher), Jsonb(compiled(matcher)), starts_at, ends_at, author, reason), ends_at),
        )
        row = await cursor.fetchone()
    if row is None:
        raise RequestRefused("it would be over already")
    return row


async def silences(dsn: str, *, over: bool = False) -> list[Row]:
    """Silences that last or are to come, those that end first before the others; with ``over``, also those that ended.

    Rows have the columns of ``silences`` and ``asked_at``, the time of the server.
    """
    query = b"SELECT " + _COLUMNS + b" FROM silences WHERE %s OR ends_at > now() ORDER BY ends_at, id"
    return await ask.rows(dsn, query, (over,))


async def end_silence(dsn: str, id_: UUID, *, actor: str) -> Row:
    """End a silence now. What is still firing is told of then.

    Raises:
        RequestRefused: there is no such silence, or it has ended.
    """
    async with ask.connected(dsn) as connection:
        cursor = await connection.execute(
            b"UPDATE silences SET ends_at = greatest(now(), starts_at), ended_by = %s WHERE id = %s AND ends_at > now()"
            b" RETURNING " + _COLUMNS,
            (actor, id_),
        )
        row = await cursor.fetchone()
    if row is None:
        raise RequestRefused(f"there is no silence {id_} that has not ended")
    return row


async def expire(whom: Whom) -> int:
    """Put on record which silences have run out since the last time; how many."""
    async with ask.connected(whom) as connection:
        return (await connection.execute(_EXPIRE)).rowcount


_EXPIRE: Final = b"""
INSERT INTO silence_history (silence_id, actor, change, details)
SELECT id, 'desk', 'expired', silence_said(s) FROM silences AS s
WHERE ends_at <= clock_timestamp() AND ended_by IS NULL
    AND NOT EXISTS (SELECT FROM silence_history AS h WHERE h.silence_id = s.id AND h.change <> 'made')
ORDER BY ends_at, id
"""


def silenced_by(alert: Mapping[str, Any], lasting: Iterable[Row]) -> UUID | None:
    """The silence that an alert (a row of it) is under now, of those that last."""
    if alert["state"] not in {"firing", "acknowledged"}:
        return None
    about = labels(alert)
    for row in lasting:
        if row["starts_at"] <= row["asked_at"] < row["ends_at"] and matches(row["matcher"], about):
            found: UUID = row["id"]
            return found
    return None


def labels(alert: Mapping[str, Any]) -> dict[str, str | None]:
    """What an alert can be told by: ``alert_labels`` of the database."""
    kind, details = alert["subject_kind"], alert["details"]
    device = kind == "device"
    called = (
        str(details.get("transponder") or alert["subject_name"]) if kind == "transponder" else alert["subject_name"]
    )
    gateway, slash, name = called.partition("/")
    return {
        "rule": alert["rule_id"],
        "kind": details.get("kind"),
        "severity": alert["severity"],
        "subject_kind": alert["subject_kind"],
        "subject": alert["subject_name"],
        "gateway": gateway if device or kind == "gateway" or (kind == "transponder" and slash) else None,
        "device": name if device else None,
        "source": alert["subject_name"] if kind == "source" else details.get("heard_by"),
        "zone": alert["zone_id"],
        "key": alert["key"],
        "metric": details.get("metric"),
    }
