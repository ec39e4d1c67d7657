"""Who will be in a zone, over a line or out of a zone soon, at the present course and speed.

The way ahead is the great circle of the course, taken as straight in longitude and latitude to its end, half as long
again as the rule asks: what lies between is neither soon nor not. A vessel is looked at once in every ``STEP`` of event
time, at its first fix in it, and whenever it comes into a zone or leaves it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np
import shapely

from alerting.rules import AHEAD, Condition, Crossing
from alerting.zones.motion import ahead, motion, motions
from geofence.index import ZoneIndex
from geofence.lines import Lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from alerting.zones.fence import Fence
    from geofence.moves import Move, Stretch

    Table = NDArray[np.void]
    Floats = NDArray[np.float64]

#: Microseconds.
STEP: Final = 30_000_000
#: Knots below which a course says little, where a rule does not say otherwise.
_SLOW: Final = 1.0


class Approach:
    """The zones that may be approached or left, by how far ahead rules look."""

    def __init__(self, fences: Iterable[Fence]) -> None:
        asking = [fence for fence in fences if fence.rule.condition in AHEAD]
        self._groups = [_Group(far, [f for f in asking if reach(f) == far]) for far in sorted({*map(reach, asking)})]

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
        for group in self._groups:
            rows = np.flatnonzero(asked & (stretch.row >= 0) & (sog >= group.slow) & ~np.isnan(cog))
            lon, lat = stretch.lon[rows], stretch.lat[rows]
            out[rows] |= group.meets(lon, lat, *ahead(lon, lat, sog[rows], cog[rows], group.far))
        return out

    def times(self, move: Move, report: np.void) -> dict[Fence, float]:
        """Microseconds until the vessel is in the zones that lie ahead, over the lines, or out of those it is in."""
        out: dict[Fence, float] = {}
        sog, cog = motion(move, report)
        if math.isnan(sog) or math.isnan(cog):
            return out
        lon, lat = np.array([move.after.lon]), np.array([move.after.lat])
        for group in self._groups:
            if sog >= group.slow:
                way = (lon, lat, *ahead(lon, lat, np.array([sog]), np.array([cog]), group.far))
                out |= {f: at * group.far for f, at in group.met(way, move.now) if sog >= slowest(f)}
        return out


class _Group:
    """Those that look equally far ahead, microseconds."""

    def __init__(self, far: int, fences: Sequence[Fence]) -> None:
        self.far = far
        self.slow = min(slowest(fence) for fence in fences)
        self._of: dict[str, list[Fence]] = {}
        for fence in fences:
            self._of.setdefault(fence.zone.id, []).append(fence)
        zones = [some[0].zone for some in self._of.values()]
        self._areas = ZoneIndex([zone for zone in zones if not zone.is_line])
        self._lines = Lines([zone for zone in zones if zone.is_line])

    def meets(self, lon: Floats, lat: Floats, to_lon: Floats, to_lat: Floats) -> NDArray[np.bool_]:
        """False only for ways on which nothing is met."""
        out: NDArray[np.bool_] = ~self._areas.clear(lon, lat, to_lon, to_lat)
        if self._lines.ids:
            out[self._lines.met(lon, lat, to_lon, to_lat).move] = True
        return out

    def met(self, way: tuple[Floats, Floats, Floats, Floats], now: Sequence[str]) -> Iterator[tuple[Fence, float]]:
        """What is met on the way of a vessel in the zones ``now``, and at which fraction of it."""
        found = self._areas.crossed(*way)
        for zone, fraction in zip(found.zone.tolist(), found.fraction.tolist(), strict=True):
            for fence in self._of[self._areas.ids[zone]]:
                if fence.rule.condition is Condition.APPROACHING:
                    yield fence, fraction
                elif fence.zone.id in now and (out := _out(way, fence)) is not None:
                    yield fence, out
        legs = self._lines.met(*way)
        for line, net, fraction in zip(legs.line.tolist(), legs.net.tolist(), legs.fraction.tolist(), strict=True):
            yield from ((f, fraction) for f in self._of[self._lines.ids[line]] if crosses(f, net))


def crosses(fence: Fence, net: int) -> bool:
    """Whether so many crossings of its line, to its left or (negative) its right, are what a rule asks for."""
    return bool(net) and fence.rule.direction in (Crossing.EITHER, Crossing.LEFT if net > 0 else Crossing.RIGHT)


def _out(way: tuple[Floats, Floats, Floats, Floats], fence: Fence) -> float | None:
    """At which fraction of a way that begins in an area it first leaves it; None: it does not."""
    x0, y0, x1, y1 = (float(end[0]) for end in way)
    x1 -= 360.0 * ((x1 - x0 > 180.0) - (x1 - x0 < -180.0))
    rest = shapely.difference(shapely.LineString([(x0, y0), (x1, y1)]), fence.zone.geometry)
    if beyond := (x1 >= 180.0) - (x1 <= -180.0):  # areas are cut there: the other part, one turn further on
        moved = shapely.transform(fence.zone.geometry, lambda xy: np.add(xy, (360.0 * beyond, 0.0)))
        rest = shapely.difference(rest, moved)
    xy = shapely.get_coordinates(rest)
    if not len(xy):
        return None
    along = ((xy[:, 0] - x0) * (x1 - x0) + (xy[:, 1] - y0) * (y1 - y0)) / ((x1 - x0) ** 2 + (y1 - y0) ** 2)
    return float(np.clip(along.min(), 0.0, 1.0))


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
