"""Which names the database has already, as far as one process remembers: bounded, and wrong on one side only.

Forgetting a name costs one statement that changes nothing; believing in one that is not there would lose it. So a name
is learnt only after the transaction that wrote it committed, and all are forgotten with the connection: the server that
answers next may be another one, which lacks the last transactions of the first.

Looking up a batch costs the same whether a thousand names are known or a million: a hash table of four entries a
bucket, in NumPy; where a bucket is full, the entry longest there makes room.
"""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ids = NDArray[np.int64]

#: Names remembered of each kind at most: 50 MB, once there are that many.
LIMIT: Final = 1 << 21
_WAYS: Final = 4
_SMALLEST: Final = 1 << 8
_EMPTY: Final = -1  # no id is negative (decoders.identity)
#: Knuth's multiplier: 2^64 over the golden ratio.
_MULTIPLIER: Final = np.uint64(0x9E3779B97F4A7C15)
_64_BITS: Final = 2**64 - 1
#: Up to so many are looked up one by one.
_FEW: Final = 8


class Known:
    """Names by kind and id, with the least and greatest event time that was written for each.

    For use from several threads.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._lock = Lock()
        self._tables: dict[str, _Table] = {}
        #: How often everything was forgotten.
        self.epoch = 0

    def __len__(self) -> int:
        return sum(table.entries for table in self._tables.values())

    def lacking(self, kind: str, ids: Ids, first: Ids, last: Ids) -> NDArray[np.bool_]:
        """Whether the database may lack an id, or an event time as early as ``first`` or as late as ``last`` for it."""
        with self._lock:
            table = self._tables.get(kind)
            return np.ones(len(ids), dtype=np.bool_) if table is None else table.lacking(ids, first, last)

    def learn(self, kind: str, ids: Ids, first: Ids, last: Ids) -> None:
        """Remember rows now committed. ``ids`` are distinct."""
        with self._lock:
            if kind not in self._tables:
                self._tables[kind] = _Table(self._limit)
            self._tables[kind].learn(ids, first, last)

    def forget(self) -> None:
        """Forget all of it."""
        with self._lock:
            self._tables.clear()
            self.epoch += 1


class _Table:
    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.entries = 0
        self._shape(_SMALLEST)

    def _shape(self, buckets: int) -> None:
        self._ids = np.full((buckets, _WAYS), _EMPTY, dtype=np.int64)
        self._first = np.zeros((buckets, _WAYS), dtype=np.int64)
        self._last = np.zeros((buckets, _WAYS), dtype=np.int64)
        self._next = np.zeros(buckets, dtype=np.int8)  # the entry to give up next

    def _bucket(self, ids: Ids) -> NDArray[np.intp]:
        bits = len(self._next).bit_length() - 1
        return (ids.astype(np.uint64) * _MULTIPLIER >> np.uint64(64 - bits)).astype(np.intp)

    def _find(self, ids: Ids) -> tuple[NDArray[np.bool_], NDArray[np.intp], NDArray[np.intp]]:
        """Whether each is there, its bucket, and which entry of that it is."""
        bucket = self._bucket(ids)
        same = self._ids[bucket] == ids[:, np.newaxis]
        return same.any(axis=1), bucket, same.argmax(axis=1)

    def lacking(self, ids: Ids, first: Ids, last: Ids) -> NDArray[np.bool_]:
        if len(ids) <= _FEW:
            of_each = zip(ids.tolist(), first.tolist(), last.tolist(), strict=True)
            return np.array([self._lacks(*one) for one in of_each], dtype=np.bool_)
        found, bucket, way = self._find(ids)
        lacking: NDArray[np.bool_] = ~found | (self._first[bucket, way] > first) | (self._last[bucket, way] < last)
        return lacking

    def _lacks(self, id_: int, first: int, last: int) -> bool:
        """As ``lacking`` says of many, which costs more to set to work than these few."""
        bucket = (id_ * int(_MULTIPLIER) & _64_BITS) >> 65 - len(self._next).bit_length()
        ways = self._ids[bucket].tolist()
        if id_ not in ways:
            return True
        way = ways.index(id_)
        return bool(self._first[bucket, way] > first or self._last[bucket, way] < last)

    def learn(self, ids: Ids, first: Ids, last: Ids) -> None:
        found, bucket, way = self._find(ids)
        at = bucket[found], way[found]
        self._first[at] = np.minimum(self._first[at], first[found])
        self._last[at] = np.maximum(self._last[at], last[found])
        left = ~found
        if not left.any():
            return
        ids, first, last = ids[left], first[left], last[left]
        while self.entries + len(ids) > self._ids.size // 2 and 2 * self._ids.size <= self._limit:
            self._grow()
        # One to a bucket at a time, so that each gets an entry of its own; what no bucket has room for is not learnt.
        for _ in range(_WAYS):
            bucket, chosen = np.unique(self._bucket(ids), return_index=True)
            empty = self._ids[bucket] == _EMPTY
            free = empty.any(axis=1)
            way = np.where(free, empty.argmax(axis=1), self._next[bucket])
            self.entries += int(np.count_nonzero(free))
            self._ids[bucket, way] = ids[chosen]
            self._first[bucket, way] = first[chosen]
            self._last[bucket, way] = last[chosen]
            self._next[bucket] = (way + 1) % _WAYS
            rest = np.ones(len(ids), dtype=np.bool_)
            rest[chosen] = False
            ids, first, last = ids[rest], first[rest], last[rest]
            if not len(ids):
                return

    def _grow(self) -> None:
        """Twice the buckets: each is parted in two, so that no entry is in another's way."""
        ids, first, last = self._ids, self._first, self._last
        self._shape(2 * len(self._next))
        for way in range(_WAYS):
            there = np.flatnonzero(ids[:, way] != _EMPTY)
            bucket = self._bucket(ids[there, way])
            self._ids[bucket, way] = ids[there, way]
            self._first[bucket, way] = first[there, way]
            self._last[bucket, way] = last[there, way]
