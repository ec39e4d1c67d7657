"""Gaps: vessels of which nothing has been heard for too long, told while it lasts.

Like the silence of a station (``alerting.readings.silence``) a gap is measured in receive time, and in time in which we
could hear: not while we were deaf (``alerting.judging.hearing``), nor while the source that heard the vessel last was
silent itself (``alerting.vessels.feeds``). A vessel that comes back with a burst of old fixes is back; fixes that are
late are no news. The alert starts at the last fix; its time is the deadline, however late that is noticed.

A silence at sea can become more severe by steps. In port it does not; whether a vessel is in port is told by its last
fix. Where vessels are seldom heard (``alerting.vessels.coverage``) a rule may hold the alert back: for this silence.

Every vessel waits with an instant before which none of its deadlines can pass; rows put that off in columns, and only
vessels whose instant has come are looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from alerting.judging.outcome import POSITIONS, STATICS
from alerting.judging.series import grown
from alerting.messages import vessels as messages
from alerting.messages.words import iso
from alerting.model import Event, Late, SubjectKind
from alerting.rules.vessels import GapRule
from alerting.vessels.coverage import Coverage
from alerting.vessels.feeds import Feeds
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
    from alerting.vessels.fixes import Fix
    from alerting.vessels.kinds import Kinds
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
    ]
)


@dataclass(slots=True)
class _Episode:
    """A silence that was decided about: told (``alert``), or held back for want of coverage."""

    heard: int  # receive time of the last fix before it
    probability: float | None
    alert: Alert | None = None
    step: int = -1


class Gaps:
    """All ``gap`` and ``feed_silent`` rules."""

    def __init__(self, ruled: Sequence[Ruled], zones: Sequence[Zone], names: Names, hearing: Hearing) -> None:
        self._tellers = [Teller(r) for r in ruled if isinstance(r.rule, GapRule)]
        self._rules = [r.rule for r in ruled if isinstance(r.rule, GapRule)]
        self._number = {rule.id: n for n, rule in enumerate(self._rules)}
        self._ports = [within(zones, rule.ports, rule.port_distance) for rule in self._rules]
        self._shortest = np.array([rule.shortest for rule in self._rules], np.int64)
        self._names = names
        self._feeds = Feeds(ruled, names, hearing, self._heard_by)
        learning = {rule.coverage: Coverage(rule.coverage) for rule in self._rules}
        self._coverages = list(learning.values())
        self._coverage = [learning[rule.coverage] for rule in self._rules]  # by rule
        self._slots = Slots()
        self._state = np.zeros(64, _SLOT)
        self._due = np.full((64, len(self._rules)), _FAR, np.int64)  # by slot and rule: not before this
        self._episodes: dict[int, dict[int, _Episode]] = {}  # transponder -> rule -> episode
        #: Silent for too long, but of no type, or none known, that these rules are about; by transponder.
        self._unmatched: dict[int, set[int]] = {}
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
        for name in ("transponder", "time", "source", "lon", "lat"):
            state[name] = positions[name]
        state["received"] = positions["received_at"]
        times = zip(positions["transponder"].tolist(), positions["time"].tolist(), strict=True)
        state["first"] = [first_seen.get(transponder, time) for transponder, time in times]
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
        episode = _Episode(said["heard"], said["probability"], Alert.restore(said), said["step"])
        self._episodes.setdefault(transponder, {})[number] = episode
        self._due[slot, number] = self._step_due(number, episode)
        self._next = min(self._next, int(self._due[slot, number]))
        return True

    # --- rows

    def judge(
        self, entries: Sequence[Fixes | Forgotten], positions: Table, kinds: Kinds, now: int, out: Outcome
    ) -> None:
        """Judge rows in arrival order, each after the deadlines before it; then what is due before ``now``."""
        changes = list(kinds.changes) if self._rules else []
        for entry in entries:
            if isinstance(entry, Fixes):
                changes = self._rows(entry, changes, kinds, out)
            else:
                received = int(positions["received_at"][entry.row])
                self._run(received, kinds, out)
                self._forget(entry, received, out)
        for change in changes:
            self._learn(change, kinds, out)
        self._run(now, kinds, out)
        for coverage in self._coverages:
            coverage.keep(out)

    def _rows(
        self, fixes: Fixes, changes: list[tuple[int, int, int, int]], kinds: Kinds, out: Outcome
    ) -> list[tuple[int, int, int, int]]:
        """The rows of a stretch, and changes of ship type among them; the changes after it."""
        received, start = fixes.received, 0
        telling = [(coverage, coverage.telling(fixes)) for coverage in self._coverages]
        least = int(self._shortest.min(initial=self._feeds.shortest))
        while start < len(fixes):
            while changes and changes[0][0] <= fixes.message[start]:
                self._learn(changes.pop(0), kinds, out)
            self._run(int(received[start]), kinds, out)
            # What these rows put off to before their end is not passed over: no deadline is nearer than the least.
            until = min(self._next, int(received[start]) + least)
            stop = int(np.searchsorted(received, until, side="right"))
            if changes:
                stop = min(stop, int(np.searchsorted(fixes.message, changes[0][0])))
            stop = max(self._feeds.before_return(fixes, start, stop), start + 1)
            self._hear(fixes, start, stop, out)
            for coverage, rows in telling:
                for i in np.flatnonzero(rows[start:stop]).tolist():
                    coverage.learn(fixes.fix(start + i), self._feeds.deaf)
            start = stop
        return changes

    def _hear(self, fixes: Fixes, start: int, stop: int, out: Outcome) -> None:
        """Rows among which no deadline passes."""
        if self._feeds:
            for source in self._feeds.hear(fixes, start, stop, out):
                self._wake(source)
            self._next = min(self._next, self._feeds.next_due)
        transponder = fixes.transponder[start:stop]
        if self._episodes:
            for i in np.flatnonzero(among(transponder, self._episodes)).tolist():
                fix = fixes.fix(start + i)
                for number in sorted(self._episodes.get(fix.transponder, ())):
                    self._back(number, fix, out)
        if self._unmatched:
            for name in transponder[among(transponder, self._unmatched)].tolist():
                self._unmatched.pop(name, None)
        slots = self._slots.find(transponder)
        if (slots < 0).any():
            slots = self._add(transponder, fixes.time[start:stop])
        # Of several rows of one transponder the last is what stays.
        state = self._state
        state["time"][slots] = fixes.time[start:stop]
        state["received"][slots] = fixes.received[start:stop]
        state["source"][slots] = fixes.source[start:stop]
        state["lon"][slots] = fixes.lon[start:stop]
        state["lat"][slots] = fixes.lat[start:stop]
        if self._rules:
            self._due[slots] = fixes.received[start:stop, np.newaxis] + self._shortest
            self._next = min(self._next, int(fixes.received[start]) + int(self._shortest.min()))

    def _add(self, transponder: NDArray[np.int64], time: NDArray[np.int64]) -> NDArray[np.int64]:
        names, first = np.unique(transponder, return_index=True)
        new = self._slots.find(names) < 0
        order = np.argsort(first[new])
        names, first = names[new][order], first[new][order]
        self._slots.add(names)
        self._grow()
        added = self._slots.find(names)
        self._state["transponder"][added] = names
        self._state["first"][added] = time[first]
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
                teller, alert = self._tellers[number], episode.alert
                subject = self._names.transponder(transponder, None if alert is None else alert.started_at)
                if alert is not None:
                    at = alert.at
                    text = messages.vessel_over(self._rules[number], subject.name, at, "forgotten")
                    when = When(received, False, forgotten.message, POSITIONS, forgotten.row)
                    said = {"reason": "forgotten"}
                    teller.change(out, when, subject, "", alert, Event.RESOLVED, at, text, said)
                out.remember(self._rules[number].id, subject, "", None)
        for transponder in set(self._unmatched) & set(gone.tolist()):
            del self._unmatched[transponder]

    # --- deadlines

    def _run(self, before: int, kinds: Kinds, out: Outcome) -> None:
        """Everything that is due before an instant, in order."""
        while self._next < before:
            at = self._next
            self._feeds.expire(at, out)
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
        if episode is not None:
            due = self._deadline(slot, number, episode)
        else:
            limit, _ = self._limit(slot, number)
            due = None if limit is None else self._feeds.deadline(source, int(state["received"]), limit)
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
        if kinds.matches(rule.scope, transponder, int(state["time"]), received=due):
            self._lose(slot, number, When.due(due, transponder), out)
        else:
            self._unmatched.setdefault(transponder, set()).add(number)

    def _learn(self, change: tuple[int, int, int, int], kinds: Kinds, out: Outcome) -> None:
        """The ship type of a vessel is known now: tell of its silence, if that is too long already."""
        message, row, received, transponder = change
        self._run(received, kinds, out)
        for number in sorted(self._unmatched.get(transponder, ())):
            slot = int(self._slots.find(np.array([transponder]))[0])
            last = int(self._state["time"][slot])
            if kinds.matches(self._rules[number].scope, transponder, last, message=message + 1):
                rest = self._unmatched[transponder]
                rest.discard(number)
                if not rest:
                    del self._unmatched[transponder]
                self._lose(slot, number, When(received, False, message, STATICS, row), out)

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
        probability = self._coverage[number].probability(transponder, lon, lat, time)
        episode = _Episode(received, probability)
        self._episodes.setdefault(transponder, {})[number] = episode
        subject = self._names.transponder(transponder, time)
        if in_port:
            episode.step = len(rule.steps)
        if probability is None or rule.min_probability is None or probability >= rule.min_probability:
            severity = rule.severity
            while (due := self._deadline(slot, number, episode)) is not None and due < when.known:
                episode.step += 1
                severity = rule.steps[episode.step].severity
            at = self._feeds.deadline(int(state["source"]), received, limit)
            details = self._details(slot, number, episode) | {"after_seconds": limit // 1_000_000, "in_port": in_port}
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
        episodes = self._episodes[fix.transponder]
        episode = episodes.pop(number)
        if not episodes:
            del self._episodes[fix.transponder]
        out.remember(rule.id, self._names.transponder(fix.transponder), "", None)
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
