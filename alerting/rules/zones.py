"""Rules about vessels and zones."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Literal

from pydantic import Field, model_validator

from alerting.model import Severity
from alerting.rules.base import Duration, Positive, Slug
from alerting.rules.scope import ScopedRule

if TYPE_CHECKING:
    from collections.abc import Mapping

    from alerting.rules.base import Fault
    from decoders.catalogue import Metric
    from geofence.zones import Zone


class Condition(StrEnum):
    """What a vessel has to do with a zone."""

    ENTERED = "entered"  # came in, by two fixes; being inside when first seen is no entry
    INSIDE = "inside"  # is in, however it came there
    LEFT = "left"
    CROSSED = "crossed"  # through it between two fixes that are both outside; over a line
    DWELL = "dwell"  # is in for a time
    SPEED = "speed"  # is in at speeds within a range, for a time
    APPROACHING = "approaching"  # will be in, or over a line, soon at the present course and speed, or is
    LEAVING = "leaving"  # is in and will be out soon, or has come out


#: Conditions about what lies ahead: one alert with steps.
AHEAD: Final = frozenset({Condition.APPROACHING, Condition.LEAVING})


#: What a rule may say only where it means something.
_ONLY_FOR: Final = {
    "resolve_after": {Condition.LEFT, Condition.CROSSED, *AHEAD},
    "direction": {Condition.CROSSED, Condition.APPROACHING},
    "for": {Condition.DWELL, Condition.SPEED},
    "min_sog": {Condition.SPEED, *AHEAD},
    "max_sog": {Condition.SPEED},
    "within": set(AHEAD),
    "imminent": set(AHEAD),
    "imminent_severity": set(AHEAD),
    "crossed_severity": set(AHEAD),
    "exit_buffer_m": set(Condition) - {Condition.CROSSED},
    "settle": set(Condition) - {Condition.CROSSED},
    "settle_fixes": set(Condition) - {Condition.CROSSED},
}
#: What can be asked of a line, which nothing is inside of.
_OF_LINES: Final = {Condition.CROSSED, Condition.APPROACHING}

Knots = Annotated[float, Field(ge=0, le=102.2, allow_inf_nan=False)]


class Crossing(StrEnum):
    """Which way over a line, seen along it."""

    LEFT = "left"  # to its left
    RIGHT = "right"  # to its right
    EITHER = "either"


class ZoneRule(ScopedRule):
    """Vessels and zones.

    Alerts of ``left`` and ``crossed`` tell of what has happened and cannot end: such an alert stays, for people to
    acknowledge and resolve, until nothing of the kind has happened again for ``resolve_after``; a repetition within
    that time belongs to the same alert. All others are over when the vessel has left, or does no longer what is asked.

    A vessel counts as outside again only when it is more than ``exit_buffer_m`` metres from the zone; and in or out
    only when it has been so for ``settle``, or for ``settle_fixes`` fixes on end, whichever comes first.

    The alert of ``approaching`` begins when at the present course and speed the vessel will be in the zone ``within``
    that time. It becomes more severe as that becomes ``imminent``, and when the vessel is in (crossed); it is over when
    the vessel has returned, or has turned away. Of a line it is likewise, of crossing it in the ``direction``; and of
    ``leaving``, of coming out. Who has crossed a line, or left, for ``resolve_after``, is not returning: it is over.
    """

    asking: ClassVar[tuple[str, ...]] = ("condition", "direction", "for_", "min_sog", "max_sog", "within", "imminent")

    kind: Literal["zone"]
    condition: Annotated[Condition, Field(strict=False)]
    zones: Annotated[tuple[Slug, ...], Field(strict=False, min_length=1)]
    resolve_after: Positive = 3_600_000_000
    direction: Annotated[Crossing, Field(strict=False)] = Crossing.EITHER
    exit_buffer_m: Annotated[float, Field(ge=0, le=100_000, allow_inf_nan=False)] = 0.0
    settle: Positive | None = None
    settle_fixes: Annotated[int, Field(ge=2, le=1000)] | None = None
    for_: Duration = Field(default=0, alias="for")
    min_sog: Knots | None = None
    max_sog: Knots | None = None
    within: Positive | None = None
    imminent: Positive | None = None
    imminent_severity: Annotated[Severity, Field(strict=False)] | None = None  # else one more than the rule's
    crossed_severity: Annotated[Severity, Field(strict=False)] | None = None  # else one more than that

    @model_validator(mode="after")
    def _only_where_it_means_something(self) -> ZoneRule:
        for key, conditions in _ONLY_FOR.items():
            if {key, f"{key}_"} & self.model_fields_set and self.condition not in conditions:
                raise ValueError(f"{key} is for {_listed(conditions)}, not for {self.condition.value}")
        if self.condition is Condition.DWELL and not self.for_:
            raise ValueError('dwell needs a time, such as for = "30m"')
        if self.condition is Condition.SPEED:
            if self.min_sog is None and self.max_sog is None:
                raise ValueError("speed needs min_sog or max_sog, or both, in knots")
            if self.min_sog is not None and self.max_sog is not None and self.max_sog < self.min_sog:
                raise ValueError(f"max_sog {self.max_sog:g} is less than min_sog {self.min_sog:g}")
        return self

    @model_validator(mode="after")
    def _rising(self) -> ZoneRule:
        if self.condition in AHEAD:
            if self.within is None:
                raise ValueError(f'{self.condition.value} needs a time, such as within = "20m"')
            if self.imminent is not None and self.imminent >= self.within:
                raise ValueError("imminent must be less than within")
            if self.imminent is None and self.imminent_severity is not None:
                raise ValueError('imminent_severity needs a time, such as imminent = "5m"')
            ranks = [severity.rank for severity in self.severities]
            if ranks != sorted(ranks):
                raise ValueError(f"severities must not fall from {self.condition.value} to imminent to crossed")
        return self

    @property
    def severities(self) -> tuple[Severity, Severity, Severity]:
        """Of approaching or leaving, imminent and crossed."""
        imminent = self.severity if self.imminent is None else self.imminent_severity or _more(self.severity)
        return self.severity, imminent, self.crossed_severity or _more(imminent)

    @property
    def lasting(self) -> bool:
        """Whether the alert is over by what the vessel does, and not by time."""
        return self.condition not in {Condition.LEFT, Condition.CROSSED}

    @property
    def settles(self) -> bool:
        """Whether a side must be kept for some time before it counts."""
        return self.settle is not None or self.settle_fixes is not None

    def faults(self, metrics: Mapping[str, Metric], zones: Mapping[str, Zone]) -> list[Fault]:  # noqa: ARG002
        return [fault for name in self.zones for fault in self._faults(name, zones.get(name))]

    def _faults(self, name: str, zone: Zone | None) -> list[Fault]:
        if zone is None:
            return [(("zones",), f"unknown zone {name!r}")]
        if zone.is_line and self.condition not in _OF_LINES:
            asked = _listed(_OF_LINES)
            return [(("zones",), f"{name!r} is a line: nothing is inside it, only {asked} can be asked")]
        if not zone.is_line and self.direction is not Crossing.EITHER:
            return [(("direction",), f"{name!r} is an area: only the crossing of a line has a direction")]
        if self.condition is Condition.APPROACHING and not zone.is_line and "resolve_after" in self.model_fields_set:
            return [(("resolve_after",), f"{name!r} is an area: its alert lasts while the vessel is in")]
        return []


def _more(severity: Severity) -> Severity:
    return list(Severity)[min(severity.rank + 1, len(Severity) - 1)]


def _listed(conditions: set[Condition]) -> str:
    names = [condition.value for condition in Condition if condition in conditions]
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
