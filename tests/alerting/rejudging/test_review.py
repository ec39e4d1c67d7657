"""Rows that come late correct what was told: an alert is retracted, revised, or left as it is, and for a reason."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from alerting.engine import Engine
from alerting.model import (
    AlertState,
    Event,
    Late,
    Memory,
    RuleState,
    Subject,
    SubjectKind,
    Transition,
    Verdict,
)
from alerting.rejudging.case import Case, Found, Known
from alerting.rejudging.in_time import in_time
from alerting.rejudging.review import open_alerts, review
from alerting.rules import RULE, Rule
from decoders.identity import device_id, metric_id
from decoders.records import NULL_I2, POSITION, READING, Name, Observations, empty
from geofence.zones import Zone

if TYPE_CHECKING:
    from uuid import UUID

MINUTE = 60_000_000
T0 = 1_780_000_000_000_000
DEVICE, LEVEL = device_id("gw", "kim-long"), metric_id("water_level")
NAMES = [Name("device", DEVICE, "gw/kim-long"), Name("metric", LEVEL, "water_level")]
SHIP = 574_000_001
COVE = Zone("cove", "Cove", "Vũng", "core", shapely.box(107.0, 16.0, 107.1, 16.1))
_SAID = {"title": {"en": "High water", "vi": "Nước cao"}, "severity": "major", "source": "test"}


def threshold(**fields: Any) -> Rule:
    said = {"id": "high", "kind": "threshold", "metric": "water_level", "unit": "m", "raise": 2.0, "clear": 1.0}
    return RULE.validate_python({key: value for key, value in (_SAID | said | fields).items() if value is not None})


def readings(*rows: tuple[float, float]) -> Observations:
    """(minute, metres) in the order in which they come, a message each."""
    made = Observations(messages=len(rows), readings=empty(READING, len(rows)), names=list(NAMES))
    for n, (minute, value) in enumerate(rows):
        latest = max(m for m, _ in rows[: n + 1])
        made.readings[n] = (T0 + int(minute * MINUTE), T0 + int(latest * MINUTE) + n, DEVICE, LEVEL, 1, value, n)
    return made


def fixes(*rows: tuple[float, float]) -> Observations:
    """(minute, degrees east) at 16.05 N."""
    made = Observations(messages=len(rows), positions=empty(POSITION, len(rows)))
    for n, (minute, lon) in enumerate(rows):
        latest = max(m for m, _ in rows[: n + 1])
        row = made.positions[n]
        for name in ("sog", "cog", "altitude", "rot"):
            row[name] = float("nan")
        for name in ("heading", "nav_status", "accuracy"):
            row[name] = NULL_I2 if row.dtype[name].itemsize == 2 else -128
        row["time"], row["received_at"] = T0 + int(minute * MINUTE), T0 + int(latest * MINUTE) + n
        row["transponder"], row["lon"], row["lat"], row["message"] = SHIP, lon, 16.05, n
    return made


def now_of(came: Observations) -> int:
    return max(int(t["received_at"].max()) for t in (came.positions, came.readings) if len(t))


def judged(rule: Rule, came: Observations) -> Verdict:
    engine = Engine([rule], [COVE])
    engine.restore(Memory())
    return engine.judge(came, now_of(came))


def case_of(rule: Rule, came: Observations, **more: Any) -> Case:
    """What was judged as it came, and is looked at after the last row."""
    verdict = judged(rule, came)
    subject = Subject(SubjectKind.DEVICE, DEVICE, "gw/kim-long")
    if len(came.positions):
        subject = Subject(SubjectKind.TRANSPONDER, SHIP, str(SHIP))
    alerts: dict[UUID, Known] = {}
    for t in verdict.transitions:
        alerts[t.alert_id] = Known(t.alert_id, t.key, t.started_at, t.state, severity=t.severity)
    states = [state for state in verdict.states if state.rule_id == rule.id]
    case = Case(rule, subject, [COVE], Memory(), came, now_of(came), list(alerts.values()), states)
    return replace(case, **more)


def reviewed(rule: Rule, came: Observations) -> list[Any]:
    """What is said of the alerts that were told."""
    return review(case_of(rule, came)).transitions


def test_a_level_that_was_not_held_after_all_is_retracted() -> None:
    held = threshold(**{"for": "20m"})
    [found] = reviewed(held, readings((0, 2.5), (25, 2.6), (30, 0.5), (10, 0.2)))
    assert (found.event, found.state) == (Event.RETRACTED, AlertState.RESOLVED)
    assert found.details["reason"] == "late_data"
    assert found.details["was"]["value"] == 2.5
    assert found.summary_en.startswith("High water: retracted for gw/kim-long")
    assert found.summary_vi.startswith("Nước cao: rút lại")


def test_an_alert_that_began_earlier_is_revised_and_says_what_was_told() -> None:
    [found] = reviewed(threshold(), readings((0, 0.5), (30, 2.4), (10, 3.0)))
    assert (found.event, found.state) == (Event.REVISED, AlertState.FIRING)
    assert found.started_at == T0 + 30 * MINUTE  # its name does not change
    assert found.details["was"]["since"] > found.details["now"][0]["since"]
    assert found.details["now"][0]["value"] == 3.0
    assert "(revised: some data came late)" in found.summary_en


def test_an_alert_that_was_several_says_so() -> None:
    [found] = reviewed(threshold(), readings((0, 2.5), (30, 2.4), (40, 0.1), (10, 0.3)))
    assert found.event is Event.REVISED
    assert [episode["until"] is not None for episode in found.details["now"]] == [True, True]


def test_late_rows_that_change_nothing_are_no_news() -> None:
    assert reviewed(threshold(), readings((0, 0.5), (30, 2.4), (40, 2.2), (35, 2.3), (10, 0.4))) == []


def test_a_vessel_that_came_into_the_zone_earlier_is_said_so() -> None:
    entered = RULE.validate_python(_SAID | {"id": "in", "kind": "zone", "condition": "entered", "zones": ["cove"]})
    [found] = reviewed(entered, fixes((0, 106.9), (60, 107.05), (20, 107.02)))
    assert found.event is Event.REVISED
    assert found.details["now"][0]["since"] < found.details["was"]["since"]
    assert found.lon == 107.02


def test_a_silence_is_left_as_it_was() -> None:
    silent = RULE.validate_python(
        _SAID | {"id": "no", "kind": "no_data", "metric": "water_level", "devices": ["*"], "after": "10m"}
    )
    came = readings((0, 1.0), (60, 1.0), (5, 1.0))
    assert reviewed(silent, came) == []


def test_what_is_not_found_again_is_left_as_it_is() -> None:
    case = case_of(threshold(), readings((0, 0.5), (30, 2.4), (10, 3.0)))
    assert review(replace(case, rule=threshold(**{"raise": 9.0}))) == Found()


def test_an_open_alert_of_a_rule_that_was_edited_since_is_left_as_it_is() -> None:
    held = threshold(**{"for": "20m"})
    came = readings((0, 2.5), (25, 2.6), (10, 0.2))
    assert review(case_of(held, came, states=None)) == Found()


def test_an_engine_goes_on_from_what_it_would_hold_had_nothing_come_late() -> None:
    held = threshold(**{"for": "20m"})
    found = review(case_of(held, readings((0, 2.5), (25, 2.6), (10, 0.2))))
    assert [t.event for t in found.transitions] == [Event.RETRACTED]
    assert found.states is not None
    [state] = found.states
    assert state.state is not None
    assert [rung["since"] for rung in state.state["rungs"]] == [T0 + 25 * MINUTE]
    assert "alert" not in state.state


def test_what_lasts_and_was_not_told_is_told_late() -> None:
    found = review(case_of(threshold(), readings((0, 2.5), (10, 0.5), (20, 1.5), (15, 2.6))))
    [late] = found.transitions
    assert (late.event, late.started_at, late.value) == (Event.FIRING, T0 + 15 * MINUTE, 2.6)
    assert (late.details["reason"], late.known) == ("late_data", T0 + 20 * MINUTE + 3)
    assert "told late" in late.summary_en
    assert found.states is not None
    assert open_alerts(found.states) == {"water_level": late.alert_id}


def test_what_people_have_closed_stands_for_what_it_began_as_and_not_for_what_began_anew() -> None:
    came = readings((0, 2.5), (30, 2.4), (10, 0.3))
    case = case_of(threshold(), came)
    [open_] = case.alerts
    again = review(case).transitions
    assert [(t.event, t.state, t.alert_id) for t in again] == [(Event.REVISED, AlertState.FIRING, open_.id)]
    closed = replace(case, alerts=[replace(open_, state=AlertState.CLOSED)])
    said = review(closed).transitions
    assert [(t.event, t.alert_id == open_.id) for t in said] == [(Event.REVISED, True), (Event.FIRING, False)]


def test_an_open_alert_that_is_over_after_all_is_resolved() -> None:
    found = review(case_of(threshold(), readings((0, 2.5), (10, 1.5), (5, 0.5))))
    assert [(t.event, t.state) for t in found.transitions] == [
        (Event.REVISED, AlertState.FIRING),
        (Event.RESOLVED, AlertState.RESOLVED),
    ]
    assert found.states == []


def test_an_alert_that_was_resolved_and_lasts_after_all_is_open_again() -> None:
    keeps = threshold(keep_firing_for="15m")
    case = case_of(keeps, readings((0, 2.5), (10, 0.5), (30, 0.5), (20, 2.5)))
    found = review(case)
    assert [(t.event, t.state) for t in found.transitions] == [(Event.REVISED, AlertState.FIRING)]
    assert found.states is not None
    assert open_alerts(found.states) == {"water_level": case.alerts[0].id}
    [known] = case.alerts
    by_hand = review(replace(case, alerts=[replace(known, by_people=True)]))
    assert [(t.event, t.state) for t in by_hand.transitions] == [(Event.REVISED, AlertState.RESOLVED)]


# --- against an oracle


@dataclass(slots=True)
class Spell:
    start: float
    end: float | None
    value: float


def spells(rows: list[tuple[float, float]]) -> list[Spell]:
    """Raised at 2 and above, over at 1 and below; in the order given, what is not newer than the newest passed over."""
    found: list[Spell] = []
    newest = -1.0
    for minute, value in rows:
        if minute <= newest:
            continue
        newest = minute
        standing = found and found[-1].end is None
        if standing and value <= 1.0:
            found[-1].end = minute
        elif not standing and value >= 2.0:
            found.append(Spell(minute, None, value))
    return found


_ROWS = st.lists(
    st.tuples(st.integers(0, 30), st.sampled_from([0.5, 1.0, 1.5, 2.0, 2.5])),
    min_size=1,
    max_size=14,
    unique_by=lambda row: row[0],
)


@given(_ROWS)
def test_what_is_left_of_an_alert_is_what_happened(rows: list[tuple[float, float]]) -> None:
    came = readings(*rows)
    alerts, happened = spells(rows), spells(sorted(rows))
    case = case_of(threshold(), came)
    said = {alert.id: [t for t in review(case).transitions if t.alert_id == alert.id] for alert in case.alerts}
    assert len(said) == len(alerts)
    forever = float("inf")
    for alert, found in zip(alerts, said.values(), strict=True):
        left = [
            s
            for s in happened
            if s.start <= (forever if alert.end is None else alert.end)
            and alert.start <= (forever if s.end is None else s.end)
        ]
        if not left:
            assert [t.event for t in found] == [Event.RETRACTED]
            event("retracted")
        elif left == [alert]:
            assert found == []
            event("left")
        else:
            assert found[0].event is Event.REVISED
            assert [now["value"] for now in found[0].details["now"]] == [s.value for s in left]
            over = alert.end is None and left[-1].end is not None
            assert [t.event for t in found[1:]] == ([Event.RESOLVED] if over else [])
            event("revised")


class Live:
    """An engine with what stores its alerts and state: as the service has it, reviews and restarts included."""

    def __init__(self, rule: Rule) -> None:
        self.rule, self.rows = rule, 0
        self.came: list[tuple[float, float]] = []
        self.alerts: dict[UUID, Known] = {}
        self.said: list[tuple[UUID, Event]] = []
        self.cut: int | None = None
        self.stands: dict[UUID, tuple[UUID, ...]] = {}
        self.states: dict[str, RuleState] = {}
        self.engine = Engine([rule], [])
        self.engine.restore(Memory(names={("device", DEVICE): "gw/kim-long"}))

    def _all(self) -> Observations:
        return readings(*self.came)

    def take(self, minute: float, value: float) -> None:
        """One more row, judged as it comes."""
        self.came.append((minute, value))
        rows = self._all()
        rows.readings = rows.readings[-1:]
        verdict = self.engine.judge(rows, now_of(rows))
        self._tell(verdict.transitions)
        for state in verdict.states:
            self._keep(state)

    def _keep(self, state: RuleState) -> None:
        if state.state is None:
            self.states.pop(state.key, None)
        else:
            self.states[state.key] = state

    def _tell(self, transitions: list[Transition]) -> None:
        for t in transitions:
            self.said.append((t.alert_id, t.event))
            old = self.alerts.get(t.alert_id)
            started = old.started_at if old else t.started_at
            now = t.details.get("now") if t.event is Event.REVISED else old.said if old else None
            retracted = t.event is Event.RETRACTED
            self.alerts[t.alert_id] = Known(
                t.alert_id, t.key, started, t.state, severity=t.severity, retracted=retracted, said=now
            )

    def review(self) -> None:
        came, subject = self._all(), Subject(SubjectKind.DEVICE, DEVICE, "gw/kim-long")
        now, states = now_of(came), list(self.states.values())
        names = Memory(names={("device", DEVICE): "gw/kim-long"})
        states = [state for state in states if state.rule_id == self.rule.id]
        found = review(
            Case(
                *(self.rule, subject, [], names, came, now, list(self.alerts.values()), states),
                cut=self.cut,
                stands=self.stands,
            )
        )
        self._tell(found.transitions)
        self.stands = found.stands
        if found.states is None:
            return
        meters = {key: state for key, state in self.states.items() if state.rule_id != self.rule.id}
        self.cut, self.states = now, meters | {state.key: state for state in (*found.states, *found.meters)}
        newest = came.readings[[int(np.argmax(came.readings["time"]))]]
        self.engine = Engine([self.rule], [])
        self.engine.restore(Memory(states=list(self.states.values()), readings=newest, names=names.names))
        wanted = self.engine.looks_back()
        if len(wanted.device):  # all that had come by now, in the order in which it happened
            again = np.sort(came.readings, order="time")
            self.engine.recall(again[again["time"] >= wanted.since[0]])

    @property
    def open(self) -> list[UUID]:
        return [alert.id for alert in self.alerts.values() if alert.open]


@settings(max_examples=40)
@given(
    st.sampled_from(
        [
            *({}, {"for": "6m"}, {"keep_firing_for": "6m"}, {"for": "3m", "keep_firing_for": "4m"}),
            {"kind": "window", "aggregate": "mean", "over": "12m", "min_coverage": 0.1},
            {"kind": "window", "aggregate": "max", "over": "36m"},
            {"kind": "window", "aggregate": "mean", "over": "3h", "min_coverage": 0, "raise": 1.7, "clear": 1.6},
            {"kind": "rate", "change": "rising", "over": "4m", "per": "10m", "raise": 1.3, "clear": None},
            {"kind": "stuck", "for": "4m", "min_samples": 2, "tolerance": 0.5, "raise": None, "clear": None},
            {"kind": "range", "high": 1.7, "margin": 0.6, "raise": None, "clear": None},
        ]
    ),
    st.lists(_ROWS, min_size=1, max_size=3),
    _ROWS,
)
@example(  # what begins where what is told ends is not told with it the second time
    {"kind": "stuck", "for": "4m", "min_samples": 2, "tolerance": 0.5, "raise": None, "clear": None},
    [[(28, 1.5), (3, 1.0), (23, 2.0), (22, 1.0)]],
    [(12, 2.0)],
)
def test_after_a_review_the_future_is_that_of_an_engine_to_which_nothing_came_late(
    fields: dict[str, Any], parts: list[list[tuple[float, float]]], after: list[tuple[float, float]]
) -> None:
    rule, live, seen = threshold(**fields), Live(threshold(**fields)), set[float]()
    for part in parts:
        for minute, value in part:
            if minute not in seen:
                seen.add(minute)
                live.take(minute, value)
        live.review()
    told = [(len(live.said), live.said[:])]
    live.review()  # once more, with nothing new: nothing is said
    assert [(len(live.said), live.said)] == told
    now = now_of(readings(*live.came))
    true = Engine([rule], [])
    true.restore(Memory())
    so_far = true.judge(in_time(readings(*live.came)), now).transitions
    lasting = {t.alert_id for t in so_far} - {t.alert_id for t in so_far if t.state is AlertState.RESOLVED}
    assert len(live.open) == len(lasting)
    stands = dict(zip(lasting, live.open, strict=True))
    for minute, value in sorted(after):
        before = len(live.said)
        live.take(minute + 31, value)
        row = readings(*live.came)
        row.readings = row.readings[-1:]
        moved = true.judge(row, now_of(row)).transitions
        expected = [(stands.get(t.alert_id, t.alert_id), t.event) for t in moved]
        assert live.said[before:] == expected
        event("told" if moved else "quiet")


@given(_ROWS)
def test_rows_that_were_not_judged_are_told_by_subject_and_time(rows: list[tuple[float, float]]) -> None:
    engine = Engine([], [])
    engine.restore(Memory())
    verdict = engine.judge(readings(*rows), T0 + 60 * MINUTE)
    newest, missed = -1.0, []
    for minute, _ in rows:
        if minute <= newest:
            missed.append(T0 + int(minute * MINUTE))
        newest = max(newest, minute)
    spans = [Late(SubjectKind.DEVICE, DEVICE, min(missed), max(missed))] if missed else []
    assert verdict.late == spans


def test_taken_in_time_a_late_row_came_at_its_own_time_and_others_as_they_came() -> None:
    came = in_time(readings((0, 1.0), (30, 2.0), (10, 3.0), (40, 4.0)))
    received = ((came.readings["received_at"] - T0) / MINUTE).astype(int)
    assert came.readings["value"].tolist() == [1.0, 3.0, 2.0, 4.0]
    assert received.tolist() == [0, 10, 30, 40]
    assert came.readings["message"].tolist() == [0, 1, 2, 3]


@given(_ROWS)
def test_taken_in_time_no_row_is_late_and_what_was_in_time_is_as_it_was(rows: list[tuple[float, float]]) -> None:
    engine = Engine([], [])
    engine.restore(Memory())
    came = in_time(readings(*rows))
    assert engine.judge(came, T0 + 60 * MINUTE).late == []
    ordered = readings(*sorted(rows))
    assert in_time(ordered).readings.tolist() == ordered.readings.tolist()
