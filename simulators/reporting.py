"""How often a station reports: Recommendation ITU-R M.1371-5, Annex 1, tables 1 and 2."""

from __future__ import annotations

from collections import deque
from math import atan2, cos, degrees, radians, sin
from typing import Final

AT_ANCHOR: Final = 1
MOORED: Final = 5
FISHING: Final = 7  # engaged in fishing
UNDER_WAY: Final = 0  # using engine

STATIC_INTERVAL_S: Final = 360.0  # static and voyage data, class A and B
ATON_INTERVAL_S: Final = 180.0
BASE_STATION_INTERVAL_S: Final = 10.0


def class_a_interval(nav_status: int, sog: float, *, turning: bool) -> float:
    """Seconds between two position reports of class A; ``sog`` in knots."""
    if nav_status in (AT_ANCHOR, MOORED):
        return 180.0 if sog <= 3.0 else 10.0
    if sog > 23.0:
        return 2.0
    if sog > 14.0:
        return 2.0 if turning else 6.0
    return 10.0 / 3.0 if turning else 10.0


def class_b_interval(sog: float) -> float:
    """Seconds between two position reports of class B "CS" (carrier sense); ``sog`` in knots."""
    return 180.0 if sog <= 2.0 else 30.0


class TurnDetector:
    """Whether class A counts as changing course: more than 5° off the mean of the last 30 s, and 20 s beyond.

    Fed once per tick of 10/3 s.
    """

    _WINDOW: Final = 9
    _HOLD: Final = 6
    _LIMIT: Final = 5.0

    def __init__(self) -> None:
        self._courses: deque[float] = deque(maxlen=self._WINDOW)
        self._hold = 0

    @property
    def holding(self) -> bool:
        return self._hold > 0

    def update(self, course: float) -> bool:
        """Take the present course; true while changing."""
        if self._courses:
            east = sum(sin(radians(c)) for c in self._courses)
            north = sum(cos(radians(c)) for c in self._courses)
            off = abs((course - degrees(atan2(east, north)) + 180.0) % 360.0 - 180.0)
            self._hold = self._HOLD if off > self._LIMIT else max(0, self._hold - 1)
        self._courses.append(course)
        return self._hold > 0
