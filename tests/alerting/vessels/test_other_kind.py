"""A rule that is of another kind than the states it left behind, or whose states have another form since."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import permutations
from typing import TYPE_CHECKING, Any

import pytest
import shapely

from alerting.engine import Engine
from alerting.model import AlertState, RuleState, SubjectKind
from decoders.records import Observations
from geofence.zones import Zone
from tests.alerting.vessels.streams import HOUR, MINUTE, START, Row, rule, run

if TYPE_CHECKING:
    from collections.abc import Mapping

    from alerting.rules import Rule
    from tests.alerting.vessels.streams import Store

ZONES = [
    Zone("port", "P", "P", "port", shapely.box(107.62, 16.54, 107.66, 16.56)),
    Zone("core", "C", "C", "core", shapely.box(108.4, 16.4, 108.6, 16.6)),
]
KINDS: dict[str, dict[str, Any]] = {
    "encounter": {"ports": ["port"], "for": "1h"},
    "carried_beacons": {"ports": ["port"], "for": "1h"},
    "loitering": {"away_from": ["port"], "for": "1h"},
    "port_visit": {"ports": ["port"]},
    "fishing": {"ports": ["port"]},
    "gap": {"after": "1h", "known_for": "0s"},
    "jump": {},
    "identity_clash": {},
    "distress": {},
    "feed_silent": {"after": "30m", "min_vessels": 1},
    "zone": {"zones": ["core"], "condition": "inside"},
}


def of_kind(kind: str) -> Rule:
    return rule(id="r", kind=kind, **KINDS[kind])


def sea() -> list[Row]:
    """Something of each kind, under way when the stream ends after three and a half hours."""
    rows: list[Row] = []

    def report(ship: int, minute: int, lon: float, lat: float, sog: float, status: int | None = None) -> None:
        time = START + minute * MINUTE
        rows.append(Row("position", time, time, ship, lon, lat, sog=sog, nav_status=status))

    for n in range(70):
        minute = 3 * n
        report(574_000_001, minute, 108.5, 16.5, 0.1)  # two beside each other in the core
        report(574_000_002, minute, 108.501, 16.5, 0.1)
        report(574_000_003, minute, 108.2 + 0.004 * n, 17.5, 5.0)  # two on one hull
        report(574_000_004, minute, 108.2 + 0.004 * n, 17.5, 5.0)
        report(574_000_005, minute, 107.61 if n < 5 else 107.64, 16.55, 0.0)  # came to port
        report(574_000_006, minute, 108.9 + 0.004 * (n % 2), 16.9 + 0.003 * (n // 2 % 2), 3.0, 7)  # fishes
        if n < 35:
            report(574_000_007, minute, 108.7, 16.5, 0.1)  # falls silent
        report(574_000_008, minute, 108.7 + n % 2, 16.5, 0.1)  # is two
        report(574_000_009, minute, 108.7 if n < 60 else 110.7, 15.5, 0.1)  # jumped
        report(970_123_456, minute, 108.7, 16.5, 0.1, 14)
    return rows


@pytest.fixture(scope="module")
def left() -> dict[str, Store]:
    """By kind, what a rule of it had left behind."""
    rows = sea()
    # A source that is silent is none of the vessels' last: a gap is held back while it is.
    return {kind: run(rows, [of_kind(kind)], rows[-1].received + 40 * MINUTE, zones=ZONES) for kind in KINDS}


def open_alerts(store: Store) -> set[object]:
    last = {t.alert_id: t.state for t in store.transitions}
    return {alert for alert, state in last.items() if state is not AlertState.RESOLVED}


@pytest.mark.parametrize("kind", KINDS)
def test_the_stream_leaves_an_open_alert_of_each_kind(kind: str, left: Mapping[str, Store]) -> None:
    assert open_alerts(left[kind])


@pytest.mark.parametrize(("before", "after"), list(permutations(KINDS, 2)))
def test_a_rule_of_another_kind_closes_what_was_open_and_takes_up_nothing(
    before: str, after: str, left: Mapping[str, Store]
) -> None:
    memory = left[before].memory()
    engine = Engine([of_kind(after)], ZONES)
    engine.restore(memory)
    verdict = engine.judge(Observations(), sea()[-1].received + 41 * MINUTE)
    closed = {t.alert_id for t in verdict.transitions if t.details.get("reason") == "withdrawn"}
    assert closed == open_alerts(left[before])
    mine = {(s.subject_kind, s.subject_id, s.key) for s in memory.states if s.rule_id == "r"}
    kept = {(s.subject_kind, s.subject_id, s.key): s.state for s in verdict.states if s.rule_id == "r"}
    assert mine <= kept.keys()
    assert all(state is None or state["form"].startswith(f"{after}/") for state in kept.values())
    engine.judge(Observations(), sea()[-1].received + 30 * HOUR)


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"zone"}))
@pytest.mark.parametrize("form", [None, "1"])
def test_a_state_of_an_older_form_is_not_read_and_its_alert_is_closed(
    kind: str, form: str | None, left: Mapping[str, Store]
) -> None:
    memory = left[kind].memory()
    old = {"followed": {"gone": 1}, "pair": {"gone": 1}, "parted": {"gone": 1}}
    states = []
    for state in memory.states:
        if state.rule_id != "r":
            states.append(state)
            continue
        said = {**json.loads(json.dumps(state.state)), **old, "form": f"{kind}/{form}"}
        if form is None:
            del said["form"]
        states.append(replace(state, state=said))
    engine = Engine([of_kind(kind)], ZONES)
    engine.restore(replace(memory, states=states))
    verdict = engine.judge(Observations(), sea()[-1].received + 41 * MINUTE)
    assert {t.alert_id for t in verdict.transitions if t.details.get("reason") == "withdrawn"} == open_alerts(
        left[kind]
    )


#: What is kept beside rules, and rules that have it read.
BESIDE = {"(coverage)": "gap", "(sources)": "feed_silent", "(fences)": "zone", "(deaf)": "gap", "(meter)": "gap"}


@pytest.mark.parametrize(("place", "kind"), BESIDE.items())
def test_what_is_kept_beside_rules_in_a_form_that_is_not_known_is_not_read_and_is_removed(
    place: str, kind: str, left: Mapping[str, Store]
) -> None:
    memory = left[kind].memory()
    foreign = RuleState(place, SubjectKind.SOURCE, 1, "k", {"form": f"{place}/9", "gone": 1})
    engine = Engine([of_kind(kind)], ZONES)
    engine.restore(replace(memory, states=[foreign, *memory.states]), edited=True)
    verdict = engine.judge(Observations(), sea()[-1].received)
    assert replace(foreign, state=None) in verdict.states


def test_every_state_says_what_form_it_has(left: Mapping[str, Store]) -> None:
    kept = [state for store in left.values() for state in store.memory().states if state.rule_id.startswith("(")]
    assert {state.rule_id for state in kept} >= {"(coverage)", "(sources)", "(fences)"}
    assert all(state.state and state.state["form"] == f"{state.rule_id}/1" for state in kept)
    for kind, store in left.items():
        mine = [state for state in store.memory().states if state.rule_id == "r"]
        assert mine, kind
        assert all(state.state and state.state["form"].partition("/")[0] == kind for state in mine)
        assert any(state.subject_kind in {SubjectKind.TRANSPONDER, SubjectKind.SOURCE} for state in mine)
