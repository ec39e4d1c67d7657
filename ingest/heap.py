"""Memory that is free but kept by the allocator, given back to the system."""

from __future__ import annotations

import ctypes
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable


def _trimmer() -> Callable[[int], int] | None:
    """``malloc_trim`` of the GNU C library; None with another one."""
    if not sys.platform.startswith("linux"):
        return None
    found: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return found


_TRIM: Final = _trimmer()


def give_back() -> None:
    """Give back what work that took much of it has left free between what lives on.

    The C library returns only what is free at the end of its heaps, by itself: one row kept from the middle of a long
    look, and all before it stays with the process. With another C library than GNU's nothing is done. Takes some
    milliseconds for each 100 MB, in which no thread gets memory.
    """
    if _TRIM is not None:
        _TRIM(0)
