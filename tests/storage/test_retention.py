"""What is old goes, what is not stays."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from storage.retention import NOT_ALLOWED, Retention, retain
from tests.storage.samples import ask, connected

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def fill(dsn: str, days: list[int]) -> None:
    with connected(dsn) as connection:
        for number, age in enumerate(days):
            at = NOW - timedelta(days=age)
            connection.execute(
                "INSERT INTO positions (time, received_at, transponder_id, digest, source_id, lon, lat, msg_type)"
                " VALUES (%s, %s, 1, %s, 1, 0, 0, 1)",
                (at, at, number),
            )
            connection.execute("INSERT INTO readings VALUES (%s, %s, 1, %s, 1, 0)", (at, at, number))
            connection.execute(
                "INSERT INTO quarantine VALUES (gen_random_uuid(), %s, 1, '', '', '', 0, '', 0, '')", (at,)
            )


def ages(dsn: str, table: str, column: str = "time") -> list[int]:
    return sorted((NOW - at).days for (at,) in ask(dsn, f"SELECT {column} FROM {table}"))


def test_each_table_keeps_its_own_days(any_migrated: str) -> None:
    fill(any_migrated, [1, 80, 100, 1000, 1200, 2000])
    dropped = retain(any_migrated, Retention(), NOW)
    assert ages(any_migrated, "positions") == [1, 80, 100, 1000]
    assert ages(any_migrated, "readings") == [1, 80, 100, 1000, 1200]
    assert ages(any_migrated, "quarantine", "received_at") == [1, 80]
    assert dropped == {"positions": 2, "statics": 0, "ais_messages": 0, "receptions": 0, "readings": 1, "quarantine": 4}
    assert set(retain(any_migrated, Retention(), NOW).values()) == {0}


def test_none_keeps_for_ever(any_migrated: str) -> None:
    fill(any_migrated, [9000])
    assert retain(any_migrated, Retention(None, None, None), NOW) == {}
    assert ages(any_migrated, "positions") == [9000]


@pytest.mark.parametrize("days", [0, -1])
def test_a_policy_that_would_delete_today_is_refused(days: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Retention(readings_days=days)


def test_a_service_that_may_become_the_owner_does_so_to_retain(any_migrated: str) -> None:
    fill(any_migrated, [1, 2000])
    name = f"ingest_{uuid4().hex[:8]}"
    role = sql.Identifier(name)
    with psycopg.connect(any_migrated, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'word'").format(role))
        connection.execute(sql.SQL("GRANT haidang_writer TO {}").format(role))
        connection.execute(sql.SQL("GRANT haidang_migrator TO {} WITH INHERIT FALSE, SET TRUE").format(role))
    try:
        dsn = make_conninfo(any_migrated, user=name, password="word")
        dropped = retain(dsn, Retention(), NOW)
        assert NOT_ALLOWED not in dropped.values()
        assert ages(any_migrated, "positions") == [1]
    finally:
        with psycopg.connect(any_migrated, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(role))
