"""Processes by identity: a process id alone may by now belong to somebody else."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


@cache
def boot_id() -> str:
    """Changes with every start of the machine, so that a record from before is never taken for a process of now."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


class _Status(NamedTuple):
    """What proc_pid_stat(5) says."""

    state: str
    parent: int
    threads: int
    started: int  # clock ticks since boot

    @property
    def has_ended(self) -> bool:
        """Whether nothing of it runs. A zombie may have other threads that still hold its sockets and files."""
        return self.state in "ZX" and self.threads <= 1


def _status(pid: int) -> _Status | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text[text.rindex(")") + 2 :].split()  # from the third on; the name before may hold blanks and brackets
    return _Status(fields[0], int(fields[1]), int(fields[17]), int(fields[19]))


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """One process, told from a later one with the same id by when it started."""

    pid: int
    started: int  # clock ticks since boot
    boot: str

    @classmethod
    def of(cls, pid: int) -> ProcessIdentity | None:
        """The process that has ``pid`` now; None if there is none."""
        status = _status(pid)
        return cls(pid, status.started, boot_id()) if status else None

    @property
    def is_alive(self) -> bool:
        """Whether that very process still runs (a zombie does not)."""
        status = _status(self.pid)
        if status is None or status.has_ended:
            return False
        return status.started == self.started and self.boot == boot_id()

    def send(self, number: signal.Signals) -> None:
        """Signal the process; nothing happens if it is gone."""
        if self.is_alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def descendants(self) -> list[ProcessIdentity]:
        """Children, their children and so on, as they are now."""
        children: dict[int, list[ProcessIdentity]] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and (status := _status(int(entry.name))):
                child = ProcessIdentity(int(entry.name), status.started, boot_id())
                children.setdefault(status.parent, []).append(child)
        found: list[ProcessIdentity] = []
        pending = [self.pid]
        while pending:
            born = children.get(pending.pop(), [])
            found += born
            pending += [child.pid for child in born]
        return found


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    """What is written down about a server that was started, so that another process can find and stop it.

    In a copy of its folder a record means nothing: the server runs in the original.
    """

    process: ProcessIdentity
    port: int

    def write(self, path: Path) -> None:
        """Replace ``path`` in one step."""
        temporary = path.with_name(f"{path.name}.{os.getpid()}")
        temporary.write_text(json.dumps({**asdict(self), "folder": path.parent.stat().st_ino}))
        temporary.replace(path)

    @classmethod
    def read(cls, path: Path) -> ProcessRecord | None:
        """The record in ``path``; None if there is none, it cannot be read as one, or is of another folder."""
        try:
            fields = json.loads(path.read_text())
            if fields.get("folder") not in (None, path.parent.stat().st_ino):
                return None
            return cls(ProcessIdentity(**fields["process"]), int(fields["port"]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None


def spawn(command: list[str], environment: Mapping[str, str], log_file: Path) -> int:
    """Start a process that outlives this one, with its output appended to a file; its id.

    It gets a session of its own, so that neither Ctrl-C in the terminal nor the end of the starting command reaches it.
    ``subprocess.Popen`` does not fit: it warns of a process that goes on.
    """
    inherited = [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    return os.posix_spawn(
        "/usr/bin/env",
        ["env", "-C", "/", *command],
        dict(environment),
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log_file), flags, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
            # Whoever reads the other end of a pipe we were given would wait for the server's end, not for ours.
            *((os.POSIX_SPAWN_CLOSE, number) for number in inherited if number > 2),
        ],
        setsid=True,
        setsigmask=[],
        setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],  # which Python ignores, and children would too
    )


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Ask ``condition`` again and again, at once at first and then less often, until it holds or the time is up."""
    deadline = time.monotonic() + seconds
    pause = 0.005
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)
    return True


def all_gone(processes: Iterable[ProcessIdentity]) -> bool:
    """Whether none of ``processes`` runs any more."""
    return not any(process.is_alive for process in processes)
