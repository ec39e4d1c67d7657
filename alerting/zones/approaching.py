"""Approaching, imminent, crossed, returned: one alert, whose severity follows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from alerting.rules import Condition
from alerting.zones.approach import knot
from alerting.zones.fence import RESOLVE
from alerting.zones.motion import motion
from alerting.zones.sides import Reading, turned
from alerting.zones.visits import Visit

if TYPE_CHECKING:
    import numpy as np

    from alerting.judging.outcome import Outcome
    from alerting.zones.alerts import ZoneAlerts
    from alerting.zones.approach import Approach
    from alerting.zones.fence import Cause, Fence
    from alerting.zones.holdings import Holdings
    from alerting.zones.visits import Held
    from geofence.tracks import Move

_CROSSED = 2


class Approaching:
    """Rules of ``approaching``."""

    def __init__(self, holdings: Holdings, approach: Approach, alerts: ZoneAlerts) -> None:
        self._holdings, self._approach, self._alerts = holdings, approach, alerts

    def look(self, move: Move, report: np.void, cause: Cause, out: Outcome) -> None:
        """What a fix means to all of them."""
        ahead = self._approach.times(move, report) if knot(move) else None
        fences = {
            fence.key: fence
            for fence in self._holdings.relevant(move.transponder, (*move.was, *move.now))
            if fence.rule.condition is Condition.APPROACHING
        }
        fences |= {fence.key: fence for fence in ahead or ()}
        for fence in fences.values():
            held = self._holdings.of(move.transponder, fence)
            if not fence.in_force(move.after.time):
                self._holdings.end(
                    move.transponder, fence, move.after, "not_in_force", cause.order(fence, RESOLVE), out
                )
            elif held.visit is None:
                self._begins(fence, held, move, ahead, cause, out)
            else:
                self._goes_on(fence, held, move, report, ahead, cause, out)

    def _begins(
        self, fence: Fence, held: Held, move: Move, ahead: dict[Fence, float] | None, cause: Cause, out: Outcome
    ) -> None:
        after, step = move.after, _CROSSED
        if fence.zone.id not in move.now:
            step, reading = self._nears(fence, (ahead or {}).get(fence, math.inf), 0)
            if reading is not Reading.IN:
                return
        elif move.before is None or fence.zone.id in move.was:
            return  # it was never seen to approach
        if self._holdings.matches(fence, move.transponder, after.time):
            held.visit = Visit(after.time, after.lon, after.lat, move.before)
            self._alerts.climb(fence, held.visit, step, after.time)
            self._holdings.fire(move.transponder, fence, held, after.time, cause, out)

    def _goes_on(
        self,
        fence: Fence,
        held: Held,
        move: Move,
        report: np.void,
        ahead: dict[Fence, float] | None,
        cause: Cause,
        out: Outcome,
    ) -> None:
        visit, after = held.visit, move.after
        assert visit is not None
        if fence.zone.id in move.now:
            step, reading = _CROSSED, Reading.IN
        elif visit.step == _CROSSED:
            step, reading = _CROSSED, fence.reading(after, within=False, sog=None)
        elif ahead is None:
            return
        elif any(map(math.isnan, motion(move, report))):
            step, reading = visit.step, Reading.BETWEEN
        else:
            step, reading = self._nears(fence, ahead.get(fence, math.inf), visit.step)
        turn, settled = turned(fence.rule, True, held.turn, reading, after, move.before)
        self._holdings.turn(move.transponder, fence, held, None if settled else turn, out)
        if settled:
            reason = "returned" if visit.step == _CROSSED else "turned_away"
            self._holdings.end(move.transponder, fence, after, reason, cause.order(fence, RESOLVE), out)
        elif reading is Reading.IN and step != visit.step:
            change = self._alerts.climb(fence, visit, step, after.time)
            if change is not None:
                self._holdings.change(move.transponder, fence, held, change, after, cause, out)
            self._holdings.keep(move.transponder, fence, held, out)

    def _nears(self, fence: Fence, time: float, step: int) -> tuple[int, Reading]:
        """The step that a vessel outside has come to, and what that says; ``time``: microseconds until it is in."""
        within, soon = fence.rule.within, fence.rule.imminent or 0
        assert within is not None
        if time > within:
            return step, Reading.OUT if time == math.inf else Reading.BETWEEN
        return int(time <= soon or (step == 1 and time <= soon * 3 // 2)), Reading.IN
