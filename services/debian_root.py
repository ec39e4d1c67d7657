"""A private Debian 13 in one folder, with the servers in it: nothing of the machine's own system is touched."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from services import mirror
from services.errors import ServicesUnavailable
from services.home import home as default_home

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Progress = Callable[[str], None]

SUITE: Final = "trixie"
PACKAGES: Final = ("postgresql-17-timescaledb", "mosquitto", "prometheus", "prometheus-alertmanager")
KEYRINGS: Final = tuple(Path("/usr/share/keyrings") / f"{mirror.DEBIAN_KEYRING}{end}" for end in (".gpg", ".pgp"))
MADE: Final = "made.json"  # in the root: what it was made of; its presence says that the root is whole
REPORT_EVERY: Final = 5.0  # seconds


@dataclass(frozen=True, slots=True)
class User:
    """A user of the private root, by number: the machine's own users may have other numbers."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class DebianRoot:
    """A finished private root."""

    path: Path

    @property
    def is_whole(self) -> bool:
        """Whether it was made to the end."""
        return (self.path / MADE).is_file()

    @property
    def services_folder(self) -> Path:
        """Where servers keep their folders: inside of the root, since that is all they can see."""
        return self.path / "srv"

    def inside(self, path: Path) -> str:
        """The name that ``path`` has for a process inside of the root.

        Raises:
            ValueError: it is not in the root.
        """
        return f"/{path.relative_to(self.path)}"

    def user(self, name: str) -> User:
        """A user of the root's own ``/etc/passwd``.

        Raises:
            ServicesUnavailable: the root has no such user, so it is not whole.
        """
        for line in (self.path / "etc/passwd").read_text().splitlines():
            fields = line.split(":")
            if fields[0] == name:
                return User(name, int(fields[2]), int(fields[3]))
        raise ServicesUnavailable(f"{self.path} has no user {name}: remove the folder, it is made anew")

    def command(self, user: User, *command: str) -> list[str]:
        """``command`` inside of the root as ``user``, without further groups or privileges to gain."""
        drop = ["setpriv", f"--reuid={user.uid}", f"--regid={user.gid}", "--clear-groups", "--no-new-privs", "--"]
        return ["chroot", str(self.path), *drop, *command]


def obtain(home: Path | None = None, *, progress: Progress = lambda _: None) -> DebianRoot:
    """The private root below ``home``, made first if it is not there: some 50 seconds and 1 GB.

    Safe to call again, from several processes too: one makes it, the others wait. A root is made under another name
    and renamed when whole, so that an interruption leaves nothing half made in its place.

    Args:
        home: the folder to keep it in; `services.home.home` without one.
        progress: told what happens, one line at a time, while it is made.

    Raises:
        ServicesUnavailable: no root rights, no Debian, or the installation failed.
    """
    home = (home or default_home()).resolve()
    root = DebianRoot(home / "root")
    if os.geteuid() != 0:
        raise ServicesUnavailable("a private Debian needs root rights to be made and entered")
    if root.is_whole:
        return root
    archive = mirror.debian_archive(mirror.read_sources())
    if archive is None or shutil.which("apt-get") is None:
        raise ServicesUnavailable("this is no Debian: its apt sources name no Debian archive")
    home.mkdir(mode=0o755, parents=True, exist_ok=True)
    with _only_one(home / "root.lock", progress):
        if not root.is_whole:
            _make(root.path, archive, progress)
    return root


@contextmanager
def _only_one(lock_file: Path, progress: Progress) -> Iterator[None]:
    with lock_file.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("waiting for another process that makes the private Debian")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _make(final: Path, archive: str, progress: Progress) -> None:
    tools, keyring = _tools(progress)
    building = final.with_name(f"{final.name}.building")
    for leftover in (building, final):
        if leftover.exists():
            progress(f"removing what an interrupted installation left in {leftover}")
            remove_tree(leftover)
    log_file = final.with_name("debootstrap.log")
    progress(f"installing Debian {SUITE} with {', '.join(PACKAGES)} into {final} (about a minute, log: {log_file})")
    began = time.monotonic()
    command = [
        *(tools, "--variant=minbase", f"--include={','.join(PACKAGES)}", f"--keyring={keyring}"),
        *(SUITE, str(building), archive),
    ]
    steps = _run_reporting(command, log_file, progress)
    (building / "etc/apt/sources.list").unlink(missing_ok=True)  # the root is never updated: it is made anew
    shutil.rmtree(building / "var/cache/apt/archives", ignore_errors=True)
    shutil.rmtree(building / "var/lib/postgresql/17", ignore_errors=True)  # a cluster the package made, never used
    (building / MADE).write_text(json.dumps({"suite": SUITE, "packages": PACKAGES}))
    building.rename(final)
    progress(f"Debian is ready: {steps} steps in {time.monotonic() - began:.0f} s")


def _tools(progress: Progress) -> tuple[str, Path]:
    """The paths of debootstrap and of Debian's keyring, both installed if missing."""
    tool = shutil.which("debootstrap", path=_SYSTEM_PATH)
    keyring = next((path for path in KEYRINGS if path.is_file()), None)
    if tool is None or keyring is None:
        progress("installing debootstrap")
        environment = _environment()
        packages = ["debootstrap", mirror.DEBIAN_KEYRING]
        for arguments in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
            done = subprocess.run(  # noqa: S603  # fixed arguments
                ["apt-get", "-qq", *arguments],  # noqa: S607  # found on a fixed PATH
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode != 0:
                raise ServicesUnavailable(f"apt-get {arguments[0]} failed: {_last_line(done.stderr)}")
        tool = shutil.which("debootstrap", path=_SYSTEM_PATH)
        keyring = next((path for path in KEYRINGS if path.is_file()), None)
    if tool is None or keyring is None:
        raise ServicesUnavailable("debootstrap and Debian's keyring could not be installed")
    return tool, keyring


def _run_reporting(command: list[str], log_file: Path, progress: Progress) -> int:
    """Run debootstrap, telling where it is every few seconds; the number of its steps.

    Raises:
        ServicesUnavailable: it failed; the message holds its last line.
    """
    steps = 0
    reported = time.monotonic()
    last = ""
    with (
        log_file.open("w") as log,
        subprocess.Popen(  # noqa: S603  # fixed arguments, and the archive apt itself trusts
            command,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            umask=0o022,  # servers run as other users than root, and must be able to read it
        ) as process,
    ):
        assert process.stdout is not None
        try:
            for line in process.stdout:
                log.write(line)
                steps += 1
                last = line.strip() or last
                if time.monotonic() - reported >= REPORT_EVERY:
                    reported = time.monotonic()
                    progress(f"  {last.removeprefix('I: ')}")
        except BaseException:
            process.terminate()
            raise
    if process.returncode != 0:
        raise ServicesUnavailable(f"debootstrap failed: {last} (log: {log_file})")
    return steps


def remove_tree(path: Path) -> None:
    """Delete a root, made or half made, after letting go of what debootstrap mounted in it.

    Raises:
        ServicesUnavailable: something stays mounted in it; nothing was deleted.
    """
    for mounted in reversed(_mounts_below(path)):
        subprocess.run(["umount", mounted], check=False, capture_output=True)  # noqa: S603, S607  # on a fixed PATH
    if still := _mounts_below(path):
        raise ServicesUnavailable(f"{still[0]} is mounted: unmount it and try again")
    shutil.rmtree(path)


def _mounts_below(path: Path) -> list[str]:
    """Mount points in and at ``path``, outer ones first (proc_pid_mounts(5): blanks are written as octal escapes)."""
    names = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    points = [name.encode().decode("unicode_escape") for name in names]
    return sorted(point for point in points if Path(point).is_relative_to(path))


def _environment() -> dict[str, str]:
    proxies = {name: value for name, value in os.environ.items() if name.lower() in {"http_proxy", "https_proxy"}}
    return {"PATH": _SYSTEM_PATH, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive", "HOME": "/root", **proxies}


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "no message")


_SYSTEM_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
