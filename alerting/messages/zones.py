"""What alerts about vessels and zones say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from alerting.messages.words import Text, clock, quantity, span, titled
from alerting.rules import Condition

if TYPE_CHECKING:
    from alerting.rules import ZoneRule
    from geofence.zones import Zone

_ZONE_FIRED: Final = {
    Condition.ENTERED: Text("entered", "đi vào"),
    Condition.INSIDE: Text("is in", "ở trong"),
    Condition.LEFT: Text("left", "rời khỏi"),
    Condition.CROSSED: Text("crossed", "đi xuyên qua"),
}


def zone_fired(rule: ZoneRule, vessel: str, zone: Zone, at: int) -> Text:
    """A vessel did with a zone what the rule watches for; ``at``: when it began."""
    when = clock(at, rule.utc_offset)
    match rule.condition:
        case Condition.DWELL:
            for_ = span(rule.for_)
            return titled(
                rule,
                f"vessel {vessel} has been in {zone.name_en} for {for_.en}, since {when.en}",
                f"tàu {vessel} đã ở trong {zone.name_vi} {for_.vi}, từ {when.vi}",
            )
        case Condition.SPEED:
            speed, for_ = _speeds(rule), Text("", "")
            if rule.for_:
                for_ = Text(*(f"{word} {time}" for word, time in zip((" for", " trong"), span(rule.for_), strict=True)))
            return titled(
                rule,
                f"vessel {vessel} in {zone.name_en} at {speed.en}{for_.en}, since {when.en}",
                f"tàu {vessel} chạy {speed.vi} trong {zone.name_vi}{for_.vi}, từ {when.vi}",
            )
    did = _ZONE_FIRED[rule.condition]
    return titled(
        rule,
        f"vessel {vessel} {did.en} {zone.name_en} at {when.en}",
        f"tàu {vessel} {did.vi} {zone.name_vi} lúc {when.vi}",
    )


def _speeds(rule: ZoneRule) -> Text:
    low, high = (None if sog is None else quantity(sog, "kn") for sog in (rule.min_sog, rule.max_sog))
    if low and high:
        return Text(f"{low.en} to {high.en}", f"{low.vi} đến {high.vi}")
    if low:
        return Text(f"{low.en} or more", f"từ {low.vi} trở lên")
    assert high is not None
    return Text(f"{high.en} or less", f"không quá {high.vi}")


def zone_resolved(rule: ZoneRule, vessel: str, zone: Zone, at: int, reason: str) -> Text:
    """The vessel left, or what it did is long enough ago, or it is forgotten, or the rule is no longer in force."""
    when = clock(at, rule.utc_offset)
    if reason == "left":
        if rule.condition is Condition.SPEED:
            return titled(
                rule,
                f"over: vessel {vessel}, {zone.name_en}, out of it or at another speed since {when.en}",
                f"đã hết: tàu {vessel}, {zone.name_vi}, đã ra khỏi hoặc đổi tốc độ lúc {when.vi}",
            )
        return titled(
            rule,
            f"over: vessel {vessel} left {zone.name_en} at {when.en}",
            f"đã hết: tàu {vessel} rời khỏi {zone.name_vi} lúc {when.vi}",
        )
    if reason == "quiet":
        after = span(rule.resolve_after)
        return titled(
            rule,
            f"over: vessel {vessel}, {zone.name_en}, not again for {after.en}",
            f"đã hết: tàu {vessel}, {zone.name_vi}, không lặp lại trong {after.vi}",
        )
    if reason == "forgotten":
        return titled(
            rule,
            f"over: vessel {vessel}, {zone.name_en}, no longer followed: more transponders than there is room for",
            f"đã hết: tàu {vessel}, {zone.name_vi}, không còn theo dõi: quá nhiều thiết bị phát",
        )
    return titled(
        rule,
        f"over: vessel {vessel}, {zone.name_en}, the rule is no longer in force at {when.en}",
        f"đã hết: tàu {vessel}, {zone.name_vi}, quy định hết hiệu lực lúc {when.vi}",
    )
