"""How fast and which way a vessel goes: by its own report, or by where it was before."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from geofence.tracks import HOUR, KNOT, distance

if TYPE_CHECKING:
    import numpy as np

    from geofence.tracks import Move

#: Microseconds between two fixes beyond which they say nothing about the speed now.
MAX_GAP: Final = 6 * HOUR


def sog(move: Move, report: np.void) -> float | None:
    """Knots: as reported, else what the way from the fix before takes; None where neither is to be had."""
    reported = float(report["sog"])
    return reported if math.isfinite(reported) else implied_sog(move)


def implied_sog(move: Move) -> float | None:
    """Knots, from the great circle between a fix and the one before."""
    before, after = move.before, move.after
    if before is None or after.time - before.time > MAX_GAP:
        return None
    metres = distance(before.lon, before.lat, after.lon, after.lat)
    return metres / ((after.time - before.time) / 1e6) / KNOT
