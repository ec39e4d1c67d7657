"""From ids to places in a column: a hash table as two arrays, asked about many ids at once."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]

_LEAST_BITS: Final = 8
_WORD: Final = (1 << 64) - 1


class Slots:
    """Ids numbered 0, 1, 2, ... as they are added; 24 to 48 bytes each. Open addressing, at most half full.

    The hash differs from process to process, so that nobody can choose ids that fall upon each other.
    """

    def __init__(self) -> None:
        self._multiplier = secrets.randbits(64) | 1
        self.rebuild(np.zeros(0, np.int64))

    def __len__(self) -> int:
        return self._count

    @property
    def nbytes(self) -> int:
        return self._ids.nbytes + self._places.nbytes

    def find(self, ids: Ints) -> Ints:
        """The number of each id, or -1."""
        out = np.full(len(ids), -1)
        at = self._hash(ids)
        asked = np.arange(len(ids))
        while len(asked):
            place = self._places[at]
            hit = (place >= 0) & (self._ids[at] == ids[asked])
            out[asked[hit]] = place[hit]
            on = (place >= 0) & ~hit
            asked, at = asked[on], (at[on] + 1) & self._mask
        return out

    def find_one(self, id_: int) -> int:
        """The number of one id, or -1: in a fraction of the time."""
        at = (id_ * self._multiplier & _WORD) >> self._right
        while True:
            place = int(self._places[at])
            if place < 0 or self._ids[at] == id_:
                return place
            at = (at + 1) & self._mask

    def add(self, ids: Ints) -> None:
        """Number ids that are not there yet, each once, in this order."""
        first = self._count
        self._count += len(ids)
        if 2 * self._count > len(self._ids):
            known = self._ids[self._places >= 0][np.argsort(self._places[self._places >= 0])]
            self.rebuild(np.concatenate([known, ids]))
            return
        self._put(ids, np.arange(first, self._count))

    def rebuild(self, ids: Ints) -> None:
        """Hold these and no others, numbered in this order."""
        bits = max(_LEAST_BITS, (2 * len(ids)).bit_length())
        self._right = 64 - bits
        self._mask = (1 << bits) - 1
        self._count = len(ids)
        self._ids = np.zeros(1 << bits, np.int64)
        self._places = np.full(1 << bits, -1, np.int32)
        self._put(ids, np.arange(len(ids)))

    def _hash(self, ids: Ints) -> Ints:
        return ((ids.astype(np.uint64) * np.uint64(self._multiplier)) >> np.uint64(self._right)).astype(np.int64)

    def _put(self, ids: Ints, places: Ints) -> None:
        at = self._hash(ids)
        while len(ids):
            free = self._places[at] < 0
            self._places[at[free]] = places[free]
            won = free & (self._places[at] == places)  # of several that want one cell, the last one written
            self._ids[at[won]] = ids[won]
            lost = ~won
            ids, places, at = ids[lost], places[lost], (at[lost] + 1) & self._mask
