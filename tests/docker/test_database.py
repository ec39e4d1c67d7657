"""The database as deployed: users.sh by the real psql, the real migrations, and dashboard queries as Grafana's user."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from services.postgres import THROWAWAY, Postgres
from services.server import own
from storage.migrate import upgrade
from tests.docker.deployment import DASHBOARDS, DOCKER, dashboard, prepare, targets

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from services.debian_root import DebianRoot

SQL = [
    pytest.param(target["rawSql"], id=f"{path.stem}: {title}")
    for path in DASHBOARDS
    for title, target in targets(path)
    if target["datasource"]["uid"] == "timescaledb"
] + [
    pytest.param(variable["query"], id=f"{path.stem}: ${variable['name']}")
    for path in DASHBOARDS
    for variable in dashboard(path)["templating"]["list"]
]


class Database:
    """A cluster of its own (roles belong to the whole cluster), made the way compose.yaml makes one."""

    def __init__(self, server: Postgres, secrets: Path) -> None:
        self.server = server
        self.secrets = secrets

    def users(self) -> None:
        """What the image's entry point does with users.sh, in a chroot instead of a container."""
        script = self.server.folder / "users.sh"
        inside = self.server.root.inside(self.server.folder)
        script.write_text((DOCKER / "postgres/users.sh").read_text().replace("/run/secrets/", f"{inside}/"))
        user = self.server.root.user("postgres")
        for name in ("db_service_password", "grafana_db_password"):
            (self.server.folder / name).write_bytes((self.secrets / name).read_bytes())
            own(self.server.folder / name, user.uid, user.gid, 0o600)
        done = subprocess.run(
            self.server.root.command(user, "/bin/sh", f"{inside}/users.sh"),
            env={
                "PATH": f"{Postgres.PROGRAMS}:/usr/sbin:/usr/bin:/sbin:/bin",
                "PGHOST": self.server.root.inside(self.server.data_folder),
                "PGPORT": str(self.server.port),
                "PGPASSWORD": (self.server.folder / "password").read_text().strip(),
                "POSTGRES_USER": "haidang",
                "POSTGRES_DB": "haidang",
            },
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
        )
        assert (done.returncode, done.stderr) == (0, "")

    def connect(self, user: str, password: str) -> psycopg.Connection[tuple[object, ...]]:
        dsn = make_conninfo(self.server.dsn, user=user, password=(self.secrets / password).read_text())
        return psycopg.connect(dsn, autocommit=True)


@pytest.fixture(scope="module")
def database(
    debian_root: DebianRoot, root_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Database]:
    secrets = tmp_path_factory.mktemp("deployed") / "secrets"
    prepare(secrets)
    server = Postgres(debian_root, root_folder / "postgres-deployed", settings={**THROWAWAY, "shared_buffers": "32MB"})
    try:
        with server:
            made = Database(server, secrets)
            made.users()
            report = upgrade(server.dsn)
            assert report.current
            assert not [note for note in report.notes if "haidang_" in note], report.notes
            yield made
    finally:
        server.remove()


def expanded(query: str) -> str:
    """Grafana's macros as its PostgreSQL data source writes them."""
    span = "'2026-11-23T00:00:00Z' AND '2026-11-24T00:00:00Z'"
    query = re.sub(r"\$__timeFilter\(([^)]+)\)", rf"\1 BETWEEN {span}", query)
    query = re.sub(r"\$__timeGroupAlias\(([^,]+), *'1h'\)", r"""time_bucket('3600.000s', \1) AS "time\"""", query)
    query = re.sub(r"\$__timeGroupAlias\(([^,]+), *\$__interval\)", r"""time_bucket('60.000s', \1) AS "time\"""", query)
    query = re.sub(r"\$\{\w+:sqlstring\}", "'pm2_5'", query)
    assert "$" not in query, query
    return query


@pytest.mark.parametrize("query", SQL)
def test_every_query_of_the_dashboards_runs_as_grafana_s_user(database: Database, query: str) -> None:
    with database.connect("grafana", "grafana_db_password") as connection:
        cursor = connection.execute(expanded(query).encode())
        assert cursor.description


def test_grafana_may_look_and_not_touch(database: Database) -> None:
    with database.connect("grafana", "grafana_db_password") as connection:
        assert connection.execute("SHOW default_transaction_read_only").fetchone() == ("on",)
        connection.execute("SET default_transaction_read_only = off")
        for statement in ("DELETE FROM alerts", "INSERT INTO sources (id, name) VALUES (1, 'x')", "CREATE TABLE t ()"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement.encode())


def test_the_service_writes_and_rewrites_no_history_and_becomes_owner_only_on_purpose(database: Database) -> None:
    with database.connect("ingest", "db_service_password") as connection:
        connection.execute("INSERT INTO sources (id, name) VALUES (1, 'x')")
        for statement in ("DELETE FROM alert_history", "UPDATE positions SET lon = 0", "DROP TABLE alerts"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement.encode())
        connection.execute("SET ROLE haidang_migrator")
        connection.execute("SELECT drop_chunks('positions', INTERVAL '1000 days')")


def test_nobody_logs_in_as_the_owner_or_without_a_password(database: Database) -> None:
    for user, password in [("haidang_migrator", "x"), ("ingest", "x"), ("grafana", "")]:
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(make_conninfo(database.server.dsn, user=user, password=password))


def test_the_owner_may_run_policies(database: Database) -> None:
    """TimescaleDB: "Hypertable owner must have LOGIN attribute to run background tasks"."""
    with psycopg.connect(database.server.dsn) as connection:
        rows = connection.execute(
            "SELECT r.rolcanlogin, has_database_privilege(r.oid, current_database(), 'CONNECT')"
            " FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner WHERE c.oid = 'positions'::regclass"
        ).fetchall()
    assert rows == [(True, True)]
