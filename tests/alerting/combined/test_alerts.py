"""Combined alerts one by one: how conditions are joined, what an alert says, when it is told, and what it costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from alerting.engine import Engine
from alerting.model import AlertState, Event
from alerting.registry.register import UNREGISTERED, Carried, Registry, Site, Vessel
from tests.alerting.combined.streams import (
    DEVICES,
    MINUTE,
    OUT,
    REGISTRY,
    SHIPS,
    START,
    WIND,
    ZONES,
    Message,
    Row,
    Store,
    combined,
    observations,
    rule,
)

if TYPE_CHECKING:
    from alerting.model import Transition
    from alerting.rules import Rule

NUMBER = {name.partition("/")[2]: number for number, name in DEVICES.items()}
A, B, C = SHIPS
EVERY: dict[str, Any] = {"about": "wind", "when": {"all": [{"rule": "wind"}, {"rule": "out"}]}}


def wind(minute: float, value: float = 15.0, device: str = "wind-1") -> Message:
    at = START + int(minute * MINUTE)
    return Message(at, (Row(at, NUMBER[device], "wind_speed", value),))


def rain(minute: float, value: float = 9.0) -> Message:
    at = START + int(minute * MINUTE)
    return Message(at, (Row(at, NUMBER["rain"], "rain_1h", value),))


def fix(minute: float, ship: int = A, lon: float = 107.05, lat: float = 16.0) -> Message:
    at = START + int(minute * MINUTE)
    return Message(at, (Row(at, ship, lon=lon, lat=lat),))


def judged(rules: list[Rule], *messages: Message, until: float = 0, registry: Registry = REGISTRY) -> list[Transition]:
    engine = Engine(rules, ZONES, registry=registry)
    last = max(messages[-1].received, START + int(until * MINUTE))
    return engine.judge(observations(list(messages)), last).transitions


def said(transitions: list[Transition]) -> list[tuple[str, int, str]]:
    """What happened, in which minute, to whom."""
    return [(t.event.value, (t.at - START) // MINUTE, t.subject.name) for t in transitions]


def test_near_is_within_the_distance_of_the_place_of_a_station() -> None:
    near = combined(id="c", within_m=15_000, **EVERY)
    inside, outside = fix(1, lon=107.14), fix(1, lon=107.141)
    assert said(judged([WIND, OUT, near], wind(0), inside)) == [("firing", 1, "gw/wind-1")]
    assert judged([WIND, OUT, near], wind(0), outside) == []
    assert said(judged([WIND, OUT, near], wind(0), outside, fix(2), fix(3, lon=107.2))) == [
        ("firing", 2, "gw/wind-1"),
        ("resolved", 3, "gw/wind-1"),
    ]
    assert said(judged([WIND, OUT, near], fix(0), wind(1), wind(2, 3.0))) == [
        ("firing", 1, "gw/wind-1"),
        ("resolved", 2, "gw/wind-1"),
    ]


def test_a_station_whose_place_nobody_knows_is_near_nothing_and_not_near_is_true_of_it() -> None:
    near = combined(id="c", within_m=15_000, **EVERY)
    not_near = combined(
        id="n", within_m=15_000, about="wind", when={"all": [{"rule": "wind"}, {"not": {"rule": "out"}}]}
    )
    stream = (fix(0), wind(1, device="wind-nowhere"), wind(2))
    assert said(judged([WIND, OUT, near], *stream)) == [("firing", 2, "gw/wind-1")]
    assert said(judged([WIND, OUT, not_near], *stream)) == [("firing", 1, "gw/wind-nowhere")]
    assert said(judged([WIND, OUT, near], *stream, registry=UNREGISTERED)) == []


def test_who_is_asked_to_be_near_something_and_has_no_place_is_known_by_name() -> None:
    near, anywhere = combined(id="c", within_m=15_000, **EVERY), combined(id="a", **EVERY)
    nested = combined(
        id="nested", about="c", within_m=9_000, when={"all": [{"rule": "c"}, {"rule": "left", "join": "near"}]}
    )
    left = rule(id="left", kind="zone", condition="left", zones=["sea"])
    heard = [wind(0), wind(1, device="wind-nowhere"), wind(2, device="wind-2"), rain(3)]
    names = {}
    cases: dict[str, list[Rule]] = {"near": [near], "any": [anywhere], "nested": [nested, near, left]}
    for what, rules in cases.items():
        engine = Engine([WIND, OUT, *rules], ZONES, registry=REGISTRY)
        engine.judge(observations(heard), START + 4 * MINUTE)
        names[what] = engine.without_place()
    assert names == {"near": ["gw/wind-nowhere"], "any": [], "nested": ["gw/wind-nowhere"]}


def test_any_asks_for_no_place_and_counts() -> None:
    anywhere = combined(id="c", about="wind", when={"all": [{"rule": "wind"}, {"rule": "out", "at_least": 2}]})
    found = judged(
        [WIND, OUT, anywhere], wind(0, device="wind-nowhere"), fix(1), fix(2, B, lon=108.5), fix(3, B, lon=105)
    )
    assert said(found) == [("firing", 2, "gw/wind-nowhere"), ("resolved", 3, "gw/wind-nowhere")]


def test_the_same_vessel_must_do_both_unless_anyone_may() -> None:
    east = rule(id="east", kind="zone", condition="inside", zones=["east"], mode="condition")
    both: dict[str, Any] = {"about": "out", "when": {"all": [{"rule": "out"}, {"rule": "east"}]}}
    anyone = {"about": "out", "when": {"all": [{"rule": "out"}, {"rule": "east", "join": "any"}]}}
    stream = (fix(0, A), fix(1, B, lon=107.3))
    assert said(judged([OUT, east, combined(id="c", **both)], *stream)) == [("firing", 1, str(B))]
    assert said(judged([OUT, east, combined(id="c", **anyone)], *stream)) == [
        ("firing", 1, str(B)),
        ("firing", 1, str(A)),
    ]


def test_an_alert_says_what_holds_by_which_thresholds_and_who_is_in_it() -> None:
    made = combined(
        id="c",
        severity="major",
        within_m=20_000,
        about="wind",
        when={"all": [{"rule": "wind"}, {"rule": "out", "at_least": 2}, {"not": {"rule": "rain", "join": "any"}}]},
        title={"en": "Boats in strong wind", "vi": "Tàu trong gió mạnh"},
        utc_offset="+07:00",
    )
    raining = rule(id="rain", kind="threshold", metric="rain_1h", unit="mm", **{"raise": 5})
    fired, over = (
        t
        for t in judged([made, WIND, OUT, raining], wind(0), fix(1, A, 107.1), fix(2, B), fix(2.5, C, 108), rain(3))
        if t.rule_id == "c"
    )
    assert fired.summary_en == f"Boats in strong wind: gw/wind-1, 2 within 20 km: {B}, {A}, at 07:02 on 1 Jan (UTC+7)"
    assert fired.summary_vi == (
        f"Tàu trong gió mạnh: gw/wind-1, 2 đối tượng trong vòng 20 km: {B}, {A}, lúc 07:02 ngày 1/1 (UTC+7)"
    )
    assert (fired.lon, fired.lat) == (107.0, 16.0)
    assert fired.started_at == fired.at == fired.known == START + 2 * MINUTE
    assert fired.details["when"] == {
        "all": [
            {"rule": "wind", "holds": True},
            {"rule": "out", "holds": True},
            {"not": {"rule": "rain", "holds": False}, "holds": True},
        ],
        "holds": True,
    }
    windy, out, _ = fired.details["conditions"]
    assert (windy["thresholds"], windy["unit"], windy["rule_version"]) == ([10.8], "m/s", WIND.version)
    assert (out["join"], out["within_m"], out["at_least"], out["of"]) == ("near", 20_000, 2, 2)
    assert [(m["id"], m["distance_m"], m["lon"], m["seen"]) for m in fired.details["members"]] == [
        (str(B), pytest.approx(5344, abs=1), 107.05, "2026-01-01T00:02:00Z"),
        (str(A), pytest.approx(10689, abs=1), 107.1, "2026-01-01T00:01:00Z"),
    ]
    assert over.state is AlertState.RESOLVED
    assert over.details["reason"] == "conditions"
    assert over.details["when"]["all"][2] == {"not": {"rule": "rain", "holds": True}, "holds": False}
    assert over.summary_en == "Boats in strong wind: over: gw/wind-1, at 07:03 on 1 Jan (UTC+7)"


def test_vessels_go_by_what_the_registry_calls_them() -> None:
    hull = Carried(Vessel("1", registration_no="TTH-90001-TS"), START - 60 * MINUTE, START + 60 * MINUTE)
    known = Registry(carried={A: [hull]}, sites=REGISTRY.sites)
    near = combined(id="c", within_m=15_000, **EVERY)
    boat: dict[str, Any] = {"about": "out", "when": {"all": [{"rule": "out"}, {"rule": "wind"}]}}
    (station,) = judged([WIND, OUT, near], wind(0), fix(1, A), registry=known)
    assert [member["name"] for member in station.details["members"]] == ["TTH-90001-TS"]
    (vessel,) = judged([WIND, OUT, combined(id="c", within_m=15_000, **boat)], wind(0), fix(1, A), registry=known)
    assert vessel.subject.name == "TTH-90001-TS"
    assert "vessel TTH-90001-TS, 1 within 15 km: gw/wind-1" in vessel.summary_en


def test_of_many_members_the_first_fifty_are_named_and_all_are_counted() -> None:
    near = combined(id="c", within_m=50_000, **EVERY)
    ships = [574_100_000 + n for n in range(70)]
    stream = [fix(0, ship, 107.0 + 0.001 * n) for n, ship in enumerate(ships)]
    (fired,) = judged([WIND, OUT, near], *stream, wind(1))
    assert fired.details["members_total"] == 70
    assert [int(member["id"]) for member in fired.details["members"]] == ships[:50]
    assert "574100000, 574100001, 574100002 and 67 more, at" in fired.summary_en


def test_an_alert_becomes_more_and_less_severe_with_the_number_of_its_members() -> None:
    rising = combined(
        id="c",
        within_m=15_000,
        **EVERY,
        levels=[{"at_least": 2, "severity": "major"}, {"at_least": 3, "severity": "critical"}],
    )
    found = judged(
        [WIND, OUT, rising], wind(0), fix(1, A), fix(2, B), fix(3, C), fix(4, A, 108), fix(5, B, 108), wind(6, 3.0)
    )
    assert [(t.event, t.severity) for t in found] == [
        (Event.FIRING, "warning"),
        (Event.ESCALATED, "major"),
        (Event.ESCALATED, "critical"),
        (Event.DEESCALATED, "major"),
        (Event.DEESCALATED, "warning"),
        (Event.RESOLVED, "warning"),
    ]
    assert len({t.alert_id for t in found}) == 1
    assert "now more severe: gw/wind-1, 3 within 15 km" in found[2].summary_en


def test_it_must_hold_for_so_long_and_not_hold_for_so_long() -> None:
    slow = combined(id="c", within_m=15_000, **EVERY, **{"for": "10m", "keep_firing_for": "5m"})
    short = (wind(0), fix(1), fix(10, lon=108), fix(11), fix(20, lon=108))
    assert judged([WIND, OUT, slow], *short, until=60) == []
    away_for_a_while = (wind(0), fix(1), fix(12, lon=108), fix(16), fix(20, lon=108))
    assert said(judged([WIND, OUT, slow], *away_for_a_while, until=60)) == [
        ("firing", 11, "gw/wind-1"),
        ("resolved", 25, "gw/wind-1"),
    ]


def test_rows_of_one_message_are_taken_in_at_once() -> None:
    """A burst that a gateway sends of what it has kept tells of an episode that is over."""
    near = combined(id="c", within_m=15_000, **EVERY)
    burst = Message(
        START + 9 * MINUTE,
        tuple(
            Row(START + n * MINUTE, NUMBER["wind-1"], "wind_speed", value)
            for n, value in enumerate([15.0, 3.0, 15.0, 3.0])
        ),
    )
    assert judged([WIND, OUT, near], fix(0), burst) == []


def test_nothing_is_told_of_a_condition_though_it_is_kept() -> None:
    store, engine = Store(), Engine([WIND], [], registry=REGISTRY)
    first = [wind(0)]
    store.commit(first, engine.judge(observations(first), START), START)
    assert store.transitions == []
    ((state,),) = [list(store.states.values())]
    assert (state.rule_id, state.state and state.state["condition"]) == ("wind", True)
    engine = Engine([WIND], [], registry=REGISTRY)
    engine.restore(store.memory())
    store.commit([wind(1, 3.0)], engine.judge(observations([wind(1, 3.0)]), START + MINUTE), START + MINUTE)
    assert (store.transitions, store.states) == ([], {})


@pytest.mark.parametrize(("was", "now"), [("condition", "live"), ("live", "condition"), ("shadow", "condition")])
def test_a_change_of_mode_closes_what_was_told_and_nothing_else(was: str, now: str) -> None:
    before, after = (rule(**WIND.body | {"mode": mode}) for mode in (was, now))
    near = combined(id="c", within_m=15_000, **EVERY)
    store, engine = Store(), Engine([before, OUT, near], ZONES, registry=REGISTRY)
    first = [wind(0), fix(1)]
    store.commit(first, engine.judge(observations(first), START + MINUTE), START + MINUTE)
    engine = Engine([after, OUT, near], ZONES, registry=REGISTRY)
    engine.restore(store.memory())
    told = engine.judge(observations([wind(3)]), START + 4 * MINUTE).transitions
    opened = [t for t in store.transitions if t.rule_id == "wind"]
    closed = [t for t in told if t.rule_id == "wind" and t.state is AlertState.RESOLVED]
    assert [t.alert_id for t in closed] == [t.alert_id for t in opened]
    assert all(t.details["reason"] == "withdrawn" for t in closed)
    assert len([t for t in told if t.rule_id == "wind" and t.state is AlertState.FIRING]) == (now == "live")
    assert [t for t in told if t.rule_id == "c"] == []  # of a condition that holds again


def test_a_rule_that_is_new_looks_at_what_holds_and_a_place_that_is_corrected_ends_what_does_not() -> None:
    near = combined(id="c", within_m=15_000, **EVERY)
    store, engine = Store(), Engine([WIND, OUT], ZONES, registry=REGISTRY)
    first = [wind(0), fix(1)]
    store.commit(first, engine.judge(observations(first), START + MINUTE), START + MINUTE)
    engine = Engine([WIND, OUT, near], ZONES, registry=REGISTRY)
    engine.restore(store.memory())
    verdict = engine.judge(observations([]), START + 2 * MINUTE)
    assert said(verdict.transitions) == [("firing", 2, "gw/wind-1")]
    store.commit([], verdict, START + 2 * MINUTE)
    engine = Engine([WIND, OUT, near], ZONES, registry=Registry(sites={"gw/wind-1": Site(108.0, 16.0)}))
    engine.restore(store.memory())
    assert said(engine.judge(observations([]), START + 3 * MINUTE).transitions) == [("resolved", 3, "gw/wind-1")]


def test_no_row_is_looked_at_while_a_rule_that_is_needed_holds_of_nobody() -> None:
    near = combined(id="c", within_m=15_000, **EVERY)
    engine = Engine([WIND, OUT, near], ZONES, registry=REGISTRY)
    ships = [574_100_000 + n for n in range(50)]
    fleet = [fix(n, ship, 107.0 + 0.001 * k + 0.0001 * n) for n in range(20) for k, ship in enumerate(ships)]
    engine.judge(observations(fleet[:500]), fleet[499].received)
    assert engine.looked_at == 0
    breeze = [wind(10.5, 3.0), wind(10.6, 3.0)]
    engine.judge(observations(breeze), breeze[-1].received)
    engine.judge(observations([wind(10.7)]), START + 11 * MINUTE)
    assert engine.looked_at == 0
    engine.judge(observations(fleet[550:600]), fleet[599].received)
    assert engine.looked_at == 50
    # A ship that the rule is not about costs nothing even then.
    engine.judge(observations([fix(12, 574_200_000, lon=105.0)]), START + 12 * MINUTE)
    assert engine.looked_at == 50
    engine.judge(observations([wind(12.1, 3.0)]), START + 13 * MINUTE)
    engine.judge(observations(fleet[700:]), fleet[-1].received)
    assert engine.looked_at == 50
