"""How fast readings change: the slope through the first reading of each step, the *knots*.

They are kept in a ring, each at the place that the number of its step gives it; a slope is put together over the places
in their order, so that it hangs on the knots alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from alerting.judging.series import NEVER, grown
from alerting.meters.base import REACH, Figure, Shown, Watch
from alerting.rules.figures import Change, Method

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from alerting.rules import RateRule

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]

_TOGETHER: Final = 1024  # slopes put together at a time: what fits into the caches
_FAR: Final = 2**62


class RateMeter:
    """Knots of the last ``over``, and those before it that a slope over that long may begin with."""

    def __init__(self, rule: RateRule) -> None:
        self.over, self._step = rule.over, rule.step
        self.key = f"knots/{rule.over // 1_000_000}s"
        self.lasting = 2 * rule.over > REACH
        self._size = 2 * rule.over // rule.step + 2
        self._last = np.zeros(0, np.int64)  # the number of the last knot's step
        self._heard = np.zeros(0, np.int64)  # event time of the last reading
        self.fresh = np.zeros(0, np.bool_)  # whether the last reading is a knot
        self.times = np.zeros((0, self._size), np.int64)
        self.values = np.zeros((0, self._size))

    def reserve(self, size: int) -> None:
        self._last, self._heard = grown(self._last, size, NEVER), grown(self._heard, size, NEVER)
        self.fresh = grown(self.fresh, size, fill=False)
        self.times, self.values = grown(self.times, size, NEVER), grown(self.values, size, 0.0)

    def since(self, last: Ints, begins: Ints) -> Ints:
        return begins if self.lasting else (last - 2 * self.over) // self._step * self._step

    def take(self, at: Ints, time: Ints, value: Floats) -> None:
        step = time // self._step
        fresh = step != self._last[at]
        self.fresh[at], self._heard[at] = fresh, time
        if fresh.any():
            at, step = at[fresh], step[fresh]
            self._last[at] = step
            self.times[at, step % self._size], self.values[at, step % self._size] = time[fresh], value[fresh]

    def snapshot(self, at: int) -> dict[str, Any]:
        (there,) = np.nonzero(self.times[at] >= self._heard[at] - 2 * self.over)
        knots = zip(self.times[at, there].tolist(), self.values[at, there].tolist(), strict=True)
        return {"knots": [list(knot) for knot in sorted(knots)], "heard": int(self._heard[at])}

    def load(self, at: int, state: Mapping[str, Any]) -> None:
        for time, value in state["knots"]:
            step = time // self._step
            self._last[at] = step
            self.times[at, step % self._size], self.values[at, step % self._size] = time, value
        self._heard[at] = state["heard"]


class RateGauge:
    """The slope that a new knot ends, by least squares or between two knots."""

    def __init__(self, meter: RateMeter, rule: RateRule) -> None:
        self.meter, self.watch = meter, Watch()
        self._per, self._change, self._method, self._least = rule.per, rule.change, rule.method, rule.min_samples

    def show(self, at: Ints, time: Ints, value: Floats) -> Shown:
        rate, there = np.zeros(len(at)), self.meter.fresh[at]
        knots = np.flatnonzero(there)
        for start in range(0, len(knots), _TOGETHER):
            some = knots[start : start + _TOGETHER]
            slope, there[some] = self._slope(at[some], time[some], value[some])
            rate[some] = slope * self._per
        match self._change:
            case Change.RISING:
                level = rate
            case Change.FALLING:
                level = -rate
            case Change.EITHER:
                level = np.abs(rate)
        return Shown(level, rate, there)

    def figure(self, at: int, level: float, value: float, time: int) -> Figure:
        del at
        return Figure(level, value, time, time)

    def _slope(self, at: Ints, time: Ints, value: Floats) -> tuple[Floats, Flags]:
        """Slopes, a microsecond, and where there is one: not over too short a time, nor with a gap as it begins."""
        over, rows = self.meter.over, np.arange(len(at))
        age = time[:, np.newaxis] - self.meter.times.take(at, axis=0)
        values = self.meter.values.take(at, axis=0)
        early = np.where((age >= over) & (age <= 2 * over), age, _FAR)
        first = early.argmin(axis=1)
        length = early[rows, first]
        there = length < _FAR
        length = np.where(there, length, 1)
        if self._method is Method.DIFFERENCE:
            return (value - values[rows, first]) / length, there
        points = (age >= 0) & (age < over)
        points[rows, first] |= there
        count = points.sum(axis=1)
        there &= count >= self._least
        some = np.maximum(count, 1)[:, np.newaxis]
        x = np.where(points, -age, 0).astype(np.float64)
        y = np.where(points, values, 0.0)
        x = np.where(points, x - x.sum(axis=1, keepdims=True) / some, 0.0)
        y = np.where(points, y - y.sum(axis=1, keepdims=True) / some, 0.0)
        spread = (x * x).sum(axis=1)
        return (x * y).sum(axis=1) / np.where(there, spread, 1.0), there
