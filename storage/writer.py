"""The writer: one batch, one transaction (``storage.transaction``), over one connection that heals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Self
from uuid import uuid4

import numpy as np
import psycopg

from geofence.tracks import CAPACITY
from storage import memory, statements, tables
from storage.arrays import fixed_array
from storage.errors import CommitUnknown, ConfigurationError, translated
from storage.known import Known
from storage.once import write_once
from storage.session import Session
from storage.straight import Straight
from storage.times import moment
from storage.transaction import write
from storage.work import Work, prepare

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import TracebackType
    from uuid import UUID

    from numpy.typing import NDArray
    from psycopg import AsyncConnection

    from alerting.model import LookBack, Memory
    from decoders.block import Block
    from storage.batch import Batch, Committed

    Connection = AsyncConnection[tuple[Any, ...]]


class Store:
    """The tables, for one writing process. Not for concurrent commits: one batch at a time.

    Args:
        dsn: a libpq connection string or URI.
        instance: a name for this ingesting process, which its pending fragments and progress are kept under.
        connect_timeout: seconds that connecting may take.
        statement_timeout: seconds that one statement may take before the database counts as away.
        tells: whether anybody is to be told of the alerts: by the desk, too, and as long as they stand.
    """

    def __init__(
        self,
        dsn: str,
        *,
        instance: str = "main",
        connect_timeout: float = 5.0,
        statement_timeout: float = 60.0,
        tells: bool = True,
    ) -> None:
        self.dsn = dsn
        self.instance = instance
        self._tells = tells
        self._session = Session(
            dsn,
            application_name="haidang writer",
            connect_timeout=connect_timeout,
            timeout=statement_timeout,
            prepare=self._begin,
        )
        self._known = Known()
        self._straight = {name: Straight() for name in tables.COPY}
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

    async def _begin(self, connection: Connection) -> None:
        """A new connection: perhaps to another server, and after an outage in which messages were sent again."""
        # The length of an array says nothing about the best plan (storage.tables): do not plan each time.
        await connection.execute("SET plan_cache_mode = force_generic_plan")
        if not self._tells:
            await connection.execute("SET haidang.tells = 'off'")  # the default of alerts.told (migration 0019)
        self._known.forget()
        for one in self._straight.values():
            one.begin()

    def prepare(self, batch: Batch) -> Work:
        """Make a batch ready for ``commit``: all the computing there is to do. Does no I/O.

        May be called from another thread while an earlier batch is being committed: at worst names are sent again that
        the other batch wrote. What is made ready may be committed again after a failure.

        Raises:
            RowRefused: a value cannot be encoded.
        """
        return prepare(batch, self._known, self._straight, self.instance)

    async def commit(self, batch: Batch | Work, token: UUID | None = None) -> Committed:
        """Write a batch in one transaction and say what was new.

        Args:
            batch: what to write, made ready or not.
            token: what the transaction is to be known by (``resolve``); None: one of our own.

        Raises:
            DatabaseAway: nothing was written; hold the batch and try again.
            CommitUnknown: it may or may not be written; ask ``resolve``.
            RowRefused: nothing was written, for some row or value of the batch is refused.
            ConfigurationError: rights or tables are missing.
        """
        work = batch if isinstance(batch, Work) else self.prepare(batch)
        with translated():
            async with self._session.connection() as connection:
                if work.epoch != self._known.epoch:  # it leaves out names that this connection's server may lack
                    work = self.prepare(work.batch)
                token = token or uuid4()
                committed = await write_once(connection, work, self.instance, token) if work.once else None
                for name in work.parts if work.once else ():
                    self._straight[name].met(int(committed is None), undone=committed is None)
                if committed is None:
                    committed = await self._write(connection, work, token)
        self._learn(work)
        return committed

    async def _write(self, connection: Connection, work: Work, token: UUID) -> Committed:
        committed = await write(connection, work, self._straight, self.instance, token)
        try:
            await connection.commit()
        except psycopg.OperationalError as error:
            if connection.closed:
                raise CommitUnknown(token, committed) from error
            raise
        return committed

    def _learn(self, work: Work) -> None:
        for names in work.learned:
            self._known.learn(*names)
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
        self,
        transponders: NDArray[np.int64],
        digests: NDArray[np.int64],
        since: NDArray[np.int64] | int,
        until: NDArray[np.int64] | int,
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The event time under which each transmission is stored already, or the least ``int64`` where it is not, and
        the source that it is stored from.

        For messages delivered again after a restart, whose receive time (and with it perhaps their event time) is
        another one than the first time.

        Args:
            transponders: their ids, one per transmission.
            digests: of what was transmitted, likewise.
            since: the event times looked at, microseconds, of each or of all; inclusive, as is ``until``.
            until: see ``since``.
        """
        times, sources = np.full(len(transponders), np.iinfo(np.int64).min), np.zeros(len(transponders), np.int64)
        if len(transponders) == 0:
            return times, sources
        with translated():
            async with self._session.connection() as connection:
                since, until = (np.broadcast_to(bound, len(transponders)).copy() for bound in (since, until))
                bounds = (moment(int(since.min())), moment(int(until.max())))
                await connection.execute("SET LOCAL plan_cache_mode = force_custom_plan")  # it depends on the times
                distinct = fixed_array("bigint", np.unique(transponders))
                keys = [fixed_array("bigint", column) for column in (transponders, digests, since, until)]
                cursor = await connection.execute(_KNOWN, (distinct, *bounds, *bounds, *bounds, *keys))
                for index, time, source in await cursor.fetchall():
                    times[index - 1], sources[index - 1] = time, source
        return times, sources

    async def memory(self, *, transponders: int = CAPACITY) -> Memory:
        """What the engine would know had it never stopped.

        Args:
            transponders: how many it remembers: those heard more than once first.
        """
        with translated():
            async with self._session.connection() as connection:
                return await memory.load(connection, self.instance, transponders)

    async def past(self, wanted: LookBack) -> AsyncIterator[NDArray[np.void]]:
        """What ``Engine.looks_back`` asks for, in parts for ``Engine.recall``: READING rows as they are to be taken."""
        reviewed: dict[tuple[int, int], int] | None = None
        for part in memory.stretches(wanted):
            with translated():
                async with self._session.connection() as connection:
                    reviewed = await memory.reviewed(connection) if reviewed is None else reviewed
                    rows = await memory.past(connection, part, reviewed)
            yield rows

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


#: A transponder's rows of the time in question are read once, however many of its messages are asked after; OFFSET
#: keeps the planner from reading them again for each.
_KNOWN: Final = b"""
SELECT DISTINCT ON (u.n) u.n, f.time, f.source_id
FROM unnest(%s::bigint[]) AS v (id)
CROSS JOIN LATERAL (
    SELECT (extract(epoch FROM time) * 1000000)::bigint AS time, digest, source_id FROM (
    SELECT time, digest, source_id FROM positions WHERE transponder_id = v.id AND time BETWEEN %s AND %s
    UNION ALL SELECT time, digest, source_id FROM statics WHERE transponder_id = v.id AND time BETWEEN %s AND %s
    UNION ALL SELECT time, digest, source_id FROM ais_messages WHERE transponder_id = v.id AND time BETWEEN %s AND %s
    ) AS found OFFSET 0) AS f
JOIN unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[])
    WITH ORDINALITY AS u (transponder_id, digest, since, until, n)
    ON u.transponder_id = v.id AND u.digest = f.digest AND f.time BETWEEN u.since AND u.until
ORDER BY u.n, f.time, f.source_id
"""
