"""When and where each vessel was heard last, and an instant before which none of its deadlines can pass.

Rows put that off in columns, and only vessels whose instant has come are looked at.
"""

from __future__ import annotations

from math import isnan
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from alerting.judging.series import grown
from alerting.vessels.firsts import Firsts
from geofence.slots import Slots

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from alerting.vessels.fixes import Fixes
    from decoders.records import Observations

    Table = NDArray[np.void]
    Ints = NDArray[np.int64]

#: As an instant: never.
FAR: Final = 2**62

_SLOT: Final = np.dtype(
    [
        ("transponder", "i8"),
        ("time", "i8"),
        ("received", "i8"),
        ("first", "i8"),
        ("source", "i8"),
        ("lon", "f8"),
        ("lat", "f8"),
        ("sog", "f8"),
        ("cog", "f8"),
    ]
)
_OF_FIX: Final = ("time", "received", "source", "lon", "lat", "sog", "cog")


class Last(NamedTuple):
    """The last fix of a vessel. Microseconds UTC, degrees, knots; None is not available."""

    transponder: int
    time: int
    received: int
    first: int  # time of the first that it sent
    source: int  # that heard it last
    lon: float
    lat: float
    sog: float | None
    cog: float | None


class LastHeard:
    """By slot, one for each transponder: its last fix, and by rule not before when it is to be looked at.

    Args:
        shortest: by rule, the time after a fix within which no deadline passes, µs.
    """

    def __init__(self, shortest: Sequence[int]) -> None:
        self._shortest = np.array(shortest, np.int64)
        self._slots = Slots()
        self._state = np.zeros(64, _SLOT)
        self._due = np.full((64, len(shortest)), FAR, np.int64)
        self._firsts = Firsts()
        #: Before this, nobody is to be looked at.
        self.next = FAR
        #: The latest receive time known at the start.
        self.restored = -FAR

    def restore(self, positions: Table, first_seen: Mapping[int, int]) -> None:
        """Take up when and where everyone was heard last (POSITION rows, one each)."""
        self._slots.rebuild(positions["transponder"])
        self._grow()
        state = self._state[: len(positions)]
        for name in ("transponder", "time", "source", "lon", "lat", "sog", "cog"):
            state[name] = positions[name]
        state["received"] = positions["received_at"]
        times = zip(positions["transponder"].tolist(), positions["time"].tolist(), strict=True)
        state["first"] = [first_seen.get(transponder, time) for transponder, time in times]
        self._firsts.restore(first_seen, set(positions["transponder"].tolist()))
        if len(positions):
            self._due[: len(positions)] = state["received"][:, np.newaxis] + self._shortest
            self.restored = int(state["received"].max())
        self.settle()

    # --- who was heard

    def slot(self, transponder: int) -> int:
        """The slot of one, or -1."""
        return self._slots.find_one(transponder)

    def at(self, slot: int) -> Last:
        transponder, time, received, first, source, lon, lat, sog, cog = self._state[slot].item()
        speeds = None if isnan(sog) else sog, None if isnan(cog) else cog
        return Last(transponder, time, received, first, source, lon, lat, *speeds)

    def by_source(self, source: int, since: int) -> int:
        """How many vessels were last heard by a source after a receive time."""
        state = self._state[: len(self._slots)]
        return int(np.count_nonzero((state["source"] == source) & (state["received"] > since)))

    def hear(self, fixes: Fixes, start: int, stop: int) -> None:
        """Take rows among which no deadline passes."""
        transponder = fixes.transponder[start:stop]
        slots = self._slots.find(transponder)
        if (slots < 0).any():
            slots = self._add(transponder, fixes.time[start:stop])
        # Of several rows of one transponder the last is what stays.
        for name in _OF_FIX:
            self._state[name][slots] = getattr(fixes, name)[start:stop]
        if len(self._shortest):
            self._due[slots] = fixes.received[start:stop, np.newaxis] + self._shortest
            self.next = min(self.next, int(fixes.received[start]) + int(self._shortest.min()))

    def forget(self, transponders: Ints) -> None:
        slots = self._slots.find(transponders)
        kept = np.ones(len(self._slots), bool)
        kept[slots[slots >= 0]] = False
        state, due = self._state[: len(kept)][kept], self._due[: len(kept)][kept]
        self._slots.rebuild(state["transponder"])
        self._state[: len(state)], self._due[: len(due)] = state, due
        self._due[len(due) :] = FAR

    # --- since when they are known

    def learn(self, observations: Observations, late: NDArray[np.bool_]) -> None:
        """Take what a batch brings that says since when somebody is known; ``late``: positions that are no news."""
        self._firsts.learn(observations, observations.positions[late])

    def known_by(self, message: int) -> None:
        """Hold what came of that up to a message."""
        self._firsts.apply(message, self._slots, self._state)

    # --- when to look

    def look(self, slot: int, number: int, due: int) -> None:
        """Look at a vessel for a rule, and not before."""
        self._due[slot, number] = due
        self.next = min(self.next, due)

    def look_again(self, slot: int, number: int) -> None:
        """Look at a vessel as if nothing had been decided since its last fix."""
        self.look(slot, number, int(self._state["received"][slot]) + int(self._shortest[number]))

    def due(self, at: int) -> list[tuple[int, int]]:
        """Slot and rule of what is to be looked at by an instant, in the order of transponders and rules."""
        slots, numbers = np.nonzero(self._due[: len(self._slots)] <= at)
        order = np.lexsort((numbers, self._state["transponder"][slots]))
        return list(zip(slots[order].tolist(), numbers[order].tolist(), strict=True))

    def settle(self) -> None:
        """Find the next instant anew: what was put off may have been the next."""
        due = self._due[: len(self._slots)]
        self.next = int(due.min()) if due.size else FAR

    # --- slots

    def _add(self, transponder: Ints, time: Ints) -> Ints:
        names, first = np.unique(transponder, return_index=True)
        new = self._slots.find(names) < 0
        order = np.argsort(first[new])
        names, first = names[new][order], first[new][order]
        self._slots.add(names)
        self._grow()
        added = self._slots.find(names)
        self._state["transponder"][added] = names
        self._state["first"][added] = self._firsts.of(names, time[first])
        return self._slots.find(transponder)

    def _grow(self) -> None:
        self._due = grown(self._due, len(self._slots), FAR)
        self._state = grown(self._state, len(self._slots), 0)
