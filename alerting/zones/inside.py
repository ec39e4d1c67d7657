"""In and out of areas: ``entered``, ``inside``, ``left``, ``dwell`` and ``speed``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from alerting.rules import Condition
from alerting.zones.fence import RESOLVE
from alerting.zones.motion import sog
from alerting.zones.sides import turned
from alerting.zones.visits import Visit

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from alerting.judging.outcome import Outcome
    from alerting.zones.fence import Cause, Fence
    from alerting.zones.holdings import Holdings
    from alerting.zones.passing import Passing
    from alerting.zones.sides import Turn
    from alerting.zones.visits import Held
    from geofence.moves import Fix, Move

_TIMED: Final = frozenset({Condition.DWELL, Condition.SPEED})


class Inside:
    """Rules of what a vessel is to an area from one fix to the next."""

    def __init__(self, holdings: Holdings, passing: Passing) -> None:
        self._holdings, self._passing = holdings, passing

    def known(
        self, transponder: int, fence: Fence, held: Held, last: Fix | None, time: int, cause: Cause, out: Outcome
    ) -> None:
        """A ship type that something may have waited for."""
        visit, turn = held.visit, held.turn
        began = visit.started_at if visit is not None else turn.fix.time if turn is not None else time
        matches = self._holdings.matches(fence, transponder, began)
        if matches is False:
            self._holdings.drop(transponder, fence, out)
        elif matches and visit is not None:
            if fence.rule.condition not in _TIMED:
                self._holdings.fire(transponder, fence, held, max(time, visit.started_at), cause, out)
            elif last is not None and self._long_enough(fence, held, last.time):
                self._holdings.fire(transponder, fence, held, max(time, visit.started_at + fence.rule.for_), cause, out)

    def known_inside(
        self, transponder: int, fix: Fix, zones: Sequence[str], at: int, cause: Cause, out: Outcome
    ) -> None:
        """What a vessel known to be in these zones, by its last fix, now makes happen."""
        for fence in self._holdings.relevant(transponder, zones):
            held = self._holdings.of(transponder, fence)
            inside = not held.turn.inward if held.turn else fence.zone.id in zones
            if inside and fence.rule.condition in {Condition.INSIDE, Condition.DWELL} and fence.in_force(fix.time):
                self._stays(transponder, fence, held, None, fix, None, at, cause, out)

    def look(self, fence: Fence, move: Move, report: np.void, cause: Cause, out: Outcome) -> None:
        """What a fix means to a fence on an area."""
        transponder, after, rule = move.transponder, move.after, fence.rule
        held = self._holdings.of(transponder, fence)
        if not rule.lasting:
            self._holdings.expire(transponder, fence, cause.received, out)
        if not fence.in_force(after.time):
            if rule.lasting:
                self._holdings.end(transponder, fence, after, "not_in_force", cause.order(fence, RESOLVE), out)
            else:
                self._holdings.turn(transponder, fence, held, None, out)
            return
        if held.visit is None and self._holdings.matches(fence, transponder, after.time) is False:
            self._holdings.turn(transponder, fence, held, None, out)
            return
        inside = self._counts_as_in(fence, held, move)
        within = fence.zone.id in move.now
        reading = fence.reading(after, within=within, sog=sog(move, report) if within else None)
        turn, settled = turned(rule, inside, held.turn, reading, after, move.before)
        self._holdings.turn(transponder, fence, held, None if settled else turn, out)
        if inside and settled:
            assert turn is not None
            if rule.lasting:
                self._holdings.end(transponder, fence, after, "left", cause.order(fence, RESOLVE), out)
            else:
                self._passing.happened(transponder, fence, turn.fix, turn.before, after.time, cause, out)
        elif rule.lasting and (inside or settled):
            self._stays(transponder, fence, held, turn if settled else None, after, move.before, after.time, cause, out)

    def _counts_as_in(self, fence: Fence, held: Held, move: Move) -> bool | None:
        """Whether the vessel counted as inside before a move; None: it was not seen before."""
        if held.turn is not None:
            return not held.turn.inward
        if fence.rule.lasting and held.visit is not None:
            return True
        if move.before is None:
            return None
        return fence.rule.condition is not Condition.SPEED and fence.zone.id in move.was

    def _stays(
        self,
        transponder: int,
        fence: Fence,
        held: Held,
        came: Turn | None,
        fix: Fix,
        before: Fix | None,
        at: int,
        cause: Cause,
        out: Outcome,
    ) -> None:
        """A vessel counts as inside by its last fix; ``came``: by that one it does."""
        condition = fence.rule.condition
        if held.visit is None:
            began, before = (came.fix, came.before) if came else (fix, before)
            matches = self._holdings.matches(fence, transponder, began.time)
            if matches is False or (condition is Condition.ENTERED and (came is None or came.first)):
                return
            if condition is Condition.INSIDE and not matches:
                return
            held.visit = Visit(began.time, began.lon, began.lat, before)
            if condition not in _TIMED and matches:
                self._holdings.fire(transponder, fence, held, at, cause, out)
                return
            self._holdings.keep(transponder, fence, held, out)
        ripe = condition in _TIMED and held.visit.alert is None and self._long_enough(fence, held, fix.time)
        if ripe and self._holdings.matches(fence, transponder, held.visit.started_at):
            self._holdings.fire(transponder, fence, held, held.visit.started_at + fence.rule.for_, cause, out, fix)

    def _long_enough(self, fence: Fence, held: Held, time: int) -> bool:
        """Whether it has lasted for as long as the rule asks, by a fix of this time that does not say it is over."""
        assert held.visit is not None
        return time - held.visit.started_at >= fence.rule.for_ and (held.turn is None or not held.turn.count)
