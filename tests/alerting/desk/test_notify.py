"""Who is told of what, and in which words."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from alerting.desk.notify import ChannelSpec, iso_z, notifications, payload
from alerting.model import AlertState, Event, Severity, Subject, SubjectKind, Transition, notification_id
from tests.alerting.samples import START, transition

LEAST_FIRST = ["info", "warning", "major", "critical"]

specs = st.builds(
    ChannelSpec,
    name=st.sampled_from(["a", "b", "c"]),
    min_severity=st.sampled_from(Severity),
    events=st.frozensets(st.sampled_from(Event)),
    rules=st.lists(st.sampled_from(["*", "vms.*", "air.*", "vms.gap", "VMS.gap"]), max_size=2).map(tuple),
)
transitions = st.builds(
    transition,
    st.sampled_from([state for state in AlertState if state is not AlertState.PENDING]),
    rule=st.sampled_from(["vms.gap", "air.pm2_5", "vms.zone"]),
    severity=st.sampled_from(Severity),
    value=st.one_of(st.none(), st.floats()),
)


@given(st.lists(transitions, max_size=5), st.lists(specs, max_size=3, unique_by=lambda spec: spec.name))
def test_a_channel_is_told_exactly_what_it_asked_for(moved: list[Transition], channels: list[ChannelSpec]) -> None:
    told = [(row.alert_id, row.event, row.channel) for row in notifications(moved, channels) if not row.if_told]
    expected = [
        (one.alert_id, str(one.state), channel.name)
        for one in moved
        for channel in channels
        if LEAST_FIRST.index(one.severity) >= LEAST_FIRST.index(channel.min_severity)
        and str(one.state) in {str(event) for event in channel.events}
        and [pattern for pattern in channel.rules if fnmatchcase(one.rule_id, pattern)]
    ]
    assert told == expected


@given(st.lists(transitions, max_size=5))
def test_the_same_transitions_give_the_same_rows_and_strict_json(moved: list[Transition]) -> None:
    channels = [ChannelSpec("a", events=frozenset(Event))]
    rows = notifications(moved, channels)
    assert rows == notifications(moved, channels)
    for row in rows:
        at = row.at if Event(row.event).repeats else None
        assert row.id == notification_id(row.alert_id, row.event, "a", at)
        assert type(row.event) is str
        assert json.loads(json.dumps(row.payload, allow_nan=False)) == row.payload


def test_the_payload_says_everything_a_channel_needs() -> None:
    moved = transition()
    [row] = notifications([moved], [ChannelSpec("hook")], link="https://hd.example/alerts/{id}?x={y}")
    assert row.payload == {
        "schema": "haidang.notification/1",
        "notification_id": str(row.id),
        "event": "firing",
        "alert_id": str(moved.alert_id),
        "rule": "vms.gap",
        "rule_version": "5f0c",
        "severity": "major",
        "state": "firing",
        "subject": {"kind": "transponder", "id": "574123456", "name": "BV-90123-TS"},
        "key": "key",
        "at": "2026-11-18T11:07:40.000000Z",
        "started_at": "2026-11-18T11:06:40.000000Z",
        "value": 6.5,
        "unit": "h",
        "zone": "lagoon",
        "lon": 107.64,
        "lat": 16.55,
        "summary_en": "No position for 6.5 h",
        "summary_vi": "Mất tín hiệu 6,5 giờ",
        "details": {"unit": "h", "threshold": 6.0},
        "link": f"https://hd.example/alerts/{moved.alert_id}?x={{y}}",
    }
    assert (row.at, row.event, row.channel) == (moved.at, "firing", "hook")


def test_ids_of_devices_survive_readers_that_keep_53_bits() -> None:
    device = Subject(SubjectKind.DEVICE, (1 << 62) + 1, "gw/dev")
    assert payload(transition(subject=device))["subject"]["id"] == "4611686018427387905"


def test_details_of_any_kind_become_plain_json() -> None:
    moved = transition()
    odd = {"n": np.float64(1.5), "i": np.int64(3), "nan": float("nan"), "set": {1}, 5: (1, 2), "obj": Severity.INFO}
    moved = Transition(**{**{name: getattr(moved, name) for name in moved.__slots__}, "details": odd})
    details = payload(moved)["details"]
    assert details == {"n": 1.5, "i": 3, "nan": None, "set": [1], "5": [1, 2], "obj": "info"}
    json.dumps(details, allow_nan=False)


def test_the_unit_comes_from_the_details_or_else_from_the_metric() -> None:
    def unit(**details: str) -> str | None:
        moved = transition()
        moved = Transition(**{**{name: getattr(moved, name) for name in moved.__slots__}, "details": details})
        found = payload(moved)["unit"]
        assert found is None or isinstance(found, str)
        return found

    assert unit(unit="cm", metric="water_level") == "cm"
    assert unit(metric="water_level") == "m"
    assert unit(metric="unheard_of") is None
    assert unit() is None


def test_times_are_iso_8601_in_utc_with_microseconds() -> None:
    assert iso_z(START + 1) == "2026-11-18T11:06:40.000001Z"
    assert iso_z(-1) == "1969-12-31T23:59:59.999999Z"
