"""Where a run happens: its servers, started when first asked for, its databases and its files; all gone at its end.

A run that was killed leaves a folder named for its process; the next run stops what is left in it and deletes it.
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

import psycopg

from services import debian_root, folders
from services.errors import ServicesUnavailable
from services.mosquitto import Mosquitto
from services.postgres import THROWAWAY, Postgres
from storage.migrate import upgrade

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from services.debian_root import DebianRoot

_TEMPLATE = "bench_template"


class NotHere(Exception):  # noqa: N818  # named for what is known
    """A row or a peer that this machine cannot run: why, in one line."""


class Places:
    """One run's servers and files. A context: leaving it stops and deletes them, whatever happened.

    Args:
        durable: whether a commit is on the disk when it returns, as it is for users; False where nothing is measured.
    """

    def __init__(self, *, durable: bool = True) -> None:
        self._durable = durable
        self._held = ExitStack()
        self._numbers = itertools.count(1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()

    @cached_property
    def folder(self) -> Path:
        """For files of this run."""
        folder = Path(tempfile.mkdtemp(prefix="haidang-bench-"))
        self._held.callback(shutil.rmtree, folder, ignore_errors=True)
        return folder

    @cached_property
    def _root(self) -> DebianRoot:
        try:
            return debian_root.obtain()
        except ServicesUnavailable as error:
            raise NotHere(str(error)) from error

    @cached_property
    def _servers(self) -> Path:
        folders.sweep(self._root.services_folder, "bench")
        folder = folders.own(self._root.services_folder, "bench")
        self._held.callback(folders.clear, folder)
        return folder

    @cached_property
    def postgres(self) -> Postgres:
        """TimescaleDB as the local services run it.

        Raises:
            NotHere: this machine cannot run it.
        """
        settings = {} if self._durable else THROWAWAY
        return self._held.enter_context(Postgres(self._root, self._servers / "postgres", settings=settings))

    @cached_property
    def broker(self) -> Mosquitto:
        """Mosquitto as the local services run it: no limit on what waits for a client.

        Raises:
            NotHere: this machine cannot run it.
        """
        return self._held.enter_context(Mosquitto(self._root, self._servers / "broker"))

    @cached_property
    def _template(self) -> str:
        upgrade(self.postgres.create_database(_TEMPLATE))
        self.postgres.seal_database(_TEMPLATE)
        return _TEMPLATE

    def template(self, fill: Callable[[str], None]) -> str:
        """A name for `migrated`: databases with our tables and what ``fill`` puts in, given the DSN."""
        name = f"bench_template_{next(self._numbers)}"
        fill(self.postgres.create_database(name, self._template))
        self.postgres.seal_database(name)
        return name

    @contextmanager
    def migrated(self, template: str | None = None) -> Iterator[str]:
        """The DSN of a fresh database with our tables: with those of ``template``, where one is given."""
        yield from self._database(template or self._template)

    @contextmanager
    def timescale(self, *statements: str) -> Iterator[str]:
        """The DSN of a fresh database with the extension and what the statements make in it: a peer's own."""
        for dsn in self._database(None):
            with psycopg.connect(dsn, autocommit=True) as connection:
                connection.execute("CREATE EXTENSION timescaledb")
                for statement in statements:
                    connection.execute(statement.encode())
            yield dsn

    def _database(self, template: str | None) -> Iterator[str]:
        name = f"bench_{next(self._numbers)}"
        dsn = self.postgres.create_database(name, template)
        try:
            with psycopg.connect(dsn, autocommit=True) as connection:
                connection.execute("CHECKPOINT")  # so that nobody pays for the one before
            yield dsn
        finally:
            self.postgres.drop_database(name)

    def versions(self) -> dict[str, str]:
        """Of the servers that were started."""
        if "postgres" not in self.__dict__:
            return {}
        with psycopg.connect(self.postgres.dsn) as connection:
            found = connection.execute(
                "SELECT current_setting('server_version'),"
                " (SELECT default_version FROM pg_available_extensions WHERE name = 'timescaledb')"
            ).fetchone()
        assert found is not None
        return {"postgresql": str(found[0]).split()[0], "timescaledb": str(found[1])}
