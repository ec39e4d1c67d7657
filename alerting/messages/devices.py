"""What alerts about readings say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alerting.messages.ladder import level_prefix, reached
from alerting.messages.words import Text, clock, metric_name, quantity, span, titled, within
from alerting.model import Event

if TYPE_CHECKING:
    from alerting.rules import NoDataRule, ThresholdRule


def threshold_reached(rule: ThresholdRule, step: int, device: str, value: float, since: int, event: Event) -> Text:
    """A level was reached, and held for as long as the rule asks; or it is the next less severe one that still is."""
    rung = rule.rungs[step]
    name, seen, when = metric_name(rule.metric), quantity(value, rule.unit), clock(since, rule.utc_offset)
    said = reached(rule, step, rule.unit)
    what, now = within(name) if rule.levels else name, level_prefix(rung, event) if rule.levels else Text("", "")
    return titled(
        rule,
        f"{now.en}{what.en} at {device} {seen.en}, {said.en} since {when.en}",
        f"{now.vi}{what.vi} tại {device} {seen.vi}, {said.vi} từ {when.vi}",
    )


def threshold_eased(rule: ThresholdRule, step: int, device: str, value: float, at: int) -> Text:
    """A more severe level is not held any more, this one still is."""
    name, seen = within(metric_name(rule.metric)), quantity(value, rule.unit)
    now, when = level_prefix(rule.rungs[step], Event.DEESCALATED), clock(at, rule.utc_offset)
    return titled(
        rule,
        f"{now.en}{name.en} at {device} {seen.en} at {when.en}",
        f"{now.vi}{name.vi} tại {device} {seen.vi} lúc {when.vi}",
    )


def threshold_resolved(rule: ThresholdRule, device: str, value: float, at: int) -> Text:
    """The level is not reached any more."""
    name, seen, when = within(metric_name(rule.metric)), quantity(value, rule.unit), clock(at, rule.utc_offset)
    return titled(
        rule,
        f"over: {name.en} at {device} {seen.en} at {when.en}",
        f"đã hết: {name.vi} tại {device} {seen.vi} lúc {when.vi}",
    )


def no_data_fired(rule: NoDataRule, device: str, heard: int, waited: int) -> Text:
    """A device has been silent for too long."""
    name, last, after = within(metric_name(rule.metric)), clock(heard, rule.utc_offset), span(waited)
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
