"""The policies of the desk, as data: ``[[inhibit]]``, ``[[procedure]]``, ``[[budget]]`` and ``[[group]]`` tables."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal

from pydantic import Field, ValidationError, model_validator

from alerting.desk.matching import LABELS, Matcher, compiled, may_meet
from alerting.model import Severity
from alerting.rules.base import Duration, Model, Positive, Slug, Text, Title, UtcOffset, east, fault

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from alerting.rules.base import Fault

Labels = Annotated[tuple[Literal[LABELS], ...], Field(strict=False)]  # type: ignore[valid-type]  # of a constant


ClockTime = Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]


class Policy(Model):
    """One table. ``rows`` of the database have its ``body``."""

    kind: ClassVar[str]
    id: Slug
    note: Text | None = None
    source: Text | None = None  # of its numbers
    confidence: Text | None = None  # "confirm before use", and why

    @property
    def body(self) -> dict[str, Any]:
        """What the database needs of it, JSON-ready: durations in microseconds, globs as regular expressions."""
        raise NotImplementedError


class Inhibition(Policy):
    """While an alert that ``when`` means is open, nobody is told of those that ``mutes`` means.

    The two must have equal values of the labels in ``same``. An alert that is meant by both mutes nobody: two such
    would mute each other.

    Of what ``mutes`` means nobody is told before it has stood for ``wait``, so that what is behind it may be known by
    then, nor within ``linger`` after that is over, for not all that it made silent is heard again at once.
    """

    kind: ClassVar[str] = "inhibit"
    when: Matcher
    mutes: Matcher
    same: Labels = ()
    wait: Duration = 0
    linger: Duration = 0

    @property
    def body(self) -> dict[str, Any]:
        sides = {"when": compiled(self.when), "mutes": compiled(self.mutes), "same": list(self.same)}
        return sides | {"wait": self.wait, "linger": self.linger}


def in_turns(policies: Iterable[Inhibition]) -> list[Inhibition]:
    """Inhibitions that may mute in a circle, so that nobody would be told of anything; the shortest circle there is."""
    all_ = list(policies)
    after = {one.id: [p for p in all_ if p is not one and may_meet(one.mutes, p.when)] for one in all_}
    ways = [[one] for one in all_]
    while ways:
        for way in ways:
            if way[0] in after[way[-1].id]:
                return way
        ways = [[*way, one] for way in ways for one in after[way[-1].id] if one not in way]
    return []


Relief = Literal["acknowledged", "assigned"]


class Step(Model):
    """Somebody is told when an alert has stood for ``after``, unless it is over or somebody has seen to it."""

    after: Positive
    unless: Annotated[tuple[Relief, ...], Field(strict=False)] = ()
    who: Title | None = None  # is to be told: for people to read
    channels: Annotated[tuple[Text, ...], Field(strict=False)] = ()  # none: all that want to be told
    say: Title | None = None  # what is to be done


class Procedure(Policy):
    """Who is told by when of alerts that nobody has dealt with, and how often they are told again.

    Deadlines count from when the alert fired. ``repeat``: as long as it is firing and nobody has acknowledged it.
    """

    kind: ClassVar[str] = "procedure"
    match: Matcher
    steps: Annotated[tuple[Step, ...], Field(strict=False)] = ()
    repeat: Annotated[Duration, Field(ge=60_000_000)] | None = None

    @model_validator(mode="after")
    def _does_something(self) -> Procedure:
        if not self.steps and self.repeat is None:
            raise ValueError("it has neither steps nor repeat")
        return self

    @property
    def body(self) -> dict[str, Any]:
        return {
            "match": compiled(self.match),
            "repeat": self.repeat,
            "steps": [step.model_dump(mode="json") | {"after": step.after} for step in self.steps],
        }


class Budget(Policy):
    """How many alerts each rule that ``match`` means may tell of in a shift: the first one beyond is warned of.

    ``shifts`` are the times of the day at which duty changes, at ``utc_offset``. An alert counts in the shift in which
    it became known.
    """

    kind: ClassVar[str] = "budget"
    match: Matcher
    per_shift: Annotated[int, Field(ge=1)]
    shifts: Annotated[tuple[ClockTime, ...], Field(strict=False, min_length=1)] = ("06:00", "14:00", "22:00")
    utc_offset: UtcOffset = "+07:00"

    @property
    def body(self) -> dict[str, Any]:
        hours_minutes = (change.split(":") for change in self.shifts)
        return {
            "match": compiled(self.match),
            "per_shift": self.per_shift,
            "shifts": sorted(3600 * int(hours) + 60 * int(minutes) for hours, minutes in hours_minutes),
            "offset": east(self.utc_offset) // timedelta(seconds=1),
        }


class Group(Policy):
    """Alerts that have one cause are one incident: those that ``match`` means, and have equal values of the labels in
    ``by``, and fire ``within`` that time of the one before while at least one of them lasts.

    The first is told. One after it is, to a channel that is told of incidents, only if it is more severe than those
    before, or as severe as ``tell_from``. How many there are is told ``wait`` after the first of those that nobody was
    told of, and no sooner than ``every`` after the time before. ``within_m``: no farther from the first, in metres; an
    alert without a place is of no such incident.
    """

    kind: ClassVar[str] = "group"
    match: Matcher
    by: Labels = ()
    within: Positive
    within_m: Annotated[float, Field(gt=0, le=2_000_000, allow_inf_nan=False)] | None = None
    wait: Duration = 60_000_000
    every: Annotated[Duration, Field(ge=60_000_000)] = 900_000_000
    tell_from: Annotated[Severity, Field(strict=False)] = Severity.CRITICAL
    title: Title | None = None  # what its incidents are called

    @property
    def body(self) -> dict[str, Any]:
        return {
            "match": compiled(self.match),
            "by": list(self.by),
            "within": self.within,
            "within_m": self.within_m,
            "wait": self.wait,
            "every": self.every,
            "tell_from": self.tell_from.value,
            "title": self.title.model_dump() if self.title is not None else None,
        }


@dataclass(slots=True, frozen=True)
class DeskBook:
    """All policies, in the order of their files."""

    inhibit: tuple[Inhibition, ...] = ()
    procedure: tuple[Procedure, ...] = ()
    budget: tuple[Budget, ...] = ()
    group: tuple[Group, ...] = ()

    @classmethod
    def of(cls, found: Iterable[Policy]) -> DeskBook:
        """Of policies of any kind, in order."""
        by_kind: dict[str, list[Any]] = {}
        for one in found:
            by_kind.setdefault(one.kind, []).append(one)
        return cls(**{kind: tuple(some) for kind, some in by_kind.items()})

    def __iter__(self) -> Iterator[Policy]:
        for field in fields(self):
            yield from getattr(self, field.name)


NO_POLICIES: Final = DeskBook()

#: Table of a file to the model of its entries.
TABLES: Final[Mapping[str, type[Policy]]] = {model.kind: model for model in (Inhibition, Procedure, Budget, Group)}


def policy(table: str, body: dict[str, Any]) -> tuple[Policy | None, list[Fault]]:
    """The policy of one table, and what is wrong with it as (place, reason)."""
    try:
        return TABLES[table].model_validate(body), []
    except ValidationError as error:
        return None, [fault(one) for one in error.errors(include_url=False)]
