"""Slots for pairs of ids, found for a whole batch at once.

Open addressing with linear probing over columns: the table holds slot numbers, the slots hold the keys. A batch is
looked up by a few passes over its rows, whose cost does not grow with the number of pairs known but for the caches; a
pair costs 24 to 32 bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]

# Odd constants of the splitmix64 generator (Steele, Lea, Flood 2014); any that spread bits would do.
_FIRST: Final = 0x9E3779B97F4A7C15
_SECOND: Final = 0xBF58476D1CE4E5B9
_WORD: Final = (1 << 64) - 1
_EMPTY: Final = -1


class Pairs:
    """A slot number, from 0 upwards, for every pair of int64."""

    def __init__(self) -> None:
        self._keys = np.zeros((64, 2), np.int64)
        self._count = 0
        self._table = np.full(256, _EMPTY, np.int32)
        self._shift = 64 - 8

    def __len__(self) -> int:
        return self._count

    @property
    def keys(self) -> Ints:
        """[n, 2]: the pair of every slot."""
        return self._keys[: self._count]

    def find(self, first: Ints, second: Ints) -> Ints:
        """The slot of each pair, -1 where it is not known."""
        at = self._home(first, second)
        slots = self._table.take(at).astype(np.int64)
        keys = self._keys.take(slots, axis=0)  # row -1 stands in for empty places
        open_ = np.flatnonzero(((keys[:, 0] != first) | (keys[:, 1] != second)) & (slots >= 0))
        mask = len(self._table) - 1
        while len(open_):
            at[open_] = (at[open_] + 1) & mask
            there = self._table.take(at[open_])
            slots[open_] = there
            keys = self._keys.take(there, axis=0)
            differs = (keys[:, 0] != first[open_]) | (keys[:, 1] != second[open_])
            open_ = open_[differs & (there >= 0)]
        return slots

    def one(self, first: int, second: int) -> int:
        """The slot of one pair, or -1."""
        return int(self.find(np.array([first], np.int64), np.array([second], np.int64))[0])

    def add(self, first: int, second: int) -> int:
        """A slot for a pair that has none."""
        slot = self._count
        self._reserve(slot + 1)
        self._count += 1
        self._keys[slot] = (first, second)
        mask = len(self._table) - 1
        mixed = ((first * _FIRST) & _WORD) ^ (((second * _SECOND) & _WORD) >> 29) ^ ((second * _SECOND) & _WORD)
        at = ((mixed * _FIRST) & _WORD) >> self._shift
        while self._table[at] != _EMPTY:
            at = (at + 1) & mask
        self._table[at] = slot
        return slot

    def extend(self, first: Ints, second: Ints) -> Ints:
        """Slots for pairs that have none, all different."""
        start = self._count
        self._reserve(start + len(first))
        self._count += len(first)
        slots = np.arange(start, self._count)
        self._keys[start : self._count, 0] = first
        self._keys[start : self._count, 1] = second
        self._enter(slots)
        return slots

    def _reserve(self, size: int) -> None:
        if size > len(self._keys):
            grown = np.zeros((max(size, 2 * len(self._keys)), 2), np.int64)
            grown[: self._count] = self._keys[: self._count]
            self._keys = grown
        if 2 * size > len(self._table):
            bits = (2 * size - 1).bit_length()
            self._table = np.full(1 << bits, _EMPTY, np.int32)
            self._shift = 64 - bits
            self._enter(np.arange(self._count))

    def _enter(self, slots: Ints) -> None:
        at = self._home(self._keys[slots, 0], self._keys[slots, 1])
        mask = len(self._table) - 1
        while len(slots):
            free = self._table[at] == _EMPTY
            self._table[at[free]] = slots[free]  # of several at one place, one stays
            left = self._table[at] != slots
            slots, at = slots[left], (at[left] + 1) & mask

    def _home(self, first: Ints, second: Ints) -> Ints:
        mixed = first.astype(np.uint64) * np.uint64(_FIRST)
        other = second.astype(np.uint64) * np.uint64(_SECOND)
        mixed ^= other
        mixed ^= other >> np.uint64(29)
        mixed *= np.uint64(_FIRST)
        mixed >>= np.uint64(self._shift)
        return mixed.astype(np.int64)
