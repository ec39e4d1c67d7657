"""A disk so small that a test can fill it: a tmpfs of its own. Needs root rights, as the private Debian does."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Self

from services.server import make_open, own

if TYPE_CHECKING:
    from types import TracebackType

_FILLER = "filler"
_CHUNK = 1 << 16


class SmallDisk:
    """``with SmallDisk(folder, megabytes, uid, gid) as disk``: mounted on ``folder``, which belongs to that user."""

    def __init__(self, folder: Path, megabytes: int, uid: int, gid: int) -> None:
        self.folder = folder
        self._megabytes = megabytes
        self._owner = uid, gid

    def __enter__(self) -> Self:
        make_open(self.folder)
        options = f"size={self._megabytes}m,mode=0700"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.folder)], check=True)
        own(self.folder, *self._owner, 0o700)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        unmount(self.folder)

    def fill(self) -> None:
        """Leave no room at all."""
        with (self.folder / _FILLER).open("ab", buffering=0) as filler:
            size = _CHUNK
            while size:
                try:
                    filler.write(bytes(size))
                except OSError:
                    size //= 2

    def free(self) -> None:
        """Give back what `fill` took."""
        (self.folder / _FILLER).unlink(missing_ok=True)


def mounted_below(folder: Path) -> list[Path]:
    """Where something is mounted below a folder."""
    points = [Path(line.split()[1]) for line in Path("/proc/self/mounts").read_text().splitlines()]
    return [point for point in points if point.is_relative_to(folder.resolve())]


def unmount(folder: Path) -> None:
    """At once, or as soon as nobody uses it any more."""
    subprocess.run(["umount", "--lazy", str(folder)], check=False, capture_output=True)
