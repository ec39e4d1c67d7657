"""The metric catalogue: the one unit of every metric, and what a value can physically be.

Decoders refuse values outside the range (``Reason.OUT_OF_RANGE``), storage seeds its ``metrics`` table from it, and a
rule whose unit differs from the catalogue's does not load. A range is wide on purpose: it tells a broken sensor from
a bad day, and no alarm level is meant by it. A metric that is not in here has no unit and no range.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(slots=True, frozen=True)
class Metric:
    """One measured quantity. ``low`` and ``high`` are inclusive, in ``unit``."""

    name: str
    unit: str  # UCUM-like text as shown to people; "1" for a pure number
    low: float
    high: float
    description: str


_ALL: Final = (
    Metric("pm2_5", "µg/m³", 0.0, 2000.0, "Particles up to 2.5 µm"),
    Metric("pm10", "µg/m³", 0.0, 5000.0, "Particles up to 10 µm"),
    Metric("tsp", "µg/m³", 0.0, 10000.0, "Total suspended particles"),
    Metric("no2", "µg/m³", 0.0, 10000.0, "Nitrogen dioxide"),
    Metric("so2", "µg/m³", 0.0, 20000.0, "Sulphur dioxide"),
    Metric("co", "µg/m³", 0.0, 1_200_000.0, "Carbon monoxide"),
    Metric("o3", "µg/m³", 0.0, 5000.0, "Ozone"),
    Metric("temperature", "°C", -40.0, 60.0, "Air temperature"),
    Metric("water_temperature", "°C", -5.0, 50.0, "Water temperature"),
    Metric("humidity", "%", 0.0, 100.0, "Relative humidity of the air"),
    Metric("pressure", "hPa", 500.0, 1100.0, "Atmospheric pressure at the station"),  # record low at sea level: 870
    Metric("water_level", "m", -10.0, 9000.0, "Water level above the station's datum"),  # a datum may be mean sea level
    Metric("rain_1h", "mm", 0.0, 500.0, "Rain of the last hour"),  # WMO record: 305 mm in 42 minutes
    Metric("rain_24h", "mm", 0.0, 2500.0, "Rain of the last 24 hours"),  # WMO record: 1825 mm
    Metric("wind_speed", "m/s", 0.0, 115.0, "Mean wind speed"),
    Metric("wind_gust", "m/s", 0.0, 150.0, "Wind gust"),  # WMO record: 113.2 m/s
    Metric("wind_direction", "°", 0.0, 360.0, "Direction the wind comes from, clockwise from true north"),
    Metric("wave_height", "m", 0.0, 40.0, "Significant wave height"),
    Metric("salinity", "PSU", 0.0, 70.0, "Practical salinity"),
    Metric("ph", "1", 0.0, 14.0, "Acidity of the water"),
    Metric("dissolved_oxygen", "mg/L", 0.0, 40.0, "Dissolved oxygen"),
    Metric("turbidity", "NTU", 0.0, 10000.0, "Turbidity"),
    Metric("conductivity", "µS/cm", 0.0, 200_000.0, "Electrical conductivity of the water"),
    Metric("battery_voltage", "V", 0.0, 100.0, "Voltage of the device's battery"),
    Metric("signal_strength", "dBm", -200.0, 30.0, "Received signal strength of the device's link"),
)

#: Metric name -> metric.
METRICS: Final[Mapping[str, Metric]] = MappingProxyType({metric.name: metric for metric in _ALL})
