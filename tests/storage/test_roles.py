"""Who may do what, as the server enforces it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from alerting.model import RuleState, SubjectKind, Verdict
from geofence.zones import read_zones
from storage import readers
from storage.audit import audit
from storage.errors import ConfigurationError
from storage.migrate import upgrade
from storage.outbox import DatabaseOutbox
from storage.readers import RuleVersion, Said
from storage.retention import NOT_ALLOWED, Retention, retain
from storage.seals import seal
from storage.silences import end_silence, silence
from storage.writer import Store
from storage.zones import import_zones, retire_zones
from tests.geofence.drawings import collection
from tests.storage.samples import ask, batch, connected, positions, readings, record, reject, statics, transition

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def acting_as(dsn: str, role: str) -> str:
    return make_conninfo(dsn, options=f"-c role={role}")


FORBIDDEN_TO_THE_WRITER = (
    "CREATE TABLE mine ()",
    "ALTER TABLE positions ADD COLUMN x int",
    "DROP TABLE readings",
    "TRUNCATE positions",
    "DELETE FROM positions",
    "DELETE FROM alert_history",
    "TRUNCATE alert_history",
    "TRUNCATE quarantine",
    "TRUNCATE readings CASCADE",
    "TRUNCATE alerts CASCADE",
    "UPDATE alert_history SET details = '{}'",
    "UPDATE readings SET value = 0",
    "UPDATE statics SET name = 'x'",
    "DELETE FROM readings",
    "DELETE FROM notifications",
    "DELETE FROM devices",
    "DELETE FROM quarantine_evicted",
    "UPDATE quarantine SET reason = 'x'",
    "DROP INDEX quarantine_received",
    "CREATE INDEX ON readings (value)",
    "CREATE VIEW mine AS SELECT 1",
    "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE TRIGGER mine BEFORE INSERT ON readings EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "ALTER TABLE alert_history OWNER TO CURRENT_USER",
    "COMMENT ON TABLE alerts IS 'x'",
    "DELETE FROM quarantine",
    "DELETE FROM alerts",
    "UPDATE positions SET lon = 0",
    "UPDATE alert_history SET actor = 'nobody'",
    "UPDATE alert_deliveries SET outcome = 'sent'",
    "DELETE FROM seals",
    "UPDATE seal_heads SET seq = 1",
    "ALTER TABLE alert_history DISABLE TRIGGER ALL",
    "SET session_replication_role = replica",
    "UPDATE quarantine SET raw = ''",
    "UPDATE alerts SET started_at = now()",
    "UPDATE alerts SET rule_version = 'x'",
    "UPDATE notifications SET channel = 'x'",
    "UPDATE rules SET body = '{}'",
    "UPDATE silences SET author = 'x'",
    "UPDATE zone_versions SET geometry = '{}'",
    "DELETE FROM zone_versions",
    "DELETE FROM silences",
    "INSERT INTO schema_migrations (version, name, checksum, state) VALUES (9, 'x', 'x', 'applied')",
)
FORBIDDEN_TO_THE_READER = (
    *FORBIDDEN_TO_THE_WRITER,
    "INSERT INTO sources VALUES (1, 'x')",
    "UPDATE alerts SET state = 'resolved'",
    "DELETE FROM rule_state",
    "SELECT quarantine_evict(1, 'bad_json', now(), gen_random_uuid(), 1)",
    "INSERT INTO alert_history (alert_id, seq, at, actor, to_state) SELECT id, 9, now(), 'x', 'firing' FROM alerts",
    "INSERT INTO quarantine DEFAULT VALUES",
    "UPDATE quarantine SET redriven_at = now()",
    "UPDATE devices SET name = 'x'",
    "UPDATE progress SET token = NULL",
    "SELECT * FROM alerts FOR UPDATE",
)


@pytest.mark.parametrize(
    ("role", "commands"),
    [("haidang_writer", FORBIDDEN_TO_THE_WRITER), ("haidang_reader", FORBIDDEN_TO_THE_READER)],
)
def test_the_writer_changes_neither_tables_nor_history_and_the_reader_nothing(
    any_migrated: str, role: str, commands: tuple[str, ...]
) -> None:
    with connected(acting_as(any_migrated, role)) as connection:
        for command in commands:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(command.encode())


def test_a_user_of_the_service_cannot_take_more_rights_than_its_role_has(any_migrated: str) -> None:
    user = sql.Identifier(f"ingest_{uuid4().hex[:8]}")
    with connected(any_migrated) as admin:
        admin.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'x' IN ROLE haidang_writer, haidang_reader").format(user))
        try:
            dsn = make_conninfo(any_migrated, user=user.as_string().strip('"'), password="x")
            with connected(dsn) as connection:
                for command in (*FORBIDDEN_TO_THE_WRITER, "SET ROLE haidang_migrator", "CREATE ROLE another"):
                    with pytest.raises(psycopg.errors.InsufficientPrivilege):
                        connection.execute(command.encode())
                connection.execute("GRANT DELETE ON alert_history TO PUBLIC")  # a warning: it has nothing to give
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute("DELETE FROM alert_history")
        finally:
            admin.execute(sql.SQL("DROP ROLE {}").format(user))


def test_the_reader_sees_every_table_and_view(any_migrated: str) -> None:
    names = ask(
        any_migrated,
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v')",
    )
    with connected(acting_as(any_migrated, "haidang_reader")) as c:
        for (name,) in names:
            c.execute(sql.SQL("SELECT * FROM {} LIMIT 1").format(sql.Identifier(name)))


async def test_the_writer_can_do_all_that_the_service_does(any_migrated: str) -> None:
    dsn = acting_as(any_migrated, "haidang_writer")
    state = RuleState("flood", SubjectKind.DEVICE, 1, "k", {"a": 1})
    async with Store(dsn) as store, DatabaseOutbox(dsn) as outbox:
        await store.commit(
            batch(
                Verdict([transition()], [state]),
                fragments=[],
                positions=positions({}),
                readings=readings((0, 1.0)),
                statics=statics({"name": "A"}),
                records=[record()],
                rejects=[reject()],
            )
        )
        await store.memory()
        await store.recent()
        assert await outbox.claim("log", 1, 1.0) == []
    made = RuleVersion("flood", "v1", {"raise": 3.5})
    for rules in ([made], [], [made]):
        await readers.import_rules(dsn, rules, only=True)
    ring = [[0, 0], [1, 0], [1, 1], [0, 0]]
    for name in ("a", "b"):
        await import_zones(dsn, read_zones(collection("Polygon", [ring], name=name)), files={})
    await retire_zones(dsn, ["z"])
    silenced = await silence(
        dsn, {"rule": ("flood",)}, starts_at=NOW, ends_at=NOW + timedelta(days=9999), author="x", reason="y"
    )
    await end_silence(dsn, silenced["id"], actor="x")
    await readers.acknowledge(dsn, transition().alert_id, Said("x"))
    assert (await seal(dsn)) is not None
    assert (await audit(acting_as(any_migrated, "haidang_reader"))).faults == []
    # Retention is not the service's unless it is given the owner's rights: it says so, and drops nothing.
    assert set(retain(dsn, Retention()).values()) == {NOT_ALLOWED}


def test_tables_belong_to_the_migrator(any_migrated: str) -> None:
    assert ask(any_migrated, "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'") == [
        ("haidang_migrator",)
    ]


def test_tables_of_later_migrations_are_readable_without_another_grant(any_migrated: str) -> None:
    with connected(any_migrated) as c:
        c.execute("SET ROLE haidang_migrator")
        c.execute("CREATE TABLE later (a int)")
    with connected(acting_as(any_migrated, "haidang_reader")) as c:
        assert c.execute("SELECT * FROM later").fetchall() == []


def test_a_user_who_may_not_create_roles_gets_tables_of_its_own_and_is_told(any_database: str) -> None:
    user = f"plain_{uuid4().hex[:8]}"
    with connected(any_database) as admin:
        admin.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'x'").format(sql.Identifier(user)))
        admin.execute(sql.SQL("GRANT CREATE ON SCHEMA public TO {}").format(sql.Identifier(user)))
        try:
            report = upgrade(make_conninfo(any_database, user=user, password="x"))
            assert report.current
            assert any("haidang_migrator" in note for note in report.notes)
            assert ask(any_database, "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'") == [
                (user,)
            ]
            again = upgrade(make_conninfo(any_database, user=user, password="x"))
            assert (again.applied, again.current) == ([], True)
        finally:
            admin.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(user)))
            admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(user)))


async def test_a_user_without_rights_is_refused_and_not_waited_for(any_migrated: str) -> None:
    with pytest.raises(ConfigurationError, match="permission denied"):
        async with Store(acting_as(any_migrated, "haidang_reader")) as store:
            await store.commit(batch(positions=positions({})))
