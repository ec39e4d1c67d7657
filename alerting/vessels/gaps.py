"""Gaps: vessels of which nothing has been heard for too long, told while it lasts.

Like the silence of a station (``alerting.readings.silence``) a gap is measured in receive time, and in time in which we
could hear: not while we were deaf (``alerting.judging.hearing``), nor while the source that heard the vessel last was
silent itself (``alerting.vessels.feeds``). A vessel that comes back with a burst of old fixes is back; fixes that are
late are no news. The alert starts at the last fix; its time is the deadline, however late that is noticed.

A silence at sea can become more severe by steps. In port it does not; whether a vessel is in port is told by its last
fix. Where a vessel that transmits would hardly be heard (``alerting.vessels.coverage``) a rule may hold the alert back:
for this silence.

A vessel that the registry says carries several transponders is silent when all of them are: it is told once, about the
one whose time ran out first, and it is over when any of them is heard. A rule may ask for each by itself.

Every vessel waits with an instant before which none of its deadlines can pass; rows put that off in columns, and only
vessels whose instant has come are looked at.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from alerting.judging.outcome import POSITIONS, STATICS
from alerting.judging.series import grown
from alerting.messages import vessels as messages
from alerting.messages.words import iso
from alerting.model import Event, Late, SubjectKind
from alerting.registry.hulls import Hulls
from alerting.rules.vessels import GapRule
from alerting.vessels.coverage import Coverage, Last
from alerting.vessels.feeds import Feeds, Sign
from alerting.vessels.firsts import Firsts
from alerting.vessels.fixes import Fixes, among
from alerting.vessels.near import within
from alerting.vessels.teller import Alert, Teller, When
from decoders.identity import is_ais
from geofence.slots import Slots
from geofence.sphere import knots, metres

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from alerting.judging.hearing import Hearing
    from alerting.judging.outcome import Outcome, Ruled
    from alerting.model import RuleState
    from alerting.registry.names import Names
    from alerting.registry.register import Registry
    from alerting.vessels.fixes import Fix
    from alerting.vessels.kinds import Change, Kinds
    from decoders.records import Observations
    from geofence.tracks import Forgotten
    from geofence.zones import Zone

    Table = NDArray[np.void]

_FAR: Final = 2**62
_DAY: Final = 86_400_000_000

_SLOT: Final = np.dtype(
    [
        ("transponder", "i8"),
        ("time", "i8"),
        ("received", "i8"),
        ("first", "i8"),  # time of its first fix
        ("source", "i8"),  # that heard it last
        ("lon", "f8"),
        ("lat", "f8"),
        ("sog", "f8"),
        ("cog", "f8"),
    ]
)
_OF_FIX: Final = ("time", "received", "source", "lon", "lat", "sog", "cog")


@dataclass(slots=True)
class _Episode:
    """A silence that was decided about: told (``alert``), or held back for want of coverage."""

    heard: int  # receive time of the last fix before it
    probability: float | None
    alert: Alert | None = None
    step: int = -1


class Gaps:
    """All ``gap`` and ``feed_silent`` rules."""

    def __init__(
        self, ruled: Sequence[Ruled], zones: Sequence[Zone], names: Names, registry: Registry, hearing: Hearing
    ) -> None:
        self._tellers = [Teller(r) for r in ruled if isinstance(r.rule, GapRule)]
        self._rules = [r.rule for r in ruled if isinstance(r.rule, GapRule)]
        self._number = {rule.id: n for n, rule in enumerate(self._rules)}
        self._ports = [within(zones, rule.ports, rule.port_distance) for rule in self._rules]
        self._shortest = np.array([rule.shortest for rule in self._rules], np.int64)
        self._names, self._hulls = names, Hulls(registry)
        self._feeds = Feeds(ruled, names, hearing)
        learning = {rule.coverage: Coverage(rule.coverage) for rule in self._rules}
        self._coverages = list(learning.values())
        self._coverage = [learning[rule.coverage] for rule in self._rules]  # by rule
        self._slots = Slots()
        self._state = np.zeros(64, _SLOT)
        self._due = np.full((64, len(self._rules)), _FAR, np.int64)  # by slot and rule: not before this
        self._episodes: dict[int, dict[int, _Episode]] = {}  # transponder -> rule -> episode
        #: Silent for too long, and whether these rules are about them is not known yet; by transponder.
        self._unmatched: dict[int, set[int]] = {}
        #: By transponder, the silences (transponder, rule) of the same hull that are over when it is heard; and those
        #: that are not told while it is silent itself, or may be.
        self._watched: dict[int, set[tuple[int, int]]] = {}
        self._blocked: dict[int, set[tuple[int, int]]] = {}
        self._firsts = Firsts()
        self._waiting: dict[int, set[tuple[int, int]]] = {}  # by silent source: whose time has run out since
        self._next = _FAR
        self._restored = -_FAR  # the latest receive time known at the start

    def __bool__(self) -> bool:
        return bool(self._rules or self._feeds)

    # --- what is kept

    def restore(self, positions: Table, first_seen: Mapping[int, int]) -> None:
        """Take up when and where everyone was heard last (POSITION rows, one each)."""
        if not self:
            return
        self._slots.rebuild(positions["transponder"])
        self._grow()
        state = self._state[: len(positions)]
        for name in ("transponder", "time", "source", "lon", "lat", "sog", "cog"):
            state[name] = positions[name]
        state["received"] = positions["received_at"]
        times = zip(positions["transponder"].tolist(), positions["time"].tolist(), strict=True)
        state["first"] = [first_seen.get(transponder, time) for transponder, time in times]
        self._firsts.restore(first_seen, set(positions["transponder"].tolist()))
        if len(positions):
            self._due[: len(positions)] = state["received"][:, np.newaxis] + self._shortest
            self._restored = int(state["received"].max())
        self._next = self._first_due()

    def take_up(self, kept: RuleState) -> bool:
        """Take up a silence, or what is kept beside; False if it is not of a rule in use."""
        if any(coverage.restore(kept) for coverage in self._coverages):
            return True
        if kept.rule_id not in self._number:
            taken = bool(self._feeds) and self._feeds.take_up(kept)
            self._next = min(self._next, self._feeds.next_due)
            return taken
        number, transponder, said = self._number[kept.rule_id], kept.subject_id, kept.state or {}
        slot = int(self._slots.find(np.array([transponder]))[0])
        if slot < 0:
            return False
        if said.get("unmatched"):
            self._unmatched.setdefault(transponder, set()).add(number)
            return True
        episode = _Episode(said["heard"], said["probability"], Alert.restore(said), said["step"])
        self._episodes.setdefault(transponder, {})[number] = episode
        self._due[slot, number] = self._step_due(number, episode)
        self._next = min(self._next, int(self._due[slot, number]))
        self._watch(slot, number)
        return True

    # --- rows

    def judge(
        self, entries: Sequence[Fixes | Forgotten], observations: Observations, kinds: Kinds, now: int, out: Outcome
    ) -> None:
        """Judge rows in arrival order, each after the deadlines before it; then what is due before ``now``."""
        events: list[tuple[int, Change | Sign]] = [(sign.message, sign) for sign in self._feeds.signs(observations)]
        if self._rules:
            events += [(change[0], change) for change in kinds.changes]
            events.sort(key=lambda event: event[0])
            late = np.ones(len(observations.positions), bool)
            for entry in entries:
                late[entry.row if isinstance(entry, Fixes) else []] = False
            self._firsts.learn(observations, observations.positions[late])
        waiting = deque(events)
        for entry in entries:
            if isinstance(entry, Fixes):
                self._rows(entry, waiting, kinds, out)
            else:
                self._until(entry.message, waiting, kinds, out)
                received = int(observations.positions["received_at"][entry.row])
                self._run(received, kinds, out)
                self._forget(entry, received, out)
        self._until(_FAR, waiting, kinds, out)
        self._firsts.apply(_FAR, self._slots, self._state)
        self._run(now, kinds, out)
        for coverage in self._coverages:
            coverage.keep(out)

    def _until(self, message: int, waiting: deque[tuple[int, Change | Sign]], kinds: Kinds, out: Outcome) -> None:
        """What came with a message or before it, and is no position: signs of life, and changes of ship type."""
        while waiting and waiting[0][0] <= message:
            number, event = waiting.popleft()
            self._firsts.apply(number, self._slots, self._state)
            if isinstance(event, Sign):
                self._run(event.received, kinds, out)
                if self._feeds.hear(event, out):
                    self._wake(event.source)
                self._next = min(self._next, self._feeds.next_due)
            else:
                self._learn(event, kinds, out)
        self._firsts.apply(message, self._slots, self._state)

    def _rows(self, fixes: Fixes, waiting: deque[tuple[int, Change | Sign]], kinds: Kinds, out: Outcome) -> None:
        """The rows of a stretch, and what came between them."""
        received, start = fixes.received, 0
        telling = [(coverage, coverage.telling(fixes)) for coverage in self._coverages]
        least = int(self._shortest.min(initial=self._feeds.shortest))
        while start < len(fixes):
            self._until(int(fixes.message[start]), waiting, kinds, out)
            self._run(int(received[start]), kinds, out)
            # What these rows put off to before their end is not passed over: no deadline is nearer than the least.
            until = min(self._next, int(received[start]) + least)
            stop = int(np.searchsorted(received, until, side="right"))
            if waiting:
                stop = min(stop, int(np.searchsorted(fixes.message, waiting[0][0])))
            stop = max(stop, start + 1)
            self._hear(fixes, start, stop, out)
            for coverage, rows in telling:
                for i in np.flatnonzero(rows[start:stop]).tolist():
                    coverage.learn(fixes.fix(start + i), self._feeds.deaf)
            start = stop

    def _hear(self, fixes: Fixes, start: int, stop: int, out: Outcome) -> None:
        """Rows among which no deadline passes."""
        transponder = fixes.transponder[start:stop]
        self._again(fixes, start, stop, out)
        slots = self._slots.find(transponder)
        if (slots < 0).any():
            slots = self._add(transponder, fixes.time[start:stop])
        # Of several rows of one transponder the last is what stays.
        for name in _OF_FIX:
            self._state[name][slots] = getattr(fixes, name)[start:stop]
        if self._rules:
            self._due[slots] = fixes.received[start:stop, np.newaxis] + self._shortest
            self._next = min(self._next, int(fixes.received[start]) + int(self._shortest.min()))
        if self._blocked:
            for name in set(transponder[among(transponder, self._blocked)].tolist()):
                self._unblock(name)

    def _again(self, fixes: Fixes, start: int, stop: int, out: Outcome) -> None:
        """End what was said of those that are heard now."""
        transponder = fixes.transponder[start:stop]
        if self._episodes:
            for i in np.flatnonzero(among(transponder, self._episodes) | among(transponder, self._watched)).tolist():
                fix = fixes.fix(start + i)
                for number in sorted(self._episodes.get(fix.transponder, ())):
                    self._back(number, fix, out)
                for other, number in sorted(self._watched.get(fix.transponder, ())):
                    self._beside_back(other, number, fix, out)
        if self._unmatched:
            for name in transponder[among(transponder, self._unmatched)].tolist():
                for number in sorted(self._unmatched.pop(name, ())):
                    out.remember(self._rules[number].id, self._names.transponder(name), "", None)

    def _unblock(self, transponder: int) -> None:
        """Look again at those of the same hull that were not told because of one."""
        for other, number in self._blocked.pop(transponder, ()):
            slot = int(self._slots.find(np.array([other]))[0])
            if slot >= 0 and number not in self._episodes.get(other, ()):
                self._due[slot, number] = int(self._state["received"][slot]) + int(self._shortest[number])
                self._next = min(self._next, int(self._due[slot, number]))

    def _add(self, transponder: NDArray[np.int64], time: NDArray[np.int64]) -> NDArray[np.int64]:
        names, first = np.unique(transponder, return_index=True)
        new = self._slots.find(names) < 0
        order = np.argsort(first[new])
        names, first = names[new][order], first[new][order]
        self._slots.add(names)
        self._grow()
        added = self._slots.find(names)
        self._state["transponder"][added] = names
        self._state["first"][added] = self._firsts.of(names, time[first])
        return self._slots.find(transponder)

    def _grow(self) -> None:
        self._due = grown(self._due, len(self._slots), _FAR)
        if len(self._slots) > len(self._state):
            state = np.zeros(len(self._due), _SLOT)
            state[: len(self._state)] = self._state
            self._state = state

    def _forget(self, forgotten: Forgotten, received: int, out: Outcome) -> None:
        """Some transponders are forgotten for want of room: nobody would ever see them come back."""
        gone = forgotten.state["transponder"]
        slots = self._slots.find(gone)
        slots = slots[slots >= 0]
        kept = np.ones(len(self._slots), bool)
        kept[slots] = False
        state, due = self._state[: len(kept)][kept], self._due[: len(kept)][kept]
        self._slots.rebuild(state["transponder"])
        self._state[: len(state)], self._due[: len(due)] = state, due
        self._due[len(due) :] = _FAR
        for transponder in sorted(set(self._episodes) & set(gone.tolist())):
            for number, episode in sorted(self._episodes.pop(transponder).items()):
                self._unwatch(transponder, number)
                teller, alert = self._tellers[number], episode.alert
                subject = self._names.transponder(transponder, None if alert is None else alert.started_at)
                if alert is not None:
                    at = alert.at
                    text = messages.vessel_over(self._rules[number], subject.name, at, "forgotten")
                    when = When(received, False, forgotten.message, POSITIONS, forgotten.row)
                    said = {"reason": "forgotten"}
                    teller.change(out, when, subject, "", alert, Event.RESOLVED, at, text, said)
                out.remember(self._rules[number].id, subject, "", None)
        for transponder in sorted(set(self._unmatched) & set(gone.tolist())):
            for number in sorted(self._unmatched.pop(transponder)):
                out.remember(self._rules[number].id, self._names.transponder(transponder), "", None)
        for transponder in set(self._blocked) & set(gone.tolist()):
            self._unblock(transponder)

    # --- deadlines

    def _run(self, before: int, kinds: Kinds, out: Outcome) -> None:
        """Everything that is due before an instant, in order."""
        while self._next < before:
            at = self._next
            self._feeds.expire(at, self._heard_by, out)
            if self._rules:
                due = self._due[: len(self._slots)]
                slots, numbers = np.nonzero(due <= at)
                order = np.lexsort((numbers, self._state["transponder"][slots]))
                for slot, number in zip(slots[order].tolist(), numbers[order].tolist(), strict=True):
                    self._look(slot, number, at, kinds, out)
            self._next = self._first_due()

    def _first_due(self) -> int:
        due = self._due[: len(self._slots)]
        return min(int(due.min()) if due.size else _FAR, self._feeds.next_due)

    def _look(self, slot: int, number: int, at: int, kinds: Kinds, out: Outcome) -> None:
        """A deadline of a vessel may have passed."""
        state = self._state[slot]
        transponder, source = int(state["transponder"]), int(state["source"])
        self._due[slot, number] = _FAR
        episode = self._episodes.get(transponder, {}).get(number)
        if episode is not None and episode.alert is None:
            return
        due = self._hull_due(slot, number) if episode is None else self._deadline(slot, number, episode)
        if due is None:
            return
        silent = self._feeds.silent_since(source)
        if due > at:
            self._due[slot, number] = due
        elif silent is not None and due >= silent:
            self._waiting.setdefault(source, set()).add((transponder, number))
        elif episode is not None:
            self._escalate(slot, number, episode, due, out)
        elif due + _DAY >= self._restored:  # else decided about long ago, or before there was the rule
            self._overdue(slot, number, due, kinds, out)

    def _overdue(self, slot: int, number: int, due: int, kinds: Kinds, out: Outcome) -> None:
        """A vessel has been silent for too long: is it one that the rule misses?"""
        state, rule = self._state[slot], self._rules[number]
        known = int(state["time"]) - int(state["first"]) >= rule.known_for
        if not known or not self._tellers[number].ruled.in_force(due):
            return
        transponder = int(state["transponder"])
        if int(state["received"]) <= self._restored and kinds.spoke_after(transponder, due):
            return  # it was decided before these statics were judged, by what was known then
        meant = kinds.matches(rule.scope, transponder, int(state["time"]), received=due)
        if meant:
            self._lose(slot, number, When.due(due, transponder), out)
        elif meant is None:
            self._unmatched.setdefault(transponder, set()).add(number)
            said = {"heard": int(state["received"]), "probability": None, "step": -1, "unmatched": True}
            out.remember(rule.id, self._names.transponder(transponder), "", said)

    def _learn(self, change: Change, kinds: Kinds, out: Outcome) -> None:
        """The ship type of a vessel is known now: tell of its silence, if that is too long already."""
        message, row, received, transponder = change
        self._run(received, kinds, out)
        for number in sorted(self._unmatched.get(transponder, ())):
            slot = int(self._slots.find(np.array([transponder]))[0])
            last, scope = int(self._state["time"][slot]), self._rules[number].scope
            meant = kinds.matches(scope, transponder, last, message=message + 1)
            if meant is None:
                continue
            rest = self._unmatched[transponder]
            rest.discard(number)
            if not rest:
                del self._unmatched[transponder]
            if meant and self._beside(slot, number) and (self._hull_due(slot, number) or _FAR) >= received:
                self._due[slot, number] = int(self._state["received"][slot]) + int(self._shortest[number])
                self._next = min(self._next, int(self._due[slot, number]))
            elif meant:
                self._lose(slot, number, When(received, False, message, STATICS, row), out)
            if not meant or number not in self._episodes.get(transponder, ()):
                out.remember(self._rules[number].id, self._names.transponder(transponder), "", None)

    def _wake(self, source: int) -> None:
        """A source is back: look again at those it heard last, whose time ran out meanwhile."""
        for transponder, number in self._waiting.pop(source, ()):
            slot = int(self._slots.find(np.array([transponder]))[0])
            if slot >= 0 and self._state["source"][slot] == source:
                episode = self._episodes.get(transponder, {}).get(number)
                due = int(self._state["received"][slot]) + int(self._shortest[number])
                self._due[slot, number] = self._step_due(number, episode) if episode else due
        self._next = self._first_due()

    def _step_due(self, number: int, episode: _Episode) -> int:
        """An instant before which an episode cannot become more severe."""
        steps = self._rules[number].steps
        if episode.alert is None or episode.step + 1 >= len(steps):
            return _FAR
        return episode.heard + steps[episode.step + 1].after

    # --- several transponders on one hull

    def _beside(self, slot: int, number: int) -> list[int]:
        """The slots of the others on the hull of one, if the rule is about hulls; those that were heard."""
        if not self._hulls or not self._rules[number].any_beacon:
            return []
        state = self._state[slot]
        others = self._hulls.beside(int(state["transponder"]), int(state["time"]))
        return [found for found in self._slots.find(np.array(others, np.int64)).tolist() if found >= 0]

    def _hull_due(self, slot: int, number: int) -> int | None:
        """When a hull has been silent for too long, by all of its transponders; None: not before one is heard."""
        dues = []
        mine = int(self._state["transponder"][slot])
        for one in (slot, *self._beside(slot, number)):
            state, (limit, _) = self._state[one], self._limit(one, number)
            name = int(state["transponder"])
            told = one != slot and number in self._episodes.get(name, ())
            if limit is None or told:
                if one != slot:
                    self._blocked.setdefault(name, set()).add((mine, number))
                return None
            dues.append(self._feeds.deadline(int(state["source"]), int(state["received"]), limit))
        return max(dues)

    def _watch(self, slot: int, number: int) -> None:
        mine = int(self._state["transponder"][slot])
        for one in self._beside(slot, number):
            self._watched.setdefault(int(self._state["transponder"][one]), set()).add((mine, number))

    def _unwatch(self, transponder: int, number: int) -> None:
        for name in [name for name, silences in self._watched.items() if (transponder, number) in silences]:
            self._watched[name].discard((transponder, number))
            if not self._watched[name]:
                del self._watched[name]

    def _beside_back(self, transponder: int, number: int, fix: Fix, out: Outcome) -> None:
        """Another transponder of the hull is heard."""
        rule, teller = self._rules[number], self._tellers[number]
        episode = self._ended(transponder, number, out)
        slot = int(self._slots.find(np.array([transponder]))[0])
        self._due[slot, number] = fix.received + int(self._shortest[number])
        self._next = min(self._next, int(self._due[slot, number]))
        if (alert := episode.alert) is None:
            return
        state, by = self._state[slot], self._names.transponder(fix.transponder).name
        subject = self._names.transponder(transponder, alert.started_at)
        away = metres(float(state["lon"]), float(state["lat"]), fix.lon, fix.lat)
        details = {
            "reason": "heard_by_other",
            "heard_by_transponder": by,
            "last_fix": messages.fix(int(state["time"]), float(state["lon"]), float(state["lat"])),
            "first_fix": messages.fix(fix.time, fix.lon, fix.lat),
            "distance_m": round(away),
        }
        text = messages.gap_closed_by_other(rule, subject.name, fix.received, by)
        when, place = When.of(fix), (fix.lon, fix.lat)
        teller.change(out, when, subject, "", alert, Event.RESOLVED, fix.received, text, details, place=place)

    # --- episodes

    def _limit(self, slot: int, number: int) -> tuple[int | None, bool]:
        """How long a vessel may be silent, and whether that is as one in port."""
        state = self._state[slot]
        in_port = self._ports[number].holds(float(state["lon"]), float(state["lat"]))
        return self._rules[number].limit(vms=not is_ais(int(state["transponder"])), in_port=in_port), in_port

    def _lose(self, slot: int, number: int, when: When, out: Outcome) -> None:
        """A silence is too long: tell, or hold it back."""
        state, rule, teller = self._state[slot], self._rules[number], self._tellers[number]
        transponder, time, received = int(state["transponder"]), int(state["time"]), int(state["received"])
        lon, lat = float(state["lon"]), float(state["lat"])
        limit, in_port = self._limit(slot, number)
        assert limit is not None
        speeds = (None if np.isnan(state[name]) else float(state[name]) for name in ("sog", "cog"))
        probability = self._coverage[number].probability(Last(transponder, time, lon, lat, *speeds), limit)
        episode = _Episode(received, probability)
        self._episodes.setdefault(transponder, {})[number] = episode
        self._watch(slot, number)
        subject = self._names.transponder(transponder, time)
        if in_port:
            episode.step = len(rule.steps)
        if probability is None or rule.min_probability is None or probability >= rule.min_probability:
            severity = rule.severity
            while (due := self._deadline(slot, number, episode)) is not None and due < when.known:
                episode.step += 1
                severity = rule.steps[episode.step].severity
            at = self._hull_due(slot, number) or self._feeds.deadline(int(state["source"]), received, limit)
            details = self._details(slot, number, episode) | {"after_seconds": limit // 1_000_000, "in_port": in_port}
            details |= self._others(slot, number)
            text = messages.gap_opened(rule, subject.name, time, limit, probability, in_port=in_port)
            place = lon, lat
            episode.alert = teller.fire(out, when, subject, "", time, at, text, details, place=place, severity=severity)
        self._due[slot, number] = self._step_due(number, episode)
        self._next = min(self._next, int(self._due[slot, number]))
        self._remember(transponder, number, out)

    def _deadline(self, slot: int, number: int, episode: _Episode) -> int | None:
        """When an episode becomes more severe; None: it does not."""
        steps = self._rules[number].steps
        if episode.step + 1 >= len(steps):
            return None
        source = int(self._state["source"][slot])
        return self._feeds.deadline(source, episode.heard, steps[episode.step + 1].after)

    def _escalate(self, slot: int, number: int, episode: _Episode, due: int, out: Outcome) -> None:
        rule, teller, state = self._rules[number], self._tellers[number], self._state[slot]
        transponder, alert = int(state["transponder"]), episode.alert
        assert alert is not None
        episode.step += 1
        step = rule.steps[episode.step]
        subject = self._names.transponder(transponder, alert.started_at)
        if step.severity is not alert.severity:
            alert.severity = step.severity
            details = self._details(slot, number, episode) | {"after_seconds": step.after // 1_000_000}
            text = messages.gap_lasts(rule, subject.name, int(state["time"]), step.after)
            place = float(state["lon"]), float(state["lat"])
            when = When.due(due, transponder)
            teller.change(out, when, subject, "", alert, Event.ESCALATED, due, text, details, place=place)
        self._due[slot, number] = self._step_due(number, episode)
        self._remember(transponder, number, out)

    def _back(self, number: int, fix: Fix, out: Outcome) -> None:
        """Something was heard again."""
        rule, teller = self._rules[number], self._tellers[number]
        episode = self._ended(fix.transponder, number, out)
        if episode.alert is None:
            return
        subject = self._names.transponder(fix.transponder, episode.alert.started_at)
        assert fix.before is not None
        time, lon, lat = fix.before
        slot = int(self._slots.find(np.array([fix.transponder]))[0])
        limit, _ = self._limit(slot, number)
        if limit is not None and fix.time - time <= limit:
            # It was not silent for so long: what it sent was delivered late. All that comes now is to be looked at.
            out.late.append(Late(SubjectKind.TRANSPONDER, fix.transponder, fix.time, fix.time))
        away = metres(lon, lat, fix.lon, fix.lat)
        speed = knots(away, fix.time - time)
        details: dict[str, Any] = {
            "reason": "heard",
            "last_fix": messages.fix(time, lon, lat),
            "first_fix": messages.fix(fix.time, fix.lon, fix.lat),
            "silent_seconds": (fix.time - time) // 1_000_000,
            "distance_m": round(away),
            "implied_speed_kn": round(speed, 1),
        }
        text = messages.gap_closed(rule, subject.name, fix.received, fix.time - time, away, speed)
        when, place = When.of(fix), (fix.lon, fix.lat)
        alert = episode.alert
        teller.change(out, when, subject, "", alert, Event.RESOLVED, fix.received, text, details, place=place)

    def _ended(self, transponder: int, number: int, out: Outcome) -> _Episode:
        """A silence is over."""
        episodes = self._episodes[transponder]
        episode = episodes.pop(number)
        if not episodes:
            del self._episodes[transponder]
        self._unwatch(transponder, number)
        out.remember(self._rules[number].id, self._names.transponder(transponder), "", None)
        return episode

    def _others(self, slot: int, number: int) -> dict[str, Any]:
        """What is told of the other transponders of a hull, if it has any."""
        beside = self._beside(slot, number)
        if not beside:
            return {}
        found = [(int(self._state["transponder"][one]), iso(int(self._state["received"][one]))) for one in beside]
        names = {self._names.transponder(name).name: heard for name, heard in sorted(found)}
        partners = sorted([int(self._state["transponder"][slot]), *(name for name, _ in found)])
        return {"other_transponders_last_heard": names, "partners": [str(name) for name in partners]}

    def _remember(self, transponder: int, number: int, out: Outcome) -> None:
        episode = self._episodes[transponder][number]
        said: dict[str, Any] = {
            "heard": episode.heard,
            "probability": episode.probability,
            "step": episode.step,
        }
        if episode.alert is not None:
            said |= episode.alert.kept(self._tellers[number].ruled)
        out.remember(self._rules[number].id, self._names.transponder(transponder), "", said)

    def _details(self, slot: int, number: int, episode: _Episode) -> dict[str, Any]:
        state = self._state[slot]
        source = int(state["source"])
        return {
            "last_fix": messages.fix(int(state["time"]), float(state["lon"]), float(state["lat"])),
            "last_heard": iso(int(state["received"])),
            "heard_by": self._names.source_name(source),
            "probability_heard": episode.probability,
            "min_probability": self._rules[number].min_probability,
        }

    def _heard_by(self, source: int, since: int) -> int:
        """How many vessels were last heard by a source after a receive time."""
        state = self._state[: len(self._slots)]
        return int(np.count_nonzero((state["source"] == source) & (state["received"] > since)))
