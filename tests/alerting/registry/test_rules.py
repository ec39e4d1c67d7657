"""Rules that ask the registry: told the same however rows fall into batches, and by a registry that changes at once."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import shapely
from hypothesis import event, given, settings
from hypothesis import strategies as st

from alerting.engine import Engine
from alerting.model import AlertState
from alerting.registry.register import BEGINNING, END, Carried, Registry, Site, Vessel
from geofence import apart
from geofence.zones import Zone
from tests.alerting.oracle import Item, Oracle
from tests.alerting.test_engine_stream import (
    DEVICES,
    MINUTE,
    SHIPS,
    START,
    ZONES,
    Store,
    level,
    observations,
    on_zone,
    run,
    streams,
    told,
)
from tests.alerting.vessels import streams as vessels

if TYPE_CHECKING:
    from collections.abc import Iterator

    from alerting.model import Transition
    from alerting.rules import Rule

EDGES = [BEGINNING, *(START + minutes * MINUTE for minutes in (5, 40, 90, 125)), END]
RULES = [
    on_zone(id="in-small", condition="inside", scope={"below_length_m": 12}),
    on_zone(id="in-large", condition="inside", scope={"min_length_m": 15, "vms": True, "ship_types": [30]}),
    on_zone(id="in-expired", condition="inside", zones=["a"], scope={"licence": "expired"}),
    on_zone(id="in-unlicensed", condition="inside", settle="6m", scope={"licence": "none"}),
    on_zone(id="in-nobody-s", condition="inside", scope={"registered": False, "exclude": {"ship_types": [70]}}),
    on_zone(id="enter-listed", condition="entered", scope={"lists": ["watched"], "exclude": {"min_length_m": 15}}),
    on_zone(id="enter-settled", condition="entered", settle_fixes=2, exit_buffer_m=3000, scope={"below_length_m": 15}),
    on_zone(id="leave-valid", condition="left", zones=["a", "b"], settle="5m", scope={"licence": "valid"}),
    on_zone(id="over-valid", condition="crossed", zones=["border", "thin"], scope={"licence": "valid"}),
    on_zone(id="dwell-expired", condition="dwell", scope={"licence": "expired", "vms": True}, **{"for": "12m"}),
    on_zone(id="near-small", condition="approaching", within="30m", imminent="4m", scope={"below_length_m": 12}),
    on_zone(id="fast-large", condition="speed", zones=["a", "b"], min_sog=8, scope={"min_length_m": 12}),
]


@pytest.fixture(autouse=True, scope="module")
def _one_vessel_a_number() -> Iterator[None]:
    """The oracle knows of no two vessels under one identity: ``tests/alerting/vessels/test_apart.py`` is about them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(apart, "LEAST", 2**62)
        yield


def spans(draw: st.DrawFn) -> tuple[int, int]:
    first, last = sorted(draw(st.lists(st.sampled_from(EDGES), min_size=2, max_size=2, unique=True)))
    return first, last


@st.composite
def registries(draw: st.DrawFn) -> Registry:
    """Who carries which transponder changes while they are heard, and so do licences."""
    carried: dict[int, list[Carried]] = {}
    for number in range(draw(st.integers(0, 4))):
        vessel = Vessel(
            f"S-{number}",
            registration_no=draw(st.sampled_from([None, f"HUE-{number}-TS"])),
            length_m=draw(st.sampled_from([None, 8.0, 12.0, 15.0, 20.0])),
            licensed=spans(draw) if draw(st.booleans()) else None,
            lists=draw(st.sampled_from([frozenset(), frozenset({"watched"})])),
        )
        for ship in draw(st.lists(st.sampled_from(SHIPS), min_size=1, max_size=2, unique=True)):
            carried.setdefault(ship, []).append(Carried(vessel, *spans(draw)))
    # Of two who have it since the same time the first counts, and the oracle's choice is as good.
    once = {ship: list({one.since: one for one in some}.values()) for ship, some in carried.items()}
    return Registry(once, version="1")


@settings(max_examples=100)
@given(
    streams(),
    registries(),
    st.lists(st.tuples(st.integers(0, 30), st.floats(0, 1)), max_size=6),
    st.sampled_from([0, 45, 200]),
    st.one_of(st.just(RULES), st.sampled_from(RULES).map(lambda rule: [rule])),
)
def test_batches_and_restarts_change_nothing_and_all_agree_with_the_oracle(
    items: list[Item], registry: Registry, cuts: list[tuple[int, float]], rest: int, rules: list[Rule]
) -> None:
    end = (items[-1].received if items else START) + rest * MINUTE
    oracle = Oracle(rules, ZONES, DEVICES, registry)
    for item in items:
        oracle.feed(item)
    oracle.tick(end)
    for rule_id, *_ in oracle.told:
        event(rule_id)

    whole = run(items, [], end, restart=False, rules=rules, registry=registry)
    assert told(whole.transitions) == oracle.told
    for restart in (False, True):
        parts = run(items, cuts, end, restart=restart, rules=rules, registry=registry)
        assert parts.transitions == whole.transitions
        assert parts.states == whole.states


# --- detectors

A, B, C = 574_000_001, 574_000_002, vessels.vms(1)
PORT = [Zone("port", "P", "P", "port", shapely.box(107.62, 16.54, 107.66, 16.56))]
DETECTORS = [
    vessels.rule(id="gap-long", kind="gap", after="2h", known_for="10m", scope={"min_length_m": 15}),
    vessels.rule(id="gap-expired", kind="gap", after="1h", known_for="10m", scope={"licence": "expired"}),
    vessels.rule(id="jump-short", kind="jump", scope={"below_length_m": 15}),
    vessels.rule(id="clash-listed", kind="identity_clash", min_fixes=2, scope={"lists": ["watched"]}),
    vessels.rule(id="distress-long", kind="distress", scope={"min_length_m": 15, "exclude": {"lists": ["watched"]}}),
    vessels.rule(id="meet-short", kind="encounter", mixed=True, scope={"below_length_m": 15}, **{"for": "20m"}),
    vessels.rule(
        id="carried", kind="carried_beacons", mixed=True, path=500.0, scope={"registered": True}, **{"for": "20m"}
    ),
    vessels.rule(id="idle-valid", kind="loitering", scope={"licence": "valid"}, **{"for": "2h"}),
    vessels.rule(id="visit-short", kind="port_visit", ports=["port"], scope={"below_length_m": 15}),
    vessels.rule(id="fish-long", kind="fishing", min_fixes=3, scope={"min_length_m": 15}, **{"for": "15m"}),
]


@st.composite
def voyages(draw: st.DrawFn) -> list[vessels.Row]:
    received, rows = vessels.START, []
    lon, lat = draw(st.sampled_from([(107.64, 16.55), (108.6, 16.5)]))
    for _ in range(draw(st.integers(0, 40))):
        received += draw(st.sampled_from([1, 4, 6, 6, 12, 30, 120])) * MINUTE
        where = lon + draw(st.sampled_from([0, 0, 0.0005, 0.004, 0.03, 2.0])), lat + draw(st.sampled_from([0, 0.004]))
        sog, status = draw(st.sampled_from([None, 0.1, 2.5, 9.0])), draw(st.sampled_from([None, 0, 7, 14]))
        ship = draw(st.sampled_from([A, A, B, C]))
        rows.append(vessels.Row("position", received, received, ship, *where, sog=sog, nav_status=status))
    return rows


@st.composite
def fleets(draw: st.DrawFn) -> Registry:
    carried: dict[int, list[Carried]] = {}
    edges = [BEGINNING, *(vessels.START + minutes * MINUTE for minutes in (30, 90, 300)), END]
    for ship in (A, B, C):
        for number in range(draw(st.integers(0, 2))):
            since, until = sorted(draw(st.lists(st.sampled_from(edges), min_size=2, max_size=2, unique=True)))
            vessel = Vessel(
                f"S-{ship}-{number}",
                registration_no=f"HUE-{ship % 100}{number}-TS",
                length_m=draw(st.sampled_from([8.0, 16.0])),
                licensed=draw(st.sampled_from([None, (BEGINNING, edges[2]), (edges[1], END)])),
                lists=draw(st.sampled_from([frozenset(), frozenset({"watched"})])),
            )
            carried.setdefault(ship, []).append(Carried(vessel, since, until))
    return Registry(carried, version="1")


@settings(max_examples=80)
@given(
    voyages(),
    fleets(),
    st.lists(st.tuples(st.integers(0, 40), st.floats(0, 1)), max_size=6),
    st.sampled_from([0, 45, 2000]),
)
def test_neither_batches_nor_restarts_change_what_detectors_tell_of_registered_vessels(
    rows: list[vessels.Row], registry: Registry, cuts: list[tuple[int, float]], rest: int
) -> None:
    end = (rows[-1].received if rows else vessels.START) + rest * MINUTE
    whole = vessels.run(rows, DETECTORS, end, zones=PORT, registry=registry)
    vessels.assert_same(whole, vessels.run(rows, DETECTORS, end, zones=PORT, cuts=cuts, registry=registry))
    vessels.assert_same(
        whole, vessels.run(rows, DETECTORS, end, zones=PORT, cuts=cuts, restart=True, registry=registry)
    )
    for transition in whole.transitions:
        event(f"{transition.rule_id} {transition.event}")
        carried = registry.carrier(transition.subject.id, transition.started_at)
        label = carried.vessel.registration_no if carried else None
        assert label is None or transition.subject.name == label
        assert transition.details.get("vessel") == (carried.told() if carried else None)
        assert label is None or label in transition.summary_en
        assert label is None or label in transition.summary_vi


# --- a registry that changes

SMALL, LARGE = Vessel("S", name="Sóng Biển", length_m=8.0), Vessel("L", length_m=20.0)


def of(vessel: Vessel | None, version: str, transponder: int = A) -> Registry:
    carried = {} if vessel is None else {transponder: [Carried(vessel, BEGINNING, END)]}
    return Registry(carried, version=version)


class Service:
    """An engine that is replaced when the registry is another, as the service does; and what it has told."""

    def __init__(self, rules: list[Rule], registry: Registry) -> None:
        self._rules, self._store, self._now = rules, Store(), START
        self._engine = Engine(rules, ZONES, registry=registry)

    def heard(self, *items: Item) -> list[Transition]:
        """What is told when these are heard, or at the next tick."""
        self._now = max([self._now + MINUTE, *(item.received for item in items)])
        verdict = self._engine.judge(observations(list(items)), self._now)
        self._store.commit(list(items), verdict)
        return verdict.transitions

    def registered(self, registry: Registry) -> list[Transition]:
        """What is told when the registry has become another, be it while the service was down."""
        self._engine = Engine(self._rules, ZONES, registry=registry)
        self._engine.restore(self._store.memory(), edited=True)
        return self.heard()


def fix(minute: int, lon: float = 107.02, ship: int = A) -> Item:
    return Item("position", START + minute * MINUTE, START + minute * MINUTE, ship, None, 0.0, lon, 16.02)


IN_SMALL = [on_zone(id="in", condition="inside", zones=["a"], scope={"below_length_m": 12})]


def test_a_vessel_registered_after_the_fact_is_told_of_without_waiting_for_its_next_entry() -> None:
    service = Service(IN_SMALL, of(None, ""))
    assert service.heard(fix(0)) == service.heard(fix(10)) == []
    [fired] = service.registered(of(SMALL, "1"))
    assert (fired.state, fired.started_at, fired.subject.name) == (AlertState.FIRING, fix(10).time, "Sóng Biển")
    assert fired.details["vessel"]["length_m"] == 8.0
    assert fired.details["transponder"] == str(A)
    assert service.heard(fix(20)) == []
    [over] = service.heard(fix(30, 106.0))
    assert (over.state, over.alert_id) == (AlertState.RESOLVED, fired.alert_id)


def test_an_alert_about_a_vessel_that_the_rule_is_not_about_any_more_is_over() -> None:
    service = Service(IN_SMALL, of(SMALL, "1"))
    [fired] = service.heard(fix(0))
    assert service.registered(of(replace(SMALL, gear="net"), "2")) == []
    [over] = service.registered(of(LARGE, "3"))
    assert (over.alert_id, over.state, over.details["reason"]) == (fired.alert_id, AlertState.RESOLVED, "withdrawn")
    assert service.heard(fix(10)) == []
    [again] = service.registered(of(SMALL, "4"))
    assert (again.state, again.started_at) == (AlertState.FIRING, fix(10).time)


def test_the_id_of_an_alert_is_the_same_whatever_the_registry_calls_its_vessel() -> None:
    rules = [on_zone(id="in", condition="inside", zones=["a"])]
    ids = {Service(rules, of(vessel, "1")).heard(fix(0))[0].alert_id for vessel in (None, SMALL, LARGE)}
    assert len(ids) == 1


def test_silence_is_told_of_a_vessel_that_was_registered_meanwhile_and_ended_when_it_is_not_meant() -> None:
    rules = [
        on_zone(id="x", condition="left", zones=["a"]),
        vessels.rule(id="gap", kind="gap", after="1h", known_for="0s", scope={"min_length_m": 15}),
    ]
    service = Service(rules, of(None, ""))
    assert service.heard(fix(0), fix(10)) == []
    assert service.heard(fix(100, ship=B)) == []
    [fired] = service.registered(of(LARGE, "1"))
    assert (fired.rule_id, fired.started_at, fired.at) == ("gap", fix(10).time, fix(70).time)
    [over] = service.registered(of(SMALL, "2"))
    assert (over.alert_id, over.details["reason"]) == (fired.alert_id, "withdrawn")


def test_a_licence_that_runs_out_inside_is_told_with_the_next_fix() -> None:
    rules = [on_zone(id="in", condition="inside", zones=["a"], scope={"licence": "expired"})]
    licensed = replace(SMALL, licensed=(BEGINNING, fix(15).time))
    service = Service(rules, of(licensed, "1"))
    assert service.heard(fix(0), fix(10)) == []
    [fired] = service.heard(fix(20))
    assert fired.started_at == fix(20).time


def test_an_alert_of_a_device_says_where_it_stands() -> None:
    rules = [on_zone(id="x", condition="left", zones=["a"]), level(id="high", groups=["river"], **{"raise": 2.0})]
    (device, name), (other, _) = DEVICES.items()
    registry = Registry(sites={name: Site(107.5, 16.4, frozenset({"River"}))}, version="1")
    service = Service(rules, registry)
    rows = [Item("reading", START, START, one, "water_level", 3.0) for one in (device, other)]
    [fired] = service.heard(*rows)
    assert (fired.subject.name, fired.lon, fired.lat) == (name, 107.5, 16.4)
    assert fired.details["site"] == {"lon": 107.5, "lat": 16.4, "groups": ["River"]}
    [over] = service.registered(Registry(version="2"))
    assert (over.alert_id, over.details["reason"]) == (fired.alert_id, "withdrawn")
