"""The last judged reading of every device and metric, and which rules watch it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from geofence.order import in_order

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Table = NDArray[np.void]
    Ints = NDArray[np.int64]

NEVER: Final = -(2**62)

_SLOT: Final = np.dtype([("device", "i8"), ("metric", "i8"), ("time", "i8"), ("heard", "i8")])
_WATCH: Final = np.dtype([("slot", "i8"), ("rule", "i4"), ("phase", "i1")])


@dataclass(slots=True, frozen=True)
class Judged:
    """Readings that are news, sorted by slot, then arrival."""

    row: Ints  # of the readings table
    slot: Ints
    heard_before: Ints  # receive time of the one before; NEVER for the first


class Series:
    """Slots for (device, metric): the running maximum of time, and when it was heard.

    *Heard* is receive time: a gateway that comes back with a burst of old data is back, and one that only repeats
    what it said is not, since rows that are late do not count.

    Args:
        opened: called with slot, device and metric of every new slot.
    """

    def __init__(self, opened: Callable[[int, int, int], None]) -> None:
        self._opened = opened
        self._slots: dict[tuple[int, int], int] = {}
        self._state = np.zeros(64, _SLOT)

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def heard(self) -> Ints:
        """Receive time of the last judged reading by slot; NEVER where there was none."""
        return self._state["heard"][: len(self._slots)]

    def subject(self, slot: int) -> tuple[int, int]:
        """Device and metric of a slot."""
        return int(self._state["device"][slot]), int(self._state["metric"][slot])

    def restore(self, readings: Table) -> None:
        """Start from the latest reading of each device and metric (READING rows)."""
        slots = self._slots_of(readings)
        self._state["time"][slots] = readings["time"]
        self._state["heard"][slots] = readings["received_at"]

    def slot(self, device: int, metric: int) -> int:
        """The slot of a device and metric, made if need be."""
        found = self._slots.get((device, metric))
        if found is not None:
            return found
        made = self._slots[device, metric] = len(self._slots)
        if made >= len(self._state):
            self._state = np.concatenate([self._state, np.zeros_like(self._state)])
        self._state[made] = (device, metric, NEVER, NEVER)
        self._opened(made, device, metric)
        return made

    def advance(self, readings: Table) -> tuple[Judged, int]:
        """Judge READING rows in arrival order: those that are news, and how many were late."""
        which = self._slots_of(readings)
        slots = np.unique(which)
        # The state before comes first within each slot, so that every judged row has the one before it beside it.
        slot = np.concatenate([slots, which])
        order = np.argsort(slot, kind="stable")
        time = np.concatenate([self._state["time"][slots], readings["time"]])[order]
        news = in_order(slot[order], time)
        order, time = order[news], time[news]
        slot = slot[order]
        heard = np.concatenate([self._state["heard"][slots], readings["received_at"]])[order]
        row = order - len(slots)
        last = np.flatnonzero(np.r_[slot[1:] != slot[:-1], np.ones(min(1, len(slot)), bool)])
        self._state["time"][slot[last]] = time[last]
        self._state["heard"][slot[last]] = heard[last]
        here = np.flatnonzero(row >= 0)
        return Judged(row[here], slot[here], heard[here - 1]), int(np.count_nonzero(~news))

    def _slots_of(self, readings: Table) -> Ints:
        keys = zip(readings["device"].tolist(), readings["metric"].tolist(), strict=True)
        known = self._slots
        return np.fromiter((known[key] if key in known else self.slot(*key) for key in keys), np.int64, len(readings))


class Watches:
    """Which rules watch which slot: one watch per pair, those of a slot side by side. ``phase`` is the owner's."""

    def __init__(self) -> None:
        self._watch = np.zeros(64, _WATCH)
        self._count = 0
        self._start = np.zeros(64, np.int64)
        self._many = np.zeros(64, np.int64)

    def __len__(self) -> int:
        return self._count

    @property
    def slot(self) -> Ints:
        return self._watch["slot"][: self._count]

    @property
    def rule(self) -> NDArray[np.int32]:
        return self._watch["rule"][: self._count]

    @property
    def phase(self) -> NDArray[np.int8]:
        return self._watch["phase"][: self._count]

    def open(self, slot: int, rules: Sequence[int]) -> None:
        """Watch a new slot by rules (numbers of the owner's)."""
        while slot >= len(self._start):
            self._start = np.concatenate([self._start, np.zeros_like(self._start)])
            self._many = np.concatenate([self._many, np.zeros_like(self._many)])
        while self._count + len(rules) > len(self._watch):
            self._watch = np.concatenate([self._watch, np.zeros_like(self._watch)])
        self._start[slot], self._many[slot] = self._count, len(rules)
        for rule in rules:
            self._watch[self._count] = (slot, rule, 0)
            self._count += 1

    def find(self, slot: int, rule: int) -> int | None:
        """The watch of a slot by a rule."""
        start = int(self._start[slot])
        numbers = self._watch["rule"][start : start + int(self._many[slot])].tolist()
        return start + numbers.index(rule) if rule in numbers else None

    def expand(self, slots: Ints) -> tuple[Ints, Ints]:
        """(index into ``slots``, watch) for every watch of every slot given, sorted by watch, then index."""
        many = self._many[slots]
        index = np.repeat(np.arange(len(slots)), many)
        within = np.arange(len(index)) - np.repeat(np.cumsum(many) - many, many)
        watch = self._start[slots][index] + within
        order = np.argsort(watch, kind="stable")
        return index[order], watch[order]
