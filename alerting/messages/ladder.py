"""What levels are called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from alerting.messages.words import SEVERITIES, Text, quantity
from alerting.model import Event
from alerting.rules import Direction

if TYPE_CHECKING:
    from alerting.rules import LadderRule, Rung

_NOW: Final = {
    Event.FIRING: Text("", ""),
    Event.ESCALATED: Text("up to ", "lên "),
    Event.DEESCALATED: Text("down to ", "xuống "),
}


def level_name(rung: Rung) -> Text:
    """What people call a level, or how severe it is."""
    return Text(rung.name.en, rung.name.vi) if rung.name else SEVERITIES[rung.severity]


def level_prefix(rung: Rung, event: Event) -> Text:
    """The level that an alert has come to, before the rest of the sentence."""
    return Text(*(f"{now}{name}: " for now, name in zip(_NOW[event], level_name(rung), strict=True)))


def reached(rule: LadderRule, step: int, unit: str) -> Text:
    """On which side of a level something is: "at or above 2 m"."""
    level = quantity(rule.rungs[step].raise_, unit)
    above = rule.direction is Direction.ABOVE
    en = {True: "at or above", False: "above"} if above else {True: "at or below", False: "below"}
    vi = {True: "bằng hoặc trên", False: "trên"} if above else {True: "bằng hoặc dưới", False: "dưới"}
    return Text(f"{en[rule.inclusive]} {level.en}", f"{vi[rule.inclusive]} {level.vi}")
