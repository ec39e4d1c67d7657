"""Bring a database's tables to what this program expects, once, however many processes try at a time.

Migrations are numbered SQL files in ``storage/migrations``. Header lines direct them:

``-- requires: timescaledb`` (or ``tsl``, ``plain``)
    Applied only where the server can do it; otherwise recorded as skipped, and applied by a later upgrade that finds
    the capability.
``-- transaction: none``
    Run statement by statement, each on its own, for what PostgreSQL refuses inside a transaction. A failure leaves the
    statements before it done, and the next upgrade starts the file again: write each so that it can be run again.

A file that was applied must never change: its SHA-256 is kept in ``schema_migrations`` and compared. What may change
from release to release (roles and grants, the metric catalogue) is brought up to date by every upgrade.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg.rows import class_row

from storage import roles
from storage.capability import Capability, detect, install_extension, promise
from storage.catalogue import seed
from storage.errors import ConfigurationError, SchemaMismatch, one_line, translated
from storage.script import Migration, packaged, statements

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from psycopg import Connection

#: Key of the advisory lock that upgrades of one database take turns by: "haidang" as a number.
LOCK: Final = int.from_bytes(b"haidang")

#: The oldest server that does not let everybody create tables in the schema ``public``.
OLDEST_SERVER: Final = 150000

_TABLE: Final = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    version integer PRIMARY KEY,
    name text NOT NULL,
    checksum text NOT NULL,
    state text NOT NULL CHECK (state IN ('applied', 'skipped')),
    requires text,
    changed_at timestamptz NOT NULL DEFAULT now(),
    seconds double precision NOT NULL DEFAULT 0
);
COMMENT ON TABLE schema_migrations IS 'Which migrations this database has; checksum is the SHA-256 of the file.';
"""


class MigrationState(StrEnum):
    """How a migration stands in a database."""

    APPLIED = "applied"
    SKIPPED = "skipped"  # the server cannot do what it requires
    PENDING = "pending"  # an upgrade would apply it


@dataclass(slots=True, frozen=True)
class Step:
    """One migration and how it stands."""

    version: int
    name: str
    state: MigrationState
    requires: str | None
    changed_at: datetime | None = None


@dataclass(slots=True, frozen=True)
class _Recorded:
    """A row of ``schema_migrations``."""

    version: int
    name: str
    checksum: str
    state: str
    changed_at: datetime


@dataclass(slots=True)
class Report:
    """What an upgrade found and did, or what ``status`` found. ``notes`` are lines for a person."""

    capability: Capability
    steps: list[Step] = field(default_factory=list)
    applied: list[str] = field(default_factory=list)  # by this upgrade
    seeded_metrics: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def current(self) -> bool:
        """Nothing is left to apply."""
        return all(step.state is not MigrationState.PENDING for step in self.steps)


def upgrade(dsn: str, migrations: Sequence[Migration] | None = None) -> Report:
    """Apply what is missing. Waits for another upgrade of the same database to end, and then finds nothing to do.

    Raises:
        SchemaMismatch: an applied migration was changed, or the database is newer than this program.
        ConfigurationError: the DSN, the credentials, the rights or the server's version do not do.
        DatabaseAway: the server cannot be reached.
    """
    migrations = packaged() if migrations is None else migrations
    with translated(), _connect(dsn) as connection, _locked(connection):
        note = install_extension(connection)
        capability = detect(connection, (note,) if note else ())
        report = Report(capability, notes=list(capability.notes))
        report.notes += roles.prepare(connection, capability)
        connection.execute(_TABLE)
        recorded = _recorded(connection)
        _check(migrations, recorded)
        for migration in migrations:
            known = recorded.get(migration.version)
            if known is not None and known.state == MigrationState.APPLIED:
                continue
            if capability.satisfies(migration.requires):
                _apply(connection, migration)
                report.applied.append(f"{migration.version:04d}_{migration.name}")
            elif known is None:
                _record(connection, migration, MigrationState.SKIPPED, 0.0)
        report.seeded_metrics = seed(connection)
        report.notes += roles.grant(connection)
        report.steps = _steps(migrations, _recorded(connection), capability)
    return report


def status(dsn: str, migrations: Sequence[Migration] | None = None) -> Report:
    """How the database stands; changes nothing. Raises as ``upgrade`` does."""
    migrations = packaged() if migrations is None else migrations
    with translated(), _connect(dsn) as connection:
        recorded = _recorded(connection)
        _check(migrations, recorded)
        capability = detect(connection, () if recorded else promise(connection))
        return Report(capability, _steps(migrations, recorded, capability), notes=list(capability.notes))


@contextmanager
def _connect(dsn: str) -> Iterator[Connection[Any]]:
    with psycopg.connect(dsn, autocommit=True, connect_timeout=10, application_name="haidang migrate") as connection:
        if connection.info.server_version < OLDEST_SERVER:
            raise ConfigurationError(
                f"PostgreSQL 15 or newer is needed, this is {connection.info.server_version // 10000}"
            )
        connection.execute("SET client_min_messages = warning; SET timezone = 'UTC'")
        yield connection


@contextmanager
def _locked(connection: Connection[Any]) -> Iterator[None]:
    connection.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
    try:
        yield
    finally:
        if not connection.closed:
            connection.execute("SELECT pg_advisory_unlock(%s)", (LOCK,))


def _recorded(connection: Connection[Any]) -> dict[int, _Recorded]:
    if connection.execute("SELECT to_regclass('schema_migrations')").fetchone() == (None,):
        return {}
    with connection.cursor(row_factory=class_row(_Recorded)) as cursor:
        cursor.execute("SELECT version, name, checksum, state, changed_at FROM schema_migrations ORDER BY version")
        return {row.version: row for row in cursor}


def _check(migrations: Sequence[Migration], recorded: dict[int, _Recorded]) -> None:
    known = {migration.version: migration for migration in migrations}
    for version, row in recorded.items():
        if version not in known:
            raise SchemaMismatch(f"the database has migration {version:04d}_{row.name}: it is newer than this program")
        if row.state == MigrationState.APPLIED and row.checksum != known[version].checksum:
            raise SchemaMismatch(f"migration {version:04d}_{row.name} was changed after it was applied: restore it")


def _steps(migrations: Sequence[Migration], recorded: dict[int, _Recorded], capability: Capability) -> list[Step]:
    steps = []
    for migration in migrations:
        row = recorded.get(migration.version)
        applied = row is not None and row.state == MigrationState.APPLIED
        applicable = capability.satisfies(migration.requires)
        state = (
            MigrationState.APPLIED
            if applied
            else MigrationState.SKIPPED
            if row is not None and not applicable
            else MigrationState.PENDING
        )
        steps.append(
            Step(migration.version, migration.name, state, migration.requires, None if row is None else row.changed_at)
        )
    return steps


def _apply(connection: Connection[Any], migration: Migration) -> None:
    started = monotonic()
    try:
        if migration.transactional:
            with connection.transaction():
                connection.execute(migration.text.encode())
                _record(connection, migration, MigrationState.APPLIED, monotonic() - started)
        else:
            for statement in statements(migration.text):
                connection.execute(statement.encode())
            _record(connection, migration, MigrationState.APPLIED, monotonic() - started)
    except psycopg.Error as error:
        error.add_note(f"in migration {migration.version:04d}_{migration.name}")
        if isinstance(error, psycopg.ProgrammingError):
            raise ConfigurationError(
                f"migration {migration.version:04d}_{migration.name}: {one_line(error)}"
            ) from error
        raise


def _record(connection: Connection[Any], migration: Migration, state: MigrationState, seconds: float) -> None:
    connection.execute(
        """
        INSERT INTO schema_migrations (version, name, checksum, state, requires, seconds)
        VALUES (%s, %s, %s, %s, %s, %s)
        ON CONFLICT (version) DO UPDATE
        SET name = excluded.name, checksum = excluded.checksum, state = excluded.state, requires = excluded.requires,
            changed_at = excluded.changed_at, seconds = excluded.seconds
        """,
        (migration.version, migration.name, migration.checksum, state, migration.requires, seconds),
    )
