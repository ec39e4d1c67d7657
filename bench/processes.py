"""Processes of contestants: started, waited for, ended, and what CPU time they took."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx

from services import ports
from services.processes import ProcessIdentity, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_CHECKOUT: Final = Path(__file__).resolve().parent.parent
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_READY_S: Final = 120.0
_STOP_S: Final = 60.0


class Failed(Exception):  # noqa: N818  # named for what is known
    """A contestant that ended or did not do its work; with the end of what it said."""


@dataclass(slots=True, frozen=True)
class Finished:
    """A process that came to its end."""

    output: str
    wall: float  # seconds, start of the process included
    cpu: float  # seconds of the process and its children


def run(command: Sequence[str], folder: Path, **environment: str) -> Finished:
    """Run a command to its end.

    Raises:
        Failed: its exit code is not 0.
    """
    errors = folder / f"stderr-{time.monotonic_ns()}"
    began = time.perf_counter()
    with errors.open("wb") as log:
        process = subprocess.Popen(  # our own command
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=_CHECKOUT,
            env=_environment(environment),
        )
        assert process.stdout is not None
        try:
            output = process.stdout.read().decode()
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            process.wait()
            raise
        finally:
            process.stdout.close()
    wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise Failed(f"{' '.join(command[1:4])}: exit code {process.returncode}: {_end(errors)}")
    return Finished(output, wall, usage.ru_utime + usage.ru_stime)


def cpu_of(pid: int) -> float:
    """CPU seconds that a running process, its children, theirs, and those of them that ended have taken."""
    identity = ProcessIdentity.of(pid)
    family = [pid, *(child.pid for child in identity.descendants())] if identity else [pid]
    ticks = 0
    for member in family:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            ticks += sum(map(int, Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()[11:15]))
    return ticks / _TICKS


def memory_of(pid: int) -> tuple[float, float]:
    """What a process holds in memory now and what it held at most: RSS and its peak, MB (10^6 bytes)."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    now, most = (int(status[name].split()[0]) * 1024 / 1e6 for name in ("VmRSS", "VmHWM"))
    return now, most


@contextmanager
def running(command: Sequence[str], folder: Path, ready: str = "ready") -> Iterator[subprocess.Popen[str]]:
    """A process of ours that says ``ready`` on a line of its own when it is; stopped with SIGTERM at the end.

    Raises:
        Failed: it ended before it was ready.
    """
    errors = folder / f"stderr-{time.monotonic_ns()}"
    with errors.open("wb") as log:
        process = subprocess.Popen(  # our own command
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=_CHECKOUT,
            env=_environment({}),
            text=True,
            start_new_session=True,
        )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        line = process.stdout.readline()
        if line.strip() != ready:
            process.wait(_STOP_S)
            raise Failed(f"{' '.join(command[1:4])} did not start: {line.strip() or _end(errors)}")
        yield process
    finally:
        _stop(process)
        process.stdin.close()
        process.stdout.close()


@dataclass(slots=True, frozen=True)
class RunningService:
    """``haidang run`` in a process of its own."""

    pid: int
    url: str

    def readiness(self) -> dict[str, Any]:
        """What /readyz says."""
        found: dict[str, Any] = httpx.get(f"{self.url}/readyz", timeout=30).json()
        return found


@contextmanager
def service(folder: Path, settings: str, waits: Sequence[str] = ("gateways",)) -> Iterator[RunningService]:
    """``haidang run`` with these settings (TOML, without ``[http]``); stopped at the end.

    ``waits``: the sources that must be connected before it counts as ready.

    Raises:
        Failed: it ended before that.
    """
    port = ports.find_free()
    config, log_file = folder / "haidang.toml", folder / "haidang.log"
    config.write_text(f'{settings}\n[http]\nport = {port}\n\n[service]\nlog_level = "warning"\n')
    command = [sys.executable, "-m", "ingest.cli", "run", "--config", str(config)]
    with log_file.open("wb") as log:
        process = subprocess.Popen(  # our own command
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=_CHECKOUT,
            env=_environment({}),
            start_new_session=True,
        )
    found = RunningService(process.pid, f"http://127.0.0.1:{port}")
    try:

        def ready() -> bool:
            if process.poll() is not None:
                raise Failed(f"haidang run ended: {_end(log_file)}")
            with contextlib.suppress(httpx.HTTPError):
                said = found.readiness()
                return bool(said["ready"] and all(said["sources"][name] for name in waits))
            return False

        if not wait_until(ready, _READY_S):
            raise Failed(f"haidang run was not ready within {_READY_S:.0f} s: {_end(log_file)}")
        yield found
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[Any]) -> None:
    """Ask it to end, then make it; with whatever it started."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _environment(more: dict[str, str]) -> dict[str, str]:
    ours = {key: text for key, text in os.environ.items() if not key.startswith("HAIDANG__")}
    return {**ours, "PYTHONUNBUFFERED": "1", **more}


def _end(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return " | ".join(lines[-3:]) or "it said nothing"


def as_json(text: str) -> dict[str, Any]:
    """The last line of an output."""
    found: dict[str, Any] = json.loads(text.strip().splitlines()[-1])
    return found
