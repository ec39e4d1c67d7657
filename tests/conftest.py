"""Real servers for all tests: started once a session when first asked for, on loopback, gone at its end.

=====================  ========  ==============================================================================
fixture                scope     what a test gets
=====================  ========  ==============================================================================
``debian_root``        session   the private Debian root (``services.debian_root.DebianRoot``)
``timescale``          session   running ``Postgres`` with TimescaleDB, fast and not durable: do not kill it
``plain_postgres``     session   running ``EmbeddedPostgres`` without the extension: do not kill it
``postgres_factory``   test      makes a ``Postgres`` of the test's own, durable, that it may kill and restart
``database``           test      DSN of a fresh, empty database on ``timescale``
``plain_database``     test      the same on ``plain_postgres``
``any_database``       test      the test runs twice, with either
``migrated``           test      DSN of a fresh database with the whole schema on ``timescale``
``plain_migrated``     test      the same on ``plain_postgres``
``any_migrated``       test      the test runs twice, with either
``broker``             session   running ``Mosquitto``: do not kill it; use topics and client ids of your own
``broker_factory``     test      makes a ``Mosquitto`` of the test's own, with options, that it may kill and restart
``embedded_broker``    test      running ``EmbeddedBroker`` (amqtt)
``alertmanager``       session   running ``Alertmanager`` that only shows what it has
``alertmanager_factory``  test   makes an ``Alertmanager`` of the test's own, with options
``prometheus_factory`` test      makes a ``Prometheus`` of the test's own, with targets and rules
``http_target``        test      ``HttpTarget``: records requests, answers as told
``tcp_proxy``          test      makes a ``TcpProxy`` in front of a port: cut, stall, resume
``shared_data``        session   folder of larger recordings beside the checkout; the test skips where absent
=====================  ========  ==============================================================================

Without root rights or Debian, tests that need ``debian_root`` fail with one clear line, or are skipped where
``HAIDANG_TEST_ALLOW_SKIP=1`` is set.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, settings

from services import debian_root as debian
from services import folders
from services.alertmanager import Alertmanager
from services.embedded_broker import EmbeddedBroker
from services.embedded_postgres import EmbeddedPostgres
from services.errors import ServicesUnavailable
from services.home import home, shared_folder
from services.mosquitto import Mosquitto
from services.postgres import THROWAWAY, Postgres
from services.prometheus import Prometheus
from services.server import Server
from tests.servers.http_target import HttpTarget
from tests.servers.tcp_proxy import TcpProxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from services.debian_root import DebianRoot
    from services.postgres import PostgresServer

#: No test promises anything by how long an example takes, or is thought up: a machine may stand still for a moment.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

TEMPLATE = "haidang_template"


S_co = TypeVar("S_co", bound=Server, covariant=True)
S = TypeVar("S", bound=Server)


class Make(Protocol[S_co]):
    """Makes a running server; options are those of its class."""

    def __call__(self, **options: Any) -> S_co: ...


#: The rooms whose files take longest come first, so that no worker is left with a long one at the end.
_LONG: Final = ("ingest", "alerting", "bench", "quality", "storage", "services", "simulators")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    rooms = {room: number for number, room in enumerate(_LONG)}
    items.sort(key=lambda item: rooms.get(item.nodeid.split("/")[1], len(rooms)))


# --- places -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def debian_root(request: pytest.FixtureRequest) -> DebianRoot:
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def progress(line: str) -> None:
        with capture.global_and_fixture_disabled() if capture else contextlib.nullcontext():
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()

    try:
        return debian.obtain(progress=progress)
    except ServicesUnavailable as error:
        if os.environ.get("HAIDANG_TEST_ALLOW_SKIP") == "1":
            pytest.skip(str(error))
        pytest.fail(f"{error} (HAIDANG_TEST_ALLOW_SKIP=1 skips these tests)", pytrace=False)


@pytest.fixture(scope="session")
def root_folder(debian_root: DebianRoot) -> Iterator[Path]:
    """This session's folder within the private root."""
    folders.sweep(debian_root.services_folder, "tests")
    folder = folders.own(debian_root.services_folder, "tests")
    yield folder
    folders.clear(folder)


@pytest.fixture(scope="session")
def open_folder() -> Iterator[Path]:
    """This session's folder outside of it, open to the user PostgreSQL runs as."""
    base = shared_folder(home())
    base.mkdir(parents=True, exist_ok=True)
    folders.sweep(base, "tests")
    folder = folders.own(base, "tests")
    yield folder
    folders.clear(folder)


def _making(make: Callable[..., S], folder: Path, kind: str) -> Iterator[Make[S]]:
    """A factory of started servers, all of which are stopped and deleted in the end."""
    made: list[S] = []

    def factory(**options: Any) -> S:
        server = make(folder / f"{kind}-{uuid4().hex[:8]}", **options)
        made.append(server)
        server.start()
        return server

    yield factory
    for server in reversed(made):
        server.remove()


# --- databases --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def timescale(debian_root: DebianRoot, root_folder: Path) -> Iterator[Postgres]:
    with Postgres(debian_root, root_folder / "timescale", settings=THROWAWAY) as server:
        yield server


@pytest.fixture(scope="session")
def plain_postgres(open_folder: Path) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(open_folder / "plain", settings=THROWAWAY) as server:
        yield server


@pytest.fixture
def postgres_factory(debian_root: DebianRoot, root_folder: Path) -> Iterator[Make[Postgres]]:
    yield from _making(lambda folder, **options: Postgres(debian_root, folder, **options), root_folder, "postgres")


_numbers = itertools.count(1)


def _fresh(server: PostgresServer, template: str | None = None) -> Iterator[str]:
    name = f"test_{next(_numbers)}"
    yield server.create_database(name, template)
    server.drop_database(name)


def _migrate_template(server: PostgresServer) -> str:
    from storage.migrate import upgrade

    upgrade(server.create_database(TEMPLATE))
    server.seal_database(TEMPLATE)
    return TEMPLATE


@pytest.fixture(scope="session")
def timescale_template(timescale: Postgres) -> str:
    return _migrate_template(timescale)


@pytest.fixture(scope="session")
def plain_template(plain_postgres: EmbeddedPostgres) -> str:
    return _migrate_template(plain_postgres)


@pytest.fixture
def database(timescale: Postgres) -> Iterator[str]:
    yield from _fresh(timescale)


@pytest.fixture
def plain_database(plain_postgres: EmbeddedPostgres) -> Iterator[str]:
    yield from _fresh(plain_postgres)


@pytest.fixture
def migrated(timescale: Postgres, timescale_template: str) -> Iterator[str]:
    yield from _fresh(timescale, timescale_template)


@pytest.fixture
def plain_migrated(plain_postgres: EmbeddedPostgres, plain_template: str) -> Iterator[str]:
    yield from _fresh(plain_postgres, plain_template)


@pytest.fixture(params=["timescale", "plain"])
def any_database(request: pytest.FixtureRequest) -> str:
    dsn: str = request.getfixturevalue("database" if request.param == "timescale" else "plain_database")
    return dsn


@pytest.fixture(params=["timescale", "plain"])
def any_migrated(request: pytest.FixtureRequest) -> str:
    dsn: str = request.getfixturevalue("migrated" if request.param == "timescale" else "plain_migrated")
    return dsn


# --- brokers ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def broker(debian_root: DebianRoot, root_folder: Path) -> Iterator[Mosquitto]:
    with Mosquitto(debian_root, root_folder / "broker") as server:
        yield server


@pytest.fixture
def broker_factory(debian_root: DebianRoot, root_folder: Path) -> Iterator[Make[Mosquitto]]:
    yield from _making(lambda folder, **options: Mosquitto(debian_root, folder, **options), root_folder, "mosquitto")


@pytest.fixture
def embedded_broker(open_folder: Path) -> Iterator[EmbeddedBroker]:
    server = EmbeddedBroker(open_folder / f"amqtt-{uuid4().hex[:8]}")
    with server:
        yield server
    server.remove()


# --- monitoring -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def alertmanager(debian_root: DebianRoot, root_folder: Path) -> Iterator[Alertmanager]:
    with Alertmanager(debian_root, root_folder / "alertmanager") as server:
        yield server


@pytest.fixture
def alertmanager_factory(debian_root: DebianRoot, root_folder: Path) -> Iterator[Make[Alertmanager]]:
    yield from _making(
        lambda folder, **options: Alertmanager(debian_root, folder, **options), root_folder, "alertmanager"
    )


@pytest.fixture
def prometheus_factory(debian_root: DebianRoot, root_folder: Path) -> Iterator[Make[Prometheus]]:
    yield from _making(lambda folder, **options: Prometheus(debian_root, folder, **options), root_folder, "prometheus")


# --- what stands between ----------------------------------------------------------------------------------------------


@pytest.fixture
def http_target() -> Iterator[HttpTarget]:
    with HttpTarget() as target:
        yield target


@pytest.fixture
def tcp_proxy() -> Iterator[Callable[[int], TcpProxy]]:
    with contextlib.ExitStack() as stack:
        yield lambda target_port: stack.enter_context(TcpProxy(target_port))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no larger recordings in {folder}")
    return folder
