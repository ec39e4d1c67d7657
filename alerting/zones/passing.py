"""Through an area between two fixes, or over a line: what has happened and cannot end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alerting.rules import Crossing
from alerting.zones.visits import Touch, Visit
from geofence.moves import Fix

if TYPE_CHECKING:
    from alerting.judging.outcome import Outcome
    from alerting.zones.fence import Cause, Fence
    from alerting.zones.holdings import Holdings
    from geofence.moves import Move


class Passing:
    """Rules of ``crossed``, and what those of ``left`` have in common with them."""

    def __init__(self, holdings: Holdings) -> None:
        self._holdings = holdings

    def look(self, fence: Fence, move: Move, cause: Cause, out: Outcome) -> None:
        """Through an area, or over a line."""
        transponder = move.transponder
        self._holdings.expire(transponder, fence, cause.received, out)
        for passage in move.crossed:
            if passage.zone == fence.zone.id:
                fix = Fix(passage.time, passage.lon, passage.lat)
                self.happened(transponder, fence, fix, move.before, fix.time, cause, out)
        if not fence.zone.is_line:
            return
        held = self._holdings.of(transponder, fence)
        touch, now = held.touch, None
        for leg in move.legs:
            if leg.line != fence.zone.id or (leg.begun_on and touch is None):
                continue  # where it came onto the line from is not known
            assert move.before is not None
            since = touch or Touch(0, leg.time, leg.lon, leg.lat, move.before)
            net = since.net + leg.net
            if leg.ended_on:
                now = Touch(net, since.time, since.lon, since.lat, since.before)
            elif net and fence.rule.direction in (Crossing.EITHER, Crossing.LEFT if net > 0 else Crossing.RIGHT):
                fix = Fix(since.time, since.lon, since.lat)
                self.happened(transponder, fence, fix, since.before, fix.time, cause, out, to=net)
        if now is not None and self._holdings.matches(fence, transponder, move.after.time) is False:
            now = None
        if now != touch:
            held = self._holdings.of(transponder, fence)
            held.touch = now
            self._holdings.keep(transponder, fence, held, out)

    def happened(
        self,
        transponder: int,
        fence: Fence,
        fix: Fix,
        before: Fix | None,
        at: int,
        cause: Cause,
        out: Outcome,
        *,
        to: int = 0,
    ) -> None:
        """Something that cannot end: fire, or count it to the alert that is still there."""
        if not fence.in_force(fix.time) or not self._holdings.matches(fence, transponder, fix.time):
            return
        self._holdings.expire(transponder, fence, cause.received, out)
        held = self._holdings.of(transponder, fence)
        if held.visit is not None:
            visit = held.visit
            visit.last, visit.received, visit.count = at, cause.received, visit.count + 1
            self._holdings.keep(transponder, fence, held, out)
            return
        held.visit = Visit(fix.time, fix.lon, fix.lat, before, last=at, received=cause.received)
        if to:
            held.visit.said["direction"] = "left" if to > 0 else "right"
        self._holdings.fire(transponder, fence, held, at, cause, out)
