"""The real parts as daemons of this checkout: they outlive the command that starts them, and are found again."""

from __future__ import annotations

import fcntl
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from services import debian_root
from services.alertmanager import Alertmanager
from services.debian_root import DebianRoot
from services.endpoints import Endpoints
from services.home import home as default_home
from services.mosquitto import Mosquitto
from services.postgres import Postgres
from services.prometheus import Prometheus

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from services.debian_root import Progress
    from services.server import Server

#: In the order they start; they stop in the opposite one.
NAMES: Final = ("postgres", "mosquitto", "alertmanager", "prometheus")
METRICS: Final = "127.0.0.1:9464"  # where `haidang run` and `haidang demo` serve /metrics unless told otherwise
RULES: Final = Path(__file__).resolve().parent.parent / "docker/prometheus/rules.yml"


def start(
    names: Iterable[str] = NAMES,
    *,
    home: Path | None = None,
    metrics: str = METRICS,
    rules: Path | None = RULES,
    progress: Progress = lambda _: None,
) -> Endpoints:
    """Start those of ``names`` that do not run yet; where all of them can be reached.

    They keep their ports and their data from one start to the next. The first start makes the private Debian root.

    Args:
        names: of `NAMES`.
        home: the folder for everything; `services.home.home` without one.
        metrics: ``host:port`` that Prometheus scrapes.
        rules: alert rules for Prometheus; passed over if there is no such file.
        progress: told what happens, one line at a time.

    Raises:
        ServicesUnavailable: this machine cannot run them; `services.fallback` may.
        ServerFailed: one of them did not start.
        ValueError: a name is not of `NAMES`.
    """
    wanted = _checked(names)
    home = home or default_home()
    root = debian_root.obtain(home, progress=progress)
    with _one_at_a_time(home):
        servers = _servers(root, metrics, rules)
        for name in wanted:
            server = servers[name]
            if server.is_running:
                progress(f"{server.name} runs already")
            else:
                progress(f"starting {server.name}")
            if isinstance(server, Prometheus) and servers["alertmanager"].is_running:
                server.alertmanagers = (f"127.0.0.1:{servers['alertmanager'].port}",)
            server.start()
            if isinstance(server, Prometheus):
                server.reload()  # one that ran already may scrape another address, or know an Alertmanager that is gone
        return _endpoints(servers, wanted)


def stop(
    names: Iterable[str] = NAMES, *, home: Path | None = None, progress: Progress = lambda _: None
) -> tuple[str, ...]:
    """Stop those of ``names`` that run; their names.

    Raises:
        ServerFailed: one does not end.
        ValueError: a name is not of `NAMES`.
    """
    wanted = _checked(names)
    home = home or default_home()
    root = DebianRoot(home / "root")
    if not root.is_whole:
        return ()
    stopped = []
    with _one_at_a_time(home):
        servers = _servers(root, METRICS, None)
        for name in reversed(wanted):
            if servers[name].is_running:
                progress(f"stopping {servers[name].name}")
                servers[name].stop()
                stopped.append(name)
    return tuple(stopped)


def status(*, home: Path | None = None) -> Endpoints:
    """Where those that run can be reached; nothing is started or made."""
    root = DebianRoot((home or default_home()) / "root")
    if not root.is_whole:
        return Endpoints()
    servers = _servers(root, METRICS, None)
    return _endpoints(servers, tuple(name for name in NAMES if servers[name].is_running))


def _checked(names: Iterable[str]) -> tuple[str, ...]:
    asked = set(names)
    if unknown := sorted(asked - set(NAMES)):
        raise ValueError(f"no such service: {', '.join(unknown)} (there are {', '.join(NAMES)})")
    return tuple(name for name in NAMES if name in asked)


def _servers(root: DebianRoot, metrics: str, rules: Path | None) -> dict[str, Server]:
    folder = root.services_folder / "local"
    return {
        "postgres": Postgres(root, folder / "postgres"),
        "mosquitto": Mosquitto(root, folder / "mosquitto"),
        "alertmanager": Alertmanager(root, folder / "alertmanager"),
        "prometheus": Prometheus(
            root,
            folder / "prometheus",
            targets={"haidang": [metrics]},
            rule_files=[rules] if rules is not None and rules.is_file() else [],
        ),
    }


def _endpoints(servers: dict[str, Server], names: tuple[str, ...]) -> Endpoints:
    found: dict[str, str] = {}
    for name in names:
        match servers[name]:
            case Postgres() as postgres:
                found["dsn"] = postgres.dsn
            case Mosquitto() as mosquitto:
                found["mqtt"] = mosquitto.url
            case Alertmanager() as alertmanager:
                found["alertmanager"] = alertmanager.url
            case Prometheus() as prometheus:
                found["prometheus"] = prometheus.url
    return Endpoints(**found)


@contextmanager
def _one_at_a_time(home: Path) -> Iterator[None]:
    with (home / "services.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
