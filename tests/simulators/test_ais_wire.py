"""Every sentence decodes, by pyais, to what was meant."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from simulators import ais_wire
from simulators.ais_wire import Hull, Payload, Report
from tests.simulators.samples import START, checksum_is_right, decode

TEXT = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 -.", max_size=20).map(str.strip)
MMSI = st.integers(200_000_000, 799_999_999)
TENTHS = st.integers(0, 1022).map(lambda n: n / 10)

reports = st.builds(
    Report,
    mmsi=MMSI,
    lon=st.floats(-180, 180),
    lat=st.floats(-90, 90),
    sog=TENTHS,
    cog=st.none() | st.integers(0, 3599).map(lambda n: n / 10),
    heading=st.none() | st.integers(0, 359),
    nav_status=st.integers(0, 15),
    second=st.integers(0, 59),
    rot=st.none() | st.integers(-126, 126),
    comm_state=st.integers(0, 2**19 - 1),
)
hulls = st.builds(
    Hull,
    mmsi=MMSI,
    name=TEXT,
    callsign=TEXT.map(lambda t: t[:7].strip()),
    to_bow=st.integers(0, 511),
    to_stern=st.integers(0, 511),
    to_port=st.integers(0, 63),
    to_starboard=st.integers(0, 63),
    draught=st.integers(0, 255).map(lambda n: n / 10),
    destination=TEXT,
)


def said(payload: Payload, *, channel: str = "A", sequence: int = 7) -> dict[str, Any]:
    lines = [line.encode() for line in ais_wire.sentences(payload, channel=channel, sequence=sequence)]
    assert all(checksum_is_right(line) and len(line) <= 80 for line in lines)
    return decode(lines)


def matches(fields: dict[str, Any], report: Report) -> None:
    assert fields["mmsi"] == report.mmsi
    assert round(fields["lon"] * 600_000) == round(report.lon * 600_000)  # the wire's steps
    assert round(fields["lat"] * 600_000) == round(report.lat * 600_000)
    assert fields["speed"] == report.sog
    assert fields["course"] == (360.0 if report.cog is None else report.cog)
    assert fields["heading"] == (511 if report.heading is None else report.heading)
    assert fields["second"] == report.second


@given(reports, st.sampled_from([1, 3]))
def test_a_class_a_report_says_what_was_meant(report: Report, msg_type: int) -> None:
    payload = ais_wire.position_a(report, msg_type=msg_type)
    fields = said(payload)
    matches(fields, report)
    assert (fields["msg_type"], fields["status"], fields["radio"]) == (msg_type, report.nav_status, report.comm_state)
    # ROT_AIS is bits 42 to 49 of the message; pyais only tells the rate rounded from it.
    bits = "".join(f"{(ord(c) - 48) - (8 if ord(c) > 87 else 0):06b}" for c in payload.text)
    assert int(bits[42:50], 2) == (-128 if report.rot is None else report.rot) % 256


@given(reports)
def test_a_class_b_report_says_what_was_meant(report: Report) -> None:
    fields = said(ais_wire.position_b(report))
    matches(fields, report)
    assert (fields["msg_type"], fields["cs"]) == (18, True)


@given(reports, hulls)
def test_an_extended_class_b_report_says_what_was_meant(report: Report, hull: Hull) -> None:
    fields = said(ais_wire.extended_b(report, hull))
    matches(fields, report)
    assert (fields["msg_type"], fields["shipname"], fields["ship_type"]) == (19, hull.name, 30)
    assert (fields["to_bow"], fields["to_starboard"]) == (hull.to_bow, hull.to_starboard)


@given(hulls, st.integers(0, 9))
def test_static_and_voyage_data_take_two_sentences_and_say_what_was_meant(hull: Hull, sequence: int) -> None:
    payload = ais_wire.static_a(hull)
    assert len(ais_wire.sentences(payload, channel="B", sequence=sequence)) == 2
    fields = said(payload, channel="B", sequence=sequence)
    wanted = {
        "msg_type": 5,
        "mmsi": hull.mmsi,
        "shipname": hull.name,
        "callsign": hull.callsign,
        "ship_type": 30,
        "to_bow": hull.to_bow,
        "to_stern": hull.to_stern,
        "to_port": hull.to_port,
        "to_starboard": hull.to_starboard,
        "draught": hull.draught,
        "destination": hull.destination,
        "month": 0,
        "day": 0,
        "hour": 24,
        "minute": 60,
    }
    assert {key: fields[key] for key in wanted} == wanted


@given(hulls)
def test_class_b_static_data_say_what_was_meant_in_their_two_parts(hull: Hull) -> None:
    part_a, part_b = (ais_wire.static_b(hull, part) for part in (0, 1))
    assert (len(part_a.text) * 6 - part_a.fill, len(part_b.text) * 6 - part_b.fill) == (160, 168)
    assert said(part_a)["shipname"] == hull.name
    fields = said(part_b)
    assert (fields["callsign"], fields["ship_type"], fields["to_bow"]) == (hull.callsign, 30, hull.to_bow)
    assert (fields["to_stern"], fields["to_port"], fields["to_starboard"]) == (
        hull.to_stern,
        hull.to_port,
        hull.to_starboard,
    )


def test_a_base_station_tells_its_time_and_place() -> None:
    fields = said(ais_wire.base_station(5_740_101, 107.63, 16.57, START, ais_wire.sotdma(1, START)))
    assert [fields[k] for k in ("year", "month", "day", "hour", "minute", "second")] == [2026, 9, 21, 14, 13, 20]
    assert (fields["mmsi"], fields["lon"], fields["lat"]) == (5_740_101, 107.63, 16.57)


def test_an_aid_to_navigation_is_272_bits_and_says_what_was_meant() -> None:
    payload = ais_wire.aid_to_navigation(995_741_001, "THUAN AN 0", 30, 107.66, 16.61, 20)
    assert len(payload.text) * 6 - payload.fill == 272
    fields = said(payload)
    assert (fields["name"], fields["aid_type"], fields["lon"], fields["off_position"]) == (
        "THUAN AN 0",
        30,
        107.66,
        False,
    )


@given(st.dictionaries(st.sampled_from("sdt"), st.text("abcxyz-0189", min_size=1), min_size=1))
def test_a_tag_block_has_a_checksum_of_two_digits(parts: dict[str, str]) -> None:
    block = ais_wire.tag_block(**parts)
    assert block[0] == block[-1] == "\\"
    assert checksum_is_right(block[1:-1].encode())


@given(st.lists(reports, min_size=1, max_size=20))
def test_packed_by_column_is_packed_by_pyais(many: list[Report]) -> None:
    lines = ais_wire.position_lines(
        np.array([r.mmsi for r in many]),
        np.array([r.lon for r in many]),
        np.array([r.lat for r in many]),
        np.array([r.sog for r in many]),
        np.array([r.cog or 0.0 for r in many]),
        np.array([r.second for r in many]),
    )
    for row, r in zip(lines, many, strict=True):
        plain = Report(r.mmsi, r.lon, r.lat, r.sog, r.cog or 0.0, None, 0, r.second)
        assert (
            row.tobytes()
            == ais_wire.sentences(ais_wire.position_a(plain), channel="A", sequence=0)[0].encode() + b"\r\n"
        )
