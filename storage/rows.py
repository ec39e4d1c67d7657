"""Which rows of a batch count: repeats within it, and the newest of each subject. Pure NumPy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def leaders(*keys: NDArray[Any]) -> NDArray[np.intp]:
    """For each row, the index of the first row with the same key (its own, where it is the first).

    Args:
        keys: the key's columns, equally long, at least one.
    """
    rows = len(keys[0])
    if rows < 2:
        return np.zeros(rows, dtype=np.intp)
    order = np.lexsort(keys[::-1])  # stable: of equal keys, the first to arrive stays first
    starts = np.zeros(rows, dtype=np.bool_)
    starts[0] = True
    for key in keys:
        ordered = key[order]
        starts[1:] |= ordered[1:] != ordered[:-1]
    lead = np.empty(rows, dtype=np.intp)
    lead[order] = order[starts][np.cumsum(starts) - 1]
    return lead


def newest(time: NDArray[np.int64], *subject: NDArray[Any]) -> NDArray[np.bool_]:
    """Whether a row is the newest of its subject; of two at one time, the first to arrive is."""
    rows = len(time)
    flags = np.zeros(rows, dtype=np.bool_)
    if rows == 0:
        return flags
    order = np.lexsort((-time, *subject[::-1]))
    starts = np.zeros(rows, dtype=np.bool_)
    starts[0] = True
    for key in subject:
        ordered = key[order]
        starts[1:] |= ordered[1:] != ordered[:-1]
    flags[order[starts]] = True
    return flags


def fresh(time: NDArray[np.int64], subject: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether no earlier row of the same subject has a later time."""
    latest: dict[int, int] = {}
    flags = np.zeros(len(time), dtype=np.bool_)
    for row, (who, when) in enumerate(zip(subject.tolist(), time.tolist(), strict=True)):
        if when >= latest.get(who, when):
            latest[who] = when
            flags[row] = True
    return flags


def spans(
    ids: NDArray[np.int64], time: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The distinct ids in ascending order, and the least and greatest time of each."""
    if len(ids) == 0:
        return ids, time, time
    order = np.argsort(ids, kind="stable")
    ordered = ids[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    times = time[order]
    return ordered[starts], np.minimum.reduceat(times, starts), np.maximum.reduceat(times, starts)
