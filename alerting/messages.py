"""What an alert says to people, in English and Vietnamese. One line each: it has to fit a text message."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from alerting.rules import Condition, Direction

if TYPE_CHECKING:
    from alerting.rules import NoDataRule, Rule, ThresholdRule, ZoneRule
    from geofence.zones import Zone

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MONTHS: Final = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]


class Text(NamedTuple):
    """The same in both languages."""

    en: str
    vi: str


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
    return Text(
        f"{at:%H:%M} on {at.day} {_MONTHS[at.month - 1]} ({zone})",
        f"{at:%H:%M} ngày {at.day}/{at.month} ({zone})",
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
    return METRIC_NAMES.get(metric, Text(metric, metric))


def _within(text: Text) -> Text:
    """A name as it stands within a sentence: "Water level" loses its capital, "PM2.5" and "NO₂" do not."""
    return Text(*(t[:1].lower() + t[1:] if t[1:2].islower() else t for t in text))


def threshold_fired(rule: ThresholdRule, device: str, value: float, since: int) -> Text:
    """A level was reached, and held for as long as the rule asks."""
    name, level, seen = metric_name(rule.metric), quantity(rule.raise_, rule.unit), quantity(value, rule.unit)
    when = clock(since, rule.utc_offset)
    above = rule.direction is Direction.ABOVE
    en = {True: "at or above", False: "above"} if above else {True: "at or below", False: "below"}
    vi = {True: "bằng hoặc trên", False: "trên"} if above else {True: "bằng hoặc dưới", False: "dưới"}
    return _titled(
        rule,
        f"{name.en} at {device} {seen.en}, {en[rule.inclusive]} {level.en} since {when.en}",
        f"{name.vi} tại {device} {seen.vi}, {vi[rule.inclusive]} {level.vi} từ {when.vi}",
    )


def threshold_resolved(rule: ThresholdRule, device: str, value: float, at: int) -> Text:
    """The level is not reached any more."""
    name, seen, when = _within(metric_name(rule.metric)), quantity(value, rule.unit), clock(at, rule.utc_offset)
    return _titled(
        rule,
        f"over: {name.en} at {device} {seen.en} at {when.en}",
        f"đã hết: {name.vi} tại {device} {seen.vi} lúc {when.vi}",
    )


def no_data_fired(rule: NoDataRule, device: str, heard: int) -> Text:
    """A device has been silent for too long."""
    name, last, after = _within(metric_name(rule.metric)), clock(heard, rule.utc_offset), span(rule.after)
    return _titled(
        rule,
        f"no {name.en} from {device} for more than {after.en}, last heard at {last.en}",
        f"không có dữ liệu {name.vi} từ {device} quá {after.vi}, lần cuối lúc {last.vi}",
    )


def no_data_resolved(rule: NoDataRule, device: str, at: int) -> Text:
    """The device is back."""
    name, when = _within(metric_name(rule.metric)), clock(at, rule.utc_offset)
    return _titled(
        rule,
        f"over: {name.en} from {device} again since {when.en}",
        f"đã hết: có lại dữ liệu {name.vi} từ {device} lúc {when.vi}",
    )


_ZONE_FIRED: Final = {
    Condition.ENTERED: Text("entered", "đi vào"),
    Condition.INSIDE: Text("is in", "ở trong"),
    Condition.LEFT: Text("left", "rời khỏi"),
    Condition.CROSSED: Text("crossed", "đi xuyên qua"),
}


def zone_fired(rule: ZoneRule, vessel: str, zone: Zone, at: int) -> Text:
    """A vessel did with a zone what the rule watches for."""
    did, when = _ZONE_FIRED[rule.condition], clock(at, rule.utc_offset)
    return _titled(
        rule,
        f"vessel {vessel} {did.en} {zone.name_en} at {when.en}",
        f"tàu {vessel} {did.vi} {zone.name_vi} lúc {when.vi}",
    )


def zone_resolved(rule: ZoneRule, vessel: str, zone: Zone, at: int, reason: str) -> Text:
    """The vessel left, or what it did is long enough ago, or it is forgotten, or the rule is no longer in force."""
    when = clock(at, rule.utc_offset)
    if reason == "left":
        return _titled(
            rule,
            f"over: vessel {vessel} left {zone.name_en} at {when.en}",
            f"đã hết: tàu {vessel} rời khỏi {zone.name_vi} lúc {when.vi}",
        )
    if reason == "quiet":
        after = span(rule.resolve_after)
        return _titled(
            rule,
            f"over: vessel {vessel}, {zone.name_en}, not again for {after.en}",
            f"đã hết: tàu {vessel}, {zone.name_vi}, không lặp lại trong {after.vi}",
        )
    if reason == "forgotten":
        return _titled(
            rule,
            f"over: vessel {vessel}, {zone.name_en}, no longer followed: more transponders than there is room for",
            f"đã hết: tàu {vessel}, {zone.name_vi}, không còn theo dõi: quá nhiều thiết bị phát",
        )
    return _titled(
        rule,
        f"over: vessel {vessel}, {zone.name_en}, the rule is no longer in force at {when.en}",
        f"đã hết: tàu {vessel}, {zone.name_vi}, quy định hết hiệu lực lúc {when.vi}",
    )


def withdrawn(title: dict[str, Any], subject: str) -> Text:
    """The rule is not in use any more, or does not cover its subject any more."""
    return Text(
        f"{title['en']}: over: the rule no longer watches {subject}",
        f"{title['vi']}: đã hết: quy tắc không còn theo dõi {subject}",
    )


def _titled(rule: Rule, en: str, vi: str) -> Text:
    return Text(f"{rule.title.en}: {en}", f"{rule.title.vi}: {vi}")
