"""The fleet's wire says what the boats do, as often as the standard asks, the same for the same seed."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from functools import cache
from itertools import pairwise
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import shapely
from shapely import Polygon

from simulators.events import SECOND, BadConfig, Sentences, Truth, iso
from simulators.fleet import FleetConfig, fleet_events, plan, track, transmissions
from simulators.reception import THUAN_AN_LIGHT, TU_HIEN_HILL, Transmission
from simulators.reporting import TurnDetector, class_a_interval, class_b_interval
from tests.simulators.samples import SQUARE, START, ZONES, checksum_is_right, decode, sentence

if TYPE_CHECKING:
    from simulators.kinematics import Knot

POSITIONS = (1, 3, 18)
HOURS = 3600.0


def on_air(config: FleetConfig) -> list[Transmission]:
    return [item for item in transmissions(config) if isinstance(item, Transmission)]


def truths(config: FleetConfig) -> list[Truth]:
    return [item for item in transmissions(config) if isinstance(item, Truth)]


def test_the_same_seed_and_start_give_the_same_bytes_and_truth() -> None:
    config = FleetConfig(seed=7, start=START, seconds=1800, zones=ZONES, first_entry=20.0)
    first, again = list(fleet_events(config)), list(fleet_events(config))
    assert first == again
    assert len(first) > 1000
    assert list(fleet_events(replace(config, seed=8))) != first


def test_events_come_in_time_order_and_end_in_time() -> None:
    config = FleetConfig(seed=3, start=START, seconds=900, zones=ZONES)
    times = [event.time for event in fleet_events(config)]
    assert times == sorted(times)
    assert START <= times[0] <= times[-1] <= START + 901 * SECOND


def test_every_sentence_decodes_to_what_was_transmitted() -> None:
    config = FleetConfig(seed=5, start=START, seconds=HOURS, vessels=20, zones=ZONES)
    meant = {}
    for sent in on_air(config):
        meant[sent.payload.text] = sent
    types = set()
    for event in fleet_events(config):
        if not isinstance(event, Sentences):
            continue
        assert event.data.endswith(b"\r\n")
        lines = event.data.splitlines()
        for line in lines:
            tag, _, rest = line.rpartition(b"\\")
            assert checksum_is_right(rest)
            assert not tag or checksum_is_right(tag[1:])
        sentences = [sentence(line) for line in lines]
        sent = meant["".join(s.split(b",")[5].decode() for s in sentences)]
        fields = decode(sentences)
        types.add(fields["msg_type"])
        assert (fields["msg_type"], fields["mmsi"]) == (sent.msg_type, sent.mmsi)
        if sent.report is not None:
            assert fields["speed"] == sent.report.sog
            assert round(fields["lon"] * 600_000) == round(sent.report.lon * 600_000)
            assert fields["second"] == sent.time // SECOND % 60
            assert fields["lon"] == pytest.approx(sent.place[0], abs=5 * 3 / 100_000)
    assert types >= {1, 3, 4, 5, 18, 19, 21, 24}


def test_a_transmission_heard_by_two_receivers_comes_twice_with_the_same_payload() -> None:
    config = FleetConfig(seed=5, start=START, seconds=600)
    heard: dict[bytes, set[str]] = defaultdict(set)
    for event in fleet_events(config):
        if isinstance(event, Sentences):
            payload = b"".join(sentence(line).split(b",")[5] for line in event.data.splitlines())
            heard[payload].add(event.receiver)
    assert set().union(*heard.values()) == {"hue-ais-1", "hue-ais-2"}
    assert sum(len(receivers) == 2 for receivers in heard.values()) > 0.5 * len(heard)
    assert any(len(receivers) == 1 for receivers in heard.values())


def test_what_a_receiver_misses_grows_with_distance_and_nothing_is_heard_beyond_its_range() -> None:
    config = FleetConfig(seed=5, start=START, seconds=HOURS, receivers=(replace(THUAN_AN_LIGHT, range_nm=8.0),))
    near = replace(config, receivers=(replace(THUAN_AN_LIGHT, loss=0.0, range_nm=400.0),))
    count = sum(isinstance(event, Sentences) for event in fleet_events(config))
    assert 0 < count < sum(isinstance(event, Sentences) for event in fleet_events(near)) == len(on_air(near))


def test_a_receiver_puts_its_name_and_time_before_the_sentences_and_groups_those_of_one_message() -> None:
    config = FleetConfig(seed=5, start=START, seconds=120, receivers=(THUAN_AN_LIGHT,))
    grouped = 0
    for event in fleet_events(config):
        if not isinstance(event, Sentences):
            continue
        lines = event.data.splitlines()
        assert b"s:hue-ais-1,c:" in lines[0]
        told = int(lines[0].split(b"c:")[1].split(b"*")[0])
        assert 0 <= event.time // SECOND - told <= 1
        if len(lines) == 2:
            grouped += 1
            assert lines[0].startswith(b"\\g:1-2-")
            assert lines[1].startswith(lines[0].split(b",")[0].replace(b"1-2-", b"2-2-"))
    assert grouped


@cache
def by_vessel(config: FleetConfig) -> dict[int, list[Transmission]]:
    sent: dict[int, list[Transmission]] = defaultdict(list)
    for item in on_air(config):
        sent[item.mmsi].append(item)
    return sent


def test_reports_come_as_often_as_m_1371_asks() -> None:
    config = FleetConfig(seed=2, start=START, seconds=12 * HOURS, vessels=8)
    stations = {v.mmsi: v.station for v in plan(config)}
    gaps: dict[tuple[str, int, bool], Counter[float]] = defaultdict(Counter)
    sent = by_vessel(config)
    for mmsi, station in stations.items():
        reports = [s for s in sent[mmsi] if s.msg_type in POSITIONS]
        for a, b in pairwise(reports):
            assert a.report is not None
            assert b.report is not None
            fast = min(a.report.sog, b.report.sog) > 2.3
            slow = max(a.report.sog, b.report.sog) < 1.7
            if (a.report.nav_status, a.turning) == (b.report.nav_status, b.turning) and (fast or slow):
                gaps[station, a.report.nav_status, a.turning and fast][round((b.time - a.time) / SECOND, 1)] += 1
    for (made, status, turning), found in gaps.items():
        sog = 0.0 if status == 5 else 3.0
        wanted = class_a_interval(status, sog, turning=turning) if made == "A" else class_b_interval(sog)
        usual, times = found.most_common(1)[0]
        assert usual == round(wanted, 1), (made, status, turning, found)
        # Between two reports that agree a station may for a moment have been under another rule.
        assert times > 0.9 * found.total(), (made, status, turning, found)
        assert max(found) <= (30.0 if made == "B" else 10.0) or status == 5
    assert gaps.keys() >= {("A", 5, False), ("A", 0, False), ("A", 7, False), ("A", 7, True), ("B", 0, False)}


def test_a_boat_that_leaves_says_so_at_once_and_not_after_three_minutes() -> None:
    config = FleetConfig(seed=2, start=START, seconds=12 * HOURS, vessels=8)
    stations = {v.mmsi: v.station for v in plan(config)}
    departures = 0
    for mmsi, sent in by_vessel(config).items():
        reports = [s for s in sent if s.msg_type in POSITIONS and s.report]
        for a, b in pairwise(reports):
            assert a.report is not None
            assert b.report is not None
            if stations.get(mmsi) == "A" and (a.report.nav_status, b.report.nav_status) == (5, 0):
                departures += 1
                assert b.report.sog < 3.0
                assert (b.time - a.time) / SECOND <= 180.0
    assert departures


def test_static_data_come_every_six_minutes_and_first_of_all() -> None:
    config = FleetConfig(seed=2, start=START, seconds=2 * HOURS, vessels=8)
    sent = by_vessel(config)
    for vessel in plan(config):
        kinds = {"A": (5,), "B": (19,) if vessel.extended else (24,)}[vessel.station]
        times = [s.time for s in sent[vessel.mmsi] if s.msg_type in kinds]
        if kinds == (24,):
            assert all(b - a <= 60 * SECOND for a, b in zip(times[::2], times[1::2], strict=False))
            times = times[::2]
        assert times[0] - START < 20 * SECOND
        assert {round((b - a) / SECOND) for a, b in pairwise(times)} == {360}


def test_shore_stations_keep_their_intervals() -> None:
    sent = by_vessel(FleetConfig(seed=2, start=START, seconds=HOURS, vessels=0))
    assert {round((b.time - a.time) / SECOND) for a, b in pairwise(sent[5_740_101])} == {10}
    assert {round((b.time - a.time) / SECOND) for a, b in pairwise(sent[995_741_001])} == {180}


@pytest.mark.parametrize(
    ("status", "sog", "turning", "seconds"),
    [
        (1, 0.0, False, 180.0),
        (5, 3.0, False, 180.0),
        (5, 3.1, False, 10.0),
        (0, 0.0, False, 10.0),
        (7, 3.0, True, 10 / 3),
        (0, 14.0, False, 10.0),
        (0, 14.1, False, 6.0),
        (0, 23.0, True, 2.0),
        (0, 23.1, False, 2.0),
    ],
)
def test_the_class_a_table(*, status: int, sog: float, turning: bool, seconds: float) -> None:
    assert class_a_interval(status, sog, turning=turning) == pytest.approx(seconds)


def test_the_class_b_table() -> None:
    assert (class_b_interval(2.0), class_b_interval(2.1)) == (180.0, 30.0)


def test_a_change_of_course_counts_above_five_degrees_and_for_twenty_seconds_more() -> None:
    turns = TurnDetector()
    assert not any(turns.update(358.0 + 0.2 * i) for i in range(20))
    turns = TurnDetector()
    assert [turns.update(c) for c in [0.0] * 9 + [8.0]] == [False] * 9 + [True]
    after = [turns.update(8.0) for _ in range(40)]
    assert after[5]
    assert not after[-1]
    assert after == sorted(after, reverse=True)


def sampled(config: FleetConfig, index: int, until: float) -> tuple[np.ndarray[Any, Any], list[Knot]]:
    knots = []
    for knot in track(plan(config)[index], Random(f"{config.seed}/fleet/track/{index}")):
        knots.append(knot)
        if knot.time > until:
            break
    return np.arange(0.0, until, 0.5), knots


def test_zone_truth_is_what_dense_sampling_of_the_track_and_shapely_find() -> None:
    hours = 16.0
    config = FleetConfig(seed=11, start=START, seconds=hours * HOURS, vessels=8, zones=ZONES)
    said: dict[tuple[str, str], list[tuple[float, bool]]] = defaultdict(list)
    crossed = 0
    for truth in truths(config):
        fields = truth.fields
        key = (fields["subject"], fields["zone"])
        at = _seconds(fields["time"])
        said[key].append((at, fields["kind"] != "zone_left"))
        if fields["kind"] == "zone_crossed":
            crossed += 1
            said[key].append((_seconds(fields["until"]), False))
        assert fields["time"] <= fields["reported"]
    assert sum(map(len, said.values())) > 20
    assert crossed >= 1
    for index, vessel in enumerate(plan(config)):
        times, knots = sampled(config, index, hours * HOURS - 200)
        lon = np.interp(times, [k.time for k in knots], [k.lon for k in knots])
        lat = np.interp(times, [k.time for k in knots], [k.lat for k in knots])
        for zone in ZONES:
            shape = Polygon(zone.rings[0], zone.rings[1:])
            inside = shapely.contains_xy(shape, lon, lat)
            changes = [(float(times[i + 1]), bool(inside[i + 1])) for i in np.flatnonzero(inside[1:] != inside[:-1])]
            if inside[0]:
                changes.insert(0, (0.0, True))
            told = [c for c in said[str(vessel.mmsi), zone.id] if c[0] < times[-1]]
            # A visit or an absence shorter than the sampling can be in the truth and not in the samples.
            told = _without_blinks(sorted(told, key=lambda c: c[0]), 1.0)
            found = _without_blinks(changes, 1.0)
            assert [c[1] for c in told] == [c[1] for c in found], (vessel.mmsi, zone.id)
            assert all(abs(a[0] - b[0]) <= 0.51 for a, b in zip(told, found, strict=True))


def _seconds(text: str) -> float:
    moment = np.datetime64(text.removesuffix("Z"), "us").astype(np.int64)
    return float(moment - START) / SECOND


def _without_blinks(changes: list[tuple[float, bool]], shortest: float) -> list[tuple[float, bool]]:
    out: list[tuple[float, bool]] = []
    for change in changes:
        if out and change[0] - out[-1][0] < shortest and change[1] != out[-1][1] and out[-1][0] > 0:
            out.pop()
        else:
            out.append(change)
    return out


def test_a_boat_staged_for_a_zone_enters_it_when_asked_to() -> None:
    for seed in range(10):
        config = FleetConfig(seed=seed, start=START, seconds=120, zones=(SQUARE,), first_entry=15.0)
        entered = [t.fields for t in truths(config) if t.fields.get("zone") == "square" and "at_start" not in t.fields]
        first = min(e["time"] for e in entered if e["kind"] == "zone_entered")
        assert iso(START + 14 * SECOND) <= first <= iso(START + 17 * SECOND)


def test_a_faster_simulation_keeps_the_clock_of_the_wire() -> None:
    slow = FleetConfig(seed=4, start=START, seconds=7200, vessels=4, receivers=(TU_HIEN_HILL,))
    fast = replace(slow, speed=60.0, seconds=120)
    slowly, quickly = by_vessel(slow), by_vessel(fast)
    for vessel in plan(slow):
        for one, other in zip(slowly[vessel.mmsi], quickly[vessel.mmsi], strict=True):
            assert other.time - START == pytest.approx((one.time - START) / 60, abs=1)
            assert one.place == other.place


@pytest.mark.parametrize("wrong", [{"vessels": -1}, {"speed": 0.0}, {"receivers": ()}])
def test_a_fleet_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadConfig):
        FleetConfig(**wrong)
