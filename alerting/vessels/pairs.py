"""Two vessels beside each other for long: what encounters and carried beacons have in common.

Of every vessel that suits the rule its places at whole steps of event time are kept, by interpolation along its knots
(``alerting.vessels.knots``), for ``max_gap`` back: so a vessel whose reports come in a burst is compared with where the
others were then. A pair is followed from the first step at which both places are known and close, until one at which
they are not, until one of the two does not suit any more and the other is known as far, or until there was no common
step for ``max_gap``.

Where reports are far apart the straight line between them is not the way: how far a vessel was off the line from the
report before to that after is how crooked its ways are (``_Way.bend``), and tells how far it may be off the next one,
in the middle between two reports most. A rule may give way by as much (``slack``).

What is held does not grow with the square of a crowd. A vessel that has ``MOST`` beside it looks for no others, so
there are at most ``MOST`` pairs a vessel, and all of a crowd hang together by them; and where more than ``CROWD`` suit
within some kilometres, no further one looks, which is counted.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from math import inf
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from alerting.judging.apart import key_of
from alerting.messages import vessels as messages
from alerting.rules.vessels import CarriedBeaconsRule
from alerting.vessels.detector import Detector
from alerting.vessels.knots import SPARSE, around, cell, each, speed
from alerting.vessels.teller import Alert, When
from decoders.identity import MmsiClass, is_ais, mmsi_class
from geofence.apart import owner
from geofence.sphere import between, metres

if TYPE_CHECKING:
    from collections.abc import Iterable

    from alerting.judging.outcome import Outcome, Ruled
    from alerting.model import RuleState
    from alerting.registry.names import Names
    from alerting.rules.vessels import EncounterRule
    from alerting.vessels.fixes import Fix, Fixes
    from alerting.vessels.kinds import Kinds
    from alerting.vessels.knots import Stretch
    from alerting.vessels.near import Near

STEP: Final = 600_000_000
MOST: Final = 4
CROWD: Final = 256
#: Metres given to two vessels at the most: as far as neighbours are looked for (``knots.around``).
MOST_SLACK: Final = 900.0
#: Reports farther apart than this say nothing of how crooked a way is.
MAX_BEND: Final = 12 * 3_600_000_000
#: Of how far off the line over two stretches a report was: what is given on one, and what is left of that with each.
_OF_BEND: Final = 1.0
_FADES: Final = 0.85


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
    taken: int  # the longest time between two reports that was interpolated over
    fixes: int = 1  # common steps
    path: float = 0.0  # m
    slack: float = 0.0  # m: the most that the two were given beside the rule's tolerance
    given: float = 0.0  # m: all that they were given, added up over the common steps
    apart: float = 0.0  # m: and how far apart they were

    def told(self) -> dict[str, Any]:
        return {
            "from": messages.fix(self.since, self.lon, self.lat),
            "to": messages.fix(self.last, self.last_lon, self.last_lat),
            "common_fixes": self.fixes,
            "nearest_m": round(self.nearest),
            "farthest_m": round(self.farthest),
            "path_m": round(self.path),
            "longest_interval_seconds": self.taken // 1_000_000,
        }


class _Place(NamedTuple):
    """``taken``: between the reports, microseconds; ``slack``: how far off it the vessel may have been, metres."""

    lon: float
    lat: float
    taken: int
    slack: float


@dataclass(slots=True)
class _Way:
    """Where a vessel was, by step, oldest first."""

    received: int  # when the last of it was
    end: tuple[int, float, float]  # the report that it ends with: time, lon, lat
    places: dict[int, _Place] = field(default_factory=dict)
    bend: float = 0.0  # m that it is off the line between two reports, of late
    before: tuple[int, float, float] | None = None  # the report before the last
    left: int | None = None  # since when it does not suit any more

    @property
    def newest(self) -> int:
        return next(reversed(self.places))

    def lengthen(self, fix: Fix) -> None:
        """It goes on with a report."""
        now = fix.time, fix.lon, fix.lat
        if self.before is not None and now[0] - self.end[0] >= SPARSE:
            off = metres(*between(self.end[0], self.before, now), *self.end[1:])
            self.bend = max(off, self.bend * _FADES)
        if now != self.end:
            self.before = self.end if fix.time - self.end[0] <= MAX_BEND else None
        self.received, self.end, self.left = fix.received, now, None

    def slack(self, ends: Stretch, time: int) -> float:
        """How far off a stretch the vessel may have been at a time, metres."""
        taken = ends.time1 - ends.time0
        if taken < SPARSE:
            return 0.0
        share = (time - ends.time0) / taken
        return min(MOST_SLACK, _OF_BEND * self.bend * 4 * share * (1 - share))

    def kept(self) -> dict[str, Any]:
        places = [[step, *place] for step, place in self.places.items()]
        said = {"received": self.received, "end": list(self.end), "places": places, "left": self.left}
        return said | {"bend": self.bend, "before": self.before and list(self.before)}

    @classmethod
    def restore(cls, said: dict[str, Any]) -> _Way:
        time, lon, lat = said["end"]
        places = {step: _Place(*place) for step, *place in said["places"]}
        before = said["before"] and (said["before"][0], said["before"][1], said["before"][2])
        return cls(said["received"], (time, lon, lat), places, said["bend"], before, said["left"])


class Pairs(Detector):
    """Follows pairs for a rule; what is told of them is for others to say."""

    def __init__(
        self, ruled: Ruled, names: Names, rule: EncounterRule | CarriedBeaconsRule, ports: Near, tolerance: float
    ) -> None:
        super().__init__(ruled, names)
        self._rule, self._ports, self._tolerance = rule, ports, tolerance
        self._speeds = (rule.min_speed, inf) if isinstance(rule, CarriedBeaconsRule) else (0.0, rule.max_speed)
        self._ways: dict[int, _Way] = {}  # the longest unheard first, once sorted
        self._sorted = True
        self._grid: dict[tuple[int, int, int], set[int]] = {}  # by step and cell
        self._pairs: dict[tuple[int, int], Pair] = {}
        self._partners: dict[int, set[int]] = {}
        self._soonest = 2**62  # before this no pair has been without a common step for too long

    def _given(self, one: float, other: float) -> float:
        """Metres given to two vessels beside the tolerance."""
        return min(MOST_SLACK, one + other) if self.gives_way else 0.0

    # --- for others to say

    #: Whether vessels with crooked ways may be farther from each other between reports (module docstring).
    gives_way = False

    def suits(self, knots: float) -> bool:
        """Whether a vessel at that speed is one to compare."""
        raise NotImplementedError

    def left_out(self, fix: Fix, kinds: Kinds) -> bool:  # noqa: ARG002
        """Whether a vessel is none to compare for another reason."""
        return False

    def grown(self, pair: Pair, when: When, kinds: Kinds, out: Outcome) -> None:
        """A pair was close once more."""
        raise NotImplementedError

    def ended(self, pair: Pair, when: When, at: int, reason: str, out: Outcome) -> None:
        """A pair is one no more."""
        raise NotImplementedError

    # --- what is held

    def held(self) -> set[int]:
        return set(self._ways) | set(self._partners)

    def _holds(self, transponder: int) -> bool:
        return transponder in self._ways or transponder in self._partners

    def alert_of(self, transponder: int) -> Alert | None:  # noqa: ARG002  # alerts are of groups
        return None

    def drop(self, transponder: int) -> None:
        if (way := self._ways.pop(transponder, None)) is not None:
            for step in way.places:
                self._unplace(transponder, way, step)

    def take_up(self, state: RuleState) -> bool:
        said = state.state or {}
        if "way" in said:
            way = self._ways[state.subject_id] = _Way.restore(said["way"])
            self._sorted = False
            for step in way.places:
                self._place(state.subject_id, way, step)
        elif "pair" in said:
            self._hold(Pair(**said["pair"]))
        return True

    def forget(self, transponder: int, when: When, reason: str, out: Outcome) -> None:
        for pair in self._of(transponder):
            self._end(pair, when, pair.last, reason, out)
        super().forget(transponder, when, reason, out)

    # --- rows

    def rows(self, fixes: Fixes, kinds: Kinds, out: Outcome) -> None:
        for fix, ends in each(fixes, STEP, self._holds, *self._speeds, self._rule):
            self.expire(fix.received, out)
            self._knot(fix, ends, kinds, out)

    def expire(self, now: int, out: Outcome) -> None:
        self._expire_ways(now, out)
        if self._soonest >= now:
            return
        for pair in sorted(self._pairs.values(), key=lambda pair: (pair.received, pair.a, pair.b)):
            due = pair.received + self._rule.max_gap
            if due >= now:
                break
            self._end(pair, When.due(due, pair.a), pair.last + self._rule.max_gap, "quiet", out)
        soonest = min((pair.received for pair in self._pairs.values()), default=2**62 - self._rule.max_gap)
        self._soonest = soonest + self._rule.max_gap

    def _expire_ways(self, now: int, out: Outcome) -> None:
        if not self._sorted:
            self._ways = dict(sorted(self._ways.items(), key=lambda item: item[1].received))
            self._sorted = True
        while self._ways and self._ways[name := next(iter(self._ways))].received + self._rule.max_gap < now:
            self.drop(name)
            self.keep(name, None, out)

    def _knot(self, fix: Fix, ends: Stretch | None, kinds: Kinds, out: Outcome) -> None:
        name, when, way = fix.transponder, When.of(fix), self._ways.get(fix.transponder)
        if ends is None or not self._suits(fix, ends, way, kinds):
            self._leaves(name, fix.time, when, out)
            return
        way = self._ways.pop(name, None) or _Way(fix.received, (fix.time, fix.lon, fix.lat))
        way.lengthen(fix)
        self._ways[name] = way
        newest, kept = ends.time1 // STEP, self._rule.max_gap // STEP
        for step in range(max(ends.time0 // STEP + 1, newest - kept), newest + 1):
            slack = way.slack(ends, step * STEP)
            way.places[step] = _Place(*ends.at(step * STEP), ends.time1 - ends.time0, slack)
            self._place(name, way, step)
            self._beside(name, way, step, when, kinds, out)
        while (oldest := next(iter(way.places))) < newest - kept:
            self._unplace(name, way, oldest)
            del way.places[oldest]
        for pair in self._of(name):
            self._settle(pair, when, out)
        self.keep(name, {"way": way.kept()}, out)

    def _suits(self, fix: Fix, ends: Stretch, way: _Way | None, kinds: Kinds) -> bool:
        made_good = speed(fix, ends, way.end if way and way.left is None else None, self._rule)
        if made_good is None or not self.suits(made_good) or self._ports.holds(fix.lon, fix.lat):
            return False
        scope = self._rule.scope
        if _is_nobodys(owner(fix.transponder)) and owner(fix.transponder) not in (scope.mmsi or ()):
            return False
        return kinds.matches(scope, fix.transponder, fix.time, message=fix.message) is not False and not self.left_out(
            fix, kinds
        )

    def _leaves(self, name: int, time: int, when: When, out: Outcome) -> None:
        """A vessel does not suit any more."""
        way = self._ways.get(name)
        if way is not None and way.left is None:
            way.left = time
            self.keep(name, {"way": way.kept()}, out)
        for pair in self._of(name):
            if way is None:
                self._end(pair, when, time, "parted", out)
            else:
                self._settle(pair, when, out)

    def _settle(self, pair: Pair, when: When, out: Outcome) -> None:
        """End a pair of which one has left, once the other is known as far as that one was followed, or has left too.

        Until then the other may have been beside it all the time, and its reports be late.
        """
        a, b = self._ways.get(pair.a), self._ways.get(pair.b)
        left = [way.left for way in (a, b) if way is not None and way.left is not None]
        if not left:
            return
        if len(left) == 1 and a is not None and b is not None:
            gone, there = (a, b) if a.left is not None else (b, a)
            if there.newest < gone.newest:
                return
        self._end(pair, when, max(pair.last, min(left)), "parted", out)

    def _beside(self, name: int, way: _Way, step: int, when: When, kinds: Kinds, out: Outcome) -> None:
        """Compare a place of a vessel with those of others at the same time."""
        lon, lat, taken, slack = way.places[step]
        for pair in self._of(name):
            beside = self._ways.get(pair.b if name == pair.a else pair.a)
            place = beside.places.get(step) if beside else None
            if place is None:
                continue
            away, time = metres(lon, lat, place[0], place[1]), step * STEP
            if time - pair.last > self._rule.max_gap:
                self._end(pair, when, time, "unheard", out)
            elif away > self._tolerance + (given := self._given(slack, place.slack)):
                self._end(pair, when, time, "parted", out)
            else:
                x, y = (lon, lat) if name == pair.a else place[:2]
                pair.path += metres(pair.last_lon, pair.last_lat, x, y)
                pair.last, pair.received, pair.last_lon, pair.last_lat = time, when.known, x, y
                pair.fixes, pair.taken = pair.fixes + 1, max(pair.taken, taken, place.taken)
                pair.slack, pair.given, pair.apart = max(pair.slack, given), pair.given + given, pair.apart + away
                pair.nearest, pair.farthest = min(pair.nearest, away), max(pair.farthest, away)
                self.grown(pair, when, kinds, out)
                self._remember(pair, out)
        for away, other in self._others(name, way.places[step], step, kinds, out):
            a, b = min(name, other), max(name, other)
            place = self._ways[other].places[step]
            x, y = (lon, lat) if name == a else place[:2]
            time = step * STEP
            pair = Pair(a, b, time, time, when.known, x, y, x, y, away, away, max(taken, place.taken))
            pair.slack = self._given(slack, place.slack)
            self._hold(pair)
            self._remember(pair, out)

    def _others(self, name: int, here: _Place, step: int, kinds: Kinds, out: Outcome) -> list[tuple[float, int]]:
        """Metres and ids of those to begin a pair with: the nearest, until there are ``MOST``.

        Not those that are on one hull by the registry. Where it does not say, two that report by AIS and by VMS are
        taken to be, unless the rule is about mixed fleets.
        """
        partners = self._partners.get(name, set())
        if len(partners) >= MOST:
            return []
        near = [found for x, y in around(*cell(here.lon, here.lat)) if (found := self._grid.get((step, x, y)))]
        if sum(map(len, near)) > CROWD:
            out.crowded[self.rule.id] = out.crowded.get(self.rule.id, 0) + 1
            return []
        close = []
        for other in (other for found in near for other in found):
            if other == name or other in partners:
                continue
            place = self._ways[other].places[step]
            away = metres(here.lon, here.lat, place.lon, place.lat)
            if away > self._tolerance + self._given(here.slack, place.slack):
                continue
            one_hull = kinds.one_hull(name, other, step * STEP)
            if one_hull is None:
                one_hull = not self._rule.mixed and is_ais(owner(name)) != is_ais(owner(other))
            if not one_hull:
                close.append((away, other))
        return sorted(close)[: MOST - len(partners)]

    # --- places and pairs

    def _place(self, name: int, way: _Way, step: int) -> None:
        self._grid.setdefault((step, *cell(*way.places[step][:2])), set()).add(name)

    def _unplace(self, name: int, way: _Way, step: int) -> None:
        key = (step, *cell(*way.places[step][:2]))
        found = self._grid[key]
        found.discard(name)
        if not found:
            del self._grid[key]

    def _of(self, transponder: int) -> list[Pair]:
        partners: Iterable[int] = sorted(self._partners.get(transponder, ()))
        return [self._pairs[min(transponder, x), max(transponder, x)] for x in partners]

    def _hold(self, pair: Pair) -> None:
        self._pairs[pair.a, pair.b] = pair
        self._soonest = min(self._soonest, pair.received + self._rule.max_gap)
        self._partners.setdefault(pair.a, set()).add(pair.b)
        self._partners.setdefault(pair.b, set()).add(pair.a)

    def _end(self, pair: Pair, when: When, at: int, reason: str, out: Outcome) -> None:
        del self._pairs[pair.a, pair.b]
        for one, other in ((pair.a, pair.b), (pair.b, pair.a)):
            self._partners[one].discard(other)
            if not self._partners[one]:
                del self._partners[one]
        self.ended(pair, when, at, reason, out)
        out.remember(self.rule.id, self.subject(pair.a), _state_key(pair), None)

    def _remember(self, pair: Pair, out: Outcome) -> None:
        out.remember(self.rule.id, self.subject(pair.a), _state_key(pair), {"pair": asdict(pair)})


def _is_nobodys(transponder: int) -> bool:
    """Whether an MMSI has a form that is not assigned: net buoys, and what was never set up."""
    return is_ais(transponder) and mmsi_class(transponder) is MmsiClass.UNKNOWN


def _state_key(pair: Pair) -> str:
    return key_of(pair.a, f"beside {pair.b}")
