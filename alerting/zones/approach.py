"""Who will be in a zone soon, at the present course and speed.

The way ahead is the great circle of the course, taken as straight in longitude and latitude to its end, half as long
again as the rule asks: what lies between is neither soon nor not. A vessel is looked at once in every ``STEP`` of event
time, at its first fix in it, and whenever it comes into a zone or leaves it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from alerting.rules import Condition
from alerting.zones.motion import ahead, motion, motions
from geofence.index import ZoneIndex

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from alerting.zones.fence import Fence
    from geofence.tracks import Move, Stretch

    Table = NDArray[np.void]

#: Microseconds.
STEP: Final = 30_000_000
#: Knots below which a course says little, where a rule does not say otherwise.
_SLOW: Final = 1.0


class Approach:
    """The zones that may be approached, by how far ahead rules look."""

    def __init__(self, fences: Iterable[Fence]) -> None:
        asking = [fence for fence in fences if fence.rule.condition is Condition.APPROACHING]
        self._groups = []  # how far ahead, the zones, the slowest, and the fences of each zone
        for far in sorted({reach(fence) for fence in asking}):
            group: dict[str, list[Fence]] = {}
            for fence in asking:
                if reach(fence) == far:
                    group.setdefault(fence.zone.id, []).append(fence)
            index = ZoneIndex([fences[0].zone for fences in group.values()])
            self._groups.append((far, index, min(slowest(f) for some in group.values() for f in some), group))

    @property
    def needed(self) -> bool:
        """Whether any rule asks for it."""
        return bool(self._groups)

    def near(self, stretch: Stretch, positions: Table) -> NDArray[np.bool_]:
        """False only for rows that are nothing to any rule, unless something is held of their vessel."""
        out = np.zeros(len(stretch.time), bool)
        if not self._groups:
            return out
        first = np.r_[True, stretch.transponder[1:] != stretch.transponder[:-1]]
        asked = first | (stretch.time // STEP != np.r_[0, stretch.time[:-1]] // STEP)
        sog, cog = motions(stretch, positions)
        for far, index, slow, _ in self._groups:
            rows = np.flatnonzero(asked & (stretch.row >= 0) & (sog >= slow) & ~np.isnan(cog))
            lon, lat = stretch.lon[rows], stretch.lat[rows]
            to_lon, to_lat = ahead(lon, lat, sog[rows], cog[rows], far)
            out[rows] |= ~index.clear(lon, lat, to_lon, to_lat)
        return out

    def times(self, move: Move, report: np.void) -> dict[Fence, float]:
        """Microseconds until the vessel is in the zones that lie ahead."""
        out: dict[Fence, float] = {}
        sog, cog = motion(move, report)
        if math.isnan(sog) or math.isnan(cog):
            return out
        lon, lat = np.array([move.after.lon]), np.array([move.after.lat])
        for far, index, slow, fences in self._groups:
            if sog < slow:
                continue
            met = index.crossed(lon, lat, *ahead(lon, lat, np.array([sog]), np.array([cog]), far))
            for zone, fraction in zip(met.zone.tolist(), met.fraction.tolist(), strict=True):
                out |= {fence: fraction * far for fence in fences[index.ids[zone]] if sog >= slowest(fence)}
        return out


def knot(move: Move) -> bool:
    """Whether it is the first fix of its step."""
    return move.before is None or move.before.time // STEP != move.after.time // STEP


def reach(fence: Fence) -> int:
    """How far ahead to look, microseconds."""
    assert fence.rule.within is not None
    return fence.rule.within * 3 // 2


def slowest(fence: Fence) -> float:
    """Knots below which a vessel approaches nothing."""
    return _SLOW if fence.rule.min_sog is None else fence.rule.min_sog
