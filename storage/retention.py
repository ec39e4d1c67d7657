"""Retention by our own job: TimescaleDB's policies need the Timescale licence, plain PostgreSQL has none.

Hypertables lose whole chunks (``drop_chunks``), so a row is kept at least as long as said, and up to a chunk's seven
days longer. Plain tables lose rows, in slices that each commit, so that no lock is held for long. Roll-ups made by
continuous aggregates stay. It needs the owner of the tables: a member of ``haidang_migrator``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg import sql

from storage import roles
from storage.errors import translated

if TYPE_CHECKING:
    from psycopg import Connection

#: Rows deleted in one transaction.
_SLICE: Final = 20_000

#: What ``retain`` says of a table that this user may not prune.
NOT_ALLOWED: Final = "not allowed"


@dataclass(slots=True, frozen=True)
class Retention:
    """Days that rows are kept; None: for ever.

    Positions, and what else transponders sent: 36 months and a month to spare. Alerts, their history and what was sent
    about them are the record, and kept for ever.
    """

    positions_days: int | None = 1_128
    readings_days: int | None = 1_826  # five years
    quarantine_days: int | None = 90  # by receive time

    def __post_init__(self) -> None:
        for name in ("positions_days", "readings_days", "quarantine_days"):
            days = getattr(self, name)
            if days is not None and days < 1:
                raise ValueError(f"{name} must be at least 1, or none to keep for ever")

    def tables(self) -> dict[str, int]:
        """Days by table, of those that are pruned at all."""
        days = {
            "positions": self.positions_days,
            "statics": self.positions_days,
            "ais_messages": self.positions_days,
            "receptions": self.positions_days,
            "readings": self.readings_days,
            "quarantine": self.quarantine_days,
        }
        return {table: kept for table, kept in days.items() if kept is not None}


def retain(dsn: str, policy: Retention, now: datetime | None = None) -> dict[str, int | str]:
    """Drop what is older than the policy keeps.

    Returns:
        By table: rows deleted, or chunks dropped of a hypertable, or ``NOT_ALLOWED``.

    Raises:
        DatabaseAway, ConfigurationError: see ``storage.errors``.
    """
    now = datetime.now(UTC) if now is None else now
    dropped: dict[str, int | str] = {}
    with translated(), psycopg.connect(dsn, autocommit=True, application_name="haidang retention") as connection:
        roles.assume_owner(connection, "positions")
        chunked = _hypertables(connection)
        for table, days in policy.tables().items():
            before = now - timedelta(days=days)
            try:
                dropped[table] = (
                    _drop_chunks(connection, table, before) if table in chunked else _delete(connection, table, before)
                )
            except psycopg.errors.InsufficientPrivilege:
                dropped[table] = NOT_ALLOWED
    return dropped


def _hypertables(connection: Connection[Any]) -> set[str]:
    if connection.execute("SELECT FROM pg_extension WHERE extname = 'timescaledb'").fetchone() is None:
        return set()
    rows = connection.execute(
        "SELECT hypertable_name FROM timescaledb_information.hypertables WHERE hypertable_schema = current_schema()"
    )
    return {name for (name,) in rows}


def _drop_chunks(connection: Connection[Any], table: str, before: datetime) -> int:
    return len(connection.execute("SELECT drop_chunks(%s::regclass, older_than => %s)", (table, before)).fetchall())


def _delete(connection: Connection[Any], table: str, before: datetime) -> int:
    statement = sql.SQL(
        "DELETE FROM {table} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {table} WHERE {time} < %s LIMIT %s))"
    ).format(table=sql.Identifier(table), time=sql.Identifier("received_at" if table == "quarantine" else "time"))
    deleted = 0
    while count := connection.execute(statement, (before, _SLICE)).rowcount:
        deleted += count
    return deleted
