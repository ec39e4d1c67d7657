"""The words that texts are made of: names, times, quantities, durations."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from alerting.model import Severity

if TYPE_CHECKING:
    from alerting.rules.base import BaseRule

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MONTHS: Final = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]


class Text(NamedTuple):
    """The same in both languages."""

    en: str
    vi: str


#: Severities as people call them. An alert itself is "cảnh báo", so none of its severities is.
SEVERITIES: Final[dict[str, Text]] = {
    Severity.INFO: Text("information", "thông tin"),
    Severity.WARNING: Text("warning", "chú ý"),
    Severity.MAJOR: Text("major", "nghiêm trọng"),
    Severity.CRITICAL: Text("critical", "khẩn cấp"),
}
#: Metrics as people call them; one that is not in here goes by its name.
METRIC_NAMES: Final[dict[str, Text]] = {
    "pm2_5": Text("PM2.5", "Bụi PM2.5"),
    "pm10": Text("PM10", "Bụi PM10"),
    "tsp": Text("Total dust", "Tổng bụi lơ lửng"),
    "no2": Text("NO₂", "NO₂"),
    "so2": Text("SO₂", "SO₂"),
    "co": Text("CO", "CO"),
    "o3": Text("Ozone", "Ôzôn"),
    "temperature": Text("Air temperature", "Nhiệt độ không khí"),
    "water_temperature": Text("Water temperature", "Nhiệt độ nước"),
    "humidity": Text("Humidity", "Độ ẩm"),
    "pressure": Text("Air pressure", "Khí áp"),
    "water_level": Text("Water level", "Mực nước"),
    "rain_1h": Text("Rain in 1 h", "Mưa 1 giờ"),
    "rain_24h": Text("Rain in 24 h", "Mưa 24 giờ"),
    "wind_speed": Text("Wind", "Gió"),
    "wind_gust": Text("Gusts", "Gió giật"),
    "wind_direction": Text("Wind direction", "Hướng gió"),
    "wave_height": Text("Wave height", "Độ cao sóng"),
    "salinity": Text("Salinity", "Độ mặn"),
    "ph": Text("pH", "Độ pH"),
    "dissolved_oxygen": Text("Dissolved oxygen", "Ôxy hòa tan"),
    "turbidity": Text("Turbidity", "Độ đục"),
    "conductivity": Text("Conductivity", "Độ dẫn điện"),
    "battery_voltage": Text("Battery", "Điện áp pin"),
    "signal_strength": Text("Signal strength", "Cường độ tín hiệu"),
}


def iso(time: int) -> str:
    """Microseconds UTC as ISO 8601 with Z."""
    return (_EPOCH + timedelta(microseconds=time)).isoformat().replace("+00:00", "Z")


def clock(time: int, utc_offset: str) -> Text:
    """Day, hour and minute at a place, and how far it is from UTC: "06:10 on 5 Nov (UTC+7)"."""
    hours, minutes = int(utc_offset[1:3]), int(utc_offset[4:6])
    sign = -1 if utc_offset[0] == "-" else 1
    at = _EPOCH + timedelta(microseconds=time) + sign * timedelta(hours=hours, minutes=minutes)
    zone = f"UTC{utc_offset[0]}{hours}" + (f":{minutes:02d}" if minutes else "") if hours or minutes else "UTC"
    shown = f"{at.hour:02d}:{at.minute:02d}"
    return Text(
        f"{shown} on {at.day} {_MONTHS[at.month - 1]} ({zone})",
        f"{shown} ngày {at.day}/{at.month} ({zone})",
    )


def quantity(value: float, unit: str) -> Text:
    """A number with its unit, to at most 6 digits; Vietnamese writes a decimal comma."""
    number = f"{value:.6g}" if abs(value) < 1e6 else f"{value:.0f}"
    suffix = "" if unit == "1" else f" {unit}"
    return Text(number + suffix, number.replace(".", ",") + suffix)


def span(microseconds: int) -> Text:
    """A duration in its two greatest parts: "1 h 30 min"."""
    left = microseconds // 1_000_000
    parts: list[tuple[str, str]] = []
    for size, en, vi in ((86_400, "d", "ngày"), (3_600, "h", "giờ"), (60, "min", "phút"), (1, "s", "giây")):
        count, left = divmod(left, size)
        if count:
            parts.append((f"{count} {en}", f"{count} {vi}"))
    parts = parts[:2] or [("0 s", "0 giây")]
    return Text(" ".join(p[0] for p in parts), " ".join(p[1] for p in parts))


def metric_name(metric: str) -> Text:
    """What people call a metric."""
    return METRIC_NAMES.get(metric, Text(metric, metric))


def within(text: Text) -> Text:
    """A name as it stands within a sentence: "Water level" loses its capital, "PM2.5" and "NO₂" do not."""
    return Text(*(t[:1].lower() + t[1:] if t[1:2].islower() else t for t in text))


def withdrawn(title: dict[str, Any], subject: str) -> Text:
    """The rule is not in use any more, or does not cover its subject any more."""
    return Text(
        f"{title['en']}: over: the rule no longer watches {subject}",
        f"{title['vi']}: đã hết: quy tắc không còn theo dõi {subject}",
    )


def edited(title: dict[str, Any], subject: str) -> Text:
    """The rule asks something else now."""
    return Text(
        f"{title['en']}: over for {subject}: the rule was edited and asks something else now",
        f"{title['vi']}: đã hết đối với {subject}: quy tắc đã sửa, điều kiện đã khác",
    )


def revised(text: Text) -> Text:
    """What is to be said now, of an alert of which something else was told."""
    return Text(f"{text.en} (revised: some data came late)", f"{text.vi} (sửa lại: có dữ liệu đến muộn)")


def told_late(text: Text) -> Text:
    """What nobody was told of when it began."""
    return Text(f"{text.en} (told late: some data came late)", f"{text.vi} (báo muộn: có dữ liệu đến muộn)")


def retracted(rule: BaseRule, subject: str) -> Text:
    """It was none."""
    return titled(
        rule,
        f"retracted for {subject}: data that came late show that it was not so",
        f"rút lại đối với {subject}: dữ liệu đến muộn cho thấy không phải như vậy",
    )


def out_of_force(rule: BaseRule, subject: str, at: int) -> Text:
    """The rule is not meant for this time of day or year, or not any more."""
    when = clock(at, rule.utc_offset)
    return titled(
        rule,
        f"over: {subject}, the rule is no longer in force at {when.en}",
        f"đã hết: {subject}, quy tắc hết hiệu lực lúc {when.vi}",
    )


def titled(rule: BaseRule, en: str, vi: str) -> Text:
    """A sentence after the title of its rule."""
    return Text(f"{rule.title.en}: {en}", f"{rule.title.vi}: {vi}")
