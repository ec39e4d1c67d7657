"""Likely fishing: a vessel says so, or moves as with gear out, for long enough.

Fixes are looked at once in five minutes at most. One is a *fishing fix* if the vessel says that it is engaged in
fishing (navigational status 7) and is slow enough for that to be true, or is as slow as with gear out: no faster, by
what it reports or makes good, and no slower by what it makes good, since a vessel at anchor reports some speed, too.
They belong to one event unless too far apart in time or space; what is not fishing between them may be short. An event
is told when it has lasted, and gone on turning: slow and straight is no fishing. Fixes an hour or more apart do not
show turns, and are not asked to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from alerting.messages import vessels as messages
from alerting.model import Event
from alerting.vessels.following import Following
from alerting.vessels.knots import each, speed
from alerting.vessels.teller import When
from geofence.sphere import course, knots, metres

if TYPE_CHECKING:
    from alerting.judging.outcome import Outcome, Ruled
    from alerting.registry.names import Names
    from alerting.rules.vessels import FishingRule
    from alerting.vessels.fixes import Fix, Fixes
    from alerting.vessels.kinds import Kinds
    from alerting.vessels.knots import Stretch
    from alerting.vessels.near import Near

_STEP: Final = 300_000_000
_HOUR: Final = 3_600_000_000
_FISHING: Final = 7


@dataclass(slots=True)
class _Event:
    since: int
    lon: float  # where it began
    lat: float
    last: int  # fishing fix
    last_lon: float
    last_lat: float
    received: int
    fixes: int = 1
    said: int = 0  # of them, with status 7
    path: float = 0.0  # m
    turned: float = 0.0  # degrees
    course: float | None = None


class Fishing(Following):
    """A ``fishing`` rule."""

    def __init__(self, ruled: Ruled, names: Names, rule: FishingRule, ports: Near) -> None:
        super().__init__(ruled, names, _Event, rule.split_after)
        self._rule, self._ports = rule, ports

    def rows(self, fixes: Fixes, kinds: Kinds, out: Outcome) -> None:
        rule = self._rule
        for fix, ends in each(fixes, _STEP, self._open.__contains__, rule.min_speed, rule.max_speed, rule):
            self.expire(fix.received, out)
            self._knot(fix, ends, kinds, out)

    def _knot(self, fix: Fix, ends: Stretch | None, kinds: Kinds, out: Outcome) -> None:
        name, rule, going = fix.transponder, self._rule, self._open.get(fix.transponder)
        fishing = ends is not None and self._fishes(fix, ends, going) and not self._ports.holds(fix.lon, fix.lat)
        if going is not None:
            taken, away = fix.time - going.last, metres(going.last_lon, going.last_lat, fix.lon, fix.lat)
            after, far = (rule.split_after, rule.split_distance) if fishing else (rule.join_after, rule.join_distance)
            if taken > after or away > far:
                self._end(fix, going, out)
                going = None
        if not fishing:
            return
        if going is None:
            if kinds.matches(rule.scope, name, fix.time, message=fix.message) is False:
                return
            going = _Event(fix.time, fix.lon, fix.lat, fix.time, fix.lon, fix.lat, fix.received)
            self.hold(name, going)
        else:
            heading = course(going.last_lon, going.last_lat, fix.lon, fix.lat)
            if going.course is not None:
                going.turned += abs((heading - going.course + 540.0) % 360.0 - 180.0)
            going.path += metres(going.last_lon, going.last_lat, fix.lon, fix.lat)
            going.course, going.last, going.last_lon, going.last_lat = heading, fix.time, fix.lon, fix.lat
            going.received, going.fixes = fix.received, going.fixes + 1
        going.said += fix.nav_status == _FISHING
        ripe = name not in self._alerts and self._is_one(going) and self.ruled.in_force(fix.time)
        if ripe and kinds.matches(rule.scope, name, going.since, message=fix.message):
            self._tell(fix, going, out)
        self.remember(name, out)

    def _fishes(self, fix: Fix, ends: Stretch, going: _Event | None) -> bool:
        last = (going.last, going.last_lon, going.last_lat) if going else None
        good = speed(fix, ends, last, self._rule)
        most = max((made for made in (good, fix.sog) if made is not None), default=None)
        if most is None or good is None:
            return fix.nav_status == _FISHING
        slow = self._rule.min_speed <= good and most <= self._rule.max_speed
        return slow or (fix.nav_status == _FISHING and most < self._rule.said_below)

    def _is_one(self, going: _Event) -> bool:
        """Whether what has been seen is enough to tell."""
        rule, lasted = self._rule, going.last - going.since
        if going.fixes < 2 or lasted < rule.for_ or going.path < rule.min_path:
            return False
        sparse = lasted / (going.fixes - 1) >= _HOUR
        if going.fixes < (rule.min_fixes_slow if sparse else rule.min_fixes):
            return False
        turning = sparse or 2 * going.said >= going.fixes or going.turned / (going.fixes - 1) >= rule.min_turning
        return turning and knots(going.path, lasted) < rule.max_mean_speed

    def _tell(self, fix: Fix, going: _Event, out: Outcome) -> None:
        subject = self.subject(fix.transponder, going.since)
        text = messages.fishes(self.rule, subject.name, going.since)
        self._alerts[fix.transponder] = self.teller.fire(
            out,
            When.of(fix),
            subject,
            "",
            going.since,
            fix.time,
            text,
            self._details(going),
            place=(fix.lon, fix.lat),
        )

    def _end(self, fix: Fix, going: _Event, out: Outcome) -> None:
        if alert := self._alerts.get(fix.transponder):
            subject = self.subject(fix.transponder, going.since)
            text = messages.fished(self.rule, subject.name, going.last, going.last - going.since)
            said = {"reason": "over"} | self._details(going)
            place = going.last_lon, going.last_lat
            self.teller.change(out, When.of(fix), subject, "", alert, Event.RESOLVED, fix.time, text, said, place=place)
        self.release(fix.transponder, out)

    def _details(self, going: _Event) -> dict[str, Any]:
        lasted = max(1, going.last - going.since)
        return {
            "from": messages.fix(going.since, going.lon, going.lat),
            "to": messages.fix(going.last, going.last_lon, going.last_lat),
            "fixes": going.fixes,
            "said_fishing": going.said,
            "path_m": round(going.path),
            "mean_speed_kn": round(knots(going.path, lasted), 1),
            "mean_turn_degrees": round(going.turned / max(1, going.fixes - 1), 1),
            "speed_kn": [self._rule.min_speed, self._rule.max_speed],
            "min_turning_degrees": self._rule.min_turning,
            "for_seconds": self._rule.for_ // 1_000_000,
        }
