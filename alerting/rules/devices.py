"""Rules about one metric of devices, each by itself."""

from __future__ import annotations

from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from alerting.rules.base import BaseRule, Duration, Positive, Text


def _pattern(value: str) -> str:
    if value.count("/") > 1 or not value:
        raise ValueError('expected "device", "gateway/device" or a glob of either')
    return value


Level = Annotated[float, Field(allow_inf_nan=False)]
Glob = Annotated[str, AfterValidator(_pattern)]
# TOML has lists and text where the models have tuples and enumerations; everything else stays strict.
Patterns = Annotated[tuple[Glob, ...], Field(strict=False)]
Gateways = Annotated[tuple[str, ...], Field(strict=False)]


class Direction(StrEnum):
    ABOVE = "above"
    BELOW = "below"


class DeviceRule(BaseRule):
    """A rule about one metric of devices, each by itself.

    ``devices`` are globs on the device ("kim-long", "air-*") or on gateway and device ("hue-gw-1/air-*"), any of which
    may match; ``exclude`` likewise takes out again. ``gateways``, if given, are globs on the gateway.
    """

    metric: Text
    devices: Annotated[Patterns, Field(min_length=1)] = ("*",)
    gateways: Gateways | None = None
    exclude: Patterns = ()

    def applies_to(self, device: str) -> bool:
        """Whether the rule watches the device named "gateway/device"."""
        if self.gateways is not None:
            gateway = device.partition("/")[0]
            if not any(fnmatchcase(gateway, pattern) for pattern in self.gateways):
                return False
        return _matches(device, self.devices) and not _matches(device, self.exclude)


def _matches(device: str, patterns: tuple[str, ...]) -> bool:
    gateway, _, name = device.rpartition("/")
    for pattern in patterns:
        left, slash, right = pattern.rpartition("/")
        if fnmatchcase(name, right) and (not slash or fnmatchcase(gateway, left)):
            return True
    return False


class ThresholdRule(DeviceRule):
    """A level and, on its other side, the level at which the alert is over.

    Between the two nothing changes (hysteresis). Without ``clear`` it is over as soon as ``raise`` is not reached.
    With ``for`` the level must have been held that long: see ``alerting.thresholds`` for how that is told.
    """

    kind: Literal["threshold"]
    unit: str
    direction: Annotated[Direction, Field(strict=False)] = Direction.ABOVE
    raise_: Level = Field(alias="raise")
    clear: Level | None = None
    inclusive: bool = True  # a value equal to `raise` reaches it
    for_: Duration = Field(default=0, alias="for")

    @model_validator(mode="after")
    def _clear_on_the_other_side(self) -> ThresholdRule:
        if self.clear is not None and self.sign * self.clear >= self.sign * self.raise_:
            side = "below" if self.direction is Direction.ABOVE else "above"
            raise ValueError(f"clear {self.clear:g} must be {side} raise {self.raise_:g}")
        return self

    @property
    def sign(self) -> int:
        """+1 where greater is worse, -1 where less is."""
        return 1 if self.direction is Direction.ABOVE else -1


class NoDataRule(DeviceRule):
    """Nothing new from a device and metric for longer than ``after``, once it has been heard at all."""

    kind: Literal["no_data"]
    after: Positive
