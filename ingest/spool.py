"""A durable log on this machine for what the database cannot take now.

Where a spool is configured, an outage of the database longer than a few seconds sends deliveries here instead of
holding them: each batch is one fsynced SQLite transaction, and is acked once that returned. When the database is back
the entries go through the pipeline in the order they arrived, before anything newer.

Exactly once, whatever is killed when: before a batch of entries is committed, the token of that transaction is noted
here (``mark``); once it is known to be committed the entries are removed (``forget``). Whoever finds a mark at start
asks the database whether that token was committed (``storage.writer.Store.resolve``).
"""

from __future__ import annotations

import asyncio
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Self, TypeVar

from ingest.spool_file import OVERHEAD, SpoolFile, SpoolRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from uuid import UUID

    from ingest.delivery import Delivery
    from ingest.salvage import Salvage
    from ingest.spool_file import Entries

T = TypeVar("T")


class SpoolFull(Exception):  # noqa: N818  # a state, not a fault
    """The bound is reached, or the disk is full or fails: nothing was written, and it may be tried again."""


class Spool:
    """One file, one process. Every method may be awaited from one event loop only.

    Args:
        path: of the file (``ingest.spool_file``); made if absent.
        max_bytes: of payloads, with an allowance for each entry.
    """

    def __init__(self, path: Path, max_bytes: int = 2**30) -> None:
        self.path = path
        self.max_bytes = max_bytes
        self.entries = 0
        self.messages = 0
        self.bytes = 0
        self._file = SpoolFile(path, max_bytes)
        self._opened = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spool")

    async def open(self) -> None:
        """Open or make the file, and count what is in it. Open already, it does nothing.

        Of a file that is damaged everything that can be read goes into a new one; see ``salvaged``.

        Raises:
            SpoolRefused: it cannot be read or written, is in use by another process, or not a spool.
        """
        if self._opened:
            return
        try:
            self.entries, self.messages, self.bytes = await self._call(self._file.open)
        except sqlite3.Error as exc:
            await self.close()
            raise SpoolRefused(f"spool {self.path}: {_why(exc)}") from exc
        except OSError as exc:
            await self.close()
            raise SpoolRefused(f"spool {self.path}: {exc.strerror}") from exc
        except SpoolRefused:
            await self.close()
            raise
        self._opened = True

    async def close(self) -> None:
        """Release the file. Safe to repeat."""
        if self._file.opened:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._file.close)
        self._thread.shutdown(wait=False)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    @property
    def salvaged(self) -> Salvage | None:
        """What was done about damage as it was opened."""
        return self._file.salvaged

    @property
    def full(self) -> bool:
        return self.bytes >= self.max_bytes

    async def append(self, deliveries: Sequence[Delivery], token: UUID | None = None) -> int:
        """Write deliveries durably, all or none. After it returns they may be acked.

        Args:
            deliveries: in the order of their arrival.
            token: of a transaction that may hold everything up to the last of them: ``mark``, in one with it.

        Returns:
            The number of the last entry.

        Raises:
            SpoolFull: nothing was written.
        """
        size = _size(deliveries)
        if self.bytes + size > self.max_bytes:
            raise SpoolFull(f"spool {self.path}: {self.max_bytes} bytes are used")
        seq = await self._write(lambda: self._file.append(deliveries, token))
        self.entries += len(deliveries)
        self.messages += sum(d.messages for d in deliveries)
        self.bytes += size
        return seq

    async def first(self, max_messages: int) -> Entries:
        """The oldest entries, up to ``max_messages`` (but at least one entry); they stay until ``forget``.

        An entry whose checksum is wrong comes as ``Delivery.damaged``.
        """
        return await self._call(lambda: self._file.first(max_messages))

    async def mark(self, token: UUID, seq: int) -> None:
        """Note, durably, that the transaction with this token holds everything up to entry ``seq``.

        Raises:
            SpoolFull: nothing was written.
        """
        await self._write(lambda: self._file.mark(token, seq))

    async def marked(self) -> tuple[UUID, int] | None:
        """The mark, if there is one whose entries are still here."""
        return await self._call(self._file.marked)

    async def forget(self, seq: int) -> None:
        """Remove every entry up to ``seq``, and then the mark.

        Raises:
            SpoolFull: some of them, or the mark, are still there.
        """
        entries, messages, size = await self._call(lambda: self._file.counts(seq))
        try:
            await self._write(lambda: self._file.forget(seq))
        except SpoolFull:
            self.entries, self.messages, self.bytes = await self._call(self._file.counts)
            raise
        self.entries -= entries
        self.messages -= messages
        self.bytes -= size

    async def by_source(self, after: int = 0, until: int = 2**62) -> dict[str, int]:
        """Messages that wait, by source, of the entries numbered above ``after`` and up to ``until``."""
        return await self._call(lambda: self._file.by_source(after, until))

    async def latest(self) -> int:
        """``received_at`` of the newest entry, microseconds; 0 if there is none."""
        return await self._call(self._file.latest)

    # --- by the thread

    async def _write(self, function: Callable[[], T]) -> T:
        try:
            return await self._call(function)
        except sqlite3.OperationalError as exc:  # the disk is full, or fails: the caller holds what it has
            raise SpoolFull(f"spool {self.path}: {_why(exc)}") from exc

    async def _call(self, function: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, function)
        except sqlite3.DatabaseError as exc:
            if type(exc) is sqlite3.DatabaseError:  # the file is damaged: the next start sees to it
                raise SpoolRefused(f"spool {self.path}: {_why(exc)}") from exc
            raise


def _size(deliveries: Sequence[Delivery]) -> int:
    return sum(len(d.payload) + OVERHEAD for d in deliveries)


def _why(exc: sqlite3.Error) -> str:
    if "locked" in str(exc):
        return "in use by another process"
    return " ".join(str(exc).split())
