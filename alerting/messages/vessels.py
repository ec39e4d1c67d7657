"""What alerts about vessels say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from alerting.messages.words import Text, clock, iso, quantity, span, titled

if TYPE_CHECKING:
    from alerting.rules.base import BaseRule
    from geofence.zones import Zone

_OVER: Final = {
    "forgotten": Text(
        "no longer followed: more transponders than there is room for",
        "không còn theo dõi: quá nhiều thiết bị phát",
    ),
    "one_track_left": Text("no longer one of two under this identity", "không còn hai tàu cùng danh tính"),
    "quiet": Text("not again for some time", "không lặp lại trong một thời gian"),
}


def fix(time: int, lon: float, lat: float) -> dict[str, Any]:
    """A fix as details tell it."""
    return {"time": iso(time), "lon": round(lon, 6), "lat": round(lat, 6)}


def _nautical(metres: float) -> Text:
    return quantity(round(metres / 1852, 1), "nm") if metres >= 1852 else quantity(round(metres), "m")


def vessel_over(rule: BaseRule, vessel: str, at: int, reason: str) -> Text:
    """An alert about a vessel is over, for a reason that has nothing to do with its kind."""
    why, when = _OVER[reason], clock(at, rule.utc_offset)
    return titled(
        rule,
        f"over: vessel {vessel}, {why.en}, {when.en}",
        f"đã hết: tàu {vessel}, {why.vi}, {when.vi}",
    )


def gap_opened(rule: BaseRule, vessel: str, last: int, after: int, probability: float | None, *, in_port: bool) -> Text:
    """Nothing heard of a vessel for too long."""
    when, long = clock(last, rule.utc_offset), span(after)
    where = Text("in port", "trong cảng") if in_port else Text("at sea", "trên biển")
    chance = Text("", "")
    if probability is not None:
        share = f"{probability * 100:.0f} %"
        chance = Text(f"; had it sent, heard by now: {share}", f"; nếu còn phát, khả năng nghe thấy: {share}")
    return titled(
        rule,
        f"no position of vessel {vessel} for more than {long.en}, last {where.en} at {when.en}{chance.en}",
        f"tàu {vessel} mất tín hiệu quá {long.vi}, lần cuối {where.vi} lúc {when.vi}{chance.vi}",
    )


def gap_lasts(rule: BaseRule, vessel: str, last: int, after: int) -> Text:
    """It has become more severe."""
    when, long = clock(last, rule.utc_offset), span(after)
    return titled(
        rule,
        f"still no position of vessel {vessel}, for more than {long.en}, last at {when.en}",
        f"tàu {vessel} vẫn mất tín hiệu, quá {long.vi}, lần cuối lúc {when.vi}",
    )


def gap_closed(rule: BaseRule, vessel: str, at: int, silent: int, metres: float, knots: float) -> Text:
    """The vessel is heard again."""
    when, long, away, speed = (
        clock(at, rule.utc_offset),
        span(silent),
        _nautical(metres),
        quantity(round(knots, 1), "kn"),
    )
    return titled(
        rule,
        f"over: vessel {vessel} heard again at {when.en}, {away.en} away after {long.en} ({speed.en})",
        f"đã hết: tàu {vessel} có lại tín hiệu lúc {when.vi}, cách {away.vi} sau {long.vi} ({speed.vi})",
    )


def gap_closed_by_other(rule: BaseRule, vessel: str, at: int, transponder: str) -> Text:
    """The vessel is heard again, by another of its transponders."""
    when = clock(at, rule.utc_offset)
    return titled(
        rule,
        f"over: vessel {vessel} heard at {when.en} by its other transponder, {transponder}",
        f"đã hết: tàu {vessel} có tín hiệu lúc {when.vi} từ thiết bị khác, {transponder}",
    )


def feed_silent(rule: BaseRule, source: str, last: int, vessels: int) -> Text:
    """A source by which vessels were heard brings nothing."""
    when = clock(last, rule.utc_offset)
    return titled(
        rule,
        f"nothing from {source}, by which {vessels} vessels were heard, since {when.en}",
        f"không nhận được tín hiệu từ {source}, nguồn của {vessels} tàu, từ {when.vi}",
    )


def feed_back(rule: BaseRule, source: str, at: int) -> Text:
    """It does again."""
    when = clock(at, rule.utc_offset)
    return titled(
        rule,
        f"over: {source} brings reports again since {when.en}",
        f"đã hết: có lại tín hiệu từ {source} lúc {when.vi}",
    )


def jumped(rule: BaseRule, vessel: str, at: int, metres: float, knots: float) -> Text:
    """A vessel is where it cannot have come to."""
    when, away, speed = clock(at, rule.utc_offset), _nautical(metres), quantity(round(knots), "kn")
    return titled(
        rule,
        f"vessel {vessel} jumped {away.en} at {when.en}, which needs {speed.en}",
        f"tàu {vessel} nhảy {away.vi} lúc {when.vi}, cần tốc độ {speed.vi}",
    )


def clashed(rule: BaseRule, vessel: str, since: int, metres: float) -> Text:
    """Two vessels under one identity."""
    when, away = clock(since, rule.utc_offset), _nautical(metres)
    return titled(
        rule,
        f"two vessels send as {vessel}, {away.en} apart, since {when.en}",
        f"hai tàu cùng phát danh tính {vessel}, cách nhau {away.vi}, từ {when.vi}",
    )


def clash_over(rule: BaseRule, vessel: str, at: int) -> Text:
    """Only one of them is left."""
    when = clock(at, rule.utc_offset)
    return titled(
        rule,
        f"over: one vessel sends as {vessel} at {when.en}",
        f"đã hết: chỉ còn một tàu phát danh tính {vessel} lúc {when.vi}",
    )


def distress(rule: BaseRule, vessel: str, said: str, at: int, *, test: bool) -> Text:
    """A distress signal, or a test of one."""
    when = clock(at, rule.utc_offset)
    what = Text("test of a distress signal", "thử tín hiệu cấp cứu") if test else Text("DISTRESS", "CẤP CỨU")
    return titled(rule, f"{what.en} from {vessel}: {said}, {when.en}", f"{what.vi} từ {vessel}: {said}, {when.vi}")


#: Names in a sentence; the rest is counted.
_NAMED: Final = 8


def _listed(vessels: list[str]) -> Text:
    if len(vessels) <= _NAMED:
        return Text(", ".join(vessels), ", ".join(vessels))
    names, more = ", ".join(vessels[:_NAMED]), len(vessels) - _NAMED
    return Text(f"{names} and {more} more", f"{names} và {more} tàu khác")


def _these(vessels: list[str]) -> Text:
    """Two by their names; more by their number, then the names."""
    if len(vessels) == 2:
        return Text("vessels " + " and ".join(vessels), "tàu " + " và ".join(vessels))
    names = _listed(vessels)
    return Text(f"{len(vessels)} vessels ({names.en})", f"{len(vessels)} tàu ({names.vi})")


def met(rule: BaseRule, vessels: list[str], since: int, lasted: int) -> Text:
    """Vessels have been together for long."""
    when, long, who = clock(since, rule.utc_offset), span(lasted), _these(vessels)
    return titled(
        rule,
        f"{who.en} together since {when.en}, for {long.en}",
        f"{who.vi} cạnh nhau từ {when.vi}, đã {long.vi}",
    )


def parted(rule: BaseRule, vessels: list[str], at: int, lasted: int) -> Text:
    """They are not any more."""
    when, long, who = clock(at, rule.utc_offset), span(lasted), _these(vessels)
    return titled(
        rule,
        f"over: {who.en} together until {when.en}, for {long.en}",
        f"đã hết: {who.vi} cạnh nhau đến {when.vi}, trong {long.vi}",
    )


def carried(rule: BaseRule, vessels: list[str], since: int, metres: float) -> Text:
    """Several identities move as one body."""
    when, path, names = clock(since, rule.utc_offset), _nautical(metres), _listed(vessels)
    return titled(
        rule,
        f"{len(vessels)} identities move as one since {when.en}, over {path.en}: {names.en}",
        f"{len(vessels)} danh tính di chuyển như một từ {when.vi}, qua {path.vi}: {names.vi}",
    )


def carried_over(rule: BaseRule, vessels: list[str], at: int) -> Text:
    """They do not any more."""
    when, names = clock(at, rule.utc_offset), _listed(vessels)
    return titled(
        rule,
        f"over: no longer moving as one at {when.en}: {names.en}",
        f"đã hết: không còn di chuyển như một lúc {when.vi}: {names.vi}",
    )


def loiters(rule: BaseRule, vessel: str, since: int, lasted: int) -> Text:
    """A vessel idles far out."""
    when, long = clock(since, rule.utc_offset), span(lasted)
    return titled(
        rule,
        f"vessel {vessel} hardly moves since {when.en}, for {long.en}",
        f"tàu {vessel} gần như đứng yên từ {when.vi}, đã {long.vi}",
    )


def stopped_loitering(rule: BaseRule, vessel: str, at: int, lasted: int) -> Text:
    """It does no more."""
    when, long = clock(at, rule.utc_offset), span(lasted)
    return titled(
        rule,
        f"over: vessel {vessel} moves on at {when.en}, after {long.en}",
        f"đã hết: tàu {vessel} di chuyển tiếp lúc {when.vi}, sau {long.vi}",
    )


def in_port(rule: BaseRule, vessel: str, port: Zone, since: int) -> Text:
    """A vessel visits a port."""
    when = clock(since, rule.utc_offset)
    return titled(
        rule,
        f"vessel {vessel} in port {port.name_en} since {when.en}",
        f"tàu {vessel} vào cảng {port.name_vi} từ {when.vi}",
    )


def left_port(rule: BaseRule, vessel: str, port: Zone, at: int, lasted: int) -> Text:
    """It has left."""
    when, long = clock(at, rule.utc_offset), span(lasted)
    return titled(
        rule,
        f"over: vessel {vessel} left port {port.name_en} at {when.en}, after {long.en}",
        f"đã hết: tàu {vessel} rời cảng {port.name_vi} lúc {when.vi}, sau {long.vi}",
    )


def fishes(rule: BaseRule, vessel: str, since: int) -> Text:
    """A vessel is likely fishing."""
    when = clock(since, rule.utc_offset)
    return titled(
        rule,
        f"vessel {vessel} likely fishing since {when.en}",
        f"tàu {vessel} có khả năng đang đánh bắt từ {when.vi}",
    )


def fished(rule: BaseRule, vessel: str, at: int, lasted: int) -> Text:
    """It does no more."""
    when, long = clock(at, rule.utc_offset), span(lasted)
    return titled(
        rule,
        f"over: vessel {vessel} likely fished until {when.en}, for {long.en}",
        f"đã hết: tàu {vessel} có khả năng đã đánh bắt đến {when.vi}, trong {long.vi}",
    )
