"""Rules about one metric of devices, each by itself."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, model_validator

from alerting.model import SubjectKind
from alerting.registry.register import fold
from alerting.rules.base import BaseRule, Duration, Model, Positive, Slug, Text, duration
from alerting.rules.ladder import LADDER, LadderRule
from alerting.rules.reachable import between, levels

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping

    from alerting.rules.base import Fault
    from decoders.catalogue import Metric
    from geofence.zones import Zone


LEARNED: Final = "learned"


def _pattern(value: str) -> str:
    if value.count("/") > 1 or not value:
        raise ValueError('expected "device", "gateway/device" or a glob of either')
    return value


Glob = Annotated[str, AfterValidator(_pattern)]
# TOML has lists and text where the models have tuples and enumerations; everything else stays strict.
Patterns = Annotated[tuple[Glob, ...], Field(strict=False)]
Gateways = Annotated[tuple[str, ...], Field(strict=False)]


class Around(Model):
    """All that is no farther than ``within_m`` metres from a place (degrees, WGS 84)."""

    lon: Annotated[float, Field(ge=-180, le=180)]
    lat: Annotated[float, Field(ge=-90, le=90)]
    within_m: Annotated[float, Field(gt=0, le=2_000_000, allow_inf_nan=False)]


class OnDevices(BaseRule):
    """A rule about devices, each by itself.

    ``devices`` are globs on the device ("kim-long", "air-*") or on gateway and device ("hue-gw-1/air-*"), any of which
    may match; ``exclude`` likewise takes out again. ``gateways``, if given, are globs on the gateway.

    By the registry a device must be in any of ``groups``, and stand ``near`` a place and in any of ``in_zones``, of
    those that are given. One that is not registered does not match them.
    """

    subject: ClassVar[SubjectKind] = SubjectKind.DEVICE

    devices: Annotated[Patterns, Field(min_length=1)] = ("*",)
    gateways: Gateways | None = None
    exclude: Patterns = ()
    groups: Annotated[tuple[Text, ...], Field(strict=False, min_length=1)] | None = None
    near: Around | None = None
    in_zones: Annotated[tuple[Slug, ...], Field(strict=False, min_length=1)] | None = None

    @property
    def watched(self) -> tuple[str, ...]:
        """The metrics it looks at."""
        raise NotImplementedError

    @property
    def placed(self) -> bool:
        """Whether it asks the registry (``alerting.readings.places``)."""
        return self.groups is not None or self.near is not None or self.in_zones is not None

    def faults(self, metrics: Mapping[str, Metric], zones: Mapping[str, Zone]) -> list[Fault]:  # noqa: ARG002
        found: list[Fault] = []
        for name in self.in_zones or ():
            zone = zones.get(name)
            if zone is None:
                found.append((("in_zones",), f"unknown zone {name!r}"))
            elif zone.is_line:
                found.append((("in_zones",), f"{name!r} is a line: nothing stands in it"))
        return found

    def never(self) -> Iterator[Fault]:
        yield from super().never()
        if self.gateways == ():
            yield ("gateways",), "gateways: no device is of none"

    def doubts(self, known: Mapping[str, Container[str]]) -> Iterator[Fault]:
        for group in self.groups or ():
            if fold(group) not in known["groups"]:
                yield ("groups",), f"groups: nobody in the registry has {group!r}"

    def applies_to(self, device: str) -> bool:
        """Whether the rule watches the device named "gateway/device", wherever it stands."""
        if self.gateways is not None:
            gateway = device.partition("/")[0]
            if not any(fnmatchcase(gateway, pattern) for pattern in self.gateways):
                return False
        return _matches(device, self.devices) and not _matches(device, self.exclude)


class DeviceRule(OnDevices):
    """A rule about one metric of devices, each by itself."""

    metric: Text

    @property
    def watched(self) -> tuple[str, ...]:
        return (self.metric,)

    def faults(self, metrics: Mapping[str, Metric], zones: Mapping[str, Zone]) -> list[Fault]:
        found = super().faults(metrics, zones)
        metric = metrics.get(self.metric)
        if metric is None:
            return [*found, (("metric",), f"unknown metric {self.metric!r}")]
        unit: str | None = getattr(self, "unit", None)  # the kinds that compare values say it
        if unit is not None and unit != self.unit_of(metric):
            found.append((("unit",), f"{self.metric} is in {self.unit_of(metric)}, not in {unit}"))
        else:
            found += self.unreachable(metric)
        return found

    def unreachable(self, metric: Metric) -> Iterable[Fault]:  # noqa: ARG002
        """What it asks of values that the metric cannot have."""
        return ()

    def unit_of(self, metric: Metric) -> str:
        """The unit of what the rule compares."""
        return metric.unit


def _matches(device: str, patterns: tuple[str, ...]) -> bool:
    gateway, _, name = device.rpartition("/")
    for pattern in patterns:
        left, slash, right = pattern.rpartition("/")
        if fnmatchcase(name, right) and (not slash or fnmatchcase(gateway, left)):
            return True
    return False


class ThresholdRule(LadderRule, DeviceRule):
    """A level of the readings themselves.

    With ``for`` the level must have been held that long before it counts, for firing and for each step up; with
    ``keep_firing_for`` it must not have been held for that long before it is over. See ``alerting.readings.thresholds``
    for how that is told.
    """

    asking: ClassVar[tuple[str, ...]] = LADDER

    kind: Literal["threshold"]
    unit: str
    for_: Duration = Field(default=0, alias="for")
    keep_firing_for: Duration = 0

    def unreachable(self, metric: Metric) -> Iterable[Fault]:
        return levels(self, between(self.metric, metric.low, metric.high, metric.unit))


def _after(value: object) -> int | str:
    if value == LEARNED:
        return LEARNED
    found = duration(value)
    if not found:
        raise ValueError("must be greater than 0")
    return found


After = Annotated[
    int | Literal["learned"],
    BeforeValidator(_after),
    PlainSerializer(lambda after: after if after == LEARNED else f"{after // 1_000_000}s", when_used="json"),
]


class Waits(BaseRule):
    """A rule on silence: how long is waited.

    ``after = "learned"``: ``factor`` times the interval at which the subject is heard (``alerting.readings.rhythm``),
    ``at_least`` and ``at_most`` so much; ``at_most`` until that is known.
    """

    after: After
    at_least: Positive | None = None
    at_most: Positive | None = None
    factor: Annotated[float, Field(ge=1, le=1000)] = 3.0

    @model_validator(mode="after")
    def _bounds_for_what_is_learned(self) -> Waits:
        bounds = self.model_fields_set & {"at_least", "at_most", "factor"}
        if self.after != LEARNED:
            if bounds:
                raise ValueError(f'{", ".join(sorted(bounds))}: only for after = "learned"')
        elif self.at_least is None or self.at_most is None:
            raise ValueError('after = "learned" wants at_least and at_most')
        elif self.at_least > self.at_most:
            raise ValueError("at_least is more than at_most")
        return self

    @property
    def learned(self) -> bool:
        return self.after == LEARNED

    @property
    def shortest(self) -> int:
        """Microseconds: never is less than this waited."""
        return self.after if isinstance(self.after, int) else self.at_least or 0

    def patience(self, interval: int | None) -> int:
        """How long is waited, microseconds, for who is heard at an interval; None: not known."""
        if isinstance(self.after, int):
            return self.after
        low, high = self.at_least or 0, self.at_most or 0
        return high if interval is None else min(max(round(self.factor * interval), low), high)


class NoDataRule(Waits, DeviceRule):
    """Nothing new from a device and metric for longer than ``after``, once it has been heard at all."""

    kind: Literal["no_data"]
