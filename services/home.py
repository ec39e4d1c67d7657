"""The one folder that holds the private root, the data and the logs."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
from pathlib import Path

from services.errors import ServicesUnavailable


def home() -> Path:
    """``$HAIDANG_HOME``; else ``.haidang`` in the checkout this package is run from; else the user's data folder."""
    if chosen := os.environ.get("HAIDANG_HOME"):
        return Path(chosen).expanduser().resolve()
    checkout = Path(__file__).resolve().parent.parent
    if (checkout / "pyproject.toml").is_file():
        return checkout / ".haidang"
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "haidang"


def reachable_by_others(path: Path) -> bool:
    """Whether a user who is neither owner nor in the group can walk down to ``path``."""
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in (path, *path.parents) if folder.exists())


def shared_folder(path: Path) -> Path:
    """``path`` if another user can reach it, else a folder of ours outside of the private directories above it.

    PostgreSQL refuses to run as root, and a checkout below ``/root`` is closed to every other user.

    Raises:
        ServicesUnavailable: somebody else owns the folder that would stand in.
    """
    if os.geteuid() != 0 or reachable_by_others(path):
        return path
    name = hashlib.sha256(os.fsencode(path)).hexdigest()[:12]
    stand_in = Path(tempfile.gettempdir()) / f"haidang-{name}"
    with contextlib.suppress(FileExistsError):
        stand_in.mkdir()
        stand_in.chmod(0o755)  # whatever the umask
    status = stand_in.lstat()
    if status.st_uid != os.geteuid() or not stat.S_ISDIR(status.st_mode) or status.st_mode & 0o022:
        raise ServicesUnavailable(f"{stand_in} is not ours alone")
    return stand_in
