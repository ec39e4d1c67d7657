"""Times as evidence has them: ISO 8601 to the microsecond; and what is raised where something does not fit. Pure."""

from __future__ import annotations

import numpy as np

from decoders.times import iso_time


class EvidenceError(ValueError):
    """What does not fit, in one line."""


def iso(time: int) -> str:
    """Microseconds since the epoch as ISO 8601."""
    return str(np.datetime64(time, "us")) + "+00:00"


def instant(text: str) -> int:
    """Microseconds since the epoch.

    Raises:
        EvidenceError: it is no time.
    """
    time = iso_time(text)
    if not isinstance(time, int):
        raise EvidenceError(f"{text!r} is not a time")
    return time
