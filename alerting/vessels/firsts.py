"""Since when transponders are known: the least event time of anything that they sent, as the database keeps it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from numpy.typing import NDArray

    from decoders.records import Observations
    from geofence.slots import Slots

_FAR: Final = 2**62
#: Transponders without a position that are remembered.
_MOST: Final = 100_000
_CAME: Final = np.dtype([("message", "i8"), ("transponder", "i8"), ("time", "i8")])


class Firsts:
    """Of those that have a slot it is kept there (``first``), and of others here until they have one.

    What counts beside the first position is what came before it, static data for one, and what is older and came late.
    """

    def __init__(self) -> None:
        self._early: dict[int, int] = {}
        self._rows = np.zeros(0, _CAME)  # of the batch, in arrival order
        self._done = 0

    def restore(self, first_seen: Mapping[int, int], placed: Collection[int]) -> None:
        self._early = {name: time for name, time in first_seen.items() if name not in placed}

    def learn(self, observations: Observations, late: NDArray[np.void]) -> None:
        """Take what a batch brings that may say it, for ``apply``. ``late``: the positions that are no news."""
        records = observations.records
        self._rows = np.zeros(len(late) + len(observations.statics) + len(records), _CAME)
        start = 0
        for table in (late, observations.statics):
            part = self._rows[start : (start := start + len(table))]
            for name in ("message", "transponder", "time"):
                part[name] = table[name]
        for name in ("message", "transponder", "time") if records else ():
            self._rows[name][start:] = [getattr(record, name) for record in records]
        self._rows = self._rows[np.argsort(self._rows["message"], kind="stable")]
        self._done = 0

    def apply(self, message: int, slots: Slots, state: NDArray[np.void]) -> None:
        """Hold what came up to a message."""
        if self._done == len(self._rows):
            return
        until = int(np.searchsorted(self._rows["message"], message, side="right"))
        rows, self._done = self._rows[self._done : until], until
        found = slots.find(rows["transponder"])
        here = found >= 0
        np.minimum.at(state["first"], found[here], rows["time"][here])
        for name, time in zip(rows["transponder"][~here].tolist(), rows["time"][~here].tolist(), strict=True):
            self._early[name] = min(time, self._early.pop(name, _FAR))
            if len(self._early) > _MOST:
                del self._early[next(iter(self._early))]

    def of(self, names: NDArray[np.int64], times: NDArray[np.int64]) -> NDArray[np.int64]:
        """Since when those are known of which the first position came, given its time."""
        pairs = zip(names.tolist(), times.tolist(), strict=True)
        return np.array([min(time, self._early.pop(name, _FAR)) for name, time in pairs], np.int64)
