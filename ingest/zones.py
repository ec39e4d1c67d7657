"""What is looked at before zones come into the database, or go out of force."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alerting.pack import PackError
from decoders.catalogue import METRICS
from storage.zones import zone_files

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from alerting.pack import Drawn, RuleBook
    from alerting.rules import Rule
    from geofence.zones import Zone


async def drawn_twice(dsn: str, book: RuleBook, before: Sequence[Zone], *, only: bool) -> list[str]:
    """Zones of a book's files that take the place of imported ones, a line each.

    ``only``: the files are those of the settings.

    Raises:
        PackError: they are not, and a file of the settings draws one of their zones otherwise.
    """
    files, now = await zone_files(dsn), {zone.id: zone.version for zone in book.zones}
    other = [zone for zone in before if zone.id in book.drawn and now[zone.id] != zone.version]
    if not only:
        refuse_drawn({zone.id: str(book.drawn[zone.id]) for zone in other}, files)
        return []
    return [
        f"{book.drawn[zone.id]}: zone {zone.id!r} takes the place of one that was imported, version {zone.version}"
        for zone in other
        if files.get(zone.id) is None
    ]


def refuse_drawn(ids: Mapping[str, str], files: Mapping[str, str | None]) -> None:
    """Zones that are to be brought in, by id with their place, must not be those of a file of the settings.

    The service would read that again, and one would silently take the place of the other.

    Raises:
        PackError: some are.
    """
    problems = [
        f"{place}: zone {id_!r} is drawn in {file}, which the service reads: edit it there, or use another id"
        for id_, place in sorted(ids.items())
        if (file := files.get(id_)) is not None
    ]
    if problems:
        raise PackError(problems)


def refuse_unfit(
    rules: Iterable[Rule], before: Iterable[Zone], after: Iterable[Zone], drawn: Mapping[str, Drawn]
) -> None:
    """What rules in force ask of zones must go on to make sense when zones are others.

    Raises:
        PackError: a rule speaks of a zone that would be gone, or asks what cannot be asked of it.
    """
    old, new = {zone.id: zone for zone in before}, {zone.id: zone for zone in after}
    problems = []
    for rule in rules:
        known = rule.faults(METRICS, old)
        for reason in [reason for place, reason in rule.faults(METRICS, new) if (place, reason) not in known]:
            at = next((str(at) for id_, at in sorted(drawn.items()) if repr(id_) in reason), None)
            problems.append(": ".join(filter(None, (at, f"rule {rule.id!r} is in force", reason))))
    if problems:
        raise PackError(problems)


def texts(rules: Iterable[Rule]) -> set[str]:
    """All that rules say in words, the ids of zones among it."""
    return {text for rule in rules for text in _texts(rule.body)}


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
