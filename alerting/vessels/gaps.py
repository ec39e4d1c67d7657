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
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from alerting.judging.outcome import POSITIONS, STATICS
from alerting.messages import vessels as messages
from alerting.messages.words import iso
from alerting.model import Event, Late, SubjectKind
from alerting.rules.vessels import GapRule
from alerting.vessels.companions import Companions
from alerting.vessels.coverage import Coverage
from alerting.vessels.feeds import Feeds, Sign
from alerting.vessels.fixes import Fixes, among
from alerting.vessels.last_heard import FAR, LastHeard
from alerting.vessels.near import within
from alerting.vessels.teller import Alert, Teller, When
from decoders.identity import is_ais
from geofence.sphere import knots, metres

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from alerting.judging.hearing import Hearing
    from alerting.judging.outcome import Outcome, Ruled
    from alerting.model import RuleState
    from alerting.registry.names import Names
    from alerting.registry.register import Registry
    from alerting.vessels.companions import Silence
    from alerting.vessels.fixes import Fix
    from alerting.vessels.kinds import Change, Kinds
    from alerting.vessels.last_heard import Last
    from decoders.records import Observations
    from geofence.tracks import Forgotten
    from geofence.zones import Zone

    Table = NDArray[np.void]

_DAY: Final = 86_400_000_000


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
        self._heard = LastHeard([rule.shortest for rule in self._rules])
        self._companions = Companions(registry, [rule.any_beacon for rule in self._rules], self._heard)
        self._names = names
        self._feeds = Feeds(ruled, names, hearing)
        learning = {rule.coverage: Coverage(rule.coverage) for rule in self._rules}
        self._coverages = list(learning.values())
        self._coverage = [learning[rule.coverage] for rule in self._rules]  # by rule
        self._least = min([self._feeds.shortest, *(rule.shortest for rule in self._rules)])
        self._episodes: dict[int, dict[int, _Episode]] = {}  # transponder -> rule -> episode
        #: Silent for too long, and whether these rules are about them is not known yet; by transponder.
        self._unmatched: dict[int, set[int]] = {}
        self._waiting: dict[int, set[Silence]] = {}  # by silent source: whose time has run out since

    def __bool__(self) -> bool:
        return bool(self._rules or self._feeds)

    # --- what is kept

    def restore(self, positions: Table, first_seen: Mapping[int, int]) -> None:
        """Take up when and where everyone was heard last (POSITION rows, one each)."""
        if self:
            self._heard.restore(positions, first_seen)

    def take_up(self, kept: RuleState) -> bool:
        """Take up a silence, or what is kept beside; False if it is not of a rule in use."""
        if any(coverage.restore(kept) for coverage in self._coverages):
            return True
        if kept.rule_id not in self._number:
            return bool(self._feeds) and self._feeds.take_up(kept)
        number, transponder, said = self._number[kept.rule_id], kept.subject_id, kept.state or {}
        slot = self._heard.slot(transponder)
        if slot < 0:
            return False
        if said.get("unmatched"):
            self._unmatched.setdefault(transponder, set()).add(number)
            return True
        episode = _Episode(said["heard"], said["probability"], Alert.restore(said), said["step"])
        self._episodes.setdefault(transponder, {})[number] = episode
        self._heard.look(slot, number, self._step_due(number, episode))
        self._companions.watch(slot, number)
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
            self._heard.learn(observations, late)
        waiting = deque(events)
        for entry in entries:
            if isinstance(entry, Fixes):
                self._rows(entry, waiting, kinds, out)
            else:
                self._until(entry.message, waiting, kinds, out)
                received = int(observations.positions["received_at"][entry.row])
                self._run(received, kinds, out)
                self._forget(entry, received, out)
        self._until(FAR, waiting, kinds, out)
        self._run(now, kinds, out)
        for coverage in self._coverages:
            coverage.keep(out)

    def _until(self, message: int, waiting: deque[tuple[int, Change | Sign]], kinds: Kinds, out: Outcome) -> None:
        """What came with a message or before it, and is no position: signs of life, and changes of ship type."""
        while waiting and waiting[0][0] <= message:
            number, event = waiting.popleft()
            self._heard.known_by(number)
            if isinstance(event, Sign):
                self._run(event.received, kinds, out)
                if self._feeds.hear(event, out):
                    self._wake(event.source)
            else:
                self._learn(event, kinds, out)
        self._heard.known_by(message)

    def _rows(self, fixes: Fixes, waiting: deque[tuple[int, Change | Sign]], kinds: Kinds, out: Outcome) -> None:
        """The rows of a stretch, and what came between them."""
        received, start = fixes.received, 0
        telling = [(coverage, coverage.telling(fixes)) for coverage in self._coverages]
        while start < len(fixes):
            self._until(int(fixes.message[start]), waiting, kinds, out)
            self._run(int(received[start]), kinds, out)
            # What these rows put off to before their end is not passed over: no deadline is nearer than the least.
            until = min(self._next, int(received[start]) + self._least)
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
        """Rows among which no deadline passes: they end what was said of who is heard now."""
        transponder, over = fixes.transponder[start:stop], self._companions.over
        if self._episodes:
            for i in np.flatnonzero(among(transponder, self._episodes) | among(transponder, over)).tolist():
                fix = fixes.fix(start + i)
                for number in sorted(self._episodes.get(fix.transponder, ())):
                    self._back(number, fix, out)
                for other, number in sorted(over.get(fix.transponder, ())):
                    self._other_back(other, number, fix, out)
        if self._unmatched:
            for name in transponder[among(transponder, self._unmatched)].tolist():
                for number in sorted(self._unmatched.pop(name, ())):
                    self._remember(name, number, None, out)
        self._heard.hear(fixes, start, stop)
        self._release(transponder)

    def _release(self, transponders: NDArray[np.int64]) -> None:
        """Look again at those of the same hulls that were not told because of these."""
        for other, number in self._companions.released(transponders):
            slot = self._heard.slot(other)
            if slot >= 0 and number not in self._episodes.get(other, ()):
                self._heard.look_again(slot, number)

    def _forget(self, forgotten: Forgotten, received: int, out: Outcome) -> None:
        """Some transponders are forgotten for want of room: nobody would ever see them come back."""
        gone = forgotten.state["transponder"]
        self._heard.forget(gone)
        for transponder in sorted(set(self._episodes) & set(gone.tolist())):
            for number in sorted(self._episodes[transponder]):
                alert = self._ended(transponder, number, out).alert
                if alert is not None:
                    subject = self._names.transponder(transponder, alert.started_at)
                    text = messages.vessel_over(self._rules[number], subject.name, alert.at, "forgotten")
                    when = When(received, False, forgotten.message, POSITIONS, forgotten.row)
                    said = {"reason": "forgotten"}
                    self._tellers[number].change(out, when, subject, "", alert, Event.RESOLVED, alert.at, text, said)
        for transponder in sorted(set(self._unmatched) & set(gone.tolist())):
            for number in sorted(self._unmatched.pop(transponder)):
                self._remember(transponder, number, None, out)
        self._release(gone)

    # --- deadlines

    @property
    def _next(self) -> int:
        """Before this, nothing is due."""
        return min(self._heard.next, self._feeds.next_due)

    def _run(self, before: int, kinds: Kinds, out: Outcome) -> None:
        """Everything that is due before an instant, in order."""
        while (at := self._next) < before:
            self._feeds.expire(at, self._heard.by_source, out)
            for slot, number in self._heard.due(at):
                self._look(slot, number, at, kinds, out)
            self._heard.settle()

    def _look(self, slot: int, number: int, at: int, kinds: Kinds, out: Outcome) -> None:
        """A deadline of a vessel may have passed."""
        last = self._heard.at(slot)
        self._heard.look(slot, number, FAR)
        episode = self._episodes.get(last.transponder, {}).get(number)
        if episode is not None and episode.alert is None:
            return
        due = self._hull_due(slot, number) if episode is None else self._deadline(last.source, number, episode)
        if due is None:
            return
        silent = self._feeds.silent_since(last.source)
        if due > at:
            self._heard.look(slot, number, due)
        elif silent is not None and due >= silent:
            self._waiting.setdefault(last.source, set()).add((last.transponder, number))
        elif episode is not None:
            self._escalate(slot, number, episode, due, out)
        elif due + _DAY >= self._heard.restored:  # else decided about long ago, or before there was the rule
            self._overdue(slot, number, due, kinds, out)

    def _overdue(self, slot: int, number: int, due: int, kinds: Kinds, out: Outcome) -> None:
        """A vessel has been silent for too long: is it one that the rule misses?"""
        last, rule = self._heard.at(slot), self._rules[number]
        if last.time - last.first < rule.known_for or not self._tellers[number].ruled.in_force(due):
            return
        if last.received <= self._heard.restored and kinds.spoke_after(last.transponder, due):
            return  # it was decided before these statics were judged, by what was known then
        meant = kinds.matches(rule.scope, last.transponder, last.time, received=due)
        if meant:
            self._lose(slot, number, When.due(due, last.transponder), out)
        elif meant is None:
            self._unmatched.setdefault(last.transponder, set()).add(number)
            said = {"heard": last.received, "probability": None, "step": -1, "unmatched": True}
            self._remember(last.transponder, number, said, out)

    def _learn(self, change: Change, kinds: Kinds, out: Outcome) -> None:
        """The ship type of a vessel is known now: tell of its silence, if that is too long already."""
        message, row, received, transponder = change
        self._run(received, kinds, out)
        for number in sorted(self._unmatched.get(transponder, ())):
            slot = self._heard.slot(transponder)
            time = self._heard.at(slot).time
            meant = kinds.matches(self._rules[number].scope, transponder, time, message=message + 1)
            if meant is None:
                continue
            rest = self._unmatched[transponder]
            rest.discard(number)
            if not rest:
                del self._unmatched[transponder]
            if meant and self._companions.beside(slot, number) and (self._hull_due(slot, number) or FAR) >= received:
                self._heard.look_again(slot, number)
            elif meant:
                self._lose(slot, number, When(received, False, message, STATICS, row), out)
            if not meant or number not in self._episodes.get(transponder, ()):
                self._remember(transponder, number, None, out)

    def _wake(self, source: int) -> None:
        """A source is back: look again at those it heard last, whose time ran out meanwhile."""
        for transponder, number in self._waiting.pop(source, ()):
            slot = self._heard.slot(transponder)
            if slot < 0 or self._heard.at(slot).source != source:
                continue
            episode = self._episodes.get(transponder, {}).get(number)
            if episode is None:
                self._heard.look_again(slot, number)
            else:
                self._heard.look(slot, number, self._step_due(number, episode))

    def _limit(self, last: Last, number: int) -> tuple[int | None, bool]:
        """How long a vessel may be silent, and whether that is as one in port."""
        in_port = self._ports[number].holds(last.lon, last.lat)
        return self._rules[number].limit(vms=not is_ais(last.transponder), in_port=in_port), in_port

    def _hull_due(self, slot: int, number: int) -> int | None:
        """When a hull has been silent for too long, by all of its transponders; None: not before one is heard."""
        dues = []
        mine = self._heard.at(slot).transponder
        for one in (slot, *self._companions.beside(slot, number)):
            last = self._heard.at(one)
            limit, _ = self._limit(last, number)
            told = one != slot and number in self._episodes.get(last.transponder, ())
            if limit is None or told:
                if one != slot:
                    self._companions.wait((mine, number), last.transponder)
                return None
            dues.append(self._feeds.deadline(last.source, last.received, limit))
        return max(dues)

    def _step_due(self, number: int, episode: _Episode) -> int:
        """An instant before which an episode cannot become more severe."""
        steps = self._rules[number].steps
        if episode.alert is None or episode.step + 1 >= len(steps):
            return FAR
        return episode.heard + steps[episode.step + 1].after

    def _deadline(self, source: int, number: int, episode: _Episode) -> int | None:
        """When an episode becomes more severe, given who heard the vessel last; None: it does not."""
        steps = self._rules[number].steps
        if episode.step + 1 >= len(steps):
            return None
        return self._feeds.deadline(source, episode.heard, steps[episode.step + 1].after)

    # --- episodes

    def _lose(self, slot: int, number: int, when: When, out: Outcome) -> None:
        """A silence is too long: tell, or hold it back."""
        last, rule, teller = self._heard.at(slot), self._rules[number], self._tellers[number]
        limit, in_port = self._limit(last, number)
        assert limit is not None
        probability = self._coverage[number].probability(last, limit)
        episode = _Episode(last.received, probability)
        self._episodes.setdefault(last.transponder, {})[number] = episode
        self._companions.watch(slot, number)
        subject = self._names.transponder(last.transponder, last.time)
        if in_port:
            episode.step = len(rule.steps)
        if probability is None or rule.min_probability is None or probability >= rule.min_probability:
            severity = rule.severity
            while (due := self._deadline(last.source, number, episode)) is not None and due < when.known:
                episode.step += 1
                severity = rule.steps[episode.step].severity
            at = self._hull_due(slot, number) or self._feeds.deadline(last.source, last.received, limit)
            details = self._details(last, number, episode) | {"after_seconds": limit // 1_000_000, "in_port": in_port}
            details |= self._others(slot, number)
            text = messages.gap_opened(rule, subject.name, last.time, limit, probability, in_port=in_port)
            place = last.lon, last.lat
            alert = teller.fire(out, when, subject, "", last.time, at, text, details, place=place, severity=severity)
            episode.alert = alert
        self._heard.look(slot, number, self._step_due(number, episode))
        self._remember(last.transponder, number, self._kept(number, episode), out)

    def _escalate(self, slot: int, number: int, episode: _Episode, due: int, out: Outcome) -> None:
        rule, teller, last = self._rules[number], self._tellers[number], self._heard.at(slot)
        alert = episode.alert
        assert alert is not None
        episode.step += 1
        step = rule.steps[episode.step]
        subject = self._names.transponder(last.transponder, alert.started_at)
        if step.severity is not alert.severity:
            alert.severity = step.severity
            details = self._details(last, number, episode) | {"after_seconds": step.after // 1_000_000}
            text = messages.gap_lasts(rule, subject.name, last.time, step.after)
            when, place = When.due(due, last.transponder), (last.lon, last.lat)
            teller.change(out, when, subject, "", alert, Event.ESCALATED, due, text, details, place=place)
        self._heard.look(slot, number, self._step_due(number, episode))
        self._remember(last.transponder, number, self._kept(number, episode), out)

    def _back(self, number: int, fix: Fix, out: Outcome) -> None:
        """Something was heard again."""
        rule, teller = self._rules[number], self._tellers[number]
        alert = self._ended(fix.transponder, number, out).alert
        if alert is None:
            return
        subject = self._names.transponder(fix.transponder, alert.started_at)
        assert fix.before is not None
        time, lon, lat = fix.before
        limit, _ = self._limit(self._heard.at(self._heard.slot(fix.transponder)), number)
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
        teller.change(out, when, subject, "", alert, Event.RESOLVED, fix.received, text, details, place=place)

    def _other_back(self, transponder: int, number: int, fix: Fix, out: Outcome) -> None:
        """Another transponder of the hull is heard."""
        rule, teller = self._rules[number], self._tellers[number]
        alert = self._ended(transponder, number, out).alert
        slot = self._heard.slot(transponder)
        self._heard.look(slot, number, fix.received + rule.shortest)
        if alert is None:
            return
        last, by = self._heard.at(slot), self._names.transponder(fix.transponder).name
        subject = self._names.transponder(transponder, alert.started_at)
        details = {
            "reason": "heard_by_other",
            "heard_by_transponder": by,
            "last_fix": messages.fix(last.time, last.lon, last.lat),
            "first_fix": messages.fix(fix.time, fix.lon, fix.lat),
            "distance_m": round(metres(last.lon, last.lat, fix.lon, fix.lat)),
        }
        text = messages.gap_closed_by_other(rule, subject.name, fix.received, by)
        when, place = When.of(fix), (fix.lon, fix.lat)
        teller.change(out, when, subject, "", alert, Event.RESOLVED, fix.received, text, details, place=place)

    def _ended(self, transponder: int, number: int, out: Outcome) -> _Episode:
        """A silence is over."""
        episodes = self._episodes[transponder]
        episode = episodes.pop(number)
        if not episodes:
            del self._episodes[transponder]
        self._companions.unwatch(transponder, number)
        self._remember(transponder, number, None, out)
        return episode

    # --- what is said

    def _remember(self, transponder: int, number: int, said: dict[str, Any] | None, out: Outcome) -> None:
        out.remember(self._rules[number].id, self._names.transponder(transponder), "", said)

    def _kept(self, number: int, episode: _Episode) -> dict[str, Any]:
        said: dict[str, Any] = {"heard": episode.heard, "probability": episode.probability, "step": episode.step}
        return said if episode.alert is None else said | episode.alert.kept(self._tellers[number].ruled)

    def _details(self, last: Last, number: int, episode: _Episode) -> dict[str, Any]:
        return {
            "last_fix": messages.fix(last.time, last.lon, last.lat),
            "last_heard": iso(last.received),
            "heard_by": self._names.source_name(last.source),
            "probability_heard": episode.probability,
            "min_probability": self._rules[number].min_probability,
        }

    def _others(self, slot: int, number: int) -> dict[str, Any]:
        """What is told of the other transponders of a hull, if it has any."""
        others = [self._heard.at(other) for other in self._companions.beside(slot, number)]
        if not others:
            return {}
        heard = {last.transponder: iso(last.received) for last in sorted(others)}
        partners = sorted([self._heard.at(slot).transponder, *heard])
        return {
            "other_transponders_last_heard": {self._names.transponder(name).name: at for name, at in heard.items()},
            "partners": [str(name) for name in partners],
        }
