"""A small batch in one exchange: one statement, which is a transaction of its own.

For a batch of nothing but rows of one kind that are believed to be new and whose names are known, which is what a quiet
service writes. Whether a row was there already is known only when the statement has run, and then it is too late to
do more about it in the same transaction: so the statement fails if one was, all is as it was before, and the batch is
written like any other (``storage.transaction``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import psycopg
from psycopg.pq import TransactionStatus

from storage import statements, tables
from storage.batch import Committed
from storage.errors import CommitUnknown
from storage.times import moment

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from psycopg import AsyncConnection

    from storage.part import Part
    from storage.work import Work

    Connection = AsyncConnection[tuple[Any, ...]]

_STATEMENTS: Final = {
    table.name: table.merge(before=b"moved AS (" + statements.UPSERT_PROGRESS + b"), ", answer=tables.NONE_TAKEN)
    for table in (tables.POSITIONS, tables.READINGS)
}


def fits(work: Work) -> bool:
    """Whether a batch is one that may be tried so; its parts are encoded and its names looked up."""
    if work.before or work.after or work.refusals or work.received is None or len(work.parts) != 1:
        return False
    (part,) = work.parts.values()
    verdict = work.batch.verdict
    return (
        part.table.name in _STATEMENTS
        and not part.straight
        and part.distinct
        and len(part.merged()) == 1
        and not verdict.transitions
        and not verdict.late
    )


async def write_once(connection: Connection, work: Work, instance: str, token: UUID) -> Committed | None:
    """Write a batch that ``fits`` and commit it; None: a row was there already, and nothing is written.

    Raises:
        CommitUnknown: the connection was lost meanwhile.
    """
    assert work.received is not None
    (part,) = work.parts.values()
    (arrays,) = part.merged()
    committed = _all_new(part)
    parameters: Sequence[Any] = (instance, moment(work.received), token, *arrays)
    await connection.set_autocommit(True)
    try:
        await connection.execute(_STATEMENTS[part.table.name], parameters, binary=True)
    except psycopg.errors.DivisionByZero:
        return None
    except psycopg.OperationalError as error:
        if connection.closed:
            raise CommitUnknown(token, committed) from error
        raise
    finally:
        if connection.info.transaction_status is TransactionStatus.IDLE:  # else it is about to be closed
            await connection.set_autocommit(False)
    return committed


def _all_new(part: Part) -> Committed:
    new, none = np.ones(len(part.chosen), np.bool_), np.zeros(0, np.bool_)
    return Committed(
        positions=new if part.table is tables.POSITIONS else none,
        readings=new if part.table is tables.READINGS else none,
        statics=none,
        receptions=none,
        records=none,
        rejects=none,
    )
