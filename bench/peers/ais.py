"""AIS logs by pyais, libais and gpsdecode: each takes a file and gives how many messages it decoded."""

from __future__ import annotations

import subprocess
import warnings
from typing import TYPE_CHECKING, Any

from pyais.exceptions import AISBaseException
from pyais.stream import FileReaderStream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def pyais_messages(path: Path) -> Iterator[Any]:
    """pyais: its file reader, which assembles, and decode(); what cannot be decoded is passed over."""
    with FileReaderStream(path) as stream:
        for sentence in stream:
            try:
                yield sentence.decode()
            except AISBaseException:
                continue


def pyais_file(path: Path) -> int:
    """See `pyais_messages`."""
    return sum(1 for _ in pyais_messages(path))


def libais_file(path: Path) -> int:
    """libais: its own file queue, which knows TAG blocks, checksums and fragments; decoding in C++."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # it announces its own end, since years
        from ais import stream  # noqa: PLC0415  # optional

    with path.open(encoding="latin-1") as lines:
        return sum(1 for _ in stream.decode(lines, keep_nmea=False))


def gpsdecode_file(path: Path) -> int:
    """Gpsdecode of gpsd, a process of its own: JSON lines of what it understood."""
    with path.open("rb") as log:
        done = subprocess.run(  # fixed command
            ["gpsdecode", "-j", "-u"],  # noqa: S607  # the user's own
            stdin=log,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=True,
        )
    return done.stdout.count(b"\n")
