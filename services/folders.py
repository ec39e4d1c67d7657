"""Where servers of a passing session (tests, a benchmark) live, and how what a killed session left is cleared away."""

from __future__ import annotations

import os
import re
import shutil
from signal import SIGKILL
from typing import TYPE_CHECKING

from services.processes import ProcessIdentity, ProcessRecord, all_gone, boot_id, wait_until
from tests.servers import small_disk

if TYPE_CHECKING:
    from pathlib import Path


def own(base: Path, kind: str) -> Path:
    """A folder below ``base`` named for the kind of session and this process, made now."""
    me = ProcessIdentity.of(os.getpid())
    assert me is not None
    folder = base / f"{kind}-{me.pid}-{me.started}"
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    return folder


def sweep(base: Path, kind: str) -> list[Path]:
    """Kill the servers and delete the folders below ``base`` of sessions of a kind that are no more; the folders."""
    swept = []
    for folder in base.glob(f"{kind}-*"):
        name = re.fullmatch(r"(\d+)-(\d+)", folder.name.removeprefix(f"{kind}-"))
        if name is None or ProcessIdentity(int(name[1]), int(name[2]), boot_id()).is_alive:
            continue  # named by somebody else, or in use
        clear(folder)
        swept.append(folder)
    return swept


def clear(folder: Path) -> None:
    """Kill every server whose record is below ``folder``, and delete the folder."""
    for record_file in folder.glob("*/process.json"):
        if (record := ProcessRecord.read(record_file)) and record.process.is_alive:
            family = [record.process, *record.process.descendants()]
            for member in family:
                member.send(SIGKILL)
            wait_until(lambda family=family: all_gone(family), 10)  # type: ignore[misc]
    for mounted in small_disk.mounted_below(folder):
        small_disk.unmount(mounted)
    shutil.rmtree(folder, ignore_errors=True)  # another session may be sweeping it too
