"""The clock on the wall, and whether somebody put it forward or back."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

#: What the wall clock may gain or lose on the steady one between two looks: time services slew by far less.
_TOLERANCE_US: Final = 10_000_000


def wall_clock() -> int:
    """Microseconds since the epoch, UTC."""
    return time.time_ns() // 1000


class Steps:
    """Compares the wall clock with one that nobody can set, and that stands still while the machine sleeps."""

    def __init__(self, steady: Callable[[], int] = time.monotonic_ns) -> None:
        self._steady = steady
        self._ahead: int | None = None

    def gained(self, wall: int) -> int:
        """Microseconds that the wall clock was put forward (below nought: back) since the last look; mostly 0."""
        before, self._ahead = self._ahead, wall - self._steady() // 1000
        gained = 0 if before is None else self._ahead - before
        return gained if abs(gained) > _TOLERANCE_US else 0
