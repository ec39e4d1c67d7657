"""Vessels and zones: who came in, is in, left, or passed through.

Judged from ``geofence.tracks``: a fence is a function of the fix before and the fix now. What needs deciding here:

* A rule may ask for a ship type, which AIS tells apart from the position and minutes later. Until it is known the rule
  does not match. When it becomes known while the vessel is still inside, ``inside`` fires on the last fix, and
  ``entered`` on the entry, which was kept waiting: the alert starts at the entry, and is as old as the knowledge.
  ``left`` and ``crossed`` are over by then and are not told afterwards.
* Alerts of ``entered`` and ``inside`` end at the first fix outside, or the first one at which the rule or the zone is
  no longer in force. A change of ship type does not end them. They also end when their transponder is forgotten for
  want of room (``geofence.tracks``): nothing would ever end them otherwise.
* Alerts of ``left`` and ``crossed`` end ``resolve_after`` past the last such event, measured by reception, as ticks
  are. Until then a repetition belongs to the same alert.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import numpy as np

from alerting import messages
from alerting.model import AlertState, Transition, alert_id
from alerting.outcome import POSITIONS, STATICS, Order, Outcome, Ruled
from alerting.rules import Condition, ZoneRule, window
from alerting.ships import ShipTypes
from decoders.records import NULL_I2
from geofence.index import ZoneIndex
from geofence.tracks import SETTLED, Fix, Forgotten, Tracks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from alerting.heard import Heard
    from alerting.model import RuleState
    from alerting.names import Names
    from geofence.tracks import Advance, Move
    from geofence.zones import Zone

    Table = NDArray[np.void]

_RESOLVE, _FIRE = 0, 1
_LONG_AGO: Final = -(2**62)


@dataclass(slots=True, frozen=True)
class _Fence:
    """One rule on one zone."""

    ruled: Ruled
    rule: ZoneRule
    zone: Zone
    start: int
    end: int

    def in_force(self, time: int) -> bool:
        return self.start <= time < self.end and self.ruled.in_force(time)

    def __lt__(self, other: _Fence) -> bool:
        return (self.ruled.number, self.zone.id) < (other.ruled.number, other.zone.id)


@dataclass(slots=True)
class _Episode:
    """``alert`` is None while the ship type is waited for. Times of event but for ``received``."""

    started_at: int
    lon: float
    lat: float
    before: Fix | None
    alert: UUID | None = None
    at: int = 0
    last: int = 0  # left and crossed: of the last repetition
    received: int = 0  # and when that was received
    count: int = 1
    ship_type: int | None = None  # as known when it fired


@dataclass(slots=True, frozen=True)
class _Cause:
    """The row that something follows from."""

    received: int
    message: int
    kind: int
    row: int

    def order(self, fence: _Fence, step: int) -> Order:
        return Order(self.received, False, self.message, self.kind, self.row, fence.ruled.number, fence.zone.id, step)


class Fences:
    """All zone rules, and the tracks they are judged on."""

    def __init__(self, ruled: Sequence[Ruled], zones: Sequence[Zone], names: Names, *, capacity: int) -> None:
        rules = [(r, r.rule) for r in ruled if isinstance(r.rule, ZoneRule)]
        used = {zone for _, rule in rules for zone in rule.zones}
        by_id = {zone.id: zone for zone in zones if zone.id in used}
        missing = sorted(used - by_id.keys())
        if missing:
            raise ValueError(f"rules speak of unknown zones: {', '.join(missing)}")
        self._fences: dict[tuple[str, str], _Fence] = {}  # (rule id, zone id)
        self._at: dict[tuple[str, Condition], list[_Fence]] = {}  # (zone id, condition)
        for r, rule in rules:
            for zone_id in dict.fromkeys(rule.zones):
                zone = by_id[zone_id]
                start, end = window(zone.valid_from, zone.valid_to, rule.utc_offset)
                fence = _Fence(r, rule, zone, max(start, r.start), min(end, r.end))
                self._fences[rule.id, zone_id] = fence
                self._at.setdefault((zone_id, rule.condition), []).append(fence)
        edges = [edge for fence in self._fences.values() for edge in (fence.start, fence.end)]
        self.tracks = Tracks(
            ZoneIndex(list(by_id.values())),
            boundaries=edges,
            daily={edge for r, _ in rules if r.calendar for edge in r.calendar.daily},
            capacity=capacity,
            crossings=any(condition is Condition.CROSSED for _, condition in self._at),
        )
        self._names = names
        self.ships = ShipTypes(capacity)
        self._open: dict[int, dict[tuple[str, str], _Episode]] = {}  # transponder -> (rule id, zone id) -> episode
        self._timed: set[tuple[int, str, str]] = set()  # those that end by time

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
        transponder, state = kept.subject_id, kept.state or {}
        fence = self._fences.get((kept.rule_id, kept.key))
        if fence is None or "lon" not in state:
            return False
        alert, before = state.get("alert"), state.get("before")
        episode = _Episode(
            started_at=state["started_at"],
            lon=state["lon"],
            lat=state["lat"],
            before=Fix(**before) if before else None,
            alert=UUID(alert) if alert else None,
            at=state["at"],
            last=state["last"],
            received=state["received"],
            count=state["count"],
            ship_type=state["ship_type"],
        )
        if not fence.rule.lasting and not episode.received:
            return False
        self._hold(transponder, fence, episode)
        self.tracks.expect(transponder)
        return True

    def judge(self, heard: Heard, out: Outcome) -> None:
        """Judge positions and statics in arrival order, then what is due."""
        positions, statics, advance = heard.observations.positions, heard.observations.statics, heard.advance
        message = positions["message"]
        steps: list[tuple[int, int, int, Move | Forgotten | None]] = [
            (gone.message, POSITIONS, gone.row, gone) for gone in advance.forgotten
        ]
        steps += [(int(message[move.row]), POSITIONS, move.row, move) for move in advance.moves]
        steps += [(number, STATICS, row, None) for row, number in enumerate(statics["message"].tolist())]
        steps.sort(key=lambda step: step[:3])
        for number, kind, row, move in steps:
            table = statics if kind == STATICS else positions
            cause = _Cause(int(table["received_at"][row]), number, kind, row)
            if move is None:
                self._static(statics[row], cause, advance, out)
            elif isinstance(move, Forgotten):
                self._forget(move, cause, out)
            else:
                self._move(move, cause, out)
        for transponder, rule_id, zone_id in sorted(self._timed):
            self._expire(transponder, self._fences[rule_id, zone_id], heard.now, out)

    # --- ship types

    def _type(self, transponder: int) -> int | None:
        told = self.ships.get(transponder)
        return told[1] or None if told else None

    def _static(self, static: np.void, cause: _Cause, advance: Advance, out: Outcome) -> None:
        transponder, time, said = int(static["transponder"]), int(static["time"]), int(static["ship_type"])
        newest, known = self.ships.get(transponder) or (time, 0)
        if time < newest:
            return  # an older report that came late
        ship_type = known if said == NULL_I2 else said
        self.ships.learn(transponder, time, ship_type)
        if ship_type == known:
            return
        for key in [key for key, episode in self._open.get(transponder, {}).items() if episode.alert is None]:
            fence, episode = self._fences[key], self._open[transponder][key]
            matches = fence.rule.scope.matches(transponder, ship_type or None)
            if matches:
                self._fire(transponder, fence, episode, max(time, episode.started_at), cause, out)
            elif matches is False:
                self._drop(transponder, fence, out)
        where = advance.at(transponder, cause.message)
        if where is not None:
            fix, zones = where
            self._look_inside(transponder, zones, fix, None, max(time, fix.time), cause, out)

    # --- moves

    def _forget(self, forgotten: Forgotten, cause: _Cause, out: Outcome) -> None:
        """End what would never end, once nobody knows where its vessel was."""
        for transponder, fix in forgotten.inside():
            for key in sorted(self._open.get(transponder, {}), key=self._fences.__getitem__):
                fence = self._fences[key]
                if fence.rule.lasting:
                    self._end(transponder, fence, fix, "forgotten", cause.order(fence, _RESOLVE), out)

    def _move(self, move: Move, cause: _Cause, out: Outcome) -> None:
        transponder, after = move.transponder, move.after
        self._look_at_open(move, cause, out)
        self._look_inside(transponder, move.now, after, move.before, after.time, cause, out)
        for fence in self._each(move.entered, Condition.ENTERED):
            self._entered(fence, move, cause, out)
        for fence in self._each(move.left, Condition.LEFT):
            self._happened(transponder, fence, after, move.before, cause, out)
        for passage in move.crossed:
            fix = Fix(passage.time, passage.lon, passage.lat)
            for fence in self._each((passage.zone,), Condition.CROSSED):
                self._happened(transponder, fence, fix, move.before, cause, out)

    def _look_at_open(self, move: Move, cause: _Cause, out: Outcome) -> None:
        """End what this move ends."""
        for key in sorted(self._open.get(move.transponder, {}), key=self._fences.__getitem__):
            fence = self._fences[key]
            if not fence.rule.lasting:
                self._expire(move.transponder, fence, cause.received, out)
            elif fence.zone.id not in move.now:
                self._end(move.transponder, fence, move.after, "left", cause.order(fence, _RESOLVE), out)
            elif not fence.in_force(move.after.time):
                self._end(move.transponder, fence, move.after, "not_in_force", cause.order(fence, _RESOLVE), out)

    def _entered(self, fence: _Fence, move: Move, cause: _Cause, out: Outcome) -> None:
        """An entry: fire, or keep it until the ship type is known."""
        transponder, after = move.transponder, move.after
        if not fence.in_force(after.time) or self._has(transponder, fence):
            return
        matches = fence.rule.scope.matches(transponder, self._type(transponder))
        episode = _Episode(after.time, after.lon, after.lat, move.before)
        if matches:
            self._fire(transponder, fence, episode, after.time, cause, out)
        elif matches is None:
            self._hold(transponder, fence, episode)
            self._remember(transponder, fence, out)

    def _each(self, zones: Sequence[str], condition: Condition) -> Iterator[_Fence]:
        for zone in zones:
            yield from self._at.get((zone, condition), ())

    def _look_inside(
        self,
        transponder: int,
        zones: Sequence[str],
        fix: Fix,
        before: Fix | None,
        at: int,
        cause: _Cause,
        out: Outcome,
    ) -> None:
        """Fire what is to fire for a vessel that is in these zones."""
        for fence in self._each(zones, Condition.INSIDE):
            if self._has(transponder, fence) or not fence.in_force(fix.time):
                continue
            if fence.rule.scope.matches(transponder, self._type(transponder)):
                self._fire(transponder, fence, _Episode(fix.time, fix.lon, fix.lat, before), at, cause, out)

    def _happened(
        self, transponder: int, fence: _Fence, fix: Fix, before: Fix | None, cause: _Cause, out: Outcome
    ) -> None:
        """Something that cannot end: fire, or count it to the alert that is still there."""
        if not fence.in_force(fix.time) or not fence.rule.scope.matches(transponder, self._type(transponder)):
            return
        self._expire(transponder, fence, cause.received, out)
        episode = self._open.get(transponder, {}).get((fence.rule.id, fence.zone.id))
        if episode is not None:
            episode.last, episode.received, episode.count = fix.time, cause.received, episode.count + 1
            self._remember(transponder, fence, out)
            return
        episode = _Episode(fix.time, fix.lon, fix.lat, before, last=fix.time, received=cause.received)
        self._fire(transponder, fence, episode, fix.time, cause, out)

    # --- episodes

    def _has(self, transponder: int, fence: _Fence) -> bool:
        return (fence.rule.id, fence.zone.id) in self._open.get(transponder, ())

    def _hold(self, transponder: int, fence: _Fence, episode: _Episode) -> None:
        self._open.setdefault(transponder, {})[fence.rule.id, fence.zone.id] = episode
        if not fence.rule.lasting:
            self._timed.add((transponder, fence.rule.id, fence.zone.id))

    def _drop(self, transponder: int, fence: _Fence, out: Outcome) -> None:
        episodes = self._open[transponder]
        del episodes[fence.rule.id, fence.zone.id]
        if not episodes:
            del self._open[transponder]
        self._timed.discard((transponder, fence.rule.id, fence.zone.id))
        out.remember(fence.rule.id, self._names.transponder(transponder), fence.zone.id, None)

    def _remember(self, transponder: int, fence: _Fence, out: Outcome) -> None:
        episode = self._open[transponder][fence.rule.id, fence.zone.id]
        state = asdict(episode) | fence.ruled.left_behind(episode.started_at)
        state["alert"] = str(episode.alert) if episode.alert else None
        out.remember(fence.rule.id, self._names.transponder(transponder), fence.zone.id, state)

    def _fire(self, transponder: int, fence: _Fence, episode: _Episode, at: int, cause: _Cause, out: Outcome) -> None:
        subject = self._names.transponder(transponder)
        episode.alert = alert_id(fence.rule.id, subject, fence.zone.id, episode.started_at)
        episode.at = at
        episode.ship_type = self._type(transponder)
        self._hold(transponder, fence, episode)
        self._remember(transponder, fence, out)
        text = messages.zone_fired(fence.rule, subject.name, fence.zone, episode.started_at)
        where = Fix(episode.started_at, episode.lon, episode.lat)
        found = self._transition(transponder, fence, episode, AlertState.FIRING, at, where, text, {})
        out.add(cause.order(fence, _FIRE), found)

    def _end(self, transponder: int, fence: _Fence, fix: Fix, reason: str, order: Order, out: Outcome) -> None:
        """Over, at a fix. An entry that was only waiting for a ship type is forgotten."""
        episode = self._open[transponder][fence.rule.id, fence.zone.id]
        self._drop(transponder, fence, out)
        if episode.alert is None:
            return
        name, at = self._names.transponder(transponder).name, max(fix.time, episode.at)
        text = messages.zone_resolved(fence.rule, name, fence.zone, at, reason)
        said = {"reason": reason}
        out.add(order, self._transition(transponder, fence, episode, AlertState.RESOLVED, at, fix, text, said))

    def _expire(self, transponder: int, fence: _Fence, tick: int, out: Outcome) -> None:
        """Resolve what happened long enough before ``tick`` and has not happened again."""
        episode = self._open.get(transponder, {}).get((fence.rule.id, fence.zone.id))
        if episode is None or episode.received + fence.rule.resolve_after >= tick:
            return
        self._drop(transponder, fence, out)
        due = episode.received + fence.rule.resolve_after
        order = Order(due, True, 0, POSITIONS, transponder, fence.ruled.number, fence.zone.id, _RESOLVE)
        name, at = self._names.transponder(transponder).name, episode.last + fence.rule.resolve_after
        text = messages.zone_resolved(fence.rule, name, fence.zone, at, "quiet")
        said = {"reason": "quiet", "count": episode.count}
        out.add(order, self._transition(transponder, fence, episode, AlertState.RESOLVED, at, None, text, said))

    def _transition(
        self,
        transponder: int,
        fence: _Fence,
        episode: _Episode,
        state: AlertState,
        at: int,
        fix: Fix | None,
        text: messages.Text,
        said: Mapping[str, Any],
    ) -> Transition:
        assert episode.alert is not None
        before = episode.before
        details: Final = fence.ruled.told() | {
            "condition": fence.rule.condition.value,
            "zone_name": {"en": fence.zone.name_en, "vi": fence.zone.name_vi},
            "zone_version": fence.zone.version,
            "zone_source": fence.zone.source,
            "since": messages.iso(episode.started_at),
            "previous_fix": before and {"time": messages.iso(before.time), "lon": before.lon, "lat": before.lat},
            "ship_type": episode.ship_type,
            **said,
        }
        return Transition(
            alert_id=episode.alert,
            rule_id=fence.rule.id,
            rule_version=fence.ruled.version,
            subject=self._names.transponder(transponder),
            key=fence.zone.id,
            state=state,
            severity=fence.rule.severity,
            at=at,
            started_at=episode.started_at,
            summary_en=text.en,
            summary_vi=text.vi,
            zone_id=fence.zone.id,
            lon=fix.lon if fix else None,
            lat=fix.lat if fix else None,
            details=details,
        )
