"""How much a channel may say, and when: rate limits and quiet hours. Pure: the time is given.

What may not go out yet waits in the outbox; nothing is dropped, and each alert's notifications stay in order.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from alerting.model import Severity

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: A rate is counted over this many seconds, wherever they begin.
WINDOW: Final = 60.0
_DAY: Final = 86_400.0
#: Of a token: what sums of floats may lack.
_EPSILON: Final = 1e-9


class Pace:
    """At most ``per_minute`` begin in any 60 s; of these at most ``burst`` at once, the others evenly spread.

    A token bucket alone (which lets ``burst`` more than the rate pass in a minute) would not keep the first promise,
    a window alone not the second. Times are seconds of any clock that does not go back.
    """

    def __init__(self, per_minute: int, burst: int | None = None) -> None:
        self._burst = float(min(burst or per_minute, per_minute))
        self._refill = per_minute / WINDOW  # tokens a second
        self._tokens = self._burst
        self._at = float("-inf")  # when there were so many
        self._began: deque[float] = deque(maxlen=per_minute)

    def free(self, now: float) -> int:
        """How many may begin now."""
        limit = self._began.maxlen or 0
        recent = sum(1 for at in self._began if now - at < WINDOW)
        return min(limit - recent, int(self._filled(now) + _EPSILON))

    def wait(self, now: float) -> float:
        """Seconds until the next may begin; 0: at once."""
        full = len(self._began) == self._began.maxlen
        window = self._began[0] + WINDOW - now if full else 0.0
        bucket = (1.0 - self._filled(now)) / self._refill if self._filled(now) < 1.0 - _EPSILON else 0.0
        return max(0.0, window, bucket)

    def took(self, now: float, count: int = 1) -> None:
        """So many have begun."""
        self._tokens = self._filled(now) - count
        self._at = now
        self._began.extend([now] * count)

    def _filled(self, now: float) -> float:
        if self._at == float("-inf"):
            return self._burst
        return min(self._burst, self._tokens + (now - self._at) * self._refill)


@dataclass(slots=True, frozen=True)
class QuietHours:
    """Daily, from ``start`` to ``end`` (seconds after midnight at ``east`` seconds from UTC; across midnight if the end
    comes first): what is less severe than ``below`` waits.
    """

    start: float
    end: float
    east: float
    below: Severity

    def covers(self, at: float) -> bool:
        """Whether ``at``, unix time, is within."""
        clock = (at + self.east) % _DAY
        if self.start < self.end:
            return self.start <= clock < self.end
        return clock >= self.start or clock < self.end

    def edges(self, since: float, until: float) -> Iterable[float]:
        """Where it begins or ends between two unix times."""
        for clock in (self.start, self.end):
            at = since + (clock - since - self.east) % _DAY
            while at < until:
                yield at
                at += _DAY


def at_least(quiet: Sequence[QuietHours], at: float) -> Severity:
    """How severe an alert must be to be told of at ``at``, unix time."""
    return max((one.below for one in quiet if one.covers(at)), key=lambda below: below.rank, default=Severity.INFO)


def open_seconds(quiet: Sequence[QuietHours], rank: int, since: float, until: float) -> float:
    """Of the seconds between two unix times, those in which an alert of that rank might be told of."""
    if not quiet:
        return until - since
    edges = sorted({since, until, *(edge for one in quiet for edge in one.edges(since, until))})
    return sum(
        after - before for before, after in pairwise(edges) if at_least(quiet, (before + after) / 2).rank <= rank
    )
