"""Rules on a figure that is made of readings: how fast they change, what they come to, whether they live."""

from __future__ import annotations

from enum import StrEnum
from math import inf
from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Literal

from pydantic import Field, field_validator, model_validator

from alerting.rules.base import Positive  # noqa: TC001  # pydantic needs it
from alerting.rules.devices import DeviceRule
from alerting.rules.ladder import LADDER, Direction, LadderRule, Level
from alerting.rules.reachable import between, levels

if TYPE_CHECKING:
    from collections.abc import Iterable

    from alerting.rules.base import Fault
    from decoders.catalogue import Metric

#: Widths of buckets, seconds: what a window is made of.
_WIDTHS: Final = (86_400, 21_600, 10_800, 7_200, 3_600, 1_800, 900, 600, 300, 120, 60, 30, 15, 10, 5, 2, 1)
_STEEPEST: Final = 1.5
_PARTS: Final = 12  # of a window, each of which is covered or not
_FINEST, _MOST = 96, 400  # buckets of a window: no fewer, if there can be, and no more


class Aggregate(StrEnum):
    MEAN = "mean"
    MAX = "max"
    MIN = "min"
    SUM = "sum"
    COUNT = "count"


class Change(StrEnum):
    RISING = "rising"
    FALLING = "falling"
    EITHER = "either"


class Method(StrEnum):
    LEAST_SQUARES = "least_squares"
    DIFFERENCE = "difference"


class WindowRule(LadderRule, DeviceRule):
    """What the readings of the last ``over`` come to: mean, max, min, sum or count.

    The window moves in steps of ``width``: it is the bucket that a reading lies in and those before it, ``over`` in
    all. It is judged with each reading, if there are ``min_samples`` in it and of its twelve parts ``min_coverage``
    have one; and a count or sum that is too small only once the device has been heard for ``over``.
    """

    asking: ClassVar[tuple[str, ...]] = (*LADDER, "aggregate", "over")

    kind: Literal["window"]
    aggregate: Annotated[Aggregate, Field(strict=False)]
    over: Positive
    unit: str  # of the metric; "1" for a count
    min_samples: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    min_coverage: Annotated[float, Field(ge=0, le=1)] | None = None  # 0.75 for a mean, else 0

    @field_validator("over")
    @classmethod
    def _made_of_buckets(cls, over: int) -> int:
        if over % (_PARTS * 1_000_000) or over // _width(over) > _MOST:
            raise ValueError('expected a rounder duration, such as "1h", "8h" or "24h"')
        return over

    @property
    def width(self) -> int:
        """Of a bucket, microseconds: 15 minutes of 24 hours, 30 seconds of one."""
        return _width(self.over)

    @property
    def coverage(self) -> float:
        """``min_coverage``, or what stands for it."""
        if self.min_coverage is not None:
            return self.min_coverage
        return 0.75 if self.aggregate is Aggregate.MEAN else 0.0

    @property
    def waits(self) -> int:
        """How long a device must have been heard before it is judged, microseconds.

        Few readings, or a small sum of them, say nothing of a device that has only just begun to send.
        """
        grows = self.aggregate in {Aggregate.COUNT, Aggregate.SUM}
        return self.over if grows and self.direction is Direction.BELOW else 0

    def unit_of(self, metric: Metric) -> str:
        return "1" if self.aggregate is Aggregate.COUNT else metric.unit

    def unreachable(self, metric: Metric) -> Iterable[Fault]:
        low, high = metric.low, metric.high
        match self.aggregate:
            case Aggregate.COUNT:
                low, high = 0.0, inf
            case Aggregate.SUM:
                low, high = 0.0 if low >= 0 else -inf, 0.0 if high <= 0 else inf
        return levels(self, between(f"the {self.aggregate.value} of {self.metric}", low, high, self.unit))


def _width(over: int) -> int:
    part = over // (_PARTS * 1_000_000)
    fitting = [width for width in _WIDTHS if part % width == 0]
    return 1_000_000 * next((width for width in fitting if width * _FINEST <= over // 1_000_000), fitting[-1])


class RateRule(LadderRule, DeviceRule):
    """How fast readings rise or fall: so much ``per`` so long, seen over at least ``over``.

    Looked at once a *step*, the 48th part of ``over``: with the first reading in it. ``raise`` and ``clear`` are of the
    rate in the direction that ``change`` says, and greater is worse.
    """

    asking: ClassVar[tuple[str, ...]] = (*LADDER, "per", "over", "change", "method")

    kind: Literal["rate"]
    unit: str  # of the metric; the rate is in that per `per`
    per: Positive = 3_600_000_000
    over: Annotated[Positive, Field(ge=60_000_000)]
    change: Annotated[Change, Field(strict=False)]
    method: Annotated[Method, Field(strict=False)] = Method.LEAST_SQUARES
    min_samples: Annotated[int, Field(ge=2, le=49)] = 3

    @field_validator("direction")
    @classmethod
    def _said_by_change(cls, _: Direction) -> Direction:
        raise ValueError("a rate has a `change`: rising, falling or either")

    @model_validator(mode="after")
    def _as_many_as_it_looks_at(self) -> RateRule:
        if self.method is Method.DIFFERENCE and "min_samples" in self.model_fields_set:
            raise ValueError("min_samples is for least_squares; a difference is of two")
        return self

    @property
    def step(self) -> int:
        """Microseconds."""
        return self.over // 48

    def unreachable(self, metric: Metric) -> Iterable[Fault]:
        # A line through values of a range is at most half as steep again as from one end of it to the other.
        most = _STEEPEST * (metric.high - metric.low) * self.per / self.over
        least = 0.0 if self.change is Change.EITHER else -most
        return levels(self, between(f"the rate of {self.metric}", least, most, self.unit))


class StuckRule(DeviceRule):
    """The same value again and again: within ``tolerance`` of the first for as long as ``for``, in ``min_samples``.

    ``except``: values that may last, such as no rain.
    """

    asking: ClassVar[tuple[str, ...]] = ("metric", "tolerance", "except_")

    kind: Literal["stuck"]
    unit: str
    for_: Positive = Field(alias="for")
    tolerance: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    min_samples: Annotated[int, Field(ge=2, le=1000)] = 5
    except_: Annotated[tuple[Level, ...], Field(strict=False, alias="except")] = ()


class RangeRule(DeviceRule):
    """Outside of what a sensor at that place can show: narrower than the catalogue's range, which is refused on entry.

    Over as soon as a reading is within by ``margin``.
    """

    asking: ClassVar[tuple[str, ...]] = ("metric", "low", "high", "margin")

    kind: Literal["range"]
    unit: str
    low: Level | None = None
    high: Level | None = None
    margin: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0

    @model_validator(mode="after")
    def _bounds_in_order(self) -> RangeRule:
        if self.low is None and self.high is None:
            raise ValueError("'low' or 'high' is missing")
        if self.low is not None and self.high is not None and self.high - self.low <= 2 * self.margin:
            raise ValueError(f"nothing is between low {self.low:g} and high {self.high:g} by that margin")
        return self

    def unreachable(self, metric: Metric) -> Iterable[Fault]:
        can = between(self.metric, metric.low, metric.high, metric.unit)
        if self.low is not None and self.low <= metric.low:
            yield ("low",), f"no reading is below low {self.low:g}: {can.said}"
        if self.high is not None and self.high >= metric.high:
            yield ("high",), f"no reading is above high {self.high:g}: {can.said}"
