"""Figures made of readings: rates, windows, values that do not change or cannot be, the air quality index.

Each rule on each device has a gauge (``alerting.gauges``), which is fed every reading that is news in arrival order.
When it shows a figure while the rule is in force, the figure is held against the rule's levels, and its alert fires,
goes up and down, and ends there and then: what has to last is part of the figure. A figure that is not shown, for want
of readings say, changes nothing: silence is no all-clear. A rule that is no longer in force at a reading's time is over
with that reading; its gauge goes on.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, get_args

import numpy as np

from alerting import messages
from alerting.gauges import Figure, FigureRule, gauge
from alerting.ladder import Standing
from alerting.levels import Level
from alerting.model import Event
from alerting.outcome import READINGS, Order, Outcome, Ruled
from alerting.rules import AqiRule, LadderRule, RangeRule, Rung, StuckRule, WindowRule
from alerting.rules.base import east
from alerting.series import grown
from alerting.watchers import Watchers
from decoders.identity import metric_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from alerting.gauges import Gauge
    from alerting.heard import Heard
    from alerting.model import RuleState
    from alerting.names import Names
    from alerting.places import Places
    from alerting.series import Series

    Table = NDArray[np.void]

_KINDS: Final = get_args(FigureRule)
_UNKNOWN, _IDLE, _WATCHED = 0, 1, 2
AQI_KEY: Final = "vn_aqi"


@dataclass(slots=True, frozen=True)
class _Judge:
    """A rule, and the ladder that its figures are held against."""

    ruled: Ruled
    rule: FigureRule
    key: str
    rungs: tuple[Rung, ...]
    levels: tuple[Level, ...]
    east: int

    @classmethod
    def of(cls, ruled: Ruled) -> _Judge:
        rule = ruled.rule
        assert isinstance(rule, _KINDS)
        match rule:
            case LadderRule():
                rungs = rule.rungs
                levels = tuple(Level.of(rule, step) for step in range(len(rungs)))
            case StuckRule():
                rungs = (Rung.model_validate({"severity": rule.severity, "raise": rule.for_ / 1e6}),)
                levels = (Level.at(1, rule.for_ / 1e6, None, inclusive=True),)
            case RangeRule():
                rungs = (Rung.model_validate({"severity": rule.severity, "raise": 0.0}),)
                levels = (Level.at(1, 0.0, -rule.margin or None, inclusive=False),)
        key = AQI_KEY if isinstance(rule, AqiRule) else rule.metric
        return cls(ruled, rule, key, rungs, levels, east(rule.utc_offset) // timedelta(microseconds=1))

    def step(self, level: float, step: int) -> int:
        """The step that a figure leads to from another, -1 being none: the highest that it reaches or that it keeps."""
        for number in range(len(self.levels) - 1, -1, -1):
            one = self.levels[number]
            if one.holds(level) or (number <= step and one.keeps(level)):
                return number
        return -1


@dataclass(slots=True)
class _Watch:
    """One rule on one device."""

    number: int
    device: int
    gauge: Gauge
    standing: Standing | None = None


class Figures:
    """All rules on figures over the subjects of a series."""

    def __init__(self, ruled: Sequence[Ruled], names: Names, places: Places, series: Series) -> None:
        self._judges = [_Judge.of(r) for r in ruled if isinstance(r.rule, _KINDS)]
        self._number = {judge.rule.id: number for number, judge in enumerate(self._judges)}
        self._watchers = Watchers([judge.rule for judge in self._judges], places)
        self._names, self._series = names, series
        self._watched = np.full(64, _UNKNOWN, np.int8)  # by slot of the series
        self._of: dict[int, tuple[_Watch, ...]] = {}  # by slot
        self._watches: dict[tuple[int, int], _Watch] = {}  # (rule, device)
        self._last: dict[tuple[int, int], tuple[int, float]] = {}  # (device, metric), as restored, for those that ask

    def restore(self, readings: Table) -> None:
        """Remember the latest readings where a gauge begins with one."""
        asking = {metric_id(judge.rule.metric) for judge in self._judges if isinstance(judge.rule, StuckRule)}
        rows = readings[np.isin(readings["metric"], list(asking))]
        columns = (rows[name].tolist() for name in ("device", "metric", "time", "value"))
        self._last = {(device, metric): (time, value) for device, metric, time, value in zip(*columns, strict=True)}

    def take_up(self, kept: RuleState) -> bool:
        """Take up an alert or a part of a gauge; False if no rule watches its subject any more."""
        number, (key, _, part) = self._number.get(kept.rule_id), kept.key.partition("#")
        if number is None or self._judges[number].key != key or kept.state is None:
            return False
        judge = self._judges[number]
        device = self._names.device_name(kept.subject_id)
        if number not in self._watchers.of(metric_id(judge.rule.watched[0]), device):
            return False
        if part:
            return self._watch(number, kept.subject_id).gauge.take_up(part, kept.state)
        standing = Standing.restore(kept.state)
        if standing is None or standing.worst >= len(judge.rungs):
            return False
        self._watch(number, kept.subject_id).standing = standing
        return True

    def judge(self, heard: Heard, out: Outcome) -> None:
        """Judge the rows that are news."""
        if not self._judges or not len(heard.readings):
            return
        self._watched = grown(self._watched, len(self._series), _UNKNOWN)
        state = self._watched[heard.readings.slot]
        for slot in np.unique(heard.readings.slot[state == _UNKNOWN]).tolist():
            self._open(slot)
        mine = np.flatnonzero(self._watched[heard.readings.slot] == _WATCHED)
        if not len(mine):
            return
        mine = mine[np.argsort(heard.readings.row[mine])]
        rows, table = heard.readings.row[mine], heard.observations.readings
        touched: dict[int, _Watch] = {}
        columns = (table[name][rows].tolist() for name in ("metric", "time", "value", "received_at", "message"))
        slots = heard.readings.slot[mine].tolist()
        for slot, row, metric, time, value, received, message in zip(slots, rows.tolist(), *columns, strict=True):
            for watch in self._of[slot]:
                figure = watch.gauge.feed(metric, time, value)
                if watch.gauge.unsaid:
                    touched[id(watch)] = watch
                if figure is not None or watch.standing is not None:
                    judge = self._judges[watch.number]
                    order = Order(received, False, message, READINGS, row, judge.ruled.number, judge.key, 0)
                    self._judge(watch, judge, figure, time, order, out)
        for watch in touched.values():
            self._keep(watch, out)

    def _open(self, slot: int) -> None:
        """Find the gauges that a subject feeds."""
        device, metric = int(self._series.device[slot]), int(self._series.metric[slot])
        rules = self._watchers.of(metric, self._names.device_name(device))
        self._watched[slot] = _WATCHED if rules else _IDLE
        if rules:
            self._of[slot] = tuple(self._watch(number, device) for number in rules)

    def _watch(self, number: int, device: int) -> _Watch:
        watch = self._watches.get((number, device))
        if watch is None:
            judge = self._judges[number]
            last = self._last.get((device, metric_id(judge.key)))
            watch = self._watches[number, device] = _Watch(number, device, gauge(judge.rule, judge.east, last))
        return watch

    def _judge(
        self, watch: _Watch, judge: _Judge, figure: Figure | None, time: int, order: Order, out: Outcome
    ) -> None:
        """Have the alert be what a figure makes it."""
        standing, subject = watch.standing, self._names.device(watch.device)
        if not judge.ruled.in_force(time):
            figure = None
            event = standing.move(-1, time, time) if standing is not None else None
        elif figure is None:
            return
        elif standing is None:
            step = judge.step(figure.level, -1)
            event = Event.FIRING if step >= 0 else None
            standing = Standing.begin(judge.rule.id, subject, judge.key, figure.since, figure.time, step)
        else:
            event = standing.move(judge.step(figure.level, standing.step), figure.time, figure.time)
        if event is None or standing is None:
            return
        watch.standing = None if event is Event.RESOLVED else standing
        self._tell(watch, standing, event, figure, order, out)

    def _tell(
        self, watch: _Watch, standing: Standing, event: Event, figure: Figure | None, order: Order, out: Outcome
    ) -> None:
        judge, subject = self._judges[watch.number], self._names.device(watch.device)
        value: float | None = None
        said = _said(judge.rule) | {"since": messages.iso(standing.since)}
        if figure is None:
            text = messages.out_of_force(judge.rule, subject.name, standing.at)
        else:
            text = messages.figure(judge.rule, standing.step, subject.name, figure, standing.at, event)
            value, said = figure.value, said | dict(figure.said)
        out.add(order, standing.transition(event, judge.ruled, judge.rungs, subject, judge.key, text, value, said))
        kept = standing.kept(judge.ruled, judge.rungs) if watch.standing is not None else None
        out.remember(judge.rule.id, subject, judge.key, kept)

    def _keep(self, watch: _Watch, out: Outcome) -> None:
        judge, subject = self._judges[watch.number], self._names.device(watch.device)
        for part in sorted(watch.gauge.unsaid):
            out.remember(judge.rule.id, subject, f"{judge.key}#{part}", watch.gauge.part(part))
        watch.gauge.unsaid.clear()


def _said(rule: FigureRule) -> dict[str, Any]:
    """What an alert says about how its figure is made."""
    keys = {"metric", "unit", "direction", "inclusive", "aggregate", "over", "per", "change", "method", "min_samples"}
    keys |= {"min_coverage", "for_", "tolerance", "low", "high", "margin", "period"}
    said = rule.model_dump(mode="json", by_alias=True, include=keys, exclude_none=True)
    if isinstance(rule, WindowRule):
        said["bucket"] = f"{rule.width // 1_000_000}s"
    if isinstance(rule, StuckRule | RangeRule):
        said |= {"threshold": None, "clear": None}
    return said
