"""Refused messages through the same pipeline again: what can be stored now is stored, the rest is refused again.

Each is a transaction of its own, and marked after it. A redrive that is cut off between the two is no harm: what it
stored is found to be there when it is tried again.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from decoders.records import Reason
from decoders.refused import Refused
from decoders.times import microseconds
from decoders.topics import route
from ingest.delivery import Delivery, count_lines
from ingest.inbox import Inbox
from ingest.ledger import FATES
from ingest.pipeline import Pipeline
from ingest.recall import Recall
from ingest.telemetry import Telemetry
from ingest.thought import nobody
from ingest.watch import stored_rule_book
from storage.redrive import Redrive
from storage.writer import Store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from alerting.pack import RuleBook
    from decoders.bounds import Bounds
    from ingest.thought import Mind
    from storage.batch import Committed
    from storage.redrive import Choice

#: Outcomes of what is not tried at all.
_TRUNCATED: Final = "refused: only the first bytes were kept"
_CONFLICT: Final = "refused: another value is stored"


async def redrive(dsn: str, choice: Choice, bounds: Bounds | None = None) -> AsyncIterator[dict[str, Any]]:
    """Try refused messages again, in the order they came.

    Args:
        dsn: the database.
        choice: which.
        bounds: what the decoders take; None: as they come.

    Yields:
        Of each, once it is marked: ``id``, ``reason``, and ``outcome``: "stored", "duplicate" (was there already),
        "ignored", or what begins with "refused" or "stored in part".

    Raises:
        RequestRefused: there is no such message, or another redrive is under way.
        StorageError: the database cannot be used.
    """
    async with Redrive(dsn) as work, Store(dsn, instance="redrive") as store:
        memory = _Memory(store, await stored_rule_book(dsn), bounds)
        async for row in work.messages(choice):
            outcome = await _one(store, memory, row)
            await work.mark(row["id"], outcome)
            yield {"id": row["id"], "reason": row["reason"], "outcome": outcome}


class _Memory:
    """The mind that one message after another finds: built once, and anew where a batch could not be committed."""

    def __init__(self, store: Store, book: RuleBook, bounds: Bounds | None) -> None:
        self._store = store
        self._book = book
        self._bounds = bounds
        self._mind: Mind | None = None
        self._taken = False

    def next(self) -> None:
        """The mind is as the database is; the next message may have it."""
        self._taken = False

    async def __call__(self) -> Mind:
        if self._mind is None or self._taken:
            self._mind = await Recall(self._store, self._book, {}, bounds=self._bounds)()
        self._taken = True
        return self._mind


class _Account(Telemetry):
    """Remembers what a message came to."""

    def __init__(self) -> None:
        super().__init__()
        self.reasons: list[str] = []
        self.rows = 0  # that are in the tables now, new or not

    def rejected(self, reason: str) -> None:
        super().rejected(reason)
        self.reasons.append(reason)

    def written(self, committed: Committed) -> None:
        tables = (committed.positions, committed.readings, committed.statics, committed.receptions, committed.records)
        self.rows += sum(map(len, tables)) - len(committed.conflicts)

    def outcome(self, source: str) -> str:
        if self.reasons:
            why = f"refused: {', '.join(dict.fromkeys(self.reasons))}"
            return f"stored in part, {why}" if self.rows else why
        account = self.ledger.account(source)
        return next((fate for fate in FATES if getattr(account, fate)), "ignored")


async def _one(store: Store, memory: _Memory, row: dict[str, Any]) -> str:
    raw = bytes(row["raw"])
    if len(raw) < row["size"]:
        return _TRUNCATED
    if row["reason"] == Reason.CONFLICTING_VALUE:
        return _CONFLICT
    memory.next()
    account, inbox = _Account(), Inbox()
    name, kind = row["source"], row["source_kind"]
    if not kind.startswith(("mqtt", "nmea")):
        kind = "nmea" if isinstance(route(row["origin"]), Refused) else "mqtt"
    topic = kind == "mqtt"
    pipeline = Pipeline(
        inbox,
        store,
        account,
        memory,
        formats={name: kind},
        notifier=nobody,
        tick=None,
        on_committed=account.written,
    )
    messages = 1 if topic else count_lines(raw)
    account.received(name, messages)
    inbox.force(
        Delivery(
            raw,
            name,
            row["origin"],
            microseconds(row["received_at"]),
            messages=messages,
            per_line=not topic,
            line=row["line"] or 0,
        )
    )
    inbox.close()
    await asyncio.create_task(pipeline.run(), name=f"redrive {row['id']}")
    await pipeline.finish()
    return account.outcome(name)
