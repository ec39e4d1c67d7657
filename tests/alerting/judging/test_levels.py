"""A calm never hides a change, and which rules watch a device is what the rules themselves say."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from math import inf, nextafter
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from alerting.judging.levels import Level, Plans
from alerting.judging.outcome import Ruled
from alerting.readings.places import Places
from alerting.readings.watchers import Watchers
from alerting.registry.register import UNREGISTERED
from alerting.rules import RULE, ThresholdRule
from decoders.identity import metric_id

if TYPE_CHECKING:
    import pytest

DAY = 86_400_000_000
VALUES = [-3.0, -1.0, -0.0, 0.0, 1.0, 2.5, nextafter(2.5, inf), nextafter(2.5, -inf), 1e308, -1e308, 5e-324]


def rule(number: int, **fields: Any) -> ThresholdRule:
    base = {"id": f"r{number}", "title": {"en": "T", "vi": "T"}, "severity": "info", "source": "s", "kind": "threshold"}
    made = RULE.validate_python(base | {"metric": "ph", "unit": "1", "utc_offset": "+00:00"} | fields)
    assert isinstance(made, ThresholdRule)
    return made


@st.composite
def rules(draw: st.DrawFn) -> list[ThresholdRule]:
    found = []
    for number in range(draw(st.integers(0, 6))):
        direction = draw(st.sampled_from(["above", "below"]))
        fields: dict[str, Any] = {
            "raise": draw(st.sampled_from(VALUES)),
            "direction": direction,
            "inclusive": draw(st.booleans()),
        }
        first, last = draw(st.sampled_from([(None, None), (1, None), (None, 1), (2, 2), (1, 3)]))
        fields |= {"valid_from": date(1970, 1, first)} if first else {}
        fields |= {"valid_to": date(1970, 1, last)} if last else {}
        fields |= draw(
            st.sampled_from([{}, {}, {"hours": ["18:00-06:00"]}, {"season": {"from": "01-02", "to": "01-02"}}])
        )
        found.append(rule(number, **fields))
    return found


def holds(rule: ThresholdRule, value: float, time: int) -> bool:
    start, end = rule.window
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time)
    meant = start <= time < end
    meant &= rule.hours is None or not 6 <= at.hour < 18
    meant &= rule.season is None or (at.month, at.day) == (1, 2)
    level = rule.rungs[0].raise_
    beyond = value > level if rule.direction == "above" else value < level
    return meant and (beyond or (rule.inclusive and value == level))


@given(rules(), st.sampled_from(VALUES), st.integers(-1, 4 * DAY), st.sampled_from(VALUES), st.integers(0, 4 * DAY))
def test_within_its_calm_no_reading_reaches_a_level_that_was_not_reached(
    watching: list[ThresholdRule], value: float, time: int, other: float, later: int
) -> None:
    ruled = [Ruled(r, n, "v", *r.window) for n, r in enumerate(watching)]
    plans = Plans(ruled, [Level.of(r) for r in watching])
    sides, until = plans[plans.number(tuple(range(len(watching))))].span(time)
    held = {n for n, r in enumerate(watching) if holds(r, value, time)}
    assert set(sides.holding(value)) == held
    low, high = sides.calm(value, held)
    assert low < value < high
    if low < other < high and time + later < until:
        assert {n for n, r in enumerate(watching) if holds(r, other, time + later)} <= held
    for edge in (low, high):  # and it is no smaller than it has to be
        if abs(edge) < inf:
            assert {n for n, r in enumerate(watching) if holds(r, edge, time)} - held


@given(rules(), st.lists(st.integers(0, 4 * DAY), min_size=1, max_size=30))
def test_a_span_is_the_same_whoever_asked_before(watching: list[ThresholdRule], times: list[int]) -> None:
    ruled = [Ruled(r, n, "v", *r.window) for n, r in enumerate(watching)]
    levels, every = [Level.of(r) for r in watching], tuple(range(len(watching)))
    shared = Plans(ruled, levels)
    for time in times:
        alone = Plans(ruled, levels)
        fresh, asked = (plans[plans.number(every)].span(time) for plans in (alone, shared))
        assert asked.until == fresh.until
        for value in VALUES:
            assert set(asked.sides.holding(value)) == set(fresh.sides.holding(value))


def test_rules_with_hours_are_asked_once_for_all_subjects(monkeypatch: pytest.MonkeyPatch) -> None:
    watching = [rule(n, hours=[f"{n:02d}:00-12:30"], **{"raise": 1.0}) for n in range(10)]
    ruled = [Ruled(r, n, "v", *r.window) for n, r in enumerate(watching)]
    asked, next_edge = [], Ruled.next_edge

    def counted(one: Ruled, time: int) -> int:
        asked.append(one.number)
        return next_edge(one, time)

    monkeypatch.setattr(Ruled, "next_edge", counted)
    plans = Plans(ruled, [Level.of(r) for r in watching])
    plan = plans[plans.number(tuple(range(10)))]
    for subject in range(1000):
        minute = DAY // 1440
        plan.span((30 + subject % 7) * minute)
        plan.span((90 - subject % 7) * minute)
    assert len(asked) <= 10 * (2 + 2 * 7)  # a few times until the earliest time is known, and not for each subject


@given(rules(), st.sampled_from(VALUES))
def test_a_level_says_of_a_value_what_its_rule_says(watching: list[ThresholdRule], value: float) -> None:
    for r in watching:
        always = rule(0, direction=r.direction.value, inclusive=r.inclusive, **{"raise": r.raise_})
        assert Level.of(r).holds(value) == holds(always, value, 0)
        assert Level.of(r).keeps(value) == holds(always, value, 0)
        above = r.direction == "above"
        with_clear = r.model_copy(update={"clear": -5.0 if above else 5.0})
        assert Level.of(with_clear).keeps(value) == (value > -5.0 if above else value < 5.0)


PATTERNS = [
    "*",
    "kim-*",
    "?",
    "[k]im-*",
    "gw*/kim-[l]*",
    "kim-1*",
    "kim-lon",
    "kim-long*",
    "kim-long",
    "gw/*",
    "gw/kim-?",
    "*/kim-long",
    "g[a-w]/*",
    "other",
    "k/*",
    "a/b",
]
DEVICES = ["gw/kim-long", "gw/kim-1", "gx/kim-long", "other", "k/a/kim-1", "/kim-long", "gw/", "GW/Kim-long", "1234"]


@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=3),
            st.one_of(st.none(), st.lists(st.sampled_from(["gw", "g*", "k"]), max_size=2)),
            st.lists(st.sampled_from(PATTERNS), max_size=2),
            st.sampled_from(["ph", "tsp"]),
        ),
        max_size=6,
    )
)
def test_watchers_are_the_rules_that_apply(given_: list[tuple[list[str], list[str] | None, list[str], str]]) -> None:
    made = [
        rule(n, metric=metric, devices=devices, exclude=exclude, **{"raise": 1.0}, **({"gateways": g} if g else {}))
        for n, (devices, g, exclude, metric) in enumerate(given_)
    ]
    watchers = Watchers(made, Places(UNREGISTERED, []))
    for metric in ("ph", "tsp", "no2"):
        number = metric_id(metric)
        all_of_it = tuple(n for n, r in enumerate(made) if r.metric == metric)
        for device in DEVICES:
            expected = tuple(n for n in all_of_it if made[n].applies_to(device))
            assert watchers.of(number, device) == expected
            assert watchers.always(number) in (None, expected)
        assert (watchers.always(number) is not None) == all(
            "*" in made[n].devices and made[n].gateways is None and not made[n].exclude for n in all_of_it
        )
