"""A plain PostgreSQL and a broker in Python, from wheels, where the real parts cannot run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.embedded_broker import EmbeddedBroker
from services.embedded_postgres import EmbeddedPostgres
from services.endpoints import Endpoints
from services.home import home as default_home
from services.home import shared_folder

if TYPE_CHECKING:
    from pathlib import Path

    from services.debian_root import Progress
    from services.server import Server


@dataclass(frozen=True, slots=True)
class Fallback:
    """What `start` started, and where it is."""

    endpoints: Endpoints
    started: tuple[Server, ...]  # those that did not run before

    def stop(self) -> None:
        """Stop what this start started; what ran before goes on."""
        for server in reversed(self.started):
            server.stop()


def start(*, home: Path | None = None, progress: Progress = lambda _: None) -> Fallback:
    """Start both, or find them running. No TimescaleDB, MQTT 3.1.1 only, no Prometheus, no Alertmanager.

    Args:
        home: the folder for everything; `services.home.home` without one.
        progress: told what happens, one line at a time.

    Raises:
        ServicesUnavailable: the optional part ``embedded`` is not installed.
        ServerFailed: one of them did not start.
    """
    postgres, broker = _servers(home)
    both: tuple[Server, ...] = (postgres, broker)
    started: list[Server] = []
    try:
        for server in both:
            if not server.is_running:
                progress(f"starting {server.name}")
                started.append(server)
            server.start()
    except BaseException:
        for server in reversed(started):
            server.stop()
        raise
    endpoints = Endpoints(dsn=postgres.dsn, mqtt=broker.url, mqtt_version="3.1.1")
    return Fallback(endpoints, tuple(started))


def _servers(home: Path | None) -> tuple[EmbeddedPostgres, EmbeddedBroker]:
    folder = shared_folder(home or default_home()) / "plain"
    return EmbeddedPostgres(folder / "postgres"), EmbeddedBroker(folder / "broker")
