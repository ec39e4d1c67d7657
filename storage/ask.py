"""One question to the database: one transaction, rows as dictionaries by column name.

Each has a connection of its own, which takes some milliseconds to open; who has many to ask, one after the other, keeps
one for them (``Link``).
"""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Self

from psycopg import AsyncConnection, sql
from psycopg.rows import dict_row

from storage.errors import translated
from storage.session import ALIVE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    Row = dict[str, Any]
    Connection = AsyncConnection[Row]


#: A connection of which nothing was asked for longer is not used again.
KEPT_SECONDS: Final = 10.0


class Link:
    """A connection for many questions, one at a time: opened by the first, and again by the next after one failed, or
    after a pause: servers and what lies before them may end what is idle. A context: leaving it closes the connection.
    """

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._connection: Connection | None = None
        self._asked = 0.0  # when, by the monotonic clock

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def open(self) -> Connection:
        before, self._asked = self._asked, time.monotonic()
        if self._asked - before > KEPT_SECONDS:
            await self.close()
        if self._connection is None or self._connection.closed:
            self._connection = await self._connect()
        return self._connection

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _connect(self) -> Connection:
        connection = await AsyncConnection[dict[str, Any]].connect(
            self._dsn,
            row_factory=dict_row,
            connect_timeout=5,
            application_name="haidang reader",
            prepare_threshold=None,  # it may outlive a migration, and what it asks is asked seldom
            **ALIVE,
        )
        try:
            await connection.execute("SET timezone = 'UTC'")
            await connection.commit()
        except BaseException:
            await connection.close()
            raise
        return connection


#: Whom to ask: a DSN or URI, or a connection to what one says.
Whom = str | Link


@asynccontextmanager
async def connected(whom: Whom) -> AsyncIterator[Connection]:
    """One transaction: committed at the end, undone if the body raises."""
    if isinstance(whom, str):
        async with Link(whom) as own, connected(own) as connection:
            yield connection
        return
    with translated():
        try:
            connection = await whom.open()
            yield connection
            await connection.commit()
        except BaseException:
            await whom.close()  # the library leaves one open whose rollback was cancelled
            raise


@asynccontextmanager
async def released(connection: AsyncConnection[Any]) -> AsyncIterator[None]:
    """A transaction, after which the connection is closed whatever happens: the library leaves one open whose rollback
    was cancelled.
    """
    try:
        async with connection:
            yield
    finally:
        await connection.close()


async def rows(
    whom: Whom, query: sql.Composed | bytes, parameters: Sequence[Any] | Mapping[str, Any] = ()
) -> list[Row]:
    async with connected(whom) as connection:
        return await (await connection.execute(query, parameters)).fetchall()


def where(conditions: Mapping[str, Any]) -> tuple[sql.Composable, list[Any]]:
    """A WHERE clause of the conditions that have a value; keys are SQL with one placeholder."""
    given = {condition: value for condition, value in conditions.items() if value is not None}
    if not given:
        return sql.SQL(""), []
    clause = sql.SQL(" WHERE ") + sql.SQL(" AND ").join(sql.SQL(condition) for condition in given)
    return clause, list(given.values())
