"""One migrated database for each server, emptied before each test: ten times as fast as a fresh one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.storage.samples import TABLES, connected

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.postgres import PostgresServer

NAME = "test_storage"
#: What is to be empty too, though it is not held against another run's.
_BESIDE = (
    *("alert_reviews", "rule_reviews", "alert_deliveries", "seals", "seal_heads", "deaf_spans", "alert_messages"),
    *("incidents", "incident_alerts", "incident_news"),
    *("silences", "silence_history", "desk_policies", "alert_timers", "alert_inhibitors", "alert_budgets"),
    *("zones", "zone_versions", "rules", "vessels", "vessel_transponders"),
)


def _database(server: PostgresServer, template: str) -> Iterator[str]:
    yield server.create_database(NAME, template)
    server.drop_database(NAME)


@pytest.fixture(scope="session")
def timescale_tables(timescale: PostgresServer, timescale_template: str) -> Iterator[str]:
    yield from _database(timescale, timescale_template)


@pytest.fixture(scope="session")
def plain_tables(plain_postgres: PostgresServer, plain_template: str) -> Iterator[str]:
    yield from _database(plain_postgres, plain_template)


@pytest.fixture(params=["timescale", "plain"])
def tables(request: pytest.FixtureRequest) -> str:
    """DSN of a database with the whole schema, empty; the test runs twice, on TimescaleDB and on plain PostgreSQL."""
    dsn: str = request.getfixturevalue(f"{request.param}_tables")
    with connected(dsn) as connection:
        connection.execute("SET session_replication_role = replica")  # else records refuse
        connection.execute(f"TRUNCATE {', '.join((*TABLES, *_BESIDE))}".encode())
        connection.execute("DELETE FROM metrics WHERE unit IS NULL")
    return dsn
