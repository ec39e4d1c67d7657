"""Tables of columns out of the database: rows of fixed width come as one binary COPY, decoded as they come."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from psycopg import sql

from storage.columns import SIGNATURE, TRAILER, decode, stride

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from psycopg import AsyncConnection

    from storage.columns import Column

    Connection = AsyncConnection[tuple[Any, ...]]

#: The null of a nullable column, by its type in the database and that of its field (``decoders.records``).
_NULL: Final = {"double precision": "'NaN'::double precision", "real": "'NaN'::real"}

#: Bytes of a COPY decoded at a time: a table of a million rows is never held twice.
_CHUNK: Final = 1 << 20


def selected(columns: Sequence[Column], dtype: np.dtype[Any]) -> sql.Composed:
    """The columns as a query for ``fetch`` must name them: without NULL."""
    return sql.SQL(", ").join(_selected(column, dtype) for column in columns)


@cache
def _selected(column: Column, dtype: np.dtype[Any]) -> sql.SQL:
    name: sql.Composable = sql.Identifier(column.name)
    if column.nullable and column.type in _NULL:
        name = sql.SQL("coalesce({}, {})").format(name, sql.SQL(_NULL[column.type]))
    elif column.nullable:
        least = sql.Literal(int(np.iinfo(dtype[column.field]).min))
        name = sql.SQL("coalesce({}, ({})::{})").format(name, least, sql.SQL(column.type))
    return sql.SQL(name.as_string())  # composed once: for each query it cost more than this


async def fetch(
    connection: Connection, query: sql.Composed, columns: Sequence[Column], dtype: np.dtype[Any]
) -> NDArray[np.void]:
    """The rows of a query of fixed width without NULL, as a table of ``dtype``."""
    parts: list[NDArray[np.void]] = []
    pending, row = bytearray(), stride(columns)
    async with (
        connection.cursor() as cursor,
        cursor.copy(sql.SQL("COPY ({}) TO STDOUT (FORMAT BINARY)").format(query)) as copy,
    ):
        async for block in copy:
            pending += block
            if len(pending) >= _CHUNK:
                whole = len(SIGNATURE) + (len(pending) - len(SIGNATURE)) // row * row
                parts.append(decode(columns, bytes(pending[:whole]) + TRAILER, dtype))
                del pending[len(SIGNATURE) : whole]
    parts.append(decode(columns, bytes(pending), dtype))
    return np.concatenate(parts) if len(parts) > 1 else parts[0]
