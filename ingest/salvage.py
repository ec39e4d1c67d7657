"""What can still be read of a damaged spool, brought into a new one: one bad page is no reason to store nothing.

SQLite reads a table page by page, so that what lies on sound pages is found by its number. Numbers that cannot be read
become one entry without payload for each run of them, to be quarantined: what was lost is told, and where.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_COLUMNS: Final = "source, origin, received_at, messages, per_line, line, size, redelivered, payload, checksum"
_AFTER: Final = f"SELECT seq, {_COLUMNS} FROM entries WHERE seq > ? ORDER BY seq"  # noqa: S608  # of constants
_ONE: Final = f"SELECT {_COLUMNS} FROM entries WHERE seq = ?"  # noqa: S608  # likewise
_PUT: Final = f"INSERT INTO entries (seq, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608  # likewise
#: Of what cannot be read nothing is known. A checksum that no entry has marks it as damaged.
_UNKNOWN: Final[tuple[Any, ...]] = ("spool", "", 0, 1, 0, 0, 0, 0, b"", b"")


@dataclass(slots=True, frozen=True)
class Salvage:
    """What became of a damaged spool."""

    fault: str  # what SQLite said, in one line
    entries: int  # that were read
    unreadable: int  # numbers that could not be
    kept: Path  # the damaged file


def copy(damaged: sqlite3.Connection, new: sqlite3.Connection) -> tuple[int, int]:
    """Copy entries, under their numbers, and the mark; how many entries, and how many numbers could not be read.

    Raises:
        sqlite3.DatabaseError: nothing can be read at all, or the new one not be written.
    """
    (last,) = damaged.execute("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'entries'").fetchone()
    read = unreadable = 0
    before: tuple[Any, ...] = _UNKNOWN
    run: list[int] = []
    new.execute("BEGIN IMMEDIATE")
    for seq, row in _numbers(damaged, last):
        if row is None:
            run.append(seq)
            continue
        if run:
            unreadable += len(run)
            _lost(new, run, before)
            run = []
        _put(new, seq, row)
        read, before = read + 1, row
    if run:
        unreadable += len(run)
        _lost(new, run, before)
    new.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = 'entries'", (last,))
    try:
        marks = damaged.execute("SELECT token, seq FROM mark").fetchall()
    except sqlite3.DatabaseError:
        marks = []  # what it stood for comes once more, and changes nothing
    new.executemany("INSERT INTO mark VALUES (1, ?, ?)", marks)
    new.execute("COMMIT")
    return read, unreadable


def _numbers(damaged: sqlite3.Connection, last: int) -> Iterator[tuple[int, tuple[Any, ...] | None]]:
    """Every number there is an entry of, and the entry; None where it cannot be read."""
    seq = 0
    while seq < last:
        try:
            for found, *row in damaged.execute(_AFTER, (seq,)):
                yield found, tuple(row)
                seq = found
        except sqlite3.DatabaseError:
            pass
        else:
            return
        # The next one, or the gap before it, lies on a bad page: number by number, until one can be read.
        while seq < last:
            seq += 1
            try:
                one = damaged.execute(_ONE, (seq,)).fetchone()
            except sqlite3.DatabaseError:
                yield seq, None
                continue
            if one is not None:
                yield seq, one
                break


def _lost(new: sqlite3.Connection, run: list[int], before: tuple[Any, ...]) -> None:
    """One entry for numbers that cannot be read, of the source that the last readable one came from."""
    source, _, received_at, *_ = before
    row = (source, f"spool, entries {run[0]} to {run[-1]}", received_at, *_UNKNOWN[3:])
    _put(new, run[0], row)


def _put(new: sqlite3.Connection, seq: int, row: tuple[Any, ...]) -> None:
    new.execute(_PUT, (seq, *row))
