"""What the server can do: plain PostgreSQL, TimescaleDB under the Apache licence, or under the Timescale licence (TSL).

Apache has hypertables, ``time_bucket`` and ``drop_chunks``; TSL adds compression, continuous aggregates and policies.
Every feature has a fallback, so each of the three runs the whole program.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import psycopg

from storage.errors import one_line

if TYPE_CHECKING:
    from psycopg import Connection


class Edition(StrEnum):
    """Which of the three a server is."""

    PLAIN = "plain"
    APACHE = "apache"
    TSL = "tsl"


@dataclass(slots=True, frozen=True)
class Capability:
    """What was found. ``notes`` are lines for a person: what could not be had, and why."""

    server_version: int  # as PostgreSQL counts it: 170012 is 17.12
    edition: Edition
    extension_version: str | None
    create_role: bool  # the connected user may create roles
    superuser: bool
    notes: tuple[str, ...] = ()

    def satisfies(self, requirement: str | None) -> bool:
        """Whether a migration with this ``requires`` header applies: None, "timescaledb", "tsl" or "plain"."""
        match requirement:
            case None:
                return True
            case "timescaledb":
                return self.edition is not Edition.PLAIN
            case "tsl":
                return self.edition is Edition.TSL
            case "plain":
                return self.edition is Edition.PLAIN
        raise ValueError(f"unknown requirement {requirement!r}")


def install_extension(connection: Connection[Any]) -> str | None:
    """Create the extension where the server has it and the user may; otherwise a line that says why not.

    Tried on a connection of its own: TimescaleDB ends the session when it is not in ``shared_preload_libraries``.
    """
    row = connection.execute(
        "SELECT installed_version IS NOT NULL FROM pg_available_extensions WHERE name = 'timescaledb'"
    ).fetchone()
    if row is None:
        return "TimescaleDB is not available on this server: plain tables are used"
    if row[0]:
        return None
    info = connection.info
    try:
        with psycopg.connect(info.dsn, password=info.password or None, autocommit=True) as own:
            own.execute("SET client_min_messages = error")
            own.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
    except psycopg.Error as error:
        return f"TimescaleDB could not be installed ({one_line(error)}): plain tables are used"
    return None


def promise(connection: Connection[Any]) -> tuple[str, ...]:
    """A line that says so if the server has TimescaleDB, and only this database not yet."""
    row = connection.execute(
        "SELECT default_version FROM pg_available_extensions WHERE name = 'timescaledb' AND installed_version IS NULL"
    ).fetchone()
    return () if row is None else (f"this server has TimescaleDB {row[0]}: haidang db upgrade installs it here",)


def detect(connection: Connection[Any], notes: tuple[str, ...] = ()) -> Capability:
    """What the server behind ``connection`` can do, as it is now; changes nothing."""
    row = connection.execute(
        """
        SELECT
            (SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'),
            current_setting('timescaledb.license', true),
            rolcreaterole OR rolsuper,
            rolsuper
        FROM pg_roles WHERE rolname = current_user
        """
    ).fetchone()
    assert row is not None  # every session acts as a role
    version, licence, create_role, superuser = row
    edition = Edition.PLAIN if version is None else Edition.TSL if licence == "timescale" else Edition.APACHE
    return Capability(
        server_version=connection.info.server_version,
        edition=edition,
        extension_version=version,
        create_role=create_role,
        superuser=superuser,
        notes=notes,
    )
