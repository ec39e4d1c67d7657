"""Figures made of readings, one gauge a rule and device: what is kept of the readings, and what they come to.

A gauge is fed every reading that is news, in arrival order, and says what the figure is if it is to be judged now. What
it keeps has parts, each with its own place among the rule states, so that what changes with every reading is small: a
part that has changed is in ``unsaid``. It is kept in the transaction of the readings it was made of, so a gauge that
takes up its parts after a restart is as it was. What it keeps is bounded, whatever comes.
"""

from __future__ import annotations

from collections import deque
from math import fsum
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from alerting import vn_aqi
from alerting.rules import AqiRule, RangeRule, RateRule, StuckRule, WindowRule
from alerting.rules.aqi import Period
from alerting.rules.figures import Aggregate, Change, Method
from decoders.identity import metric_id

if TYPE_CHECKING:
    from collections.abc import Mapping

FigureRule = WindowRule | RateRule | StuckRule | RangeRule | AqiRule

_HOUR: Final = 3_600_000_000


class Figure(NamedTuple):
    """What a gauge shows."""

    level: float  # what is compared
    value: float  # what is told
    time: int  # event time from which it holds
    since: int  # event time at which an episode that begins now began
    said: Mapping[str, Any] = {}  # JSON-ready


class Gauge(Protocol):
    unsaid: set[str]  # parts that have changed since they were told

    def feed(self, metric: int, time: int, value: float) -> Figure | None:
        """Take a reading; None if nothing is to be judged now."""

    def part(self, name: str) -> Mapping[str, Any] | None:
        """A part, JSON-ready; None if there is nothing in it."""

    def take_up(self, name: str, state: Mapping[str, Any]) -> bool:
        """Be as ``part`` said; False if it was that of another gauge."""


def gauge(rule: FigureRule, east: int, last: tuple[int, float] | None) -> Gauge:
    """The gauge of a rule. ``east``: of UTC, microseconds; ``last``: time and value of the newest reading, if any."""
    match rule:
        case WindowRule():
            return WindowGauge(rule)
        case RateRule():
            return RateGauge(rule)
        case StuckRule():
            return StuckGauge(rule, last)
        case RangeRule():
            return RangeGauge(rule)
        case AqiRule():
            return AqiGauge(rule, east)


class RangeGauge:
    """How far a reading lies outside; less than nothing within."""

    def __init__(self, rule: RangeRule) -> None:
        self.unsaid: set[str] = set()
        self._low, self._high = rule.low, rule.high

    def feed(self, _: int, time: int, value: float) -> Figure | None:
        under = float("-inf") if self._low is None else self._low - value
        over = float("-inf") if self._high is None else value - self._high
        return Figure(max(under, over), value, time, time)

    def part(self, _: str) -> None:
        return None

    def take_up(self, _name: str, _state: Mapping[str, Any]) -> bool:
        return False


class StuckGauge:
    """For how long the value has been the same, seconds.

    A run of one reading is that of the newest reading, which is remembered anyway: only longer ones are kept.
    """

    def __init__(self, rule: StuckRule, last: tuple[int, float] | None) -> None:
        self.unsaid: set[str] = set()
        self._tolerance, self._least, self._except = rule.tolerance, rule.min_samples, rule.except_
        self._since, self._value = last if last is not None else (0, 0.0)
        self._count = 0 if last is None else 1
        self._kept = False

    def feed(self, _: int, time: int, value: float) -> Figure | None:
        if self._count and abs(value - self._value) <= self._tolerance:
            if self._count < self._least:
                self._count += 1
                self._kept = True
                self.unsaid.add("run")
        else:
            self._since, self._value, self._count = time, value, 1
            if self._kept:
                self._kept = False
                self.unsaid.add("run")
        lasting = self._count >= self._least and not any(abs(value - e) <= self._tolerance for e in self._except)
        return Figure((time - self._since) / 1e6 if lasting else 0.0, value, time, self._since)

    def part(self, _: str) -> Mapping[str, Any] | None:
        return {"since": self._since, "value": self._value, "count": self._count} if self._kept else None

    def take_up(self, name: str, state: Mapping[str, Any]) -> bool:
        if name != "run":
            return False
        self._since, self._value, self._count = state["since"], state["value"], state["count"]
        self._kept = True
        return True


class RateGauge:
    """The slope through the first reading of each step, by least squares or between two of them."""

    def __init__(self, rule: RateRule) -> None:
        self.unsaid: set[str] = set()
        self._rule, self._step, self._over, self._per = rule, rule.step, rule.over, rule.per
        self._knots: deque[tuple[int, float]] = deque()

    def feed(self, _: int, time: int, value: float) -> Figure | None:
        knots = self._knots
        if knots and time // self._step == knots[-1][0] // self._step:
            return None
        knots.append((time, value))
        while len(knots) > 1 and knots[1][0] <= time - self._over:
            knots.popleft()
        self.unsaid.add("knots")
        start = knots[0][0]
        if not self._over <= time - start <= 2 * self._over:
            return None  # too short a time, or too long a gap at its beginning
        if self._rule.method is Method.DIFFERENCE:
            slope = (value - knots[0][1]) / (time - start)
        elif len(knots) < self._rule.min_samples:
            return None
        else:
            slope = _slope([((at - time), reading) for at, reading in knots])
        rate = slope * self._per
        level = {Change.RISING: rate, Change.FALLING: -rate, Change.EITHER: abs(rate)}[self._rule.change]
        return Figure(level, rate, time, time)

    def part(self, _: str) -> Mapping[str, Any] | None:
        return {"step": self._step, "knots": [list(knot) for knot in self._knots]}

    def take_up(self, name: str, state: Mapping[str, Any]) -> bool:
        if name != "knots" or state["step"] != self._step:
            return False
        self._knots = deque((time, value) for time, value in state["knots"])
        return True


def _slope(points: list[tuple[int, float]]) -> float:
    """Of the straight line nearest to points by least squares."""
    x_mean = sum(x for x, _ in points) / len(points)
    y_mean = fsum(y for _, y in points) / len(points)
    spread = fsum((x - x_mean) ** 2 for x, _ in points)
    return fsum((x - x_mean) * (y - y_mean) for x, y in points) / spread


class WindowGauge:
    """What the buckets of a window come to. The bucket that readings fall into is a part of its own."""

    def __init__(self, rule: WindowRule) -> None:
        self.unsaid: set[str] = set()
        self._aggregate, self._width, self._size = rule.aggregate, rule.width, rule.over // rule.width
        self._least, self._coverage = rule.min_samples, rule.coverage
        self._bucket: int | None = None
        self._count, self._sum = 0, 0.0  # of that bucket; the sum is the greatest for max, the least for min
        self._closed: list[tuple[int, int, float]] = []  # bucket, count and sum, oldest first
        self._before: tuple[int, float | None, float] = (0, None, 0.0)  # count, sum and share covered of those

    def feed(self, _: int, time: int, value: float) -> Figure | None:
        bucket = time // self._width
        if bucket != self._bucket:
            self._roll(bucket)
        self._sum = value if self._count == 0 else self._join(self._sum, value)
        self._count += 1
        self.unsaid.add("open")
        count, before, covered = self._before
        count += self._count
        if count < self._least or covered < self._coverage:
            return None
        total = self._sum if before is None else self._join(before, self._sum)
        match self._aggregate:
            case Aggregate.MEAN:
                total /= count
            case Aggregate.COUNT:
                total = float(count)
        return Figure(total, total, time, time, {"samples": count})

    def _join(self, one: float, other: float) -> float:
        match self._aggregate:
            case Aggregate.MAX:
                return max(one, other)
            case Aggregate.MIN:
                return min(one, other)
        return one + other

    def _roll(self, bucket: int) -> None:
        if self._bucket is not None:
            closed = [*self._closed, (self._bucket, self._count, self._sum)]
            self._closed = [one for one in closed if one[0] > bucket - self._size]
            self.unsaid.add("closed")
        self._bucket, self._count, self._sum = bucket, 0, 0.0
        self._look_back()

    def _look_back(self) -> None:
        totals = [total for _, _, total in self._closed]
        fold = {Aggregate.MAX: max, Aggregate.MIN: min}.get(self._aggregate, sum)
        bucket, part = self._bucket or 0, self._size // 12
        covered = {0, *[(bucket - closed) // part for closed, _, _ in self._closed]}
        count = sum([count for _, count, _ in self._closed])
        self._before = (count, fold(totals) if totals else None, len(covered) / 12)

    def part(self, name: str) -> Mapping[str, Any] | None:
        if name == "open":
            return {"width": self._width, "bucket": self._bucket, "count": self._count, "sum": self._sum}
        return {"width": self._width, "buckets": self._closed} if self._closed else None

    def take_up(self, name: str, state: Mapping[str, Any]) -> bool:
        if name not in {"open", "closed"} or state["width"] != self._width:
            return False
        if name == "open":
            self._bucket, self._count, self._sum = state["bucket"], state["count"], state["sum"]
        else:
            self._closed = [(bucket, count, total) for bucket, count, total in state["buckets"]]
        self._look_back()
        return True


class AqiGauge:
    """VN_AQI of the hour or day before the one that a reading opens, of all metrics of a device.

    The hours that are over are one part, the hour that readings fall into another. A reading of an hour that is over,
    news to its own metric only, is still taken into its hour's mean, which later figures look back to.
    """

    _KEPT: Final = 32  # hours: a day, and the eight before it for the first means over 8 h

    def __init__(self, rule: AqiRule, east: int) -> None:
        self.unsaid: set[str] = set()
        self._rule, self._east = rule, east
        self._names = {metric_id(name): name for name in vn_aqi.METRICS}
        self._hour: int | None = None
        self._means: dict[str, dict[int, list[float]]] = {}  # metric -> hour -> count and sum

    def feed(self, metric: int, time: int, value: float) -> Figure | None:
        hour, figure = (time + self._east) // _HOUR, None
        if self._hour is None:
            self._hour = hour
        elif hour > self._hour:
            figure = self._figure(hour)
            self._hour = hour
            self._means = {
                name: {at: mean for at, mean in hours.items() if at > hour - self._KEPT}
                for name, hours in self._means.items()
            }
            self.unsaid.add("closed")
        if hour > self._hour - self._KEPT:
            mean = self._means.setdefault(self._names[metric], {}).setdefault(hour, [0, 0.0])
            mean[0], mean[1] = mean[0] + 1, mean[1] + value
            self.unsaid.add("open" if hour == self._hour else "closed")
        return figure

    def _figure(self, hour: int) -> Figure | None:
        """Of what ends with the hour before ``hour`` of which there are readings."""
        assert self._hour is not None
        if self._rule.period is Period.HOUR:
            end = self._hour + 1
            found = vn_aqi.hourly(
                {name: [self._mean(name, end - age) for age in range(1, 13)] for name in vn_aqi.METRICS}
            )
        else:
            end = (self._hour // 24 + 1) * 24
            if hour < end:
                return None
            found = vn_aqi.daily(
                {name: [self._mean(name, end - age) for age in range(31, 0, -1)] for name in vn_aqi.METRICS}
            )
        if found is None:
            return None
        at = end * _HOUR - self._east
        parts = {metric: round(part, 1) for metric, part in found.parts.items()}
        band = {"en": found.band.en, "vi": found.band.vi}
        said = {"main": found.main, "parts": parts, "band": band, "colour": found.band.colour}
        return Figure(float(found.value), float(found.value), at, at, said)

    def _mean(self, name: str, hour: int) -> float | None:
        count, total = self._means.get(name, {}).get(hour, (0, 0.0))
        return total / count if count >= self._rule.min_samples else None

    def part(self, name: str) -> Mapping[str, Any] | None:
        mine = {
            metric: kept
            for metric, hours in sorted(self._means.items())
            if (kept := [[at, *mean] for at, mean in sorted(hours.items()) if (at == self._hour) == (name == "open")])
        }
        return {"hour": self._hour, "means": mine} if mine else None

    def take_up(self, name: str, state: Mapping[str, Any]) -> bool:
        if name not in {"open", "closed"}:
            return False
        self._hour = max(state["hour"], state["hour"] if self._hour is None else self._hour)
        for metric, hours in state["means"].items():
            self._means.setdefault(metric, {}).update({at: [count, total] for at, count, total in hours})
        return True
