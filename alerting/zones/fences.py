"""Vessels and zones: who came in, is in, left, or passed through.

Judged from ``geofence.tracks``: a fence is a function of the fix before and the fix now. What needs deciding here:

* On which side a vessel counts as being is a matter of ``alerting.zones.sides`` where a rule asks for hysteresis.
* A rule may ask for a ship type, which AIS tells apart from the position and minutes later. Until it is known the rule
  does not match. When it becomes known while the vessel is still inside, ``inside`` fires on the last fix, and
  ``entered`` on the entry, which was kept waiting: the alert starts at the entry, and is as old as the knowledge.
  ``left`` and ``crossed`` are over by then and are not told afterwards.
* Of the registry a rule is told what held when it began: at the entry, the crossing, the first fix inside. When a
  licence or the carrying of a transponder begins or ends, the next fix is looked at as if something had changed.
* ``dwell`` and ``speed`` fire at the first fix that is ``for`` later than the one it began with, dated to the instant
  at which the time was up. A vessel that is not heard again does not fire them: nobody knows where it is.
* Alerts of what lasts end at the first fix outside (or, for ``speed``, at another speed), or the first one at which
  the rule or the zone is no longer in force. A change of ship type does not end them. They also end when their
  transponder is forgotten for want of room (``geofence.tracks``): nothing would ever end them otherwise.
* Alerts of ``left`` and ``crossed`` end ``resolve_after`` past the last such event, measured by reception, as ticks
  are. Until then a repetition belongs to the same alert.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np

from alerting.judging.apart import of_track
from alerting.judging.outcome import POSITIONS, STATICS, Outcome, Ruled
from alerting.model import RuleState, SubjectKind
from alerting.registry.ships import ShipTypes
from alerting.rules import AHEAD, Condition, ZoneRule
from alerting.zones.alerts import ZoneAlerts
from alerting.zones.approach import Approach
from alerting.zones.approaching import Approaching
from alerting.zones.attention import Attention
from alerting.zones.fence import RESOLVE, Cause, Fence, Place
from alerting.zones.holdings import Holdings
from alerting.zones.inside import Inside
from alerting.zones.motion import MAX_GAP
from alerting.zones.passing import Passing
from alerting.zones.sides import Reading
from alerting.zones.visits import Held
from decoders.records import NULL_I2
from geofence.apart import Apart, owner
from geofence.index import ZoneIndex
from geofence.lines import Lines
from geofence.moves import MoveFinder
from geofence.tracks import SETTLED, Forgotten, Tracks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from alerting.judging.heard import Heard
    from alerting.registry.names import Names
    from alerting.registry.register import Registry
    from geofence.moves import Move
    from geofence.tracks import Advance
    from geofence.zones import Zone

    Table = NDArray[np.void]
    Key = tuple[str, str]  # (rule id, zone id)

_LONG_AGO: Final = -(2**62)
#: The place of what was judged by among the rule states: no rule can have this id.
_RULE_ID: Final = "(fences)"
#: And that of two vessels under one identity.
_APART: Final = "(apart)"


class Fences:
    """All zone rules, and the tracks they are judged on."""

    def __init__(
        self, ruled: Sequence[Ruled], zones: Sequence[Zone], names: Names, registry: Registry, *, capacity: int
    ) -> None:
        rules = [(r, r.rule) for r in ruled if isinstance(r.rule, ZoneRule)]
        used = {zone for _, rule in rules for zone in rule.zones}
        places = {zone.id: Place(zone) for zone in zones if zone.id in used}
        missing = sorted(used - places.keys())
        if missing:
            raise ValueError(f"rules speak of unknown zones: {', '.join(missing)}")
        self._fences: dict[Key, Fence] = {}
        for r, rule in rules:
            for zone_id in dict.fromkeys(rule.zones):
                fence = Fence(r, rule, places[zone_id])
                self._fences[fence.key] = fence
        self._registry = registry
        edges = {edge for fence in self._fences.values() for edge in (fence.start, fence.end)}
        if asking := [rule.scope for _, rule in rules if rule.scope.asks_registry]:
            edges |= registry.edges(licences=any(scope.asks_licence for scope in asking))
        areas = [place.zone for place in places.values() if not place.zone.is_line]
        finder = MoveFinder(
            ZoneIndex(areas),
            boundaries=sorted(edges),
            daily={edge for r, _ in rules if r.calendar for edge in r.calendar.daily},
            crossings=any(f.rule.condition is Condition.CROSSED and not f.zone.is_line for f in self._fences.values()),
            lines=Lines([place.zone for place in places.values() if place.zone.is_line]),
        )
        self.tracks = Tracks(finder, capacity=capacity)
        self.apart = Apart(self.tracks)
        self.ships = ShipTypes(capacity)
        self._approach = Approach(self._fences.values())
        self._attention = Attention(self._fences.values(), self.tracks.index, self._approach)
        alerts = ZoneAlerts(names)
        self._holdings = Holdings(self._fences, names, self.ships, registry, alerts, self._attention)
        self._passing = Passing(self._holdings)
        self._inside = Inside(self._holdings, self._passing)
        self._approaching = Approaching(self._holdings, self._approach, alerts)
        self._typed = any(rule.scope.asks_ship_type for _, rule in rules)
        self._edited: set[Key] = set()  # fences to be looked at anew, before the next batch
        #: By rule and zone, as ``_versions``: what was kept of those by which it was judged who is inside.
        self._judged_by: dict[str, dict[str, list[str]]] = {}

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
        """Take up an episode, or what was judged by; False if no rule watches its subject any more."""
        if kept.rule_id == _RULE_ID:
            self._judged_by = (kept.state or {})["versions"]
            return True
        if kept.rule_id == _APART:
            self.apart.restore(kept.subject_id, kept.state or {})
            return True
        kept = of_track(kept)
        transponder = kept.subject_id
        fence, held = self._fences.get((kept.rule_id, kept.key)), Held.of(kept.state or {})
        if fence is None or not held:
            return False
        if not fence.rule.lasting and held.visit is not None and not held.visit.received:
            return False
        self._holdings.hold(transponder, fence, held)
        if owner(transponder) == transponder:
            self.tracks.expect(transponder)
        return True

    @cached_property
    def _versions(self) -> dict[str, dict[str, list[str]]]:
        """By rule and zone, the versions of both, and that of the registry where the rule asks it."""
        out: dict[str, dict[str, list[str]]] = {}
        for (rule, zone), fence in self._fences.items():
            asked = [self._registry.version] if fence.rule.scope.asks_registry else []
            out.setdefault(rule, {})[zone] = [fence.ruled.version, fence.place.version, *asked]
        return out

    def reconsider(self) -> None:
        """Look anew at who is inside the fences that are new, or others than those that were judged by."""
        before = {(rule, zone): said for rule, zones in self._judged_by.items() for zone, said in zones.items()}
        self._edited = {key for key in self._fences if before.get(key) != self._versions[key[0]][key[1]]}

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
        who, when, told = (statics[name].tolist() for name in ("transponder", "time", "ship_type"))
        for number, kind, row, move, still in steps:
            if move is None and not self._learn(who[row], when[row], told[row]):
                continue
            table = statics if kind == STATICS else positions
            cause = Cause(int(table["received_at"][row]), number, kind, row)
            if move is None:
                self._typed_anew(who[row], when[row], cause, advance, out)
            elif isinstance(move, Forgotten):
                self._forget(move, cause, out)
            else:
                self._move(move, positions[row], cause, out, still=still)
        self._holdings.expire_all(heard.now, out)
        for transponder, said in self.apart.state():
            out.keep(RuleState(_APART, SubjectKind.TRANSPONDER, transponder, "", said))

    # --- edited zones and rules

    def look_anew(self, now: int, out: Outcome) -> None:
        """Judge by their last fixes those whose fence is new or another one; before they are heard again.

        To be called before the tracks advance. A fix older than ``MAX_GAP`` says nothing about where a vessel is now.
        """
        if self._judged_by != self._versions:
            self._judged_by = self._versions
            said = {"versions": self._versions} if self._versions else None
            out.keep(RuleState(_RULE_ID, SubjectKind.DEVICE, 0, "", said))
        edited, self._edited = self._edited, set()
        if not edited:
            return
        cause = Cause(now, -1, POSITIONS, -1)
        for transponder, fence, held in self._holdings.of_fences(edited):
            last, visit = self.apart.last(transponder), held.visit
            if last is None or visit is None or visit.zone_version in {"", fence.place.version}:
                continue
            fix, around = last
            out_of_it = fence.zone.id not in around and fence.reading(fix, within=False, sog=None) is Reading.OUT
            if out_of_it and fence.rule.lasting:
                self._holdings.end(transponder, fence, fix, "edited", cause.order(fence, RESOLVE), out)
        zones = {zone for _, zone in edited}
        for transponder, fix, around in self.apart.within(zones):
            if now - fix.time <= MAX_GAP:
                self._inside.known_inside(transponder, fix, around, fix.time, cause, out)

    # --- ship types

    def _news(self, statics: Table) -> list[int]:
        """Transponders that say what they may not have said before."""
        if not self._attention.needed:
            return []
        told = zip(statics["transponder"].tolist(), statics["ship_type"].tolist(), strict=True)
        return [who for who, what in told if what != NULL_I2 and what != (self.ships.get(who) or (0, None))[1]]

    def _learn(self, transponder: int, time: int, said: int) -> bool:
        """Learn what a report says of the ship's type; whether that is new, and matters."""
        newest, known = self.ships.get(transponder) or (time, 0)
        if time < newest:
            return False  # an older report that came late
        ship_type = known if said == NULL_I2 else said
        self.ships.learn(transponder, time, ship_type)
        return ship_type != known and bool(self._typed)

    def _typed_anew(self, transponder: int, time: int, cause: Cause, advance: Advance, out: Outcome) -> None:
        """Another type of ship than it was: rules may be about it now."""
        where = advance.at(transponder, cause.message)
        for fence, held in self._holdings.all(transponder):
            if held.visit is None or held.visit.alert is None:
                self._inside.known(transponder, fence, held, where and where[0], time, cause, out)
        if where is not None:
            self._inside.known_inside(transponder, *where, max(time, where[0].time), cause, out)

    # --- moves

    def _forget(self, forgotten: Forgotten, cause: Cause, out: Outcome) -> None:
        """End what would never end, once nobody knows where its vessel was."""
        for transponder, fix in forgotten.fixes(self._holdings):
            for fence, held in self._holdings.all(transponder):
                if fence.rule.lasting:
                    self._holdings.end(transponder, fence, fix, forgotten.reason, cause.order(fence, RESOLVE), out)
                else:
                    held.turn = held.touch = None
                    self._holdings.keep(transponder, fence, held, out)

    def _move(self, move: Move, report: np.void, cause: Cause, out: Outcome, *, still: bool = False) -> None:
        """``still``: nothing has changed about the zones around the vessel."""
        if still:
            fences = self._holdings.relevant(move.transponder, move.now, only=Condition.SPEED)
        else:
            passed = (*(passage.zone for passage in move.crossed), *(leg.line for leg in move.legs))
            fences = self._holdings.relevant(move.transponder, (*move.was, *move.now, *passed))
        for fence in fences:
            if fence.rule.condition is Condition.CROSSED:
                self._passing.look(fence, move, cause, out)
            elif fence.rule.condition not in AHEAD:
                self._inside.look(fence, move, report, cause, out)
        if self._approach.needed:
            self._approaching.look(move, report, cause, out)
