"""What commands and dashboards ask for. Rows come as dictionaries by column name; times are aware ``datetime``.

Every function opens a connection of its own, and raises ``DatabaseAway`` or ``ConfigurationError`` where the database
cannot be used. What is about alerts, zones and rules is in ``storage.alerts``, ``storage.acts``,
``storage.zones`` and ``storage.imports``, and can be had from here too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from psycopg import sql

from storage import ask, roles
from storage.acts import Said, acknowledge, assign, close, comment, resolve, unacknowledge
from storage.alerts import alert, alerts, known, pending
from storage.errors import RequestRefused
from storage.imports import Imported, RuleVersion, import_rules, rules
from storage.zones import import_zones, zones, zones_digest

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from storage.ask import Whom

    Row = dict[str, Any]

__all__ = [
    "Imported",
    "RuleVersion",
    "Said",
    "acknowledge",
    "alert",
    "alerts",
    "assign",
    "close",
    "comment",
    "import_rules",
    "import_zones",
    "known",
    "pending",
    "progress",
    "quarantine_summary",
    "quarantined",
    "queued",
    "refused",
    "resolve",
    "row_counts",
    "row_estimates",
    "rules",
    "sources",
    "unacknowledge",
    "zones",
    "zones_digest",
]

_TABLES: Final = (*roles.HISTORY, *roles.KEPT, *roles.WORKING, "quarantine", "quarantine_evicted")


async def quarantined(
    dsn: str,
    *,
    reason: str | None = None,
    source: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    redriven: bool | None = None,
    after: UUID | None = None,
    limit: int = 100,
) -> list[Row]:
    """Refused messages, the latest received first, with the name of their source; ``raw`` is left out.

    Args:
        dsn: the database.
        reason: only these.
        source: only from this one, by name.
        since: received at that time or later.
        until: received before that time.
        redriven: whether they were tried again.
        after: only what follows this message in the listing, to go on from the last one seen.
        limit: at most so many.
    """
    condition, values = ask.where(
        {
            "q.reason = %s": reason,
            "s.name = %s": source,
            "q.received_at >= %s": since,
            "q.received_at < %s": until,
            "(q.redriven_at IS NOT NULL) = %s": redriven,
            "(q.received_at, q.id) < (SELECT received_at, id FROM quarantine WHERE id = %s)": after,
        }
    )
    query = sql.SQL(
        "SELECT q.id, q.received_at, coalesce(s.name, q.source_id::text) AS source, q.origin, q.reason, q.detail,"
        " q.line, q.size, q.redriven_at, q.redrives, q.redrive_outcome"
        " FROM quarantine AS q LEFT JOIN sources AS s ON s.id = q.source_id{}"
        " ORDER BY q.received_at DESC, q.id DESC LIMIT %s"
    ).format(condition)
    return await ask.rows(dsn, query, [*values, limit])


async def quarantine_summary(dsn: str) -> list[Row]:
    """By source and reason, the most first: ``messages`` kept and the ``bytes`` they had, the ``first`` and ``last``
    receipt, ``redriven`` of them, and ``evicted`` before their time because quarantine had outgrown its bound.
    """
    return await ask.rows(
        dsn,
        b"""
        SELECT coalesce(s.name, source_id::text) AS source, reason, coalesce(q.messages, 0) AS messages,
            coalesce(q.bytes, 0) AS bytes, q.first, q.last, coalesce(q.redriven, 0) AS redriven,
            coalesce(e.messages, 0) AS evicted
        FROM (
            SELECT source_id, reason, count(*) AS messages, sum(size)::bigint AS bytes,
                min(received_at) AS first, max(received_at) AS last, count(redriven_at) AS redriven
            FROM quarantine GROUP BY source_id, reason
        ) AS q FULL JOIN quarantine_evicted AS e USING (source_id, reason) LEFT JOIN sources AS s ON s.id = source_id
        ORDER BY messages DESC, source, reason
        """,
    )


async def refused(dsn: str, id_: UUID) -> Row:
    """One refused message with its bytes in ``raw`` (the first 64 KiB: whole if as long as ``size``).

    Raises:
        RequestRefused: there is no such message.
    """
    rows = await ask.rows(
        dsn,
        b"SELECT q.*, coalesce(s.name, q.source_id::text) AS source, coalesce(s.kind, '') AS source_kind"
        b" FROM quarantine AS q LEFT JOIN sources AS s ON s.id = q.source_id WHERE q.id = %s",
        (id_,),
    )
    if not rows:
        raise RequestRefused(f"there is no quarantined message {id_}")
    return rows[0]


async def sources(dsn: str) -> list[Row]:
    """Where messages came from: ``id``, ``name``, ``kind``."""
    return await ask.rows(dsn, b"SELECT id, name, kind FROM sources ORDER BY name, id")


async def progress(whom: Whom) -> list[Row]:
    """How far each ingesting process has committed: ``instance``, ``received_at`` (None: nothing yet)."""
    return await ask.rows(whom, b"SELECT instance, received_at FROM progress ORDER BY instance")


async def row_counts(dsn: str) -> dict[str, int]:
    """The exact number of rows of every table: slow where there are many."""
    parts = [sql.SQL("SELECT {} AS name, count(*) AS n FROM {}").format(t, sql.Identifier(t)) for t in _TABLES]
    return {row["name"]: row["n"] for row in await ask.rows(dsn, sql.SQL(" UNION ALL ").join(parts))}


async def row_estimates(dsn: str) -> dict[str, int]:
    """About how many rows every table has, by the server's statistics, chunks included; fast at any size."""
    rows = await ask.rows(
        dsn,
        b"""
        WITH RECURSIVE parts AS (
            SELECT oid, relname AS name FROM pg_class WHERE relname = ANY(%s)
                AND relnamespace = current_schema()::regnamespace
            UNION ALL SELECT i.inhrelid, p.name FROM pg_inherits AS i JOIN parts AS p ON i.inhparent = p.oid
        )
        SELECT name, sum(greatest(0, coalesce(c.reltuples, 0), pg_stat_get_live_tuples(parts.oid)))::bigint AS n
        FROM parts JOIN pg_class AS c USING (oid) GROUP BY name
        """,
        (list(_TABLES),),
    )
    return {row["name"]: row["n"] for row in rows}


async def queued(dsn: str, channel: str | None = None) -> int:
    """Notifications neither sent nor abandoned, of one channel or of all."""
    condition, values = ask.where({"channel = %s": channel})
    and_ = sql.SQL(" AND state = 'queued'") if values else sql.SQL(" WHERE state = 'queued'")
    query = sql.SQL("SELECT count(*) AS n FROM notifications{}{}").format(condition, and_)
    (row,) = await ask.rows(dsn, query, values)
    return int(row["n"])
