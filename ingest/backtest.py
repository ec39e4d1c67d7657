"""Rules over stored history: the engine that judges live, over rows as they came, and nothing written."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final

from alerting.engine import Engine
from alerting.rejudging.backtest import Episode, Identity, Tally, warm_up_before
from alerting.rules import CombinedRule, DeviceRule, ZoneRule
from geofence.tracks import CAPACITY
from storage import readers
from storage.history import TABLES, Choice, history
from storage.times import microseconds, moment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping

    from alerting.pack import RuleBook
    from alerting.rules import Rule
    from decoders.records import Observations
    from storage.ask import Whom


#: Event times may be ahead of receive times by no more than that.
_EARLY: Final = 86_400_000_000


@dataclass(slots=True, frozen=True)
class Span:
    """What is to be judged: by receive times, from the first up to, not including, the second, microseconds UTC."""

    since: int
    until: int
    warm_up: int  # how long before it judging begins


@dataclass(slots=True)
class Judged:
    """What a span came to."""

    span: Span
    alerts: list[Episode]
    rows: dict[str, int] = field(default_factory=dict)  # judged, those of the warm-up included
    seconds: float = 0.0  # what it took

    @property
    def speed(self) -> float:
        """How many times faster than it happened, warm-up included."""
        return (self.span.until - self.span.since + self.span.warm_up) / 1e6 / self.seconds if self.seconds else 0.0


def looked_at(rules: Iterable[Rule]) -> frozenset[str]:
    """The tables that rules look at: all of them, but for kinds of which it is known."""
    found: set[str] = set()
    for rule in rules:
        match rule:
            case DeviceRule():
                found |= {"readings"}
            case ZoneRule():
                found |= {"positions", "statics"}
            case CombinedRule():
                found |= {"positions"}
            case _:
                found |= set(TABLES)
    return frozenset(found)


def span(rules: Iterable[Rule], since: int, until: int, before: int | None = None) -> Span:
    """A span with the warm-up that the rules need; ``before``: with this one."""
    return Span(since, until, warm_up_before(rules, since) if before is None else before)


async def choose(dsn: str, rules: Iterable[Rule], *, subjects: Iterable[str] = (), most: int | None = None) -> Choice:
    """Which rows to judge.

    Args:
        dsn: the database.
        rules: by which.
        subjects: globs on devices ("gateway/device" or "device") and transponders (an MMSI); none: all.
        most: so many devices and so many transponders, the first by id.
    """
    tables = looked_at(rules)
    patterns = list(subjects)
    if not patterns and most is None:
        return Choice(tables)
    async with history(dsn) as past:
        names = await past.subjects()
    ids: dict[str, list[int]] = {"device": [], "transponder": []}
    for (kind, id_), name in sorted(names.items()):
        told = (name, name.rpartition("/")[2]) if kind == "device" else (name,)
        if not patterns or any(fnmatchcase(text, pattern) for text in told for pattern in patterns):
            ids[kind].append(id_)
    return Choice(tables, tuple(ids["transponder"][:most]), tuple(ids["device"][:most]))


async def judge(dsn: str, book: RuleBook, over: Span, choice: Choice) -> Judged:
    """Judge a span by the rules of a book.

    Raises:
        StorageError: the database cannot be used.
    """
    began = time.monotonic()
    rows = dict.fromkeys(sorted(choice.tables), 0)
    tally = Tally()
    start = over.since - over.warm_up
    engine = Engine(book.rules, book.zones, registry=book.registry, capacity=CAPACITY)
    async with history(dsn, choice) as past:
        deaf, first = await past.deaf(), await past.first()
        if first is not None:
            start = max(start, min(first, over.until) - _EARLY)  # before that there is nothing to judge
        engine.restore(await past.memory(start))
        for since, until in deaf:
            if since < start < until:
                engine.deaf(since, until)
        following: Mapping[int, int] = dict(deaf)
        async for observations, tick in _ahead(past.slices(start, over.until, following)):
            for name in rows:
                rows[name] += count(observations, name)
            verdict = await asyncio.to_thread(engine.judge, observations, tick)
            tally.add(verdict.transitions)
            if tick in following:
                engine.deaf(tick, following[tick])
    return Judged(over, tally.within(over.since, over.until), rows, time.monotonic() - began)


async def _ahead(slices: AsyncIterator[tuple[Observations, int]]) -> AsyncIterator[tuple[Observations, int]]:
    """The same, the next one read while one is judged."""
    waiting = asyncio.ensure_future(anext(slices, None))
    try:
        while (found := await waiting) is not None:
            waiting = asyncio.ensure_future(anext(slices, None))
            yield found
    finally:
        waiting.cancel()
        await asyncio.wait([waiting])


def count(observations: Observations, table: str) -> int:
    """How many rows of a table (``TABLES``) there are."""
    return len(observations.records if table == "ais_messages" else getattr(observations, table))


async def live(dsn: str, over: Span, rules: Iterable[Rule], choice: Choice) -> list[Episode]:
    """The stored alerts of a span, of rules with these ids, about the subjects of the choice."""
    rows = await readers.known(dsn, moment(over.since), moment(over.until), [rule.id for rule in rules])
    return [_episode(row) for row in rows if _chosen(row, choice)]


def _chosen(row: Mapping[str, Any], choice: Choice) -> bool:
    ids = choice.devices if row["subject_kind"] == "device" else choice.transponders
    return ids is None or row["subject_id"] in ids


def _episode(row: Mapping[str, Any]) -> Episode:
    return Episode(
        Identity(row["rule_id"], row["subject_kind"], row["subject_id"], row["key"], microseconds(row["started_at"])),
        str(row["id"]),
        row["subject_name"],
        row["severity"],
        microseconds(row["known_at"] or row["fired_at"]),
        microseconds(row["fired_at"]),
        row["summary_en"],
        row["resolved_at"] and microseconds(row["resolved_at"]),
        row["retracted"],
    )


async def listened_until(whom: Whom) -> int | None:
    """Until when any process has listened, and said so: the latest receive time committed."""
    rows = await readers.progress(whom)
    return max((microseconds(row["received_at"]) for row in rows if row["received_at"] is not None), default=None)
