"""What alerts about vessels and zones say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from alerting.messages.words import Text, clock, span, titled
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
    """A vessel did with a zone what the rule watches for."""
    did, when = _ZONE_FIRED[rule.condition], clock(at, rule.utc_offset)
    return titled(
        rule,
        f"vessel {vessel} {did.en} {zone.name_en} at {when.en}",
        f"tàu {vessel} {did.vi} {zone.name_vi} lúc {when.vi}",
    )


def zone_resolved(rule: ZoneRule, vessel: str, zone: Zone, at: int, reason: str) -> Text:
    """The vessel left, or what it did is long enough ago, or it is forgotten, or the rule is no longer in force."""
    when = clock(at, rule.utc_offset)
    if reason == "left":
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
