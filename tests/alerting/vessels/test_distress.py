"""Distress: what counts, what is a test, and that neither batches nor restarts change it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerting.engine import Engine
from alerting.model import Event, Severity
from tests.alerting.vessels.streams import HOUR, MINUTE, START, Row, assert_same, observations, rule, run

if TYPE_CHECKING:
    from collections.abc import Callable

SART, MOB, SHIP, TUG, STATION = 970_123_456, 972_123_456, 574_000_001, 574_000_002, 5_740_101
RULE = rule(id="distress", kind="distress", severity="critical", scope={"exclude": {"mmsi": [TUG]}})


def position(minute: int, sender: int, status: int | None, *, late: int = 0) -> Row:
    time = START + minute * MINUTE
    return Row("position", time, time + late * MINUTE, sender, 107.8, 16.7, nav_status=status)


def unplaced(minute: int, sender: int, status: int | None, *, late: int = 0) -> Row:
    """A report of a transmitter that has no fix: longitude and latitude "not available"."""
    time = START + minute * MINUTE
    return Row("unplaced", time, time + late * MINUTE, sender, nav_status=status)


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
        unplaced(0, SART, 14),
        unplaced(0, MOB, 0),
        unplaced(0, SHIP, 14),
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
        unplaced(0, SHIP, 0),
        unplaced(0, SHIP, None),
        unplaced(0, TUG, 14),
        unplaced(0, SART, 14, late=90),
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


def test_a_report_without_a_position_is_placed_where_its_sender_was_before() -> None:
    fired = run([position(0, SHIP, 0), unplaced(1, SHIP, 14)], [RULE], START + HOUR).transitions[0]
    assert (fired.subject.id, fired.at, fired.lon, fired.lat) == (SHIP, START + MINUTE, 107.8, 16.7)


def test_a_report_that_comes_behind_a_newer_one_is_told_and_makes_a_test_critical() -> None:
    late = Row("position", START + MINUTE, START + 3 * MINUTE, SHIP, 107.8, 16.7, nav_status=14)
    assert events(position(2, SHIP, 0), late)[0] == (SHIP, Event.FIRING, Severity.CRITICAL)
    late = Row("position", START + MINUTE, START + 3 * MINUTE, SART, 107.8, 16.7, nav_status=14)
    assert events(position(2, SART, None), late)[:2] == [
        (SART, Event.FIRING, Severity.INFO),
        (SART, Event.ESCALATED, Severity.CRITICAL),
    ]


def test_a_flood_of_identities_does_not_end_a_distress() -> None:
    engine = Engine([RULE], [], capacity=8)
    engine.judge(observations([position(0, SART, 14)]), START)
    flood = [position(1, 574_100_000 + n, 0) for n in range(100)]
    assert engine.judge(observations(flood), START + MINUTE).transitions == []
    assert engine.forgotten > 0


def test_the_same_report_of_a_fast_clock_is_not_told_twice() -> None:
    early = Row("position", START + 5 * MINUTE, START, SART, 107.8, 16.7, nav_status=14)
    again = Row("position", START + 5 * MINUTE, START + 62 * MINUTE, SART, 107.8, 16.7, nav_status=14)
    assert [event for _, event, _ in events(early, again)] == [Event.FIRING, Event.RESOLVED]


ROWS = st.lists(
    st.tuples(
        st.sampled_from([0, 0, 1, 20, 70]),
        st.sampled_from([SART, SHIP, TUG]),
        st.sampled_from([14, None, 0, "SART TEST", "SART ACTIVE", "HELLO"]),
        st.sampled_from([position, unplaced]),
        st.sampled_from([0, 0, 0, 2]),
    ),
    max_size=15,
)


@settings(max_examples=150)
@given(ROWS, st.lists(st.tuples(st.integers(0, 15), st.floats(0, 1)), max_size=5))
def test_batches_and_restarts_change_nothing(
    steps: list[tuple[int, int, int | str | None, Callable[..., Row], int]], cuts: list[tuple[int, float]]
) -> None:
    rows, minute = [], 0
    for wait, sender, said, report, late in steps:
        minute += wait
        if isinstance(said, str):
            rows.append(text(minute, sender, said))
        else:
            rows.append(report(minute - late, sender, said, late=late))
    end = START + (minute + 90) * MINUTE
    whole = run(rows, [RULE], end)
    assert_same(whole, run(rows, [RULE], end, cuts=cuts))
    assert_same(whole, run(rows, [RULE], end, cuts=cuts, restart=True))
    firing = [t.subject.id for t in whole.transitions if t.event is Event.FIRING]
    assert TUG not in firing
    if any(sender == SART and said in (14, None, 0, "SART ACTIVE", "SART TEST") for _, sender, said, *_ in steps):
        assert SART in firing
