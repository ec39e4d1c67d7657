"""Silence: a device and metric from which nothing new has come for too long.

Measured in receive time. What matters is whether the station can be heard, not how old the data are that it sends: a
gateway that comes back with a burst of old rows is back, at the time it was received. Only rows that are news count
(``alerting.judging.series``), so a broker that repeats an old message does not keep a dead station alive.

The alert's time is the deadline, however late it is noticed: if the next row comes before any tick passed the deadline,
the alert fires and resolves one after the other, just as it would have with a tick in between.

Time in which we could not hear does not count as silence: ``alerting.judging.hearing``. A silence whose deadline falls
where the rule is not in force is told once the rule is, if it still lasts.

How long is too long may be learned: ``alerting.readings.rhythm``, from intervals of up to ``at_most`` in which we could
hear.

A tick costs what is due: each subject waits in a heap under an instant before which none of its rules can have run
out, and is looked at again only then. News put the deadline off without touching the heap.
"""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Final
from uuid import UUID

import numpy as np

from alerting import messages
from alerting.judging.outcome import READINGS, Order, Outcome, Ruled
from alerting.judging.series import NEVER, grown
from alerting.model import AlertState, Transition, alert_id
from alerting.readings.rhythm import DAY, Rhythm
from alerting.readings.watchers import Watchers
from alerting.rules import NoDataRule
from alerting.rules.base import BEGINNING, END
from decoders.identity import metric_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from alerting.judging.heard import Heard
    from alerting.judging.hearing import Hearing
    from alerting.judging.series import Judged, Series
    from alerting.model import RuleState, Subject
    from alerting.readings.places import Places
    from alerting.registry.names import Names

    Table = NDArray[np.void]

_FAR: Final = 2**62
_UNKNOWN: Final = -1
_ALWAYS: Final = -1  # patience of a subject to be looked at with every reading


@dataclass(slots=True)
class _Episode:
    heard: int  # receive time of the last row before the silence
    at: int
    alert: UUID
    waited: int
    source: int  # that brought the last row; 0: not known


class Silence:
    """All no-data rules over the subjects of a series."""

    def __init__(self, ruled: Sequence[Ruled], names: Names, places: Places, series: Series, hearing: Hearing) -> None:
        self._ruled = [r for r in ruled if isinstance(r.rule, NoDataRule)]
        self._rules = [r.rule for r in self._ruled if isinstance(r.rule, NoDataRule)]
        self._number = {rule.id: number for number, rule in enumerate(self._rules)}
        self._watchers = Watchers(self._rules, places)
        self._names, self._series, self._hearing = names, series, hearing
        # By slot of the series: a reading that comes no later after the one before is nothing to look at.
        self._patience = np.full(64, _ALWAYS, np.int64)
        self._watch = np.full(64, _UNKNOWN, np.int32)  # place in _sets of the rules that watch it
        # ... unless it is received so late: a day begins, in which something is to be learned.
        self._fresh = np.full(64, _FAR, np.int64)
        self._source = np.zeros(64, np.int64)  # that brought the last row
        self._queued = np.full(64, NEVER, np.int64)  # the instant under which it is in _waiting
        self._sets: list[tuple[int, ...]] = []
        self._places: dict[tuple[int, ...], int] = {}
        self._episodes: dict[int, dict[int, _Episode]] = {}  # slot -> rule -> episode
        # Heap of instant << 32 | slot; what is not under the instant of _queued was put elsewhere since.
        self._waiting: list[int] = []
        self._rhythms: dict[tuple[int, int], Rhythm] = {}  # (slot, rule), of rules that learn
        # Of rules that are always in force and do not learn, which is most of them: how long is too long.
        self._plain = [
            rule.after
            if isinstance(rule.after, int) and (r.start, r.end, r.calendar) == (BEGINNING, END, None)
            else None
            for rule, r in zip(self._rules, self._ruled, strict=True)
        ]
        self._of_set: list[
            tuple[int, tuple[int, ...]]
        ] = []  # least patience of those that do not learn, and the others

    def restore(self, readings: Table) -> None:
        """Take up the subjects that the series remembers; ``readings`` are the last of each (READING rows)."""
        self._grow()
        slots = self._series.find(readings["device"].copy(), readings["metric"].copy())
        self._source[slots] = readings["source"]
        metrics = self._series.metric
        self._patience[np.flatnonzero(~np.isin(metrics, list(self._watchers.metrics)))] = _FAR
        for metric in sorted(self._watchers.metrics):
            slots = np.flatnonzero(metrics == metric)
            rules = self._watchers.always(metric)
            if rules is None:
                devices = self._series.device[slots].tolist()
                sets = [self._watchers.of(metric, self._names.device_name(device)) for device in devices]
            else:
                sets = [rules]
            self._watch[slots] = [self._place(rules) for rules in sets]
            shortest = np.array([min((self._rules[n].shortest for n in rules), default=_FAR) for rules in self._sets])
            self._patience[slots] = shortest[self._watch[slots]]
            learning = np.array([any(self._rules[n].learned for n in rules) for rules in self._sets], bool)
            self._fresh[slots[learning[self._watch[slots]]]] = NEVER
            slots = slots[self._patience[slots] < _FAR]
            self._queued[slots] = self._series.heard[slots] + self._patience[slots]
            instants = self._queued[slots].tolist()
            self._waiting += [instant << 32 | slot for instant, slot in zip(instants, slots.tolist(), strict=True)]
        heapify(self._waiting)

    def take_up(self, kept: RuleState) -> bool:
        """Take up an episode; False if no rule watches its subject any more."""
        number, device, state = self._number.get(kept.rule_id), kept.subject_id, kept.state or {}
        key, _, part = kept.key.partition("#")
        if number is None or self._rules[number].metric != key or not state.keys() & {"heard", "day"}:
            return False
        if part and not self._rules[number].learned:
            return False
        metric = metric_id(key)
        if number not in self._watchers.of(metric, self._names.device_name(device)):
            return False
        slot = self._series.slot(device, metric)
        self._grow()
        if self._watch[slot] == _UNKNOWN:
            self._open(slot)
        if part:
            self._rhythms[slot, number] = Rhythm.restore(state)
            return True
        waited = state.get("waited", state["at"] - state["heard"])
        source = state.get("source", 0)
        episode = _Episode(state["heard"], state["at"], UUID(state["alert"]), waited, source)
        self._episodes.setdefault(slot, {})[number] = episode
        self._patience[slot] = _ALWAYS
        return True

    def judge(self, heard: Heard, out: Outcome) -> None:
        """Judge the rows that are news, then the silences that are too long."""
        if not self._rules:
            return
        now = heard.now
        if len(heard.readings):
            self._rows(heard.observations.readings, heard.readings, out)
        while self._waiting and self._waiting[0] >> 32 < now:
            instant, slot = divmod(heappop(self._waiting), 1 << 32)
            if instant != self._queued[slot]:
                continue
            self._queued[slot] = NEVER
            last, source = int(self._series.heard[slot]), int(self._source[slot])
            for number in self._sets[self._watch[slot]]:
                self._expire(slot, number, last, source, now, out)
            self._wait(slot, now)

    def _rows(self, readings: Table, judged: Judged, out: Outcome) -> None:
        self._grow()
        source = readings["source"][judged.row]
        source_before = self._source.take(judged.slot)
        again = judged.slot[1:] == judged.slot[:-1]
        source_before[1:][again] = source[:-1][again]
        self._source[judged.slot] = source  # of several the last
        received = readings["received_at"][judged.row]
        restless = received - judged.heard_before > self._patience.take(judged.slot)
        restless |= received >= self._fresh.take(judged.slot)
        if not restless.any():
            return
        slots = judged.slot[restless].tolist()
        rows = judged.row[restless].tolist()
        befores = zip(judged.heard_before[restless].tolist(), source_before[restless].tolist(), strict=True)
        seen = set()
        for slot, number, before in zip(slots, rows, befores, strict=True):
            if self._watch[slot] == _UNKNOWN:
                self._open(slot)
            if self._sets[self._watch[slot]]:
                self._row(slot, number, *before, readings, out)
                seen.add(slot)
        for slot in seen:
            self._settle(slot)
            self._wait(slot, NEVER)

    def _row(self, slot: int, number: int, before: int, source: int, readings: Table, out: Outcome) -> None:
        """A reading after a long silence, after an alert, or the first."""
        record = readings[number]
        received = int(record["received_at"])
        for rule in self._sets[self._watch[slot]]:
            if before != NEVER:
                self._expire(slot, rule, before, source, received, out)
            if rule in self._episodes.get(slot, ()):
                ruled, key = self._ruled[rule], self._rules[rule].metric
                order = Order(received, False, int(record["message"]), READINGS, number, ruled.number, key, 0)
                self._resolve(slot, rule, received, order, out)
        if before != NEVER:
            for rule in self._of_set[self._watch[slot]][1]:
                self._learn(slot, rule, before, received, out)

    def _learn(self, slot: int, number: int, before: int, received: int, out: Outcome) -> None:
        """Take in the interval between two readings, if it says how often the subject is heard."""
        rule = self._rules[number]
        if received - before > rule.patience(None) or self._hearing.deaf_between(before, received):
            return
        rhythm = self._rhythms.setdefault((slot, number), Rhythm())
        if rhythm.learn(received, received - before):
            out.remember(rule.id, self._subject(slot), f"{rule.metric}#rhythm", rhythm.kept())

    def _settle(self, slot: int) -> None:
        """Work out which readings of a subject are to be looked at."""
        if self._episodes.get(slot):
            self._patience[slot] = _ALWAYS
            return
        (patience, learning), fresh = self._of_set[self._watch[slot]], _FAR
        for number in learning:
            rhythm = self._rhythms.get((slot, number), Rhythm())
            patience = min(patience, self._after(slot, number), rhythm.boring)
            fresh = min(fresh, (rhythm.day + 1) * DAY)
        self._patience[slot], self._fresh[slot] = patience, fresh

    def _after(self, slot: int, number: int) -> int:
        rhythm = self._rhythms.get((slot, number))
        return self._rules[number].patience(rhythm.interval if rhythm is not None else None)

    def _due(self, slot: int, number: int, heard: int) -> int:
        """When the silence since ``heard`` is too long, and the rule in force; ``END`` if never."""
        plain = self._plain[number]
        if plain is not None:
            return self._hearing.deadline(heard, plain)
        ruled, due = self._ruled[number], self._hearing.deadline(heard, self._after(slot, number))
        while not ruled.in_force(due):
            due = ruled.next_edge(due)
            if due == END:
                break
        return due

    def _open(self, slot: int) -> None:
        """Find the rules that watch a subject."""
        metric = int(self._series.metric[slot])
        rules: tuple[int, ...] = ()
        if metric in self._watchers.metrics:
            rules = self._watchers.of(metric, self._names.device_name(int(self._series.device[slot])))
        self._watch[slot] = self._place(rules)
        self._settle(slot)
        self._wait(slot, NEVER)

    def _place(self, rules: tuple[int, ...]) -> int:
        place = self._places.setdefault(rules, len(self._sets))
        if place == len(self._sets):
            self._sets.append(rules)
            learning = tuple(n for n in rules if self._rules[n].learned)
            steady = min((self._rules[n].shortest for n in rules if n not in learning), default=_FAR)
            self._of_set.append((steady, learning))
        return place

    def _grow(self) -> None:
        size = len(self._series)
        if size > len(self._patience):
            self._patience = grown(self._patience, size, _ALWAYS)
            self._watch = grown(self._watch, size, _UNKNOWN)
            self._fresh = grown(self._fresh, size, _FAR)
            self._queued = grown(self._queued, size, NEVER)
            self._source = grown(self._source, size, 0)

    def _wait(self, slot: int, now: int) -> None:
        """Put a subject in the queue, for the first of its rules to run out at or after ``now``."""
        heard = int(self._series.heard[slot])
        if heard == NEVER or (self._queued[slot] > NEVER and not self._of_set[self._watch[slot]][1]):
            return  # nothing runs out earlier than it did, unless what is too long was learned to be less
        rules, silent = self._sets[self._watch[slot]], self._episodes.get(slot, ())
        due = [self._due(slot, n, heard) for n in rules if n not in silent]
        due = [instant for instant in due if now <= instant < END]
        if not due:
            return
        instant = min(due)
        if silent:  # news would end that silence, and have its rule run out before the one waited for
            instant = min(instant, now + min(self._rules[n].shortest for n in rules))
        if NEVER < self._queued[slot] <= instant:
            return
        self._queued[slot] = instant
        heappush(self._waiting, instant << 32 | slot)

    def _expire(self, slot: int, number: int, heard: int, source: int, now: int, out: Outcome) -> None:
        """Fire if the silence since ``heard`` is too long by ``now``."""
        rule, ruled = self._rules[number], self._ruled[number]
        at = self._due(slot, number, heard)
        if at >= now or number in self._episodes.get(slot, ()):
            return
        subject = self._subject(slot)
        waited = self._after(slot, number)
        episode = _Episode(heard, at, alert_id(rule.id, subject, rule.metric, heard), waited, source)
        self._episodes.setdefault(slot, {})[number] = episode
        self._patience[slot] = _ALWAYS
        text = messages.no_data_fired(rule, subject.name, heard, waited)
        order = Order(at, True, 0, READINGS, subject.id, ruled.number, rule.metric, 1)
        out.add(order, self._transition(slot, number, AlertState.FIRING, at, text))
        state = {"heard": heard, "at": at, "alert": str(episode.alert), "waited": waited, "source": source}
        out.remember(rule.id, subject, rule.metric, state | ruled.left_behind(heard))

    def _resolve(self, slot: int, number: int, at: int, order: Order, out: Outcome) -> None:
        rule, subject = self._rules[number], self._subject(slot)
        text = messages.no_data_resolved(rule, subject.name, at)
        out.add(order, self._transition(slot, number, AlertState.RESOLVED, at, text))
        del self._episodes[slot][number]
        if not self._episodes[slot]:
            del self._episodes[slot]
        out.remember(rule.id, subject, rule.metric, None)

    def _subject(self, slot: int) -> Subject:
        return self._names.device(int(self._series.device[slot]))

    def _transition(self, slot: int, number: int, state: AlertState, at: int, text: messages.Text) -> Transition:
        rule, ruled, episode = self._rules[number], self._ruled[number], self._episodes[slot][number]
        details = ruled.told() | {
            "metric": rule.metric,
            "after_seconds": episode.waited // 1_000_000,
            "last_heard": messages.iso(episode.heard),
        }
        if episode.source:
            details["heard_by"] = self._names.source_name(episode.source)
        return Transition(
            alert_id=episode.alert,
            rule_id=rule.id,
            rule_version=ruled.version,
            subject=self._subject(slot),
            key=rule.metric,
            state=state,
            severity=rule.severity,
            at=at,
            started_at=episode.heard,
            summary_en=text.en,
            summary_vi=text.vi,
            details=details,
        )
