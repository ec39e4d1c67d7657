"""Rows that come late correct what was told: an alert is retracted, revised, or left as it is, and for a reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import shapely
from hypothesis import event, given
from hypothesis import strategies as st

from alerting.engine import Engine
from alerting.model import AlertState, Event, Late, Memory, SubjectKind
from alerting.review import in_time, review
from alerting.rules import RULE, Rule
from decoders.identity import device_id, metric_id
from decoders.records import NULL_I2, POSITION, READING, Name, Observations, empty
from geofence.zones import Zone

MINUTE = 60_000_000
T0 = 1_780_000_000_000_000
DEVICE, LEVEL = device_id("gw", "kim-long"), metric_id("water_level")
NAMES = [Name("device", DEVICE, "gw/kim-long"), Name("metric", LEVEL, "water_level")]
SHIP = 574_000_001
COVE = Zone("cove", "Cove", "Vũng", "core", shapely.box(107.0, 16.0, 107.1, 16.1))
_SAID = {"title": {"en": "High water", "vi": "Nước cao"}, "severity": "major", "source": "test"}


def threshold(**fields: Any) -> Rule:
    said = {"id": "high", "kind": "threshold", "metric": "water_level", "unit": "m", "raise": 2.0, "clear": 1.0}
    return RULE.validate_python(_SAID | said | fields)


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


def told(rule: Rule, came: Observations) -> list[Any]:
    engine = Engine([rule], [COVE])
    engine.restore(Memory())
    tables = [t for t in (came.positions, came.readings) if len(t)]
    verdict = engine.judge(came, int(max(t["received_at"].max() for t in tables)))
    return [t for t in verdict.transitions if t.event is Event.FIRING]


def reviewed(rule: Rule, came: Observations) -> list[Any]:
    """What is said of each alert that was told."""
    return [review(alert.alert_id, rule, [COVE], Memory(), came, T0) for alert in told(rule, came)]


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
    assert reviewed(threshold(), readings((0, 0.5), (30, 2.4), (40, 2.2), (35, 2.3), (10, 0.4))) == [None]


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
    assert reviewed(silent, came) == [None]


def test_what_is_not_found_again_is_left_as_it_is() -> None:
    came = readings((0, 0.5), (30, 2.4), (10, 3.0))
    [alert] = told(threshold(), came)
    assert review(alert.alert_id, threshold(**{"raise": 9.0}), [], Memory(), came, T0) is None


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
    found = reviewed(threshold(), came)
    assert len(found) == len(alerts)
    for alert, said in zip(alerts, found, strict=True):
        forever = float("inf")
        left = [
            s
            for s in happened
            if s.start <= (forever if alert.end is None else alert.end)
            and alert.start <= (forever if s.end is None else s.end)
        ]
        if not left:
            assert said.event is Event.RETRACTED
            event("retracted")
        elif left == [alert]:
            assert said is None
            event("left")
        else:
            assert said.event is Event.REVISED
            assert [now["value"] for now in said.details["now"]] == [s.value for s in left]
            event("revised")


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


def test_of_rows_told_in_time_none_is_late() -> None:
    came = in_time(readings((0, 1.0), (30, 2.0), (10, 3.0)))
    assert (came.readings["time"] == came.readings["received_at"]).all()
    assert came.readings["value"].tolist() == [1.0, 3.0, 2.0]
    assert came.readings["message"].tolist() == [0, 1, 2]
