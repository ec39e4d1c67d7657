"""Which rules, zones and registry are in force: those of the settings, brought into the database; or those it has."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import orjson
from pydantic import ValidationError

from alerting import pack
from alerting.pack import PackError, RuleBook
from alerting.rules import RULE, CombinedRule
from ingest.clock import wall_clock
from ingest.zones import drawn_twice
from storage import readers
from storage.desk import import_policies
from storage.readers import RuleVersion
from storage.registry import registry

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from alerting.desk.notify import ChannelSpec
    from alerting.registry.register import Registry
    from geofence.zones import Zone
    from ingest.settings import Settings


def rule_sources(settings: Settings) -> list[str | Path]:
    """What the settings name, in the words of ``alerting.pack.load``."""
    return [*(f"pack:{name}" for name in settings.rules.packs), *settings.rules.files]


async def rule_book(settings: Settings) -> RuleBook:
    """The rules of the settings, made the active ones of the database; all of its zones, theirs included.

    Raises:
        PackError: a rule or zone file is wrong.
        StorageError: the database cannot be used.
    """
    dsn = settings.database.dsn.get_secret_value()
    return await install(rule_sources(settings), dsn, only=True, channels=settings.specs)


async def install(
    sources: Iterable[str | Path], dsn: str, *, only: bool = False, channels: Sequence[ChannelSpec] | None = None
) -> RuleBook:
    """Load packs and files, and keep their zones, rules and policies of the desk in the database; with its registry.

    Args:
        sources: as for ``alerting.pack.load``.
        dsn: the database.
        only: whether rules and policies that are not among them are retired.
        channels: as for ``alerting.pack.load``.

    Raises:
        PackError: a rule or zone file is wrong.
        StorageError: the database cannot be used.
    """
    zones, known = await _beside(dsn)
    book = await asyncio.to_thread(
        pack.load, list(sources), zones=zones, channels=channels, registry=known, now=wall_clock()
    )
    doubts = await drawn_twice(dsn, book, zones, only=only)
    files = {id_: str(place.file) for id_, place in book.drawn.items()} if only else None
    await readers.import_zones(dsn, book.zones, files=files)
    await readers.import_rules(dsn, [RuleVersion(rule.id, rule.version, rule.body) for rule in book.rules], only=only)
    await import_policies(dsn, book.desk, only=only)
    return replace(book, doubts=(*book.doubts, *doubts))


def looked_at(
    sources: Iterable[str | Path], dsn: str | None, *, channels: Sequence[ChannelSpec] | None = None
) -> RuleBook:
    """Load packs and files, and keep nothing: what ``install`` would load, or with no database what they say alone.

    Raises:
        PackError: a rule or zone file is wrong.
        StorageError: the database cannot be used.
    """
    zones, known = asyncio.run(_beside(dsn)) if dsn else ((), None)
    return pack.load(list(sources), zones=zones, channels=channels, registry=known, now=wall_clock())


async def _beside(dsn: str) -> tuple[Sequence[Zone], Registry]:
    """Of what rules may speak beside what their files say."""
    return await readers.zones(dsn), await registry(dsn)


async def stored_rule_book(dsn: str) -> RuleBook:
    """The active rules and zones of the database, and its registry.

    Raises:
        PackError: a stored rule is not one that this version understands.
        StorageError: the database cannot be used.
    """
    rules = []
    for version in await readers.rules(dsn):
        try:
            rules.append(RULE.validate_json(orjson.dumps(version.body)))
        except ValidationError as exc:
            fault = exc.errors()[0]
            raise PackError(
                [f"rule {version.id!r} of the database: {'.'.join(map(str, fault['loc']))}: {fault['msg']}"]
            ) from exc
    found = {rule.id: rule for rule in rules}
    problems = [
        f"rule {rule.id!r} of the database: {reason}"
        for rule in rules
        if isinstance(rule, CombinedRule)
        for _, reason in rule.faults_among(found)
    ]
    if problems:
        raise PackError(problems)
    return RuleBook(tuple(rules), tuple(await readers.zones(dsn)), registry=await registry(dsn))
