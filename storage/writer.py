"""The writer: one batch, one transaction.

A commit goes to the server in five exchanges, however large the batch: names and transponders (pipelined), the COPY of
each table that has rows, everything else (pipelined), and COMMIT on its own, so that it is known exactly when a lost
connection leaves its outcome open. A sixth and seventh look at readings whose key was taken.

Nothing here depends on how messages fall into batches or how often they come: the first row of a key stands, the
newest event time wins in the tables of latest rows, and every row of state is overwritten by what the engine says last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Self
from uuid import uuid4

import numpy as np
import orjson
import psycopg

from decoders.records import Reason, Reject
from storage import memory, statements, tables
from storage.arrays import BigintArray
from storage.batch import Committed
from storage.errors import CommitUnknown, ConfigurationError, translated
from storage.known import Known
from storage.payload import json_text
from storage.quarantine import Refusal, first_of, refusal, sliced
from storage.session import Session
from storage.times import iso, moment
from storage.work import Work, prepare

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType
    from uuid import UUID

    from numpy.typing import NDArray
    from psycopg import AsyncConnection, AsyncCursor

    from alerting.model import Memory
    from decoders.block import Block
    from storage.batch import Batch

    Connection = AsyncConnection[tuple[Any, ...]]
    Cursor = AsyncCursor[tuple[Any, ...]]


class Store:
    """The tables, for one writing process. Not for concurrent commits: one batch at a time.

    Args:
        dsn: a libpq connection string or URI.
        instance: a name for this ingesting process, which its pending fragments and progress are kept under.
        connect_timeout: seconds that connecting may take.
        statement_timeout: seconds that one statement may take before the database counts as away.
    """

    def __init__(
        self, dsn: str, *, instance: str = "main", connect_timeout: float = 5.0, statement_timeout: float = 60.0
    ) -> None:
        self.dsn = dsn
        self.instance = instance
        self._session = Session(
            dsn,
            application_name="haidang writer",
            connect_timeout=connect_timeout,
            timeout=statement_timeout,
            prepare=_stage,
        )
        self._known = Known()
        self._received: int | None = None  # the latest receive time this object has committed

    async def open(self) -> None:
        """Connect, and check that the tables are those of this program.

        Raises:
            ConfigurationError: the DSN or the credentials are refused.
            SchemaMismatch: migrations are missing, or newer than this program.
            DatabaseAway: the server cannot be reached.
        """
        try:
            await self._session.check_schema()
        except ConfigurationError:
            await self.close()
            raise

    async def close(self) -> None:
        """Close the connection; a later call opens it again."""
        await self._session.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def commit(self, batch: Batch) -> Committed:
        """Write a batch in one transaction and say what was new.

        Raises:
            DatabaseAway: nothing was written; hold the batch and try again.
            CommitUnknown: it may or may not be written; ask ``resolve``.
            RowRefused: nothing was written, for some row or value of the batch is refused.
            ConfigurationError: rights or tables are missing.
        """
        work = prepare(batch, self._known, self.instance)
        with translated():
            async with self._session.connection() as connection:
                token = uuid4()
                committed = await _write(connection, work, self.instance, token)
                try:
                    await connection.commit()
                except psycopg.OperationalError as error:
                    if connection.closed:
                        raise CommitUnknown(token, committed) from error
                    raise
        self._learn(work)
        return committed

    def _learn(self, work: Work) -> None:
        self._known.learn(work.learned)
        if work.received is not None:
            self._received = max(work.received, self._received or work.received)

    async def resolve(self, token: UUID) -> bool:
        """Whether the transaction of a ``CommitUnknown`` committed; waits for one that is still under way.

        False also where another process under this name has committed since, or a fail-over lost it: committing the
        batch again is harmless.

        Raises:
            DatabaseAway: the server cannot be reached, or the transaction does not come to its end.
        """
        with translated():
            async with self._session.connection() as connection:
                cursor = await connection.execute(statements.LAST_TOKEN, (self.instance,))
                row = await cursor.fetchone()
                await connection.commit()
        assert row is not None  # inserted or updated, it is returned
        return bool(row[0] == token)

    async def known(
        self, transponders: NDArray[np.int64], digests: NDArray[np.int64], since: int, until: int
    ) -> NDArray[np.int64]:
        """The event time under which each transmission is stored already, or the least ``int64`` where it is not.

        For messages delivered again after a restart, whose receive time (and with it perhaps their event time) is
        another one than the first time.

        Args:
            transponders: their ids, one per transmission.
            digests: of what was transmitted, likewise.
            since: the event times looked at, microseconds; inclusive, as is ``until``.
            until: see ``since``.
        """
        times = np.full(len(transponders), np.iinfo(np.int64).min)
        if len(transponders) == 0:
            return times
        with translated():
            async with self._session.connection() as connection:
                bounds = (moment(since), moment(until))
                cursor = await connection.execute(
                    _KNOWN, (BigintArray(transponders), BigintArray(digests), *bounds, *bounds, *bounds)
                )
                for index, time in await cursor.fetchall():
                    times[index - 1] = time
        return times

    async def memory(self) -> Memory:
        """What the engine would know had it never stopped."""
        with translated():
            async with self._session.connection() as connection:
                return await memory.load(connection)

    async def recent(self) -> NDArray[np.void]:
        """What the reception window would know: RECEPTION rows of first hearings, for ``ReceptionWindow.restore``."""
        with translated():
            async with self._session.connection() as connection:
                return await memory.recent(connection, self._received, self.instance)

    async def fragments(self) -> list[Block]:
        """The unfinished multi-sentence messages, as last committed by this instance."""
        with translated():
            async with self._session.connection() as connection:
                return await memory.fragments(connection, self.instance)


_KNOWN: Final = b"""
SELECT u.n, (extract(epoch FROM least(p.time, s.time, a.time)) * 1000000)::bigint
FROM unnest(%s::bigint[], %s::bigint[]) WITH ORDINALITY AS u (transponder_id, digest, n)
LEFT JOIN LATERAL (
    SELECT min(time) AS time FROM positions AS p
    WHERE p.transponder_id = u.transponder_id AND p.digest = u.digest AND p.time BETWEEN %s AND %s) AS p ON true
LEFT JOIN LATERAL (
    SELECT min(time) AS time FROM statics AS s
    WHERE s.transponder_id = u.transponder_id AND s.digest = u.digest AND s.time BETWEEN %s AND %s) AS s ON true
LEFT JOIN LATERAL (
    SELECT min(time) AS time FROM ais_messages AS a
    WHERE a.transponder_id = u.transponder_id AND a.digest = u.digest AND a.time BETWEEN %s AND %s) AS a ON true
WHERE coalesce(p.time, s.time, a.time) IS NOT NULL
"""


async def _stage(connection: Connection) -> None:
    """Create the staging tables of a new connection."""
    for table in tables.ALL:
        await connection.execute(table.create_stage)


async def _write(connection: Connection, work: Work, instance: str, token: UUID) -> Committed:
    """Everything but COMMIT, and what it did."""
    received = None if work.received is None else moment(work.received)
    async with connection.pipeline():
        await connection.execute(statements.UPSERT_PROGRESS, (instance, received, token))
        for statement, parameters in work.before:
            await connection.execute(statement, parameters)
    for rows in work.rows.values():
        async with connection.cursor() as cursor, cursor.copy(rows.table.copy) as copy:
            await copy.write(rows.data)
    inserts: dict[str, Cursor] = {}
    fired = resolved = None
    async with connection.pipeline():
        for name, rows in work.rows.items():
            inserts[name] = await connection.execute(rows.insert)
        if work.fires is not None:
            fired = await connection.execute(statements.FIRE_ALERTS, (work.fires,))
        if work.resolves is not None:
            resolved = await connection.execute(statements.RESOLVE_ALERTS, (work.resolves,))
        for statement, parameters in work.after:
            await connection.execute(statement, parameters)
        quarantined = [await _quarantine(connection, part) for part in sliced(work.refusals)]
    taken = {name: [n for (n,) in await cursor.fetchall()] for name, cursor in inserts.items()}
    fates = {name: rows.fate(taken[name]) for name, rows in work.rows.items()}
    new_refusals = {row[0] for cursor in quarantined for row in await cursor.fetchall()}
    conflicts = await _conflicts(connection, work, taken.get("readings", []))
    none = np.zeros(0, dtype=np.bool_)
    return Committed(
        positions=fates.get("positions", none),
        readings=fates.get("readings", none),
        statics=fates.get("statics", none),
        receptions=fates.get("receptions", none),
        records=fates.get("ais_messages", none),
        rejects=first_of(work.refusals, new_refusals),
        conflicts=conflicts,
        alerts_fired=await _count(fired),
        alerts_resolved=await _count(resolved),
    )


async def _conflicts(connection: Connection, work: Work, taken: list[int]) -> list[int]:
    """Readings whose key is held by another value, stored or earlier in the batch: to quarantine.

    The indexes of those that were not there already.
    """
    rows = work.rows.get("readings")
    if rows is None:
        return []
    readings = work.batch.observations.readings
    standing = readings["value"][rows.lead]
    if taken:
        indexes = np.array(taken)
        times = readings["time"][indexes]
        bounds = moment(int(times.min())), moment(int(times.max()))
        cursor = await connection.execute(tables.STORED_VALUES, (*bounds, BigintArray(indexes)))
        stored = readings["value"].copy()
        for n, value in await cursor.fetchall():
            stored[n] = value
        standing = stored[rows.lead]
    conflicts: list[int] = np.flatnonzero(standing != readings["value"]).tolist()
    if not conflicts:
        return []
    names = {(name.kind, name.id): name.name for name in work.batch.observations.names}
    refusals = [refusal(_conflict(readings[n], float(standing[n]), names)) for n in conflicts]
    new: set[Any] = set()
    for part in sliced(refusals):
        new.update(id_ for (id_,) in await (await _quarantine(connection, part)).fetchall())
    return [n for n, first in zip(conflicts, first_of(refusals, new), strict=True) if first]


def _conflict(reading: np.void, stored: float, names: Mapping[tuple[str, int], str]) -> Reject:
    """A reading that came too late to be believed, as a refused message in our own words: its bytes are not at hand."""
    device, metric = int(reading["device"]), int(reading["metric"])
    body = {
        "device": names.get(("device", device), str(device)),
        "metric": names.get(("metric", metric), str(metric)),
        "time": iso(int(reading["time"])),
        "value": float(reading["value"]),
    }
    return Reject(
        message=int(reading["message"]),
        reason=Reason.CONFLICTING_VALUE,
        raw=orjson.dumps(body),
        received_at=int(reading["received_at"]),
        source=int(reading["source"]),
        origin=f"{body['device']}/{body['metric']}",
        detail=f"stored value {stored!r}",
    )


async def _quarantine(connection: Connection, refusals: Sequence[Refusal]) -> Cursor:
    return await connection.execute(statements.INSERT_QUARANTINE, (json_text([r.values for r in refusals]),))


async def _count(cursor: Cursor | None) -> int:
    row = await cursor.fetchone() if cursor is not None else None
    return 0 if row is None else int(row[0])
