"""A rule in shadow mode is judged like all others, told of to nobody, and starts anew when it goes live."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings

from alerting.desk.notify import ChannelSpec, notifications
from alerting.engine import Engine
from alerting.model import AlertState, Memory, RuleState, Transition, Verdict, shadow_id
from alerting.rules import RULE, Rule
from tests.alerting.oracle import Item
from tests.alerting.test_engine_stream import (
    DEVICES,
    MINUTE,
    RULES,
    START,
    ZONES,
    level,
    observations,
    on_zone,
    run,
    streams,
)
from tests.alerting.test_engine_stream import rule as any_rule

DEVICE = next(iter(DEVICES))
SHIP = 574_000_001
EVERYBODY = [ChannelSpec("all", rules=("*",))]


def in_mode(rule: Rule, mode: str) -> Rule:
    return RULE.validate_json(json.dumps(rule.body | {"mode": mode}))


def reading(minute: int, value: float) -> Item:
    return Item("reading", START + minute * MINUTE, START + minute * MINUTE, DEVICE, "water_level", value)


def position(minute: int, lon: float) -> Item:
    return Item("position", START + minute * MINUTE, START + minute * MINUTE, SHIP, None, 0.0, lon, 16.02)


def memory(verdicts: list[Verdict], items: list[Item]) -> Memory:
    states: dict[Any, RuleState] = {}
    for verdict in verdicts:
        for state in verdict.states:
            states[state.rule_id, state.subject_id, state.key] = state
    latest = observations(list({(i.kind, i.subject): i for i in items}.values()))
    kept = [
        RuleState(s.rule_id, s.subject_kind, s.subject_id, s.key, json.loads(json.dumps(s.state)))
        for s in states.values()
        if s.state is not None
    ]
    names = {("device", number): name for number, name in DEVICES.items()}
    return Memory(states=kept, positions=latest.positions, readings=latest.readings, names=names)


@settings(max_examples=30)
@given(streams())
def test_it_finds_what_the_rule_would_find_under_ids_of_its_own(items: list[Item]) -> None:
    end = (items[-1].received if items else START) + 45 * MINUTE
    live = run(items, [], end, restart=False, rules=RULES).transitions
    shadow = run(
        items, [(3, 0.5), (9, 0.1)], end, restart=True, rules=[in_mode(r, "shadow") for r in RULES]
    ).transitions
    assert [shadow_id(t.alert_id) for t in live] == [t.alert_id for t in shadow]
    assert [(t.rule_id, t.subject, t.key, t.state, t.at, t.value) for t in live] == [
        (t.rule_id, t.subject, t.key, t.state, t.at, t.value) for t in shadow
    ]
    assert all(t.shadow for t in shadow)
    assert not any(t.shadow for t in live)
    assert notifications(shadow, EVERYBODY) == []


OUT, IN, STILL_IN = position(0, 106.0), position(1, 107.02), position(5, 107.03)
CASES = [
    (level(id="high", **{"raise": 2.0}), [reading(0, 1.0), reading(1, 3.0)], [reading(5, 3.0)]),
    (any_rule(id="silent", kind="no_data", metric="water_level", after="10m"), [reading(0, 1.0), reading(20, 1.0)], []),
    (
        on_zone(id="in", condition="inside", zones=["a"]),
        [position(0, 106.0), position(1, 107.02)],
        [position(5, 107.03)],
    ),
]


@pytest.mark.parametrize(("rule", "before", "after"), CASES, ids=lambda value: getattr(value, "id", ""))
@pytest.mark.parametrize("modes", [("shadow", "live"), ("live", "shadow")])
def test_a_change_of_mode_closes_what_is_open_as_what_it_was_and_starts_anew(
    rule: Rule, before: list[Item], after: list[Item], modes: tuple[str, str]
) -> None:
    was, now = (in_mode(rule, mode) for mode in modes)
    engine = Engine([was], ZONES)
    first = engine.judge(observations(before), before[-1].received + (30 * MINUTE if rule.kind == "no_data" else 0))
    (opened,) = [t for t in first.transitions if t.state is AlertState.FIRING][-1:]
    assert opened.shadow == (modes[0] == "shadow")

    engine = Engine([now], ZONES)
    engine.restore(memory([first], before))
    later = START + 60 * MINUTE
    second = engine.judge(observations(after), later)
    closed, fired = _told(second, AlertState.RESOLVED), _told(second, AlertState.FIRING)
    assert [t.alert_id for t in closed] == [opened.alert_id]
    assert closed[0].shadow == opened.shadow
    assert closed[0].details["reason"] == "withdrawn"
    assert len(fired) == 1
    assert fired[0].alert_id != opened.alert_id
    assert fired[0].shadow == (modes[1] == "shadow")
    told = [n.alert_id for n in notifications(second.transitions, EVERYBODY)]
    assert told == [t.alert_id for t in second.transitions if not t.shadow]

    # And what was taken over once is not closed once more.
    engine = Engine([now], ZONES)
    engine.restore(memory([first, second], [*before, *after]))
    assert engine.judge(observations([]), later).transitions == []


def _told(verdict: Verdict, state: AlertState) -> list[Transition]:
    return [t for t in verdict.transitions if t.state is state]
