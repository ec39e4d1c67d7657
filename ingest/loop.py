"""The event loop: uvloop where it is available; and how often memory is searched for cycles."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
from typing import Final

#: A batch makes many objects and hardly a cycle: with Python's own threshold of 700, one tenth of a replay was spent
#: walking what stays.
_COLLECT_AFTER: Final = (50_000, 20, 100)


def runner() -> asyncio.Runner:
    """A runner on the fastest loop this machine has."""
    gc.set_threshold(*_COLLECT_AFTER)
    if importlib.util.find_spec("uvloop") is None:
        return asyncio.Runner()
    import uvloop  # noqa: PLC0415  # not on every platform

    return asyncio.Runner(loop_factory=uvloop.new_event_loop)
