"""Which rows of a batch count: repeats within it, and the newest of each subject. Pure NumPy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def leaders(*keys: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """For each row, the index of the first row with the same key (its own, where it is the first); and the distinct
    ones among these indexes, in the order of their keys.

    Args:
        keys: the key's columns, equally long, at least one.
    """
    rows = len(keys[0])
    if rows < 2:
        lead = np.zeros(rows, dtype=np.intp)
        return lead, lead
    order = np.lexsort(keys[::-1])  # stable: of equal keys, the first to arrive stays first
    starts = np.zeros(rows, dtype=np.bool_)
    starts[0] = True
    for key in keys:
        ordered = key[order]
        starts[1:] |= ordered[1:] != ordered[:-1]
    chosen = order[starts]
    if len(chosen) == rows:
        return np.arange(rows), chosen
    lead = np.empty(rows, dtype=np.intp)
    lead[order] = chosen[np.cumsum(starts) - 1]
    return lead, chosen


def newest(time: NDArray[np.int64], arrival: NDArray[np.intp], *subject: NDArray[Any]) -> NDArray[np.bool_]:
    """Whether a row is the newest of its subject; of two at one time, the first to arrive is.

    Args:
        time: of rows ordered by subject, and for each subject by time.
        arrival: of each row, its place in the order of arrival.
        subject: the columns that name it, at least one.
    """
    rows = len(time)
    if rows == 1:
        return np.ones(1, dtype=np.bool_)
    ends = np.zeros(rows, dtype=np.bool_)
    ends[-1:] = True
    for key in subject:
        ends[:-1] |= key[1:] != key[:-1]
    last = np.flatnonzero(ends)
    if len(last) == rows:
        return ends
    group: NDArray[np.intp] = np.cumsum(ends) - ends
    final = np.flatnonzero(time == time[last][group])  # the rows at the last time of their subject; these are together
    if len(final) == len(last):
        return ends
    groups: NDArray[np.intp] = group[final]
    starts = np.flatnonzero(np.concatenate(([True], groups[1:] != groups[:-1])))
    earliest = np.minimum.reduceat(arrival[final], starts)
    flags = np.zeros(rows, dtype=np.bool_)
    flags[final[arrival[final] == earliest[groups]]] = True
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
    ids: NDArray[np.int64], time: NDArray[np.int64], unit: int = 1
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The distinct ids in ascending order, and of each the least time, and the least within the newest unit of time.

    With units of an hour, that is when it was first heard in the last hour it was heard in; with units of 1, the
    greatest time.
    """
    if len(ids) < 2:
        return ids, time, time
    order = np.lexsort((time, ids))
    ordered, times = ids[order], time[order]
    starts = np.concatenate(([True], ordered[1:] != ordered[:-1]))
    first = np.flatnonzero(starts)
    units = times // unit
    newest_unit = units[np.append(first[1:], len(ids)) - 1]
    within = np.where(units == newest_unit[np.cumsum(starts) - 1], times, np.iinfo(np.int64).max)
    return ordered[first], times[first], np.minimum.reduceat(within, first)
