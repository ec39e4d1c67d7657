"""Stored observations as they came: for those who judge them again.

All of it is read in one transaction that cannot write, from one snapshot: what arrives meanwhile is not seen.

The order is that of arrival (``decoders.arrival``): by ``received_at``, of which every message has its own; within one
message statics, positions, readings, each by time and key. Rows of one instant form one message of the observations.
Not told apart any more are messages that two processes took in at the same microsecond. What was in quarantine and was
stored later (``haidang quarantine redrive``) stands at the time of its receipt, though it was judged later.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from psycopg import AsyncConnection, sql

from alerting.model import Memory
from decoders.arrival import numbered
from decoders.records import POSITION, READING, RECEPTION, STATIC, AisRecord, Observations, take
from storage import tables
from storage.ask import released
from storage.errors import translated
from storage.fetch import fetch, selected
from storage.memory import names
from storage.times import microseconds, moment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from numpy.typing import NDArray

    from storage.tables import Table

    Connection = AsyncConnection[tuple[Any, ...]]

#: What an engine can look at.
TABLES: Final = ("statics", "positions", "readings", "receptions", "ais_messages")

#: Rows read at a time, about: enough that a query costs little beside them, and few enough to be held twice.
_ROWS: Final = 200_000
_SECOND: Final = 1_000_000
_FIRST, _LONGEST, _SHORTEST = 3_600 * _SECOND, 7 * 86_400 * _SECOND, _SECOND

_DTYPES: Final = {"positions": POSITION, "readings": READING, "statics": STATIC, "receptions": RECEPTION}
_TABLES: Final = {
    table.name: table
    for table in (tables.POSITIONS, tables.READINGS, tables.STATICS, tables.RECEPTIONS, tables.AIS_MESSAGES)
}
#: Fields of a static report that the engine may look at and that have no fixed width.
_TEXTS: Final = ("name", "callsign", "destination", "eta")


@dataclass(slots=True, frozen=True)
class Choice:
    """Which rows: of which tables (``TABLES``), and of which subjects; None: of all."""

    tables: frozenset[str] = frozenset(TABLES)
    transponders: tuple[int, ...] | None = None
    devices: tuple[int, ...] | None = None

    def condition(self, table: str) -> sql.Composable:
        """What is asked of the rows of a table beside their times."""
        column, ids = ("device_id", self.devices) if table == "readings" else ("transponder_id", self.transponders)
        if ids is None:
            return sql.SQL("true")
        return sql.SQL("{} = ANY({}::bigint[])").format(sql.Identifier(column), sql.Literal(list(ids)))


@asynccontextmanager
async def history(dsn: str, choice: Choice | None = None) -> AsyncIterator[History]:
    """Open what is stored.

    Raises:
        DatabaseAway, ConfigurationError: the database cannot be used.
    """
    with translated():
        connection = await AsyncConnection.connect(dsn, connect_timeout=5, application_name="haidang backtest")
        async with released(connection):
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            await connection.execute("SET timezone = 'UTC'")
            yield History(connection, choice or Choice())


class History:
    """What was received, in one snapshot. Times are receive times, microseconds UTC."""

    def __init__(self, connection: Connection, choice: Choice) -> None:
        self._connection = connection
        self.choice = choice

    async def span(self) -> tuple[int, int] | None:
        """The first and the last receive time of anything of the choice; None if there is nothing."""
        found: list[int] = []
        for name in sorted(self.choice.tables):
            query = sql.SQL("SELECT min(received_at), max(received_at) FROM {} WHERE {}").format(
                sql.Identifier(name), self.choice.condition(name)
            )
            row = await (await self._connection.execute(query)).fetchone()
            found += [microseconds(time) for time in row or () if time is not None]
        return (min(found), max(found)) if found else None

    async def subjects(self) -> dict[tuple[str, int], str]:
        """(kind, id) -> name of every device ("gateway/device") and transponder (an AIS one's name is its MMSI)."""
        cursor = await self._connection.execute(
            "SELECT 'device', id, gateway || '/' || name FROM devices"
            " UNION ALL SELECT 'transponder', id, identifier FROM transponders"
        )
        return {(kind, id_): name for kind, id_, name in await cursor.fetchall()}

    async def first(self) -> int | None:
        """The least event time of anything that was ever heard; None if nothing was."""
        cursor = await self._connection.execute(
            "SELECT least((SELECT min(first_seen) FROM transponders), (SELECT min(first_seen) FROM devices))"
        )
        row = await cursor.fetchone()
        return None if row is None or row[0] is None else microseconds(row[0])

    async def deaf(self) -> list[tuple[int, int]]:
        """The spans in which the service could not hear, oldest first (``alerting.judging.hearing``)."""
        cursor = await self._connection.execute("SELECT since, until FROM deaf_spans ORDER BY 1, 2")
        return [(microseconds(since), microseconds(until)) for since, until in await cursor.fetchall()]

    async def memory(self, at: int) -> Memory:
        """What an engine would have known just before ``at``, but for what was under way."""
        wanted = self.choice.tables
        memory = Memory(names=await names(self._connection))
        if "positions" in wanted:
            memory.positions = await self._last(tables.POSITIONS, _EACH_POSITION, at)
            memory.first_seen = await self._times(_FIRST_SEEN, at)
        if "statics" in wanted:
            memory.ship_types = await self._numbers(_SHIP_TYPES, at)
            memory.static_times = await self._times(_STATIC_TIMES, at)
        if "readings" in wanted:
            memory.readings = await self._last(tables.READINGS, _EACH_READING, at)
        return memory

    async def slices(
        self, since: int, until: int, cuts: Iterable[int] = (), *, of: int | None = None, width: int = _FIRST
    ) -> AsyncIterator[tuple[Observations, int]]:
        """What was received from ``since`` up to, not including, ``until``, in order of arrival.

        Args:
            since: a receive time, microseconds UTC.
            until: another.
            cuts: are to be among the ticks.
            of: without positions and readings of an earlier event time. Then chunks that hold no later ones are not
                looked into, and of a device whose clock is far behind not everything it ever sent is read.
            width: of the first slice, microseconds.

        Yields:
            Observations, and a tick: the instant before which they were received.
        """
        ends = sorted({cut for cut in cuts if since < cut < until} | {until})
        at = since
        while at < until:
            end = min(at + width, next(cut for cut in ends if cut > at))
            found = await self._slice(at, end, of)
            yield found, end
            if found.rows > 2 * _ROWS:
                width = max(width // 2, _SHORTEST)
            elif found.rows < _ROWS // 2 and end - at == width:
                width = min(width * 2, _LONGEST)
            at = end

    async def _slice(self, since: int, until: int, of: int | None) -> Observations:
        out = Observations()
        for name in sorted(self.choice.tables & _DTYPES.keys()):
            setattr(out, name, await self._rows(_TABLES[name], since, until, of))
        if "ais_messages" in self.choice.tables:
            out.records = await self._records(since, until)
        numbered(out)
        return out

    def _between(self, table: str, since: int, until: int) -> sql.Composed:
        return sql.SQL("received_at >= {} AND received_at < {} AND {}").format(
            moment(since), moment(until), self.choice.condition(table)
        )

    async def _rows(self, table: Table, since: int, until: int, of: int | None) -> NDArray[np.void]:
        columns = [column for column in table.columns if column.fixed]
        place, where = sql.Identifier(table.name), self._between(table.name, since, until)
        if of is not None and table in (tables.POSITIONS, tables.READINGS):
            where += sql.SQL(" AND time >= {}").format(moment(of))
        dtype = _DTYPES[table.name]
        sorted_ = sql.SQL(" ORDER BY received_at, time, transponder_id, digest") if table is tables.STATICS else None
        query = sql.SQL("SELECT {} FROM {} WHERE {}{}").format(
            selected(columns, dtype), place, where, sorted_ or sql.SQL("")
        )
        rows = await fetch(self._connection, query, columns, dtype)
        if sorted_ is None:
            return take(rows, np.argsort(rows["received_at"], kind="stable"))
        texts = sql.SQL("SELECT {} FROM {} WHERE {}{}").format(
            sql.SQL(", ").join(map(sql.Identifier, _TEXTS)), place, where, sorted_
        )
        said = await (await self._connection.execute(texts)).fetchall()
        for n, field in enumerate(_TEXTS):
            rows[field] = [row[n] for row in said]
        return rows

    async def _records(self, since: int, until: int) -> list[AisRecord]:
        query = sql.SQL(
            "SELECT time, received_at, transponder_id, digest, source_id, msg_type, kind, fields FROM ais_messages"
            " WHERE {} ORDER BY received_at, time, transponder_id, digest"
        ).format(self._between("ais_messages", since, until))
        cursor = await self._connection.execute(query)
        return [
            AisRecord(
                microseconds(time), microseconds(received), transponder, digest, source, msg_type, kind, fields, 0
            )
            for time, received, transponder, digest, source, msg_type, kind, fields in await cursor.fetchall()
        ]

    async def _last(self, table: Table, query: sql.SQL, at: int) -> NDArray[np.void]:
        """The row of each subject that was the last judged."""
        dtype = _DTYPES[table.name]
        last = sql.SQL("SELECT {} FROM ({}) AS last ORDER BY received_at, time").format(
            selected(table.columns, dtype), query.format(at=moment(at), choice=self.choice.condition(table.name))
        )
        return await fetch(self._connection, last, table.columns, dtype)

    async def _numbers(self, query: sql.SQL, at: int) -> dict[int, Any]:
        cursor = await self._connection.execute(
            query.format(at=moment(at), choice=self.choice.condition("transponders"))
        )
        return dict(await cursor.fetchall())

    async def _times(self, query: sql.SQL, at: int) -> dict[int, int]:
        return {id_: microseconds(time) for id_, time in (await self._numbers(query, at)).items()}


# Of each subject one row, found by its key whatever the size of the table.
_EACH_POSITION: Final = sql.SQL(
    "SELECT last.* FROM (SELECT * FROM (SELECT id AS transponder_id FROM transponders) AS known WHERE {choice}) AS t"
    " CROSS JOIN LATERAL (SELECT * FROM positions AS p"
    " WHERE p.transponder_id = t.transponder_id AND p.received_at < {at}"
    " ORDER BY p.time DESC, p.received_at, p.digest LIMIT 1) AS last"
)
_EACH_READING: Final = sql.SQL(
    "SELECT last.* FROM (SELECT * FROM latest_readings WHERE {choice}) AS l CROSS JOIN LATERAL ("
    "SELECT * FROM readings AS r WHERE r.device_id = l.device_id AND r.metric_id = l.metric_id"
    " AND r.received_at < {at} ORDER BY r.time DESC LIMIT 1) AS last"
)
_SHIP_TYPES: Final = sql.SQL(
    "SELECT last.transponder_id, last.ship_type"
    " FROM (SELECT * FROM (SELECT id AS transponder_id FROM transponders) AS known WHERE {choice}) AS t"
    " CROSS JOIN LATERAL (SELECT * FROM statics AS s"
    " WHERE s.transponder_id = t.transponder_id AND s.received_at < {at} AND s.ship_type IS NOT NULL"
    " ORDER BY s.time DESC, s.received_at DESC LIMIT 1) AS last ORDER BY last.time, 1"
)
_STATIC_TIMES: Final = sql.SQL(
    "SELECT last.transponder_id, last.time"
    " FROM (SELECT * FROM (SELECT id AS transponder_id FROM transponders) AS known WHERE {choice}) AS t"
    " CROSS JOIN LATERAL (SELECT * FROM statics AS s"
    " WHERE s.transponder_id = t.transponder_id AND s.received_at < {at} ORDER BY s.time DESC LIMIT 1) AS last"
    " ORDER BY last.time, 1"
)
_FIRST_SEEN: Final = sql.SQL(
    "SELECT transponder_id, first_seen FROM (SELECT id AS transponder_id, first_seen FROM transponders"
    " WHERE first_seen < {at}) AS known WHERE {choice}"
)
