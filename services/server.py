"""What all servers have in common: one process, one folder, one loopback port."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Self

from services import ports
from services.errors import ServerFailed
from services.processes import ProcessIdentity, ProcessRecord, all_gone, spawn, wait_until

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

READY_WITHIN = 60.0  # seconds; a busy machine, and a database that replays its log after a kill
STOPPED_WITHIN = 30.0
PORTS_TRIED = 5
LOG_BYTES = 16 * 1024 * 1024  # a longer log is put aside at the next start, over the one put aside before
LAST_WORDS = 3  # lines of the log that an error shows


class Server(ABC):
    """A server of ours: started in the background, found again by its record, stopped by its identity.

    The folder holds ``process.json`` (who runs, on which port), ``log`` (both output streams, appended) and whatever
    the server keeps. An object made on the folder of a running server finds it running: `start` then only returns.

    Args:
        folder: made if absent; everything the server keeps lives in it.
        port: to listen on; without one the port it last had, or else any free one.
    """

    name: ClassVar[str]
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    def __init__(self, folder: Path, *, port: int | None = None) -> None:
        self.folder = folder.absolute()
        self._wanted_port = port
        self._child: int | None = None  # process id, until reaped
        self._log_start = 0  # where the log stood at the last start

    @abstractmethod
    def _prepare(self, port: int) -> None:
        """Write configuration and data so that `_command` can be run."""

    @abstractmethod
    def _command(self, port: int) -> list[str]:
        """The command that runs the server in the foreground, dropping root itself."""

    @abstractmethod
    def _answers(self, port: int) -> bool:
        """Whether the server on ``port`` does its work; called often, never raises for 'not yet'."""

    @property
    def _environment(self) -> dict[str, str]:
        return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC"}

    @property
    def log_file(self) -> Path:
        return self.folder / "log"

    @property
    def _record_file(self) -> Path:
        return self.folder / "process.json"

    @property
    def process(self) -> ProcessIdentity | None:
        """The running process; None if the server does not run."""
        self._reap()
        record = ProcessRecord.read(self._record_file)
        return record.process if record and record.process.is_alive else None

    @property
    def is_running(self) -> bool:
        return self.process is not None

    @property
    def port(self) -> int:
        """The loopback port it listens on, or last did.

        Raises:
            ServerFailed: it never was started.
        """
        record = ProcessRecord.read(self._record_file)
        if record is None:
            raise ServerFailed(f"{self.name} in {self.folder} was never started")
        return record.port

    def start(self) -> Self:
        """Start it and wait until it answers. Does nothing if it runs already.

        Raises:
            ServerFailed: it ended or did not answer in time.
            ServicesUnavailable: this machine cannot run it.
        """
        if self.is_running:
            if not wait_until(lambda: self._answers(self.port), READY_WITHIN):
                raise ServerFailed(f"{self.name} runs but does not answer on port {self.port}{self._last_words()}")
            return self
        make_open(self.folder)
        self._put_long_log_aside()
        if self._wanted_port is not None and not ports.is_free(self._wanted_port):
            raise ServerFailed(f"{self.name} did not start: port {self._wanted_port} is taken")
        for _ in range(PORTS_TRIED):
            port = self._choose_port()
            self._prepare(port)
            if self._run(port):
                return self
            taken = [one for one in self._ports(port) if not ports.is_free(one)]
            if not taken or self._wanted_port in taken:
                break  # it did not end because another took a port meanwhile
        raise ServerFailed(f"{self.name} did not start{self._last_words()}")

    def stop(self) -> None:
        """Ask it to end, and wait until it has; force it if it takes too long. Does nothing if it does not run."""
        if (process := self.process) is None:
            return
        family = [process, *process.descendants()]
        process.send(self.stop_signal)
        if not self._wait_gone(family, STOPPED_WITHIN):
            self.kill()

    def kill(self) -> None:
        """End it and its children at once (SIGKILL), as a power cut would: nothing is flushed or said goodbye to."""
        if (process := self.process) is None:
            return
        process.send(signal.SIGSTOP)  # so that no child is born between looking and killing
        family = [process, *process.descendants()]
        for member in family:
            member.send(signal.SIGKILL)
        if not self._wait_gone(family, STOPPED_WITHIN):
            raise ServerFailed(f"{self.name} (process {process.pid}) survives SIGKILL")

    def restart(self) -> Self:
        """Stop it if it runs and start it on the same port, with the same data."""
        self.stop()
        return self.start()

    def remove(self) -> None:
        """Stop it and delete its folder."""
        self.stop()
        if self.folder.exists():
            shutil.rmtree(self.folder)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _ports(self, port: int) -> list[int]:
        """All that it listens on."""
        return [port]

    def _choose_port(self) -> int:
        if self._wanted_port is not None:
            return self._wanted_port
        last = ProcessRecord.read(self._record_file)
        return last.port if last and ports.is_free(last.port) else ports.find_free()

    def _run(self, port: int) -> bool:
        """Run the command; True once it answers, False if it ended first."""
        with contextlib.suppress(FileNotFoundError):
            self._log_start = self.log_file.stat().st_size
        self._child = spawn(self._command(port), self._environment, self.log_file)
        identity = ProcessIdentity.of(self._child)
        assert identity is not None  # a child that ended stays a zombie until it is reaped
        ProcessRecord(identity, port).write(self._record_file)
        answered = False

        def ready_or_ended() -> bool:
            nonlocal answered
            answered = self._answers(port)
            return answered or not self.is_running

        try:
            in_time = wait_until(ready_or_ended, READY_WITHIN)
        except BaseException:
            self.kill()  # Ctrl-C while it starts leaves nothing behind
            raise
        if not in_time:
            self.kill()
            raise ServerFailed(f"{self.name} did not answer within {READY_WITHIN:.0f} s{self._last_words()}")
        return answered and self.is_running

    def _wait_gone(self, family: list[ProcessIdentity], seconds: float) -> bool:
        def gone() -> bool:
            self._reap()
            return all_gone(family)

        return wait_until(gone, seconds)

    def _put_long_log_aside(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            if self.log_file.stat().st_size > LOG_BYTES:
                self.log_file.replace(self.log_file.with_name("log.old"))

    def _reap(self) -> None:
        """Take note of the end of our own child, which is a zombie until then."""
        if self._child is not None:
            try:
                ended, _ = os.waitpid(self._child, os.WNOHANG)
            except ChildProcessError:
                ended = self._child
            if ended:
                self._child = None

    def _last_words(self) -> str:
        """The end of a message: what the log says last since the last start, on one line, and where the log is."""
        with contextlib.suppress(OSError), self.log_file.open(errors="replace") as log:
            log.seek(self._log_start)
            lines = [line.strip() for line in log if line.strip()]
            if lines:
                return f": {' | '.join(lines[-LAST_WORDS:])} ({self.log_file})"
        return f" ({self.log_file} says nothing)"


def make_open(folder: Path) -> None:
    """Make a folder, and those above it that are missing, so that other users can walk through, whatever the umask."""
    if not folder.is_dir():
        make_open(folder.parent)
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
            folder.chmod(0o755)


def own(path: Path, uid: int, gid: int, mode: int) -> None:
    """Give one file or folder to a user (where we may) and set its mode."""
    if os.geteuid() == 0:
        os.chown(path, uid, gid, follow_symlinks=False)
    path.chmod(mode)
