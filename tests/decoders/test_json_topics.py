"""MQTT topics and their JSON payloads: what is good is taken, the rest refused by its own reason."""

from __future__ import annotations

import json
import math
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decoders.bounds import Bounds
from decoders.identity import device_id, metric_id, source_id, transponder_id
from decoders.mqtt import TopicDecoder
from decoders.records import NULL_I1, NULL_I2, Name, Observations, Reason
from decoders.refused import Refused
from decoders.topics import Format, Route, route
from tests.decoders.support import NOW, publish, sentence
from tests.decoders.test_nmea_decoder import ONE, two

READINGS = "haidang/v1/gw-1/river-3/readings"
POSITION = "haidang/v1/gw-1/HUE-0012/position"
TIME = "2026-01-02T03:04:00Z"
TIME_US = 1_767_323_040_000_000
GOOD = {"time": TIME, "readings": {"pm2_5": 12.3}}
FIX = {"time": TIME, "lon": 107.65, "lat": 16.55, "sog": 4.5, "cog": 90}


def decode(payload: Any, topic: str = READINGS, **options: Any) -> Observations:
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return TopicDecoder(**options).decode([publish(topic, data)])


def reasons(found: Observations) -> list[Reason]:
    return [r.reason for r in found.rejects]


# --- topics


@pytest.mark.parametrize(
    ("topic", "expected"),
    [
        (READINGS, Route(Format.READINGS, "gw-1", "river-3")),
        (POSITION, Route(Format.POSITION, "gw-1", "HUE-0012")),
        ("haidang/v1/gw-1/nmea", Route(Format.NMEA, "gw-1")),
        ("haidang/v1/trạm 1/phao số 3/readings", Route(Format.READINGS, "trạm 1", "phao số 3")),
    ],
)
def test_a_topic_names_its_format_and_device(topic: str, expected: Route) -> None:
    assert route(topic) == expected


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "haidang",
        "haidang/v2/a/b/readings",
        "haidang/v1/a/readings",
        "haidang/v1/a/b/nmea",
        "haidang/v1/a/b/c/readings",
        "haidang/v1//b/readings",
        "haidang/v1/a//position",
        "haidang/v1/ /b/position",
        "haidang/v1/a/b\0/readings",
        "haidang/v1/a/\ud800/readings",
        "haidang/v1/+/b/readings",
        "haidang/v1/a/#/readings",
        "haidang/v1/" + "a" * 129 + "/b/readings",
        "/haidang/v1/a/b/readings",
    ],
)
def test_any_other_topic_is_refused(topic: str) -> None:
    assert isinstance(route(topic), Refused)
    found = TopicDecoder().decode([publish(topic, b"{}")])
    assert reasons(found) in ([Reason.BAD_TOPIC], [Reason.BAD_NAME])
    assert found.rejects[0].raw == b"{}"


@given(st.text(max_size=60))
def test_no_topic_makes_it_raise(topic: str) -> None:
    for text in (topic, f"haidang/v1/{topic}", f"haidang/v1/{topic}/x/readings"):
        assert isinstance(route(text), Route | Refused)


# --- readings


def test_readings_become_rows() -> None:
    found = decode(
        [
            {"time": TIME, "readings": {"pm2_5": 12.3, "pm10": 40}},
            {"time": TIME_US // 1000 + 500, "readings": {"pm2_5": 1}},
        ]
    )
    assert found.readings["time"].tolist() == [TIME_US, TIME_US, TIME_US + 500_000]
    assert found.readings["value"].tolist() == [12.3, 40.0, 1.0]
    assert set(found.readings["device"].tolist()) == {device_id("gw-1", "river-3")}
    assert found.readings["metric"].tolist() == [metric_id(m) for m in ("pm2_5", "pm10", "pm2_5")]
    assert set(found.readings["received_at"].tolist()) == {NOW}
    assert found.names == [
        Name("metric", metric_id("pm2_5"), "pm2_5"),
        Name("metric", metric_id("pm10"), "pm10"),
        Name("device", device_id("gw-1", "river-3"), "gw-1/river-3"),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-02T03:04:00Z", TIME_US),
        ("2026-01-02T03:04:00z", TIME_US),
        ("2026-01-02t03:04:00Z", TIME_US),
        ("2026-01-02T10:04:00+07:00", TIME_US),
        ("2026-01-02T03:04:00.250+00:00", TIME_US + 250_000),
        (TIME_US // 1000, TIME_US),
        (TIME_US / 1000 + 0.5, TIME_US + 500),
        (NOW // 1000 + 600_000, NOW + 600_000_000),
    ],
)
def test_times_are_iso_with_an_offset_or_milliseconds(text: Any, expected: int) -> None:
    assert decode({**GOOD, "time": text}).readings["time"].tolist() == [expected]


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", Reason.BAD_JSON),
        (b"{", Reason.BAD_JSON),
        (b"null", Reason.BAD_JSON),
        (b'"text"', Reason.BAD_JSON),
        (b'{"time":"%b","readings":{"a":NaN}}' % TIME.encode(), Reason.BAD_JSON),
        (b'{"time":"%b","readings":{"a":Infinity}}' % TIME.encode(), Reason.BAD_JSON),
        (b'{"time":"%b","readings":{"a":1e400}}' % TIME.encode(), Reason.BAD_JSON),
        (b"\xff", Reason.BAD_TEXT),
        (b'{"\xff":1}', Reason.BAD_TEXT),
        (b'{"a":"\\ud800"}', Reason.BAD_TEXT),
        (b'{"a":\0}', Reason.BAD_TEXT),
        (b"\xef\xbb\xbf{}", Reason.BAD_JSON),
        (b"[" * 100_000 + b"]" * 100_000, Reason.TOO_DEEP),
        (b'{"a":' * 2_000 + b"1" + b"}" * 2_000, Reason.TOO_DEEP),
        (b"[" * 17 + b"]" * 17, Reason.TOO_DEEP),
        (b'{"a":' * 17 + b"1" + b"}" * 17, Reason.TOO_DEEP),
        (b'{"a":"' + b"x" * 1_000_000 + b'"}', Reason.TOO_LARGE),
        ({**GOOD, "note": "x" * 4097}, Reason.TEXT_TOO_LONG),
        ({**GOOD, "x" * 4097: 1}, Reason.TEXT_TOO_LONG),
        ([{}] * 10_001, Reason.TOO_MANY_ENTRIES),
        ({**GOOD, "readings": {f"m{i}": 1 for i in range(257)}}, Reason.TOO_MANY_READINGS),
        (b'{"time":"%b","readings":{"a":1,"a":2}}' % TIME.encode(), Reason.DUPLICATE_NAME),
        (b'{"time":"%b","readings":{"a" :1,"\\u0061" :2}}' % TIME.encode(), Reason.DUPLICATE_NAME),
        (b'{"time":"%b","time":0,"readings":{"a":1}}' % TIME.encode(), Reason.DUPLICATE_NAME),
        (b'{"device":"x","device":"river-3","time":"%b","readings":{"a":1}}' % TIME.encode(), Reason.DUPLICATE_NAME),
        (b'{"x":{"a":":::","a":"\\u003a"},"time":"%b","readings":{"a":1}}' % TIME.encode(), Reason.DUPLICATE_NAME),
        ([1], Reason.BAD_FIELD),
        ({"time": TIME}, Reason.BAD_FIELD),
        ({"time": TIME, "readings": [1]}, Reason.BAD_FIELD),
        ({"readings": {"a": 1}}, Reason.BAD_TIME),
        ({**GOOD, "time": None}, Reason.BAD_TIME),
        ({**GOOD, "time": True}, Reason.BAD_TIME),
        ({**GOOD, "time": []}, Reason.BAD_TIME),
        ({**GOOD, "time": "2026-01-02T03:04:00"}, Reason.BAD_TIME),
        ({**GOOD, "time": "yesterday"}, Reason.BAD_TIME),
        ({**GOOD, "time": "0001-01-01T00:00:00+23:59"}, Reason.TIME_TOO_OLD),
        ({**GOOD, "time": 0}, Reason.TIME_TOO_OLD),
        ({**GOOD, "time": "2016-12-31T23:59:60Z"}, Reason.BAD_TIME),
        ({**GOOD, "time": TIME_US // 1_000_000}, Reason.TIME_UNIT),  # seconds are not guessed
        ({**GOOD, "time": TIME_US / 1_000_000}, Reason.TIME_UNIT),
        ({**GOOD, "time": TIME_US}, Reason.TIME_UNIT),  # nor microseconds
        ({**GOOD, "time": TIME_US * 1000}, Reason.TIME_UNIT),  # nor nanoseconds
        ({**GOOD, "time": 2**62}, Reason.TIME_IN_FUTURE),
        ({**GOOD, "time": -1e300}, Reason.TIME_TOO_OLD),
        ({**GOOD, "time": NOW // 1000 + 600_001}, Reason.TIME_IN_FUTURE),
        ({**GOOD, "device": "other"}, Reason.IDENTITY_MISMATCH),
        ({**GOOD, "gateway": "gw-2"}, Reason.IDENTITY_MISMATCH),
        ({**GOOD, "device": 7}, Reason.IDENTITY_MISMATCH),
        ({**GOOD, "device_id": "other"}, Reason.IDENTITY_MISMATCH),
        ({**GOOD, "gateway_id": "gw-2"}, Reason.IDENTITY_MISMATCH),
        ({**GOOD, "deviceId": "other"}, Reason.IDENTITY_MISMATCH),
        ({**GOOD, "gatewayId": "gw-2"}, Reason.IDENTITY_MISMATCH),
        *(
            ({**GOOD, "readings": {"a": value}}, Reason.BAD_VALUE)
            for value in (None, True, "1", [1], {"b": 1}, 2**63, -(2**63), 2**63 - 1, 1 - 2**63, 2**64, 1e300)
        ),
        *(
            ({**GOOD, "readings": {name: 1}}, Reason.BAD_FIELD)
            for name in ("", "A", "1a", "a-b", "a" * 64, "a\0", "á", "a\n")
        ),
        ({**GOOD, "readings": {"pm2_5": -1}}, Reason.OUT_OF_RANGE),
        ({**GOOD, "readings": {"humidity": 100.1}}, Reason.OUT_OF_RANGE),
    ],
)
def test_bad_readings_are_refused_by_their_reason(payload: Any, reason: Reason) -> None:
    found = decode(payload)
    assert reasons(found) == [reason]
    assert len(found.readings) == 0
    assert found.rejects[0].detail
    assert found.names == []


def test_the_future_is_believed_where_there_is_no_clock_but_not_past_the_calendar() -> None:
    assert len(decode({**GOOD, "time": "2099-01-01T00:00:00Z"}, max_future_us=None).readings) == 1
    for time in (1e19, 1e305, 2**63):
        assert reasons(decode({**GOOD, "time": time}, max_future_us=None)) == [Reason.TIME_IN_FUTURE]


def test_a_claim_that_is_true_is_no_harm() -> None:
    true = {
        "device": "river-3",
        "device_id": "gw-1/river-3",
        "gateway": "gw-1",
        "gateway_id": "gw-1",
        "deviceId": "river-3",
    }
    assert len(decode({**GOOD, **true, "fw": "1.2"}).readings) == 1
    own = "haidang/v1/gw-1/574000001/position"
    for mmsi in (574000001, "574000001", None):
        assert len(decode({**FIX, "mmsi": mmsi}, own).positions) == 1


def test_the_good_part_is_taken_and_the_bad_part_kept_to_be_sent_again() -> None:
    payload = [GOOD, 5, {"time": TIME, "readings": {"pm2_5": "x", "pm10": 7}}, {"time": "x", "readings": {"pm10": 8}}]
    found = decode(payload)
    assert found.readings["value"].tolist() == [12.3, 7.0]
    assert [(r.reason, r.line, orjson.loads(r.raw)) for r in found.rejects] == [
        (Reason.BAD_FIELD, 2, [5]),
        (Reason.BAD_VALUE, 3, {"time": TIME, "readings": {"pm2_5": "x"}}),
        (Reason.BAD_TIME, 4, {"time": "x", "readings": {"pm10": 8}}),
    ]
    for reject in found.rejects:
        assert [(r.reason, r.raw) for r in decode(reject.raw).rejects] == [(reject.reason, reject.raw)]


def test_what_is_refused_whole_is_kept_as_the_bytes_it_was() -> None:
    for value in (b"1e300", b"18446744073709551616", b"9.00000000000000000001e99", b"[ 1 ]"):
        data = b' {"time" : "%b", "readings": { "pm2_5" : %b } }\n' % (TIME.encode(), value)
        assert [r.raw for r in decode(data).rejects] == [data]


def test_what_nests_deeper_than_can_be_written_is_refused_with_the_whole_payload() -> None:
    deep: Any = []
    for _ in range(500):
        deep = [deep]
    for topic in (READINGS, POSITION):
        data = json.dumps({"time": "x", "readings": {"a": deep}, "extra": deep}).encode()
        (reject,) = decode(data, topic).rejects
        assert reject.raw == data


def test_ranges_can_be_given() -> None:
    ranges = {"depth": (0.0, 10.0), "other": None}
    found = decode({**GOOD, "readings": {"depth": 11, "other": 1e9, "new": -5}}, ranges=ranges)
    assert reasons(found) == [Reason.OUT_OF_RANGE]
    assert len(found.readings) == 2


# --- positions


def test_a_position_becomes_a_row() -> None:
    found = decode({**FIX, "heading": 92.4, "nav_status": 7}, POSITION)
    (row,) = found.positions
    transponder = transponder_id("device", "gw-1/HUE-0012")
    assert (row["time"], row["transponder"], row["msg_type"]) == (TIME_US, transponder, 0)
    assert (row["lon"], row["lat"], row["sog"], row["cog"]) == (107.65, 16.55, 4.5, 90)
    assert (row["heading"], row["nav_status"], row["accuracy"]) == (92, 7, NULL_I1)
    assert found.names == [Name("transponder", transponder, "gw-1/HUE-0012", "vms")]
    assert decode({**FIX, "heading": 92.4, "nav_status": 7}, POSITION).positions["digest"] == row["digest"]


def test_what_a_position_leaves_out_is_null() -> None:
    unavailable = {"sog": 102.3, "cog": 360, "heading": 511, "nav_status": 15}
    for more in ({}, {"sog": None, "cog": None, "heading": None, "nav_status": None}, unavailable, {"sog": 1023}):
        (row,) = decode({"time": TIME, "lon": -180, "lat": 90, **more}, POSITION).positions
        assert math.isnan(row["sog"])
        assert math.isnan(row["cog"])
        assert (row["heading"], row["nav_status"]) == (NULL_I2, NULL_I1)
    (row,) = decode({**FIX, "sog": 102.2, "cog": 0, "heading": 359.6}, POSITION).positions
    assert (row["sog"], row["cog"], row["heading"]) == (102.2, 0, 0)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"lon": None}, Reason.BAD_FIELD),
        ({"lat": "16"}, Reason.BAD_VALUE),
        ({"lon": 180.1}, Reason.BAD_POSITION),
        ({"lat": -90.1}, Reason.BAD_POSITION),
        ({"sog": -1}, Reason.OUT_OF_RANGE),
        ({"cog": 361}, Reason.OUT_OF_RANGE),
        ({"heading": True}, Reason.BAD_VALUE),
        ({"nav_status": 1.5}, Reason.BAD_VALUE),
        ({"nav_status": 16}, Reason.OUT_OF_RANGE),
        ({"time": "x"}, Reason.BAD_TIME),
        ({"device": "HUE-0013"}, Reason.IDENTITY_MISMATCH),
        ({"device_id": "HUE-0013"}, Reason.IDENTITY_MISMATCH),
        ({"gateway_id": "gw-2"}, Reason.IDENTITY_MISMATCH),
        ({"mmsi": 574000001}, Reason.IDENTITY_MISMATCH),
        ({"mmsi": "574000001"}, Reason.IDENTITY_MISMATCH),
        ({"heading": 510}, Reason.OUT_OF_RANGE),
    ],
)
def test_bad_positions_are_refused_by_their_reason(change: dict[str, Any], reason: Reason) -> None:
    found = decode([{**FIX, **change}, FIX], POSITION)
    assert reasons(found) == [reason]
    assert len(found.positions) == 1


# --- all topics on one connection


def test_publishes_of_all_formats_keep_their_order() -> None:
    first, second = two()
    decoder = TopicDecoder()
    payloads = [
        ("haidang/v1/a/nmea", first),
        (READINGS, json.dumps(GOOD).encode()),
        ("haidang/v1/b/nmea", second),  # another gateway's
        (POSITION, json.dumps(FIX).encode()),
        ("elsewhere", b"x"),
        ("haidang/v1/a/nmea", second + b"\r\n" + sentence(ONE)),
    ]
    found = decoder.decode([publish(topic, data, first=i) for i, (topic, data) in enumerate(payloads)])
    assert found.messages == 6
    assert found.readings["message"].tolist() == [1]
    assert found.positions["message"].tolist() == [3, 5]
    assert found.statics["message"].tolist() == [5]
    assert found.joined == [(0, 5)]
    assert [(r.message, r.reason) for r in found.rejects] == [(2, Reason.INCOMPLETE_MESSAGE), (4, Reason.BAD_TOPIC)]
    assert {n.kind for n in found.names} == {"source", "metric", "device", "transponder"}


def test_every_gateway_is_a_receiver_of_its_own() -> None:
    line = sentence(ONE)
    found = TopicDecoder().decode([publish(f"haidang/v1/{g}/nmea", line, first=i) for i, g in enumerate("ab")])
    assert found.positions["source"].tolist() == [source_id("gateway/a"), source_id("gateway/b")]
    assert [n.name for n in found.names] == ["gateway/a", "gateway/b"]


def test_what_waits_in_one_topic_is_told_and_can_be_restored() -> None:
    first, second = two()
    decoder = TopicDecoder()
    assert decoder.decode([publish("haidang/v1/a/nmea", first)]).pending == [0]
    (waiting,) = decoder.pending()
    other = TopicDecoder()
    other.decode([waiting])
    assert len(other.decode([publish("haidang/v1/a/nmea", second)]).statics) == 1
    (reject,) = decoder.expire(NOW + 30_000_001).rejects
    assert (reject.message, reject.reason) == (-1, Reason.INCOMPLETE_MESSAGE)


def test_no_publish_is_larger_than_the_bound() -> None:
    found = decode(b" " * (Bounds().payload_bytes + 1), "haidang/v1/a/nmea")
    assert reasons(found) == [Reason.TOO_LARGE]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just(TIME),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["time", "readings", "lon", "lat", "sog", "cog", "heading", "nav_status", "device", "a", ""]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@given(_JSON, st.sampled_from([READINGS, POSITION]), st.sampled_from([None, 600_000_000]))
def test_any_json_gives_sound_rows_or_typed_rejects(payload: Any, topic: str, future: int | None) -> None:
    found = decode(json.dumps(payload).encode(), topic, max_future_us=future)
    for row in found.readings:
        assert math.isfinite(row["value"])
    for row in found.positions:
        assert abs(row["lon"]) <= 180
        assert abs(row["lat"]) <= 90
        assert math.isnan(row["cog"]) or 0 <= row["cog"] < 360
    assert all(isinstance(r.reason, Reason) for r in found.rejects)


@given(st.binary(max_size=200), st.sampled_from([READINGS, POSITION, "haidang/v1/a/nmea"]))
def test_any_bytes_are_read_or_refused(data: bytes, topic: str) -> None:
    found = TopicDecoder().decode([publish(topic, data)])
    assert found.messages == 1
