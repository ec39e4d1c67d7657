"""VN_AQI of the hour or day before the one that a reading opens, of all metrics of a device.

Readings are gathered in hours of a place's own time. A reading of an hour that is over, news to its own metric only, is
still taken into its hour's mean, which later figures look back to.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from alerting import vn_aqi
from alerting.meters.base import HOUR, Figure
from alerting.rules.aqi import Period

if TYPE_CHECKING:
    from collections.abc import Mapping

    from alerting.rules import AqiRule

_KEPT: Final = 32  # hours: a day, and the eight before it for the first means over 8 h


@dataclass(slots=True)
class Air:
    """The hours of one device, at one offset from UTC (``east``, microseconds)."""

    east: int
    hour: int | None = None  # the latest
    _hours: dict[str, dict[int, list[float]]] = field(default_factory=dict)  # metric -> hour -> count and sum

    def opens(self, time: int) -> bool:
        """Whether a reading opens an hour, and another is over by it."""
        return self.hour is not None and (time + self.east) // HOUR > self.hour

    def take(self, metric: str, time: int, value: float) -> None:
        hour = (time + self.east) // HOUR
        self.reach(hour)
        assert self.hour is not None  # reached
        if hour > self.hour - _KEPT:
            mean = self._hours.setdefault(metric, {}).setdefault(hour, [0, 0.0])
            mean[0], mean[1] = mean[0] + 1, mean[1] + value

    def reach(self, hour: int) -> None:
        """Know that an hour has begun."""
        if self.hour is None:
            self.hour = hour
        elif hour > self.hour:
            self.hour = hour
            self._hours = {name: self._kept(name) for name in self._hours}

    def _kept(self, metric: str) -> dict[int, list[float]]:
        assert self.hour is not None  # there is something to keep
        return {at: mean for at, mean in self._hours.get(metric, {}).items() if at > self.hour - _KEPT}

    def figure(self, rule: AqiRule, time: int) -> Figure | None:
        """What ends with the hour before the one that a reading opens of which there are readings."""
        assert self.hour is not None  # one is over
        if rule.period is Period.HOUR:
            end, ages = self.hour + 1, range(1, 13)
            make = vn_aqi.hourly
        else:
            end, ages = (self.hour // 24 + 1) * 24, range(31, 0, -1)
            if (time + self.east) // HOUR < end:
                return None
            make = vn_aqi.daily
        found = make({name: [self._mean(name, end - age, rule.min_samples) for age in ages] for name in vn_aqi.METRICS})
        if found is None:
            return None
        at = end * HOUR - self.east
        parts = {metric: round(part, 1) for metric, part in found.parts.items()}
        band = {"en": found.band.en, "vi": found.band.vi}
        said = {"main": found.main, "parts": parts, "band": band, "colour": found.band.colour}
        return Figure(float(found.value), float(found.value), at, at, said)

    def _mean(self, name: str, hour: int, least: int) -> float | None:
        count, total = self._hours.get(name, {}).get(hour, (0, 0.0))
        return total / count if count >= least else None

    def snapshot(self, metric: str) -> dict[str, Any]:
        """What is kept of a metric, JSON-ready."""
        return {"hours": [[at, *mean] for at, mean in sorted(self._kept(metric).items())]}

    def load(self, metric: str, state: Mapping[str, Any]) -> None:
        """Have kept of a metric what ``snapshot`` said."""
        self._hours[metric] = {at: [count, total] for at, count, total in state["hours"]}
