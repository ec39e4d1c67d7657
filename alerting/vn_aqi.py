"""VN_AQI, the Vietnamese air quality index: Decision 1459/QĐ-TCMT of 12 November 2019. Its numbers are ``vn_aqi.toml``.

Pure numbers. Concentrations in µg/m³, CO too. What the decision leaves open is decided here and said where it is: above
the last breakpoint the index stays 500, halves are rounded up. Its own worked example prints 60 for an hourly NO₂ of
118.7 µg/m³ where its formula gives 59.35; the formula is followed.
"""

from __future__ import annotations

import tomllib
from bisect import bisect_right
from dataclasses import dataclass
from importlib import resources
from math import floor
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

#: Metrics that the index is made of; one of the particles must be among those that are there.
PARTICLES: Final = ("pm2_5", "pm10")
GASES: Final = ("o3", "no2", "so2", "co")
METRICS: Final = (*PARTICLES, *GASES)

_DATA: Final[Mapping[str, Any]] = tomllib.loads(
    (resources.files("alerting") / "vn_aqi.toml").read_text(encoding="utf-8")
)
#: What the numbers are from, and the first day on which they were in force.
SOURCE: Final[str] = _DATA["source"]
VALID_FROM: Final[date] = _DATA["valid_from"]
#: Index values of the breakpoints, and the concentrations by column. Ozone has one for 1 h and one for 8 h.
INDEX: Final[tuple[int, ...]] = tuple(_DATA["index"])
BREAKPOINTS: Final[Mapping[str, tuple[float, ...]]] = {
    column: tuple(points) for column, points in _DATA["breakpoints"].items()
}
#: Hours that NowCast looks back over, and how many of the newest three must be there.
NOWCAST_HOURS: Final = 12
_NEWEST, _OF_NEWEST = 3, 2
_LEAST_WEIGHT: Final = 0.5
_OZONE_8H_LIMIT: Final = 400.0  # above it only the 1 h column counts


@dataclass(slots=True, frozen=True)
class Band:
    """A range of the index, both ends included, as it is shown to people."""

    id: str
    low: int
    high: int
    en: str
    vi: str
    rgb: tuple[int, int, int]

    @property
    def colour(self) -> str:
        """As the web writes it: ``#ff7e00``."""
        return "#{:02x}{:02x}{:02x}".format(*self.rgb)


BANDS: Final = tuple(Band(**{**band, "rgb": tuple(band["rgb"])}) for band in _DATA["band"])


@dataclass(slots=True, frozen=True)
class Aqi:
    """An index, the metric that it comes from, and what each gave (not rounded)."""

    value: int
    main: str
    parts: Mapping[str, float]

    @property
    def band(self) -> Band:
        """The range it lies in."""
        return band(self.value)


def band(value: int) -> Band:
    """The range an index, 0 to 500, lies in."""
    return next(found for found in BANDS if value <= found.high)


def sub_index(column: str, concentration: float) -> float:
    """The index of one concentration, not rounded: linear between breakpoints (formula 1).

    ``column``: a metric, or "o3_8h", which has no value above 400 µg/m³.
    """
    points = BREAKPOINTS[column]
    if concentration >= points[-1]:
        return float(INDEX[len(points) - 1])
    at = bisect_right(points, concentration) - 1
    low, high = points[at], points[at + 1]
    return (INDEX[at + 1] - INDEX[at]) / (high - low) * (concentration - low) + INDEX[at]


def nowcast(means: Sequence[float | None]) -> float | None:
    """The particles' concentration of an hour from up to twelve hourly means, the newest first; None if too few.

    With the least weight of one half the decision's sum is not divided by its weights: values that are missing then
    make it smaller.
    """
    means = means[:NOWCAST_HOURS]
    present = [(age, mean) for age, mean in enumerate(means) if mean is not None]
    if sum(age < _NEWEST for age, _ in present) < _OF_NEWEST:
        return None
    greatest = max(mean for _, mean in present)
    if greatest == 0:
        return 0.0
    weight = min(mean for _, mean in present) / greatest
    if weight <= _LEAST_WEIGHT:
        return sum(_LEAST_WEIGHT ** (age + 1) * mean for age, mean in present)
    return sum(weight**age * mean for age, mean in present) / sum(weight**age for age, _ in present)


def hourly(means: Mapping[str, Sequence[float | None]]) -> Aqi | None:
    """The index of an hour, from hourly means by metric, that hour's first; None without a particles' value."""
    parts: dict[str, float] = {}
    for metric, values in means.items():
        value = nowcast(values) if metric in PARTICLES else (values[0] if values else None)
        if value is not None:
            parts[metric] = sub_index(metric, value)
    return _greatest(parts)


def daily(means: Mapping[str, Sequence[float | None]], *, least_hours: int = 18, least_of_8: int = 6) -> Aqi | None:
    """The index of a day, from hourly means by metric, oldest first; None without a particles' value.

    The last 24 are those of the day; up to seven before them belong to the first means over 8 h. How many hours make a
    mean over 24 h or 8 h is not in the decision: three quarters.
    """
    parts: dict[str, float] = {}
    for metric, values in means.items():
        day = [value for value in values[-24:] if value is not None]
        if metric in PARTICLES:
            if len(day) >= least_hours:
                parts[metric] = sub_index(metric, sum(day) / len(day))
        elif day:
            parts[metric] = sub_index(metric, max(day))
            if metric == "o3":
                eights = _means_of_8(values, least_of_8)
                if eights and max(eights) <= _OZONE_8H_LIMIT:
                    parts[metric] = max(parts[metric], sub_index("o3_8h", max(eights)))
    return _greatest(parts)


def _means_of_8(values: Sequence[float | None], least: int) -> list[float]:
    """Over each 8 h that end in the last 24."""
    found = []
    for end in range(max(len(values) - 23, 1), len(values) + 1):
        there = [value for value in values[max(end - 8, 0) : end] if value is not None]
        if len(there) >= least:
            found.append(sum(there) / len(there))
    return found


def _greatest(parts: dict[str, float]) -> Aqi | None:
    if not parts.keys() & set(PARTICLES):
        return None
    main = max(parts, key=lambda metric: parts[metric])
    return Aqi(floor(parts[main] + 0.5), main, parts)
