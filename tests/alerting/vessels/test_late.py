"""What came late of vessels: gaps that were none, and alerts of several vessels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import shapely

from alerting.model import Event, Late, Memory, Subject, SubjectKind, Transition
from alerting.rejudging.case import Case, Known
from alerting.rejudging.review import review
from decoders.arrival import numbered
from geofence.zones import Zone
from tests.alerting.vessels.streams import HOUR, MINUTE, START, Row, Store, observations, rule, run, vms

if TYPE_CHECKING:
    from alerting.rules import Rule

A, B, V = 574_000_001, 574_000_002, vms(1)
ZONES = [Zone("port", "P", "P", "port", shapely.box(107.0, 16.45, 107.1, 16.55))]
GAP = rule(id="gap", kind="gap", after="6h", known_for="0s", steps=[{"after": "10h", "severity": "critical"}])
MET = rule(id="met", kind="encounter", ports=["port"], min_fixes=2, **{"for": "1h"})


def fixes(*rows: tuple[float, float], who: int = V) -> list[Row]:
    """(made, heard), hours, at sea, on the move."""
    return [
        Row("position", START + round(made * HOUR), START + round(heard * HOUR), who, 107.6 + made / 20, 16.8)
        for made, heard in rows
    ]


def looked_at(by: Rule, rows: list[Row], now: int, subject: int) -> tuple[Store, list[Transition]]:
    """What the engine made of it, and what is said of the alerts about a subject later."""
    rows = sorted(rows, key=lambda row: row.received)
    store = run(rows, [by], now, zones=ZONES)
    known: dict[Any, Known] = {}
    for t in store.transitions:
        known[t.alert_id] = Known(t.alert_id, t.key, t.started_at, t.state, severity=t.severity)
    came = observations(rows)
    numbered(came)
    states = [state for state in store.states.values() if state.rule_id == by.id and state.subject_id == subject]
    name = next((t.subject for t in store.transitions), Subject(SubjectKind.TRANSPONDER, subject, str(subject)))
    found = review(Case(by, name, ZONES, Memory(), came, now, list(known.values()), states))
    return store, found.transitions


@pytest.mark.parametrize("newest_first", [False, True])
def test_a_gap_in_which_the_vessel_sent_and_was_delivered_late_is_retracted(newest_first: bool) -> None:
    made = [2.0, 4.0, 6.0, 8.0, 10.0]
    late = [(hour, 11.7 + n / 3600) for n, hour in enumerate(reversed(made) if newest_first else made)]
    store, said = looked_at(GAP, fixes((-4, -4), (-2, -2), (0, 0), *late), START + 12 * HOUR, V)
    assert [t.event for t in store.transitions] == [Event.FIRING, Event.ESCALATED, Event.RESOLVED]
    [retracted] = said
    assert retracted.event is Event.RETRACTED
    assert retracted.details["reason"] == "delivered_late"
    delay = 11.7 - 2.0 + (4 / 3600 if newest_first else 0)
    assert retracted.details["delay_seconds"] == pytest.approx(delay * 3600, abs=1)


def test_what_brings_such_fixes_asks_for_a_look() -> None:
    store = run(fixes((0, 0), (2, 11.7)), [GAP], START + 12 * HOUR)
    assert [t.event for t in store.transitions][-1] is Event.RESOLVED
    assert store.late == [Late(SubjectKind.TRANSPONDER, V, START + 2 * HOUR, START + 2 * HOUR)]
    assert run(fixes((0, 0), (7, 11.7)), [GAP], START + 12 * HOUR).late == []


def test_a_gap_that_was_shorter_is_revised_and_one_that_was_as_told_is_left() -> None:
    before = [(-4.0, -4.0), (-2.0, -2.0), (0.0, 0.0)]
    _, said = looked_at(GAP, fixes(*before, (2, 12), (11, 12.01)), START + 13 * HOUR, V)
    [revised] = said
    assert revised.event is Event.REVISED
    assert [(one["since"][11:16], one["until"][11:16]) for one in revised.details["now"]] == [("00:00", "09:00")]
    assert revised.details["was"]["since"][11:16] == "22:00"
    assert looked_at(GAP, fixes(*before, (11, 12), (11.5, 12.01)), START + 13 * HOUR, V)[1] == []


def test_a_gap_that_lasts_is_left() -> None:
    store, said = looked_at(GAP, fixes((-4, -4), (0, 0), (-2, 1)), START + 8 * HOUR, V)
    assert [t.event for t in store.transitions] == [Event.FIRING]
    assert said == []


def side_by_side(who: int, lon: float, minutes: range) -> list[Row]:
    times = [START + minute * MINUTE for minute in minutes]
    return [Row("position", time, time + who % 7, who, lon, 16.8, sog=0.2) for time in times]


def test_an_encounter_of_which_the_other_vessel_was_elsewhere_is_retracted() -> None:
    beside = side_by_side(A, 107.6, range(0, 150, 5)) + side_by_side(B, 107.601, range(0, 20, 5))
    beside += side_by_side(B, 107.601, range(130, 150, 5))
    gone = [(m, m + 160) for m in range(20, 130, 2)]
    away = [Row("position", START + m * MINUTE + 1, START + h * MINUTE, B, 107.9, 16.8, sog=0.2) for m, h in gone]
    store, said = looked_at(MET, beside, START + 6 * HOUR, A)
    assert Event.FIRING in [t.event for t in store.transitions]
    assert store.transitions[0].details["partners"] == [str(A), str(B)]
    assert said == []
    _, said = looked_at(MET, beside + away, START + 6 * HOUR, A)
    assert [t.event for t in said] == [Event.RETRACTED]
