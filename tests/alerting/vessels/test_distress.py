"""Distress: what counts, what is a test, and that neither batches nor restarts change it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerting.model import Event, Severity
from tests.alerting.vessels.streams import HOUR, MINUTE, START, Row, assert_same, rule, run

SART, MOB, SHIP, TUG, STATION = 970_123_456, 972_123_456, 574_000_001, 574_000_002, 5_740_101
RULE = rule(id="distress", kind="distress", severity="critical", scope={"exclude": {"mmsi": [TUG]}})


def position(minute: int, sender: int, status: int | None, *, late: int = 0) -> Row:
    time = START + minute * MINUTE
    return Row("position", time, time + late * MINUTE, sender, 107.8, 16.7, nav_status=status)


def text(minute: int, sender: int, said: str) -> Row:
    time = START + minute * MINUTE
    return Row("text", time, time, sender, said=said)


def events(*rows: Row) -> list[tuple[int, Event, Severity]]:
    found = run(list(rows), [RULE], rows[-1].received + 2 * HOUR).transitions
    return [(t.subject.id, t.event, t.severity) for t in found]


@pytest.mark.parametrize(
    "row",
    [
        position(0, SART, 14),
        position(0, MOB, 0),
        position(0, SHIP, 14),
        text(0, SHIP, "mayday, fire on board"),
        text(0, STATION, "MOB ACTIVE NEAR CON CO"),
    ],
)
def test_one_signal_is_one_critical_alert_that_ends_when_no_more_come(row: Row) -> None:
    assert events(row) == [
        (row.transponder, Event.FIRING, Severity.CRITICAL),
        (row.transponder, Event.RESOLVED, Severity.CRITICAL),
    ]


@pytest.mark.parametrize(
    "row",
    [
        position(0, SHIP, 0),
        position(0, SHIP, None),
        position(0, TUG, 14),
        position(0, SART, 14, late=90),
        text(0, SHIP, "SOSUA BAY CLOSED"),
        text(0, TUG, "MAYDAY"),
        text(0, SHIP, "NAVIGATIONAL WARNING"),
    ],
)
def test_what_is_no_distress_or_long_past_is_not_told(row: Row) -> None:
    assert events(row) == []


def test_a_test_is_information_and_becomes_critical_when_it_turns_real() -> None:
    assert events(text(0, SART, "SART TEST"), position(1, SART, None), position(2, SART, 14)) == [
        (SART, Event.FIRING, Severity.INFO),
        (SART, Event.ESCALATED, Severity.CRITICAL),
        (SART, Event.RESOLVED, Severity.CRITICAL),
    ]


def test_a_message_without_a_position_is_placed_where_its_sender_was_before() -> None:
    rows = [position(0, SHIP, 0), text(1, SHIP, "SINKING"), position(2, SHIP, 0)]
    fired = run(rows, [RULE], START + HOUR).transitions[0]
    assert (fired.lon, fired.lat) == (107.8, 16.7)
    assert fired.details["said"] == "SINKING"


ROWS = st.lists(
    st.tuples(
        st.sampled_from([0, 0, 1, 20, 70]),
        st.sampled_from([SART, SHIP, TUG]),
        st.sampled_from([14, None, 0, "SART TEST", "SART ACTIVE", "HELLO"]),
    ),
    max_size=15,
)


@settings(max_examples=150, deadline=None)
@given(ROWS, st.lists(st.tuples(st.integers(0, 15), st.floats(0, 1)), max_size=5))
def test_batches_and_restarts_change_nothing(
    steps: list[tuple[int, int, int | str | None]], cuts: list[tuple[int, float]]
) -> None:
    rows, minute = [], 0
    for wait, sender, said in steps:
        minute += wait
        rows.append(text(minute, sender, said) if isinstance(said, str) else position(minute, sender, said))
    end = START + (minute + 90) * MINUTE
    whole = run(rows, [RULE], end)
    assert_same(whole, run(rows, [RULE], end, cuts=cuts))
    assert_same(whole, run(rows, [RULE], end, cuts=cuts, restart=True))
    firing = [t.subject.id for t in whole.transitions if t.event is Event.FIRING]
    assert TUG not in firing
    if any(sender == SART and said in (14, None, 0, "SART ACTIVE", "SART TEST") for _, sender, said in steps):
        assert SART in firing
