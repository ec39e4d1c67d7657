"""Which rows are news: the one definition of *late* that zones, thresholds and silence share.

A row is late iff its time is not after every earlier row's time of the same subject, in arrival order. It depends on
the order of arrival alone, so any way of cutting a stream into batches calls the same rows late.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def in_order(group: NDArray[np.int64], time: NDArray[np.int64]) -> NDArray[np.bool_]:
    """True where ``time`` is greater than every earlier ``time`` of its ``group``.

    Args:
        group: [n] whole numbers >= 0 that never fall: rows come sorted by group, and within one in arrival order.
        time: [n] any int64.
    """
    if not len(time):
        return np.zeros(0, bool)
    # Ranks instead of times, so that the group can be laid on top without overflow: one running maximum serves all.
    ranks = np.unique(time, return_inverse=True)[1]
    height = group * len(time) + ranks
    news = np.ones(len(time), bool)
    news[1:] = height[1:] > np.maximum.accumulate(height)[:-1]
    return news
