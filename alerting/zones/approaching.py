"""Approaching or leaving, imminent, crossed, returned: one alert, whose severity follows."""

from __future__ import annotations

import math
from enum import Enum
from typing import TYPE_CHECKING

from alerting.rules import AHEAD, Condition, Crossing
from alerting.zones.approach import crosses, knot
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
    from geofence.moves import Move

_CROSSED = 2


class Approaching:
    """Rules of ``approaching`` and ``leaving``."""

    def __init__(self, holdings: Holdings, approach: Approach, alerts: ZoneAlerts) -> None:
        self._holdings, self._approach, self._alerts = holdings, approach, alerts

    def look(self, move: Move, report: np.void, cause: Cause, out: Outcome) -> None:
        """What a fix means to all of them."""
        ahead = self._approach.times(move, report) if knot(move) else None
        passed = [leg.line for leg in move.legs]
        fences = {
            fence.key: fence
            for fence in self._holdings.relevant(move.transponder, (*move.was, *move.now, *passed))
            if fence.rule.condition in AHEAD
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
        match _side(fence, held, move):
            case _Side.BEFORE:
                step, reading = self._nears(fence, (ahead or {}).get(fence, math.inf), 0)
                if reading is not Reading.IN:
                    return
            case _Side.BEYOND:
                return  # it was never seen on this side
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
        visit, after, side = held.visit, move.after, _side(fence, held, move)
        assert visit is not None
        if visit.step == _CROSSED and _stays_beyond(fence) and after.time - visit.last >= fence.rule.resolve_after:
            self._holdings.end(move.transponder, fence, after, "quiet", cause.order(fence, RESOLVE), out)
            return
        if side is _Side.CROSSES or (visit.step == _CROSSED and side is _Side.BEYOND):
            step, reading = _CROSSED, Reading.IN
        elif visit.step == _CROSSED:  # it is not beyond any more
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


class _Side(Enum):
    """Where a vessel is to what it approaches."""

    BEFORE = "before"  # it has not crossed; of a line, or has crossed it back
    CROSSES = "crosses"  # has crossed by this move
    BEYOND = "beyond"  # has crossed before


def _side(fence: Fence, held: Held, move: Move) -> _Side:
    """Of a line it is known what a move does to it: who goes neither over it nor back stays where it was."""
    if fence.zone.is_line:
        nets = [leg.net for leg in move.legs if leg.line == fence.zone.id and leg.net]
        crossed = held.visit is not None and held.visit.step == _CROSSED and held.turn is None
        if not crossed:
            return _Side.CROSSES if any(crosses(fence, net) for net in nets) else _Side.BEFORE
        back = any(fence.rule.direction is Crossing.EITHER or not crosses(fence, net) for net in nets)
        return _Side.BEFORE if back else _Side.BEYOND
    beyond, was = fence.zone.id in move.now, fence.zone.id in move.was
    if fence.rule.condition is Condition.LEAVING:
        beyond, was = not beyond, not was
    if not beyond:
        return _Side.BEFORE
    return _Side.CROSSES if move.before is not None and not was else _Side.BEYOND


def _stays_beyond(fence: Fence) -> bool:
    """Whether a vessel that has crossed is not expected back: over a line, or out."""
    return fence.zone.is_line or fence.rule.condition is Condition.LEAVING
