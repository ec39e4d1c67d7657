"""Readings by themselves, and for how long they have been the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from alerting.judging.series import grown
from alerting.meters.base import Figure, Shown, Watch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from alerting.rules import StuckRule

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]

#: Readings of a run that are counted: no rule asks for more.
_MOST: Final = 1000
_NOTHING: Final = 2**62


class RunMeter:
    """The run of readings within a tolerance of its first one that the newest belongs to."""

    lasting = True

    def __init__(self, rule: StuckRule) -> None:
        self.tolerance = rule.tolerance
        self.key = f"run/{rule.tolerance!r}"
        self.since_ = np.zeros(0, np.int64)
        self._value = np.zeros(0)
        self.count = np.zeros(0, np.int64)

    def reserve(self, size: int) -> None:
        self.since_, self._value = grown(self.since_, size, 0), grown(self._value, size, 0.0)
        self.count = grown(self.count, size, 0)

    def since(self, last: Ints, begins: Ints) -> Ints:
        del last
        return begins

    def take(self, at: Ints, time: Ints, value: Floats) -> None:
        first, count = self._value[at], self.count[at]
        same = (count > 0) & (np.abs(value - first) <= self.tolerance)
        self.since_[at] = np.where(same, self.since_[at], time)
        self._value[at] = np.where(same, first, value)
        self.count[at] = np.where(same, np.minimum(count + 1, _MOST), 1)

    def snapshot(self, at: int) -> dict[str, Any]:
        return {"since": int(self.since_[at]), "value": float(self._value[at]), "count": int(self.count[at])}

    def load(self, at: int, state: Mapping[str, Any]) -> None:
        self.since_[at], self._value[at], self.count[at] = state["since"], state["value"], state["count"]


class RunGauge:
    """Seconds that a run has lasted; none while it is short of readings, or of a value that may last."""

    def __init__(self, meter: RunMeter, rule: StuckRule) -> None:
        self.meter, self.watch = meter, Watch()
        self._least, self._except = rule.min_samples, rule.except_

    def show(self, at: Ints, time: Ints, value: Floats) -> Shown:
        lasting = self.meter.count[at] >= self._least
        for exempt in self._except:
            lasting &= np.abs(value - exempt) > self.meter.tolerance
        return Shown(np.where(lasting, (time - self.meter.since_[at]) / 1e6, 0.0), value)

    def figure(self, at: int, level: float, value: float, time: int) -> Figure:
        return Figure(level, value, time, int(self.meter.since_[at]))


class ValueMeter:
    """Nothing: a reading is judged by itself."""

    key = "value"
    lasting = False

    def reserve(self, size: int) -> None:
        pass

    def since(self, last: Ints, begins: Ints) -> Ints:
        del begins
        return np.full(len(last), _NOTHING)

    def take(self, at: Ints, time: Ints, value: Floats) -> None:
        pass

    def snapshot(self, _: int) -> dict[str, Any]:
        return {}

    def load(self, at: int, state: Mapping[str, Any]) -> None:
        pass


class ValueGauge:
    """The readings themselves."""

    def __init__(self, meter: ValueMeter) -> None:
        self.meter, self.watch = meter, Watch()

    def show(self, at: Ints, time: Ints, value: Floats) -> Shown:
        del at, time
        return Shown(value, value)

    def figure(self, at: int, level: float, value: float, time: int) -> Figure:
        del at
        return Figure(level, value, time, time)
