"""Loitering, port visits and likely fishing: neither batches nor restarts change what is told or kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import shapely
from hypothesis import event, given, settings
from hypothesis import strategies as st

from geofence.zones import Zone
from simulators.kinematics import sail
from tests.alerting.vessels.streams import MINUTE, START, Row, assert_same, rule, run, told, vms
from tests.alerting.vessels.test_together import reports

if TYPE_CHECKING:
    from simulators.kinematics import Place

THE_QUAY = (107.64, 16.55)
A, B, V = 574_000_001, 574_000_002, vms(1)
ZONES = [Zone("port", "P", "P", "port", shapely.box(107.62, 16.54, 107.66, 16.56))]
RULES = [
    rule(id="idle", kind="loitering", away_from=["port"], **{"for": "2h"}),
    rule(id="visit", kind="port_visit", ports=["port"]),
    rule(id="fishing", kind="fishing", ports=["port"], min_fixes=3, **{"for": "15m"}),
    rule(
        id="trawl",
        kind="fishing",
        split_after="1h",
        join_after="20m",
        min_turning=0.0,
        min_fixes=2,
        scope={"mmsi": [B]},
        **{"for": "10m"},
    ),
]


@st.composite
def streams(draw: st.DrawFn) -> list[Row]:
    received, rows = START, []
    lon0, lat0 = draw(st.sampled_from([(107.64, 16.55), (108.6, 16.5), (107.69, 16.55)]))
    for _ in range(draw(st.integers(0, 40))):
        received += draw(st.sampled_from([1, 4, 6, 6, 12, 30, 120, 300])) * MINUTE
        time = received - draw(st.sampled_from([0, 0, 0, 7])) * MINUTE
        lon = lon0 + draw(st.sampled_from([0, 0, 0.004, -0.004, 0.03, 0.06, 0.5]))
        lat = lat0 + draw(st.sampled_from([0, 0.004]))
        ship = draw(st.sampled_from([A, A, B, V]))
        sog, status = draw(st.sampled_from([None, 0.1, 0.4, 2.5, 9.0])), draw(st.sampled_from([None, 0, 7]))
        rows.append(Row("position", time, received, ship, lon, lat, sog=sog, nav_status=status))
    return rows


@pytest.mark.parametrize("every", [3.0, 120.0], ids=["AIS of long range", "VMS"])
def test_a_vessel_that_does_not_say_how_fast_it_is_calls_at_port(every: float) -> None:
    def way(hour: float) -> Place:
        return sail(THE_QUAY, 45.0, 9000.0 * max(0.0, 3.0 - hour, hour - 11.0))

    found = run(reports(A, way, every, hours=16.0), [RULES[1]], START + 16 * 60 * MINUTE, zones=ZONES).transitions
    assert [t.event.value for t in found] == ["firing", "resolved"]
    passing = reports(A, lambda hour: sail(THE_QUAY, 45.0, 9000.0 * abs(hour - 3.0)), 3.0, hours=6.0)
    assert run(passing, [RULES[1]], START + 16 * 60 * MINUTE, zones=ZONES).transitions == []


@settings(max_examples=150)
@given(
    streams(),
    st.lists(st.tuples(st.integers(0, 40), st.floats(0, 1)), max_size=6),
    st.sampled_from([0, 45, 2000]),
)
def test_batches_and_restarts_change_nothing_and_every_alert_has_one_beginning_and_at_most_one_end(
    rows: list[Row], cuts: list[tuple[int, float]], rest: int
) -> None:
    end = (rows[-1].received if rows else START) + rest * MINUTE
    whole = run(rows, RULES, end, zones=ZONES)
    assert_same(whole, run(rows, RULES, end, zones=ZONES, cuts=cuts))
    assert_same(whole, run(rows, RULES, end, zones=ZONES, cuts=cuts, restart=True))
    life: dict[object, list[str]] = {}
    for transition, said in zip(whole.transitions, told(whole.transitions), strict=True):
        event(f"{said[0]} {said[4]}")
        life.setdefault(transition.alert_id, []).append(said[4])
        assert transition.started_at <= transition.at
    assert all(what in (["firing"], ["firing", "resolved"]) for what in life.values())
