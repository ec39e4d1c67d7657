"""Sets of zones, interned: a point's zones are one number, and equal sets have equal numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Ints = NDArray[np.int64]

#: Places to remember what adding a zone to a set makes, and the multiplier that spreads pairs over them (Fibonacci).
_MEMO: Final = 1 << 17
_SPREAD: Final = np.int64(-7046029254386353131)
_SPREAD_SHIFT: Final = np.int64(40)
#: The zone set of a point in no zone.
NOWHERE: Final = 0


class ZoneSets:
    """Sets of zones, which go by their index here; numbers hold for as long as this lives.

    Args:
        ids: of all zones there are.
    """

    def __init__(self, ids: Sequence[str]) -> None:
        self._ids = tuple(ids)
        self._sets: list[tuple[int, ...]] = [()]
        self._numbers: dict[tuple[int, ...], int] = {(): NOWHERE}
        self._names: list[tuple[str, ...]] = [()]
        # What a set and one zone more make: the last pair that fell on each place, and its set.
        self._memo_pair = np.full(_MEMO, -1)
        self._memo_set = np.zeros(_MEMO, np.int32)

    def __getitem__(self, number: int) -> tuple[int, ...]:
        """The zones of a set, ascending."""
        return self._sets[number]

    def names(self, number: int) -> tuple[str, ...]:
        """Their ids, in the same order."""
        return self._names[number]

    def join(self, number: int, zones: tuple[int, ...]) -> int:
        """The set with these zones added."""
        united = tuple(sorted({*self._sets[number], *zones}))
        found = self._numbers.setdefault(united, len(self._sets))
        if found == len(self._sets):
            self._sets.append(united)
            self._names.append(tuple(self._ids[zone] for zone in united))
        return found

    def add(self, sets: NDArray[np.int32], point: Ints, zone: Ints) -> None:
        """Add zones to the sets of points, from pairs ordered by point: the k-th of every point in round k."""
        first = np.ones(len(point), bool)
        np.not_equal(point[1:], point[:-1], out=first[1:])
        starts = np.flatnonzero(first)
        counts = np.diff(starts, append=len(point))
        taken = 0
        while len(starts):
            who, what = point[starts], zone[starts + taken]
            pair = sets[who].astype(np.int64) * len(self._ids) + what
            place = (pair * _SPREAD) >> _SPREAD_SHIFT & (_MEMO - 1)
            grown = self._memo_set[place]
            for i in np.flatnonzero(self._memo_pair[place] != pair).tolist():
                number, added = divmod(int(pair[i]), len(self._ids))
                grown[i] = self._memo_set[place[i]] = self.join(number, (added,))
                self._memo_pair[place[i]] = pair[i]
            sets[who] = grown
            taken += 1
            more = counts > taken
            starts, counts = starts[more], counts[more]
