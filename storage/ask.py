"""One question to the database: one transaction, rows as dictionaries by column name.

Each has a connection of its own, which takes some milliseconds to open; who has many to ask, one after the other, keeps
one for them (``link``).
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from psycopg import AsyncConnection, sql
from psycopg.rows import dict_row

from storage.errors import translated

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    Row = dict[str, Any]
    Connection = AsyncConnection[Row]


class Link:
    """A connection for several questions, one at a time: see ``link``."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection


#: Whom to ask: a DSN or URI, or a connection to what one says.
Whom = str | Link


@asynccontextmanager
async def link(dsn: str) -> AsyncIterator[Link]:
    """Keep a connection. Once it is lost, every question raises ``DatabaseAway``."""
    with translated():
        connection = await _open(dsn)
    try:
        with translated():
            await _said_utc(connection)
            await connection.commit()
        yield Link(connection)
    finally:
        await connection.close()


@asynccontextmanager
async def connected(whom: Whom) -> AsyncIterator[Connection]:
    """One transaction: committed at the end, rolled back if the body raises."""
    with translated():
        if isinstance(whom, Link):
            async with _transaction(whom.connection):
                yield whom.connection
        else:
            connection = await _open(whom)
            async with released(connection):
                await _said_utc(connection)
                yield connection


async def _open(dsn: str) -> Connection:
    return await AsyncConnection[dict[str, Any]].connect(
        dsn, row_factory=dict_row, connect_timeout=5, application_name="haidang reader"
    )


async def _said_utc(connection: Connection) -> None:
    await connection.execute("SET timezone = 'UTC'")


@asynccontextmanager
async def _transaction(connection: Connection) -> AsyncIterator[None]:
    try:
        yield
    except BaseException:
        await connection.close()  # its transaction is undone, even where this was cancelled
        raise
    await connection.commit()


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
