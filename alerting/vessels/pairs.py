"""Two vessels beside each other for long: what encounters and carried beacons have in common.

Every vessel that suits the rule ties knots (``alerting.vessels.knots``); those of two are compared at the last time at
which both places are known. A pair is followed from the first time at which it is close, until a common time at which
it is not, until one of the two does not suit any more, or until there was no common time for ``max_gap``. What is kept
is the last knot of each vessel that suits, and a few figures of each pair.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import inf
from typing import TYPE_CHECKING, Any, Final

from alerting.messages import vessels as messages
from alerting.rules.vessels import CarriedBeaconsRule
from alerting.vessels.detector import Detector
from alerting.vessels.geo import metres
from alerting.vessels.knots import Stretch, around, common, each, speed
from alerting.vessels.teller import Alert, When
from decoders.identity import is_ais

if TYPE_CHECKING:
    from collections.abc import Iterable

    from alerting.model import RuleState
    from alerting.names import Names
    from alerting.outcome import Outcome, Ruled
    from alerting.rules.vessels import EncounterRule
    from alerting.vessels.fixes import Fix, Fixes
    from alerting.vessels.kinds import Kinds
    from alerting.vessels.near import Near

STEP: Final = 600_000_000
_HOUR: Final = 3_600_000_000


@dataclass(slots=True)
class Pair:
    """Two vessels that are close, the lesser id first. Event times but for ``received``."""

    a: int
    b: int
    since: int
    last: int
    received: int
    lon: float  # where the first of them was at `since`
    lat: float
    last_lon: float  # and at `last`
    last_lat: float
    nearest: float  # m
    farthest: float
    fixes: int = 1  # common times
    path: float = 0.0  # m

    def told(self) -> dict[str, Any]:
        return {
            "from": messages.fix(self.since, self.lon, self.lat),
            "to": messages.fix(self.last, self.last_lon, self.last_lat),
            "common_fixes": self.fixes,
            "nearest_m": round(self.nearest),
            "farthest_m": round(self.farthest),
            "path_m": round(self.path),
        }


class Pairs(Detector):
    """Follows pairs for a rule; what is told of them is for others to say."""

    def __init__(
        self, ruled: Ruled, names: Names, rule: EncounterRule | CarriedBeaconsRule, ports: Near, tolerance: float
    ) -> None:
        super().__init__(ruled, names)
        self._rule, self._ports, self._tolerance = rule, ports, tolerance
        self._speeds = (rule.min_speed, inf) if isinstance(rule, CarriedBeaconsRule) else (0.0, rule.max_speed)
        self._knots: dict[int, Stretch] = {}
        self._grid: dict[tuple[int, int], set[int]] = {}
        self._pairs: dict[tuple[int, int], Pair] = {}
        self._partners: dict[int, set[int]] = {}
        self._pruned = -(2**62)
        self._soonest = 2**62  # before this no pair has been without a common time for too long

    # --- for others to say

    def suits(self, knots: float) -> bool:
        """Whether a vessel at that speed is one to compare."""
        raise NotImplementedError

    def grown(self, pair: Pair, when: When, kinds: Kinds, out: Outcome) -> None:
        """A pair was close once more."""
        raise NotImplementedError

    def ended(self, pair: Pair, when: When, at: int, reason: str, out: Outcome) -> None:
        """A pair is one no more."""
        raise NotImplementedError

    def kept(self, pair: Pair) -> dict[str, Any]:  # noqa: ARG002
        """What else must be found again about a pair."""
        return {}

    # --- what is held

    def held(self) -> set[int]:
        return set(self._knots) | set(self._partners)

    def _holds(self, transponder: int) -> bool:
        return transponder in self._knots or transponder in self._partners

    def alert_of(self, transponder: int) -> Alert | None:  # noqa: ARG002  # alerts are of pairs and groups
        return None

    def drop(self, transponder: int) -> None:
        if (old := self._knots.pop(transponder, None)) is not None:
            for cell in old.cells():
                found = self._grid[cell]
                found.discard(transponder)
                if not found:
                    del self._grid[cell]

    def take_up(self, state: RuleState) -> bool:
        said = state.state or {}
        if "knot" in said:
            self._place(state.subject_id, Stretch(*said["knot"]))
        elif "pair" in said:
            self._hold(Pair(**said["pair"]))
        return True

    def forget(self, transponder: int, when: When, out: Outcome) -> None:
        for pair in self._of(transponder):
            self._end(pair, when, pair.last, "forgotten", out)
        super().forget(transponder, when, out)

    # --- rows

    def rows(self, fixes: Fixes, kinds: Kinds, out: Outcome) -> None:
        for fix, ends in each(fixes, STEP, self._holds, *self._speeds, self._rule):
            self.expire(fix.received, out)
            self._knot(fix, ends, kinds, out)

    def expire(self, now: int, out: Outcome) -> None:
        if self._soonest >= now:
            return
        for pair in sorted(self._pairs.values(), key=lambda pair: (pair.received, pair.a, pair.b)):
            due = pair.received + self._rule.max_gap
            if due >= now:
                break
            self._end(pair, When.due(due, pair.a), pair.last + self._rule.max_gap, "quiet", out)
        soonest = min((pair.received for pair in self._pairs.values()), default=2**62 - self._rule.max_gap)
        self._soonest = soonest + self._rule.max_gap

    def _knot(self, fix: Fix, ends: Stretch | None, kinds: Kinds, out: Outcome) -> None:
        name, when = fix.transponder, When.of(fix)
        made_good = None if ends is None else speed(fix, ends, self._knots.get(name), self._rule)
        apart = ends is None or made_good is None or not self.suits(made_good) or self._ports.holds(fix.lon, fix.lat)
        if apart or kinds.matches(self._rule.scope, name, fix.time, message=fix.message) is False:
            for pair in self._of(name):
                self._end(pair, when, fix.time, "parted", out)
            if name in self._knots:
                self.drop(name)
                self.keep(name, None, out)
            return
        assert ends is not None
        near: set[int] = set(self._partners.get(name, ()))
        for cell in around(ends.cells()):
            near |= self._grid.get(cell, set())
        for other in sorted(near - {name}):
            if other in self._knots and (self._rule.mixed or is_ais(name) == is_ais(other)):
                self._compare(fix, ends, other, kinds, out)
        self.drop(name)
        self._place(name, ends)
        self.keep(name, {"knot": list(ends)}, out)
        self._prune(fix.time, out)

    def _compare(self, fix: Fix, ends: Stretch, other: int, kinds: Kinds, out: Outcome) -> None:
        key = (min(fix.transponder, other), max(fix.transponder, other))
        pair, beside, when = self._pairs.get(key), self._knots[other], When.of(fix)
        time = common(ends, beside, STEP)
        if time is None or (pair is not None and time <= pair.last):
            return
        if pair is not None and time - pair.last > self._rule.max_gap:
            self._end(pair, when, time, "unheard", out)
            pair = None
        here, there = ends.at(time), beside.at(time)
        away = metres(*here, *there)
        if away > self._tolerance:
            if pair is not None:
                self._end(pair, when, time, "parted", out)
            return
        lon, lat = here if key[0] == fix.transponder else there
        if pair is None:
            pair = Pair(*key, time, time, fix.received, lon, lat, lon, lat, away, away)
            self._hold(pair)
        else:
            pair.path += metres(pair.last_lon, pair.last_lat, lon, lat)
            pair.last, pair.received, pair.last_lon, pair.last_lat = time, fix.received, lon, lat
            pair.fixes += 1
            pair.nearest, pair.farthest = min(pair.nearest, away), max(pair.farthest, away)
        self.grown(pair, when, kinds, out)
        self._remember(pair, out)

    def _prune(self, time: int, out: Outcome) -> None:
        """Once an hour, forget knots that are long past."""
        if (hour := time // _HOUR) <= self._pruned:
            return
        self._pruned = hour
        past = hour * _HOUR - 2 * self._rule.longest_stretch  # nothing is compared with them any more
        for name in sorted(name for name, knot in self._knots.items() if knot.time1 < past):
            self.drop(name)
            self.keep(name, None, out)

    # --- pairs

    def _of(self, transponder: int) -> list[Pair]:
        partners: Iterable[int] = sorted(self._partners.get(transponder, ()))
        return [self._pairs[min(transponder, x), max(transponder, x)] for x in partners]

    def _hold(self, pair: Pair) -> None:
        self._pairs[pair.a, pair.b] = pair
        self._soonest = min(self._soonest, pair.received + self._rule.max_gap)
        self._partners.setdefault(pair.a, set()).add(pair.b)
        self._partners.setdefault(pair.b, set()).add(pair.a)

    def _place(self, transponder: int, knot: Stretch) -> None:
        self._knots[transponder] = knot
        for cell in knot.cells():
            self._grid.setdefault(cell, set()).add(transponder)

    def _end(self, pair: Pair, when: When, at: int, reason: str, out: Outcome) -> None:
        del self._pairs[pair.a, pair.b]
        for one, other in ((pair.a, pair.b), (pair.b, pair.a)):
            self._partners[one].discard(other)
            if not self._partners[one]:
                del self._partners[one]
        self.ended(pair, when, at, reason, out)
        out.remember(self.rule.id, self.subject(pair.a), str(pair.b), None)

    def _remember(self, pair: Pair, out: Outcome) -> None:
        said = {"pair": asdict(pair)} | self.kept(pair)
        out.remember(self.rule.id, self.subject(pair.a), str(pair.b), said)
