"""Knots: tracks thinned to what is needed to compare them, and to add up along them.

Event time is cut into steps. The first fix of a transponder in another step than the fix before it ties a knot: the
stretch between the two, along which its place is known at any time, by interpolation. So a knot follows from two
fixes, nothing is kept to find it, and however often a vessel reports it ties one a step at the most. With AIS the
stretch is seconds long and interpolation exact; with VMS it is two hours long, and so are the doubts.

No knot is tied over a silence that is too long, nor over a stretch that no vessel could have sailed: a rule says what
that means (``alerting.rules.vessels.TiedRule``).
"""

from __future__ import annotations

from math import ceil, cos, floor, radians
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from alerting.vessels.fixes import NEVER
from alerting.vessels.geo import between, east, knots, metres

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from alerting.rules.vessels import TiedRule
    from alerting.vessels.fixes import Fix, Fixes

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

    def cells(self) -> set[tuple[int, int]]:
        """The cells of the grid that it passes, but for corners that it cuts."""
        x, y = east(self.lon0, self.lon1), self.lat1 - self.lat0
        parts = max(1, min(1000, ceil(2 * max(abs(x), abs(y)) / CELL)))
        return {cell(self.lon0 + x * n / parts, self.lat0 + y * n / parts) for n in range(parts + 1)}


def cell(lon: float, lat: float) -> tuple[int, int]:
    """The cell of a place."""
    return floor((lon % 360.0) / CELL), floor(lat / CELL)


def around(cells: set[tuple[int, int]]) -> set[tuple[int, int]]:
    """Cells, and all from which a place in them can be reached within a kilometre."""
    columns = round(360 / CELL)
    out: set[tuple[int, int]] = set()
    for x, y in cells:
        wide = min(20, ceil(1 / max(0.05, cos(radians(abs(y) * CELL)))))
        out.update(((x + dx) % columns, y + dy) for dx in range(-wide, wide + 1) for dy in (-1, 0, 1))
    return out


def stretch(fix: Fix, rule: TiedRule) -> Stretch | None:
    """The stretch that ends with a fix; None if nobody knows how it was sailed."""
    if fix.before is None or fix.time - fix.before[0] > rule.longest_stretch:
        return None
    found = Stretch(*fix.before, fix.time, fix.lon, fix.lat)
    away = metres(found.lon0, found.lat0, found.lon1, found.lat1)
    fast = knots(away, found.time1 - found.time0) > rule.believable_speed
    return None if fast and away > rule.believable_distance else found


def speed(fix: Fix, ends: Stretch, last: Stretch | None, rule: TiedRule) -> float | None:
    """Knots made good since the last knot; for a first one as reported, or along the stretch; None: not known."""
    since = last or ends
    taken = ends.time1 - since.time1 if last else ends.time1 - ends.time0
    if taken >= rule.measurable or (fix.sog is None and taken > 0):
        start = (since.lon1, since.lat1) if last else (ends.lon0, ends.lat0)
        return knots(metres(*start, ends.lon1, ends.lat1), taken)
    return fix.sog


def common(a: Stretch, b: Stretch, step: int) -> int | None:
    """The last boundary between steps at which both places are known; None if there is none."""
    time = min(a.time1, b.time1) // step * step
    return time if time > max(a.time0, b.time0) else None


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
