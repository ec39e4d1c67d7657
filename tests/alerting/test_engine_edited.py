"""A rule that was edited keeps no episode of what it asked before, and goes on with those of what it asks still."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from alerting.engine import Engine
from alerting.model import AlertState
from alerting.rules import RULE
from tests.alerting.test_engine_shadow import memory, position, reading
from tests.alerting.test_engine_stream import MINUTE, START, ZONES, level, observations, on_zone

if TYPE_CHECKING:
    from alerting.rules import Rule
    from tests.alerting.oracle import Item

HIGH = level(id="high", **{"raise": 2.0})
INSIDE = on_zone(id="in", condition="inside", zones=["a"])
WATER = [reading(0, 1.0), reading(1, 3.0)]
WAY_IN = [position(0, 106.0), position(1, 107.02)]


def edited(rule: Rule, **changes: Any) -> Rule:
    return RULE.validate_json(json.dumps(rule.body | changes))


@pytest.mark.parametrize(
    ("rule", "changes", "before", "after", "again"),
    [
        (HIGH, {"raise": 5.0}, WATER, [reading(5, 3.0)], False),
        (HIGH, {"raise": 2.5}, WATER, [reading(5, 3.0)], True),
        (HIGH, {"direction": "below"}, WATER, [reading(5, 3.0)], False),
        (HIGH, {"metric": "wave_height"}, WATER, [reading(5, 3.0)], False),
        (INSIDE, {"condition": "dwell", "for": "2h"}, WAY_IN, [position(5, 107.02)], False),
        (INSIDE, {"zones": ["b"]}, WAY_IN, [position(5, 107.02)], False),
    ],
)
def test_what_it_asked_before_is_closed_with_a_reason_and_what_holds_now_fires_anew(
    rule: Rule, changes: dict[str, Any], before: list[Item], after: list[Item], again: bool
) -> None:
    first = Engine([rule], ZONES).judge(observations(before), before[-1].received)
    (opened,) = first.transitions
    engine = Engine([edited(rule, **changes)], ZONES)
    engine.restore(memory([first], before))
    second = engine.judge(observations(after), START + 60 * MINUTE)
    (over,) = [told for told in second.transitions if told.state is AlertState.RESOLVED]
    new = [told for told in second.transitions if told is not over]
    assert (over.alert_id, over.state) == (opened.alert_id, AlertState.RESOLVED)
    assert over.details["reason"] in {"edited", "withdrawn"}
    assert [told.state for told in new] == [AlertState.FIRING] * again
    assert all(told.alert_id != opened.alert_id for told in new)
    engine = Engine([edited(rule, **changes)], ZONES)
    engine.restore(memory([first, second], [*before, *after]))
    assert engine.judge(observations([]), START + 61 * MINUTE).transitions == []


@pytest.mark.parametrize(
    ("rule", "changes", "before"),
    [
        (HIGH, {"severity": "critical", "title": {"en": "Other", "vi": "Khác"}, "keep_firing_for": "5m"}, WATER),
        (HIGH, {"inclusive": True, "source": "another"}, WATER),
        (INSIDE, {"zones": ["a", "b"], "settle": "5m"}, WAY_IN),
    ],
)
def test_an_edit_of_something_else_closes_nothing(rule: Rule, changes: dict[str, Any], before: list[Item]) -> None:
    first = Engine([rule], ZONES).judge(observations(before), before[-1].received)
    assert len(first.transitions) == 1
    engine = Engine([edited(rule, **changes)], ZONES)
    engine.restore(memory([first], before), edited=True)
    assert engine.judge(observations([]), START + 60 * MINUTE).transitions == []


def test_a_question_that_the_last_fix_answers_as_the_one_before_did_goes_on_as_one_alert() -> None:
    entered = on_zone(id="in", condition="entered", zones=["a"])
    first = Engine([entered], ZONES).judge(observations(WAY_IN), WAY_IN[-1].received)
    assert len(first.transitions) == 1
    engine = Engine([edited(entered, condition="inside")], ZONES)
    engine.restore(memory([first], WAY_IN), edited=True)
    assert engine.judge(observations([]), START + 60 * MINUTE).transitions == []
    (over,) = engine.judge(observations([position(70, 106.0)]), START + 80 * MINUTE).transitions
    assert (over.alert_id, over.state) == (first.transitions[0].alert_id, AlertState.RESOLVED)
