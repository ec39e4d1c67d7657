"""On which side of a zone's boundary a vessel counts as being: hysteresis in space and in time.

A vessel is *in* by a fix within the zone and *out* by one farther from it than ``exit_buffer_m``; a fix between the
two leaves it where it was. A change of side counts once it has settled: when a fix says so that is ``settle`` later
than the first of the new side, or the ``settle_fixes``-th, without one in between that says otherwise. Nothing is
concluded from silence. What has not settled is a ``Turn``; it is all that has to be kept of a vessel that is not
plainly on the side where its last fix was.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from alerting.rules import ZoneRule
    from geofence.moves import Fix


class Reading(Enum):
    """What one fix says."""

    IN = "in"
    OUT = "out"
    BETWEEN = "between"


@dataclass(slots=True, frozen=True)
class Turn:
    """A side that a vessel may be changing to.

    ``inward``: it still counts as out. Otherwise as in, though its last fix is not within the zone. ``fix`` is the
    first of the new side, ``before`` the one before; ``count`` how many there were, 0 while all lie between.
    ``first``: it was never seen on another side.
    """

    inward: bool
    fix: Fix
    before: Fix | None
    count: int = 1
    first: bool = False


def turned(
    rule: ZoneRule, inside: bool | None, turn: Turn | None, reading: Reading, fix: Fix, before: Fix | None
) -> tuple[Turn | None, bool]:
    """The turn after a fix, and whether it has settled: then the side is the other one, since ``Turn.fix``.

    ``inside``: where the vessel counted as being; None: it was not seen before.
    """
    if inside:
        if reading is Reading.IN:
            return None, False
        if reading is Reading.BETWEEN:
            return turn if turn and not turn.count else Turn(inward=False, fix=fix, before=before, count=0), False
        turn = _again(rule, turn) if turn and turn.count else Turn(inward=False, fix=fix, before=before)
        return turn, _settled(rule, turn, fix)
    if reading is not Reading.IN:
        return None, False
    turn = _again(rule, turn) if turn else Turn(inward=True, fix=fix, before=before, first=inside is None)
    return turn, _settled(rule, turn, fix)


def _again(rule: ZoneRule, turn: Turn) -> Turn:
    """With one fix more, where they are counted: a turn that stays the same need not be written again."""
    return turn if rule.settle_fixes is None else replace(turn, count=turn.count + 1)


def _settled(rule: ZoneRule, turn: Turn, fix: Fix) -> bool:
    if not rule.settles:
        return True
    long_enough = rule.settle is not None and fix.time - turn.fix.time >= rule.settle
    return long_enough or (rule.settle_fixes is not None and turn.count >= rule.settle_fixes)
