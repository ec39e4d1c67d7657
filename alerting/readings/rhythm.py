"""How often a subject is heard, learned from itself: the interval of which ``after = "learned"`` is a multiple.

Kept are the three longest intervals of a day, and those of the last day before it that had any; what is learned is the
third longest of the six. So two outages a day teach nothing, a station that slows down is learned after three
intervals, and one that speeds up within two days. Intervals are rounded up on a grid, a quarter from one step to the
next, so that a steady stream changes what is kept a few times a day and not with every reading.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

DAY: Final = 86_400_000_000
_LONGEST: Final = 3
#: Microseconds: 1 s, 1.25 s, 1.5625 s ... two years.
GRID: Final = tuple(round(1_000_000 * 1.25**k) for k in range(82))


@dataclass(slots=True)
class Rhythm:
    """Steps of the grid, longest first. Days are of receive time, UTC."""

    day: int = -1
    top: list[int] = field(default_factory=list)
    before: list[int] = field(default_factory=list)

    @property
    def interval(self) -> int | None:
        """What is learned, microseconds; None with fewer than three intervals."""
        longest = sorted(self.top + self.before, reverse=True)
        return GRID[longest[_LONGEST - 1]] if len(longest) >= _LONGEST else None

    @property
    def boring(self) -> int:
        """An interval of the same day up to this long teaches nothing; less than none if any would."""
        return GRID[self.top[-1]] if len(self.top) == _LONGEST else -1

    def learn(self, received: int, interval: int) -> bool:
        """Take in an interval that ended; whether anything has changed."""
        day = received // DAY
        if day > self.day:
            self.day, self.top, self.before = day, [], self.top
        elif interval <= self.boring:
            return False
        step = min(bisect_left(GRID, interval), len(GRID) - 1)
        self.top = sorted([*self.top, step], reverse=True)[:_LONGEST]
        return True

    def kept(self) -> dict[str, Any]:
        return {"day": self.day, "top": self.top, "before": self.before}

    @classmethod
    def restore(cls, state: Mapping[str, Any]) -> Rhythm:
        return cls(state["day"], list(state["top"]), list(state["before"]))
