"""Quarantine within its bound: what floods it makes room, and nothing else does.

A refused message is acknowledged because it is kept, so none is turned away. But a flood of ever new bad messages would
fill the disk and stop everything, so that its own oldest messages go before their days are over: of the source and the
reason that hold the most, level with those that hold less. How many went is kept in ``quarantine_evicted``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import psycopg

from storage.errors import translated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg import Connection

#: Bytes that a row takes beside its raw ones (as they are stored: compressed), with its entries in indexes: about.
OVERHEAD: Final = 400
#: Of the bound, in per cent: what is left after making room, so that it is not made again at once.
_LEAVE: Final = 90
#: Rows deleted in one transaction.
_SLICE: Final = 20_000


def evict(dsn: str, most_bytes: int) -> int:
    """Bring quarantine down to ``most_bytes``, about; how many messages had to go.

    Raises:
        ConfigurationError: this user is no member of ``haidang_writer``, or see ``storage.errors``.
        DatabaseAway: likewise.
    """
    with translated(), psycopg.connect(dsn, autocommit=True, application_name="haidang retention") as connection:
        # The size of the files never falls short of what is in them, and is known without reading them.
        row = connection.execute("SELECT pg_total_relation_size('quarantine')").fetchone()
        if row is not None and row[0] <= most_bytes:
            return 0
        groups = connection.execute(
            "SELECT source_id, reason, sum(pg_column_size(raw) + %s)::bigint FROM quarantine GROUP BY 1, 2",
            (OVERHEAD,),
        ).fetchall()
        held = [size for _, _, size in groups]
        if sum(held) <= most_bytes:
            return 0
        most = level(held, most_bytes * _LEAVE // 100)
        return sum(_trim(connection, source, reason, most) for source, reason, size in groups if size > most)


def level(held: Sequence[int], room: int) -> int:
    """The most that each may hold so that all together hold no more than ``room``."""
    left = room
    for number, size in enumerate(sorted(held)):
        share = left // (len(held) - number)
        if size > share:
            return share
        left -= size
    return max(held, default=0)


def _trim(connection: Connection[Any], source: int, reason: str, most: int) -> int:
    """Delete the oldest of one source and reason until they hold no more than ``most``, in slices."""
    newest = connection.execute(
        """
        SELECT received_at, id FROM (
            SELECT received_at, id, sum(pg_column_size(raw) + %s) OVER (ORDER BY received_at DESC, id DESC) AS held
            FROM quarantine WHERE source_id = %s AND reason = %s
        ) AS q WHERE held > %s ORDER BY received_at DESC, id DESC LIMIT 1
        """,
        (OVERHEAD, source, reason, most),
    ).fetchone()
    if newest is None:
        return 0
    evicted = 0
    while True:
        row = connection.execute(
            "SELECT quarantine_evict(%s, %s, %s, %s, %s)", (source, reason, *newest, _SLICE)
        ).fetchone()
        if row is None or row[0] is None:
            return evicted
        evicted += row[0]
