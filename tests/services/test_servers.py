"""What every server promises: start, stop, kill, restart; found again by its record; loopback only, never as root."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from services import ports
from services.alertmanager import Alertmanager
from services.embedded_broker import EmbeddedBroker
from services.embedded_postgres import EmbeddedPostgres
from services.errors import ServerFailed
from services.mosquitto import Mosquitto
from services.postgres import THROWAWAY, Postgres
from services.processes import ProcessIdentity, ProcessRecord, all_gone, boot_id
from services.prometheus import Prometheus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from services.debian_root import DebianRoot
    from services.server import Server

    Make = Callable[..., Server]


@pytest.fixture(params=["postgres", "embedded_postgres", "mosquitto", "embedded_broker", "prometheus", "alertmanager"])
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    """Makes objects of one kind of server, all on the same new folder."""
    kind: str = request.param
    embedded = kind.startswith("embedded")
    folder: Path = request.getfixturevalue("open_folder" if embedded else "root_folder") / f"{kind}-{uuid4().hex[:8]}"
    root: DebianRoot | None = None if embedded else request.getfixturevalue("debian_root")

    def make(port: int | None = None) -> Server:
        if root is None:
            if kind == "embedded_broker":
                return EmbeddedBroker(folder, port=port)
            return EmbeddedPostgres(folder, port=port, settings=THROWAWAY)
        match kind:
            case "postgres":
                return Postgres(root, folder, port=port, settings=THROWAWAY)
            case "mosquitto":
                return Mosquitto(root, folder, port=port)
            case "prometheus":
                return Prometheus(root, folder, port=port)
            case _:
                return Alertmanager(root, folder, port=port)

    yield make
    make().remove()
    assert not folder.exists()


def connects(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), timeout=2).close()
    except OSError:
        return False
    return True


def process_of(server: Server) -> ProcessIdentity:
    process = server.process
    assert process is not None
    return process


def test_a_server_starts_ready_stops_and_comes_back_on_its_port(make: Make) -> None:
    server = make()
    assert not server.is_running
    with server:
        port, first = server.port, process_of(server)
        assert connects(ports.LOOPBACK, port)
        assert not connects("127.0.0.2", port)  # it listens on that one address only
        family = [first, *first.descendants()]
        assert server.start().process == first  # started again: nothing happens

        server.restart()
        assert server.port == port
        assert process_of(server) != first
        assert all_gone(family)
    assert not server.is_running
    assert ports.is_free(port)
    server.stop()  # stopped again: nothing happens
    server.kill()


def test_it_starts_whatever_the_umask(make: Make) -> None:
    before = os.umask(0o077)
    try:
        with make() as server:
            assert server.is_running
    finally:
        os.umask(before)


def test_a_killed_server_is_gone_with_its_children_and_comes_back(make: Make) -> None:
    with make() as server:
        port, first = server.port, process_of(server)
        family = [first, *first.descendants()]
        server.kill()
        assert not server.is_running
        assert all_gone(family)
        assert not connects(ports.LOOPBACK, port)
        assert server.start().port == port


def test_another_object_on_its_folder_finds_it_and_stops_it(make: Make) -> None:
    started = make().start()
    found = make()
    assert found.start().process == started.process
    assert found.port == started.port
    found.stop()
    assert not started.is_running


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has rights to drop")
def test_it_runs_without_root_rights(make: Make) -> None:
    with make() as server:
        status = Path(f"/proc/{process_of(server).pid}/status").read_text()
        fields = dict(line.split(":", 1) for line in status.splitlines())
        if isinstance(server, EmbeddedBroker):
            return  # our own Python, with the rights of whoever runs it
        assert set(fields["Uid"].split()).isdisjoint({"0"})
        assert set(fields["Gid"].split()).isdisjoint({"0"})
        assert not fields["Groups"].split()
        assert fields["NoNewPrivs"].strip() == "1"
        assert int(fields["CapEff"], 16) == int(fields["CapPrm"], 16) == 0


def test_a_record_of_a_process_that_is_no_more_ours_stops_nothing(make: Make) -> None:
    server = make()
    server.folder.mkdir(parents=True)
    me = ProcessIdentity.of(os.getpid())
    assert me is not None
    for stranger in (ProcessIdentity(me.pid, me.started - 1, me.boot), ProcessIdentity(me.pid, me.started, "before")):
        ProcessRecord(stranger, ports.find_free()).write(server.folder / "process.json")
        assert not server.is_running
        server.stop()
        server.kill()
    with server:
        assert process_of(server).boot == boot_id()


def test_a_wanted_port_that_is_taken_is_an_error_that_says_so(make: Make) -> None:
    with socket.create_server((ports.LOOPBACK, 0)) as other:
        server = make(other.getsockname()[1])
        with pytest.raises(ServerFailed, match=r"port \d+ is taken") as failure:
            server.start()
        assert server.name in str(failure.value)
        assert not server.is_running


@pytest.mark.parametrize("make", ["mosquitto"], indirect=True)
def test_a_port_that_another_takes_meanwhile_is_given_up_for_the_next(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server((ports.LOOPBACK, 0)) as other:
        taken, free = other.getsockname()[1], ports.find_free()
        chosen = iter([taken, free])
        monkeypatch.setattr(ports, "find_free", lambda: next(chosen))
        with make() as server:
            assert server.port == free


@pytest.mark.parametrize("make", ["mosquitto"], indirect=True)
def test_a_long_log_is_put_aside(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.server.LOG_BYTES", 1)
    with make() as server:
        first = server.log_file.read_text()
        server.restart()
        assert server.log_file.with_name("log.old").read_text().startswith(first)
        assert server.log_file.read_text().count("starting") == 1


def test_a_server_that_was_never_started_has_no_port(make: Make) -> None:
    with pytest.raises(ServerFailed, match="never started"):
        _ = make().port


def test_a_server_that_refuses_its_configuration_fails_with_its_own_words(
    debian_root: DebianRoot, root_folder: Path
) -> None:
    broker = Mosquitto(debian_root, root_folder / "refused", settings={"no_such_setting": "1"})
    with pytest.raises(ServerFailed, match=r"mosquitto did not start: .*no_such_setting.*/refused/log"):
        broker.start()
    database = Postgres(debian_root, root_folder / "refused-too", settings={**THROWAWAY, "shared_buffers": "no"})
    with pytest.raises(ServerFailed, match=r"PostgreSQL did not start: .*shared_buffers.*/refused-too/log"):
        database.start()
    for server in (broker, database):
        assert not server.is_running
        server.remove()
