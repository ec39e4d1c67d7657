"""How likely a vessel that transmits is heard, by place and hour of the day: learned from vessels that were.

Event time is cut into intervals so long that a transmitting vessel is heard in each. Two fixes of one
vessel, one after the other, tell of the intervals from the first to the second: it was heard in that of the second, and
missed in those between, at places on the straight line between the two. After too long a silence nobody
knows where it went; then it was missed once, where it was heard last: there it left what we hear. A vessel that lies
still says nothing, neither that it was heard nor that it was missed: it may have switched off at the quay, and one at
anchor all day would outweigh all that pass. Nor do times at which we ourselves were deaf, nor what is no vessel.

Counts are kept by cell of ``CELL`` degrees, hour of the day (UTC) and class of transponder. Counts that reach ``FULL``
are halved: what was learned is forgotten exponentially, by as much as is learned anew. At most ``CAPACITY`` cells are
kept; an eighth, those longest without news, goes when there are more.

Whether a vessel that is silent would have been heard is asked of the places where it may be by now, hour by hour from
its last fix on: by its course and speed, slower, to either side of that course, or where it was. The hour at which it
would have been heard best counts. So who sails out of what we hear is not missed, and who falls silent within it is. Of
AIS a cell of which nothing is known counts by those around it, and those of which nothing is known either as places
where nobody is heard: what we hear has an edge. Devices of a vessel monitoring system, which report by satellite and so
seldom that most cells stay unknown, count there as where they were last.

Everything follows from the fix and the one before it, so nothing is kept by vessel; what changed is written with the
batch, and so a restart changes nothing. How long, how far and how many is for a rule to say
(``alerting.rules.vessels.Learning``); rules that say the same share what is learned.
"""

from __future__ import annotations

from hashlib import sha256
from math import floor
from typing import TYPE_CHECKING, Final

import numpy as np

from alerting.model import RuleState, SubjectKind
from alerting.rules.vessels import Learning
from alerting.vessels.fixes import NEVER
from decoders.identity import is_ais, is_vessel
from geofence.sphere import between, knots, metres, sailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from alerting.judging.outcome import Outcome
    from alerting.vessels.fixes import Fix, Fixes
    from alerting.vessels.last_heard import Last

_HOUR: Final = 3_600_000_000

#: Farther ahead nobody knows where a vessel may be.
_AHEAD: Final = 12 * _HOUR
#: Knots from which on a vessel is under way, and those of one that does not say: a fishing boat's.
UNDER_WAY: Final = 1.0
_USUAL_SPEED: Final = 5.0
_NAUTICAL_MILE: Final = 1852.0

CELL: Final = 0.1
FULL: Final = 200
CAPACITY: Final = 20_000
_COLUMNS: Final = round(360 / CELL)
#: The place of the counts among the rule states: no rule can have this id.
_RULE_ID: Final = "(coverage)"
_USUAL: Final = Learning()


def class_of(transponder: int) -> str:
    """The class of transponder that coverage is told apart by."""
    return "ais" if is_ais(transponder) else "vms"


def cell(lon: float, lat: float) -> int:
    """The number of the cell around a place."""
    return (floor(lat / CELL) + _COLUMNS) * _COLUMNS + floor((lon % 360.0) / CELL) % _COLUMNS


class Coverage:
    """Counts by class and cell: 24 of intervals heard, 24 of all, by hour of the day; and the last interval counted."""

    def __init__(self, learning: Learning = _USUAL) -> None:
        self._learning = learning
        self._intervals = {"ais": learning.interval, "vms": learning.vms_interval}
        self._longest = {"ais": learning.longest, "vms": learning.vms_longest}
        said = sha256(learning.model_dump_json().encode()).hexdigest()[:12]
        self._rule_id = _RULE_ID if learning == _USUAL else f"(coverage {said})"
        self._cells: dict[tuple[str, int], list[int]] = {}
        self._changed: set[tuple[str, int]] = set()

    def __len__(self) -> int:
        return len(self._cells)

    def restore(self, state: RuleState) -> bool:
        """Take up the counts of a cell; False if the state is another one."""
        if state.rule_id != self._rule_id or state.state is None:
            return False
        self._cells[state.key, state.subject_id] = list(state.state["counts"])
        return True

    def keep(self, out: Outcome) -> None:
        """Say what changed since the last time."""
        for name, number in self._changed:
            counts = self._cells.get((name, number))
            said = None if counts is None else {"counts": list(counts)}
            out.keep(RuleState(self._rule_id, SubjectKind.DEVICE, number, name, said))
        self._changed.clear()

    def telling(self, fixes: Fixes) -> NDArray[np.bool_]:
        """The rows that there is something to learn from: of vessels, in another interval than the fix before."""
        lengths = np.where(is_ais(fixes.transponder), self._intervals["ais"], self._intervals["vms"])
        new = (fixes.before_time != NEVER) & (fixes.time // lengths != fixes.before_time // lengths)
        out: NDArray[np.bool_] = new & is_vessel(fixes.transponder)
        return out

    def learn(self, fix: Fix, deaf: Callable[[int, int, int], bool]) -> None:
        """What a fix says. ``deaf``: whether a source could not be heard at some time between two."""
        assert fix.before is not None
        name = class_of(fix.transponder)
        length, before, now = self._intervals[name], fix.before, (fix.time, fix.lon, fix.lat)
        first, last = before[0] // length, fix.time // length
        moved = metres(before[1], before[2], fix.lon, fix.lat)
        if knots(moved, fix.time - before[0]) > self._learning.max_speed:
            return
        went = moved >= self._learning.min_distance
        if not went and (fix.sog is None or fix.sog < UNDER_WAY):
            return
        if last - first > 1 and went and not deaf(fix.source, before[0], fix.time):
            if fix.time - before[0] > self._longest[name]:
                self._count(name, before[1], before[2], first + 1, heard=False)
            else:
                for interval in range(first + 1, last):
                    lon, lat = between(interval * length + length // 2, before, now)
                    self._count(name, lon, lat, interval, heard=False)
        self._count(name, fix.lon, fix.lat, last, heard=True)

    def probability(self, last: Last, silence: int) -> float | None:
        """How likely a vessel would have been heard in a silence, had it gone on transmitting; None: not known.

        Args:
            last: what it reported last.
            silence: how long ago that was, microseconds.
        """
        name = class_of(last.transponder)
        known = self._near(name, cell(last.lon, last.lat), last.time)
        if known is None:
            return None
        beyond = 0.0 if name == "ais" else known
        best = 0.0
        for ago in range(min(_HOUR, silence), min(silence, _AHEAD) + 1, _HOUR):
            heard = weight = 0.0
            for lon, lat, counts in _ahead(last, ago / _HOUR):
                there = self._near(name, cell(lon, lat), last.time + ago)
                heard, weight = heard + counts * (beyond if there is None else there), weight + counts
            best = max(best, heard / weight)
        return round(best, 3)

    def _near(self, name: str, here: int, time: int) -> float | None:
        """The share of a cell around an hour of the day, or that of the cells around it; None: none is known."""
        hour = time // _HOUR % 24
        if (found := self._share(name, here, hour)) is not None:
            return found
        beside = (here + y * _COLUMNS + x for y in (-1, 0, 1) for x in (-1, 0, 1))
        shares = [self._share(name, number, hour) for number in beside]
        if all(share is None for share in shares):
            return None
        unknown = 0.0 if name == "ais" else None
        counted = [unknown if share is None else share for share in shares]
        known = [share for share in counted if share is not None]
        return sum(known) / len(known)

    def _share(self, name: str, number: int, hour: int) -> float | None:
        """Of the hour and those beside it; if too little was seen then, of the whole day."""
        counts = self._cells.get((name, number))
        if counts is None:
            return None
        hours = [(hour + d) % 24 for d in (-1, 0, 1)]
        if (seen := sum(counts[24 + h] for h in hours)) >= self._learning.enough:
            return _share(sum(counts[h] for h in hours), seen)
        if (seen := sum(counts[24:48])) >= self._learning.enough:
            return _share(sum(counts[:24]), seen)
        return None

    def _count(self, name: str, lon: float, lat: float, interval: int, *, heard: bool) -> None:
        key, hour = (name, cell(lon, lat)), interval * self._intervals[name] // _HOUR % 24
        counts = self._cells.get(key)
        if counts is None:
            if len(self._cells) >= CAPACITY:
                self._forget()
            counts = self._cells[key] = [0] * 49
        counts[hour] += heard
        counts[24 + hour] += 1
        counts[48] = max(counts[48], interval * self._intervals[name])
        if counts[24 + hour] >= FULL:
            counts[hour] //= 2
            counts[24 + hour] //= 2
        self._changed.add(key)

    def _forget(self) -> None:
        going = sorted(self._cells, key=lambda key: (self._cells[key][48], key))[: CAPACITY // 8]
        for key in going:
            del self._cells[key]
        self._changed.update(going)


def _share(heard: int, seen: int) -> float:
    """Their ratio, as of one more interval that was half heard: never quite 0 or 1."""
    return (heard + 0.5) / (seen + 1)


def _ahead(last: Last, hours: float) -> list[tuple[float, float, float]]:
    """Where a vessel may be some hours after its last report: longitude, latitude, and how much that counts."""
    stays = [(last.lon, last.lat, 1.0)]
    if last.sog is not None and last.sog < UNDER_WAY:
        return stays
    if last.sog is None or last.cog is None:
        away = (_USUAL_SPEED if last.sog is None else last.sog) * hours * _NAUTICAL_MILE
        return stays + [(*sailed(last.lon, last.lat, 45.0 * n, away), 1.0) for n in range(8)]
    away = last.sog * hours * _NAUTICAL_MILE
    ways = ((0.0, away, 3.0), (0.0, away / 2, 1.0), (45.0, away, 1.0), (-45.0, away, 1.0))
    return stays + [(*sailed(last.lon, last.lat, last.cog + turn, far), counts) for turn, far, counts in ways]
