"""Rows as they would have come, had none been late."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from decoders.records import Observations, take

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Table = NDArray[np.void]

#: By table: what makes the series of a row.
_SERIES: Final = {"statics": ("transponder",), "positions": ("transponder",), "readings": ("device", "metric")}


def receive_times(rows: Observations) -> list[int]:
    """The latest receive time of each table that has rows."""
    found = [int(table["received_at"].max()) for name in _SERIES if len(table := getattr(rows, name))]
    return [*found, max(record.received_at for record in rows.records)] if rows.records else found


def in_time(observations: Observations) -> Observations:
    """The same, as if no row had come after a newer one of its series: but at its own time, or right after the one
    before it if that came later. What came in time stays as it came. Messages are numbered by row.
    """
    rows = [(name, getattr(observations, name)) for name in _SERIES]
    heard = [_heard(table, *(table[key] for key in _SERIES[name])) for name, table in rows]
    heard.append(np.array([record.received_at for record in observations.records], np.int64))
    times = [table["time"] for _, table in rows] + [np.array([r.time for r in observations.records], np.int64)]
    came = [table["message"] for _, table in rows] + [np.array([r.message for r in observations.records], np.int64)]
    order = np.lexsort((np.concatenate(came), np.concatenate(times), np.concatenate(heard)))
    number = np.empty(len(order), np.int64)
    number[order] = np.arange(len(order))
    out = Observations(messages=len(order), names=observations.names)
    start = 0
    for (name, table), received in zip(rows, heard, strict=False):
        mine = number[start : start + len(table)]
        start += len(table)
        turn = np.argsort(mine)
        moved = take(table, turn)
        moved["message"], moved["received_at"] = mine[turn], received[turn]
        setattr(out, name, moved)
    out.records = [
        record._replace(message=int(turn))
        for record, turn in sorted(zip(observations.records, number[start:], strict=True), key=lambda one: int(one[1]))
    ]
    return out


def as_made(observations: Observations) -> Observations:
    """The same, as if all had been heard as it was made."""
    out = Observations(messages=observations.messages, names=observations.names)
    for name in _SERIES:
        moved = getattr(observations, name).copy()
        moved["received_at"] = moved["time"]
        setattr(out, name, moved)
    out.records = [record._replace(received_at=record.time) for record in observations.records]
    return in_time(out)


def _heard(table: Table, *series: NDArray[np.int64]) -> NDArray[np.int64]:
    """By row, the receive time in time."""
    received: NDArray[np.int64] = table["received_at"].copy()
    turn = np.lexsort((table["message"], table["time"], *series))
    starts = np.zeros(len(turn), bool)
    for column in series:
        starts[1:] |= column[turn][1:] != column[turn][:-1]
    for some in np.split(turn, np.flatnonzero(starts)):
        least = np.minimum.accumulate(received[some][::-1])[::-1]  # of it and all newer ones
        own = np.where(received[some] > least, np.minimum(table["time"][some], least), least)
        received[some] = np.maximum.accumulate(own)
    return received
