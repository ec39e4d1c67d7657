"""What can never be: levels that no value reaches or none is below again, days that never come, nobody who is meant.

A rule that cannot fire is worse than none: it is believed to watch.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from alerting.rules.base import Fault
    from alerting.rules.calendar import Calendar
    from alerting.rules.ladder import LadderRule


class Span(NamedTuple):
    """What a figure can be, both ends included; and how that is said."""

    low: float
    high: float
    said: str


def levels(rule: LadderRule, can: Span) -> Iterator[Fault]:
    """Levels that the figure of a rule cannot reach, or that once reached cannot be over."""
    sign = rule.sign
    worst, best = (can.high, can.low) if sign > 0 else (can.low, can.high)
    for number, rung in enumerate(rule.rungs):
        place: tuple[str | int, ...] = () if rule.levels is None else ("levels", number)
        if sign * rung.raise_ > sign * worst or (rung.raise_ == worst and not rule.inclusive):
            yield (*place, "raise"), f"raise {rung.raise_:g} is never reached: {can.said}"
        elif rung.clear is not None and sign * rung.clear < sign * best:
            yield (*place, "clear"), f"clear {rung.clear:g} is never reached, so that it is never over: {can.said}"


def between(name: str, low: float, high: float, unit: str) -> Span:
    """A figure that is between two values; either may be infinite."""
    unit = "" if unit == "1" else f" {unit}"
    if high == inf:
        return Span(low, high, f"{name} is never below {low:g}{unit}")
    if low == -inf:
        return Span(low, high, f"{name} is never above {high:g}{unit}")
    return Span(low, high, f"{name} is from {low:g} to {high:g}{unit}")


def comes(calendar: Calendar | None, start: int, end: int) -> bool:
    """Whether a calendar holds at any time from ``start`` up to, not including, ``end``."""
    start = max(start, 0)  # since 1970 is since ever: what comes, comes every few years
    if calendar is None or calendar.holds(start):
        return True
    edge = calendar.next_edge(start)
    return edge is not None and edge < end


def takes_out(scope: Mapping[str, Any], exclude: Mapping[str, Any]) -> bool:
    """Whether all that a scope can match, by the keys that it gives, is taken out: each key of the other is one of its
    own, and all that it may be there.
    """
    return all(name in scope and _within(scope[name], some) for name, some in exclude.items())


def _within(mine: object, other: object) -> bool:
    if isinstance(mine, tuple) and isinstance(other, tuple):
        fold = [one.casefold() if isinstance(one, str) else one for one in other]
        return all((one.casefold() if isinstance(one, str) else one) in fold for one in mine)
    return bool(mine == other)
