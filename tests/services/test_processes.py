"""Processes are known by identity, and ports by asking."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from services import ports
from services.processes import ProcessIdentity, ProcessRecord, all_gone, boot_id, spawn, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    import pytest

SLEEPER = [sys.executable, "-c", "import time; time.sleep(60)"]


def identity(process: subprocess.Popen[bytes]) -> ProcessIdentity:
    found = ProcessIdentity.of(process.pid)
    assert found is not None
    return found


def sleeper() -> AbstractContextManager[subprocess.Popen[bytes]]:
    return subprocess.Popen(SLEEPER)


def test_a_process_lives_until_it_ends_reaped_or_not() -> None:
    with sleeper() as process:
        me = identity(process)
        assert me.is_alive
        process.kill()
        assert wait_until(lambda: not me.is_alive, 10)  # a zombie by now: nobody has waited for it
        assert ProcessIdentity.of(process.pid) == me
    assert ProcessIdentity.of(process.pid) is None


def test_a_process_whose_first_thread_has_ended_lives_while_others_run() -> None:
    """As with servers in Go: /proc calls them zombies while a thread still holds the listening socket."""
    script = (
        "import ctypes, threading, time\n"
        "threading.Thread(target=time.sleep, args=(60,)).start()\n"
        "ctypes.CDLL(None).syscall(60 if __import__('platform').machine() == 'x86_64' else 93, 0)"  # exit(2)
    )
    with subprocess.Popen([sys.executable, "-c", script]) as process:
        me = identity(process)
        stat = Path(f"/proc/{process.pid}/stat")
        assert wait_until(lambda: stat.read_text().rpartition(") ")[2][0] == "Z", 10)
        assert me.is_alive
        process.kill()
        assert wait_until(lambda: not me.is_alive, 10)


def test_another_process_with_the_same_id_is_not_signalled() -> None:
    with sleeper() as process:
        real = identity(process)
        for other in (
            ProcessIdentity(real.pid, real.started - 1, real.boot),
            ProcessIdentity(real.pid, real.started, "another boot"),
        ):
            assert not other.is_alive
            other.send(signal.SIGKILL)
        assert real.is_alive
        real.send(signal.SIGTERM)
        assert process.wait(10) == -signal.SIGTERM


def test_descendants_are_children_and_theirs() -> None:
    script = f"import subprocess; subprocess.Popen({SLEEPER}); subprocess.Popen({SLEEPER}).wait()"
    with subprocess.Popen([sys.executable, "-c", script]) as process:
        family = identity(process)
        assert wait_until(lambda: len(family.descendants()) == 2, 10)
        children = family.descendants()
        me = ProcessIdentity.of(os.getpid())
        assert me is not None
        assert {family, *children} <= set(me.descendants())
        for member in (family, *children):
            member.send(signal.SIGKILL)
        assert wait_until(lambda: all_gone(children), 10)


def test_a_record_comes_back_as_written(tmp_path: Path) -> None:
    record = ProcessRecord(ProcessIdentity(7, 8, boot_id()), 9)
    record.write(tmp_path / "process.json")
    assert ProcessRecord.read(tmp_path / "process.json") == record
    assert [path.name for path in tmp_path.iterdir()] == ["process.json"]


JSON: st.SearchStrategy[object] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["process", "pid", "port", "boot"]), inner),
)


def test_the_record_of_a_server_is_none_in_a_copy_of_its_folder(tmp_path: Path) -> None:
    record = ProcessRecord(ProcessIdentity(7, 8, boot_id()), 9)
    (tmp_path / "original").mkdir()
    record.write(tmp_path / "original/process.json")
    shutil.copytree(tmp_path / "original", tmp_path / "copy")
    assert ProcessRecord.read(tmp_path / "copy/process.json") is None
    (tmp_path / "original").rename(tmp_path / "moved")
    assert ProcessRecord.read(tmp_path / "moved/process.json") == record


@given(content=st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_what_is_no_record_is_read_as_none(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "no-record.json"
    path.write_bytes(content)
    assert ProcessRecord.read(path) is None


def test_a_spawned_process_has_a_session_and_a_log_and_none_of_our_files(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    log = tmp_path / "log"
    log.write_text("before\n")
    show = "echo $PWD $GREETING; echo wrong >&2; ls /proc/self/fd | wc -l; exec sleep 60"
    pid = spawn(["/bin/sh", "-c", show], {"GREETING": "hi", "PATH": "/usr/bin:/bin"}, log)
    os.close(writing)
    process = ProcessIdentity.of(pid)
    assert process is not None
    try:
        assert os.read(reading, 1) == b""  # end of file: the child has no end of our pipe open
        assert wait_until(lambda: log.read_text().count("\n") == 4, 10)
        # Three streams, and the folder that ls itself reads.
        assert log.read_text().split("\n") == ["before", "/ hi", "wrong", "4", ""]
        assert os.getsid(pid) == pid
    finally:
        process.send(signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(reading)


def test_waiting_ends_when_the_condition_holds_or_the_time_is_up() -> None:
    answers: Iterator[bool] = iter([False, False, True])
    assert wait_until(lambda: next(answers), 10)
    assert not wait_until(lambda: False, 0.01)


def test_a_port_found_free_is_free_and_never_one_that_the_kernel_gives_away() -> None:
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for _ in range(50):
        port = ports.find_free()
        assert ports.is_free(port)
        assert ports.LOWEST <= port < max(lowest, 32_768)


def test_a_port_somebody_listens_on_is_taken_and_free_after_they_left() -> None:
    with socket.create_server((ports.LOOPBACK, 0)) as server:
        port = server.getsockname()[1]
        assert not ports.is_free(port)
        client = socket.create_connection((ports.LOOPBACK, port))
        server.accept()[0].close()  # the side that closes first stays in TIME_WAIT
        client.close()
    assert ports.is_free(port)
