"""Levels: which side of a level is a reading on, and since when?

Of every level of every rule on every device and metric it watches:

* An *episode* starts with the first reading at the level; the event time of the first level's names the alert.
* Without ``for`` the level counts there and then. With it, the episode is pending until either a reading taken ``for``
  or later after the start still holds the level, or ``for`` has passed since the start was *received* and nothing to
  the contrary came: a sensor that falls silent in a flood is no all-clear. Measured from reception, so that a burst of
  old data is judged by its own times first. However it came about, the time of the change is the start plus ``for``.
* While pending, one reading that is not at the level ends it. Once it counts, only a reading at the clear level does,
  taken ``keep_firing_for`` or later after the last one before that was not. Only a reading: silence is no all-clear.
* A rule that is no longer in force at a reading's time is over with that reading.
* Time in which nothing could be heard does not count as time without contradiction: ``alerting.judging.hearing``.

The alert of a rule is as severe as the worst of its levels that count: one alert, from the first level that counts
until none does. What one reading, or one deadline, does to several levels is one change.

Rules are looked at one by one only for readings that leave their subject's calm (``alerting.judging.levels``).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from heapq import heappop, heappush
from math import inf, nextafter
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from alerting import messages
from alerting.judging.ladder import Standing
from alerting.judging.levels import Level, Plans
from alerting.judging.outcome import READINGS, Order, Outcome, Ruled
from alerting.judging.series import grown
from alerting.model import Event
from alerting.readings.watchers import Watchers
from alerting.rules import ThresholdRule
from decoders.identity import metric_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from alerting.judging.heard import Heard
    from alerting.judging.hearing import Hearing
    from alerting.judging.series import Judged, Series
    from alerting.model import RuleState, Transition
    from alerting.readings.places import Places
    from alerting.registry.names import Names

    Table = NDArray[np.void]

_UNLOOKED: Final = -(2.0**62)  # as a calm: the next reading is to be looked at, whatever it is


@dataclass(slots=True, frozen=True)
class _Rung:
    """One level of one rule."""

    rule: int  # its place among the rules
    step: int
    level: Level
    for_: int
    keep: int


#: Of an episode as it was kept before rules had several levels.
_FLAT: Final = ("since", "received", "value")


@dataclass(slots=True)
class _Episode:
    """Of one level on one subject."""

    since: int  # event time of the first reading at the level
    received: int  # and when it was received
    value: float
    counts: bool = False  # no longer pending
    held: int | None = None  # event time of the last reading that was not at the clear level, once one is


@dataclass(slots=True, frozen=True)
class _Row:
    """A reading that is looked at, and its place in the readings table."""

    time: int
    received: int
    value: float
    message: int
    row: int
    before: int  # event time of the reading before

    def order(self, ruled: Ruled, key: str) -> Order:
        return Order(self.received, False, self.message, READINGS, self.row, ruled.number, key, 0)


@dataclass(slots=True, frozen=True)
class _Calm:
    """What a reading may be without anything happening: a value between, taken before.

    A pending episode whose time has run out may be fired before such a reading or after it: it is the same to both.
    """

    low: float
    high: float
    until: int

    def keeps(self, row: _Row) -> bool:
        return self.low < row.value < self.high and row.time < self.until


class Thresholds:
    """All threshold rules over the subjects of a series."""

    def __init__(self, ruled: Sequence[Ruled], names: Names, places: Places, series: Series, hearing: Hearing) -> None:
        self._ruled = [r for r in ruled if isinstance(r.rule, ThresholdRule)]
        self._rules = [r.rule for r in self._ruled if isinstance(r.rule, ThresholdRule)]
        self._ladders = [rule.rungs for rule in self._rules]
        self._number = {rule.id: number for number, rule in enumerate(self._rules)}
        self._rungs = [
            _Rung(number, step, Level.of(rule, step), rule.for_, rule.keep_firing_for)
            for number, rule in enumerate(self._rules)
            for step in range(len(self._ladders[number]))
        ]
        self._first = {rung.rule: place for place, rung in enumerate(self._rungs) if rung.step == 0}
        self._watchers = Watchers(self._rules, places)
        self._plans = Plans([self._ruled[rung.rule] for rung in self._rungs], [rung.level for rung in self._rungs])
        self._known_plans: dict[tuple[int, ...], int] = {}  # by the rules that watch a subject
        self._names, self._series, self._hearing = names, series, hearing
        # By slot of the series.
        self._plan = np.full(64, -1, np.int32)  # -1: not looked up yet
        # Low, high, until: in floats, which are exact up to the year 2255.
        self._calm = np.full((64, 3), _UNLOOKED, np.float64)
        self._episodes: dict[int, dict[int, _Episode]] = {}  # slot -> rung -> episode
        self._alerts: dict[tuple[int, int], Standing] = {}  # (slot, rule)
        # Pending episodes by when they have been held long enough, or earlier; each watch at most once.
        self._timers: list[tuple[int, int, int]] = []  # (instant, slot, rung)
        self._timed: set[tuple[int, int]] = set()

    def take_up(self, kept: RuleState) -> bool:
        """Take up an episode; False if no rule watches its subject any more."""
        number, device, key, state = self._number.get(kept.rule_id), kept.subject_id, kept.key, kept.state or {}
        if number is None or self._rules[number].metric != key or not state.keys() & {"rungs", "since"}:
            return False
        metric = metric_id(key)
        if number not in self._watchers.of(metric, self._names.device_name(device)):
            return False
        standing = Standing.restore(state)
        # As kept before rules had several levels:
        flat = {"step": 0, "counts": standing is not None} | {name: state.get(name) for name in _FLAT}
        told = [(said.pop("step"), _Episode(**said)) for said in map(dict, state.get("rungs", [flat]))]
        steps = [step for step, _ in told] + ([standing.worst] if standing is not None else [])
        if max(steps) >= len(self._ladders[number]):
            return False  # it had more levels then
        slot = self._series.slot(device, metric)
        if standing is not None:
            self._alerts[slot, number] = standing
        for step, episode in told:
            rung = self._first[number] + step
            self._episodes.setdefault(slot, {})[rung] = episode
            if not episode.counts:
                self._time(slot, rung)
        return True

    def judge(self, heard: Heard, out: Outcome) -> None:
        """Judge the rows that are news, then what is due."""
        if len(heard.readings):
            self._rows(heard.observations.readings, heard.readings, out)
        for slot in self._overdue(heard.now):
            if self._expire(slot, heard.now, out):
                if slot < len(self._calm):  # else no reading of it was judged since it was restored
                    self._calm[slot] = _UNLOOKED
                if not self._episodes[slot]:
                    del self._episodes[slot]

    def _rows(self, readings: Table, judged: Judged, out: Outcome) -> None:
        size = len(self._series)
        self._plan = grown(self._plan, size, -1)
        self._calm = grown(self._calm, size, _UNLOOKED)

        slot, row = judged.slot, judged.row
        value, calm = readings["value"][row], self._calm.take(slot, axis=0)
        restless = (value <= calm[:, 0]) | (value >= calm[:, 1]) | (readings["time"][row] >= calm[:, 2])
        slots = slot[restless]
        if not len(slots):
            return
        slots = np.unique(slots)
        starts, stops = np.searchsorted(slot, slots), np.searchsorted(slot, slots, side="right")
        for number, start, stop in zip(slots.tolist(), starts.tolist(), stops.tolist(), strict=True):
            befores = judged.time_before[start:stop].tolist()
            self._walk(number, readings, zip(row[start:stop].tolist(), befores, strict=True), out)

    def _walk(self, slot: int, readings: Table, rows: Iterable[tuple[int, int]], out: Outcome) -> None:
        """All readings of one subject, in arrival order, each with the time of the one before."""
        calm: _Calm | None = None
        for number, before in rows:
            record = readings[number]
            time, received, message = int(record["time"]), int(record["received_at"]), int(record["message"])
            row = _Row(time, received, float(record["value"]), message, number, before)
            if calm is None or not calm.keeps(row):
                calm = self._look(slot, row, out)
        if calm is not None:
            self._calm[slot] = (calm.low, calm.high, calm.until)

    def _look(self, slot: int, row: _Row, out: Outcome) -> _Calm:
        """One reading by every level it may matter to; what may come next without mattering."""
        mine = self._episodes.setdefault(slot, {})
        if mine:
            self._expire(slot, row.received, out)
        touched = {self._rungs[place].rule for place in list(mine) if self._go_on(mine, place, row)}
        sides, until = self._plans[self._plan_of(slot)].span(row.time)
        for place in sides.holding(row.value):
            if place not in mine:
                rung = self._rungs[place]
                mine[place] = _Episode(row.time, row.received, row.value, counts=not rung.for_)
                touched.add(rung.rule)
                if rung.for_:
                    self._time(slot, place)
        for number in touched:
            order = row.order(self._ruled[number], self._rules[number].metric)
            self._settle(slot, number, row.time, row.value, order, out)
        calm = self._calm_of(mine, *sides.calm(row.value, mine), until)
        if not mine:
            del self._episodes[slot]
        return calm

    def _calm_of(self, mine: dict[int, _Episode], low: float, high: float, until: int) -> _Calm:
        """What may come without mattering to any episode either."""
        for place, episode in mine.items():
            rung = self._rungs[place]
            least, most = rung.level.kept, inf  # signed
            if not episode.counts:
                least = rung.level.held
                until = min(until, episode.since + rung.for_)
            elif episode.held is not None:
                least, most = -inf, nextafter(least, inf)
                until = min(until, episode.held + rung.keep)
            if rung.level.sign < 0:
                least, most = -most, -least
            low, high = max(low, least), min(high, most)
        return _Calm(low, high, until)

    def _go_on(self, mine: dict[int, _Episode], place: int, row: _Row) -> bool:
        """What a reading means to an episode under way; whether that is a change."""
        episode, rung = mine[place], self._rungs[place]
        if not self._ruled[rung.rule].in_force(row.time):
            del mine[place]
        elif not episode.counts:
            if not rung.level.holds(row.value):
                del mine[place]
            elif row.time >= episode.since + rung.for_:
                episode.counts = True
            else:
                return False
        elif rung.level.keeps(row.value):
            if episode.held is None:
                return False
            episode.held = None
        else:
            first = episode.held is None
            episode.held = max(row.before, episode.since) if episode.held is None else episode.held
            if row.time < episode.held + rung.keep:
                return first
            del mine[place]
        return True

    def _plan_of(self, slot: int) -> int:
        plan = int(self._plan[slot])
        if plan < 0:
            device = self._names.device_name(int(self._series.device[slot]))
            rules = self._watchers.of(int(self._series.metric[slot]), device)
            found = self._known_plans.get(rules)
            if found is None:
                rungs = (self._first[number] + step for number in rules for step in range(len(self._ladders[number])))
                found = self._known_plans[rules] = self._plans.number(tuple(rungs))
            plan = found
            self._plan[slot] = plan
        return plan

    # --- timers

    def _time(self, slot: int, place: int) -> None:
        """See to it that a pending episode is looked at when it has been held long enough."""
        if (slot, place) not in self._timed:
            self._timed.add((slot, place))
            heappush(self._timers, (self._due(slot, place), slot, place))

    def _due(self, slot: int, place: int) -> int:
        return self._hearing.deadline(self._episodes[slot][place].received, self._rungs[place].for_)

    def _overdue(self, now: int) -> list[int]:
        """Subjects of pending episodes that have been held long enough before ``now``. They are not timed any more."""
        found: dict[int, None] = {}
        while self._timers and self._timers[0][0] < now:
            _, slot, place = heappop(self._timers)
            self._timed.discard((slot, place))
            episode = self._episodes.get(slot, {}).get(place)
            if episode is None or episode.counts:
                continue
            if self._due(slot, place) < now:
                found[slot] = None
            else:
                self._time(slot, place)  # of a later episode, or put off since
        return list(found)

    def _expire(self, slot: int, tick: int, out: Outcome) -> bool:
        """Let count what nothing has contradicted for long enough before ``tick``; whether anything was."""
        mine = self._episodes.get(slot, {})
        due: dict[tuple[int, int], list[int]] = {}  # (instant, rule) -> rungs
        for place, episode in mine.items():
            if not episode.counts and (instant := self._due(slot, place)) < tick:
                due.setdefault((instant, self._rungs[place].rule), []).append(place)
        for (instant, number), places in sorted(due.items()):
            rule, ruled, value = self._rules[number], self._ruled[number], 0.0
            for place in places:
                value = mine[place].value
                mine[place].counts = True
                if not ruled.in_force(mine[place].since + rule.for_):
                    del mine[place]
            order = Order(instant, True, 0, READINGS, int(self._series.device[slot]), ruled.number, rule.metric, 0)
            self._settle(slot, number, instant, value, order, out)  # nothing becomes better by waiting
        return bool(due)

    # --- alerts

    def _settle(self, slot: int, number: int, time: int, value: float, order: Order, out: Outcome) -> None:
        """Have the alert of a rule be what the episodes of its levels make it, and remember them.

        ``time``: of the event, for a change to the better.
        """
        rule, subject = self._rules[number], self._names.device(int(self._series.device[slot]))
        mine, first = self._episodes[slot], self._first[number]
        episodes = {step: mine[first + step] for step in range(len(self._ladders[number])) if first + step in mine}
        counting = [step for step, episode in episodes.items() if episode.counts]
        top, standing = max(counting, default=-1), self._alerts.get((slot, number))
        event: Event | None = None
        if standing is None:
            if counting:
                since = min(episodes[step].since for step in counting)
                standing = Standing.begin(rule.id, subject, rule.metric, since, since + rule.for_, top)
                self._alerts[slot, number] = standing
                event = Event.FIRING
        else:
            event = standing.move(top, episodes[top].since + rule.for_ if counting else time, time)
        if standing is not None and event is not None:
            out.add(order, self._transition(slot, number, standing, event, value))
        if event is Event.RESOLVED:
            del self._alerts[slot, number]
            standing = None
        state: dict[str, Any] | None = None
        if episodes:
            told = [{"step": step, **asdict(episode)} for step, episode in episodes.items()]
            state = {"rungs": told} | (standing.kept(self._ruled[number], self._ladders[number]) if standing else {})
        out.remember(rule.id, subject, rule.metric, state)

    def _transition(self, slot: int, number: int, standing: Standing, event: Event, value: float) -> Transition:
        rule, subject = self._rules[number], self._names.device(int(self._series.device[slot]))
        match event:
            case Event.RESOLVED:
                text = messages.threshold_resolved(rule, subject.name, value, standing.at)
            case Event.DEESCALATED:
                text = messages.threshold_eased(rule, standing.step, subject.name, value, standing.at)
            case _:
                episode = self._episodes[slot][self._first[number] + standing.step]
                text = messages.threshold_reached(rule, standing.step, subject.name, value, episode.since, event)
        said = {
            "metric": rule.metric,
            "unit": rule.unit,
            "direction": rule.direction.value,
            "inclusive": rule.inclusive,
            "for_seconds": rule.for_ // 1_000_000,
            "since": messages.iso(standing.since),
        }
        said |= {"keep_firing_for_seconds": rule.keep_firing_for // 1_000_000} if rule.keep_firing_for else {}
        return standing.transition(
            event, self._ruled[number], self._ladders[number], subject, rule.metric, text, value, said
        )
