"""What alerts about figures made of readings say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from alerting.messages.ladder import level_prefix, reached
from alerting.messages.words import Text, clock, metric_name, quantity, span, titled, within
from alerting.model import Event
from alerting.rules import AqiRule, RangeRule, RateRule, StuckRule, WindowRule
from alerting.rules.aqi import Period
from alerting.rules.figures import Aggregate
from alerting.vn_aqi import band

if TYPE_CHECKING:
    from alerting.meters import Figure, FigureRule

_AGGREGATES: Final = {
    Aggregate.MEAN: Text("mean", "trung bình"),
    Aggregate.MAX: Text("maximum", "lớn nhất"),
    Aggregate.MIN: Text("minimum", "nhỏ nhất"),
    Aggregate.SUM: Text("sum", "tổng"),
    Aggregate.COUNT: Text("number of readings", "số lần đo"),
}


def figure(rule: FigureRule, step: int, device: str, shown: Figure, at: int, event: Event) -> Text:
    """What a figure came to at a time, and what that is to its alert."""
    what, when = _what(rule, device, shown), clock(at, rule.utc_offset)
    if event is Event.RESOLVED:
        return titled(rule, f"over: {what.en} at {when.en}", f"đã hết: {what.vi} lúc {when.vi}")
    level = Text("", "")
    prefix = Text("", "")
    if not isinstance(rule, StuckRule | RangeRule):
        said = reached(rule, step, _unit(rule))
        level = Text(f", {said.en}", f", {said.vi}") if event is not Event.DEESCALATED else level
        prefix = level_prefix(rule.rungs[step], event) if rule.levels else prefix
    return titled(
        rule,
        f"{prefix.en}{what.en}{level.en} at {when.en}",
        f"{prefix.vi}{what.vi}{level.vi} lúc {when.vi}",
    )


def _unit(rule: WindowRule | RateRule | AqiRule) -> str:
    if isinstance(rule, RateRule):
        per = span(rule.per).en
        return f"{rule.unit}/{per.removeprefix('1 ')}"
    return "1" if isinstance(rule, AqiRule) else rule.unit


def _what(rule: FigureRule, device: str, shown: Figure) -> Text:
    match rule:
        case AqiRule():
            return _aqi(rule, device, shown)
        case RateRule():
            name, seen = within(metric_name(rule.metric)), quantity(shown.value, _unit(rule))
            over = span(rule.over)
            return Text(
                f"{name.en} at {device} changes by {seen.en} (over {over.en})",
                f"{name.vi} tại {device} thay đổi {seen.vi} (trong {over.vi})",
            )
        case WindowRule():
            name, seen, over = within(metric_name(rule.metric)), quantity(shown.value, rule.unit), span(rule.over)
            how = _AGGREGATES[rule.aggregate]
            return Text(
                f"{how.en} of {name.en} at {device} over {over.en} {seen.en}",
                f"{name.vi} {how.vi} {over.vi} tại {device} {seen.vi}",
            )
        case StuckRule():
            return _stuck(rule, device, shown)
        case RangeRule():
            return _range(rule, device, shown)


def _range(rule: RangeRule, device: str, shown: Figure) -> Text:
    name, seen = within(metric_name(rule.metric)), quantity(shown.value, rule.unit)
    low = Text("", "") if rule.low is None else quantity(rule.low, rule.unit)
    high = Text("", "") if rule.high is None else quantity(rule.high, rule.unit)
    if rule.high is None:
        bounds = Text(f"{low.en} or more", f"từ {low.vi} trở lên")
    elif rule.low is None:
        bounds = Text(f"{high.en} or less", f"đến {high.vi}")
    else:
        bounds = Text(f"{low.en} to {high.en}", f"{low.vi} đến {high.vi}")
    if shown.level <= 0:
        return Text(f"{name.en} at {device} {seen.en}", f"{name.vi} tại {device} {seen.vi}")
    return Text(
        f"{name.en} at {device} {seen.en}, where {bounds.en} is plausible",
        f"{name.vi} tại {device} {seen.vi}, ngoài khoảng hợp lý {bounds.vi}",
    )


def _stuck(rule: StuckRule, device: str, shown: Figure) -> Text:
    name, seen, held = within(metric_name(rule.metric)), quantity(shown.value, rule.unit), span(rule.for_)
    if not shown.level:
        return Text(
            f"{name.en} at {device} changes again, {seen.en}", f"{name.vi} tại {device} thay đổi lại, {seen.vi}"
        )
    return Text(
        f"{name.en} at {device} unchanged at {seen.en} for {held.en} or more",
        f"{name.vi} tại {device} giữ nguyên {seen.vi} từ {held.vi} trở lên",
    )


def _aqi(rule: AqiRule, device: str, shown: Figure) -> Text:
    """Index, band and main pollutant."""
    value = int(shown.value)
    where, name = band(value), metric_name(shown.said["main"])
    period = Text("hour", "giờ") if rule.period is Period.HOUR else Text("day", "ngày")
    return Text(
        f"VN_AQI ({period.en}) at {device} {value}, {where.en}, mainly {name.en}",
        f"VN_AQI {period.vi} tại {device} {value}, mức {where.vi}, chủ yếu do {name.vi}",
    )
