"""Least privilege: who may change tables, who may write rows, who may only look.

``haidang_migrator``
    Owns the tables. Upgrades and retention run under it.
``haidang_writer``
    What the service needs: adds history, keeps state up to date. No DDL; cannot rewrite or delete history.
``haidang_reader``
    SELECT, for dashboards.

They are group roles without a login: ``CREATE USER ingest PASSWORD '...' IN ROLE haidang_writer``. Roles belong to the
whole server, so they are created only where the migrating user may; otherwise the upgrade's report says so and the
tables belong to that user.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg import sql

from storage.errors import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg import Connection

    from storage.capability import Capability

MIGRATOR: Final = "haidang_migrator"
WRITER: Final = "haidang_writer"
READER: Final = "haidang_reader"

#: Rows of these are added, and never changed or deleted by the service.
HISTORY: Final = (
    *("positions", "readings", "statics", "ais_messages", "receptions"),
    *("alert_history", "alert_deliveries", "seals", "seal_heads", "deaf_spans"),
    *("incident_alerts", "alert_messages", "silence_history"),
)
#: Rows of these are added and kept up to date.
KEPT: Final = (
    "sources",
    "devices",
    "metrics",
    "vessels",
    "transponders",
    "latest_positions",
    "latest_readings",
    "zones",
    "rules",
    "alerts",
    "notifications",
    "progress",
    "silences",
    "alert_timers",
    "alert_budgets",
    "zone_versions",
    "incidents",
    "incident_news",
)
#: Of tables that are kept, what stays as it was written: what an alert is about and what was in force is no state.
FIXED: Final = {
    "alerts": (
        *("id", "rule_id", "rule_version", "subject_kind", "subject_id", "subject_name", "key", "started_at"),
        *("fired_at", "known_at", "shadow", "channels"),
    ),
    "notifications": ("id", "alert_id", "channel", "event", "at"),
    "rules": ("id", "version", "body"),
    "incidents": ("id", "policy", "labels", "body", "first_alert", "opened_at"),
    "incident_news": ("incident_id", "seq", "at", "event", "alerts"),
    "silences": ("id", "matcher", "compiled", "starts_at", "author", "reason", "created_at"),
    "zone_versions": (
        *("id", "since", "version", "name", "name_vi", "kind", "geometry", "properties"),
        *("valid_from", "valid_to", "source"),
    ),
}
#: Rows of these come and go.
WORKING: Final = (
    *("rule_state", "fragments", "alert_reviews", "rule_reviews", "desk_policies", "alert_inhibitors"),
    "vessel_transponders",
)

_WHOLE: Final = tuple(table for table in KEPT if table not in FIXED)

_CREATE: Final = """
DO $$
BEGIN
    CREATE ROLE {role} NOLOGIN;
EXCEPTION
    WHEN duplicate_object OR unique_violation THEN NULL;  -- there already, or made by another upgrade just now
END
$$
"""


def prepare(connection: Connection[Any], capability: Capability) -> list[str]:
    """Create the roles where allowed, and go on as ``haidang_migrator`` where possible; lines about what was not."""
    notes = []
    missing = set(_roles()) - _existing(connection)
    if missing and capability.create_role:
        for role in sorted(missing):
            connection.execute(sql.SQL(_CREATE).format(role=sql.Identifier(role)))
    elif missing:
        return [f"this user may not create roles: {', '.join(sorted(missing))} not created, its own rights are used"]
    try:
        with connection.transaction():
            if not capability.superuser:
                connection.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(sql.Identifier(MIGRATOR)))
            schema, migrator = _schema(connection), sql.Identifier(MIGRATOR)
            readers = sql.SQL("{}, {}").format(sql.Identifier(WRITER), sql.Identifier(READER))
            connection.execute(sql.SQL("GRANT USAGE, CREATE ON SCHEMA {} TO {}").format(schema, migrator))
            connection.execute(sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(schema, readers))
    except psycopg.errors.InsufficientPrivilege as error:
        notes.append(f"{MIGRATOR} was not given this schema ({one_line(error)})")
    if _may_become(connection):
        connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(MIGRATOR)))
    else:
        notes.append(f"this user is not {MIGRATOR}: the tables belong to it instead")
    return notes


def grant(connection: Connection[Any]) -> list[str]:
    """Give each role its rights on every table; lines about what was not given."""
    if missing := set(_roles()) - _existing(connection):
        return [f"no rights granted: {', '.join(sorted(missing))} missing"]
    schema, writer, reader = _schema(connection), sql.Identifier(WRITER), sql.Identifier(READER)
    both = sql.SQL("{}, {}").format(writer, reader)
    there = _there(connection)
    commands = [
        sql.SQL("GRANT SELECT ON ALL TABLES IN SCHEMA {} TO {}").format(schema, both),
        sql.SQL("ALTER DEFAULT PRIVILEGES IN SCHEMA {} GRANT SELECT ON TABLES TO {}").format(schema, both),
        sql.SQL("GRANT INSERT ON {} TO {}").format(_tables(HISTORY, there), writer),
        sql.SQL("GRANT INSERT ON {} TO {}").format(_tables(KEPT, there), writer),
        sql.SQL("GRANT UPDATE ON {} TO {}").format(_tables(_WHOLE, there), writer),
        *(command for table in FIXED if table in there for command in _of_columns(connection, table, writer)),
        sql.SQL("GRANT INSERT, UPDATE, DELETE ON {} TO {}").format(_tables(WORKING, there), writer),
        sql.SQL("GRANT INSERT, UPDATE (redriven_at, redrive_outcome, redrives) ON quarantine TO {}").format(writer),
    ]
    if _function_there(connection, "quarantine_evict"):
        commands.append(sql.SQL("GRANT EXECUTE ON FUNCTION {}.quarantine_evict TO {}").format(schema, writer))
    try:
        with connection.transaction():
            for command in commands:
                connection.execute(command)
    except psycopg.errors.InsufficientPrivilege as error:
        return [f"rights not granted: {one_line(error)}"]
    return []


def _function_there(connection: Connection[Any], name: str) -> bool:
    """Whether the schema has it: an upgrade to an earlier version than this program's has not all of them."""
    query = "SELECT FROM pg_proc WHERE proname = %s AND pronamespace = current_schema()::regnamespace"
    return connection.execute(query, (name,)).fetchone() is not None


def _of_columns(connection: Connection[Any], table: str, writer: sql.Identifier) -> Iterator[sql.Composed]:
    """That the writer may update the columns of a table that are not fixed, and no others."""
    name = sql.Identifier(table)
    columns = connection.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped"
        " AND attname <> ALL(%s) ORDER BY attnum",
        (table, list(FIXED[table])),
    ).fetchall()
    yield sql.SQL("REVOKE UPDATE ON {} FROM {}").format(name, writer)
    some = sql.SQL(", ").join(sql.Identifier(column) for (column,) in columns)
    yield sql.SQL("GRANT UPDATE ({}) ON {} TO {}").format(some, name, writer)


def _roles() -> tuple[str, str, str]:
    return MIGRATOR, WRITER, READER


def _existing(connection: Connection[Any]) -> set[str]:
    return {
        name
        for (name,) in connection.execute("SELECT rolname FROM pg_roles WHERE rolname = ANY(%s)", (list(_roles()),))
    }


def assume_owner(connection: Connection[Any], table: str) -> None:
    """Act as the owner of a table where this user may become it but does not have its rights of itself."""
    connection.execute(
        "SELECT set_config('role', tableowner::text, false) FROM pg_tables"
        " WHERE schemaname = current_schema() AND tablename = %s"
        " AND NOT pg_has_role(session_user, tableowner, 'USAGE') AND pg_has_role(session_user, tableowner, %s)",
        (table, "SET" if connection.info.server_version >= 160000 else "MEMBER"),
    )


def _may_become(connection: Connection[Any]) -> bool:
    """Whether SET ROLE works (PostgreSQL 16 tells membership from the right to SET) and the role may create tables."""
    privilege = "SET" if connection.info.server_version >= 160000 else "MEMBER"
    row = connection.execute(
        "SELECT pg_has_role(session_user, %s, %s) AND has_schema_privilege(%s, current_schema(), 'CREATE')"
        " AND NOT EXISTS (SELECT FROM pg_tables WHERE schemaname = current_schema() AND tablename = 'schema_migrations'"
        " AND NOT pg_has_role(%s, tableowner::name, 'USAGE'))",
        (MIGRATOR, privilege, MIGRATOR, MIGRATOR),
    ).fetchone()
    return row is not None and bool(row[0])


def _schema(connection: Connection[Any]) -> sql.Identifier:
    row = connection.execute("SELECT current_schema()").fetchone()
    assert row is not None  # a SELECT without FROM has one row
    return sql.Identifier(row[0])


def _there(connection: Connection[Any]) -> set[str]:
    return {
        name for (name,) in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()")
    }


def _tables(names: tuple[str, ...], there: set[str]) -> sql.Composed:
    """Those of the tables that there are: an upgrade may be told to stop short of the last migration."""
    return sql.SQL(", ").join(sql.Identifier(name) for name in names if name in there)
