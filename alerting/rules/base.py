"""What every rule says: what it is called, how much it matters, where its numbers come from, when it is in force."""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime, timedelta, timezone
from enum import StrEnum
from hashlib import sha256
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, model_validator

from alerting.model import Severity, SubjectKind
from alerting.rules.calendar import Calendar, Hours, Month, Season, calendar
from alerting.rules.reachable import comes

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping

    from pydantic_core import ErrorDetails

    from decoders.catalogue import Metric
    from geofence.zones import Zone

#: The least and the greatest event time, for rules without dates.
BEGINNING: Final = -(2**62)
END: Final = 2**62

_DAY: Final = timedelta(days=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS: Final = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_DURATION: Final = re.compile(r"(?:(\d{1,5})d)?(?:(\d{1,5})h)?(?:(\d{1,5})m)?(?:(\d{1,9})s)?")


def duration(value: object) -> int:
    """Microseconds, from text such as "10m", "1h30m" or "2d".

    Raises:
        ValueError: it is something else.
    """
    found = _DURATION.fullmatch(value) if isinstance(value, str) and value else None
    if found is None:
        raise ValueError('expected a duration such as "10m" or "1h30m"')
    return 1_000_000 * sum(int(n) * unit for n, unit in zip(found.groups("0"), _UNITS.values(), strict=True))


def _offset(value: str) -> str:
    if not re.fullmatch(r"[+-](0\d|1[0-4]):[0-5]\d", value):
        raise ValueError('expected an offset from UTC such as "+07:00"')
    return value


UtcOffset = Annotated[str, AfterValidator(_offset)]
Slug = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,79}$")]
Duration = Annotated[
    int, BeforeValidator(duration), PlainSerializer(lambda us: f"{us // 1_000_000}s", when_used="json")
]
Positive = Annotated[Duration, Field(gt=0)]
Text = Annotated[str, Field(min_length=1, max_length=500, pattern=r"^[^\x00-\x1f]*$")]


#: How a reason begins that is about one of several tables within a rule.
_ONE_OF: Final = re.compile(r"(level|step) (\d+): ")

#: Something wrong with a rule: the place in its table, and the reason.
Fault = tuple[tuple[str | int, ...], str]


def fault(error: ErrorDetails, tag: object = None) -> Fault:
    """What pydantic found, in our words. ``tag``: of the model, which of a union begins the place of its faults."""
    place = tuple(error["loc"])
    if place and place[0] == tag:
        place = place[1:]
    key = ".".join(str(part) for part in place)
    match error["type"]:
        case "extra_forbidden":
            return place, f"unknown key {key!r}"
        case "missing":
            return place, f"{key!r} is missing"
    reason = error["msg"].removeprefix("Value error, ")
    if several := _ONE_OF.match(reason):
        name, number = f"{several[1]}s", int(several[2]) - 1
        place = (*place, number) if place[-1:] == (name,) else (*place, name, number)
    return place, f"{key}: {reason}" if key else reason


class Model(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, populate_by_name=False)

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """What its author wrote: the rest says nothing."""
        return ((name, value) for name, value in super().__repr_args__() if name in self.model_fields_set)


class Mode(StrEnum):
    """Whether anybody is told."""

    LIVE = "live"
    SHADOW = "shadow"  # judged and stored like all others, and nobody is told
    CONDITION = "condition"  # judged for the combined rules that speak of it; makes no alert of its own


class Title(Model):
    """What the rule is called, in both languages."""

    en: Text
    vi: Text


class BaseRule(Model):
    #: What its alerts are about.
    subject: ClassVar[SubjectKind] = SubjectKind.TRANSPONDER
    #: See ``asks``: the fields that make it another question.
    asking: ClassVar[tuple[str, ...]] = ()

    id: Slug
    title: Title
    severity: Annotated[Severity, Field(strict=False)]
    source: Text  # the legal or technical text the numbers come from
    confidence: Text | None = None  # "confirm before use", and why
    note: Text | None = None
    valid_from: date | None = None  # the first and the last day (at utc_offset) whose events are judged
    valid_to: date | None = None
    months: Annotated[tuple[Month, ...], Field(strict=False, min_length=1)] | None = None  # and of those days, which
    season: Season | None = None
    hours: Annotated[tuple[Hours, ...], Field(strict=False, min_length=1)] | None = None  # and at which of their hours
    utc_offset: UtcOffset = "+07:00"
    enabled: bool = True
    mode: Annotated[Mode, Field(strict=False)] = Mode.LIVE
    channels: Annotated[tuple[Text, ...], Field(strict=False, min_length=1)] | None = None  # told of it, and no others

    @model_validator(mode="after")
    def _dates_in_order(self) -> BaseRule:
        if self.valid_from and self.valid_to and self.valid_to < self.valid_from:
            raise ValueError(f"valid_to {self.valid_to} is before valid_from {self.valid_from}")
        return self

    @property
    def body(self) -> dict[str, Any]:
        """What its author wrote, JSON-ready: ``RULE`` makes the same rule of it again."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)

    @property
    def version(self) -> str:
        """Twelve hex digits that change when anything its author wrote about the rule does."""
        text = json.dumps(self.body, sort_keys=True, separators=(",", ":"))
        return sha256(text.encode()).hexdigest()[:12]

    def faults(self, metrics: Mapping[str, Metric], zones: Mapping[str, Zone]) -> list[Fault]:  # noqa: ARG002
        """What is wrong with what the rule speaks of, given the metrics and the zones that there are."""
        return []

    def never(self) -> Iterator[Fault]:
        """Why it can never fire, whatever is sent."""
        if not comes(self.calendar, *self.window):
            yield (), "it is never in force: the days that it says do not come while it is valid"

    def doubts(self, known: Mapping[str, Container[str]]) -> Iterator[Fault]:  # noqa: ARG002
        """What it asks for that nothing in the registry is, given its words (``registry.Registry.words``)."""
        yield from ()

    def unsaid(self) -> Iterator[Fault]:
        """What it leaves out that makes it mean something else than its author may have meant."""
        yield from ()

    def durations(self) -> Iterator[int]:
        """Every duration that the rule says, parts of it and defaults included, microseconds."""
        return _durations(self.model_dump(), self.model_dump(mode="json"))

    @property
    def asks(self) -> str:
        """A digest of what it asks of what it watches, where an episode of another question is none of this one: values
        and levels of figures, what a vessel has to do with a zone. Empty for rules of other kinds.
        """
        said = self.model_dump(mode="json", include=set(self.asking), exclude_defaults=True, by_alias=True)
        text = json.dumps(said, sort_keys=True, separators=(",", ":"))
        return sha256(text.encode()).hexdigest()[:12] if self.asking else ""

    @property
    def window(self) -> tuple[int, int]:
        """The event times judged: from the first up to, not including, the second, microseconds."""
        return window(self.valid_from, self.valid_to, self.utc_offset)

    @property
    def calendar(self) -> Calendar | None:
        """When, within ``window``, events are judged; None: always."""
        return calendar(self.months, self.season, self.hours, self.utc_offset)


def _durations(value: object, said: object) -> Iterator[int]:
    """A duration, and nothing else, is a number here and text as JSON."""
    if isinstance(value, dict) and isinstance(said, dict):
        for key in value:
            yield from _durations(value[key], said[key])
    elif isinstance(value, list | tuple) and isinstance(said, list):
        for one, other in zip(value, said, strict=True):
            yield from _durations(one, other)
    elif isinstance(value, int) and isinstance(said, str):
        yield value


def window(first: date | None, last: date | None, utc_offset: str) -> tuple[int, int]:
    """The instants from the start of one day to the end of another, in a place with that offset, microseconds."""
    offset = east(utc_offset)
    return (
        BEGINNING if first is None else _midnight(first, offset),
        END if last is None or last == date.max else _midnight(last + _DAY, offset),
    )


def east(utc_offset: str) -> timedelta:
    """How far ahead of UTC an offset is."""
    hours, minutes = int(utc_offset[1:3]), int(utc_offset[4:6])
    return (-1 if utc_offset[0] == "-" else 1) * timedelta(hours=hours, minutes=minutes)


def _midnight(day: date, offset: timedelta) -> int:
    """The instant a day begins in a place that much east of UTC, microseconds."""
    return (datetime(day.year, day.month, day.day, tzinfo=timezone(offset)) - _EPOCH) // timedelta(microseconds=1)
