"""Rules, zones and registry while the service runs: what has changed is checked, and taken over if it is good."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from alerting import pack
from alerting.pack import PackError
from geofence.geometries import ZoneError
from ingest.watch import rule_book, rule_sources
from storage import readers
from storage.errors import DatabaseAway
from storage.registry import registry_digest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from alerting.pack import RuleBook
    from ingest.settings import Settings

log = structlog.get_logger()


@dataclass(slots=True, frozen=True)
class Seen:
    """By what it is told that something may have changed."""

    files: tuple[tuple[Path, int, int, int], ...]  # with inode, size and time of change
    zones: str  # of the database
    registry: str  # likewise


class Rules:
    """The rule book in force, from the files and packs of the settings and the zones of the database.

    Whatever cannot be used is refused as a whole: the book in force stays, and ``refused`` says why, a line a problem.

    Args:
        settings: all of them.
        on_change: called when another book has come into force.
    """

    def __init__(self, settings: Settings, on_change: Callable[[], None]) -> None:
        self._settings = settings
        self._on_change = on_change
        self._seen: Seen | None = None
        self._asked = asyncio.Event()
        self.book: RuleBook | None = None
        self.refused: tuple[str, ...] = ()
        self._doubts: tuple[str, ...] = ()

    async def get(self) -> RuleBook:
        """The book in force, loaded the first time.

        Raises:
            PackError: a rule or zone file is wrong.
            StorageError: the database cannot be used.
        """
        if self.book is None:
            seen = await self._look()
            self.book = await rule_book(self._settings)
            self._seen = seen
            self._doubt(self.book)
        return self.book

    def look_now(self) -> None:
        """Do not wait for the next look, and load in any case."""
        self._asked.set()

    async def watch(self) -> None:
        """Look for changes until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.rules.reload_seconds):
                    await self._asked.wait()
            try:
                await self._follow()
            except DatabaseAway as exc:
                log.debug("rules_not_looked_at", reason=str(exc))  # the pipeline says so more loudly
                await asyncio.sleep(self._settings.rules.reload_seconds)

    async def _follow(self) -> None:
        seen = await self._look()
        asked = self._asked.is_set()
        self._asked.clear()
        if self.book is None or (seen == self._seen and not asked):  # the first one is for ``get`` to load
            return
        try:
            book = await rule_book(self._settings)
        except (PackError, ZoneError) as exc:
            self._refuse(seen, exc.problems if isinstance(exc, PackError) else (str(exc),))
            return
        self._seen = seen
        self.refused = ()
        self._doubt(book)
        before, after = _versions(self.book), _versions(book)
        if before == after:
            return
        self.book = book
        log.info(
            "rules_changed",
            new=sorted(after.keys() - before.keys()),
            gone=sorted(before.keys() - after.keys()),
            changed=sorted(name for name in before.keys() & after.keys() if before[name] != after[name]),
        )
        self._on_change()

    def _doubt(self, book: RuleBook) -> None:
        """Say what is doubtful, unless it was so before."""
        if book.doubts != self._doubts:
            for doubt in book.doubts:
                log.warning("rules_doubtful", problem=doubt)
        self._doubts = book.doubts

    def _refuse(self, seen: Seen, problems: tuple[str, ...]) -> None:
        self._seen, self.refused = seen, problems
        for problem in problems:
            log.error("rules_refused", problem=problem)

    async def _look(self) -> Seen:
        """As it is before anything is loaded: what changes meanwhile is seen the next time."""
        dsn = self._settings.database.dsn.get_secret_value()
        files = await asyncio.to_thread(self._files)
        return Seen(files, await readers.zones_digest(dsn), await registry_digest(dsn))

    def _files(self) -> tuple[tuple[Path, int, int, int], ...]:
        out = []
        for file in pack.files(rule_sources(self._settings)):
            try:
                stat = file.stat()
            except OSError:
                out.append((file, 0, 0, 0))  # reading it will say what is wrong
            else:
                out.append((file, stat.st_ino, stat.st_size, stat.st_mtime_ns))
        return tuple(out)


def _versions(book: RuleBook) -> dict[str, str]:
    """By what logs call it: every rule and every zone, and the registry."""
    rules = {f"rule {rule.id}": rule.version for rule in book.rules}
    return rules | {f"zone {zone.id}": zone.version for zone in book.zones} | {"registry": book.registry.version}
