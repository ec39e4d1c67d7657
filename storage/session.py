"""One connection that heals: opened when needed, thrown away when it breaks, opened again by the next use."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg import AsyncConnection

from storage import arrays
from storage.errors import DatabaseAway, SchemaMismatch, classify, translated
from storage.migrate import MigrationState
from storage.patient import Patient
from storage.script import packaged

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Connection = AsyncConnection[tuple[Any, ...]]

#: Parameters of libpq by which a server that is gone without a word is found out: in 25 s by an idle connection, and in
#: 60 s by one that waits for an answer. The kernel's own patience is hours.
ALIVE: Final[dict[str, Any]] = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,  # milliseconds
}


#: Seconds beyond the server's own time-out for a statement, after which it is taken to be hung.
_HUNG: Final = 5.0


class Session:
    """The single connection of one user at a time.

    A pool would answer a query during an outage by its own back-off; the caller has one already, and temporary tables
    live with their connection.

    Args:
        dsn: a libpq connection string or URI.
        application_name: as ``pg_stat_activity`` shows it.
        connect_timeout: seconds that connecting may take, for each address of the host.
        timeout: seconds for one statement, an unanswered packet, and an idle transaction; a server that does not keep
            to it is given up.
        prepare: called on each new connection.
    """

    def __init__(
        self,
        dsn: str,
        *,
        application_name: str,
        connect_timeout: float = 5.0,
        timeout: float = 60.0,
        prepare: Callable[[Connection], Awaitable[None]] | None = None,
    ) -> None:
        self.dsn = dsn
        self._application_name = application_name
        self._connect_timeout = connect_timeout
        self._timeout = timeout
        self._prepare = prepare
        self._connection: Connection | None = None

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """The connection, outside any transaction at the start; rolled back, or dropped, if the body raises."""
        connection = self._connection
        if connection is None or connection.closed:
            connection = self._connection = await self._connect()
        try:
            yield connection
            if connection.info.transaction_status is not psycopg.pq.TransactionStatus.IDLE:
                await connection.rollback()
        except psycopg.Error as error:
            await self._recover(connection, error)
            raise
        except BaseException:  # cancelled half-way, or a bug: what the connection still has to say is unknown
            await self.close()
            raise

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def check_schema(self) -> None:
        """Refuse tables of another version.

        Raises:
            SchemaMismatch: migrations are pending, were changed, or are newer than this program.
        """
        with translated():
            async with self.connection() as connection:
                cursor = await connection.execute("SELECT to_regclass('schema_migrations')")
                if await cursor.fetchone() == (None,):
                    raise SchemaMismatch("the database has no tables yet: run `haidang db upgrade`")
                cursor = await connection.execute("SELECT version, checksum, state FROM schema_migrations")
                recorded = {version: (checksum, state) for version, checksum, state in await cursor.fetchall()}
        for migration in packaged():
            checksum, state = recorded.pop(migration.version, (None, None))
            name = f"{migration.version:04d}_{migration.name}"
            if checksum is None:
                raise SchemaMismatch(f"the database lacks migration {name}: run `haidang db upgrade`")
            if state == MigrationState.APPLIED and checksum != migration.checksum:
                raise SchemaMismatch(f"migration {name} was changed after it was applied: restore it")
        if recorded:
            raise SchemaMismatch(f"the database has migration {min(recorded):04d}: it is newer than this program")

    async def _connect(self) -> Connection:
        milliseconds = int(self._timeout * 1000)
        connection = await Patient[tuple[Any, ...]].connect(
            self.dsn,
            application_name=self._application_name,
            prepare_threshold=0,
            connect_timeout=max(2, round(self._connect_timeout)),  # libpq takes no less, and no fractions
            **{**ALIVE, "tcp_user_timeout": milliseconds},
        )
        connection.patience = self._timeout + _HUNG
        try:
            arrays.register(connection)
            await connection.execute(
                "SELECT set_config('timezone', 'UTC', false), set_config('statement_timeout', %s, false),"
                " set_config('idle_in_transaction_session_timeout', %s, false),"
                " set_config('client_min_messages', 'warning', false)",
                (str(milliseconds), str(milliseconds)),
            )
            if self._prepare is not None:
                await self._prepare(connection)
            await connection.commit()
        except BaseException:
            await connection.close()
            raise
        return connection

    async def _recover(self, connection: Connection, error: psycopg.Error) -> None:
        """After an error of the server: back to no transaction, or no connection.

        A server that cannot serve now may never again: after a fail-over, the one that this connection leads to stays
        read-only for good, and a new connection finds the other.
        """
        if connection.closed:
            self._connection = None
            return
        if classify(error) is DatabaseAway:
            await self.close()
            return
        try:
            await connection.rollback()
        except psycopg.Error:
            await self.close()
