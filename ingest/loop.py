"""The event loop: uvloop where it is available; how often memory is searched for cycles, and threads take turns."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import sys
from typing import Final

#: A batch makes many objects and hardly a cycle: with Python's own threshold of 700, one tenth of a replay was spent
#: walking what stays. What an outage leaves in cycles (connections, above all) waits for so many new objects: few in a
#: quiet service, and each may hold much.
_COLLECT_AFTER: Final = (10_000, 20, 100)

#: How long a thread that decodes may keep the loop from going on. A commit waits for the server several times, and each
#: time for this: with Python's own 5 ms it took a third longer beside such a thread.
_SWITCH_SECONDS: Final = 0.001


def collect_seldom() -> None:
    """Have memory searched for cycles as often as suits a process that decodes; by every thread of it."""
    gc.set_threshold(*_COLLECT_AFTER)


def runner() -> asyncio.Runner:
    """A runner on the fastest loop this machine has."""
    collect_seldom()
    sys.setswitchinterval(_SWITCH_SECONDS)
    if importlib.util.find_spec("uvloop") is None:
        return asyncio.Runner()
    import uvloop  # noqa: PLC0415  # not on every platform

    return asyncio.Runner(loop_factory=uvloop.new_event_loop)
