"""The order of arrival, told by ``received_at`` and by what rows say of themselves, so that tables can tell it again.

Rows are judged in the order they came. That order is to be had back from the tables, by whoever judges stored history
again, without a column of its own:

* Every message has an instant of its own: of a delivery received at ``t``, message ``i`` (from 0) was received at
  ``t + i`` microseconds; the inbox sees to it that deliveries leave room for it.
* Within one message static reports come before positions, and those before readings (``alerting.judging.outcome``); of
  each sort rows come in the order of their times, then their keys. So a gateway that sends what it has gathered newest
  first in one message is heard in full, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from decoders.records import Observations, concatenate, take

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from decoders.records import Table

#: By table: what orders the rows of one message.
KEYS = {
    "statics": ("time", "transponder", "digest"),
    "positions": ("time", "transponder", "digest"),
    "readings": ("time", "device", "metric"),
}


def spread(observations: Observations, first: NDArray[np.int64]) -> None:
    """Give each message its instant, in place; rows have that of their delivery.

    ``first``: [messages] of each message, the first one of its delivery.
    """
    after = np.arange(observations.messages) - first
    for table in (observations.positions, observations.readings, observations.statics):
        if len(table):
            table["received_at"] += after[table["message"]]
    observations.records = [
        record._replace(received_at=record.received_at + int(after[record.message])) for record in observations.records
    ]


def in_order(observations: Observations) -> None:
    """Put the rows of each message in order, in place."""
    for name, keys in KEYS.items():
        table = getattr(observations, name)
        if disordered(table, keys):
            setattr(observations, name, take(table, order(table, "message", keys)))


def numbered(observations: Observations) -> None:
    """Number the messages of rows that are sorted by ``received_at``, by that, and put each in order, in place."""
    tables = ("positions", "readings", "statics", "receptions")
    stamps = [getattr(observations, name)["received_at"] for name in tables]
    stamps.append(np.array([record.received_at for record in observations.records], np.int64))
    messages = np.unique(np.concatenate(stamps))
    observations.messages = len(messages)
    for name, received in zip(tables, stamps, strict=False):
        if len(received):
            getattr(observations, name)["message"] = np.searchsorted(messages, received)
    observations.records = [
        record._replace(message=int(number))
        for record, number in zip(observations.records, np.searchsorted(messages, stamps[-1]), strict=True)
    ]
    in_order(observations)


def joined(parts: Iterable[Observations]) -> Observations:
    """Numbered observations that came one after the other as one: the messages of each after those of the one before.

    The parts are no longer usable by themselves.
    """
    following, first = [], 0
    for part in parts:
        for name in ("positions", "readings", "statics", "receptions"):
            getattr(part, name)["message"] += first
        part.records = [record._replace(message=record.message + first) for record in part.records]
        first += part.messages
        following.append(part)
    out = concatenate(following)
    out.messages = first
    return out


def before(observations: Observations, received_at: int) -> tuple[Observations, Observations]:
    """Numbered observations in two: what was received before a time, and the rest. Numbers stay."""
    parts = (Observations(names=observations.names), Observations())
    for part, first in zip(parts, (True, False), strict=True):
        part.messages = observations.messages
        for name in ("positions", "readings", "statics", "receptions"):
            table = getattr(observations, name)
            setattr(part, name, table[(table["received_at"] < received_at) == first])
        part.records = [r for r in observations.records if (r.received_at < received_at) == first]
    return parts


def disordered(table: Table, keys: Sequence[str]) -> bool:
    """Whether any message has rows that are not in order."""
    if len(table) < 2:
        return False
    message = table["message"]
    (same,) = np.nonzero(message[1:] == message[:-1])
    for name in keys:
        if not len(same):
            return False
        column = table[name]
        step = column[same + 1] - column[same]
        if (step < 0).any():
            return True
        same = same[step == 0]
    return False


def order(table: Table, message: str, keys: Sequence[str]) -> NDArray[np.int64]:
    """The indices that put a table in order: by ``message``, then by keys."""
    return np.lexsort(tuple(table[name] for name in (*reversed(keys), message)))
