"""The last judged reading of every device and metric."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from alerting.judging.pairs import Pairs
from geofence.order import in_order

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Table = NDArray[np.void]
    Ints = NDArray[np.int64]

NEVER: Final = -(2**62)

_TIME, _HEARD = 0, 1


@dataclass(slots=True, frozen=True)
class Judged:
    """Readings that are news, sorted by slot, then arrival."""

    row: Ints  # of the readings table
    slot: Ints
    heard_before: Ints  # receive time of the one before; NEVER for the first
    time_before: Ints  # and its event time

    def __len__(self) -> int:
        return len(self.row)


class Series:
    """Slots for (device, metric): the running maximum of time, and when it was heard.

    *Heard* is receive time: a gateway that comes back with a burst of old data is back, and one that only repeats
    what it said is not, since rows that are late do not count.

    Nothing is ever forgotten: a station that was, and its alert of silence with it, could be pushed out by made-up
    ones. How many there can be is bounded where they are taken in, across restarts (``decoders.bounds``).
    """

    def __init__(self) -> None:
        self._pairs = Pairs()
        self._state = np.full((64, 2), NEVER, np.int64)

    def __len__(self) -> int:
        return len(self._pairs)

    @property
    def time(self) -> Ints:
        """Event time of the last judged reading by slot; NEVER where there was none."""
        return self._state[: len(self), _TIME]

    @property
    def heard(self) -> Ints:
        """Receive time of the last judged reading by slot; NEVER where there was none."""
        return self._state[: len(self), _HEARD]

    @property
    def device(self) -> Ints:
        """Device of every slot."""
        return self._pairs.keys[:, 0]

    @property
    def metric(self) -> Ints:
        """Metric of every slot."""
        return self._pairs.keys[:, 1]

    def restore(self, readings: Table) -> None:
        """Start from the latest reading of each device and metric (READING rows)."""
        slots = self._pairs.extend(readings["device"], readings["metric"])
        self._state = grown(self._state, len(self), NEVER)
        self._state[slots, _TIME] = readings["time"]
        self._state[slots, _HEARD] = readings["received_at"]

    def find(self, device: Ints, metric: Ints) -> Ints:
        """The slot of each device and metric, -1 where it is not known."""
        return self._pairs.find(device, metric)

    def slot(self, device: int, metric: int) -> int:
        """The slot of a device and metric, made if need be."""
        slot = self._pairs.one(device, metric)
        if slot < 0:
            slot = self._pairs.add(device, metric)
            self._state = grown(self._state, len(self), NEVER)
            self._state[slot] = NEVER
        return slot

    def advance(self, readings: Table) -> tuple[Judged, int]:
        """Judge READING rows in arrival order: those that are news, and how many were late."""
        which = self._slots_of(readings)
        time, received = readings["time"], readings["received_at"]
        order = np.argsort(which, kind="stable")
        slot = which[order]
        first = np.ones(len(slot), bool)
        first[1:] = slot[1:] != slot[:-1]
        if first.all():
            before = self._state.take(slot, axis=0)
            time, received = time[order], received[order]
            news = time > before[:, _TIME]
            if not news.all():
                order, slot, time, received, before = (a[news] for a in (order, slot, time, received, before))
            self._state[slot, _TIME] = time
            self._state[slot, _HEARD] = received
            return Judged(order, slot, before[:, _HEARD], before[:, _TIME]), len(which) - len(order)
        return self._repeated(which, slot[first], time, received)

    def _repeated(self, which: Ints, slots: Ints, times: Ints, received: Ints) -> tuple[Judged, int]:
        """The same where some subject comes more than once."""
        # The state before comes first within each slot, so that every judged row has the one before it beside it.
        before = self._state.take(slots, axis=0)
        slot = np.concatenate([slots, which])
        order = np.argsort(slot, kind="stable")
        time = np.concatenate([before[:, _TIME], times])[order]
        news = in_order(slot[order], time)
        order, time = order[news], time[news]
        slot = slot[order]
        heard = np.concatenate([before[:, _HEARD], received])[order]
        row = order - len(slots)
        last = np.ones(len(slot), bool)
        last[:-1] = slot[1:] != slot[:-1]
        self._state[slot[last], _TIME] = time[last]
        self._state[slot[last], _HEARD] = heard[last]
        here = np.flatnonzero(row >= 0)
        return Judged(row[here], slot[here], heard[here - 1], time[here - 1]), int(np.count_nonzero(~news))

    def _slots_of(self, readings: Table) -> Ints:
        device, metric = readings["device"], readings["metric"]
        slots = self._pairs.find(device, metric)
        new = slots < 0
        if new.any():
            made: dict[tuple[int, int], int] = {}
            for row in np.flatnonzero(new).tolist():
                key = (int(device[row]), int(metric[row]))
                if key not in made:
                    made[key] = self._pairs.add(*key)
                slots[row] = made[key]
            self._state = grown(self._state, len(self), NEVER)
            self._state[list(made.values())] = NEVER
        return slots


def grown(array: NDArray[Any], size: int, fill: Any) -> NDArray[Any]:  # whatever the array holds
    """The array, or a longer one that begins with it and goes on with ``fill``, so that it has room for ``size``."""
    if size <= len(array):
        return array
    longer = np.full((max(size, 2 * len(array)), *array.shape[1:]), fill, array.dtype)
    longer[: len(array)] = array
    return longer
