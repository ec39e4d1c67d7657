"""What a rule may say: one model per kind of rule, as written in TOML.

A rule is data with a source: what it watches, when it is in force, how much it matters, and where the number comes
from. Everything is checked on loading (``alerting.pack``): unknown keys, metrics and zones are refused, so that a rule
which loads is a rule which can fire.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime, timedelta, timezone
from enum import StrEnum
from fnmatch import fnmatchcase
from hashlib import sha256
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    TypeAdapter,
    model_validator,
)

from alerting.model import Severity
from decoders.identity import MmsiClass, mid, mmsi_class

#: The least and the greatest event time, for rules without dates.
BEGINNING: Final = -(2**62)
END: Final = 2**62

_DAY: Final = timedelta(days=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS: Final = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_DURATION: Final = re.compile(r"(?:(\d{1,5})d)?(?:(\d{1,5})h)?(?:(\d{1,5})m)?(?:(\d{1,9})s)?")
_AIS_BELOW: Final = 1 << 62  # ids of transponders that are not AIS have this bit (decoders.identity)

#: MMSI forms that are no vessel: zone rules pass them over unless they are listed by MMSI.
_NOT_VESSELS: Final = frozenset(MmsiClass) - {MmsiClass.SHIP, MmsiClass.UNKNOWN}


def _duration(value: object) -> int:
    """Microseconds, from text such as "10m", "1h30m" or "2d"."""
    found = _DURATION.fullmatch(value) if isinstance(value, str) and value else None
    if found is None:
        raise ValueError('expected a duration such as "10m" or "1h30m"')
    return 1_000_000 * sum(int(n) * unit for n, unit in zip(found.groups("0"), _UNITS.values(), strict=True))


def _ship_types(value: object) -> tuple[int, ...]:
    """Ship type codes (ITU-R M.1371-5 table 53), from a list of codes and of ranges such as "70-79"."""
    if not isinstance(value, list):
        raise ValueError("expected a list of ship type codes")  # noqa: TRY004  # pydantic wants ValueError
    codes: set[int] = set()
    for item in value:
        found = re.fullmatch(r"(\d{1,3})-(\d{1,3})", item) if isinstance(item, str) else None
        if found:
            low, high = int(found[1]), int(found[2])
        elif isinstance(item, int) and not isinstance(item, bool):
            low = high = item
        else:
            raise ValueError(f'expected a code such as 30 or a range such as "30-39", found {item!r}')
        if not 0 < low <= high <= 255:
            raise ValueError(f"ship types are 1 to 255, found {item!r}")
        codes.update(range(low, high + 1))
    return tuple(sorted(codes))


def _offset(value: str) -> str:
    if not re.fullmatch(r"[+-](0\d|1[0-4]):[0-5]\d", value):
        raise ValueError('expected an offset from UTC such as "+07:00"')
    return value


def _pattern(value: str) -> str:
    if value.count("/") > 1 or not value:
        raise ValueError('expected "device", "gateway/device" or a glob of either')
    return value


Slug = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,79}$")]
Duration = Annotated[
    int, BeforeValidator(_duration), PlainSerializer(lambda us: f"{us // 1_000_000}s", when_used="json")
]
Positive = Annotated[Duration, Field(gt=0)]
ShipTypes = Annotated[tuple[int, ...], BeforeValidator(_ship_types)]
Mmsi = Annotated[int, Field(ge=1, le=999_999_999)]
Mid = Annotated[int, Field(ge=200, le=799)]
Level = Annotated[float, Field(allow_inf_nan=False)]
Glob = Annotated[str, AfterValidator(_pattern)]
Text = Annotated[str, Field(min_length=1, max_length=500, pattern=r"^[^\x00-\x1f]*$")]
# TOML has lists and text where the models have tuples and enumerations; everything else stays strict.
Patterns = Annotated[tuple[Glob, ...], Field(strict=False)]
Gateways = Annotated[tuple[str, ...], Field(strict=False)]


class _Model(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, populate_by_name=False)


class Title(_Model):
    """What the rule is called, in both languages."""

    en: Text
    vi: Text


class Direction(StrEnum):
    ABOVE = "above"
    BELOW = "below"


class Condition(StrEnum):
    """What a vessel has to do with a zone."""

    ENTERED = "entered"  # came in, by two fixes; being inside when first seen is no entry
    INSIDE = "inside"  # is in, however it came there
    LEFT = "left"
    CROSSED = "crossed"  # through it between two fixes that are both outside


class _Rule(_Model):
    id: Slug
    title: Title
    severity: Annotated[Severity, Field(strict=False)]
    source: Text  # the legal or technical text the numbers come from
    confidence: Text | None = None  # "confirm before use", and why
    note: Text | None = None
    valid_from: date | None = None  # the first and the last day (at utc_offset) whose events are judged
    valid_to: date | None = None
    utc_offset: Annotated[str, AfterValidator(_offset)] = "+07:00"
    enabled: bool = True
    channels: Annotated[tuple[Text, ...], Field(strict=False)] | None = None

    @model_validator(mode="after")
    def _dates_in_order(self) -> _Rule:
        if self.valid_from and self.valid_to and self.valid_to < self.valid_from:
            raise ValueError(f"valid_to {self.valid_to} is before valid_from {self.valid_from}")
        return self

    @property
    def body(self) -> dict[str, Any]:
        """What its author wrote, JSON-ready: ``RULE`` makes the same rule of it again."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)

    @property
    def version(self) -> str:
        """Twelve hex digits that change when anything about the rule does."""
        text = json.dumps(self.model_dump(mode="json", by_alias=True), sort_keys=True, separators=(",", ":"))
        return sha256(text.encode()).hexdigest()[:12]

    @property
    def window(self) -> tuple[int, int]:
        """The event times judged: from the first up to, not including, the second, microseconds."""
        return window(self.valid_from, self.valid_to, self.utc_offset)


class _DeviceRule(_Rule):
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


class ThresholdRule(_DeviceRule):
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


class NoDataRule(_DeviceRule):
    """Nothing new from a device and metric for longer than ``after``, once it has been heard at all."""

    kind: Literal["no_data"]
    after: Positive


class Selection(_Model):
    """Transponders by what is known of them. Of the lists given each must match; a list matches by any of its items."""

    ship_types: ShipTypes | None = None
    mmsi: Annotated[tuple[Mmsi, ...], Field(strict=False)] | None = None
    flags: Annotated[tuple[Mid, ...], Field(strict=False)] | None = None  # MID of the MMSI: 574 is Viet Nam

    def selects(self, transponder: int, ship_type: int | None) -> bool | None:
        """Whether it matches; None while that hangs on a ship type not known yet."""
        ais = transponder < _AIS_BELOW
        if self.mmsi is not None and transponder not in self.mmsi:
            return False
        if self.flags is not None and (not ais or mid(transponder) not in self.flags):
            return False
        if self.ship_types is None:
            return True
        if not ais:
            return False
        return ship_type in self.ship_types if ship_type else None


class Scope(Selection):
    """Which vessels a zone rule is about: all, unless lists are given; never those that ``exclude`` selects.

    ``vms``: devices of a vessel monitoring system, which are not AIS and send no ship type, match too; only fishing
    vessels carry them.
    """

    vms: bool = False
    exclude: Selection | None = None

    def matches(self, transponder: int, ship_type: int | None) -> bool | None:
        """Whether the rule is about the transponder; None while that hangs on a ship type not known yet."""
        if self.exclude is not None:
            excluded = self.exclude.selects(transponder, ship_type)
            if excluded is not False:
                return None if excluded is None else False
        if transponder >= _AIS_BELOW:
            return self.vms or self == Scope(exclude=self.exclude)
        if mmsi_class(transponder) in _NOT_VESSELS and (self.mmsi is None or transponder not in self.mmsi):
            return False
        return self.selects(transponder, ship_type)


class ZoneRule(_Rule):
    """Vessels and zones.

    Alerts of ``entered`` and ``inside`` are over when the vessel leaves. What ``left`` and ``crossed`` tell of has
    happened and cannot end: such an alert stays, for people to acknowledge and resolve, until nothing of the kind has
    happened again for ``resolve_after``; a repetition within that time belongs to the same alert.
    """

    kind: Literal["zone"]
    condition: Annotated[Condition, Field(strict=False)]
    zones: Annotated[tuple[Slug, ...], Field(strict=False, min_length=1)]
    scope: Scope = Scope()
    resolve_after: Positive = 3_600_000_000

    @model_validator(mode="after")
    def _only_where_it_means_something(self) -> ZoneRule:
        if "resolve_after" in self.model_fields_set and self.lasting:
            raise ValueError("resolve_after is for left and crossed; an alert of entered or inside ends on leaving")
        return self

    @property
    def lasting(self) -> bool:
        """Whether the alert is over by what the vessel does, and not by time."""
        return self.condition in {Condition.ENTERED, Condition.INSIDE}


Rule = ThresholdRule | ZoneRule | NoDataRule

#: Validates one rule from its TOML table.
RULE: Final[TypeAdapter[Rule]] = TypeAdapter(Annotated[Rule, Field(discriminator="kind")])


def window(first: date | None, last: date | None, utc_offset: str) -> tuple[int, int]:
    """The instants from the start of one day to the end of another, in a place with that offset, microseconds."""
    hours, minutes = int(utc_offset[1:3]), int(utc_offset[4:6])
    east = (-1 if utc_offset[0] == "-" else 1) * timedelta(hours=hours, minutes=minutes)
    return (
        BEGINNING if first is None else _midnight(first, east),
        END if last is None or last == date.max else _midnight(last + _DAY, east),
    )


def _midnight(day: date, east: timedelta) -> int:
    """The instant a day begins in a place that much east of UTC, microseconds."""
    return (datetime(day.year, day.month, day.day, tzinfo=timezone(east)) - _EPOCH) // timedelta(microseconds=1)
