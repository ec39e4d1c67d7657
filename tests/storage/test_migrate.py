"""Tables come to what the program expects: once, in order, on any server, and never over a changed past."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from decoders.catalogue import METRICS
from decoders.identity import metric_id
from storage.capability import Edition
from storage.errors import ConfigurationError, SchemaMismatch
from storage.migrate import MigrationState, status, upgrade
from storage.script import packaged, parse
from storage.writer import Store
from tests.storage.samples import ask, batch, connected, positions, readings


def test_upgrade_makes_the_tables_and_again_does_nothing(any_database: str) -> None:
    first = upgrade(any_database)
    assert first.current
    assert "0001_observations" in first.applied
    second = upgrade(any_database)
    assert (second.applied, second.seeded_metrics) == ([], 0)
    assert second.steps == first.steps == status(any_database).steps


def test_status_of_an_empty_database_is_all_pending_and_changes_nothing(any_database: str) -> None:
    report = status(any_database)
    assert {step.state for step in report.steps} == {MigrationState.PENDING}
    assert not report.current
    assert ask(any_database, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(0,)]


def test_hypertables_where_there_is_timescaledb(database: str) -> None:
    report = upgrade(database)
    assert report.capability.edition is Edition.APACHE
    found = ask(database, "SELECT hypertable_name FROM timescaledb_information.hypertables ORDER BY 1")
    assert [name for (name,) in found] == ["ais_messages", "positions", "readings", "receptions", "statics"]
    spans = ask(database, "SELECT DISTINCT time_interval::text FROM timescaledb_information.dimensions")
    assert spans == [("7 days",)]


def test_plain_tables_where_there_is_not(plain_database: str) -> None:
    report = upgrade(plain_database)
    assert report.capability.edition is Edition.PLAIN
    assert any("plain tables" in note for note in report.notes)
    assert {s.name for s in report.steps if s.state is MigrationState.SKIPPED} == {"hypertables", "timescale_licence"}


def test_upgrades_at_the_same_time_take_turns(any_database: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        reports = list(pool.map(upgrade, [any_database] * 4))
    assert sorted(len(report.applied) for report in reports)[:3] == [0, 0, 0]
    assert all(report.current for report in reports)


def test_before_the_first_upgrade_the_status_says_that_the_server_has_timescaledb(
    database: str, plain_database: str
) -> None:
    (said,) = status(database).notes
    assert "haidang db upgrade installs it here" in said
    upgrade(database)
    assert status(database).notes == status(plain_database).notes == []


def test_a_changed_migration_is_refused(any_database: str) -> None:
    upgrade(any_database)
    changed = [replace(m, checksum="0" * 64) if m.version == 2 else m for m in packaged()]
    for look in (upgrade, status):
        with pytest.raises(SchemaMismatch, match="0002_decisions was changed after it was applied"):
            look(any_database, changed)


def test_a_database_newer_than_the_program_is_refused(any_database: str) -> None:
    upgrade(any_database, [*packaged(), parse("9999_later.sql", "CREATE TABLE later ();")])
    with pytest.raises(SchemaMismatch, match="9999_later: it is newer"):
        upgrade(any_database)


def test_a_failing_migration_leaves_nothing_of_itself(any_database: str) -> None:
    broken = parse("9999_broken.sql", "CREATE TABLE half (); SELECT nonsense;")
    with pytest.raises(ConfigurationError, match=r"migration 9999_broken: column .nonsense. does not exist"):
        upgrade(any_database, [*packaged(), broken])
    assert ask(any_database, "SELECT to_regclass('half')") == [(None,)]
    assert upgrade(any_database).current


def test_outside_a_transaction_each_statement_stands_alone(any_database: str) -> None:
    text = (
        "-- transaction: none\nCREATE TABLE IF NOT EXISTS one (a int);\n"
        "CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON one (a);\n"
    )
    broken = parse("9999_apart.sql", text + "SELECT nonsense;")
    with pytest.raises(ConfigurationError, match="nonsense"):
        upgrade(any_database, [*packaged(), broken])
    assert ask(any_database, "SELECT to_regclass('i')::text") == [("i",)]
    assert upgrade(any_database, [*packaged(), parse("9999_apart.sql", text)]).applied == ["9999_apart"]


async def test_a_capability_that_appears_later_is_used_then_and_keeps_the_rows(database: str) -> None:
    """A user who may not install the extension gets plain tables; once an administrator has, hypertables."""
    user = f"owner_{uuid4().hex[:8]}"
    with connected(database) as admin:
        admin.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'x'").format(sql.Identifier(user)))
        admin.execute(sql.SQL("GRANT CREATE ON SCHEMA public TO {}").format(sql.Identifier(user)))
        try:
            own = make_conninfo(database, user=user, password="x")
            before = upgrade(own)
            assert before.capability.edition is Edition.PLAIN
            assert any("could not be installed" in note for note in before.notes)
            async with Store(own) as store:
                await store.commit(batch(positions=positions({}), readings=readings((0, 1.0))))
            admin.execute("CREATE EXTENSION timescaledb")
            assert [s.name for s in status(own).steps if s.state is MigrationState.PENDING] == ["hypertables"]
            assert upgrade(own).applied == ["0004_hypertables"]
            assert ask(database, "SELECT count(*) FROM show_chunks('positions')") == [(1,)]
            assert ask(database, "SELECT count(*) FROM readings") == [(1,)]
        finally:
            admin.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(user)))
            admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(user)))


def test_the_catalogue_is_seeded_under_the_ids_that_decoders_use(any_migrated: str) -> None:
    found = ask(any_migrated, "SELECT id, name, unit, low, high FROM metrics")
    assert sorted(found) == sorted((metric_id(m.name), m.name, m.unit, m.low, m.high) for m in METRICS.values())


def test_an_upgrade_fills_in_what_a_device_had_named_before_the_catalogue_knew_it(any_migrated: str) -> None:
    with connected(any_migrated) as connection:
        connection.execute("UPDATE metrics SET unit = NULL, low = NULL WHERE name = 'ph'")
        connection.execute("INSERT INTO metrics (id, name) VALUES (1, 'own_metric')")
    assert upgrade(any_migrated).seeded_metrics == 1
    assert ask(any_migrated, "SELECT unit, low FROM metrics WHERE name = 'ph'") == [("1", 0.0)]
    assert ask(any_migrated, "SELECT unit FROM metrics WHERE name = 'own_metric'") == [(None,)]


def test_roll_ups_have_the_same_columns_and_right_figures_everywhere(any_migrated: str) -> None:
    with connected(any_migrated) as connection:
        connection.execute(
            "INSERT INTO readings SELECT t, t, 1, 2, 3, extract(minute FROM t)"
            " FROM generate_series('2026-01-01T00:00Z'::timestamptz, '2026-01-01T01:59Z', '1 minute') AS t"
        )
        rows = connection.execute("SELECT * FROM readings_hourly ORDER BY bucket").fetchall()
        assert [row[1:] for row in rows] == [(1, 2, 60, 29.5, 0.0, 59.0)] * 2
        assert [row[0].isoformat() for row in rows] == ["2026-01-01T00:00:00+00:00", "2026-01-01T01:00:00+00:00"]
        cursor = connection.execute("SELECT * FROM positions_hourly")
        assert cursor.description is not None
        assert [c.name for c in cursor.description][:5] == [
            "bucket",
            "transponder_id",
            "samples",
            "first_time",
            "last_time",
        ]


def test_every_table_and_every_number_with_a_unit_is_described(any_migrated: str) -> None:
    undescribed = ask(
        any_migrated,
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v')"
        " AND obj_description(oid, 'pg_class') IS NULL",
    )
    assert undescribed == []
    without_unit = ask(
        any_migrated,
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'"
        " AND column_name IN ('lon', 'lat', 'sog', 'cog', 'rot', 'altitude', 'heading', 'draught', 'length_m', 'value')"
        " AND table_name IN ('positions', 'readings', 'transponders', 'vessels', 'devices', 'alerts')"
        " AND col_description(('public.' || table_name)::regclass, ordinal_position) IS NULL",
    )
    assert without_unit == []


def test_no_time_is_without_zone(any_migrated: str) -> None:
    query = (
        "SELECT table_name, column_name FROM information_schema.columns"
        " WHERE table_schema = 'public' AND data_type = 'timestamp without time zone'"
    )
    assert ask(any_migrated, query) == []


def test_one_hull_with_two_beacons_and_one_beacon_on_the_wrong_hull_can_be_said(any_migrated: str) -> None:
    with connected(any_migrated) as connection:
        connection.execute("INSERT INTO vessels (id, name, length_m) VALUES ('TTH-1', 'A', 16), ('TTH-2', 'B', 18)")
        connection.execute("INSERT INTO transponders (id, kind, identifier) VALUES (1, 'ais', '1'), (2, 'vms', '2')")
        connection.execute(
            "INSERT INTO vessel_transponders (vessel_id, transponder_id, valid, kind, identifier) VALUES"
            " ('TTH-1', 1, '[2026-01-01,)', 'ais', '1'), ('TTH-1', 2, '[2026-01-01,2026-03-01)', 'vms', '2'),"
            " ('TTH-2', 2, '[2026-02-01,)', 'vms', '2')"
        )
        with pytest.raises(psycopg.errors.CheckViolation):
            connection.execute("INSERT INTO vessel_transponders VALUES ('TTH-1', 1, 'empty', NULL, 'ais', '1')")


async def test_a_store_refuses_to_open_on_tables_of_another_version(any_database: str) -> None:
    with pytest.raises(SchemaMismatch, match="haidang db upgrade"):
        await Store(any_database).open()
    upgrade(any_database)
    with connected(any_database) as connection:
        connection.execute("DELETE FROM schema_migrations WHERE version = 2")
        with pytest.raises(SchemaMismatch, match="lacks migration 0002"):
            await Store(any_database).open()
        connection.execute("INSERT INTO schema_migrations VALUES (2, 'decisions', 'x', 'applied')")
        with pytest.raises(SchemaMismatch, match="0002_decisions was changed"):
            await Store(any_database).open()
        connection.execute("UPDATE schema_migrations SET version = 7777 WHERE version = 2")
        (second,) = [m for m in packaged() if m.version == 2]
        connection.execute(
            "INSERT INTO schema_migrations VALUES (2, %s, %s, 'applied')", (second.name, second.checksum)
        )
        with pytest.raises(SchemaMismatch, match="7777: it is newer"):
            await Store(any_database).open()
