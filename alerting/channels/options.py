"""What an operator may say of every channel: who is told of what, how hard it is tried, how much and when."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_serializer, model_validator

from alerting.channels.base import Policy
from alerting.desk.notify import TOLD, ChannelSpec
from alerting.desk.pace import QuietHours
from alerting.model import Event, Severity

_CLOCK: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")
_OFFSET: Final = re.compile(r"([+-])(0\d|1[0-4]):([0-5]\d)")


def _clock(value: str) -> str:
    if not _CLOCK.fullmatch(value):
        raise ValueError('expected a time of day such as "22:00"')
    return value


def _offset(value: str) -> str:
    if not _OFFSET.fullmatch(value):
        raise ValueError('expected an offset from UTC such as "+07:00"')
    return value


def east_of(offset: str) -> int:
    """Seconds from UTC: ``+07:00`` is 25200."""
    found = _OFFSET.fullmatch(offset)
    assert found is not None  # a checked value
    seconds = int(found[2]) * 3600 + int(found[3]) * 60
    return -seconds if found[1] == "-" else seconds


Clock = Annotated[str, AfterValidator(_clock)]
UtcOffset = Annotated[str, AfterValidator(_offset)]


class Options(BaseModel):
    """Keys unknown to it are refused; so is changing it."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_by_name=False, serialize_by_alias=True)


class Quiet(Options):
    """Daily hours in which less severe alerts wait."""

    from_: Clock = Field(alias="from", description="When it begins, such as 22:00")
    to: Clock = Field(description="When it ends; earlier than from: on the next day")
    utc_offset: UtcOffset = Field(default="+07:00", description="Where these times hold")
    below: Severity = Field(
        default=Severity.CRITICAL, description="Alerts that never were so severe wait until the end, in order"
    )

    @model_validator(mode="after")
    def _some(self) -> Quiet:
        if self.from_ == self.to:
            raise ValueError("from and to are the same time")
        if self.below is Severity.INFO:
            raise ValueError("nothing is below info")
        return self

    @property
    def hours(self) -> QuietHours:
        """The same in seconds."""
        start, end = (int(clock[:2]) * 3600 + int(clock[3:]) * 60 for clock in (self.from_, self.to))
        return QuietHours(start, end, east_of(self.utc_offset), self.below)


class ChannelOptions(Options):
    """Of every channel."""

    #: What can be said through it at all.
    CARRIES: ClassVar[frozenset[Event]] = frozenset(Event)

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$", description="Unique; part of notification ids")]
    min_severity: Severity = Field(default=Severity.INFO, description="Less severe alerts are not told")
    events: frozenset[Event] = Field(
        default=TOLD,
        min_length=1,
        description=", ".join(event.value for event in Event) + "; not told unless named: what people do",
    )
    rules: tuple[str, ...] = Field(
        default=("*",), min_length=1, description="Globs on the rule id, any of which may match"
    )
    concurrency: int = Field(default=4, ge=1, le=64, description="Notifications on their way at once")
    timeout_seconds: float = Field(default=10.0, gt=0, le=300, description="One try, from start to end")
    max_delay_seconds: float = Field(default=300.0, gt=0, le=86_400, description="Longest back-off between two tries")
    max_attempts: int = Field(default=1000, ge=1, description="Tries before a notification is abandoned")
    max_age_seconds: float = Field(
        default=86_400.0, gt=0, description="Age, quiet hours apart, at which a failing notification is abandoned"
    )
    rate_per_minute: int | None = Field(
        default=None, ge=1, le=60_000, description="Tries in any minute; the rest waits, the most severe go first"
    )
    burst: int | None = Field(
        default=None, ge=1, description="Of these, so many at once, the others evenly spread; unset: all"
    )
    quiet: tuple[Quiet, ...] = Field(
        default=(), description="Quiet hours: tables of the keys under channels.NAME.quiet"
    )

    @field_serializer("events")
    def _in_order(self, events: frozenset[Event]) -> list[Event]:
        """Sets have no order, and what is shown has one."""
        return sorted(events)

    @model_validator(mode="after")
    def _burst_of_a_rate(self) -> ChannelOptions:
        if self.burst is not None and self.rate_per_minute is None:
            raise ValueError("burst needs rate_per_minute")
        if self.burst is not None and self.rate_per_minute is not None and self.burst > self.rate_per_minute:
            raise ValueError("burst is more than rate_per_minute allows")
        return self

    @property
    def spec(self) -> ChannelSpec:
        """Which notifications it gets."""
        return ChannelSpec(self.name, self.min_severity, self.events, self.rules, self.CARRIES)

    @property
    def policy(self) -> Policy:
        """How hard it is tried, how much and when."""
        return Policy(
            concurrency=self.concurrency,
            timeout_seconds=self.timeout_seconds,
            max_delay_seconds=self.max_delay_seconds,
            max_attempts=self.max_attempts,
            max_age_seconds=self.max_age_seconds,
            rate_per_minute=self.rate_per_minute,
            burst=self.burst,
            quiet=tuple(one.hours for one in self.quiet),
        )
