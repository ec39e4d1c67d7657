"""Everything that is recorded of one alert."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from storage import ask
from storage.errors import RequestRefused

if TYPE_CHECKING:
    from uuid import UUID

    from psycopg import AsyncConnection

    Row = dict[str, Any]


async def record(dsn: str, id_: UUID) -> dict[str, Any]:
    """``alert``, its ``history``, ``notifications`` and ``deliveries`` (whole rows, oldest first), and the ``rule``.

    ``messages``: those that decided, their bytes as Base64.

    ``details_text`` of the history and ``payload_text`` of notifications are what hashes are of; ``conditions`` are the
    rules that the rule stood on.

    Raises:
        RequestRefused: there is no such alert, or its rule is not kept.
        DatabaseAway, ConfigurationError: the database cannot be used.
    """
    async with ask.connected(dsn) as connection:
        found = await (await connection.execute("SELECT * FROM alerts WHERE id = %s", (id_,))).fetchone()
        if found is None:
            raise RequestRefused(f"there is no alert {id_}")
        history = await connection.execute(
            "SELECT *, details::text AS details_text FROM alert_history WHERE alert_id = %s ORDER BY seq", (id_,)
        )
        deliveries = await connection.execute("SELECT * FROM alert_deliveries WHERE alert_id = %s ORDER BY seq", (id_,))
        told = await connection.execute(
            "SELECT *, payload::text AS payload_text FROM notifications WHERE alert_id = %s"
            " ORDER BY at, created_at, channel, id",
            (id_,),
        )
        changes = await history.fetchall()
        first: Row = next((row["details"] for row in changes if row["change"] == "firing"), {})
        messages = await connection.execute(
            "SELECT received_at, message, source_id, origin, format, per_line, size, encode(raw, 'base64') AS raw"
            " FROM alert_messages WHERE alert_id = %s ORDER BY received_at, message, source_id",
            (id_,),
        )
        return {
            "alert": found,
            "history": changes,
            "deliveries": await deliveries.fetchall(),
            "notifications": await told.fetchall(),
            "messages": await messages.fetchall(),
            "rule": await _rule(connection, found["rule_id"], found["rule_version"]),
            "conditions": [await _rule(connection, *each) for each in sorted(first.get("rules", {}).items())],
        }


async def _rule(connection: AsyncConnection[Row], id_: str, version: str) -> Row:
    cursor = await connection.execute(
        "SELECT id, version, body FROM rules WHERE id = %s AND version = %s", (id_, version)
    )
    kept = await cursor.fetchone()
    if kept is None:
        raise RequestRefused(f"rule {id_} is not kept in its version {version}")
    return kept
