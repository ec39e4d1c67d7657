"""Which rows zone rules must look at though nothing changed about the zones around the vessel.

Of whom something waits to settle or to last long enough, all rows are looked at from the instant on at which they
matter; of all others, those that are in a zone at a speed that some rule asks for, or on the way to one. To look at a
row that decides nothing changes nothing, so it does not matter that of those who moved in this batch all rows are
looked at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from alerting.rules import AHEAD, Condition

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from alerting.zones.approach import Approach
    from alerting.zones.fence import Fence
    from alerting.zones.visits import Held
    from geofence.index import ZoneIndex
    from geofence.moves import Move, Stretch
    from geofence.tracks import Advance

    Table = NDArray[np.void]
    Floats = NDArray[np.float64]

_ALWAYS: Final = -(2**62)
_NEVER: Final = 2**62


class Attention:
    """Who is being watched, and since when."""

    def __init__(self, fences: Iterable[Fence], index: ZoneIndex, approach: Approach) -> None:
        fences = list(fences)
        self._index = index
        self._zones = {fence.zone.id for fence in fences if fence.attentive}
        self._ranges: dict[str, tuple[float, float]] = {}  # zone -> speeds that some rule asks for
        for fence in fences:
            if fence.rule.condition is Condition.SPEED:
                low, high = self._ranges.get(fence.zone.id, (np.inf, -np.inf))
                own_low, own_high = fence.rule.min_sog or 0.0, fence.rule.max_sog
                self._ranges[fence.zone.id] = min(low, own_low), max(high, np.inf if own_high is None else own_high)
        self._low, self._high = np.zeros(0), np.zeros(0)  # by zone set
        self._approach = approach
        self._since: dict[int, int] = {}  # transponder -> event time from which its rows matter

    @property
    def needed(self) -> bool:
        """Whether any rule asks for it."""
        return bool(self._zones)

    def watch(
        self, transponder: int, held: Mapping[tuple[str, str], Held], fences: Mapping[tuple[str, str], Fence]
    ) -> None:
        """What is held of a transponder now."""
        since = min((_matters(fences[key], each) for key, each in held.items()), default=_NEVER)
        if since < _NEVER:
            self._since[transponder] = since
        else:
            self._since.pop(transponder, None)

    def moves(self, advance: Advance, positions: Table, news: Iterable[int]) -> list[Move]:
        """Rows to look at beside those at which something changed. ``news``: who told something else than before."""
        since = self._watched(advance)
        since |= {m.transponder: _ALWAYS for m in advance.moves if any(leg.ended_on for leg in m.legs)}
        if self._zones:
            around = ((m.transponder, (*m.was, *m.now, *(leg.line for leg in m.legs))) for m in advance.moves)
            since |= {transponder: _ALWAYS for transponder, zones in around if not self._zones.isdisjoint(zones)}
            since |= dict.fromkeys(news, _ALWAYS)
        moves: list[Move] = []
        told = {move.row for move in advance.moves}
        for stretch in advance.stretches if self._zones else ():
            asked = self._approach.near(stretch, positions)
            if self._ranges:
                asked |= self._in_range(stretch, positions)
            # Also of rows that are told of already, for another reason: what they begin, the next may end.
            since |= dict.fromkeys(stretch.transponder[asked & (stretch.row >= 0)].tolist(), _ALWAYS)
            moves += advance.quiet(stretch, asked, told)
        ids = np.array(sorted(since), np.int64)
        return moves + advance.others(ids, np.array([since[t] for t in ids.tolist()], np.int64), told)

    def _watched(self, advance: Advance) -> dict[int, int]:
        """Since when rows matter, of those in the batch or of everybody: whichever are fewer."""
        if len(self._since) <= sum(len(stretch.row) for stretch in advance.stretches):
            return dict(self._since)
        heard = {name for stretch in advance.stretches for name in stretch.transponder.tolist()}
        return {name: self._since[name] for name in heard if name in self._since}

    def _in_range(self, stretch: Stretch, positions: Table) -> NDArray[np.bool_]:
        """In a zone at a speed that a rule of it asks for, or at one that is not told."""
        if len(stretch.zones) and int(stretch.zones.max()) >= len(self._low):
            self._learn(int(stretch.zones.max()) + 1)
        sog = positions["sog"][stretch.row]  # of the row before a batch: of any, it is not asked about
        inside: NDArray[np.bool_] = self._low[stretch.zones] <= self._high[stretch.zones]
        slow, fast = sog < self._low[stretch.zones], sog > self._high[stretch.zones]
        return inside & ~(slow | fast)

    def _learn(self, size: int) -> None:
        """The speeds asked for by the zones of every set."""
        low, high = np.full(size, np.inf), np.full(size, -np.inf)
        for number in range(size):
            ranges = [self._ranges[zone] for zone in self._index.zone_set(number) if zone in self._ranges]
            if ranges:
                low[number], high[number] = min(r[0] for r in ranges), max(r[1] for r in ranges)
        self._low, self._high = low, high


def _matters(fence: Fence, held: Held) -> int:
    """The event time from which rows of a transponder matter to what is held of it."""
    if held.turn is not None or held.touch is not None:
        return _ALWAYS
    if held.visit is not None:
        if fence.rule.condition is Condition.SPEED or fence.rule.condition in AHEAD:
            return _ALWAYS
        if fence.rule.condition is Condition.DWELL and held.visit.alert is None:
            return held.visit.started_at + fence.rule.for_
    return _NEVER
