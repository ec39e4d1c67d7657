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
    """Keep a connection. Once a question has failed, or it was lost, every further one raises ``DatabaseAway``."""
    with translated():
        connection = await AsyncConnection[dict[str, Any]].connect(
            dsn, row_factory=dict_row, connect_timeout=5, application_name="haidang reader"
        )
    try:
        with translated():
            await connection.execute("SET timezone = 'UTC'")
            await connection.commit()
        yield Link(connection)
    finally:
        await connection.close()


@asynccontextmanager
async def connected(whom: Whom) -> AsyncIterator[Connection]:
    """One transaction: committed at the end, undone if the body raises."""
    if isinstance(whom, str):
        async with link(whom) as own, connected(own) as connection:
            yield connection
        return
    with translated():
        try:
            yield whom.connection
        except BaseException:
            await whom.connection.close()  # the library leaves one open whose rollback was cancelled
            raise
        await whom.connection.commit()


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
