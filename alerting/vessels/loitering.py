"""Loitering: a vessel that idles far from shore, told by blocks of an hour with a low mean speed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from alerting.messages import vessels as messages
from alerting.model import Event
from alerting.vessels.following import Following
from alerting.vessels.knots import SPARSE, each, least, speed
from alerting.vessels.teller import When
from geofence.sphere import KNOT, knots, metres

if TYPE_CHECKING:
    from alerting.judging.outcome import Outcome, Ruled
    from alerting.registry.names import Names
    from alerting.rules.vessels import LoiteringRule
    from alerting.vessels.fixes import Fix, Fixes
    from alerting.vessels.kinds import Kinds
    from alerting.vessels.knots import Stretch
    from alerting.vessels.near import Near

_STEP: Final = 600_000_000


@dataclass(slots=True)
class _Idling:
    since: int
    lon: float  # where it began
    lat: float
    last: int
    last_lon: float
    last_lat: float
    received: int
    block: int  # when the block began
    taken: int = 0  # the longest time between two fixes of which the later says how fast it is
    block_path: float = 0.0  # m
    path: float = 0.0
    blocks: int = 0  # that are complete


class Loitering(Following):
    """A ``loitering`` rule."""

    def __init__(self, ruled: Ruled, names: Names, rule: LoiteringRule, away_from: Near) -> None:
        super().__init__(ruled, names, _Idling, rule.max_gap)
        self._rule, self._shore = rule, away_from

    def rows(self, fixes: Fixes, kinds: Kinds, out: Outcome) -> None:
        for fix, ends in each(fixes, _STEP, self._open.__contains__, 0.0, self._rule.max_speed, self._rule):
            self.expire(fix.received, out)
            self._knot(fix, ends, kinds, out)

    def _knot(self, fix: Fix, ends: Stretch | None, kinds: Kinds, out: Outcome) -> None:
        name, idling = fix.transponder, self._open.get(fix.transponder)
        if idling is None:
            at_first = None if ends is None else speed(fix, ends, None, self._rule)
            if ends is None or at_first is None or at_first >= self._rule.max_speed:
                return
            if (
                self._shore.holds(fix.lon, fix.lat)
                or kinds.matches(self._rule.scope, name, fix.time, message=fix.message) is False
            ):
                return
            begun = self._begun(fix, ends)
            self.hold(name, begun)
            self._goes_on(fix, begun, kinds, out)
        elif ends is None or fix.time - idling.last > self._rule.max_gap:
            self._end(fix, idling, "unheard", out)
        elif self._shore.holds(fix.lon, fix.lat):
            self._end(fix, idling, "near_shore", out)
        else:
            self._goes_on(fix, idling, kinds, out)

    def _begun(self, fix: Fix, ends: Stretch) -> _Idling:
        """With the first stretch along which it idled, which by VMS is two hours long; not near the shore.

        Of one that does not say how fast it is nobody knows whether it went to and fro: with its end.
        """
        time, lon, lat = ends.time0, ends.lon0, ends.lat0
        unknown = fix.sog is None and ends.time1 - time >= SPARSE
        if unknown or ends.time1 - time > self._rule.max_gap or self._shore.holds(lon, lat):
            time, lon, lat = fix.time, fix.lon, fix.lat
        return _Idling(time, lon, lat, time, lon, lat, fix.received, time)

    def _goes_on(self, fix: Fix, idling: _Idling, kinds: Kinds, out: Outcome) -> None:
        way, taken = metres(idling.last_lon, idling.last_lat, fix.lon, fix.lat), fix.time - idling.last
        if fix.sog is not None:  # who goes to and fro between two reports is not idle
            way = max(way, fix.sog * KNOT * taken / 1e6)
            idling.taken = max(idling.taken, taken)
        idling.path, idling.block_path = idling.path + way, idling.block_path + way
        idling.last, idling.last_lon, idling.last_lat = fix.time, fix.lon, fix.lat
        idling.received = fix.received
        if fix.time - idling.block >= self._rule.block:
            if knots(idling.block_path, fix.time - idling.block) >= self._rule.max_speed:
                self._end(fix, idling, "under_way", out)
                return
            idling.block, idling.block_path, idling.blocks = fix.time, 0.0, idling.blocks + 1
            self._grown(fix, idling, kinds, out)
        self.remember(fix.transponder, out)

    def _grown(self, fix: Fix, idling: _Idling, kinds: Kinds, out: Outcome) -> None:
        name, lasted = fix.transponder, fix.time - idling.since
        if name in self._alerts or lasted < least(self._rule.for_, idling.taken) or not self.ruled.in_force(fix.time):
            return
        if kinds.matches(self._rule.scope, name, idling.since, message=fix.message):
            subject = self.subject(name, idling.since)
            text = messages.loiters(self.rule, subject.name, idling.since, lasted)
            said, place = self._details(idling), (fix.lon, fix.lat)
            self._alerts[name] = self.teller.fire(
                out, When.of(fix), subject, "", idling.since, fix.time, text, said, place=place
            )

    def _end(self, fix: Fix, idling: _Idling, reason: str, out: Outcome) -> None:
        if alert := self._alerts.get(fix.transponder):
            subject = self.subject(fix.transponder, idling.since)
            text = messages.stopped_loitering(self.rule, subject.name, fix.time, idling.last - idling.since)
            said = {"reason": reason} | self._details(idling)
            place = fix.lon, fix.lat
            self.teller.change(out, When.of(fix), subject, "", alert, Event.RESOLVED, fix.time, text, said, place=place)
        self.release(fix.transponder, out)

    def _details(self, idling: _Idling) -> dict[str, Any]:
        return {
            "from": messages.fix(idling.since, idling.lon, idling.lat),
            "to": messages.fix(idling.last, idling.last_lon, idling.last_lat),
            "mean_speed_kn": round(knots(idling.path, max(1, idling.last - idling.since)), 2),
            "blocks": idling.blocks,
            "longest_interval_seconds": idling.taken // 1_000_000,
            "max_speed_kn": self._rule.max_speed,
            "for_seconds": self._rule.for_ // 1_000_000,
            "away_from": list(self._rule.away_from),
            "distance_m": self._rule.distance,
        }
