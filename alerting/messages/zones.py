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


#: By what lies ahead: what a vessel will do soon, and what it has done.
_AHEAD: Final = {
    "area": (Text("will be in", "sẽ vào"), Text("entered", "đã vào")),
    "line": (Text("will cross", "sẽ vượt"), Text("crossed", "đã vượt")),
    "out": (Text("will leave", "sẽ rời"), Text("left", "đã rời")),
}


def zone_neared(rule: ZoneRule, vessel: str, zone: Zone, step: int, at: int, since: int) -> Text:
    """A vessel will be in a zone, over a line or out of a zone soon (steps 0 and 1), or is (2), ``since`` microseconds
    after it was first said.
    """
    when = clock(at, rule.utc_offset)
    will, did = _AHEAD["out" if rule.condition is Condition.LEAVING else "line" if zone.is_line else "area"]
    if step == 2:
        warned = Text(
            *(f"{word} {time}" for word, time in zip((", warned of", ", báo trước"), span(since), strict=True))
        )
        said = warned if since else Text("", "")
        return titled(
            rule,
            f"vessel {vessel} {did.en} {zone.name_en} by {when.en}{said.en}{' before' if since else ''}",
            f"tàu {vessel} {did.vi} {zone.name_vi} lúc {when.vi}{said.vi}",
        )
    assert rule.within is not None
    soon = span(rule.imminent if step == 1 and rule.imminent is not None else rule.within)
    return titled(
        rule,
        f"vessel {vessel} {will.en} {zone.name_en} within {soon.en} of {when.en} at its course and speed",
        f"tàu {vessel} {will.vi} {zone.name_vi} trong vòng {soon.vi} kể từ {when.vi} nếu giữ hướng và tốc độ",
    )


def _speeds(rule: ZoneRule) -> Text:
    low, high = (None if sog is None else quantity(sog, "kn") for sog in (rule.min_sog, rule.max_sog))
    if low and high:
        return Text(f"{low.en} to {high.en}", f"{low.vi} đến {high.vi}")
    if low:
        return Text(f"{low.en} or more", f"từ {low.vi} trở lên")
    assert high is not None
    return Text(f"{high.en} or less", f"không quá {high.vi}")


_ZONE_OVER: Final = {
    "back": Text("vessel {vessel} is back in {zone} since {when}", "tàu {vessel} đã trở lại {zone} lúc {when}"),
    "back_over": Text(
        "vessel {vessel} is back over {zone} since {when}", "tàu {vessel} đã vượt trở lại {zone} lúc {when}"
    ),
    "stays": Text(
        "vessel {vessel} no longer heads out of {zone} since {when}",
        "tàu {vessel} không còn hướng ra khỏi {zone} từ {when}",
    ),
    "gone": Text("vessel {vessel}, {zone}, not back for {after}", "tàu {vessel}, {zone}, không trở lại trong {after}"),
    "left": Text("vessel {vessel} left {zone} at {when}", "tàu {vessel} rời khỏi {zone} lúc {when}"),
    "changed": Text(
        "vessel {vessel}, {zone}, out of it or at another speed since {when}",
        "tàu {vessel}, {zone}, đã ra khỏi hoặc đổi tốc độ lúc {when}",
    ),
    "returned": Text("vessel {vessel} is back out of {zone} since {when}", "tàu {vessel} đã ra khỏi {zone} lúc {when}"),
    "turned_away": Text(
        "vessel {vessel} no longer heads for {zone} since {when}", "tàu {vessel} không còn hướng vào {zone} từ {when}"
    ),
    "quiet": Text(
        "vessel {vessel}, {zone}, not again for {after}", "tàu {vessel}, {zone}, không lặp lại trong {after}"
    ),
    "forgotten": Text(
        "vessel {vessel}, {zone}, no longer followed: more transponders than there is room for",
        "tàu {vessel}, {zone}, không còn theo dõi: quá nhiều thiết bị phát",
    ),
    "one_track_left": Text(
        "vessel {vessel}, {zone}, no longer one of two under this identity",
        "tàu {vessel}, {zone}, không còn hai tàu cùng danh tính",
    ),
    "edited": Text(
        "vessel {vessel} is outside {zone} as it is drawn now", "tàu {vessel} ở ngoài {zone} theo ranh giới mới"
    ),
    "not_in_force": Text(
        "vessel {vessel}, {zone}, the rule is no longer in force at {when}",
        "tàu {vessel}, {zone}, quy định hết hiệu lực lúc {when}",
    ),
}


def zone_resolved(rule: ZoneRule, vessel: str, zone: Zone, at: int, reason: str) -> Text:
    """It is over, at a time, for a reason."""
    when, after = clock(at, rule.utc_offset), span(rule.resolve_after)
    over = _ZONE_OVER[_way(rule, zone, reason)]
    return titled(
        rule,
        f"over: {over.en.format(vessel=vessel, zone=zone.name_en, when=when.en, after=after.en)}",
        f"đã hết: {over.vi.format(vessel=vessel, zone=zone.name_vi, when=when.vi, after=after.vi)}",
    )


def _way(rule: ZoneRule, zone: Zone, reason: str) -> str:
    """How a reason is said of what the rule asks."""
    said = {}
    if rule.condition is Condition.SPEED:
        said = {"left": "changed"}
    elif rule.condition is Condition.LEAVING:
        said = {"returned": "back", "turned_away": "stays", "quiet": "gone"}
    elif rule.condition is Condition.APPROACHING and zone.is_line:
        said = {"returned": "back_over", "quiet": "gone"}
    return said.get(reason, reason)
