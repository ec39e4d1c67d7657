"""Vessels and zones: who came in, is in, left, or passed through.

Judged from ``geofence.tracks``: a fence is a function of the fix before and the fix now. What needs deciding here:

* On which side a vessel counts as being is a matter of ``alerting.sides`` where a rule asks for hysteresis.
* A rule may ask for a ship type, which AIS tells apart from the position and minutes later. Until it is known the rule
  does not match. When it becomes known while the vessel is still inside, ``inside`` fires on the last fix, and
  ``entered`` on the entry, which was kept waiting: the alert starts at the entry, and is as old as the knowledge.
  ``left`` and ``crossed`` are over by then and are not told afterwards.
* ``dwell`` and ``speed`` fire at the first fix that is ``for`` later than the one it began with, dated to the instant
  at which the time was up. A vessel that is not heard again does not fire them: nobody knows where it is.
* Alerts of what lasts end at the first fix outside (or, for ``speed``, at another speed), or the first one at which
  the rule or the zone is no longer in force. A change of ship type does not end them. They also end when their
  transponder is forgotten for want of room (``geofence.tracks``): nothing would ever end them otherwise.
* Alerts of ``left`` and ``crossed`` end ``resolve_after`` past the last such event, measured by reception, as ticks
  are. Until then a repetition belongs to the same alert.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from alerting.attention import Attention
from alerting.fence import FIRE, RESOLVE, Cause, Fence, Place
from alerting.motion import sog
from alerting.outcome import POSITIONS, STATICS, Order, Outcome, Ruled
from alerting.rules import Condition, Crossing, ZoneRule
from alerting.ships import ShipTypes
from alerting.sides import turned
from alerting.visits import Held, Touch, Visit
from alerting.zone_alerts import ZoneAlerts
from decoders.records import NULL_I2
from geofence.index import ZoneIndex
from geofence.lines import Lines
from geofence.tracks import SETTLED, Fix, Forgotten, Tracks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from alerting.heard import Heard
    from alerting.model import RuleState
    from alerting.names import Names
    from alerting.sides import Turn
    from geofence.tracks import Advance, Move
    from geofence.zones import Zone

    Table = NDArray[np.void]
    Key = tuple[str, str]  # (rule id, zone id)

_LONG_AGO: Final = -(2**62)
_TIMED: Final = frozenset({Condition.DWELL, Condition.SPEED})


class Fences:
    """All zone rules, and the tracks they are judged on."""

    def __init__(self, ruled: Sequence[Ruled], zones: Sequence[Zone], names: Names, *, capacity: int) -> None:
        rules = [(r, r.rule) for r in ruled if isinstance(r.rule, ZoneRule)]
        used = {zone for _, rule in rules for zone in rule.zones}
        places = {zone.id: Place(zone) for zone in zones if zone.id in used}
        missing = sorted(used - places.keys())
        if missing:
            raise ValueError(f"rules speak of unknown zones: {', '.join(missing)}")
        self._fences: dict[Key, Fence] = {}
        self._at: dict[str, list[Fence]] = {}  # zone id -> its fences
        for r, rule in rules:
            for zone_id in dict.fromkeys(rule.zones):
                fence = Fence(r, rule, places[zone_id])
                self._fences[fence.key] = fence
                self._at.setdefault(zone_id, []).append(fence)
        edges = [edge for fence in self._fences.values() for edge in (fence.start, fence.end)]
        areas = [place.zone for place in places.values() if not place.zone.is_line]
        self.tracks = Tracks(
            ZoneIndex(areas),
            boundaries=edges,
            daily={edge for r, _ in rules if r.calendar for edge in r.calendar.daily},
            capacity=capacity,
            crossings=any(f.rule.condition is Condition.CROSSED and not f.zone.is_line for f in self._fences.values()),
            lines=Lines([place.zone for place in places.values() if place.zone.is_line]),
        )
        self._names = names
        self.ships = ShipTypes(capacity)
        self._alerts = ZoneAlerts(names)
        self._attention = Attention(self._fences.values(), self.tracks.index)
        self._held: dict[int, dict[Key, Held]] = {}  # by transponder
        self._expiring: set[tuple[int, str, str]] = set()  # those that end by time

    def restore(
        self,
        positions: Table | None,
        ship_types: Mapping[int, int],
        static_times: Mapping[int, int],
        first_seen: Mapping[int, int],
    ) -> None:
        """Take up where everyone was, what they are, and since when they are known."""
        if positions is not None:
            ids, times = positions["transponder"].tolist(), positions["time"].tolist()
            first = [first_seen.get(transponder, time) for transponder, time in zip(ids, times, strict=True)]
            self.tracks.restore(positions, np.array(first, np.int64))
        for transponder in (*(t for t in ship_types if t not in static_times), *static_times):
            time = static_times.get(transponder, _LONG_AGO)
            settled = time - first_seen.get(transponder, time) >= SETTLED
            self.ships.learn(transponder, time, ship_types.get(transponder, 0), settled=settled)

    def take_up(self, kept: RuleState) -> bool:
        """Take up an episode; False if no rule watches its subject any more."""
        transponder = kept.subject_id
        fence, held = self._fences.get((kept.rule_id, kept.key)), Held.of(kept.state or {})
        if fence is None or not held:
            return False
        if not fence.rule.lasting and held.visit is not None and not held.visit.received:
            return False
        self._hold(transponder, fence, held)
        self.tracks.expect(transponder)
        return True

    def judge(self, heard: Heard, out: Outcome) -> None:
        """Judge positions and statics in arrival order, then what is due."""
        positions, statics, advance = heard.observations.positions, heard.observations.statics, heard.advance
        message = positions["message"]
        quiet = self._attention.moves(advance, positions, self._news(statics))
        steps: list[tuple[int, int, int, Move | Forgotten | None, bool]] = [
            (gone.message, POSITIONS, gone.row, gone, False) for gone in advance.forgotten
        ]
        steps += [(int(message[move.row]), POSITIONS, move.row, move, False) for move in advance.moves]
        steps += [(int(message[move.row]), POSITIONS, move.row, move, True) for move in quiet]
        steps += [(number, STATICS, row, None, False) for row, number in enumerate(statics["message"].tolist())]
        steps.sort(key=lambda step: step[:3])
        for number, kind, row, move, still in steps:
            table = statics if kind == STATICS else positions
            cause = Cause(int(table["received_at"][row]), number, kind, row)
            if move is None:
                self._static(statics[row], cause, advance, out)
            elif isinstance(move, Forgotten):
                self._forget(move, cause, out)
            else:
                self._move(move, positions[row], cause, out, still=still)
        for transponder, *key in sorted(self._expiring):
            self._expire(transponder, self._fences[key[0], key[1]], heard.now, out)

    # --- ship types

    def _type(self, transponder: int) -> int | None:
        told = self.ships.get(transponder)
        return told[1] or None if told else None

    def _matches(self, fence: Fence, transponder: int) -> bool | None:
        return fence.rule.scope.matches(transponder, self._type(transponder))

    def _news(self, statics: Table) -> list[int]:
        """Transponders that say what they may not have said before."""
        if not self._attention.needed:
            return []
        told = zip(statics["transponder"].tolist(), statics["ship_type"].tolist(), strict=True)
        return [who for who, what in told if what != NULL_I2 and what != (self.ships.get(who) or (0, None))[1]]

    def _static(self, static: np.void, cause: Cause, advance: Advance, out: Outcome) -> None:
        transponder, time, said = int(static["transponder"]), int(static["time"]), int(static["ship_type"])
        newest, known = self.ships.get(transponder) or (time, 0)
        if time < newest:
            return  # an older report that came late
        ship_type = known if said == NULL_I2 else said
        self.ships.learn(transponder, time, ship_type)
        if ship_type == known:
            return
        where = advance.at(transponder, cause.message)
        for key, held in list(self._held.get(transponder, {}).items()):
            if held.visit is None or held.visit.alert is None:
                self._known(transponder, self._fences[key], held, where and where[0], time, cause, out)
        if where is not None:
            self._look_inside(transponder, *where, max(time, where[0].time), cause, out)

    def _known(
        self, transponder: int, fence: Fence, held: Held, last: Fix | None, time: int, cause: Cause, out: Outcome
    ) -> None:
        """A ship type that something may have waited for."""
        matches, visit = self._matches(fence, transponder), held.visit
        if matches is False:
            self._drop(transponder, fence, out)
        elif matches and visit is not None:
            if fence.rule.condition not in _TIMED:
                self._fire(transponder, fence, held, max(time, visit.started_at), cause, out)
            elif last is not None and self._long_enough(fence, held, last.time):
                self._fire(transponder, fence, held, max(time, visit.started_at + fence.rule.for_), cause, out)

    def _look_inside(
        self, transponder: int, fix: Fix, zones: Sequence[str], at: int, cause: Cause, out: Outcome
    ) -> None:
        """What a vessel known to be in these zones, by its last fix, now makes happen."""
        for fence in self._relevant(transponder, zones):
            held = self._of(transponder, fence)
            inside = not held.turn.inward if held.turn else fence.zone.id in zones
            if inside and fence.rule.condition in {Condition.INSIDE, Condition.DWELL} and fence.in_force(fix.time):
                self._stays(transponder, fence, held, None, fix, None, at, cause, out)

    # --- moves

    def _forget(self, forgotten: Forgotten, cause: Cause, out: Outcome) -> None:
        """End what would never end, once nobody knows where its vessel was."""
        for transponder, fix in forgotten.fixes(self._held):
            for key in sorted(self._held[transponder], key=self._fences.__getitem__):
                fence = self._fences[key]
                if fence.rule.lasting:
                    self._end(transponder, fence, fix, "forgotten", cause.order(fence, RESOLVE), out)
                else:
                    held = self._of(transponder, fence)
                    held.turn = held.touch = None
                    self._keep(transponder, fence, held, out)

    def _move(self, move: Move, report: np.void, cause: Cause, out: Outcome, *, still: bool = False) -> None:
        """``still``: nothing has changed about the zones around the vessel."""
        transponder = move.transponder
        if still:
            fences = self._relevant(transponder, move.now, speed_only=True)
        else:
            fences = self._relevant(
                transponder, (*move.was, *move.now, *(p.zone for p in move.crossed), *(leg.line for leg in move.legs))
            )
        for fence in fences:
            if fence.rule.condition is Condition.CROSSED:
                self._passes(fence, move, cause, out)
            else:
                self._look(fence, move, report, cause, out)

    def _relevant(self, transponder: int, zones: Sequence[str], *, speed_only: bool = False) -> Iterator[Fence]:
        """The fences that something is held of, and those of zones."""
        held = self._held.get(transponder, ())
        fences = [self._fences[key] for key in held]
        for zone in dict.fromkeys(zones):
            fences += [
                fence
                for fence in self._at.get(zone, ())
                if fence.key not in held and (not speed_only or fence.rule.condition is Condition.SPEED)
            ]
        yield from fences

    def _look(self, fence: Fence, move: Move, report: np.void, cause: Cause, out: Outcome) -> None:
        """What a fix means to a fence on an area."""
        transponder, after, rule = move.transponder, move.after, fence.rule
        held = self._of(transponder, fence)
        if not rule.lasting:
            self._expire(transponder, fence, cause.received, out)
        if not fence.in_force(after.time):
            if rule.lasting:
                self._end(transponder, fence, after, "not_in_force", cause.order(fence, RESOLVE), out)
            else:
                self._turn(transponder, fence, held, None, out)
            return
        if not held and self._matches(fence, transponder) is False:
            return
        inside = self._counts_as_in(fence, held, move)
        within = fence.zone.id in move.now
        reading = fence.reading(after, within=within, sog=sog(move, report) if within else None)
        turn, settled = turned(rule, inside, held.turn, reading, after, move.before)
        self._turn(transponder, fence, held, None if settled else turn, out)
        if inside and settled:
            assert turn is not None
            if rule.lasting:
                self._end(transponder, fence, after, "left", cause.order(fence, RESOLVE), out)
            else:
                self._happened(transponder, fence, turn.fix, turn.before, after.time, cause, out)
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
            matches = self._matches(fence, transponder)
            if matches is False or (condition is Condition.ENTERED and (came is None or came.first)):
                return
            if condition is Condition.INSIDE and not matches:
                return
            began, before = (came.fix, came.before) if came else (fix, before)
            held.visit = Visit(began.time, began.lon, began.lat, before)
            if condition not in _TIMED and matches:
                self._fire(transponder, fence, held, at, cause, out)
                return
            self._keep(transponder, fence, held, out)
        ripe = condition in _TIMED and held.visit.alert is None and self._long_enough(fence, held, fix.time)
        if ripe and self._matches(fence, transponder):
            self._fire(transponder, fence, held, held.visit.started_at + fence.rule.for_, cause, out, fix)

    def _long_enough(self, fence: Fence, held: Held, time: int) -> bool:
        """Whether it has lasted for as long as the rule asks, by a fix of this time that does not say it is over."""
        assert held.visit is not None
        return time - held.visit.started_at >= fence.rule.for_ and (held.turn is None or not held.turn.count)

    def _passes(self, fence: Fence, move: Move, cause: Cause, out: Outcome) -> None:
        """Through an area, or over a line."""
        transponder = move.transponder
        self._expire(transponder, fence, cause.received, out)
        for passage in move.crossed:
            if passage.zone == fence.zone.id:
                fix = Fix(passage.time, passage.lon, passage.lat)
                self._happened(transponder, fence, fix, move.before, fix.time, cause, out)
        if not fence.zone.is_line:
            return
        held = self._of(transponder, fence)
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
                self._happened(transponder, fence, fix, since.before, fix.time, cause, out, to=net)
        if now is not None and self._matches(fence, transponder) is False:
            now = None
        if now != touch:
            held = self._of(transponder, fence)
            held.touch = now
            self._keep(transponder, fence, held, out)

    def _happened(
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
        if not fence.in_force(fix.time) or not self._matches(fence, transponder):
            return
        self._expire(transponder, fence, cause.received, out)
        held = self._of(transponder, fence)
        if held.visit is not None:
            visit = held.visit
            visit.last, visit.received, visit.count = at, cause.received, visit.count + 1
            self._keep(transponder, fence, held, out)
            return
        held.visit = Visit(fix.time, fix.lon, fix.lat, before, last=at, received=cause.received)
        if to:
            held.visit.said["direction"] = "left" if to > 0 else "right"
        self._fire(transponder, fence, held, at, cause, out)

    # --- what is held

    def _of(self, transponder: int, fence: Fence) -> Held:
        return self._held.get(transponder, {}).get(fence.key) or Held()

    def _hold(self, transponder: int, fence: Fence, held: Held) -> None:
        self._held.setdefault(transponder, {})[fence.key] = held
        if not fence.rule.lasting and held.visit is not None:
            self._expiring.add((transponder, *fence.key))
        self._attention.watch(transponder, self._held[transponder], self._fences)

    def _keep(self, transponder: int, fence: Fence, held: Held, out: Outcome) -> None:
        """Hold it from now on, or nothing any more; and write so."""
        if held:
            self._hold(transponder, fence, held)
        elif fence.key in self._held.get(transponder, ()):
            episodes = self._held[transponder]
            del episodes[fence.key]
            if not episodes:
                del self._held[transponder]
            self._attention.watch(transponder, episodes, self._fences)
        else:
            return
        if held.visit is None:
            self._expiring.discard((transponder, *fence.key))
        out.remember(fence.rule.id, self._names.transponder(transponder), fence.zone.id, held.state(fence.ruled))

    def _turn(self, transponder: int, fence: Fence, held: Held, turn: Turn | None, out: Outcome) -> None:
        if turn != held.turn:
            held.turn = turn
            self._keep(transponder, fence, held, out)

    def _drop(self, transponder: int, fence: Fence, out: Outcome) -> Visit | None:
        """Hold nothing any more; what was."""
        held = self._of(transponder, fence)
        visit, held.visit, held.turn, held.touch = held.visit, None, None, None
        self._keep(transponder, fence, held, out)
        return visit

    def _fire(
        self, transponder: int, fence: Fence, held: Held, at: int, cause: Cause, out: Outcome, fix: Fix | None = None
    ) -> None:
        """``fix``: where it was known, if not where it began."""
        found = self._alerts.fire(transponder, fence, held, at, self._type(transponder), fix)
        self._keep(transponder, fence, held, out)
        out.add(cause.order(fence, FIRE), found)

    def _end(self, transponder: int, fence: Fence, fix: Fix, reason: str, order: Order, out: Outcome) -> None:
        """Over, at a fix. What was only waiting is forgotten."""
        visit = self._drop(transponder, fence, out)
        if visit is not None and visit.alert is not None:
            out.add(order, self._alerts.resolve(transponder, fence, visit, max(fix.time, visit.at), fix, reason))

    def _expire(self, transponder: int, fence: Fence, tick: int, out: Outcome) -> None:
        """Resolve what happened long enough before ``tick`` and has not happened again."""
        held = self._of(transponder, fence)
        visit = held.visit
        if visit is None or visit.received + fence.rule.resolve_after >= tick:
            return
        held.visit = None
        self._keep(transponder, fence, held, out)
        due = visit.received + fence.rule.resolve_after
        order = Order(due, True, 0, POSITIONS, transponder, fence.ruled.number, fence.zone.id, RESOLVE)
        visit.said["count"] = visit.count
        out.add(
            order,
            self._alerts.resolve(transponder, fence, visit, visit.last + fence.rule.resolve_after, None, "quiet"),
        )
