"""Knots: tracks thinned to what is needed to compare them, and to add up along them.

Event time is cut into steps. The first fix of a transponder in another step than the fix before it ties a knot: the
stretch between the two, along which its place is known at any time, by interpolation. So a knot follows from two
fixes, nothing is kept to find it, and however often a vessel reports it ties one a step at the most. With AIS the
stretch is seconds long and interpolation exact; with VMS it is two hours long, and so are the doubts.

No knot is tied over a silence that is too long, nor over a stretch that no vessel could have sailed: a rule says what
that means (``alerting.rules.vessels.TiedRule``).
"""

from __future__ import annotations

from functools import lru_cache
from math import ceil, cos, floor, radians
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from alerting.vessels.fixes import NEVER
from geofence.sphere import between, knots, metres

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from alerting.rules.vessels import TiedRule
    from alerting.vessels.fixes import Fix, Fixes

_MINUTE: Final = 60_000_000
#: Over a time at least as long between two fixes nobody knows where a vessel went.
SPARSE: Final = 30 * _MINUTE
_FISHING: Final = 7  # navigational status: what is said then of the speed is for the rule to judge
#: Degrees of latitude and longitude of a cell of the grid: 2.2 km from north to south.
CELL: Final = 0.02


class Stretch(NamedTuple):
    """From one fix to the next."""

    time0: int
    lon0: float
    lat0: float
    time1: int
    lon1: float
    lat1: float

    def at(self, time: int) -> tuple[float, float]:
        """The place at a time within it."""
        return between(time, (self.time0, self.lon0, self.lat0), (self.time1, self.lon1, self.lat1))


def cell(lon: float, lat: float) -> tuple[int, int]:
    """The cell of a place."""
    return floor((lon % 360.0) / CELL), floor(lat / CELL)


@lru_cache(maxsize=65_536)
def around(x: int, y: int) -> tuple[tuple[int, int], ...]:
    """A cell, and all in which places within a kilometre of one in it can lie."""
    columns = round(360 / CELL)
    wide = min(20, ceil(1 / max(0.05, cos(radians(abs(y) * CELL)))))
    return tuple(((x + dx) % columns, y + dy) for dx in range(-wide, wide + 1) for dy in (-1, 0, 1))


def stretch(fix: Fix, rule: TiedRule) -> Stretch | None:
    """The stretch that ends with a fix; None if nobody knows how it was sailed."""
    if fix.before is None or fix.time - fix.before[0] > rule.longest_stretch:
        return None
    found = Stretch(*fix.before, fix.time, fix.lon, fix.lat)
    away = metres(found.lon0, found.lat0, found.lon1, found.lat1)
    fast = knots(away, found.time1 - found.time0) > rule.believable_speed
    return None if fast and away > rule.believable_distance else found


def speed(fix: Fix, ends: Stretch, last: tuple[int, float, float] | None, rule: TiedRule) -> float | None:
    """Knots made good since the last knot; for a first one as reported, or along the stretch; None: not known.

    Over a long stretch a speed reported counts if it is more: a vessel that goes to and fro makes nothing good.

    Args:
        fix: with which the stretch ends.
        ends: the stretch.
        last: time, lon and lat of the fix with which the last knot ended, if there was one.
        rule: says over how long a stretch a speed is made good.
    """
    since, lon, lat = last or (ends.time0, ends.lon0, ends.lat0)
    taken = ends.time1 - since
    if taken >= rule.measurable or (fix.sog is None and taken > 0):
        good = knots(metres(lon, lat, ends.lon1, ends.lat1), taken)
        return max(good, fix.sog) if fix.sog is not None and taken >= SPARSE else good
    return fix.sog


def least(wanted: int, taken: int) -> int:
    """How long something must have been seen to last for it to have lasted ``wanted``, most likely.

    Where fixes are far apart (``taken``), its beginning and its end lie between them: half of that is given, on either
    side a quarter; yet half of what is wanted must be seen.
    """
    return max(wanted - taken // 2, wanted // 2) if taken >= SPARSE else wanted


def each(
    fixes: Fixes, step: int, held: Callable[[int], bool], least: float, most: float, rule: TiedRule
) -> Iterator[tuple[Fix, Stretch | None]]:
    """The fixes in a new step, in arrival order, each with its knot; None where a silence or a jump lets tie none.

    Left out is what cannot matter: transponders about which nothing is ``held`` then, at a speed reported over a short
    stretch that is below ``least`` or above ``most`` (knots).
    """
    new = (fixes.before_time != NEVER) & (fixes.time // step != fixes.before_time // step)
    places = np.flatnonzero(new)
    if not len(places):
        return
    sog, taken = fixes.sog[places], fixes.time[places] - fixes.before_time[places]
    slow_or_fast = (taken < rule.measurable) & ((sog < least) | (sog > most))
    beside = slow_or_fast & (fixes.nav_status[places] != np.int8(_FISHING))
    names = fixes.transponder[places].tolist()
    for i, name, left_out in zip(places.tolist(), names, beside.tolist(), strict=True):
        if not left_out or held(name):
            fix = fixes.fix(i)
            yield fix, stretch(fix, rule)
