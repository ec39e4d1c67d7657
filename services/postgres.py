"""PostgreSQL 17 with TimescaleDB, from the private Debian root."""

from __future__ import annotations

import secrets
import signal
import subprocess
from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar, Final
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from services.errors import ServerFailed
from services.ports import LOOPBACK
from services.server import Server, own

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from services.debian_root import DebianRoot

USER: Final = "haidang"
DATABASE: Final = "haidang"

#: For a machine with two cores that runs everything else too. A commit is on the disk when it returns.
SETTINGS: Final[Mapping[str, str]] = {
    "listen_addresses": LOOPBACK,
    "max_connections": "100",
    "shared_buffers": "512MB",
    "effective_cache_size": "1GB",
    "work_mem": "16MB",
    "maintenance_work_mem": "128MB",
    "max_wal_size": "2GB",
    "checkpoint_completion_target": "0.9",
    "wal_compression": "on",
    "max_parallel_workers_per_gather": "1",
    "fsync": "on",
    "synchronous_commit": "on",
    "dynamic_shared_memory_type": "mmap",  # files in the data folder: a chroot has no /dev/shm
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
    "lc_messages": "C",
}

#: Gives up durability of a database that is thrown away: what is lost is lost with the machine only.
THROWAWAY: Final[Mapping[str, str]] = {"fsync": "off", "full_page_writes": "off"}


class PostgresServer(Server):
    """What the two ways to run PostgreSQL share: one cluster, one superuser with a password, one database.

    Args:
        folder: holds ``data`` (the cluster), ``log`` and ``password``.
        port: as for `Server`.
        settings: server parameters over `SETTINGS`; they hold from the next start.
    """

    stop_signal: ClassVar[signal.Signals] = signal.SIGINT  # fast shutdown: sessions end, nothing is lost

    def __init__(self, folder: Path, *, port: int | None = None, settings: Mapping[str, str] | None = None) -> None:
        super().__init__(folder, port=port)
        self.settings = {**SETTINGS, **(settings or {})}

    @property
    def data_folder(self) -> Path:
        return self.folder / "data"

    @property
    def dsn(self) -> str:
        """The URL of the database that comes with the server, as its superuser."""
        return self.dsn_of(DATABASE)

    def dsn_of(self, database: str) -> str:
        """The URL of another database of the server."""
        return f"postgresql://{USER}:{self._password()}@{LOOPBACK}:{self.port}/{database}"

    def create_database(self, name: str, template: str | None = None) -> str:
        """Create a database, empty or as a copy of one that nobody is connected to; its URL.

        Raises:
            psycopg.Error: it exists, or the template is in use.
        """
        statement = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
        if template is not None:
            statement += sql.SQL(" TEMPLATE {} STRATEGY FILE_COPY").format(sql.Identifier(template))
        with psycopg.connect(self.dsn_of("postgres"), autocommit=True) as connection:
            connection.execute(statement)
        return self.dsn_of(name)

    def seal_database(self, name: str) -> None:
        """Let nobody connect to a database any more, so that it can be copied at any time.

        TimescaleDB keeps a worker connected to every database it is in; a sealed one it leaves alone.
        """
        with psycopg.connect(self.dsn_of("postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(sql.Identifier(name)))
            connection.execute(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = %s", [name]
            )

    def drop_database(self, name: str) -> None:
        """Drop a database and whoever is connected to it."""
        statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
        with psycopg.connect(self.dsn_of("postgres"), autocommit=True) as connection:
            connection.execute(statement)

    @property
    @abstractmethod
    def _owner(self) -> tuple[int, int]:
        """User and group that own the data folder and run the server."""

    @abstractmethod
    def _program(self, name: str, *arguments: str) -> list[str]:
        """The command that runs one of PostgreSQL's programs as that user."""

    @abstractmethod
    def _as_seen(self, path: Path) -> str:
        """The name ``path`` has for the server."""

    @property
    def _socket_folder(self) -> str:
        return ""

    def _password(self) -> str:
        return (self.folder / "password").read_text().strip()

    def _prepare(self, port: int) -> None:
        password_file = self.folder / "password"
        if not password_file.exists():
            password_file.touch(mode=0o600)
            password_file.write_text(f"{secrets.token_hex(16)}\n")
            own(password_file, *self._owner, 0o600)
        if not (self.data_folder / "PG_VERSION").exists():
            self._initialise(password_file)
        values = {**self.settings, "port": str(port), "unix_socket_directories": self._socket_folder}
        configuration = self.data_folder / "haidang.conf"
        configuration.write_text("".join(f"{name} = {_quoted(value)}\n" for name, value in values.items()))
        own(configuration, *self._owner, 0o600)

    def _initialise(self, password_file: Path) -> None:
        uid, gid = self._owner
        self.data_folder.mkdir(exist_ok=True)
        own(self.data_folder, uid, gid, 0o700)
        command = self._program(
            *(
                "initdb",
                "--pgdata",
                self._as_seen(self.data_folder),
                "--username",
                USER,
                "--pwfile",
                self._as_seen(password_file),
            ),
            *("--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C", "--no-instructions"),
            *("--locale-provider", "builtin", "--builtin-locale", "C.UTF-8", "--set", "scram_iterations=1024"),
        )
        if self.settings["fsync"] == "off":
            command.append("--no-sync")
        with self.log_file.open("ab") as log:
            done = subprocess.run(  # noqa: S603  # the command is ours
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                check=False,
                cwd="/",
                env=self._environment,
            )
        if done.returncode != 0:
            raise ServerFailed(f"initdb failed{self._last_words()}")
        with (self.data_folder / "postgresql.conf").open("a") as configuration:
            configuration.write("include 'haidang.conf'\n")

    def _command(self, port: int) -> list[str]:  # noqa: ARG002  # the port is in haidang.conf
        return self._program("postgres", "-D", self._as_seen(self.data_folder))

    def _answers(self, port: int) -> bool:
        try:
            with psycopg.connect(
                host=LOOPBACK, port=port, user=USER, password=self._password(), dbname="postgres", connect_timeout=3
            ) as connection:
                connection.autocommit = True
                if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
                    connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
        except psycopg.OperationalError:
            return False
        return True


class Postgres(PostgresServer):
    """PostgreSQL with TimescaleDB preloaded; a database gets it by ``CREATE EXTENSION timescaledb``.

    Args:
        root: the private Debian.
        folder: below ``root.services_folder``.
        port: as for `Server`.
        settings: server parameters over `SETTINGS`.
    """

    name = "PostgreSQL"
    PROGRAMS: ClassVar[str] = "/usr/lib/postgresql/17/bin"

    def __init__(
        self, root: DebianRoot, folder: Path, *, port: int | None = None, settings: Mapping[str, str] | None = None
    ) -> None:
        timescale = {"shared_preload_libraries": "timescaledb", "timescaledb.telemetry_level": "off"}
        super().__init__(folder, port=port, settings={**timescale, **(settings or {})})
        self.root = root
        self._user = root.user("postgres")

    @property
    def _owner(self) -> tuple[int, int]:
        return self._user.uid, self._user.gid

    def _program(self, name: str, *arguments: str) -> list[str]:
        return self.root.command(self._user, f"{self.PROGRAMS}/{name}", *arguments)

    def _as_seen(self, path: Path) -> str:
        return self.root.inside(path)

    @property
    def _socket_folder(self) -> str:
        return self.root.inside(self.data_folder)


def fresh_database(dsn: str, name: str) -> str:
    """An empty database beside that of ``dsn``, in place of whatever had the name; its URL.

    Raises:
        psycopg.Error: it cannot be made.
    """
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return urlsplit(dsn)._replace(path=f"/{name}").geturl()


def _quoted(value: str) -> str:
    """A value as postgresql.conf wants it: a quote within is doubled."""
    return "'" + value.replace("'", "''") + "'"
