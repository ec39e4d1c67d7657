"""One question to the database: a connection of its own, one transaction, rows as dictionaries by column name."""

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


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[Connection]:
    """One transaction: committed at the end, rolled back if the body raises."""
    with translated():
        connection = await AsyncConnection[dict[str, Any]].connect(
            dsn, row_factory=dict_row, connect_timeout=5, application_name="haidang reader"
        )
        async with released(connection):
            await connection.execute("SET timezone = 'UTC'")
            yield connection


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


async def rows(dsn: str, query: sql.Composed | bytes, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[Row]:
    async with connected(dsn) as connection:
        return await (await connection.execute(query, parameters)).fetchall()


def where(conditions: Mapping[str, Any]) -> tuple[sql.Composable, list[Any]]:
    """A WHERE clause of the conditions that have a value; keys are SQL with one placeholder."""
    given = {condition: value for condition, value in conditions.items() if value is not None}
    if not given:
        return sql.SQL(""), []
    clause = sql.SQL(" WHERE ") + sql.SQL(" AND ").join(sql.SQL(condition) for condition in given)
    return clause, list(given.values())
