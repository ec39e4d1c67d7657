"""The outbox in the database: ``alerting.desk.outbox.Outbox`` on the ``notifications`` table."""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Final, Self

import psycopg
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from alerting.desk.outbox import EVENT_ORDER, OutboxAway, QueuedNotification
from alerting.model import Severity
from storage.ask import released
from storage.errors import DatabaseAway, classify, translated
from storage.patient import Patient
from storage.quarantine import clean
from storage.session import ALIVE
from storage.statements import OUTBOX_CHANNEL

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
    from types import TracebackType
    from uuid import UUID

    Connection = AsyncConnection[tuple[Any, ...]]

#: The first unfinished row of each alert is all that may go out; SKIP LOCKED passes over what another dispatcher is
#: claiming at this moment, and the conditions are read again once the row is locked.
_CLAIM: Final = b"""
WITH due AS MATERIALIZED (
    SELECT head.id, alert.urgency FROM notifications AS head
    CROSS JOIN LATERAL (
        SELECT max(one.urgency) AS urgency FROM notifications AS one
        WHERE one.state = 'queued' AND one.channel = head.channel AND one.alert_id = head.alert_id
    ) AS alert
    WHERE head.state = 'queued' AND head.channel = %(channel)s
        AND head.next_attempt_at <= clock_timestamp()
        AND (head.leased_until IS NULL OR head.leased_until <= clock_timestamp())
        AND NOT EXISTS (
            SELECT FROM notifications AS earlier
            WHERE earlier.state = 'queued' AND earlier.channel = head.channel AND earlier.alert_id = head.alert_id
                AND (earlier.at, coalesce(array_position(%(order)s::text[], earlier.event), 1000), earlier.id)
                    < (head.at, coalesce(array_position(%(order)s::text[], head.event), 1000), head.id))
        AND alert.urgency >= %(at_least)s
    ORDER BY alert.urgency DESC, head.created_at, head.at, head.id
    LIMIT %(limit)s
    FOR UPDATE OF head SKIP LOCKED
), claimed AS (
    UPDATE notifications AS n SET leased_until = clock_timestamp() + make_interval(secs => %(lease)s)
    FROM due WHERE n.id = due.id
    RETURNING n.*, due.urgency AS alert_urgency
)
SELECT id, alert_id, channel, event, payload, attempts,
    greatest(0, extract(epoch FROM clock_timestamp() - created_at))::double precision
FROM claimed ORDER BY alert_urgency DESC, created_at, at, id
"""

_RECENT: Final = b"""
SELECT extract(epoch FROM clock_timestamp() - sent_at)::double precision FROM notifications
WHERE state = 'sent' AND channel = %s AND sent_at > clock_timestamp() - make_interval(secs => %s)
ORDER BY sent_at
"""
#: What became of it is on record in the same transaction.
_RECORD: Final = b"""
INSERT INTO alert_deliveries (alert_id, notification_id, channel, event, outcome, attempts, note)
SELECT alert_id, id, channel, event, state, attempts, last_error FROM ended
"""
_SENT: Final = (
    b"""
WITH ended AS (
    UPDATE notifications
    SET state = 'sent', attempts = attempts + 1, sent_at = clock_timestamp(), leased_until = NULL, last_error = %s
    WHERE id = %s AND state = 'queued'
    RETURNING *
)
"""
    + _RECORD
)
_RETRY: Final = b"""
UPDATE notifications
SET attempts = attempts + 1, last_error = %s, leased_until = NULL,
    next_attempt_at = clock_timestamp() + make_interval(secs => %s)
WHERE id = %s AND state = 'queued'
"""
_RELEASE: Final = b"""
UPDATE notifications SET leased_until = NULL, next_attempt_at = clock_timestamp() WHERE id = %s AND state = 'queued'
"""
_ABANDON: Final = (
    b"""
WITH ended AS (
    UPDATE notifications SET state = 'abandoned', attempts = attempts + 1, last_error = %s, leased_until = NULL
    WHERE id = %s AND state = 'queued'
    RETURNING *
)
"""
    + _RECORD
)

#: Connections: one for each of a few channels that finish at the same time. More would only queue on the same rows.
_POOL: Final = 4
#: Seconds to wait for a connection, and for the pool's own attempts at one, before the outbox counts as away.
_PATIENCE: Final = 5.0


class _Connection(Patient[tuple[Any, ...]]):
    patience = 10.0


class DatabaseOutbox:
    """The dispatcher's view of ``notifications``; safe for several dispatchers, in one process or many."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._pool = AsyncConnectionPool[_Connection](
            dsn,
            connection_class=_Connection,
            kwargs={"autocommit": True, "application_name": "haidang outbox", "connect_timeout": 5, **ALIVE},
            min_size=0,
            max_size=_POOL,
            timeout=_PATIENCE,
            reconnect_timeout=_PATIENCE,
            check=AsyncConnectionPool.check_connection,
            open=False,
        )

    async def open(self) -> None:
        """Start the pool; connects when first used."""
        await self._pool.open()

    async def close(self) -> None:
        await self._pool.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def claim(
        self, channel: str, limit: int, lease_seconds: float, at_least: Severity = Severity.INFO
    ) -> Sequence[QueuedNotification]:
        """See ``alerting.desk.outbox.Outbox``."""
        parameters = {
            "channel": channel,
            "limit": limit,
            "lease": lease_seconds,
            "at_least": at_least.rank,
            "order": list(EVENT_ORDER),
        }
        async with self._connection() as connection:
            cursor = await connection.execute(_CLAIM, parameters)
            return [QueuedNotification(*row) for row in await cursor.fetchall()]

    async def recent(self, channel: str, seconds: float) -> Sequence[float]:
        """See ``alerting.desk.outbox.Outbox``."""
        async with self._connection() as connection:
            cursor = await connection.execute(_RECENT, (channel, seconds))
            return [age for (age,) in await cursor.fetchall()]

    async def sent(self, id: UUID, remark: str | None = None) -> None:  # noqa: A002  # the protocol's name
        """See ``alerting.desk.outbox.Outbox``."""
        await self._execute(_SENT, (None if remark is None else clean(remark), id))

    async def retry(self, id: UUID, error: str, delay_seconds: float) -> None:  # noqa: A002
        """See ``alerting.desk.outbox.Outbox``."""
        await self._execute(_RETRY, (clean(error), delay_seconds, id))

    async def release(self, id: UUID) -> None:  # noqa: A002
        """See ``alerting.desk.outbox.Outbox``."""
        await self._execute(_RELEASE, (id,))

    async def abandon(self, id: UUID, error: str) -> None:  # noqa: A002
        """See ``alerting.desk.outbox.Outbox``."""
        await self._execute(_ABANDON, (clean(error), id))

    async def listen(self) -> AsyncGenerator[None, None]:
        """Yields once at the start, and then whenever a transaction that queued something has committed.

        Raises:
            OutboxAway: the connection is lost; what was queued meanwhile is told of by nothing but ``claim``.
        """
        with _away():
            connection = await psycopg.AsyncConnection.connect(
                self._dsn,
                autocommit=True,
                application_name="haidang outbox listener",
                connect_timeout=5,
                **ALIVE,
            )
            async with released(connection):
                await connection.execute(f"LISTEN {OUTBOX_CHANNEL}".encode())
                yield
                async for _ in connection.notifies():
                    yield

    async def _execute(self, statement: bytes, parameters: tuple[Any, ...]) -> None:
        async with self._connection() as connection:
            await connection.execute(statement, parameters)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        with _away():
            async with self._pool.connection() as connection:
                try:
                    yield connection
                except psycopg.Error as error:
                    # It may lead to a server that will never serve again, as the read-only one after a fail-over does.
                    if classify(error) is DatabaseAway:
                        await connection.close()
                    raise


@contextmanager
def _away() -> Iterator[None]:
    try:
        with translated():
            yield
    except DatabaseAway as error:
        raise OutboxAway(str(error)) from error
