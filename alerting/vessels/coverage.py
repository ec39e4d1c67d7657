"""How likely a vessel that transmits is heard, by place and hour of the day: learned from vessels that were.

Event time is cut into intervals so long that a transmitting vessel is heard in each. Two fixes of one
vessel, one after the other, tell of the intervals from the first to the second: it was heard in that of the second, and
missed in those between, at places on the straight line between the two. After too long a silence nobody
knows where it went; then it was missed once, where it was heard last: there it left what we hear. A vessel that did not
move between says nothing (it may have switched off at the quay), nor do times at which we ourselves were deaf.

Counts are kept by cell of ``CELL`` degrees, hour of the day (UTC) and class of transponder. Counts that reach ``FULL``
are halved: what was learned is forgotten exponentially, by as much as is learned anew. At most ``CAPACITY`` cells are
kept; an eighth, those longest without news, goes when there are more.

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
from decoders.identity import is_ais
from geofence.sphere import between, knots, metres

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from alerting.judging.outcome import Outcome
    from alerting.vessels.fixes import Fix, Fixes

_HOUR: Final = 3_600_000_000

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
        """The rows that there is something to learn from: those in another interval than the fix before."""
        lengths = np.where(is_ais(fixes.transponder), self._intervals["ais"], self._intervals["vms"])
        out: NDArray[np.bool_] = (fixes.before_time != NEVER) & (fixes.time // lengths != fixes.before_time // lengths)
        return out

    def learn(self, fix: Fix, deaf: Callable[[int, int, int], bool]) -> None:
        """What a fix says. ``deaf``: whether a source could not be heard at some time between two."""
        assert fix.before is not None
        name = class_of(fix.transponder)
        length, before, now = self._intervals[name], fix.before, (fix.time, fix.lon, fix.lat)
        first, last = before[0] // length, fix.time // length
        moved = metres(before[1], before[2], fix.lon, fix.lat)
        sailed = moved >= self._learning.min_distance and knots(moved, fix.time - before[0]) <= self._learning.max_speed
        if last - first > 1 and sailed and not deaf(fix.source, before[0], fix.time):
            if fix.time - before[0] > self._longest[name]:
                self._count(name, before[1], before[2], first + 1, heard=False)
            else:
                for interval in range(first + 1, last):
                    lon, lat = between(interval * length + length // 2, before, now)
                    self._count(name, lon, lat, interval, heard=False)
        self._count(name, fix.lon, fix.lat, last, heard=True)

    def probability(self, transponder: int, lon: float, lat: float, time: int) -> float | None:
        """The share of intervals in which vessels there were heard around that hour of the day; None: not known.

        Of the hour and those beside it; if too little was seen then, of the whole day; then of the cells around, too.
        """
        name, here, hour = class_of(transponder), cell(lon, lat), time // _HOUR % 24
        counts = self._cells.get((name, here))
        hours = [(hour + d) % 24 for d in (-1, 0, 1)]
        if counts and sum(counts[24 + h] for h in hours) >= self._learning.enough:
            return _share(sum(counts[h] for h in hours), sum(counts[24 + h] for h in hours))
        heard, seen = 0, 0
        for cells in ((here,), tuple(here + y * _COLUMNS + x for y in (-1, 0, 1) for x in (-1, 0, 1) if x or y)):
            for number in cells:
                if found := self._cells.get((name, number)):
                    heard, seen = heard + sum(found[:24]), seen + sum(found[24:48])
            if seen >= self._learning.enough:
                return _share(heard, seen)
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
    return round((heard + 0.5) / (seen + 1), 3)
