"""Combined rules come to what the oracle comes to, however rows fall into batches, and across restarts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from alerting.engine import Engine
from alerting.rules import CombinedRule
from geofence import apart
from tests.alerting.combined.oracle import DEAF, DUE, ROWS, Happened, Oracle, Told
from tests.alerting.combined.streams import (
    COMBINED,
    DEVICES,
    LEAVES,
    MINUTE,
    REGISTRY,
    RULES,
    SHIPS,
    START,
    ZONES,
    Message,
    observations,
    rule,
    run,
    streams,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from alerting.model import Transition
    from alerting.rules import Rule

CUTS = st.lists(st.tuples(st.integers(0, 30), st.floats(0, 1)), max_size=6)
#: As they are, but that everything they find is told.
ALL_LIVE = [rule(**one.body | {"mode": "live"}) for one in RULES]


@pytest.fixture(autouse=True, scope="module")
def _one_vessel_a_number() -> Iterator[None]:
    """The oracle knows of no two vessels under one identity: ``tests/alerting/vessels/test_apart.py`` is about them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(apart, "LEAST", 2**62)
        yield


def happened(messages: list[Message], end: int, *, capacity: int = 1000) -> dict[tuple[int, int], Happened]:
    """What the other rules find of a stream, one message after the other, and where vessels are."""
    leaves = [rule(**one.body | {"mode": "live"}) for one in LEAVES]
    engine = Engine(leaves, ZONES, registry=REGISTRY, capacity=capacity)
    out: dict[tuple[int, int], Happened] = {}
    newest: dict[int, int] = {}

    def at(known: int, sort: int) -> Happened:
        return out.setdefault((known, sort), Happened())

    def take(transitions: list[Transition]) -> None:
        for told in transitions:
            at(told.known, ROWS if "row" in told.details else DUE).changes.append(told)

    for message in messages:
        if message.deaf_since is not None:
            take(engine.judge(observations([]), message.deaf_since).transitions)
            engine.deaf(message.deaf_since, message.received)
            at(message.deaf_since, DEAF).deaf_until = message.received
            continue
        take(engine.judge(observations([message]), message.received).transitions)
        for row in message.rows:
            if row.what is None and row.time > newest.get(row.subject, 0):
                newest[row.subject] = row.time
                at(message.received, ROWS).places[row.subject] = (row.lon, row.lat)
        if engine.forgotten:
            last = {ship: engine._fences.tracks.last(ship) for ship in SHIPS}  # tested by itself
            at(message.received, ROWS).places |= {ship: fix and (fix[0].lon, fix[0].lat) for ship, fix in last.items()}
    take(engine.judge(observations([]), end).transitions)
    return out


def by_the_oracle(messages: list[Message], end: int, *, capacity: int = 1000) -> list[Told]:
    kinds = {one.id: one.subject.value for one in LEAVES}
    for one in COMBINED:
        kinds[one.id] = kinds[one.about]
    places: dict[tuple[str, int], Any] = {
        ("device", number): REGISTRY.sites[name].place for number, name in DEVICES.items()
    }
    subjects = sorted([("device", number) for number in DEVICES] + [("transponder", ship) for ship in SHIPS])
    return Oracle(COMBINED, kinds, subjects, places).run(happened(messages, end, capacity=capacity), START, end)


def told(transitions: list[Transition]) -> list[Told]:
    names = {one.id for one in COMBINED}
    return [
        (
            t.rule_id,
            t.subject.kind.value,
            t.subject.id,
            t.event.value,
            t.at,
            t.started_at,
            t.severity.value,
            tuple(sorted(int(member["id"]) for member in t.details["members"])),
        )
        for t in transitions
        if t.rule_id in names
    ]


@settings(max_examples=40)
@given(streams(), CUTS, st.sampled_from([0, 5, 45]))
def test_batches_and_restarts_change_nothing_and_all_agree_with_the_oracle(
    messages: list[Message], cuts: list[tuple[int, float]], rest: int
) -> None:
    end = (messages[-1].received if messages else START) + rest * MINUTE
    expected = by_the_oracle(messages, end)
    for found in {(name, what) for name, _, _, what, *_ in expected}:
        event(" ".join(found))
    whole = run(messages, [], end, restart=False, rules=ALL_LIVE)
    assert sorted(told(whole.transitions)) == sorted(expected)
    assert [t.known for t in whole.transitions] == sorted(t.known for t in whole.transitions)
    assert_each_is_begun_and_ended(whole.transitions)

    parts = run(messages, cuts, end, restart=False, rules=ALL_LIVE)
    assert parts.transitions == whole.transitions
    assert parts.states == whole.states

    restarted = run(messages, cuts, end, restart=True, rules=ALL_LIVE)
    assert restarted.transitions == whole.transitions
    assert restarted.states == whole.states


def assert_each_is_begun_and_ended(transitions: list[Transition]) -> None:
    """Every alert fires once, and ends once at the most, in that order."""
    events: dict[Any, list[str]] = {}
    for t in transitions:
        events.setdefault(t.alert_id, []).append(t.event.value)
    for one in events.values():
        assert one[0] == "firing"
        assert one.count("firing") == 1
        assert "resolved" not in one[:-1]


@settings(max_examples=25)
@given(streams(), CUTS, st.booleans())
def test_the_mode_of_what_is_combined_changes_nothing_about_it(
    messages: list[Message], cuts: list[tuple[int, float]], restart: bool
) -> None:
    end = (messages[-1].received if messages else START) + 45 * MINUTE
    live = run(messages, [], end, restart=False, rules=ALL_LIVE).transitions
    mixed = run(messages, cuts, end, restart=restart, rules=RULES).transitions
    conditions = {one.id for one in RULES if one.mode == "condition"}
    assert conditions == {"wind", "out", "silent", "doubtful"}
    assert [(t.rule_id, t.event, t.at, t.subject, t.key) for t in mixed] == [
        (t.rule_id, t.event, t.at, t.subject, t.key) for t in live if t.rule_id not in conditions
    ]
    assert {t.rule_id for t in mixed if t.shadow} <= {"crowd", "gone"}
    assert told(mixed) == [one for one in told(live) if one[0] != "doubtful"]


@settings(max_examples=25)
@given(streams(), CUTS, st.sampled_from([1, 2]))
def test_who_is_forgotten_for_want_of_room_is_near_nothing(
    messages: list[Message], cuts: list[tuple[int, float]], capacity: int
) -> None:
    end = (messages[-1].received if messages else START) + 45 * MINUTE
    whole = run(messages, [], end, restart=False, rules=ALL_LIVE, capacity=capacity)
    assert sorted(told(whole.transitions)) == sorted(by_the_oracle(messages, end, capacity=capacity))
    parts = run(messages, cuts, end, restart=False, rules=ALL_LIVE, capacity=capacity)
    assert parts.transitions == whole.transitions
    assert parts.states == whole.states


def test_the_rules_of_these_tests_are_good() -> None:
    rules: dict[str, Rule] = {one.id: one for one in RULES}
    assert [one.faults_among(rules) for one in RULES if isinstance(one, CombinedRule)] == [[]] * len(COMBINED)
