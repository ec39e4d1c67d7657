"""Moves: the fixes at which something may have changed, each with the one before it.

A fence is a function of the old fix and the new one. The rows of a stretch where something may have changed are found
without touching the others one by one.

* The first fix of a transponder has no ``before``: being inside then is not an entry. Outside every zone it is not
  handed on, unless it is expected.
* *Crossed* means: through the zone between two fixes that are both outside it, or over a line (``geofence.lines``).
  It is not concluded from a move that took longer than ``max_gap`` or would have needed more than ``max_speed``: where
  the vessel went is then unknown. Entered and left follow from where the fixes are, and hold whatever lies between.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from geofence.sets import NOWHERE
from geofence.sphere import KNOT, metres

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from numpy.typing import NDArray

    from geofence.index import ZoneIndex
    from geofence.lines import Lines

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

HOUR: Final = 3_600_000_000


@dataclass(slots=True, frozen=True)
class Fix:
    """Where a transponder was. Microseconds UTC, degrees."""

    time: int
    lon: float
    lat: float


@dataclass(slots=True, frozen=True)
class Passage:
    """Through a zone between two fixes: where and when it was first met, both interpolated."""

    zone: str
    time: int
    lon: float
    lat: float


@dataclass(slots=True, frozen=True)
class Leg:
    """A move that met a line: ``net`` > 0 if over it to its left, < 0 to its right, and 0 if it came to no side.

    A fix exactly on the line is on no side: the net of moves that begin or end on it is to be added up.
    """

    line: str
    net: int
    begun_on: bool
    ended_on: bool
    time: int  # where it was crossed first, or the later fix: interpolated
    lon: float
    lat: float


@dataclass(slots=True, frozen=True)
class Move:
    """One judged fix at which something may have changed, and the one before it. Zones are ids, in index order."""

    row: int  # of the positions table
    transponder: int
    before: Fix | None  # None: never seen before
    after: Fix
    was: tuple[str, ...]
    now: tuple[str, ...]
    crossed: tuple[Passage, ...]
    legs: tuple[Leg, ...] = ()

    @property
    def entered(self) -> tuple[str, ...]:
        """Zones now around it that were not before; none at the first fix."""
        return tuple(z for z in self.now if z not in self.was) if self.before else ()

    @property
    def left(self) -> tuple[str, ...]:
        return tuple(z for z in self.was if z not in self.now)


@dataclass(slots=True, frozen=True)
class Stretch:
    """The judged rows of one stretch of a batch, sorted by transponder, then arrival; state from before comes first."""

    transponder: Ints
    row: Ints  # of the positions table; -1: the state before the stretch
    message: Ints  # -1 likewise
    time: Ints
    lon: Floats
    lat: Floats
    zones: NDArray[np.int32]
    restored: NDArray[np.bool_]

    def fix(self, i: int) -> Fix:
        return Fix(int(self.time[i]), float(self.lon[i]), float(self.lat[i]))


class MoveFinder:
    """Finds the moves of stretches, against one zone index.

    Args:
        index: the zones.
        boundaries: event times (microseconds) at which something about the zones or their rules begins or ends; a
            move over one of them is handed on even if it stays in the same zones.
        daily: times of the day, microseconds after midnight UTC, at which the same may happen on any day.
        max_gap: microseconds between two fixes beyond which nothing is concluded about the way between.
        max_speed: knots, likewise.
        crossings: whether anyone asks for passages through zones.
        lines: what may be crossed.
    """

    def __init__(
        self,
        index: ZoneIndex,
        *,
        boundaries: Sequence[int] = (),
        daily: Iterable[int] = (),
        max_gap: int = 6 * HOUR,
        max_speed: float = 60.0,
        crossings: bool = True,
        lines: Lines | None = None,
    ) -> None:
        self.index = index
        self._boundaries = np.unique(np.array(boundaries, np.int64))
        self._daily = np.unique(np.array(list(daily), np.int64))
        self._max_gap = max_gap
        self._max_speed = max_speed
        self._crossings = crossings
        self._lines = lines if lines is not None and lines.ids else None

    def find(self, judged: Stretch, expected: Collection[int] = ()) -> list[Move]:
        """The rows of a stretch at which something may have changed; ``expected``: whose first fix is handed on."""
        first = np.r_[True, judged.transponder[1:] != judged.transponder[:-1]]
        pair = np.flatnonzero(~first)  # the later fix of each pair; the earlier one is beside it
        worth = first & (judged.row >= 0) & (judged.zones != NOWHERE)
        if expected:
            worth |= first & (judged.row >= 0) & np.isin(judged.transponder, sorted(expected))
        worth[pair] = (judged.zones[pair] != judged.zones[pair - 1]) | judged.restored[pair - 1]
        if len(self._boundaries):
            era = np.searchsorted(self._boundaries, judged.time, side="right")
            worth[pair] |= era[pair] != era[pair - 1]
        if len(self._daily):
            day, clock = np.divmod(judged.time, 24 * HOUR)
            era = day * len(self._daily) + np.searchsorted(self._daily, clock, side="right")
            worth[pair] |= era[pair] != era[pair - 1]
        passages = self._passages(judged, pair)
        legs = self._legs(judged, pair)
        worth[[*passages, *legs]] = True
        return [
            Move(
                row=int(judged.row[i]),
                transponder=int(judged.transponder[i]),
                before=None if first[i] else judged.fix(i - 1),
                after=judged.fix(i),
                was=() if first[i] else self.index.zone_set(int(judged.zones[i - 1])),
                now=self.index.zone_set(int(judged.zones[i])),
                crossed=tuple(passages.get(i, ())),
                legs=tuple(legs.get(i, ())),
            )
            for i in np.flatnonzero(worth).tolist()
        ]

    def _passages(self, judged: Stretch, pair: Ints) -> dict[int, list[Passage]]:
        """By index of the later fix: zones passed through since the earlier one, neither fix inside them."""
        out: dict[int, list[Passage]] = {}
        if not self._crossings:
            return out
        taken = judged.time[pair] - judged.time[pair - 1]
        pair = pair[taken <= self._max_gap]
        lon0, lat0, lon1, lat1 = judged.lon[pair - 1], judged.lat[pair - 1], judged.lon[pair], judged.lat[pair]
        met = ~self.index.clear(lon0, lat0, lon1, lat1)  # whoever met no edge passed through nothing
        pair, lon0, lat0, lon1, lat1 = pair[met], lon0[met], lat0[met], lon1[met], lat1[met]
        around = np.stack([judged.zones[pair - 1], judged.zones[pair]])
        found = self.index.crossed(lon0, lat0, lon1, lat1, around)
        for k, move in enumerate(found.move.tolist()):
            at = int(pair[move])
            zone = self.index.ids[int(found.zone[k])]
            duration = int(judged.time[at] - judged.time[at - 1])
            if not self._possible(judged, at):
                continue
            when = int(judged.time[at - 1]) + round(float(found.fraction[k]) * duration)
            out.setdefault(at, []).append(Passage(zone, when, float(found.lon[k]), float(found.lat[k])))
        return out

    def _legs(self, judged: Stretch, pair: Ints) -> dict[int, list[Leg]]:
        """By index of the later fix: lines met since the earlier one."""
        out: dict[int, list[Leg]] = {}
        if self._lines is None:
            return out
        pair = pair[judged.time[pair] - judged.time[pair - 1] <= self._max_gap]
        lon0, lat0, lon1, lat1 = judged.lon[pair - 1], judged.lat[pair - 1], judged.lon[pair], judged.lat[pair]
        met = self._lines.met(lon0, lat0, lon1, lat1)
        columns = (met.move, met.line, met.net, met.begun_on, met.ended_on, met.fraction)
        for move, line, net, begun, ended, share in zip(*(c.tolist() for c in columns), strict=True):
            at = int(pair[move])
            if not self._possible(judged, at):
                continue
            before, after = judged.fix(at - 1), judged.fix(at)
            east = after.lon - before.lon
            lon = before.lon + share * (east - 360 * round(east / 360))
            out.setdefault(at, []).append(
                Leg(
                    self._lines.ids[line],
                    net,
                    begun,
                    ended,
                    before.time + round(share * (after.time - before.time)),
                    lon - 360 * ((lon > 180) - (lon < -180)),
                    before.lat + share * (after.lat - before.lat),
                )
            )
        return out

    def _possible(self, judged: Stretch, at: int) -> bool:
        """Whether a vessel can have gone straight from the fix before."""
        before, after = judged.fix(at - 1), judged.fix(at)
        return (
            metres(before.lon, before.lat, after.lon, after.lat)
            <= self._max_speed * KNOT * (after.time - before.time) / 1e6
        )
