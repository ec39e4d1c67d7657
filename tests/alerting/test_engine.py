"""Single promises of the engine: what people read, what is kept, and what happens when rules change."""

from __future__ import annotations

import gc
from datetime import date
from typing import Any

import numpy as np
import pytest
import shapely

from alerting import messages, pack
from alerting.engine import Engine
from alerting.model import AlertState, Memory, Severity, SubjectKind, Transition, Verdict, alert_id
from alerting.registry.names import Names
from alerting.rules import RULE, Rule
from decoders.identity import device_id, metric_id, transponder_id
from decoders.records import POSITION, READING, Name, Observations, empty
from geofence.zones import Zone

MINUTE = 60_000_000
T0 = 1_763_766_600_000_000  # 2025-11-21T23:10Z, 06:10 on the 22nd at Huế
KIM_LONG = device_id("hue-gw-1", "kim-long")
LEVEL = metric_id("water_level")
NAMES = {("device", KIM_LONG): "hue-gw-1/kim-long"}
SQUARE = Zone("core", "the core", "vùng lõi", "t", shapely.box(107.0, 16.0, 107.1, 16.1), source="annex")

_BASE = {"title": {"en": "Alarm III", "vi": "Báo động III"}, "severity": "critical", "source": "Decision"}


def rule(**fields: Any) -> Rule:
    return RULE.validate_python(_BASE | fields)


def level(**fields: Any) -> Rule:
    return rule(**({"id": "r", "kind": "threshold", "metric": "water_level", "unit": "m", "raise": 3.5} | fields))


def readings(*rows: tuple[float, float]) -> Observations:
    """(minutes after T0, value), received when taken."""
    table = empty(READING, len(rows))
    table["device"], table["metric"] = KIM_LONG, LEVEL
    table["time"] = table["received_at"] = [T0 + int(m * MINUTE) for m, _ in rows]
    table["value"] = [v for _, v in rows]
    table["message"] = range(len(rows))
    return Observations(messages=len(rows), readings=table)


def positions(*rows: tuple[int, float, float], ship: int = 574_000_001) -> Observations:
    table = empty(POSITION, len(rows))
    table["transponder"] = ship
    table["time"] = table["received_at"] = [T0 + m * MINUTE for m, _, _ in rows]
    table["lon"], table["lat"] = [x for _, x, _ in rows], [y for _, _, y in rows]
    table["message"] = range(len(rows))
    return Observations(messages=len(rows), positions=table)


def states(found: list[Transition]) -> list[tuple[str, str]]:
    return [(t.rule_id, t.state.value) for t in found]


def test_a_level_is_told_in_both_languages_with_what_a_duty_officer_needs() -> None:
    engine = Engine([level(clear=3.4, note="n", confidence="confirm")], [], names=NAMES)
    fired, resolved = engine.judge(readings((0, 3.52), (10, 3.45), (20, 3.4)), T0 + 20 * MINUTE).transitions
    assert fired.summary_en == (
        "Alarm III: Water level at hue-gw-1/kim-long 3.52 m, at or above 3.5 m since 06:10 on 22 Nov (UTC+7)"
    )
    assert fired.summary_vi == (
        "Báo động III: Mực nước tại hue-gw-1/kim-long 3,52 m, bằng hoặc trên 3,5 m từ 06:10 ngày 22/11 (UTC+7)"
    )
    assert (fired.value, fired.at, fired.started_at, fired.severity) == (3.52, T0, T0, Severity.CRITICAL)
    assert fired.alert_id == resolved.alert_id == alert_id("r", fired.subject, "water_level", T0)
    assert fired.details == {
        "title": {"en": "Alarm III", "vi": "Báo động III"},
        "kind": "threshold",
        "source": "Decision",
        "confidence": "confirm",
        "note": "n",
        "metric": "water_level",
        "unit": "m",
        "threshold": 3.5,
        "clear": 3.4,
        "direction": "above",
        "inclusive": True,
        "for_seconds": 0,
        "since": "2025-11-21T23:10:00Z",
        "row": {
            "table": "readings",
            "time": "2025-11-21T23:10:00Z",
            "device_id": str(KIM_LONG),
            "metric_id": str(LEVEL),
        },
    }
    assert (resolved.state, resolved.at, resolved.value) == (AlertState.RESOLVED, T0 + 20 * MINUTE, 3.4)
    assert resolved.summary_en.endswith("over: water level at hue-gw-1/kim-long 3.4 m at 06:30 on 22 Nov (UTC+7)")


def test_an_alert_says_whom_its_rule_wants_told_where_it_fires() -> None:
    rules = [level(id="all"), level(id="some", channels=["border", "room"], mode="shadow")]
    found = Engine(rules, []).judge(readings((0, 3.6), (1, 0.0)), T0 + MINUTE).transitions
    assert [(t.rule_id, str(t.state), t.channels, t.shadow) for t in found] == [
        ("all", "firing", None, False),
        ("some", "firing", ("border", "room"), True),
        ("all", "resolved", None, False),
        ("some", "resolved", None, True),
    ]


def test_an_equal_value_counts_only_where_the_rule_says_so() -> None:
    rules = [level(id="incl"), level(id="excl", inclusive=False)]
    assert states(Engine(rules, []).judge(readings((0, 3.5)), T0).transitions) == [("incl", "firing")]


def test_a_held_level_fires_on_a_reading_that_still_holds_it_and_its_time_is_start_plus_for() -> None:
    engine = Engine([level(**{"for": "10m"})], [])
    verdict = engine.judge(readings((0, 4), (9.9, 4), (25, 5)), T0 + 25 * MINUTE)
    [fired] = verdict.transitions
    assert (fired.at, fired.started_at) == (T0 + 10 * MINUTE, T0)
    assert fired.value == 4  # the tick of the last row came after start plus for: silence had fired it


def test_a_held_level_fires_without_a_further_reading_only_after_the_time_has_passed() -> None:
    engine = Engine([level(**{"for": "10m"})], [])
    assert engine.judge(readings((0, 4)), T0 + 10 * MINUTE).transitions == []
    assert states(engine.judge(Observations(), T0 + 10 * MINUTE + 1).transitions) == [("r", "firing")]
    assert engine.judge(Observations(), T0 + 60 * MINUTE).transitions == []


def test_a_burst_of_old_data_is_judged_by_its_own_times() -> None:
    """All of it is received at once, hours late: up at 0, down at 5 minutes is no alarm held for 10."""
    burst = readings((0, 4), (5, 1), (30, 4), (45, 4), (50, 1))
    burst.readings["received_at"] = T0 + 300 * MINUTE
    verdict = Engine([level(**{"for": "10m"})], []).judge(burst, T0 + 300 * MINUTE)
    assert [(t.state, t.at) for t in verdict.transitions] == [
        (AlertState.FIRING, T0 + 40 * MINUTE),
        (AlertState.RESOLVED, T0 + 50 * MINUTE),
    ]


def test_late_rows_are_counted_and_not_judged() -> None:
    verdict = Engine([level()], []).judge(readings((5, 1), (4, 9), (5, 9)), T0 + 5 * MINUTE)
    assert (verdict.late_readings, verdict.transitions) == (2, [])
    verdict = Engine([], []).judge(positions((5, 1, 1), (4, 1, 1)), T0 + 5 * MINUTE)
    assert verdict.late_positions == 1


def silence(**fields: Any) -> Rule:
    return rule(**({"id": "q", "kind": "no_data", "metric": "water_level", "after": "30m"} | fields))


def test_silence_fires_at_the_deadline_and_ends_with_the_next_row() -> None:
    engine = Engine([silence()], [], names=NAMES)
    engine.judge(readings((0, 1)), T0)
    assert engine.judge(Observations(), T0 + 30 * MINUTE).transitions == []
    [fired] = engine.judge(Observations(), T0 + 47 * MINUTE).transitions
    assert (fired.at, fired.started_at) == (T0 + 30 * MINUTE, T0)
    assert fired.summary_en == (
        "Alarm III: no water level from hue-gw-1/kim-long for more than 30 min, last heard at 06:10 on 22 Nov (UTC+7)"
    )
    [resolved] = engine.judge(readings((50, 1)), T0 + 50 * MINUTE).transitions
    assert (resolved.at, resolved.alert_id) == (T0 + 50 * MINUTE, fired.alert_id)


def test_a_station_that_sends_old_data_is_back() -> None:
    engine = Engine([silence()], [])
    engine.judge(readings((0, 1)), T0 + 60 * MINUTE)
    backlog = readings((1, 1), (2, 1))
    backlog.readings["received_at"] = T0 + 70 * MINUTE
    [resolved] = engine.judge(backlog, T0 + 70 * MINUTE).transitions
    assert (resolved.state, resolved.at) == (AlertState.RESOLVED, T0 + 70 * MINUTE)


def test_a_repetition_of_an_old_row_does_not_keep_a_dead_station_alive() -> None:
    engine = Engine([silence()], [])
    engine.judge(readings((0, 1)), T0)
    again = readings((0, 1))
    again.readings["received_at"] = T0 + 20 * MINUTE
    verdict = engine.judge(again, T0 + 31 * MINUTE)
    assert states(verdict.transitions) == [("q", "firing")]


def test_a_station_never_heard_is_not_missed() -> None:
    assert Engine([silence()], [], names=NAMES).judge(Observations(), T0 + 10_000 * MINUTE).transitions == []


def on_core(**fields: Any) -> Rule:
    return rule(**({"id": "z", "kind": "zone", "zones": ["core"], "condition": "entered"} | fields))


def test_an_entry_is_told_with_the_zone_and_the_fix_before() -> None:
    engine = Engine([on_core()], [SQUARE])
    fired, over = engine.judge(positions((0, 106.95, 16.05), (30, 107.05, 16.05), (60, 106.95, 16.05)), T0).transitions
    assert fired.summary_en == "Alarm III: vessel 574000001 entered the core at 06:40 on 22 Nov (UTC+7)"
    assert fired.summary_vi == "Báo động III: tàu 574000001 đi vào vùng lõi lúc 06:40 ngày 22/11 (UTC+7)"
    assert (fired.zone_id, fired.lon, fired.lat, fired.key) == ("core", 107.05, 16.05, "core")
    assert fired.details["previous_fix"] == {"time": "2025-11-21T23:10:00Z", "lon": 106.95, "lat": 16.05}
    assert fired.details["zone_version"] == SQUARE.version
    assert over.details["reason"] == "left"
    assert over.at == T0 + 60 * MINUTE


def test_what_crossed_again_within_the_time_belongs_to_the_same_alert() -> None:
    engine = Engine([on_core(condition="crossed", resolve_after="2h")], [SQUARE])
    to_and_fro = positions(*[(30 * i, 106.95 + 0.2 * (i % 2), 16.05) for i in range(4)])
    fired, over = engine.judge(to_and_fro, T0 + 300 * MINUTE).transitions
    assert abs(fired.at - (T0 + 7.5 * MINUTE)) < 5
    assert fired.lon == pytest.approx(107.0)
    assert over.details["count"] == 3
    assert abs(over.at - (T0 + (60 + 7.5 + 120) * MINUTE)) < 5


def test_a_transponder_that_is_not_ais_goes_by_the_name_it_was_told() -> None:
    ship = transponder_id("vms", "HUE-0012")
    batch = positions((0, 107.05, 16.05), ship=ship)
    batch.names = [Name("transponder", ship, "HUE-0012", "vms")]
    [fired] = Engine([on_core(condition="inside")], [SQUARE]).judge(batch, T0).transitions
    assert (fired.subject.name, fired.subject.kind) == ("HUE-0012", SubjectKind.TRANSPONDER)


# --- restarts with other rules -------------------------------------------------------------------------------------


def after_restart(verdict: Verdict, batch: Observations, rules: list[Rule], zones: list[Zone]) -> Engine:
    engine = Engine(rules, zones)
    engine.restore(
        Memory(states=verdict.states, positions=batch.positions[-1:], readings=batch.readings[-1:], names=NAMES)
    )
    return engine


@pytest.mark.parametrize(
    "rules",
    [[], [level(enabled=False)], [level(devices=["phu-oc"])], [rule(id="r", kind="no_data", metric="ph", after="1h")]],
)
def test_an_alert_whose_rule_is_gone_is_closed_and_says_so(rules: list[Rule]) -> None:
    batch = readings((0, 4))
    verdict = Engine([level()], [], names=NAMES).judge(batch, T0)
    engine = after_restart(verdict, batch, rules, [])
    closed = engine.judge(Observations(), T0 + MINUTE)
    [resolved] = closed.transitions
    assert resolved.alert_id == verdict.transitions[0].alert_id
    assert (resolved.state, resolved.at, resolved.severity) == (AlertState.RESOLVED, T0 + MINUTE, Severity.CRITICAL)
    assert resolved.summary_en == "Alarm III: over: the rule no longer watches hue-gw-1/kim-long"
    assert [s.state for s in closed.states] == [None]
    assert engine.judge(Observations(), T0 + 2 * MINUTE).transitions == []


def test_an_alert_in_a_zone_that_is_gone_is_closed() -> None:
    batch = positions((0, 107.05, 16.05))
    verdict = Engine([on_core(condition="inside")], [SQUARE]).judge(batch, T0)
    engine = after_restart(verdict, batch, [], [])
    assert states(engine.judge(Observations(), T0).transitions) == [("z", "resolved")]


def test_a_new_rule_sees_a_vessel_that_was_inside_before_the_restart_at_its_next_fix() -> None:
    batch = positions((0, 107.05, 16.05))
    verdict = Engine([], [SQUARE]).judge(batch, T0)
    engine = after_restart(verdict, batch, [on_core(condition="inside")], [SQUARE])
    assert states(engine.judge(positions((1, 107.05, 16.05)), T0 + MINUTE).transitions) == [("z", "firing")]


def test_an_open_alert_of_a_vessel_the_database_no_longer_knows_ends_when_it_is_seen_outside() -> None:
    batch = positions((0, 107.05, 16.05))
    verdict = Engine([on_core(condition="inside")], [SQUARE]).judge(batch, T0)
    engine = Engine([on_core(condition="inside")], [SQUARE])
    engine.restore(Memory(states=verdict.states))
    assert states(engine.judge(positions((1, 106.0, 16.05)), T0 + MINUTE).transitions) == [("z", "resolved")]


def test_a_level_whose_rule_ends_is_over_with_the_next_reading() -> None:
    rules = [level(valid_to=date(2025, 11, 22)), level(id="new", valid_from=date(2025, 11, 23))]
    verdict = Engine(rules, []).judge(readings((0, 4), (18 * 60, 4)), T0 + 18 * 60 * MINUTE)
    assert states(verdict.transitions) == [("r", "firing"), ("r", "resolved"), ("new", "firing")]


def test_rules_that_cannot_be_used_together_are_refused() -> None:
    with pytest.raises(ValueError, match="two rules share an id"):
        Engine([level(), level()], [])
    with pytest.raises(ValueError, match="unknown zones: core"):
        Engine([on_core()], [])


def test_states_are_ready_for_json() -> None:
    import json

    rules = [level(), level(id="p", **{"for": "1h"}), silence(), on_core(condition="inside"), on_core(id="e")]
    batch = readings((0, 4))
    batch.positions = positions((0, 107.05, 16.05)).positions
    verdict = Engine(rules, [SQUARE]).judge(batch, T0 + 31 * MINUTE)
    assert {s.rule_id for s in verdict.states} == {"r", "p", "q", "z", "(fences)"}
    for state in verdict.states:
        assert state.state is not None
        assert json.loads(json.dumps(dict(state.state))) == state.state


def test_a_batch_of_ten_thousand_quiet_rows_is_judged_without_touching_each() -> None:
    """Not a benchmark: nothing is to be decided, so the parts that decide must not be called."""
    engine = Engine([level(), silence(), on_core(condition="inside")], [SQUARE])
    rng = np.random.default_rng(1)
    batch = Observations(messages=20_000, positions=empty(POSITION, 10_000), readings=empty(READING, 10_000))
    for table in (batch.positions, batch.readings):
        table["time"] = table["received_at"] = T0 + np.arange(10_000) * 1000
        table["message"] = np.arange(10_000)
    batch.positions["transponder"] = 574_000_000 + rng.integers(0, 500, 10_000)
    batch.positions["lon"], batch.positions["lat"] = 108.0, 17.0
    batch.readings["device"], batch.readings["metric"] = rng.integers(1, 200, 10_000), LEVEL
    assert engine.judge(batch, T0 + 10**8).transitions == []
    engine._fences._move = None  # type: ignore[method-assign,assignment]
    engine._thresholds._look = None  # type: ignore[method-assign,assignment]
    engine._silence._row = None  # type: ignore[method-assign,assignment]
    for table in (batch.positions, batch.readings):
        table["time"] += 10**8
        table["received_at"] += 10**8
    assert engine.judge(batch, T0 + 2 * 10**8).transitions == []


def test_between_its_two_levels_a_pending_alert_is_over_and_a_fired_one_goes_on() -> None:
    for between, expected in ((5, []), (15, [("r", "firing")])):
        engine = Engine([level(clear=1.0, **{"for": "10m"})], [])
        told = [engine.judge(readings((m, value)), T0 + m * MINUTE) for m, value in ((0, 4), (between, 2), (16, 2))]
        assert [pair for verdict in told for pair in states(verdict.transitions)] == expected


def test_of_two_silences_the_shorter_is_not_missed_while_the_longer_is_waited_for() -> None:
    engine = Engine([silence(id="long", after="2h"), silence(id="short", after="10m")], [])
    assert states(engine.judge(readings((0, 1)), T0 + 11 * MINUTE).transitions) == [("short", "firing")]
    assert states(engine.judge(readings((20, 1)), T0 + 20 * MINUTE).transitions) == [("short", "resolved")]
    assert engine.judge(Observations(), T0 + 30 * MINUTE).transitions == []
    assert states(engine.judge(Observations(), T0 + 30 * MINUTE + 1).transitions) == [("short", "firing")]
    assert states(engine.judge(Observations(), T0 + 140 * MINUTE + 1).transitions) == [("long", "firing")]


def test_two_hours_of_our_own_silence_alarm_nobody_and_a_station_that_stays_away_is_told() -> None:
    """What was sent meanwhile waits in the broker, and comes after the start."""
    engine = Engine([silence(after="30m"), level(**{"for": "20m"})], [])
    memory = Memory(readings=readings((0, 4)).readings)
    memory.states = engine.judge(readings((0, 4)), T0).states
    restarted = Engine([silence(after="30m"), level(**{"for": "20m"})], [])
    restarted.restore(memory)
    restarted.deaf(T0 + 5 * MINUTE, T0 + 125 * MINUTE)
    first = restarted.judge(Observations(), T0 + 125 * MINUTE)
    assert first.transitions == []
    waited = readings((15, 1))  # back to normal, heard a minute after the start
    waited.readings["received_at"] = T0 + 126 * MINUTE
    assert restarted.judge(waited, T0 + 156 * MINUTE).transitions == []
    told = restarted.judge(Observations(), T0 + 156 * MINUTE + 1).transitions
    assert [(t.rule_id, t.at) for t in told] == [("q", T0 + 156 * MINUTE)]

    again = Engine([silence(after="30m")], [])  # killed before the station was heard, and restarted at once
    again.restore(Memory(readings=memory.readings, states=first.states))
    assert again.judge(Observations(), T0 + 150 * MINUTE).transitions == []
    assert [t.at for t in again.judge(Observations(), T0 + 151 * MINUTE).transitions] == [T0 + 150 * MINUTE]


def test_no_deadline_passes_before_what_waited_can_have_come_and_short_stops_change_nothing() -> None:
    for minutes, at in ((60, 29 + 60 + 10), (1, 30)):
        engine = Engine([silence(after="30m")], [])
        engine.judge(readings((0, 1)), T0)
        engine.deaf(T0 + 29 * MINUTE, T0 + (29 + minutes) * MINUTE)
        [told] = engine.judge(Observations(), T0 + 200 * MINUTE).transitions
        assert told.at == T0 + at * MINUTE


def test_ten_thousand_alerts_of_a_rule_that_is_gone_are_withdrawn_at_once() -> None:
    batch = Observations(messages=10_000, readings=empty(READING, 10_000))
    batch.readings["device"], batch.readings["metric"] = np.arange(10_000), LEVEL
    batch.readings["time"] = batch.readings["received_at"] = T0
    batch.readings["value"], batch.readings["message"] = 4.0, np.arange(10_000)
    fired = Engine([level()], []).judge(batch, T0)
    assert len(fired.transitions) == 10_000
    engine = Engine([level(id="renamed")], [])
    engine.restore(Memory(states=fired.states, readings=batch.readings))
    closed = engine.judge(Observations(), T0 + MINUTE)
    assert [t.alert_id for t in closed.transitions] == [t.alert_id for t in fired.transitions]
    assert {(t.state, t.details["reason"]) for t in closed.transitions} == {(AlertState.RESOLVED, "withdrawn")}
    assert all(state.state is None for state in closed.states)
    assert len(closed.states) == 10_000
    assert engine.judge(Observations(), T0 + MINUTE).transitions == []


# --- words ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "unit", "en", "vi"),
    [(3.5, "m", "3.5 m", "3,5 m"), (7.0, "1", "7", "7"), (1234567.0, "µg/m³", "1234567 µg/m³", "1234567 µg/m³")],
)
def test_quantities(value: float, unit: str, en: str, vi: str) -> None:
    assert messages.quantity(value, unit) == (en, vi)


@pytest.mark.parametrize(
    ("offset", "en"),
    [
        ("+07:00", "06:10 on 22 Nov (UTC+7)"),
        ("-03:30", "19:40 on 21 Nov (UTC-3:30)"),
        ("+00:00", "23:10 on 21 Nov (UTC)"),
    ],
)
def test_clocks(offset: str, en: str) -> None:
    assert messages.clock(T0, offset).en == en


@pytest.mark.parametrize(
    ("minutes", "vi"), [(90, "1 giờ 30 phút"), (2880, "2 ngày"), (0, "0 giây"), (1.5, "1 phút 30 giây")]
)
def test_spans(minutes: float, vi: str) -> None:
    assert messages.span(int(minutes * MINUTE)).vi == vi


def test_names_of_other_kinds_are_not_kept() -> None:
    names = Names()
    names.learn([Name("metric", 1, "ph"), Name("device", 1, "gw/d")])
    assert names.device(1).name == "gw/d"
    assert names.transponder(1).name == "1"


def test_an_engine_is_gone_with_its_last_reference() -> None:
    """Reviews make one after the other, and no collection comes soon for what are few objects that hold much."""
    book = pack.load(["pack:hue"])
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        Engine(book.rules, book.zones)
        gc.collect()
        left = {type(one).__name__ for one in gc.garbage if type(one).__module__.startswith(("alerting", "geofence"))}
        assert left == set()
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
