"""The event loop: uvloop where it is available."""

from __future__ import annotations

import asyncio
import importlib.util


def runner() -> asyncio.Runner:
    """A runner on the fastest loop this machine has."""
    if importlib.util.find_spec("uvloop") is None:
        return asyncio.Runner()
    import uvloop  # noqa: PLC0415  # not on every platform

    return asyncio.Runner(loop_factory=uvloop.new_event_loop)
