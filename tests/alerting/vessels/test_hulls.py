"""Several transponders on one hull, by the registry: one vessel that is lost or not, and none that meets itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from alerting.model import Event
from alerting.registry.register import BEGINNING, END, Carried, Registry, Vessel
from simulators.kinematics import sail
from tests.alerting.vessels.streams import HOUR, START, Row, assert_same, rule, run, vms
from tests.alerting.vessels.test_together import CARRIED, MEETING, SPOT, reports

if TYPE_CHECKING:
    from alerting.rules import Rule

AIS, DEVICE, OTHER = 574_000_001, vms(1), 574_000_002
HULL, SECOND = Vessel("hull", registration_no="TTH-90001"), Vessel("second", registration_no="TTH-90002")
GAP = rule(id="gap", kind="gap", after="5h", vms_after="6h", ports=[])
EACH = rule(id="gap", kind="gap", after="5h", vms_after="6h", ports=[], any_beacon=False)


def registry(**vessels: Vessel) -> Registry:
    ids = {"ais": AIS, "device": DEVICE, "other": OTHER}
    return Registry({ids[name]: [Carried(vessel, BEGINNING, END)] for name, vessel in vessels.items()})


ONE_HULL = registry(ais=HULL, device=HULL)


def told(rows: list[Row], chosen: Rule, known: Registry, *, hours: float = 30.0) -> list[tuple[str, int]]:
    """What was told, however often the engine is started anew."""
    rows = sorted(rows, key=lambda row: row.received)
    end = START + round(hours * HOUR)
    whole = run(rows, [chosen], end, registry=known)
    every = [(n, 0.5) for n in range(0, len(rows), 7)]
    assert_same(whole, run(rows, [chosen], end, registry=known, cuts=every, restart=True))
    return [(t.event.value, t.subject.id) for t in whole.transitions if t.event is not Event.REVISED]


def sailing(ship: int, every: float, *, until: float, since: float = 0.0) -> list[Row]:
    rows = reports(ship, lambda hour: sail(SPOT, 90.0, 9000.0 * hour), every, hours=until, sog=5.0)
    return [row for row in rows if row.time >= START + since * HOUR]


def test_a_vessel_is_not_lost_while_its_other_transponder_is_heard() -> None:
    rows = sailing(AIS, 10.0, until=3.0) + sailing(DEVICE, 120.0, until=20.0)
    assert told(rows, GAP, ONE_HULL, hours=21.0) == []
    assert told(rows, GAP, registry(), hours=21.0) == [("firing", AIS)]
    assert told(rows, EACH, ONE_HULL, hours=21.0) == [("firing", AIS)]


def test_a_vessel_all_of_whose_transponders_are_silent_is_lost_once_and_found_by_any() -> None:
    lost = sailing(AIS, 10.0, until=3.0) + sailing(DEVICE, 120.0, until=9.0)
    assert told(lost, GAP, ONE_HULL) == [("firing", min(AIS, DEVICE))]
    # The device was heard at 8:00, so the hull is silent for too long at 14:00.
    [first] = run(sorted(lost, key=lambda row: row.received), [GAP], START + 30 * HOUR, registry=ONE_HULL).transitions
    assert first.at == START + 14 * HOUR
    assert first.subject.name == "TTH-90001"
    assert first.details["partners"] == [str(AIS), str(DEVICE)]
    by_other = told(lost + sailing(DEVICE, 120.0, since=18.0, until=29.0), GAP, ONE_HULL)
    assert by_other == [("firing", AIS), ("resolved", AIS)]
    both_again = told(lost + sailing(AIS, 10.0, since=18.0, until=19.0), GAP, ONE_HULL)
    assert [event for event, _ in both_again] == ["firing", "resolved", "firing"]


@pytest.mark.parametrize(
    ("known", "expected"),
    [(registry(), 0), (ONE_HULL, 0), (registry(ais=HULL, device=SECOND), 1), (registry(ais=HULL), 0)],
    ids=["unknown", "one hull", "two hulls", "one of them unknown"],
)
def test_ais_and_vms_side_by_side_meet_if_they_are_known_to_be_two_vessels(known: Registry, expected: int) -> None:
    rows = reports(AIS, lambda _: SPOT, 3.0, sog=0.1) + reports(DEVICE, lambda _: SPOT, 120.0, sog=0.1)
    assert [event for event, _ in told(rows, MEETING, known)].count("firing") == expected


@pytest.mark.parametrize("chosen", [MEETING, CARRIED], ids=lambda chosen: chosen.kind)
def test_two_transponders_of_one_hull_are_one_vessel(chosen: Rule) -> None:
    speed = 0.0 if chosen is MEETING else 9000.0
    rows = [
        row
        for ship in (AIS, OTHER)
        for row in reports(ship, lambda hour: sail(SPOT, 90.0, speed * hour), 5.0, hours=8.0)
    ]
    assert told(rows, chosen, registry(ais=HULL, other=HULL)) == []
    assert told(rows, chosen, registry(ais=HULL, other=SECOND))[0] == ("firing", AIS)
