"""Figures made of readings: rates, windows, values that do not change or cannot be, the air quality index.

Every reading that is news is taken by the meters on its metric (``alerting.meters``), in arrival order; each meter is
shared by all rules that want the same kept. What a gauge shows while a rule is in force is held against the rule's
levels, and its alert fires, goes up and down, and ends there and then: what has to last is part of the figure. A figure
that is not shown, for want of readings say, changes nothing: silence is no all-clear. A rule that is no longer in force
at a reading's time is over with that reading; the meter goes on.

Rules are looked at one by one only for figures that leave the calm of their device (``alerting.judging.levels``).

A restart reads the last readings again (``looks_back``, ``recall``) instead of keeping what was made of them.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final, get_args

import numpy as np

from alerting.judging.ladder import Standing
from alerting.judging.levels import Plans
from alerting.judging.series import NEVER, grown
from alerting.meters import UNLOOKED, FigureRule, GaugeRule, Panel
from alerting.model import LookBack, RuleState, SubjectKind
from alerting.readings.airs import Airs
from alerting.readings.judges import Judge
from alerting.readings.watchers import Watchers
from alerting.rules import AqiRule, StuckRule
from decoders.identity import metric_id
from geofence.order import in_order

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from alerting.judging.heard import Heard
    from alerting.judging.levels import Level
    from alerting.judging.outcome import Outcome, Ruled
    from alerting.judging.series import Series
    from alerting.meters import Look
    from alerting.meters.base import Gauge
    from alerting.readings.places import Places
    from alerting.registry.names import Names

    Table = NDArray[np.void]
    Ints = NDArray[np.int64]

_KINDS: Final = get_args(FigureRule)
_GAUGES: Final = get_args(GaugeRule)
#: Stands for a rule in the states of meters, which are of no rule alone.
METER: Final = "(meter)"
_UNKNOWN, _IDLE = -2, -1  # in place of a seat: not looked up yet; watched by no gauge


class Figures:
    """All rules on figures over the subjects of a series."""

    def __init__(self, ruled: Sequence[Ruled], names: Names, places: Places, series: Series) -> None:
        self._judges = [Judge.of(r) for r in ruled if isinstance(r.rule, _KINDS)]
        self._number = {judge.rule.id: number for number, judge in enumerate(self._judges)}
        self._watchers = Watchers([judge.rule for judge in self._judges], places)
        self._names, self._series = names, series
        self._airs = Airs(self._judges, names, series)
        self._panels: list[Panel] = []
        self._panel_of: dict[int, int] = {}  # metric -> place among them
        self._gauges: dict[int, Gauge] = {}  # by rule
        for number, judge in enumerate(self._judges):
            if isinstance(judge.rule, _GAUGES):
                self._gauges[number] = self._panel(judge.rule.metric).gauge(judge.rule)
        # Levels of rules on gauges, each with its rule and step.
        self._levels = [(number, step, level) for number in self._gauges for step, level in self._judges[number].levels]
        self._plans = Plans([self._judges[n].ruled for n, _, _ in self._levels], [of for _, _, of in self._levels])
        self._watching: dict[tuple[int, ...], dict[Gauge, int]] = {}  # rules -> the gauges they read, with plans
        # By slot of the series.
        self._seat = np.full(64, _UNKNOWN, np.int32)  # at the panel of its metric
        self._at = np.zeros(64, np.int16)  # place of that panel
        # Slots known since a restart whose readings were not given again, with the newest ones.
        self._alone: dict[int, tuple[int, float]] = {}

    def _panel(self, metric: str) -> Panel:
        number = self._panel_of.setdefault(metric_id(metric), len(self._panels))
        if number == len(self._panels):
            self._panels.append(Panel(metric_id(metric), metric))
        return self._panels[number]

    # --- after a restart

    def restore(self, readings: Table) -> None:
        """Know the subjects that the series remembers, with their latest readings."""
        if not self._judges:
            return
        known = np.flatnonzero(np.isin(self._series.metric, list(self._watchers.metrics)))
        self._open(known, self._series.time[known])
        runs = {metric_id(judge.rule.metric) for judge in self._judges if isinstance(judge.rule, StuckRule)}
        rows = readings[np.isin(readings["metric"], list(runs))]
        slots = self._series.find(rows["device"], rows["metric"])
        latest = zip(rows["time"].tolist(), rows["value"].tolist(), strict=True)
        self._alone = dict(zip(slots.tolist(), latest, strict=True))

    def take_up(self, kept: RuleState) -> bool:
        """Take up an alert or what a meter has kept; False if no rule watches its subject any more."""
        if kept.state is None:
            return False
        if kept.rule_id == METER:
            return self._load(kept.subject_id, kept.key, kept.state)
        number = self._number.get(kept.rule_id)
        if number is None or self._judges[number].key != kept.key:
            return False
        judge = self._judges[number]
        metric = metric_id(judge.rule.watched[0])
        if number not in self._watchers.of(metric, self._names.device_name(kept.subject_id)):
            return False
        standing = Standing.restore(kept.state)
        if standing is None or standing.worst >= len(judge.rungs):
            return False
        slot = self._series.slot(kept.subject_id, metric)
        self._grow()
        if self._seat[slot] == _UNKNOWN:
            self._open(np.array([slot]), np.array([NEVER]))
        if isinstance(judge.rule, AqiRule):
            self._airs.stand(kept.subject_id, number, standing)
        else:
            gauge = self._gauges[number]
            at = self._panels[self._panel_of[metric]].place(gauge, int(self._seat[slot]))
            gauge.watch.standing.setdefault(at, {})[number] = standing
        return True

    def _load(self, device: int, key: str, state: Mapping[str, object]) -> bool:
        name, _, part = key.partition("#")
        slot = int(self._series.find(np.array([device]), np.array([metric_id(name)]))[0])
        if slot < 0 or slot >= len(self._seat):
            return False
        seat = int(self._seat[slot])
        return self._airs.load(slot, part, state) or (
            seat >= 0 and self._panels[self._at[slot]].load(seat, part, state)
        )

    def looks_back(self) -> LookBack:
        """Which stored readings are wanted again (``recall``)."""
        last = self._series.time[: len(self._seat)]
        since = np.full(len(last), 2**62)
        seats, panels = self._seat[: len(last)].astype(np.int64), self._at[: len(last)]
        for number, panel in enumerate(self._panels):
            mine = np.flatnonzero((seats >= 0) & (panels == number) & (last > NEVER))
            since[mine] = panel.since(seats[mine], last[mine])
        for slot, start in self._airs.since().items():
            since[slot] = min(int(since[slot]), start)
        slots = np.flatnonzero(since <= last)
        return LookBack(self._series.device[slots], self._series.metric[slots], since[slots], last[slots])

    def recall(self, readings: Table) -> None:
        """Take stored readings again, in arrival order, all that are wanted of a device and metric at once. Nothing is
        judged.
        """
        slots = self._series.find(readings["device"], readings["metric"])
        order = np.argsort(slots, kind="stable")
        order = order[slots[order] >= 0]
        order = order[in_order(slots[order], readings["time"][order])]
        slots, time, value = slots[order], readings["time"][order], readings["value"][order].astype(np.float64)
        for slot in np.unique(slots).tolist():
            self._alone.pop(slot, None)
        seats, panels = self._seat[slots].astype(np.int64), self._at[slots]
        for number, panel in enumerate(self._panels):
            mine = np.flatnonzero((seats >= 0) & (panels == number))
            for wave in _waves(slots[mine]):
                rows = mine[wave]
                panel.recall(seats[rows], time[rows], value[rows], self._series.time[slots[rows]])
        self._airs.recall(slots, time, value)

    def held(self) -> dict[tuple[int, str], Mapping[str, object]]:
        """What is kept of readings now, by device and part, JSON-ready: equal of engines that will go on alike."""
        found: dict[tuple[int, str], Mapping[str, object]] = {}
        for panel in self._panels:
            found |= {(device, f"{panel.name}#{part}"): state for device, part, state in panel.held()}
        return found | {(device, key): state for device, key, state in self._airs.held()}

    def _begin(self) -> None:
        """Of what was not given again, the newest reading at least is known: a run may begin with it."""
        for slot, (time, value) in self._alone.items():
            if self._seat[slot] >= 0:
                seat, one = np.array([self._seat[slot]], np.int64), np.array([time])
                self._panels[self._at[slot]].recall(seat, one, np.array([value]), one, runs_only=True)
        self._alone = {}

    # --- readings

    def judge(self, heard: Heard, out: Outcome) -> None:
        """Judge the rows that are news."""
        if not self._judges:
            return
        if self._alone:
            self._begin()
        if len(heard.readings):
            self._grow()
            slots = heard.readings.slot
            unknown = np.unique(slots[self._seat[slots] == _UNKNOWN])
            if len(unknown):
                self._open(unknown, np.full(len(unknown), NEVER))
            self._rows(heard, out)
            self._airs.judge(heard, out)
        self._keep(out)

    def _rows(self, heard: Heard, out: Outcome) -> None:
        """What gauges show of each reading."""
        slots = heard.readings.slot
        mine = np.flatnonzero(self._seat[slots] >= 0)
        if not len(mine):
            return
        slots, rows, table = slots[mine], heard.readings.row[mine], heard.observations.readings
        time, value = table["time"][rows], table["value"][rows].astype(np.float64)
        seats, panels = self._seat[slots].astype(np.int64), self._at[slots]
        for number in np.unique(panels).tolist():
            panel, of = self._panels[number], np.flatnonzero(panels == number)
            for wave in _waves(slots[of]):
                some = of[wave]
                for look in panel.judge(seats[some], time[some], value[some]):
                    place = some[look.row]
                    self._look(look, int(slots[place]), table[rows[place]], int(rows[place]), out)

    def _look(self, look: Look, slot: int, record: np.void, row: int, out: Outcome) -> None:
        """One figure by every rule that it may matter to; what may come next without mattering."""
        watch, time = look.gauge.watch, int(record["time"])
        standing = watch.standing.setdefault(look.at, {})
        shown = look.gauge.figure(look.at, look.level, look.value, time) if look.there else None
        subject = self._names.device(int(self._series.device[slot]))
        for number in list(standing):
            self._judges[number].judge(subject, standing, number, shown, record, row, out)
        sides, until = self._plans[int(watch.plan[look.at])].span(time)
        low = high = UNLOOKED
        if shown is not None:
            for place in sides.holding(shown.level):
                if (number := self._levels[place][0]) not in standing:
                    self._judges[number].judge(subject, standing, number, shown, record, row, out)
            low, high = sides.calm(shown.level, _Taken(self._levels, standing))
            for number, alert in standing.items():
                for step, level in self._judges[number].levels:
                    if step == alert.step and level.keeps(shown.level):
                        low = max(low, level.kept) if level.sign > 0 else low
                        high = min(high, -level.kept) if level.sign < 0 else high
        watch.calm[look.at] = low, high, until
        if not standing:
            del watch.standing[look.at]

    def _keep(self, out: Outcome) -> None:
        """Tell what meters have kept."""
        for panel in self._panels:
            for (device, part), state in panel.unsaid.items():
                out.keep(RuleState(METER, SubjectKind.DEVICE, device, f"{panel.name}#{part}", state))
            panel.unsaid.clear()
        for (device, key), state in self._airs.unsaid.items():
            out.keep(RuleState(METER, SubjectKind.DEVICE, device, key, state))
        self._airs.unsaid.clear()

    # --- who watches

    def _grow(self) -> None:
        self._seat = grown(self._seat, len(self._series), _UNKNOWN)
        self._at = grown(self._at, len(self._series), 0)

    def _open(self, slots: Ints, last: Ints) -> None:
        """Find the rules that watch subjects. ``last``: times of the newest readings, ``NEVER`` where there is none."""
        self._grow()
        self._seat[slots] = _IDLE
        metrics = self._series.metric[slots]
        for metric in np.unique(metrics).tolist():
            mine = np.flatnonzero(metrics == metric)
            for rules, some in self._by_rules(metric, slots[mine]):
                self._watch(metric, rules, slots[mine[some]], last[mine[some]])

    def _by_rules(self, metric: int, slots: Ints) -> Iterator[tuple[tuple[int, ...], Ints]]:
        """Subjects of one metric by the rules that watch them."""
        always = self._watchers.always(metric)
        if always is not None:
            yield always, np.arange(len(slots))
            return
        found: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
        for place, device in enumerate(self._series.device[slots].tolist()):
            found[self._watchers.of(metric, self._names.device_name(device))].append(place)
        for rules, places in found.items():
            yield rules, np.array(places)

    def _watch(self, metric: int, rules: tuple[int, ...], slots: Ints, last: Ints) -> None:
        plans = self._plans_of(rules)
        if plans:
            number = self._panel_of[metric]
            seats = self._panels[number].sit(self._series.device[slots])
            self._seat[slots], self._at[slots] = seats, number
            self._panels[number].watch(seats, plans, last)
        if on_air := [number for number in rules if isinstance(self._judges[number].rule, AqiRule)]:
            for slot, time in zip(slots.tolist(), last.tolist(), strict=True):
                self._airs.watch(slot, on_air, time)

    def _plans_of(self, rules: tuple[int, ...]) -> dict[Gauge, int]:
        """The gauges that rules read, each with the plan of those that read it."""
        found = self._watching.get(rules)
        if found is None:
            readers: defaultdict[Gauge, set[int]] = defaultdict(set)
            for number in rules:
                if number in self._gauges:
                    readers[self._gauges[number]].add(number)
            found = self._watching[rules] = {
                gauge: self._plans.number(tuple(n for n, (rule, _, _) in enumerate(self._levels) if rule in mine))
                for gauge, mine in readers.items()
            }
        return found


class _Taken:
    """The levels up to the one on which the alert of their rule stands."""

    def __init__(self, levels: Sequence[tuple[int, int, Level]], standing: Mapping[int, Standing]) -> None:
        self._levels, self._standing = levels, standing

    def __contains__(self, place: object) -> bool:
        assert isinstance(place, int)
        number, step, _ = self._levels[place]
        alert = self._standing.get(number)
        return alert is not None and step <= alert.step


def _waves(slots: Ints) -> list[Ints]:
    """Rows that are sorted by slot, then arrival, in sets of one a slot: the first of each, the second, and so on."""
    first = np.ones(len(slots), bool)
    first[1:] = slots[1:] != slots[:-1]
    starts = np.flatnonzero(first)
    if len(starts) == len(slots):
        return [np.arange(len(slots))]
    turn = np.arange(len(slots)) - np.repeat(starts, np.diff(starts, append=len(slots)))
    order = np.argsort(turn, kind="stable")
    return np.split(order, np.cumsum(np.bincount(turn))[:-1])
