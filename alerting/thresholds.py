"""Levels: which side of a level is a reading on, and since when?

Of every rule on every device and metric it watches:

* An *episode* starts with the first reading at the level; its event time names the alert.
* Without ``for`` the alert fires there and then. With it, the episode is pending until either a reading taken ``for``
  or later after the start still holds the level, or ``for`` has passed since the start was *received* and nothing to
  the contrary came: a sensor that falls silent in a flood is no all-clear. Measured from reception, so that a burst of
  old data is judged by its own times first. However it came about, the alert's time is the start plus ``for``.
* While pending, one reading that is not at the level ends it. Once fired, only the clear level does.
* A rule that is no longer in force at a reading's time is over with that reading.
* Time in which nothing could be heard does not count as time without contradiction: ``alerting.hearing``.

Rules are looked at one by one only for readings that leave their subject's calm (``alerting.levels``).
"""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import numpy as np

from alerting import messages
from alerting.levels import Level, Plans
from alerting.model import AlertState, Transition, alert_id
from alerting.outcome import READINGS, Order, Outcome, Ruled
from alerting.rules import ThresholdRule
from alerting.series import grown
from alerting.watchers import Watchers
from decoders.identity import metric_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from alerting.heard import Heard
    from alerting.hearing import Hearing
    from alerting.model import RuleState, Subject
    from alerting.names import Names
    from alerting.series import Judged, Series

    Table = NDArray[np.void]

_UNLOOKED: Final = -(2.0**62)  # as a calm: the next reading is to be looked at, whatever it is


@dataclass(slots=True)
class _Episode:
    since: int  # event time of the first reading at the level
    received: int  # and when it was received
    value: float
    alert: UUID | None = None  # None while pending
    at: int = 0


@dataclass(slots=True, frozen=True)
class _Row:
    """A reading that is looked at, and its place in the readings table."""

    time: int
    received: int
    value: float
    message: int
    row: int

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

    def __init__(self, ruled: Sequence[Ruled], names: Names, series: Series, hearing: Hearing) -> None:
        self._ruled = [r for r in ruled if isinstance(r.rule, ThresholdRule)]
        self._rules = [r.rule for r in self._ruled if isinstance(r.rule, ThresholdRule)]
        self._number = {rule.id: number for number, rule in enumerate(self._rules)}
        self._levels = [Level.of(rule) for rule in self._rules]
        self._watchers = Watchers(self._rules)
        self._plans = Plans(self._ruled, self._levels)
        self._names, self._series, self._hearing = names, series, hearing
        # By slot of the series.
        self._plan = np.full(64, -1, np.int32)  # -1: not looked up yet
        # Low, high, until: in floats, which are exact up to the year 2255.
        self._calm = np.full((64, 3), _UNLOOKED, np.float64)
        self._episodes: dict[int, dict[int, _Episode]] = {}  # rule -> episode
        # Pending episodes by when they have been held long enough, or earlier; each watch at most once.
        self._timers: list[tuple[int, int, int]] = []  # (instant, slot, rule)
        self._timed: set[tuple[int, int]] = set()

    def take_up(self, kept: RuleState) -> bool:
        """Take up an episode; False if no rule watches its subject any more."""
        number, device, key, state = self._number.get(kept.rule_id), kept.subject_id, kept.key, kept.state or {}
        if number is None or self._rules[number].metric != key or "since" not in state:
            return False
        metric = metric_id(key)
        if number not in self._watchers.of(metric, self._names.device_name(device)):
            return False
        slot = self._series.slot(device, metric)
        alert = state.get("alert")
        episode = _Episode(
            since=state["since"],
            received=state["received"],
            value=state["value"],
            alert=UUID(alert) if alert else None,
            at=state.get("at", 0),
        )
        self._episodes.setdefault(slot, {})[number] = episode
        if not alert:
            self._time(slot, number)
        return True

    def judge(self, heard: Heard, out: Outcome) -> None:
        """Judge the rows that are news, then what is due."""
        if len(heard.readings):
            self._rows(heard.observations.readings, heard.readings, out)
        for slot, number in self._overdue(heard.now):
            if self._expire(slot, number, heard.now, out):
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
            self._walk(number, readings, row[start:stop].tolist(), out)

    def _walk(self, slot: int, readings: Table, rows: list[int], out: Outcome) -> None:
        """All readings of one subject, in arrival order."""
        calm: _Calm | None = None
        for number in rows:
            record = readings[number]
            row = _Row(
                int(record["time"]), int(record["received_at"]), float(record["value"]), int(record["message"]), number
            )
            if calm is None or not calm.keeps(row):
                calm = self._look(slot, row, out)
        if calm is not None:
            self._calm[slot] = (calm.low, calm.high, calm.until)

    def _look(self, slot: int, row: _Row, out: Outcome) -> _Calm:
        """One reading by every rule it may matter to; what may come next without mattering."""
        mine = self._episodes.setdefault(slot, {})
        for number in list(mine):
            self._expire(slot, number, row.received, out)
            if number in mine:
                self._go_on(slot, number, row, out)
        sides, until = self._plans[self._plan_of(slot)].span(row.time)
        for number in sides.holding(row.value):
            if number not in mine:
                mine[number] = _Episode(row.time, row.received, row.value)
                if self._rules[number].for_:
                    self._time(slot, number)
                    self._remember(slot, number, out)
                else:
                    self._fire(slot, number, row.value, row.order(self._ruled[number], self._rules[number].metric), out)
        low, high = sides.calm(row.value, mine)
        for number, episode in mine.items():
            level = self._levels[number]
            least = level.kept
            if episode.alert is None:
                least = level.held
                until = min(until, episode.since + self._rules[number].for_)
            if level.sign > 0:
                low = max(low, least)
            else:
                high = min(high, -least)
        if not mine:
            del self._episodes[slot]
        return _Calm(low, high, until)

    def _go_on(self, slot: int, number: int, row: _Row, out: Outcome) -> None:
        """What a reading means to an episode under way."""
        rule, ruled, level = self._rules[number], self._ruled[number], self._levels[number]
        episode, in_force = self._episodes[slot][number], ruled.in_force(row.time)
        if episode.alert is not None:
            if not (in_force and level.keeps(row.value)):
                self._resolve(slot, number, row, out)
        elif not (in_force and level.holds(row.value)):
            self._end(slot, number, out)
        elif row.time >= episode.since + rule.for_:
            self._fire(slot, number, row.value, row.order(ruled, rule.metric), out)

    def _plan_of(self, slot: int) -> int:
        plan = int(self._plan[slot])
        if plan < 0:
            device = self._names.device_name(int(self._series.device[slot]))
            plan = self._plans.number(self._watchers.of(int(self._series.metric[slot]), device))
            self._plan[slot] = plan
        return plan

    # --- timers

    def _time(self, slot: int, number: int) -> None:
        """See to it that a pending episode is looked at when it has been held long enough."""
        if (slot, number) not in self._timed:
            self._timed.add((slot, number))
            heappush(self._timers, (self._due(slot, number), slot, number))

    def _due(self, slot: int, number: int) -> int:
        return self._hearing.deadline(self._episodes[slot][number].received, self._rules[number].for_)

    def _overdue(self, now: int) -> list[tuple[int, int]]:
        """Pending episodes that have been held long enough before ``now``. They are not timed any more."""
        found: list[tuple[int, int]] = []
        while self._timers and self._timers[0][0] < now:
            _, slot, number = heappop(self._timers)
            self._timed.discard((slot, number))
            episode = self._episodes.get(slot, {}).get(number)
            if episode is None or episode.alert is not None:
                continue
            if self._due(slot, number) < now:
                found.append((slot, number))
            else:
                self._time(slot, number)  # of a later episode, or put off since
        return found

    def _expire(self, slot: int, number: int, tick: int, out: Outcome) -> bool:
        """Fire a pending episode that nothing has contradicted for long enough before ``tick``; whether it was one."""
        episode = self._episodes.get(slot, {}).get(number)
        if episode is None or episode.alert is not None or (due := self._due(slot, number)) >= tick:
            return False
        rule, ruled = self._rules[number], self._ruled[number]
        if not ruled.in_force(episode.since + rule.for_):
            self._end(slot, number, out)
            return True
        order = Order(due, True, 0, READINGS, int(self._series.device[slot]), ruled.number, rule.metric, 0)
        self._fire(slot, number, episode.value, order, out)
        return True

    # --- episodes

    def _subject(self, slot: int) -> Subject:
        return self._names.device(int(self._series.device[slot]))

    def _fire(self, slot: int, number: int, value: float, order: Order, out: Outcome) -> None:
        rule, episode, subject = self._rules[number], self._episodes[slot][number], self._subject(slot)
        episode.alert = alert_id(rule.id, subject, rule.metric, episode.since)
        episode.at = episode.since + rule.for_
        episode.value = value
        text = messages.threshold_fired(rule, subject.name, value, episode.since)
        out.add(order, self._transition(slot, number, AlertState.FIRING, episode.at, value, text))
        self._remember(slot, number, out)

    def _resolve(self, slot: int, number: int, row: _Row, out: Outcome) -> None:
        rule, subject = self._rules[number], self._subject(slot)
        at = max(row.time, self._episodes[slot][number].at)
        text = messages.threshold_resolved(rule, subject.name, row.value, at)
        out.add(
            row.order(self._ruled[number], rule.metric),
            self._transition(slot, number, AlertState.RESOLVED, at, row.value, text),
        )
        self._end(slot, number, out)

    def _end(self, slot: int, number: int, out: Outcome) -> None:
        del self._episodes[slot][number]
        self._remember(slot, number, out)

    def _remember(self, slot: int, number: int, out: Outcome) -> None:
        rule, episode = self._rules[number], self._episodes[slot].get(number)
        state: dict[str, Any] | None = None
        if episode is not None:
            state = {"since": episode.since, "received": episode.received, "value": episode.value}
            if episode.alert is not None:
                state |= {"alert": str(episode.alert), "at": episode.at}
                state |= self._ruled[number].left_behind(episode.since)
        out.remember(rule.id, self._subject(slot), rule.metric, state)

    def _transition(
        self, slot: int, number: int, state: AlertState, at: int, value: float, text: messages.Text
    ) -> Transition:
        rule, ruled, episode = self._rules[number], self._ruled[number], self._episodes[slot][number]
        assert episode.alert is not None
        details = ruled.told() | {
            "metric": rule.metric,
            "unit": rule.unit,
            "threshold": rule.raise_,
            "clear": rule.clear,
            "direction": rule.direction.value,
            "inclusive": rule.inclusive,
            "for_seconds": rule.for_ // 1_000_000,
            "since": messages.iso(episode.since),
        }
        return Transition(
            alert_id=episode.alert,
            rule_id=rule.id,
            rule_version=ruled.version,
            subject=self._subject(slot),
            key=rule.metric,
            state=state,
            severity=rule.severity,
            at=at,
            started_at=episode.since,
            summary_en=text.en,
            summary_vi=text.vi,
            value=value,
            details=details,
        )
