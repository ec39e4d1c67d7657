"""What the sensors would read had they no noise: metrics as functions of time, with the day and the weather in them.

Every function takes ``t``, seconds of the simulation, and ``day``, the local hour of the day (UTC+7) at that time
counted without a break (so 25.5 is half past one in the second night). Units are those of ``decoders.catalogue``.

The shapes are plausible for Huế, not a model of it: a flood rises faster than it recedes, the rain comes before it;
pollution has two rush hours; oxygen in the lagoon follows the sun.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

HOUR: Final = 3600.0


@dataclass(slots=True, frozen=True)
class Weather:
    """When, in seconds of the simulation, each event begins; None where it does not come."""

    flood: float | None = None
    wind: float | None = None
    smog: float | None = None


CALM: Final = Weather()

#: Hours from the onset of a flood to its crest at the gauge.
FLOOD_CREST_H: Final = 12.0
WIND_CREST_H: Final = 5.0
SMOG_CREST_H: Final = 8.0


def pulse(t: float, onset: float | None, crest_h: float, sharpness: float) -> float:
    """0 before the onset, 1 at the crest, and a slower way down: (x e^(1-x))^sharpness, as unit hydrographs go."""
    if onset is None or t <= onset:
        return 0.0
    x = (t - onset) / (crest_h * HOUR)
    return math.exp(sharpness * (math.log(x) + 1.0 - x))


def _swing(day: float, peak_hour: float) -> float:
    """A daily cosine in [-1, 1], 1 at ``peak_hour``."""
    return math.cos((day - peak_hour) / 24.0 * math.tau)


def _bump(day: float, hour: float, width_h: float) -> float:
    """A daily bump in [0, 1], 1 at ``hour``."""
    off = (day - hour + 12.0) % 24.0 - 12.0
    return math.exp(-0.5 * (off / width_h) ** 2)


def water_level(weather: Weather, base: float, crest: float, lag_h: float, t: float, day: float) -> float:
    tide = 0.06 * math.cos(day / 12.42 * math.tau)  # M2, 12.42 h: what of it comes up the river
    onset = None if weather.flood is None else weather.flood + lag_h * HOUR
    rise = pulse(t, onset, FLOOD_CREST_H, 4.0)
    return base + tide * (1.0 - rise) + (crest - base) * rise


def rain_1h(weather: Weather, crest: float, t: float, _day: float) -> float:
    onset = None if weather.flood is None else weather.flood - 4.0 * HOUR
    return crest * pulse(t, onset, 8.0, 5.0)


def wind_speed(weather: Weather, factor: float, t: float, day: float) -> float:
    breeze = 3.0 + 2.0 * _bump(day, 14.0, 3.5)
    return factor * (breeze + 15.0 * pulse(t, weather.wind, WIND_CREST_H, 3.0))


def wind_gust(weather: Weather, factor: float, t: float, day: float) -> float:
    return 1.4 * wind_speed(weather, factor, t, day) + 0.5


def wind_direction(weather: Weather, t: float, day: float) -> float:
    """Sea breeze by day, land breeze by night, north-east when it storms."""
    storm = pulse(t, weather.wind, WIND_CREST_H, 3.0)
    return (1.0 - storm) * (135.0 + 80.0 * -_swing(day, 14.0)) + storm * 45.0


def pm2_5(weather: Weather, base: float, t: float, day: float) -> float:
    rush = 12.0 * _bump(day, 7.5, 1.3) + 10.0 * _bump(day, 18.5, 1.6)
    washed = 1.0 - 0.6 * pulse(t, None if weather.flood is None else weather.flood - 4.0 * HOUR, 8.0, 5.0)
    return (base + rush) * washed + 130.0 * pulse(t, weather.smog, SMOG_CREST_H, 3.0)


def pm10(weather: Weather, base: float, t: float, day: float) -> float:
    return 1.55 * pm2_5(weather, base, t, day) + 6.0


def no2(weather: Weather, t: float, day: float) -> float:
    rush = 30.0 * _bump(day, 7.5, 1.2) + 26.0 * _bump(day, 18.5, 1.5)
    return 14.0 + rush + 40.0 * pulse(t, weather.smog, SMOG_CREST_H, 3.0)


def o3(weather: Weather, t: float, day: float) -> float:
    return 30.0 + 60.0 * _bump(day, 14.0, 3.0) + 30.0 * pulse(t, weather.smog, SMOG_CREST_H, 3.0)


def temperature(weather: Weather, t: float, day: float) -> float:
    return 26.5 + 4.0 * _swing(day, 14.0) - 4.0 * pulse(t, weather.flood, FLOOD_CREST_H, 4.0)


def humidity(weather: Weather, t: float, day: float) -> float:
    return min(99.0, 80.0 - 12.0 * _swing(day, 14.0) + 20.0 * pulse(t, weather.flood, FLOOD_CREST_H, 4.0))


def water_temperature(_t: float, day: float) -> float:
    return 27.5 + 1.2 * _swing(day, 16.0)


def salinity(weather: Weather, base: float, t: float, day: float) -> float:
    tide = 1.5 * math.cos(day / 12.42 * math.tau)
    return max(0.3, (base + tide) * (1.0 - 0.95 * pulse(t, weather.flood, 1.4 * FLOOD_CREST_H, 3.0)))


def ph(_t: float, day: float) -> float:
    return 8.0 + 0.2 * _swing(day, 15.5)


def dissolved_oxygen(weather: Weather, t: float, day: float) -> float:
    return 6.6 + 1.5 * _swing(day, 15.5) - 2.0 * pulse(t, weather.flood, 1.4 * FLOOD_CREST_H, 3.0)


def turbidity(weather: Weather, t: float, _day: float) -> float:
    return 9.0 + 240.0 * pulse(t, weather.flood, FLOOD_CREST_H, 3.0)


@dataclass(slots=True, frozen=True)
class Channel:
    """One metric of one device: the true series, and how its sensor errs and reports."""

    metric: str
    series: Callable[[float, float], float]
    noise: float  # standard deviation of the error, in the metric's unit
    decimals: int
    low: float = -math.inf  # what the sensor cannot read below
    high: float = math.inf
    relative: bool = False  # the noise is a part of the value: a rain gauge in the dry reads 0


def channels(kind: str, number: int, weather: Weather) -> tuple[Channel, ...]:
    """The channels of the ``number``-th (from 1) device of a kind.

    Raises:
        KeyError: no such kind.
    """
    shade = 0.9 + 0.07 * (number % 4)  # two stations of a kind never read quite the same
    match kind:
        case "kim-long":
            return (Channel("water_level", partial(water_level, weather, 0.42, 4.3, 0.0), 0.008, 2),)
        case "phu-oc":
            return (Channel("water_level", partial(water_level, weather, 0.65, 4.9, -1.0), 0.008, 2),)
        case "rain":
            return (Channel("rain_1h", partial(rain_1h, weather, 48.0 * shade), 0.08, 1, 0.0, relative=True),)
        case "wind":
            return (
                Channel("wind_speed", partial(wind_speed, weather, shade), 0.3, 1, 0.0),
                Channel("wind_gust", partial(wind_gust, weather, shade), 0.5, 1, 0.0),
                Channel("wind_direction", partial(wind_direction, weather), 4.0, 0, 0.0, 360.0),
            )
        case "air":
            return (
                Channel("pm2_5", partial(pm2_5, weather, 18.0 * shade), 0.8, 1, 0.0),
                Channel("pm10", partial(pm10, weather, 18.0 * shade), 1.5, 1, 0.0),
                Channel("no2", partial(no2, weather), 1.5, 1, 0.0),
                Channel("o3", partial(o3, weather), 2.0, 1, 0.0),
                Channel("temperature", partial(temperature, weather), 0.1, 1),
                Channel("humidity", partial(humidity, weather), 0.5, 1, 0.0, 100.0),
            )
        case "lagoon":
            return (
                Channel("water_temperature", water_temperature, 0.05, 2),
                Channel("salinity", partial(salinity, weather, 20.0 * shade), 0.1, 2, 0.0),
                Channel("ph", ph, 0.02, 2, 0.0, 14.0),
                Channel("dissolved_oxygen", partial(dissolved_oxygen, weather), 0.05, 2, 0.0),
                Channel("turbidity", partial(turbidity, weather), 0.05, 1, 0.0, relative=True),
            )
        case _:
            raise KeyError(kind)
