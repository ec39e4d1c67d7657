"""What alerts about readings say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alerting.messages.words import Text, clock, metric_name, quantity, span, titled, within
from alerting.rules import Direction

if TYPE_CHECKING:
    from alerting.rules import NoDataRule, ThresholdRule


def threshold_fired(rule: ThresholdRule, device: str, value: float, since: int) -> Text:
    """A level was reached, and held for as long as the rule asks."""
    name, level, seen = metric_name(rule.metric), quantity(rule.raise_, rule.unit), quantity(value, rule.unit)
    when = clock(since, rule.utc_offset)
    above = rule.direction is Direction.ABOVE
    en = {True: "at or above", False: "above"} if above else {True: "at or below", False: "below"}
    vi = {True: "bằng hoặc trên", False: "trên"} if above else {True: "bằng hoặc dưới", False: "dưới"}
    return titled(
        rule,
        f"{name.en} at {device} {seen.en}, {en[rule.inclusive]} {level.en} since {when.en}",
        f"{name.vi} tại {device} {seen.vi}, {vi[rule.inclusive]} {level.vi} từ {when.vi}",
    )


def threshold_resolved(rule: ThresholdRule, device: str, value: float, at: int) -> Text:
    """The level is not reached any more."""
    name, seen, when = within(metric_name(rule.metric)), quantity(value, rule.unit), clock(at, rule.utc_offset)
    return titled(
        rule,
        f"over: {name.en} at {device} {seen.en} at {when.en}",
        f"đã hết: {name.vi} tại {device} {seen.vi} lúc {when.vi}",
    )


def no_data_fired(rule: NoDataRule, device: str, heard: int) -> Text:
    """A device has been silent for too long."""
    name, last, after = within(metric_name(rule.metric)), clock(heard, rule.utc_offset), span(rule.after)
    return titled(
        rule,
        f"no {name.en} from {device} for more than {after.en}, last heard at {last.en}",
        f"không có dữ liệu {name.vi} từ {device} quá {after.vi}, lần cuối lúc {last.vi}",
    )


def no_data_resolved(rule: NoDataRule, device: str, at: int) -> Text:
    """The device is back."""
    name, when = within(metric_name(rule.metric)), clock(at, rule.utc_offset)
    return titled(
        rule,
        f"over: {name.en} from {device} again since {when.en}",
        f"đã hết: có lại dữ liệu {name.vi} từ {device} lúc {when.vi}",
    )
