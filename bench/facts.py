"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Final

_PACKAGES: Final = ("numpy", "shapely", "psycopg", "pyais", "aiomqtt", "orjson", "msgspec", "pydantic", "uvloop")


def processor() -> str:
    """The CPU model, as Linux names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0))


def versions() -> dict[str, str]:
    """Of Python and the libraries that matter, and the commit of this checkout."""
    found = {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}}
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty"],  # noqa: S607  # the user's own
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return {"haidang": described.stdout.strip() or version("haidang"), **found}
