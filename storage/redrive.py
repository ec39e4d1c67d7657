"""Refused messages in the order they came, to be tried again, by one process at a time."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Self

from psycopg import AsyncConnection, OperationalError, sql
from psycopg.rows import dict_row

from storage import ask
from storage.errors import RequestRefused, translated
from storage.quarantine import clean

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from types import TracebackType
    from uuid import UUID

    Row = dict[str, Any]

#: Rows fetched at once: with 64 KiB of bytes each, 13 MB at most.
_PAGE: Final = 200
#: Of the advisory lock that a redrive holds: "redrive!" as a number. It ends with the connection, however that ends.
_LOCK: Final = int.from_bytes(b"redrive!")


@dataclass(slots=True, frozen=True)
class Choice:
    """Which refused messages: ``ids``, or all that pass the other conditions.

    ``again``: those too that were tried in vain before. What was stored is never chosen by condition.
    """

    ids: Sequence[UUID] = ()
    reason: str | None = None
    source: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    again: bool = False
    limit: int | None = None


class Redrive:
    """One redrive. A second one at the same time is refused: neither could say what became of a message."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._connection: AsyncConnection[Row] | None = None

    async def __aenter__(self) -> Self:
        """Connect and take the lock.

        Raises:
            RequestRefused: another redrive is under way.
            StorageError: the database cannot be used.
        """
        with translated():
            connection = await AsyncConnection[dict[str, Any]].connect(
                self._dsn,
                row_factory=dict_row,
                autocommit=True,
                connect_timeout=5,
                application_name="haidang redrive",
            )
            self._connection = connection
            cursor = await connection.execute("SELECT pg_try_advisory_lock(%s) AS mine", (_LOCK,))
            row = await cursor.fetchone()
        if row is None or not row["mine"]:
            await connection.close()
            raise RequestRefused("another redrive is under way")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._connection is not None:
            # The server may notice the end of a connection after whoever comes next has asked for the lock.
            with suppress(OperationalError):
                await self._connection.execute("SELECT pg_advisory_unlock(%s)", (_LOCK,))
            await self._connection.close()

    async def messages(self, choice: Choice) -> AsyncIterator[Row]:
        """Rows of ``quarantine`` with ``source`` and ``source_kind``, those received first first.

        Raises:
            RequestRefused: there is no message of one of the ids.
        """
        last: tuple[Any, Any] | None = None
        left = choice.limit
        found = set()
        while left is None or left > 0:
            rows = await self._page(choice, last, _PAGE if left is None else min(left, _PAGE))
            for row in rows:
                found.add(row["id"])
                yield row
            if not rows:
                break
            last = rows[-1]["received_at"], rows[-1]["id"]
            left = None if left is None else left - len(rows)
        if missing := [id_ for id_ in choice.ids if id_ not in found]:
            raise RequestRefused(f"there is no quarantined message {missing[0]}")

    async def _page(self, choice: Choice, last: tuple[Any, Any] | None, size: int) -> list[Row]:
        assert self._connection is not None
        tried = None if choice.ids else "refused%" if choice.again else ""
        where, values = ask.where(
            {
                "q.id = ANY(%s)": list(choice.ids) or None,
                "q.reason = %s": choice.reason,
                "s.name = %s": choice.source,
                "q.received_at >= %s": choice.since,
                "q.received_at < %s": choice.until,
                "(q.redrive_outcome IS NULL OR q.redrive_outcome LIKE %s)": tried,
            }
        )
        if last is not None:
            where += sql.SQL(" AND " if values else " WHERE ") + sql.SQL("(q.received_at, q.id) > (%s, %s)")
            values += last
        query = sql.SQL(
            "SELECT q.*, coalesce(s.name, q.source_id::text) AS source, coalesce(s.kind, '') AS source_kind"
            " FROM quarantine AS q LEFT JOIN sources AS s ON s.id = q.source_id{}"
            " ORDER BY q.received_at, q.id LIMIT {}"
        ).format(where, size)
        with translated():
            return await (await self._connection.execute(query, values)).fetchall()

    async def mark(self, id_: UUID, outcome: str, at: datetime | None = None) -> None:
        """Note that a refused message was tried again, and what came of it."""
        assert self._connection is not None
        with translated():
            await self._connection.execute(
                "UPDATE quarantine SET redriven_at = %s, redrives = redrives + 1,"
                " redrive_outcome = CASE WHEN redrive_outcome = 'stored' AND %s = 'duplicate' THEN 'stored' ELSE %s END"
                " WHERE id = %s",
                (at or datetime.now(UTC), outcome, clean(outcome), id_),
            )
