"""Figures made of readings, against an oracle that keeps every reading, in any batches and over restarts."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from alerting import vn_aqi
from alerting.engine import Engine
from alerting.model import RuleState, SubjectKind
from alerting.readings.figures import METER
from alerting.rules import RULE, AqiRule, RangeRule, RateRule, StuckRule, WindowRule
from alerting.rules.aqi import Period
from alerting.rules.figures import Aggregate, Change, Method
from decoders.records import Observations
from tests.alerting.oracle import Item, Oracle, Told, happened
from tests.alerting.test_engine_stream import DEVICES, MIDNIGHT, MINUTE, Store, observations

HOUR = 60 * MINUTE
START = MIDNIGHT - 8 * HOUR
_TITLE = {"title": {"en": "T", "vi": "T"}, "source": "test", "utc_offset": "+00:00"}
_LEVELS = [{"severity": "warning", "raise": 2.0, "clear": 1.0}, {"severity": "major", "raise": 3.0, "clear": 2.0}]


def rule(kind: str, **fields: Any) -> Any:
    base = {"metric": "water_level", "unit": "m"} if kind != "vn_aqi" else {}
    if "levels" not in fields:
        base["severity"] = "warning"
    return RULE.validate_python(_TITLE | base | {"id": kind, "kind": kind} | fields)


RULES = [
    rule("window", aggregate="mean", over="1h", levels=_LEVELS, min_coverage=0.5),
    rule("window", aggregate="mean", over="2h", min_coverage=0, min_samples=3, **{"raise": 2.0}),
    rule("window", aggregate="max", over="1h", levels=_LEVELS),
    rule("window", aggregate="min", over="2h", direction="below", **{"raise": 1.0, "clear": 1.5}),
    rule("window", aggregate="sum", over="30m", inclusive=False, **{"raise": 6.0, "clear": 4.0}),
    rule("window", aggregate="count", over="1h", unit="1", hours=["17:00-23:50"], **{"raise": 4.0}),
    rule("window", aggregate="count", over="1h", unit="1", direction="below", **{"raise": 3.0, "clear": 4.0}),
    rule("window", aggregate="sum", over="30m", direction="below", min_samples=2, **{"raise": 4.0}),
    # These look back further than a restart reads: what they kept as an hour began is in the states.
    rule("window", aggregate="mean", over="4h", min_coverage=0.25, **{"raise": 2.0, "clear": 1.5}),
    rule("window", aggregate="max", over="6h", **{"raise": 4.0}),
    # No sum of the values below comes to such levels: which way it is rounded does not matter.
    rule("rate", change="falling", over="3h", min_samples=2, **{"raise": 0.3137, "clear": 0.1137}),
    rule(
        "rate",
        change="rising",
        over="30m",
        levels=[{"severity": "warning", "raise": 0.9137, "clear": 0.5137}, {"severity": "major", "raise": 2.0137}],
    ),
    rule("rate", change="falling", over="1h", min_samples=2, **{"raise": 0.7137, "clear": 0.3137}),
    rule("rate", change="either", over="20m", method="difference", per="30m", **{"raise": 1.0137}),
    rule("stuck", min_samples=3, **{"for": "30m"}),
    rule("stuck", min_samples=2, tolerance=0.5, hours=["18:00-24:00"], **{"for": "10m", "except": [1.0]}),
    rule("range", low=1.0, high=2.5, margin=0.5),
    rule("range", high=2.5, valid_to=date(2025, 12, 31)),
    rule(
        "vn_aqi", levels=[{"severity": "warning", "band": "poor"}, {"severity": "major", "band": "bad", "clear": 120.0}]
    ),
    rule("vn_aqi", period="day", min_samples=1, **{"raise": 51.0}),
]


VALUES = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0)


@st.composite
def streams(draw: st.DrawFn, *, air: bool, daily: bool = False, values: tuple[float, ...] = VALUES) -> list[Item]:
    """Readings in arrival order, some with old times."""
    received, items = START, []
    metrics = ["pm2_5", "pm10", "o3"] if air else ["water_level", "water_level", "water_level", "ph"]
    if daily:  # most hours of a day are wanted
        metrics = ["pm2_5"]
    steps = draw(
        st.sampled_from(
            [[31, 50] if daily else [31, 100]] if air else [[0, 1, 5, 10], [5, 10], [10, 31], [10, 31, 100]]
        )
    )
    for _ in range(draw(st.integers(50 if daily else 0, 60))):
        received += draw(st.sampled_from(steps)) * MINUTE + draw(st.sampled_from([0, 0, 7_000_000]))
        time = received - draw(st.sampled_from([0, 0, 0, 0, 1, 35])) * MINUTE
        metric = draw(st.sampled_from(metrics))
        value = draw(st.sampled_from(values))
        value *= 60 if air else 1
        devices = list(DEVICES)[: 1 + draw(st.integers(0, 0 if daily else 4)) // 4]
        items.append(Item("reading", time, received, draw(st.sampled_from(devices)), metric, value))
    return items


class Figured(Oracle):
    """Keeps every reading that was news, and makes each figure anew from all of them."""

    def __init__(self, rules: list[Any]) -> None:
        super().__init__(rules, [], DEVICES)
        self.history: dict[Any, list[tuple[int, float]]] = {}
        self.arrived: dict[int, list[tuple[int, str, float]]] = {}
        self.standing: dict[Any, dict[str, Any]] = {}
        self.opened: dict[Any, int] = {}

    def _reading(self, item: Item, found: list[Any]) -> None:
        late = self.late
        super()._reading(item, found)
        if self.late > late:
            return
        history = self.history.setdefault((item.subject, item.what), [])
        history.append((item.time, item.value))
        for n, one in enumerate(self.rules):
            if isinstance(one, AqiRule):
                if item.what in vn_aqi.METRICS:
                    self._follow(n, "vn_aqi", item, self._aqi(n, one, item), found)
            elif one.metric == item.what:  # type: ignore[union-attr]
                self._follow(n, item.what, item, self._figure(one, history), found)
        self.arrived.setdefault(item.subject, []).append((item.time, item.what, item.value))

    def _figure(self, one: Any, history: list[tuple[int, float]]) -> tuple[float, float, int, int] | None:
        """Level, value, time, start."""
        time, value = history[-1]
        match one:
            case WindowRule():
                return self._window(one, history)
            case RateRule():
                return self._rate(one, history)
            case RangeRule():
                outside = [one.low - value] if one.low is not None else []
                outside += [value - one.high] if one.high is not None else []
                return max(outside), value, time, time
            case StuckRule():
                start, count = 0, 0
                for k, (_, seen) in enumerate(history):
                    if abs(seen - history[start][1]) > one.tolerance:
                        start = k
                    count = k - start + 1
                exempt = any(abs(value - e) <= one.tolerance for e in one.except_)
                since = history[start][0]
                lasted = 0.0 if exempt or count < one.min_samples else (time - since) / 1e6
                return lasted, value, time, since
        raise AssertionError

    def _window(self, one: WindowRule, history: list[tuple[int, float]]) -> tuple[float, float, int, int] | None:
        time = history[-1][0]
        newest = time // one.width
        there = [(t, v) for t, v in history if t // one.width > newest - one.over // one.width]
        part = one.over // 12
        end = (newest + 1) * one.width
        covered = {(end - 1 - t) // part for t, _ in there}
        if len(there) < one.min_samples or len(covered) / 12 < one.coverage:
            return None
        grows = one.aggregate in {Aggregate.SUM, Aggregate.COUNT}
        if grows and one.direction == "below" and time - history[0][0] < one.over:
            return None
        values = [v for _, v in there]
        total = {
            Aggregate.MEAN: sum(values) / len(values),
            Aggregate.SUM: sum(values),
            Aggregate.MAX: max(values),
            Aggregate.MIN: min(values),
            Aggregate.COUNT: float(len(values)),
        }[one.aggregate]
        return total, total, time, time

    def _rate(self, one: RateRule, history: list[tuple[int, float]]) -> tuple[float, float, int, int] | None:
        knots: list[tuple[int, float]] = []
        for t, v in history:
            if not knots or t // one.step != knots[-1][0] // one.step:
                knots.append((t, v))
        time, value = history[-1]
        if knots[-1] != (time, value):
            return None
        old = [k for k in knots if k[0] <= time - one.over]
        if not old or old[-1][0] < time - 2 * one.over:
            return None
        points = [old[-1], *(k for k in knots if k[0] > time - one.over)]
        if one.method is Method.DIFFERENCE:
            slope = (value - old[-1][1]) / (time - old[-1][0])
        else:
            if len(points) < one.min_samples:
                return None
            mean_t, mean_v = sum(t for t, _ in points) / len(points), sum(v for _, v in points) / len(points)
            above = sum((t - mean_t) * (v - mean_v) for t, v in points)
            slope = above / sum((t - mean_t) ** 2 for t, _ in points)
        rate = slope * one.per
        return {Change.RISING: rate, Change.FALLING: -rate, Change.EITHER: abs(rate)}[one.change], rate, time, time

    def _aqi(self, n: int, one: AqiRule, item: Item) -> tuple[float, float, int, int] | None:
        hour, last = item.time // HOUR, self.opened.get((n, item.subject))
        self.opened[n, item.subject] = hour if last is None else max(last, hour)
        if last is None or hour <= last:
            return None
        means: dict[str, dict[int, list[float]]] = {}
        newest = 0
        for t, metric, v in self.arrived[item.subject]:
            newest = max(newest, t // HOUR)
            if metric in vn_aqi.METRICS and t // HOUR > newest - 32:
                means.setdefault(metric, {}).setdefault(t // HOUR, []).append(v)
        full = {
            m: {h: sum(v) / len(v) for h, v in hours.items() if len(v) >= one.min_samples} for m, hours in means.items()
        }
        if one.period is Period.HOUR:
            end = last + 1
            index = vn_aqi.hourly({m: [h.get(end - k) for k in range(1, 13)] for m, h in full.items()})
        else:
            end = (last // 24 + 1) * 24
            if hour < end:
                return None
            index = vn_aqi.daily({m: [h.get(end - k) for k in range(31, 0, -1)] for m, h in full.items()})
        return None if index is None else (index.value, index.value, end * HOUR, end * HOUR)

    def _follow(
        self, n: int, key: str, item: Item, figure: tuple[float, float, int, int] | None, found: list[Any]
    ) -> None:
        one, alert = self.rules[n], self.standing.get((n, item.subject))
        if not self._in_force(one, item.time):
            if alert is not None:
                del self.standing[n, item.subject]
                at = max(alert["at"], item.time)
                self._tell(n, one, key, item, "resolved", alert["step"], at, alert["start"], None, found)
            return
        if figure is None:
            return
        level, value, time, start = figure
        step = self._step(one, level, -1 if alert is None else alert["step"])
        if alert is None:
            if step >= 0:
                self.standing[n, item.subject] = {"step": step, "at": time, "start": start}
                self._tell(n, one, key, item, "firing", step, time, start, value, found)
        elif step != alert["step"]:
            alert["at"] = max(alert["at"], time)
            what = "resolved" if step < 0 else "escalated" if step > alert["step"] else "deescalated"
            alert["step"] = max(step, 0) if step >= 0 else alert["step"]
            self._tell(n, one, key, item, what, alert["step"], alert["at"], alert["start"], value, found)
            if step < 0:
                del self.standing[n, item.subject]

    def _step(self, one: Any, level: float, step: int) -> int:
        if isinstance(one, StuckRule):
            return 0 if level >= one.for_ / 1e6 else -1
        if isinstance(one, RangeRule):
            return 0 if level > 0 or (step == 0 and level > -one.margin) else -1
        sign = -1 if one.direction == "below" else 1
        best = -1
        for number, rung in enumerate(one.rungs):
            over = sign * (level - rung.raise_)
            holds = over > 0 or (over == 0 and one.inclusive)
            keeps = holds if rung.clear is None else sign * (level - rung.clear) > 0
            if holds or (number <= step and keeps):
                best = number
        return best

    def _tell(
        self,
        n: int,
        one: Any,
        key: str,
        item: Item,
        what: str,
        step: int,
        at: int,
        start: int,
        value: float | None,
        found: list[Any],
    ) -> None:
        severity = one.rungs[step].severity if hasattr(one, "rungs") else one.severity
        told = (one.id, item.subject, key, happened(what, severity), at, start, value)
        found.append(((n, key, 0), told))


def near(told: list[Told]) -> list[Told]:
    """Values that do not hang on the order of additions."""
    return [(*rest, None if value is None else round(value, 6)) for *rest, value in told]  # type: ignore[misc]


def told(transitions: list[Any]) -> list[Told]:
    return [
        (t.rule_id, t.subject.id, t.key, happened(t.event, t.severity), t.at, t.started_at, t.value)
        for t in transitions
    ]


def run(items: list[Item], cuts: set[int], rules: list[Any], *, restart: bool) -> Store:
    store, engine = Store(), Engine(rules, [])
    edges = sorted({0, len(items), *(cut % (len(items) + 1) for cut in cuts)})
    for start, stop in pairwise(edges):
        batch = items[start:stop]
        store.commit(batch, engine.judge(observations(batch), batch[-1].received))
        if restart:
            engine = Engine(rules, [])
            memory = store.memory()
            memory.states = [through_json(state) for state in memory.states]
            engine.restore(memory)
            engine.recall(store.past(engine.looks_back()))
    return store


def through_json(state: RuleState) -> RuleState:
    return replace(state, state=json.loads(json.dumps(state.state)))


@pytest.mark.parametrize("one", RULES, ids=lambda one: f"{one.kind}-{RULES.index(one)}")
@settings(max_examples=25)
@given(st.data(), st.sets(st.integers(0, 60), max_size=6))
def test_figures_are_what_all_the_readings_come_to(one: Any, data: st.DataObject, cuts: set[int]) -> None:
    items = data.draw(streams(air=isinstance(one, AqiRule), daily=getattr(one, "period", None) is Period.DAY))
    oracle = Figured([one])
    for item in items:
        oracle.feed(item)
    for rule_id, _, _, what, *_ in oracle.told:
        event(f"{rule_id} {what}")
    whole = run(items, set(), [one], restart=False)
    assert near(told(whole.transitions)) == near(oracle.told)
    for again in (run(items, cuts, [one], restart=False), run(items, cuts, [one], restart=True)):
        assert again.transitions == whole.transitions
        assert again.states == whole.states


@settings(max_examples=20)
@given(st.data(), st.sets(st.integers(0, 60), max_size=6))
def test_rules_on_figures_do_not_disturb_each_other(data: st.DataObject, cuts: set[int]) -> None:
    items = data.draw(streams(air=data.draw(st.booleans())))
    rules = [one.model_copy(update={"id": f"r{n:02d}"}) for n, one in enumerate(RULES)]
    whole = run(items, cuts, rules, restart=True)
    alone = [t for one in rules for t in run(items, set(), [one], restart=False).transitions]
    by_id = sorted(alone, key=lambda t: (t.rule_id, t.alert_id, t.at, t.event))
    assert sorted(whole.transitions, key=lambda t: (t.rule_id, t.alert_id, t.at, t.event)) == by_id


#: Sums of these are rounded, and another order of additions comes to another sum.
UNEVEN = (0.1, 1 / 3, 0.7, 1e-9, 2.2, 3.3, 4.000000000001, 1e7 / 3)


def fans(count: int) -> list[Any]:
    """Rules that differ in their levels: many to a meter, some of them at several gauges of it."""
    found = []
    for n in range(count):
        step = n / 7
        found += [
            rule("window", aggregate="mean", over="1h", min_coverage=0.25 * (n % 2), **{"raise": 1 + step}),
            rule("window", aggregate="sum", over="1h", hours=["18:00-23:30"], **{"raise": 4 + step, "clear": 3 + step}),
            rule("window", aggregate="mean", over="4h", min_coverage=0, **{"raise": 1 + step, "clear": 0.8 + step}),
            rule("window", aggregate="min", over="4h", direction="below", **{"raise": 0.2 + step}),
            rule("rate", change="either", over="1h", **{"raise": 0.3 + step}),
            rule("rate", change="rising", over="90m", min_samples=2 + n % 2, **{"raise": 0.2 + step}),
            rule("stuck", min_samples=2 + n % 2, tolerance=0.7, **{"for": f"{10 + 5 * n}m"}),
            rule("range", low=0.2 + step / 9, high=2.5 + step, margin=0.1),
        ]
    return [one.model_copy(update={"id": f"r{n:02d}"}) for n, one in enumerate(found)]


@settings(max_examples=25)
@given(streams(air=False, values=UNEVEN), st.sets(st.integers(0, 60), max_size=6))
def test_restarts_change_nothing_to_the_last_bit_however_many_rules_share_a_meter(
    items: list[Item], cuts: set[int]
) -> None:
    rules = fans(4)
    whole = run(items, set(), rules, restart=False)
    for again in (run(items, cuts, rules, restart=False), run(items, cuts, rules, restart=True)):
        assert again.transitions == whole.transitions
        assert again.states == whole.states
    alone = [t for one in rules for t in run(items, set(), [one], restart=False).transitions]
    assert sorted(told(whole.transitions)) == sorted(told(alone))


def steady(devices: int, minutes: range) -> list[Item]:
    """A reading a minute of each device."""
    seconds, ids = 1_000_000, list(DEVICES)
    return [
        Item("reading", at := START + m * MINUTE + d * seconds, at, ids[d % len(ids)], "water_level", (m * 7 % 11) / 5)
        for m in minutes
        for d in range(devices)
    ]


def test_what_is_kept_is_written_seldom() -> None:
    """A reading a minute, by rules that look back on minutes, hours and days: not a state for each nor each five."""
    rules = [*fans(2), rule("window", aggregate="mean", over="24h", **{"raise": 90.0})]
    engine, readings, states = Engine(rules, []), 0, 0
    for minute in range(240):
        items = steady(2, range(minute, minute + 1))
        for state in engine.judge(observations(items), items[-1].received).states:
            states += state.rule_id == METER
        readings += len(items)
    assert 0 < states < 0.2 * readings


def test_a_burst_of_one_device_comes_to_what_its_readings_come_to_one_by_one() -> None:
    items = steady(1, range(700))
    whole = run(items, set(), fans(2), restart=False)
    each = run(items, set(range(700)), fans(2), restart=False)
    assert whole.transitions == each.transitions
    assert whole.states == each.states
    assert whole.transitions


def test_a_count_that_is_too_small_is_told_only_of_a_device_that_has_been_heard_for_long_enough() -> None:
    few = rule("window", aggregate="count", over="1h", unit="1", direction="below", **{"raise": 3.0})
    device = next(iter(DEVICES))
    items = [
        Item("reading", START + m * MINUTE, START + m * MINUTE, device, "water_level", 1.0)
        for m in (*range(0, 60, 10), 200, 205)
    ]
    fired = run(items, set(), [few], restart=False).transitions
    assert [(t.event.value, (t.at - START) // MINUTE) for t in fired] == [("firing", 200)]


def test_a_rule_that_is_new_sees_the_readings_of_the_last_hours() -> None:
    items = steady(1, range(60))
    store = run(items, set(), [], restart=False)
    added = rule("window", aggregate="mean", over="1h", min_coverage=1.0, **{"raise": 0.5})
    engine = Engine([added], [])
    engine.restore(store.memory())
    engine.recall(store.past(engine.looks_back()))
    following = steady(1, range(60, 61))
    assert [t.event.value for t in engine.judge(observations(following), following[-1].received).transitions] == [
        "firing"
    ]


@pytest.mark.parametrize("part", ["#open", "#closed", "#knots", "#run", "", "#sum/120x30s"])
def test_states_that_nobody_understands_any_more_are_forgotten_and_nothing_is_told(part: str) -> None:
    device = next(iter(DEVICES))
    for rule_id in ("window", "rate", "stuck", "vn_aqi", METER):
        key = ("vn_aqi" if rule_id == "vn_aqi" else "water_level") + part
        old = RuleState(rule_id, SubjectKind.DEVICE, device, key, {"width": 30_000_000, "buckets": [], "at": 0})
        items = steady(1, range(2))
        store = run(items, set(), RULES[:1], restart=False)
        memory = store.memory()
        memory.states = [old]
        unique = list({one.id: one for one in RULES}.values())
        engine = Engine(unique, [])
        engine.restore(memory)
        engine.recall(store.past(engine.looks_back()))
        verdict = engine.judge(Observations(), items[-1].received)
        assert verdict.transitions == []
        assert [(s.rule_id, s.key, s.state) for s in verdict.states if s.state is None] == [(rule_id, key, None)]
