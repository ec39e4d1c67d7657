"""Rules on readings one by one, on streams long enough to go up and down ladders and to learn rhythms."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from alerting.readings.rhythm import GRID, Rhythm
from alerting.rules import NoDataRule, ThresholdRule
from tests.alerting.oracle import Item, Oracle
from tests.alerting.test_engine_stream import DEVICES, MINUTE, RULES, START, run, told

if TYPE_CHECKING:
    from alerting.rules import Rule

MINE = [rule for rule in RULES if isinstance(rule, ThresholdRule | NoDataRule)]


@st.composite
def streams(draw: st.DrawFn) -> list[Item]:
    """Readings of one device, most of them some minutes apart, over a midnight."""
    received, items, device = START, [], next(iter(DEVICES))
    for _ in range(draw(st.integers(0, 40))):
        received += draw(st.sampled_from([1, 1, 2, 2, 3, 5, 9, 25, 40])) * MINUTE
        if draw(st.integers(0, 15)) == 0:
            since, received = received, received + 20 * MINUTE
            items.append(Item("deaf", since, received, 0))
        time = received - draw(st.sampled_from([0, 0, 0, 1, 7])) * MINUTE
        value = draw(st.sampled_from([0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0]))
        items.append(Item("reading", time, received, device, "water_level", value))
    return items


@pytest.mark.parametrize("rule", MINE, ids=lambda rule: rule.id)
@settings(max_examples=40)
@given(
    streams(),
    st.lists(st.tuples(st.integers(0, 40), st.floats(0, 1)), max_size=6),
    st.sampled_from([0, 5, 45, 200]),
)
def test_each_rule_agrees_with_the_oracle_in_any_batches_and_over_restarts(
    rule: Rule, items: list[Item], cuts: list[tuple[int, float]], rest: int
) -> None:
    end = (items[-1].received if items else START) + rest * MINUTE
    oracle = Oracle([rule], [], DEVICES)
    for item in items:
        oracle.feed(item)
    oracle.tick(end)
    for _, _, _, what, *_ in oracle.told:
        event(what)
    whole = run(items, [], end, restart=False, rules=[rule])
    assert told(whole.transitions) == oracle.told
    for restart in (False, True):
        parts = run(items, cuts, end, restart=restart, rules=[rule])
        assert parts.transitions == whole.transitions
        assert parts.states == whole.states


@given(st.lists(st.tuples(st.integers(0, 3 * 86_400), st.integers(1, 100_000)), max_size=60))
def test_a_rhythm_is_the_third_longest_interval_of_two_days(heard: list[tuple[int, int]]) -> None:
    rhythm, days = Rhythm(), dict[int, list[int]]()
    for second, interval in sorted(heard):
        before = rhythm.boring
        same_day = second // 86_400 == rhythm.day
        changed = rhythm.learn(second * 1_000_000, interval * 1_000_000)
        assert changed or interval * 1_000_000 <= before
        assert not (same_day and changed and interval * 1_000_000 <= before)
        days.setdefault(second // 86_400, []).append(interval * 1_000_000)
        rhythm = Rhythm.restore(json.loads(json.dumps(rhythm.kept())))
    longest = sorted((i for day in sorted(days)[-2:] for i in sorted(days[day])[-3:]), reverse=True)
    if len(longest) < 3:
        assert rhythm.interval is None
    else:
        assert rhythm.interval == min(step for step in GRID if step >= longest[2])


def test_a_steady_stream_changes_what_is_kept_a_few_times_a_day() -> None:
    rhythm = Rhythm()
    changes = [rhythm.learn(minute * MINUTE, MINUTE + minute % 7 * 1_000_000) for minute in range(3 * 1440)]
    assert rhythm.interval == next(step for step in GRID if step >= 66_000_000)
    assert sum(changes) <= 3 * 6
