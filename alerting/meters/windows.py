"""What the readings of the last hours come to, in buckets.

The bucket that readings fall into is open; those before it are kept in a ring, each at the place that its number gives
it. As a bucket is opened, those that the window has left are cleared and the rest is put together once. The sum of a
ring runs over its places in their order, whatever the bucket that comes first: it hangs on what is in the ring alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from alerting.judging.series import NEVER, grown
from alerting.meters.base import REACH, Figure, Shown, Watch
from alerting.rules.figures import Aggregate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from alerting.rules import WindowRule

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]

_PARTS: Final = 12  # of a window, each of which is covered or not
_TOGETHER: Final = 1024  # rings put together at a time: what fits into the caches
_FEW: Final = 6  # buckets that are cleared one by one
#: How totals are joined, and that of no readings at all.
_FOLDS: Final = {"sum": (np.add, 0.0), "max": (np.maximum, -np.inf), "min": (np.minimum, np.inf)}
_FOLD_OF: Final = {Aggregate.MAX: "max", Aggregate.MIN: "min"}  # all others are made of counts and sums


class WindowMeter:
    """Counts of buckets, and their sums, greatest or least values."""

    def __init__(self, rule: WindowRule) -> None:
        fold = _FOLD_OF.get(rule.aggregate, "sum")
        self._width, self._size = rule.width, rule.over // rule.width
        self.key = f"{fold}/{self._size}x{self._width // 1_000_000}s"
        self.lasting = rule.over > REACH
        self.covers = False  # whether anybody asks which parts of the window have readings
        self._join, self._none = _FOLDS[fold]
        self._bucket = np.zeros(0, np.int64)  # the open one
        self.count, self.total = np.zeros(0, np.int64), np.zeros(0)  # of the open one
        self.before_count, self.before_total = np.zeros(0, np.int64), np.zeros(0)  # of those before it
        self.covered = np.zeros(0, np.int64)  # parts of the window that have a reading
        self._counts = np.zeros((0, self._size), np.int32)
        self._totals = np.zeros((0, self._size))
        self._loaded: list[int] = []  # places whose rings were filled and not put together yet

    def reserve(self, size: int) -> None:
        self._bucket = grown(self._bucket, size, NEVER)
        self.count, self.total = grown(self.count, size, 0), grown(self.total, size, self._none)
        self.before_count = grown(self.before_count, size, 0)
        self.before_total = grown(self.before_total, size, self._none)
        self.covered = grown(self.covered, size, 1)
        self._counts = grown(self._counts, size, 0)
        self._totals = grown(self._totals, size, self._none)

    def since(self, last: Ints, begins: Ints) -> Ints:
        return begins if self.lasting else (last // self._width - self._size + 1) * self._width

    def take(self, at: Ints, time: Ints, value: Floats) -> None:
        if self._loaded:
            for start in range(0, len(self._loaded), _TOGETHER):
                loaded = np.array(self._loaded[start : start + _TOGETHER])
                self._look_back(loaded, self._bucket[loaded])
            self._loaded.clear()
        bucket = time // self._width
        rolls = np.flatnonzero(bucket != self._bucket[at])
        for start in range(0, len(rolls), _TOGETHER):
            some = rolls[start : start + _TOGETHER]
            self._roll(at[some], bucket[some])
        self.total[at] = self._join(self.total[at], value)
        self.count[at] += 1

    def joined(self, at: Ints) -> Floats:
        """The totals of whole windows."""
        found: Floats = self._join(self.before_total[at], self.total[at])
        return found

    def _roll(self, at: Ints, bucket: Ints) -> None:
        """Open buckets, closing those that are open."""
        before = self._bucket[at]
        known = before > NEVER
        if known.all():
            self._close(at, before, bucket)
        elif known.any():
            self._close(at[known], before[known], bucket[known])
        self._bucket[at], self.count[at], self.total[at] = bucket, 0, self._none
        self._look_back(at, bucket)

    def _close(self, at: Ints, before: Ints, bucket: Ints) -> None:
        self._counts[at, before % self._size] = self.count[at]
        self._totals[at, before % self._size] = self.total[at]
        gone = np.minimum(bucket - before, self._size)  # how many the window leaves
        for step in range(1, min(int(gone.max()), _FEW) + 1):
            some = gone >= step
            ring, place = at[some], (before[some] + step) % self._size
            self._counts[ring, place], self._totals[ring, place] = 0, self._none
        if (far := gone > _FEW).any():
            ring, left = at[far], gone[far, np.newaxis]
            cleared = (np.arange(self._size) - before[far, np.newaxis] - 1) % self._size < left
            self._counts[ring] = np.where(cleared, 0, self._counts[ring])
            self._totals[ring] = np.where(cleared, self._none, self._totals[ring])

    def _look_back(self, at: Ints, bucket: Ints) -> None:
        """Put together what is before the open buckets."""
        counts = self._counts.take(at, axis=0)
        self.before_count[at] = counts.sum(axis=1)
        self.before_total[at] = self._join.reduce(self._totals.take(at, axis=0), axis=1)
        if self.covers:
            self.covered[at] = self._parts(counts, bucket)

    def _parts(self, counts: NDArray[np.int32], bucket: Ints) -> Ints:
        """How many parts of each window have a reading; that of the open bucket will have one."""
        filled = np.cumsum(counts > 0, axis=1, dtype=np.int64)
        # The ring read from the oldest bucket on: how many of the first so many are filled, at the end of each part.
        oldest = (bucket + 1) % self._size
        rows = np.arange(len(bucket))
        skipped = np.where(oldest > 0, filled[rows, oldest - 1], 0)
        ends = oldest[:, np.newaxis] + np.arange(1, _PARTS + 1) * (self._size // _PARTS)
        until = filled[rows[:, np.newaxis], (ends - 1) % self._size]
        until += np.where(ends > self._size, filled[:, -1:], 0)
        some = np.diff(until, axis=1, prepend=skipped[:, np.newaxis]) > 0
        some[:, -1] = True
        found: Ints = some.sum(axis=1)
        return found

    def snapshot(self, at: int) -> dict[str, Any]:
        opened = int(self._bucket[at])
        (filled,) = np.nonzero(self._counts[at])
        numbers = opened - (opened - filled) % self._size
        kept = zip(numbers.tolist(), self._counts[at, filled].tolist(), self._totals[at, filled].tolist(), strict=True)
        last = (opened, int(self.count[at]), float(self.total[at]))
        return {"buckets": [list(bucket) for bucket in (*sorted(kept), last)]}

    def load(self, at: int, state: Mapping[str, Any]) -> None:
        *closed, (opened, count, total) = state["buckets"]
        if closed:
            numbers, counts, totals = (np.array(column) for column in zip(*closed, strict=True))
            self._counts[at, numbers % self._size], self._totals[at, numbers % self._size] = counts, totals
        self._bucket[at], self.count[at], self.total[at] = opened, count, total
        self._loaded.append(at)


class WindowGauge:
    """One aggregate of a window, shown where there is enough in it."""

    def __init__(self, meter: WindowMeter, rule: WindowRule) -> None:
        self.meter, self.watch = meter, Watch(rule.waits)
        self._aggregate, self._least = rule.aggregate, rule.min_samples
        self._needs = next(n for n in range(_PARTS + 1) if n / _PARTS >= rule.coverage)
        meter.covers |= self._needs > 1

    def show(self, at: Ints, time: Ints, value: Floats) -> Shown:
        del time, value
        count = self.meter.before_count[at] + self.meter.count[at]
        match self._aggregate:
            case Aggregate.COUNT:
                level = count.astype(np.float64)
            case Aggregate.MEAN:
                level = self.meter.joined(at) / count
            case _:
                level = self.meter.joined(at)
        there = None
        if self._least > 1:
            there = count >= self._least
        if self._needs > 1:
            covered = self.meter.covered[at] >= self._needs
            there = covered if there is None else there & covered
        return Shown(level, level, there)

    def figure(self, at: int, level: float, value: float, time: int) -> Figure:
        samples = int(self.meter.before_count[at] + self.meter.count[at])
        return Figure(level, value, time, time, {"samples": samples})
