"""Refused messages through the same pipeline again: what can be stored now is stored, the rest is refused again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from decoders.refused import Refused
from decoders.times import microseconds
from decoders.topics import route
from ingest.delivery import Delivery, count_lines
from ingest.inbox import Inbox
from ingest.ledger import FATES
from ingest.pipeline import Pipeline
from ingest.service import Notifier, Recall
from ingest.telemetry import Telemetry
from ingest.watch import stored_rule_book
from storage import readers
from storage.writer import Store

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from alerting.pack import RuleBook
    from decoders.records import Reason

_MANY: Final = 100_000
_TRUNCATED: Final = "truncated: only the first bytes were kept"


async def redrive(dsn: str, ids: Sequence[UUID], reason: Reason | None) -> list[dict[str, Any]]:
    """Try refused messages again, each in a transaction of its own.

    Args:
        dsn: the database.
        ids: which.
        reason: if no ids are given: all with this reason that were not tried again yet.

    Returns:
        ``id``, ``reason`` and ``outcome`` (the fate it got) of each.

    Raises:
        StorageError: the database cannot be used, or there is no such message.
    """
    if not ids:
        waiting = await readers.quarantined(dsn, reason=reason, redriven=False, limit=_MANY)
        ids = [row["id"] for row in reversed(waiting)]
    if not ids:
        return []
    store = Store(dsn, instance="redrive")
    await store.open()
    try:
        book = await stored_rule_book(dsn)
        outcomes = []
        for id_ in ids:
            row = await readers.refused(dsn, id_)
            outcome = await _one(store, book, row)
            await readers.mark_redriven(dsn, id_, outcome)
            outcomes.append({"id": id_, "reason": row["reason"], "outcome": outcome})
    finally:
        await store.close()
    return outcomes


async def _one(store: Store, book: RuleBook, row: dict[str, Any]) -> str:
    raw = bytes(row["raw"])
    if len(raw) < row["size"]:
        return _TRUNCATED
    telemetry, inbox = Telemetry(), Inbox()
    name = row["source"]
    topic = not isinstance(route(row["origin"]), Refused)
    formats = {name: "mqtt" if topic else "nmea"}
    pipeline = Pipeline(
        inbox,
        store,
        telemetry,
        Recall(store, book, formats),
        formats=formats,
        notifier=Notifier(()),
        tick=None,
    )
    messages = 1 if topic else count_lines(raw)
    telemetry.received(name, messages)
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
    account = telemetry.ledger.account(name)
    # Of a message of several lines, the gravest fate; refused again, it is a duplicate of its own quarantine row.
    return next((fate for fate in ("stored", "quarantined", *FATES) if getattr(account, fate)), "ignored")
