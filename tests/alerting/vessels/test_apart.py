"""Two vessels under one identity: each is judged by itself, and what is told of them does not flap."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from alerting.model import Event
from geofence.zones import Zone
from simulators.kinematics import sail
from tests.alerting.vessels.streams import HOUR, MINUTE, START, Row, assert_same, rule, run, vms

if TYPE_CHECKING:
    from collections.abc import Callable

    from alerting.rules import Rule
    from simulators.kinematics import Place

SHIP, OTHER = 574_000_001, 574_000_002
CORE: Place = (107.60, 16.80)
QUAY: Place = (107.64, 16.55)
FAR: Place = (109.60, 17.40)
ZONES = [
    Zone("core", "C", "C", "core", shapely.Point(CORE).buffer(0.03)),
    Zone("port", "P", "P", "port", shapely.Point(QUAY).buffer(0.005)),
]
INSIDE = rule(id="inside", kind="zone", zones=["core"], condition="inside")
ENTERED = rule(id="entered", kind="zone", zones=["core"], condition="entered", settle_fixes=2)
VISIT = rule(id="visit", kind="port_visit", ports=["port"])
IDLE = rule(id="idle", kind="loitering", away_from=["port"])
CLASH = rule(id="clash", kind="identity_clash")
ALL = [INSIDE, ENTERED, VISIT, IDLE, CLASH, rule(id="met", kind="encounter", ports=["port"])]


def sent(way: Callable[[float], Place], every: float, *, since: float, until: float, ship: int = SHIP) -> list[Row]:
    """Reports of a vessel that is at ``way(hours)``, every so many minutes, as well as it knows."""
    rng, rows, minute = Random(f"{every} {since}"), [], since * 60
    while minute < until * 60:
        at = START + round(minute * MINUTE)
        lon, lat = sail(way(minute / 60), rng.uniform(0, 360), rng.uniform(0, 15))
        rows.append(Row("position", at, at, ship, lon, lat, sog=0.1))
        minute += every
    return rows


def told(rows: list[Row], *rules: Rule, hours: float = 14.0) -> list[tuple[str, str, str]]:
    """Rule, name and event; the same however the stream is cut and however often the engine is started anew."""
    rows = sorted(rows, key=lambda row: row.received)
    end = START + round(hours * HOUR)
    whole = run(rows, list(rules), end, zones=ZONES)
    every = [(n, 0.5) for n in (*range(12), *range(12, len(rows), 211))]
    assert_same(whole, run(rows, list(rules), end, zones=ZONES, cuts=every, restart=True))
    return [(t.rule_id, t.subject.name, t.event.value) for t in whole.transitions]


@pytest.mark.parametrize(("every", "ship"), [(1.0, SHIP), (120.0, vms(1))], ids=["ais", "vms"])
def test_zones_are_told_of_the_vessel_that_is_in_them_and_not_with_every_fix(every: float, ship: int) -> None:
    hours = 11.0 if ship == SHIP else 30.0
    stays = sent(lambda _: CORE, every, since=0.0, until=hours, ship=ship)
    away = sent(lambda hour: sail(FAR, 90.0, 900.0 * hour), every, since=5.01, until=hours - 1, ship=ship)
    found = told(stays + away, INSIDE, ENTERED, CLASH, hours=hours + 1)
    # Until they are known to be two: three fixes that are not where the one before was, and back.
    assert [event for rule_id, _, event in found if rule_id == "inside"] == ["firing", "resolved"] * 3 + ["firing"]
    assert [event for rule_id, _, event in found if rule_id == "entered"] == []
    assert [event for rule_id, _, event in found if rule_id == "clash"] == ["firing"]


def test_the_second_vessel_is_told_of_by_itself_and_goes_when_it_is_not_heard() -> None:
    """The first is far out all the time, the second comes into the zone, calls at port, and is not heard any more."""
    first = sent(lambda hour: sail(FAR, 90.0, 5000.0 * hour), 1.0, since=0.0, until=26.0)

    def way(hour: float) -> Place:
        out = sail(CORE, 90.0, 9000.0 * max(0.0, 3.0 - hour))
        return out if hour < 5.0 else sail(QUAY, 20.0, 9000.0 * max(0.0, 8.0 - hour))

    rows = first + sent(way, 1.0, since=1.505, until=12.0)
    last = run(sorted(rows, key=lambda row: row.received), [VISIT], START + 27 * HOUR, zones=ZONES).transitions[-1]
    assert last.details["reason"] == "one_track_left"
    found = told(rows, INSIDE, VISIT, hours=27.0)
    name = f"{SHIP} (B)"
    assert [(rule_id, event) for rule_id, who, event in found if who == name] == [
        ("inside", "firing"),
        ("inside", "resolved"),
        ("visit", "firing"),
        ("visit", "resolved"),
    ]
    assert [one for one in found if one[1] == str(SHIP)] == []


def test_a_vessel_that_idles_is_seen_to_though_another_sails_under_its_identity() -> None:
    idles = sent(lambda _: FAR, 2.0, since=0.0, until=9.0)
    sails = sent(lambda hour: sail(CORE, 0.0, 9000.0 * hour), 2.0, since=0.51, until=9.0)
    assert ("idle", str(SHIP), "firing") in told(idles + sails, IDLE)


@pytest.mark.parametrize("wrong", [(60, 61, 62), (60, 90, 130), (60, 61, 90, 91)])
def test_positions_that_are_wrong_part_nothing(wrong: tuple[int, ...]) -> None:
    rows = sent(lambda _: FAR, 1.0, since=0.0, until=4.0)
    rows = [Row("position", r.time, r.received, SHIP, *CORE) if n in wrong else r for n, r in enumerate(rows)]
    assert {t.subject.name for t in run(rows, [INSIDE], START + 5 * HOUR, zones=ZONES).transitions} == {str(SHIP)}


@st.composite
def streams(draw: st.DrawFn) -> list[Row]:
    received, rows = START, []
    for _ in range(draw(st.integers(8, 40))):
        received += draw(st.sampled_from([1, 1, 2, 5, 20, 200])) * MINUTE
        place = draw(st.sampled_from([CORE, CORE, QUAY, FAR, FAR, (109.5, 15.0)]))
        lon, lat = sail(place, draw(st.sampled_from([0.0, 90.0])), draw(st.sampled_from([0.0, 400.0, 5000.0])))
        said: dict[str, Any] = {"sog": draw(st.sampled_from([None, 0.1, 4.0]))}
        rows.append(Row("position", received, received, draw(st.sampled_from([SHIP] * 4 + [OTHER])), lon, lat, **said))
    return rows


@settings(max_examples=60)
@given(streams(), st.lists(st.tuples(st.integers(0, 40), st.floats(0, 1)), max_size=6), st.sampled_from([0, 2000]))
def test_tracks_kept_apart_do_not_hang_on_batches_or_restarts(
    rows: list[Row], cuts: list[tuple[int, float]], rest: int
) -> None:
    end = rows[-1].received + rest * MINUTE
    whole = run(rows, ALL, end, zones=ZONES)
    assert_same(whole, run(rows, ALL, end, zones=ZONES, cuts=cuts))
    assert_same(whole, run(rows, ALL, end, zones=ZONES, cuts=cuts, restart=True))
    open_ = [t.alert_id for t in whole.transitions if t.event is Event.FIRING]
    assert len(open_) == len(set(open_))
