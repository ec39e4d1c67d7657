"""Where a value may go without anything happening: the levels of the rules that watch one subject, sorted.

A subject may be watched by a thousand rules, and almost every reading crosses none of their levels. So each subject
carries one *calm*: an open interval of values, and the event time until which it holds. Only a reading outside of its
subject's calm is looked at rule by rule.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from math import inf, nextafter
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Sequence

    from alerting.judging.outcome import Ruled
    from alerting.rules import LadderRule

_LAST: Final = 2**63 - 1
_RECENT: Final = 8  # spans of a plan that are remembered: its subjects are seldom at more times than these


@dataclass(slots=True, frozen=True)
class Level:
    """A rule as bounds that are compared strictly, so that no bound needs to say whether it is part of the interval.

    The sign is +1 where greater is worse; below, values are compared after multiplication by it.
    """

    sign: int
    held: float  # signed values above it hold the level
    reached: float  # signed values below it do not: the next float above ``held``
    kept: float  # a fired alert goes on while the signed value is above it

    @classmethod
    def of(cls, rule: LadderRule, step: int = 0) -> Level:
        """The level of a rule's ladder with that number."""
        rung = rule.rungs[step]
        return cls.at(rule.sign, rung.raise_, rung.clear, inclusive=rule.inclusive)

    @classmethod
    def at(cls, sign: int, raise_: float, clear: float | None, *, inclusive: bool) -> Level:
        """That of two values, neither signed."""
        level = sign * raise_
        held = nextafter(level, -inf) if inclusive else level
        reached = level if inclusive else nextafter(level, inf)
        return cls(sign, held, reached, held if clear is None else sign * clear)

    def holds(self, value: float) -> bool:
        """Whether the level is reached."""
        return self.sign * value > self.held

    def keeps(self, value: float) -> bool:
        """Whether a fired alert goes on."""
        return self.sign * value > self.kept


@dataclass(slots=True, frozen=True)
class _Side:
    """The rules of one direction in force in one span of time, the level first reached first."""

    rules: list[int]
    reached: list[float]  # signed


class _Sides:
    """The levels of rules that are in force together."""

    def __init__(self, rules: Sequence[int], levels: Sequence[Level]) -> None:
        self._sides: list[tuple[int, _Side]] = []
        for sign in (1, -1):
            mine = sorted((n for n in rules if levels[n].sign == sign), key=lambda n: (levels[n].reached, n))
            if mine:
                self._sides.append((sign, _Side(mine, [levels[n].reached for n in mine])))

    def holding(self, value: float) -> Iterator[int]:
        """The rules whose level a value reaches."""
        for sign, side in self._sides:
            yield from side.rules[: bisect_right(side.reached, sign * value)]

    def calm(self, value: float, taken: Container[int]) -> tuple[float, float]:
        """The values around ``value``, exclusive, that reach no level of a rule that is not in ``taken``.

        Those that ``value`` reaches are taken.
        """
        low, high = -inf, inf
        for sign, side in self._sides:
            at = bisect_right(side.reached, sign * value)
            while at < len(side.rules) and side.rules[at] in taken:
                at += 1
            if at < len(side.rules):
                if sign > 0:
                    high = side.reached[at]
                else:
                    low = -side.reached[at]
        return low, high


class Span(NamedTuple):
    """The levels in force around an event time, and until when."""

    sides: _Sides
    until: int


class Plan:
    """The rules that watch a subject, by when they are in force.

    Between two days at which a rule begins or ends for good, those without a calendar stay the same. Those with one
    are asked, once for all subjects of the plan, and what is found is remembered by which of them are in force.
    """

    def __init__(self, rules: Sequence[int], ruled: Sequence[Ruled], levels: Sequence[Level]) -> None:
        self._ruled, self._levels = ruled, levels
        self._edges = sorted({edge for n in rules for edge in (ruled[n].start, ruled[n].end)})
        starts = [-_LAST, *self._edges]
        ends = [*self._edges, _LAST]
        self._rules = [
            [n for n in rules if ruled[n].start <= start and end <= ruled[n].end]
            for start, end in zip(starts, ends, strict=True)
        ]
        self._recurring = [[n for n in found if ruled[n].calendar is not None] for found in self._rules]
        self._spans = [
            None if recurring else Span(_Sides(found, levels), end)
            for found, recurring, end in zip(self._rules, self._recurring, ends, strict=True)
        ]
        self._ends = ends
        self._known: dict[tuple[int, frozenset[int]], _Sides] = {}
        self._recent: list[tuple[int, Span]] = []  # since when each is known to hold; the last one used comes first

    def span(self, time: int) -> Span:
        """What is in force at an event time, and until when."""
        era = bisect_right(self._edges, time)
        span = self._spans[era]
        return self._recurring_span(era, time) if span is None else span

    def _recurring_span(self, era: int, time: int) -> Span:
        for place, (since, span) in enumerate(self._recent):
            if since <= time < span.until:
                if place:
                    self._recent.insert(0, self._recent.pop(place))
                return span
        span = self._ask(era, time)
        # Until the same instant is the same span, known from an earlier time on.
        others = [known for known in self._recent if known[1].until != span.until]
        self._recent = [(time, span), *others[: _RECENT - 1]]
        return span

    def _ask(self, era: int, time: int) -> Span:
        recurring = self._recurring[era]
        resting = frozenset(n for n in recurring if not self._ruled[n].in_force(time))
        sides = self._known.get((era, resting))
        if sides is None:
            sides = _Sides([n for n in self._rules[era] if n not in resting], self._levels)
            self._known[era, resting] = sides
        return Span(sides, min(self._ends[era], *(self._ruled[n].next_edge(time) for n in recurring)))


class Plans:
    """One plan for all subjects that the same rules watch."""

    def __init__(self, ruled: Sequence[Ruled], levels: Sequence[Level]) -> None:
        self._ruled, self._levels = ruled, levels
        self._known: dict[tuple[int, ...], int] = {}
        self._plans: list[Plan] = []

    def number(self, rules: tuple[int, ...]) -> int:
        """The number of the plan of these rules."""
        number = self._known.setdefault(rules, len(self._plans))
        if number == len(self._plans):
            self._plans.append(Plan(rules, self._ruled, self._levels))
        return number

    def __getitem__(self, number: int) -> Plan:
        return self._plans[number]
