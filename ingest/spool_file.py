"""The file of a spool: SQLite, one thread at a time.

SQLite in WAL mode with ``synchronous=FULL`` rather than a format of our own: an entry is there entirely or not at all.
Its pages carry no checksum, so every entry has one.

Taking something out writes, too. So that a disk which others have filled does not keep us from that, a reserve of it is
ours from the start (the file ``-reserve``), and is given up when it is needed.
"""

from __future__ import annotations

import os
import sqlite3
import struct
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import blake2b
from itertools import count
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from decoders.times import EARLIEST, LATEST
from ingest.delivery import Delivery
from ingest.salvage import Salvage, copy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

_VERSION: Final = 1
#: What an entry takes on disk beside its payload, about: columns, checksum, and its share of page and index.
OVERHEAD: Final = 128
#: Bytes kept for what takes entries out: marks, and the removal of a few entries at a time.
_RESERVE: Final = 4 * 2**20
#: So many entries are removed at a time, or fewer, where there is no room to remove all of a batch.
_SOME: Final = 1024
#: A file that has grown beyond this is made small again when it is empty.
_SHRINK_FROM: Final = 64 * 2**20

_SCHEMA: Final = """
CREATE TABLE entries (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, -- never given twice, so that a mark names its entries for ever
    source TEXT NOT NULL,
    origin TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    messages INTEGER NOT NULL,
    per_line INTEGER NOT NULL,
    line INTEGER NOT NULL,
    size INTEGER NOT NULL,
    redelivered INTEGER NOT NULL,
    payload BLOB NOT NULL,
    checksum BLOB NOT NULL
);
CREATE TABLE mark (only INTEGER PRIMARY KEY CHECK (only = 1), token BLOB NOT NULL, seq INTEGER NOT NULL);
"""


_MAKE: Final = f"BEGIN; {_SCHEMA} PRAGMA user_version={_VERSION}; COMMIT;"
_MARK: Final = "INSERT OR REPLACE INTO mark VALUES (1, ?, ?)"


class SpoolRefused(Exception):  # noqa: N818  # named for what is known
    """The file cannot serve as a spool: ``str()`` says why in one line."""


@dataclass(slots=True, frozen=True)
class Entries:
    """The oldest entries: the deliveries, and the number of the last one."""

    deliveries: list[Delivery]
    seq: int


class SpoolFile:
    """Whatever fails at SQLite or on the disk is raised as it is: ``sqlite3.Error``, ``OSError``. Of an ``append`` or a
    ``mark`` nothing was written then; a ``forget`` may have removed some.

    Args:
        path: of the file; made if absent. ``-wal`` and ``-shm`` files stand beside it while it is open, and
            ``-reserve``.
        max_bytes: the reserve takes no more.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._database: sqlite3.Connection | None = None
        self.salvaged: Salvage | None = None  # what was done about damage as it was opened

    @property
    def opened(self) -> bool:
        return self._database is not None

    def open(self) -> tuple[int, int, int]:
        """Open or make it, if it is not open; entries, messages and bytes in it.

        Raises:
            SpoolRefused: it is not a spool.
            sqlite3.Error, OSError: it cannot be read or written, or is in use.
        """
        if self._database is None:
            self._open()
        return self.counts()

    def close(self) -> None:
        database, self._database = self._database, None
        if database is not None:
            database.close()

    @property
    def database(self) -> sqlite3.Connection:
        assert self._database is not None, "the spool is not open"
        return self._database

    def _open(self) -> None:
        # Messages may hold what only we may read: no rights for others.
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        self._database = _connect(self.path)
        (version,) = self.database.execute("PRAGMA user_version").fetchone()
        (tables,) = self.database.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if version == 0 and tables == 0:
            self.database.executescript(_MAKE)
        elif version != _VERSION:
            raise SpoolRefused(f"spool {self.path}: not a spool of this program (user_version {version})")
        if fault := _fault(self.database):
            self._salvage(fault)
        self._reserve()

    def _salvage(self, fault: str) -> None:
        """Go on with a new file that has what can be read of this one, which is kept beside it."""
        self.database.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # all is in the one file now
        new = self.path.with_name(self.path.name + "-new")
        for file in (new, new.with_name(new.name + "-wal")):
            file.unlink(missing_ok=True)
        os.close(os.open(new, os.O_RDWR | os.O_CREAT, 0o600))
        database = _connect(new)
        try:
            database.executescript(_MAKE)
            entries, unreadable = copy(self.database, database)
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            database.close()
        self.database.close()
        self.path.with_name(self.path.name + "-wal").unlink(missing_ok=True)
        kept = next(p for n in count(1) if not (p := self.path.with_name(f"{self.path.name}-damaged-{n}")).exists())
        kept.hardlink_to(self.path)
        new.replace(self.path)
        _sync(self.path.parent)
        self._database = _connect(self.path)
        self.salvaged = Salvage(fault, entries, unreadable, kept)

    def counts(self, until: int = 2**62) -> tuple[int, int, int]:
        """Entries, messages and bytes up to an entry."""
        entries, messages, size = self.database.execute(
            "SELECT count(*), coalesce(sum(messages), 0), coalesce(sum(length(payload)), 0) FROM entries"
            " WHERE seq <= ?",
            (until,),
        ).fetchone()
        return entries, messages, size + entries * OVERHEAD

    def append(self, deliveries: Sequence[Delivery], token: UUID | None) -> int:
        """Write deliveries, and a mark up to the last of them, all or none; the number of the last."""
        with self._transaction() as database:
            cursor = database.executemany(
                "INSERT INTO entries (source, origin, received_at, messages, per_line, line, size, redelivered,"
                " payload, checksum) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                map(_row, deliveries),
            )
            cursor.execute("SELECT max(seq) FROM entries")
            seq = int(cursor.fetchone()[0])
            if token is not None:
                database.execute(_MARK, (token.bytes, seq))
            return seq

    def first(self, max_messages: int) -> Entries:
        """The oldest entries, up to so many messages, but at least one."""
        deliveries: list[Delivery] = []
        last, messages = 0, 0
        cursor = self.database.execute(
            "SELECT seq, source, origin, received_at, messages, per_line, line, size, redelivered, payload, checksum"
            " FROM entries ORDER BY seq"
        )
        for seq, *row, checksum in cursor:
            delivery = _delivery(row) if _checksum(row) == checksum else _damaged(row)
            if deliveries and messages + delivery.messages > max_messages:
                break
            deliveries.append(delivery)
            messages += delivery.messages
            last = seq
        cursor.close()
        return Entries(deliveries, last)

    def mark(self, token: UUID, seq: int) -> None:
        """Note that the transaction with this token holds everything up to an entry."""
        self._thrifty(lambda: self._mark(token, seq))

    def marked(self) -> tuple[UUID, int] | None:
        """The mark, if there is one whose entries are still here."""
        row = self.database.execute(
            "SELECT token, seq FROM mark WHERE EXISTS (SELECT 1 FROM entries WHERE entries.seq <= mark.seq)"
        ).fetchone()
        return (UUID(bytes=row[0]), row[1]) if row is not None else None

    def by_source(self, after: int, until: int) -> dict[str, int]:
        """Messages by source, of the entries numbered above ``after`` and up to ``until``."""
        query = "SELECT source, sum(messages) FROM entries WHERE seq > ? AND seq <= ? GROUP BY source"
        return dict(self.database.execute(query, (after, until)).fetchall())

    def latest(self) -> int:
        """``received_at`` of the newest entry, microseconds; 0 if there is none."""
        row = self.database.execute("SELECT received_at FROM entries ORDER BY seq DESC LIMIT 1").fetchone()
        return row[0] if row is not None and isinstance(row[0], int) else 0

    def forget(self, seq: int) -> None:
        """Remove every entry up to a number, and then the mark."""
        self._thrifty(lambda: self._remove(seq), lambda: self._remove_in_steps(seq))
        if self.database.execute("SELECT 1 FROM entries LIMIT 1").fetchone() is None:
            if self.path.stat().st_size > _SHRINK_FROM:
                self.database.execute("VACUUM")
                self.database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._reserve()

    def _mark(self, token: UUID, seq: int) -> None:
        with self._transaction() as database:
            database.execute(_MARK, (token.bytes, seq))

    def _remove(self, seq: int) -> None:
        with self._transaction() as database:
            database.execute("DELETE FROM entries WHERE seq <= ?", (seq,))
            database.execute("DELETE FROM mark")

    def _remove_in_steps(self, seq: int) -> None:
        """The same, as much at a time as there is room for, the mark last: it says that all of it is committed."""
        last, some = 0, _SOME
        while last < seq:
            query = "SELECT max(seq) FROM (SELECT seq FROM entries WHERE seq <= ? ORDER BY seq LIMIT ?)"
            (found,) = self.database.execute(query, (seq, some)).fetchone()
            try:
                with self._transaction() as database:
                    database.execute("DELETE FROM entries WHERE seq <= ?", (found or seq,))
            except sqlite3.OperationalError:
                if some == 1:
                    raise
                some //= 2
            else:
                last = found or seq
            self._fold()
        self._remove(seq)

    # --- room on the disk

    def _thrifty(self, function: Callable[[], None], thriftier: Callable[[], None] | None = None) -> None:
        """Do what takes entries out, whatever the disk has left for others."""
        try:
            function()
        except sqlite3.OperationalError:
            self._reserved.unlink(missing_ok=True)
            self._fold()
            (thriftier or function)()

    def _fold(self) -> None:
        """Bring what the log beside the file holds into the file, whose pages are there already: the log takes none."""
        with suppress(sqlite3.OperationalError):
            self.database.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    @property
    def _reserved(self) -> Path:
        return self.path.with_name(self.path.name + "-reserve")

    def _reserve(self) -> None:
        """Have the reserve, if there is room for it now."""
        if self._reserved.exists():
            return
        file = os.open(self._reserved, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.posix_fallocate(file, 0, min(_RESERVE, self._max_bytes))
        except OSError:  # it is for later: what is needed now may still find room
            self._reserved.unlink()
        finally:
            os.close(file)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing, and on the disk when it ends."""
        database = self.database
        database.execute("BEGIN IMMEDIATE")
        try:
            yield database
            database.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):  # a failed COMMIT may have rolled back already
                database.execute("ROLLBACK")
            raise


def _connect(path: Path) -> sqlite3.Connection:
    """The file, ours alone."""
    database = sqlite3.connect(path, timeout=1.0, isolation_level=None, check_same_thread=False)
    try:
        database.execute("PRAGMA locking_mode=EXCLUSIVE")
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        database.execute("BEGIN EXCLUSIVE")
        database.execute("COMMIT")
    except sqlite3.Error:
        database.close()
        raise
    return database


def _fault(database: sqlite3.Connection) -> str | None:
    """What is wrong with the file, in one line; None: nothing is."""
    try:
        (found,) = database.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.DatabaseError as exc:
        if isinstance(exc, sqlite3.OperationalError):
            raise
        found = str(exc)
    return None if found == "ok" else " ".join(str(found).split())


def _sync(folder: Path) -> None:
    """What is called what in a folder is on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _row(delivery: Delivery) -> tuple[Any, ...]:
    row = (
        delivery.source,
        delivery.origin,
        delivery.received_at,
        delivery.messages,
        int(delivery.per_line),
        delivery.line,
        delivery.size,
        int(delivery.redelivered),
        delivery.payload,
    )
    return (*row, _checksum(row))


def _delivery(row: Sequence[Any]) -> Delivery:
    source, origin, received_at, messages, per_line, line, size, redelivered, payload = row
    return Delivery(
        payload,
        source,
        origin,
        received_at,
        messages=messages,
        per_line=bool(per_line),
        line=line,
        size=size,
        redelivered=bool(redelivered),
    )


def _damaged(row: Sequence[Any]) -> Delivery:
    """What is left of an entry, whatever its columns have become."""
    source, origin, received_at, messages, *_, payload = row
    raw = payload if isinstance(payload, bytes) else str(payload).encode("utf-8", "backslashreplace")
    at = received_at if isinstance(received_at, int) and EARLIEST <= received_at <= LATEST else EARLIEST
    many = messages if isinstance(messages, int) and 0 < messages <= len(raw) + 1 else 1
    return Delivery(raw, str(source), str(origin), at, messages=many, damaged=True)


def _checksum(row: Sequence[Any]) -> bytes:
    """Of every column; what is no longer of its type has another one."""
    source, origin, *numbers, payload = row
    try:
        head = struct.pack("<6q", *numbers)
        text = f"{len(source)} {source} {len(origin)} {origin}".encode()
        return blake2b(head + text + b"\0" + payload, digest_size=8).digest()
    except (struct.error, TypeError, UnicodeEncodeError):
        return b""
