"""Both PostgreSQL servers: what they hold, who gets in, what a kill leaves."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from services.embedded_postgres import EmbeddedPostgres
from services.errors import ServicesUnavailable
from services.home import reachable_by_others, shared_folder
from services.postgres import THROWAWAY, fresh_database

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from services.postgres import Postgres, PostgresServer


@pytest.fixture(params=["timescale", "plain_postgres"])
def server(request: pytest.FixtureRequest) -> PostgresServer:
    running: PostgresServer = request.getfixturevalue(request.param)
    return running


def ask(dsn: str, query: str) -> object:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def test_the_database_is_utf8_in_utc_and_sorts_by_code_point(server: PostgresServer) -> None:
    assert conninfo_to_dict(server.dsn)["host"] == "127.0.0.1"
    assert ask(server.dsn, "SHOW server_encoding") == "UTF8"
    assert ask(server.dsn, "SHOW timezone") == "UTC"
    assert ask(server.dsn, "SELECT lower('HẢI ĐĂNG')") == "hải đăng"
    assert ask(server.dsn, "SELECT 'B' < 'a'") is True
    assert ask(server.dsn, "SHOW data_directory_mode") == "0700"


def test_a_fresh_database_takes_the_place_of_the_one_before_and_of_nothing_else(server: PostgresServer) -> None:
    for _ in range(2):
        dsn = fresh_database(server.dsn, "fresh")
        assert dsn == server.dsn_of("fresh")
        with psycopg.connect(dsn) as connection:
            connection.execute("CREATE TABLE left_behind ()")
    assert ask(server.dsn, "SELECT current_database()") == "haidang"
    server.drop_database("fresh")


def test_nobody_gets_in_without_the_password(server: PostgresServer) -> None:
    for password in ("", "wrong"):
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(make_conninfo(server.dsn, password=password))
    assert (server.folder / "password").stat().st_mode & 0o077 == 0


def test_timescaledb_is_there_and_does_not_phone_home(timescale: Postgres, database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION timescaledb")
    assert ask(database, "SHOW timescaledb.license") == "apache"
    assert ask(database, "SHOW timescaledb.telemetry_level") == "off"


def test_a_sealed_database_is_copied_at_any_time(server: PostgresServer, request: pytest.FixtureRequest) -> None:
    with psycopg.connect(server.create_database("sealed"), autocommit=True) as connection:
        if "timescale" in request.node.name:
            connection.execute("CREATE EXTENSION timescaledb")
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        server.seal_database("sealed")  # ends this connection, and TimescaleDB's worker
    names = [f"copy_{number}" for number in range(5)]
    for name in names:
        assert ask(server.create_database(name, "sealed"), "SELECT answer FROM kept") == 42
    with pytest.raises(psycopg.OperationalError, match="not currently accepting connections"):
        psycopg.connect(server.dsn_of("sealed"))
    for name in (*names, "sealed"):
        server.drop_database(name)


def test_dropping_a_database_ends_its_sessions(server: PostgresServer) -> None:
    connection = psycopg.connect(server.create_database("dropped"))
    server.drop_database("dropped")
    with connection, pytest.raises(psycopg.OperationalError):
        connection.execute("SELECT 1")


def test_what_was_committed_before_a_kill_is_there_after_it(postgres_factory: Callable[[], Postgres]) -> None:
    server = postgres_factory()
    assert ask(server.dsn, "SHOW fsync") == ask(server.dsn, "SHOW synchronous_commit") == "on"
    with psycopg.connect(server.dsn) as connection:
        connection.execute("CREATE TABLE kept (number integer)")
    with psycopg.connect(server.dsn) as committed, psycopg.connect(server.dsn) as open_still:
        committed.execute("INSERT INTO kept VALUES (1)")
        committed.commit()
        open_still.execute("INSERT INTO kept VALUES (2)")
        server.kill()
        with pytest.raises(psycopg.OperationalError):
            open_still.execute("SELECT 1")
        open_still.close()
        committed.close()
    server.start()
    assert ask(server.dsn, "SELECT array_agg(number) FROM kept") == [1]


def test_the_server_takes_new_settings_at_its_next_start(postgres_factory: Callable[..., Postgres]) -> None:
    server = postgres_factory(settings=THROWAWAY)
    server.settings["work_mem"] = "7MB"
    server.settings["log_line_prefix"] = "it's %p "
    server.restart()
    assert ask(server.dsn, "SHOW work_mem") == "7MB"
    assert ask(server.dsn, "SHOW log_line_prefix") == "it's %p "


def test_a_folder_closed_to_others_is_no_hindrance(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    server = EmbeddedPostgres(closed / "postgres", settings=THROWAWAY)
    assert EmbeddedPostgres(closed / "postgres").folder == server.folder  # found again
    try:
        with server:
            assert ask(server.dsn, "SELECT 1") == 1
    finally:
        server.remove()


def test_a_folder_stands_in_only_where_the_user_of_the_server_could_not_come(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    assert not reachable_by_others(closed)
    if os.geteuid() != 0:  # PostgreSQL runs as ourselves
        assert shared_folder(closed) == closed
        return
    stand_in = shared_folder(closed)
    assert stand_in != closed
    assert reachable_by_others(stand_in)
    assert shared_folder(closed) == stand_in
    stand_in.chmod(0o777)
    with pytest.raises(ServicesUnavailable, match="not ours alone"):
        shared_folder(closed)
    stand_in.rmdir()
