"""What kind of ship each transponder says it is on."""

from __future__ import annotations

from typing import Final

from geofence.tracks import SETTLED

_CODES: Final = 1 << 16


class ShipTypes:
    """The newest ship type of each transponder and the event time of the report; 0 is unknown.

    At ``capacity``, those that said so only once or all at once go first (``geofence.tracks`` says why), then those
    that have said nothing for longest.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        # Both by last report. Time and code are one number: a flood is a million of them.
        self._once: dict[int, int] = {}
        self._settled: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._once) + len(self._settled)

    def get(self, transponder: int) -> tuple[int, int] | None:
        """(time of the newest report, ship type)."""
        told = self._settled.get(transponder)
        told = self._once.get(transponder) if told is None else told
        return None if told is None else divmod(told, _CODES)

    def learn(self, transponder: int, time: int, ship_type: int, *, settled: bool = False) -> None:
        """The report of this time, the newest."""
        told = time * _CODES + ship_type
        if self._settled.pop(transponder, None) is not None or settled:
            self._once.pop(transponder, None)
            self._settled[transponder] = told
        else:
            before = self._once.pop(transponder, told)
            (self._settled if time - before // _CODES >= SETTLED else self._once)[transponder] = told
        if len(self) > self._capacity:
            held = self._once or self._settled
            del held[next(iter(held))]
