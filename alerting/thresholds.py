"""Levels: which side of a level is a reading on, and since when?

Of every rule on every device and metric it watches:

* An *episode* starts with the first reading at the level; its event time names the alert.
* Without ``for`` the alert fires there and then. With it, the episode is pending until either a reading taken ``for``
  or later after the start still holds the level, or ``for`` has passed since the start was *received* and nothing to
  the contrary came: a sensor that falls silent in a flood is no all-clear. Measured from reception, so that a burst of
  old data is judged by its own times first. However it came about, the alert's time is the start plus ``for``.
* While pending, one reading that is not at the level ends it. Once fired, only the clear level does.
* A rule that is no longer in force at a reading's time is over with that reading.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import numpy as np

from alerting import messages
from alerting.model import AlertState, Transition, alert_id
from alerting.outcome import READINGS, Order, Outcome, Ruled
from alerting.rules import ThresholdRule
from alerting.series import Watches
from decoders.identity import metric_id

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from alerting.names import Names
    from alerting.series import Judged, Series

    Table = NDArray[np.void]

CLEAR: Final = 0
PENDING: Final = 1
FIRING: Final = 2

_HOLDS: Final = 1
_OVER: Final = -1


@dataclass(slots=True)
class _Episode:
    since: int  # event time of the first reading at the level
    received: int  # and when it was received
    value: float
    alert: UUID | None = None  # None while pending
    at: int = 0


class Thresholds:
    """All threshold rules. ``open`` is to be called for every slot of the series, before it is judged."""

    def __init__(self, ruled: Sequence[Ruled], names: Names) -> None:
        self._ruled = [r for r in ruled if isinstance(r.rule, ThresholdRule)]
        rules = [r.rule for r in self._ruled if isinstance(r.rule, ThresholdRule)]
        self._rules = rules
        self._metric = [metric_id(rule.metric) for rule in rules]
        self._sign = np.array([rule.sign for rule in rules], np.float64)
        self._raise = np.array([rule.sign * rule.raise_ for rule in rules], np.float64)
        self._clear = np.array([np.nan if rule.clear is None else rule.sign * rule.clear for rule in rules], np.float64)
        self._inclusive = np.array([rule.inclusive for rule in rules], bool)
        self._held = np.array([rule.for_ > 0 for rule in rules], bool)
        self._start = np.array([r.start for r in self._ruled], np.int64)
        self._end = np.array([r.end for r in self._ruled], np.int64)
        self._names = names
        self._watches = Watches()
        self._subjects: dict[int, int] = {}  # slot -> device
        self._episodes: dict[int, _Episode] = {}  # by watch
        self._pending: set[int] = set()

    def open(self, slot: int, device: int, metric: int) -> None:
        """Find the rules that watch a new slot."""
        name = self._names.device(device).name
        found = [
            number
            for number, rule in enumerate(self._rules)
            if self._metric[number] == metric and rule.applies_to(name)
        ]
        self._watches.open(slot, found)
        if found:
            self._subjects[slot] = device

    def restore(self, rule_id: str, device: int, key: str, state: Mapping[str, Any], series: Series) -> bool:
        """Take up an episode; False if no rule watches its subject any more."""
        numbers = [n for n, rule in enumerate(self._rules) if rule.id == rule_id and rule.metric == key]
        if not numbers or "since" not in state:
            return False
        watch = self._watches.find(series.slot(device, metric_id(key)), numbers[0])
        if watch is None:
            return False
        alert = state.get("alert")
        self._episodes[watch] = _Episode(
            since=state["since"],
            received=state["received"],
            value=state["value"],
            alert=UUID(alert) if alert else None,
            at=state.get("at", 0),
        )
        self._watches.phase[watch] = FIRING if alert else PENDING
        if not alert:
            self._pending.add(watch)
        return True

    def judge(self, readings: Table, judged: Judged, now: int, out: Outcome) -> None:
        """Judge the rows that are news, then what is due by ``now``."""
        index, watch = self._watches.expand(judged.slot)
        if len(watch):
            self._rows(readings, judged.row[index], watch, out)
        for number in sorted(self._pending):
            self._expire(number, now, out)

    def _rows(self, readings: Table, row: NDArray[np.int64], watch: NDArray[np.int64], out: Outcome) -> None:
        rule = self._watches.rule[watch]
        value = readings["value"][row] * self._sign[rule]
        time = readings["time"][row]
        level, clear = self._raise[rule], self._clear[rule]
        in_force = (time >= self._start[rule]) & (time < self._end[rule])
        holds = (value > level) | ((value == level) & self._inclusive[rule])
        over = np.where(np.isnan(clear), ~holds, value <= clear)
        code = np.where(in_force, _HOLDS * holds.astype(np.int8) + _OVER * over.astype(np.int8), _OVER)

        # Only a watch that holds while it is clear, is over while it fires, or is pending, can change in this batch,
        # and it can do so only where the side changes, or where a pending episode may have lasted long enough.
        phase = self._watches.phase[watch]
        moves = (phase == PENDING) | ((phase == CLEAR) & (code == _HOLDS)) | ((phase == FIRING) & (code == _OVER))
        restless = np.zeros(len(self._watches), bool)
        restless[watch[moves]] = True
        turns = np.r_[True, (watch[1:] != watch[:-1]) | (code[1:] != code[:-1])]
        for k in np.flatnonzero(restless[watch] & (turns | self._held[rule])).tolist():
            self._row(int(watch[k]), int(code[k]), readings, int(row[k]), out)

    def _row(self, watch: int, code: int, readings: Table, row: int, out: Outcome) -> None:
        record = readings[row]
        time, received, value = int(record["time"]), int(record["received_at"]), float(record["value"])
        self._expire(watch, received, out)
        number = int(self._watches.rule[watch])
        rule, phase = self._rules[number], int(self._watches.phase[watch])
        place = self._ruled[number].number
        order = Order(received, False, int(record["message"]), READINGS, row, place, rule.metric, 0)
        if phase == CLEAR and code == _HOLDS:
            self._episodes[watch] = _Episode(time, received, value)
            if rule.for_:
                self._set(watch, PENDING, out)
            else:
                self._fire(watch, value, order, out)
        elif phase == PENDING and code != _HOLDS:
            self._set(watch, CLEAR, out)
        elif phase == PENDING and time >= self._episodes[watch].since + rule.for_:
            self._fire(watch, value, order, out)
        elif phase == FIRING and code == _OVER:
            self._resolve(watch, value, time, order, out)

    def _expire(self, watch: int, tick: int, out: Outcome) -> None:
        """Fire a pending episode that nothing has contradicted for long enough before ``tick``."""
        if watch not in self._pending:
            return
        number = int(self._watches.rule[watch])
        rule, ruled, episode = self._rules[number], self._ruled[number], self._episodes[watch]
        due = episode.received + rule.for_
        if due >= tick:
            return
        if not ruled.in_force(episode.since + rule.for_):
            self._set(watch, CLEAR, out)
            return
        device = self._subjects[int(self._watches.slot[watch])]
        order = Order(due, True, 0, READINGS, device, ruled.number, rule.metric, 0)
        self._fire(watch, episode.value, order, out)

    def _fire(self, watch: int, value: float, order: Order, out: Outcome) -> None:
        number = int(self._watches.rule[watch])
        rule, episode = self._rules[number], self._episodes[watch]
        subject = self._names.device(self._subjects[int(self._watches.slot[watch])])
        episode.alert = alert_id(rule.id, subject, rule.metric, episode.since)
        episode.at = episode.since + rule.for_
        episode.value = value
        text = messages.threshold_fired(rule, subject.name, value, episode.since)
        out.add(order, self._transition(watch, AlertState.FIRING, episode.at, value, text))
        self._set(watch, FIRING, out)

    def _resolve(self, watch: int, value: float, time: int, order: Order, out: Outcome) -> None:
        rule = self._rules[int(self._watches.rule[watch])]
        subject = self._names.device(self._subjects[int(self._watches.slot[watch])])
        at = max(time, self._episodes[watch].at)
        text = messages.threshold_resolved(rule, subject.name, value, at)
        out.add(order, self._transition(watch, AlertState.RESOLVED, at, value, text))
        self._set(watch, CLEAR, out)

    def _transition(self, watch: int, state: AlertState, at: int, value: float, text: messages.Text) -> Transition:
        number = int(self._watches.rule[watch])
        rule, ruled, episode = self._rules[number], self._ruled[number], self._episodes[watch]
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
            subject=self._names.device(self._subjects[int(self._watches.slot[watch])]),
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

    def _set(self, watch: int, phase: int, out: Outcome) -> None:
        """Enter a phase, and have it remembered."""
        number = int(self._watches.rule[watch])
        rule, ruled = self._rules[number], self._ruled[number]
        self._watches.phase[watch] = phase
        (self._pending.add if phase == PENDING else self._pending.discard)(watch)
        state: dict[str, Any] | None = None
        if phase == CLEAR:
            del self._episodes[watch]
        else:
            episode = self._episodes[watch]
            state = {"since": episode.since, "received": episode.received, "value": episode.value}
            if episode.alert is not None:
                state |= {"alert": str(episode.alert), "at": episode.at} | ruled.left_behind(episode.since)
        subject = self._names.device(self._subjects[int(self._watches.slot[watch])])
        out.remember(rule.id, subject, rule.metric, state)
