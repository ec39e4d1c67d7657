"""Port visits: in within one distance, out beyond a greater one, with a stop or a silence between.

Passing by is no visit. Of a vessel that does not say how fast it is (VMS, AIS of long range) speed is made good, over a
stretch long enough for errors of position not to matter. How sure a visit is (Global Fishing Watch's confidence) goes
from 2, a stop or silence alone, over 3, with its beginning or end seen, to 4, with both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from alerting.messages import vessels as messages
from alerting.messages.words import iso
from alerting.model import Event
from alerting.vessels.following import Following
from alerting.vessels.teller import When
from geofence.sphere import knots, metres

if TYPE_CHECKING:
    from collections.abc import Mapping

    from alerting.judging.outcome import Outcome, Ruled
    from alerting.registry.names import Names
    from alerting.rules.vessels import PortVisitRule
    from alerting.vessels.fixes import Fix, Fixes
    from alerting.vessels.kinds import Kinds
    from alerting.vessels.near import Near
    from geofence.zones import Zone


@dataclass(slots=True)
class _Visit:
    port: str
    since: int  # when it was first in
    entered: bool  # it was seen outside before
    last: int  # of the last change, as is `received`
    received: int
    stopped: bool = False
    stops: int = 0
    silences: int = 0
    mark: tuple[int, float, float] | None = None  # the fix that speed is made good from: time, lon, lat


class PortVisits(Following):
    """A ``port_visit`` rule."""

    def __init__(self, ruled: Ruled, names: Names, rule: PortVisitRule, ports: Near, zones: Mapping[str, Zone]) -> None:
        super().__init__(ruled, names, _Visit, None)
        self._rule, self._ports, self._zones = rule, ports, zones

    def rows(self, fixes: Fixes, kinds: Kinds, out: Outcome) -> None:
        inside = self._ports.maybe(fixes.lon, fixes.lat)
        for fix in fixes.each(fixes.about(self._open, set(fixes.transponder[inside].tolist()))):
            self._fix(fix, kinds, out)

    def _fix(self, fix: Fix, kinds: Kinds, out: Outcome) -> None:
        name, visit = fix.transponder, self._open.get(fix.transponder)
        port = self._ports.nearest(fix.lon, fix.lat)
        if visit is None:
            if port is None or port[1] > self._rule.enter:
                return
            if kinds.matches(self._rule.scope, name, fix.time, message=fix.message) is False:
                return
            visit = _Visit(port[0], fix.time, fix.before is not None, fix.time, fix.received)
            self.hold(name, visit)
            self._look(fix, visit, kinds, out)
            self.remember(name, out)
        elif port is None:
            self._left(fix, visit, out)
        elif self._look(fix, visit, kinds, out):
            self.remember(name, out)

    def _look(self, fix: Fix, visit: _Visit, kinds: Kinds, out: Outcome) -> bool:
        """Whether something is different from before."""
        silent = fix.before is not None and fix.before[0] >= visit.since and fix.time - fix.before[0] > self._rule.gap
        made, moved_on = self._speed(fix, visit)
        stopped = visit.stopped
        if made is not None:
            stopped = made < self._rule.stop_speed or (visit.stopped and made <= self._rule.start_speed)
        changed = silent or stopped != visit.stopped
        if changed:
            visit.silences += silent
            visit.stops += stopped and not visit.stopped
            visit.stopped, visit.last, visit.received = stopped, fix.time, fix.received
        changed |= moved_on
        untold = fix.transponder not in self._alerts and visit.stops + visit.silences > 0
        if not untold or not self.ruled.in_force(fix.time):
            return changed
        if not kinds.matches(self._rule.scope, fix.transponder, visit.since, message=fix.message):
            return changed
        self._tell(fix, visit, out)
        return True

    def _speed(self, fix: Fix, visit: _Visit) -> tuple[float | None, bool]:
        """Knots as reported, or made good since a fix that is long enough ago; and whether that is another one now."""
        if fix.sog is not None:
            told, visit.mark = visit.mark is not None, None
            return fix.sog, told
        mark = visit.mark or fix.before or (fix.time, fix.lon, fix.lat)
        if fix.time - mark[0] < self._rule.measurable:
            kept = visit.mark is not None
            visit.mark = mark
            return None, not kept
        visit.mark = fix.time, fix.lon, fix.lat
        return knots(metres(mark[1], mark[2], fix.lon, fix.lat), fix.time - mark[0]), True

    def _tell(self, fix: Fix, visit: _Visit, out: Outcome) -> None:
        subject, zone = self.subject(fix.transponder, visit.since), self._zones[visit.port]
        text = messages.in_port(self.rule, subject.name, zone, visit.since)
        said = self._details(visit, 2 + visit.entered)
        self._alerts[fix.transponder] = self.teller.fire(
            out, When.of(fix), subject, "", visit.since, fix.time, text, said, place=(fix.lon, fix.lat)
        )

    def _left(self, fix: Fix, visit: _Visit, out: Outcome) -> None:
        if alert := self._alerts.get(fix.transponder):
            subject, zone = self.subject(fix.transponder, visit.since), self._zones[visit.port]
            text = messages.left_port(self.rule, subject.name, zone, fix.time, fix.time - visit.since)
            left = {"reason": "left", "left_at": messages.fix(fix.time, fix.lon, fix.lat)}
            said = self._details(visit, 3 + visit.entered) | left
            self.teller.change(
                out, When.of(fix), subject, "", alert, Event.RESOLVED, fix.time, text, said, place=(fix.lon, fix.lat)
            )
        self.release(fix.transponder, out)

    def _details(self, visit: _Visit, confidence: int) -> dict[str, Any]:
        zone = self._zones[visit.port]
        return {
            "port": visit.port,
            "port_name": {"en": zone.name_en, "vi": zone.name_vi},
            "port_version": zone.version,
            "since": iso(visit.since),
            "entry_seen": visit.entered,
            "stops": visit.stops,
            "silences": visit.silences,
            "confidence": confidence,
            "enter_m": self._rule.enter,
            "exit_m": self._rule.exit,
            "stop_speed_kn": self._rule.stop_speed,
            "gap_seconds": self._rule.gap // 1_000_000,
        }
