"""AIS messages made with pyais's encoder, read back; what must be refused; what "not available" becomes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyais.encode import encode_dict

from decoders import ais
from decoders.ais import Decoded, Transmission
from decoders.records import NULL_I1, NULL_I2, NULL_I4, Reason


def sent(payload: bytes, fill: int = 0) -> Transmission:
    return Transmission(payload, fill, 5, 6, 7, 8)


def armoured(**fields: Any) -> Transmission:
    """A message of the given fields, under pyais's names."""
    parts = [line.split(",") for line in encode_dict({"mmsi": 574123456, **fields})]
    return sent("".join(part[5] for part in parts).encode(), int(parts[-1][6][0]))


def packed(*fields: tuple[int, int]) -> Transmission:
    """A message of (value, bits) one after the other."""
    bits = "".join(f"{value & (1 << width) - 1:0{width}b}" for value, width in fields)
    fill = -len(bits) % 6
    bits += "0" * fill
    sixes = [int(bits[i : i + 6], 2) for i in range(0, len(bits), 6)]
    return sent(bytes(six + 48 if six < 40 else six + 56 for six in sixes), fill)


def one(transmission: Transmission) -> Decoded:
    return ais.decode([transmission])


def class_a(**changed: int) -> Transmission:
    """A type 1 message, given bit by bit."""
    fields = {
        "type": (1, 6),
        "repeat": (0, 2),
        "mmsi": (574123456, 30),
        "status": (0, 4),
        "turn": (0, 8),
        "speed": (0, 10),
        "accuracy": (0, 1),
        "lon": (0, 28),
        "lat": (0, 27),
        "course": (0, 12),
        "heading": (0, 9),
        "rest": (0, 31),
    }
    return packed(*((changed.get(name, value), width) for name, (value, width) in fields.items()))


def test_a_position_report_becomes_a_row() -> None:
    found = one(
        class_a(status=7, turn=20, speed=103, accuracy=1, lon=64_585_831, lat=9_931_784, course=2710, heading=270)
    )
    (row,) = found.positions
    assert row["time"] == 5
    assert row["received_at"] == 6
    assert row["transponder"] == 574123456
    assert row["source"] == 7
    assert row["message"] == 8
    assert (row["lon"], row["lat"]) == (107.643052, 16.552973)
    assert (row["sog"], row["cog"], row["heading"], row["nav_status"]) == (10.3, 271.0, 270, 7)
    assert (row["rot"], row["accuracy"], row["msg_type"]) == (18.0, 1, 1)
    assert np.isnan(row["altitude"])
    assert not found.refused
    assert not found.records


def test_what_is_not_available_is_null() -> None:
    (row,) = one(class_a(status=15, turn=-128, speed=1023, course=3600, heading=511)).positions
    assert np.isnan([row["sog"], row["cog"], row["rot"], row["altitude"]]).all()
    assert (row["heading"], row["nav_status"]) == (NULL_I2, NULL_I1)


@pytest.mark.parametrize(("turn", "rot"), [(0, 0), (127, 127), (-127, -127), (126, 709), (-126, -709), (5, 1), (-1, 0)])
def test_rate_of_turn_is_in_degrees_per_minute(turn: int, rot: float) -> None:
    (row,) = one(class_a(turn=turn)).positions
    assert str(row["rot"]) == f"{rot}.0"  # and no minus zero


@pytest.mark.parametrize("field", ["lon", "lat"])
def test_a_report_without_a_position_is_kept_as_a_record(field: str) -> None:
    found = one(class_a(**{field: (181 if field == "lon" else 91) * 600_000}, speed=51))
    assert len(found.positions) == 0
    (record,) = found.records
    assert record.kind == "position"
    assert record.fields[field] is None
    assert record.fields["sog"] == 5.1


@pytest.mark.parametrize(("field", "degrees"), [("lon", 180.1), ("lon", -181), ("lat", 90.1), ("lat", -91)])
def test_a_position_off_the_globe_is_refused(field: str, degrees: float) -> None:
    found = one(class_a(**{field: round(degrees * 600_000)}))
    assert [(i, r.reason) for i, r in found.refused] == [(0, Reason.BAD_POSITION)]
    assert len(found.positions) == len(found.records) == 0


@pytest.mark.parametrize(
    ("transmission", "reason"),
    [
        (sent(b""), Reason.BAD_PAYLOAD),
        (sent(b"15MrVH0000KH<:V:NtBLoqFP2H9X"), Reason.BAD_PAYLOAD),  # X stands for nothing
        (sent(b"15MrVH0000KH<:V:NtBLoqFP2H9"), Reason.BAD_PAYLOAD),  # cut short
        (sent(b"1"), Reason.BAD_PAYLOAD),
        (packed((0, 6), (0, 2), (574123456, 30), (0, 130)), Reason.UNKNOWN_TYPE),
        (packed((28, 6), (0, 2), (574123456, 30), (0, 130)), Reason.UNKNOWN_TYPE),
        (packed((63, 6), (0, 2), (574123456, 30), (0, 130)), Reason.UNKNOWN_TYPE),
        (class_a(mmsi=0), Reason.BAD_MMSI),
        (class_a(mmsi=1_000_000_000), Reason.BAD_MMSI),
        (packed((24, 6), (0, 2), (574123456, 30), (2, 2), (0, 128)), Reason.BAD_PAYLOAD),
        (packed((24, 6), (0, 2), (574123456, 30), (1, 2), (0, 120)), Reason.BAD_PAYLOAD),
    ],
)
def test_what_cannot_be_a_message_is_refused_with_the_reason(transmission: Transmission, reason: Reason) -> None:
    found = one(transmission)
    assert [(i, r.reason) for i, r in found.refused] == [(0, reason)]
    assert len(found.positions) == len(found.statics) == len(found.records) == 0


def test_static_data_keeps_the_raw_ship_type_and_ends_text_at_the_at_sign() -> None:
    for ship_type in range(256):
        (row,) = one(_type5(ship_type=(ship_type, 8))).statics
        assert row["ship_type"] == ship_type
    assert row["name"] == "AB"
    assert row["callsign"] is None
    assert (row["to_bow"], row["to_stern"], row["to_port"], row["to_starboard"]) == (0, 0, 0, 1)


def _six(text: str, characters: int) -> tuple[int, int]:
    value = 0
    for character in text.ljust(characters, "@"):
        value = value << 6 | (ord(character) & 0x3F)
    return value, 6 * characters


def _type5(**changed: tuple[int, int]) -> Transmission:
    fields: dict[str, tuple[int, int]] = {
        "type": (5, 6),
        "repeat": (0, 2),
        "mmsi": (574123456, 30),
        "version": (0, 2),
        "imo": (0, 30),
        "callsign": _six("@@J130B", 7),
        "name": _six("AB @CD", 20),
        "ship_type": (30, 8),
        "sides": (1, 30),
        "epfd": (1, 4),
        "eta": (0, 9),
        "hour": (24, 5),
        "minute": (60, 6),
        "draught": (0, 8),
        "destination": _six("", 20),
        "dte": (0, 2),
    }
    return packed(*{**fields, **changed}.values())


def test_static_data_that_is_not_available_is_null() -> None:
    (row,) = one(_type5(sides=(0, 30), name=_six("", 20))).statics
    assert row["imo"] == NULL_I4
    assert [row[name] for name in ("name", "callsign", "destination", "eta")] == [None] * 4
    assert [row[name] for name in ("to_bow", "to_stern", "to_port", "to_starboard")] == [NULL_I2] * 4
    assert np.isnan(row["draught"])


def test_the_eta_shows_its_missing_parts() -> None:
    assert one(_type5(eta=(11 << 5, 9))).statics[0]["eta"] == "11---T--:--Z"
    assert one(_type5(eta=(0, 9), hour=(0, 5), minute=(0, 6))).statics[0]["eta"] is None
    assert one(_type5(eta=(2 << 5 | 3, 9), hour=(4, 5), minute=(5, 6))).statics[0]["eta"] == "02-03T04:05Z"


def test_the_two_bits_that_some_leave_out_of_type_5_are_not_missed() -> None:
    whole = _type5()
    assert len(whole.payload) * 6 - whole.fill == 424
    assert len(one(sent(whole.payload, whole.fill + 2)).statics) == 1
    assert len(one(sent(whole.payload, whole.fill + 3)).statics) == 0


def test_a_type_19_is_a_position_and_static_data() -> None:
    found = one(
        armoured(type=19, lon=107.6, lat=16.5, speed=5.0, course=90.0, heading=511, shipname="THUAN AN", ship_type=30)
    )
    (position,) = found.positions
    (static,) = found.statics
    assert (static["name"], static["ship_type"], static["callsign"]) == ("THUAN AN", 30, None)
    assert position["digest"] == static["digest"]


def test_both_parts_of_a_type_24() -> None:
    (part_a,) = one(armoured(type=24, partno=0, shipname="LADY")).statics
    assert (part_a["name"], part_a["ship_type"], part_a["to_bow"]) == ("LADY", NULL_I2, NULL_I2)
    (part_b,) = one(armoured(type=24, partno=1, ship_type=37, callsign="XV1", to_bow=3)).statics
    assert (part_b["name"], part_b["ship_type"], part_b["callsign"], part_b["to_bow"]) == (None, 37, "XV1", 3)
    (craft,) = one(armoured(type=24, partno=1, mmsi=985740001, ship_type=37, mothership_mmsi=574123456)).statics
    assert (craft["ship_type"], craft["to_bow"]) == (37, NULL_I2)


def test_a_rescue_aircraft_reports_its_altitude_and_whole_knots() -> None:
    (row,) = one(armoured(type=9, mmsi=111574001, alt=300, speed=120, lon=107.6, lat=16.5, course=45.5)).positions
    assert (row["altitude"], row["sog"], row["msg_type"]) == (300, 120, 9)
    (row,) = one(armoured(type=9, mmsi=111574001, alt=4095, speed=1023, lon=107.6, lat=16.5, course=360)).positions
    assert np.isnan([row["altitude"], row["sog"], row["cog"]]).all()


def test_a_long_range_report_has_its_own_codes() -> None:
    (row,) = one(armoured(type=27, status=7, lon=107.65, lat=16.55, speed=12, course=200)).positions
    assert (row["sog"], row["cog"], row["nav_status"], row["heading"]) == (12, 200, 7, NULL_I2)
    (row,) = one(armoured(type=27, status=15, lon=107.65, lat=16.55, speed=63, course=511)).positions
    assert np.isnan([row["sog"], row["cog"]]).all()
    assert row["nav_status"] == NULL_I1
    assert one(armoured(type=27, lon=181, lat=91, speed=63, course=511)).records[0].kind == "position"


def test_the_digest_is_of_what_was_transmitted_alone() -> None:
    first, second = class_a(), class_a()
    assert one(first).positions["digest"] == one(second).positions["digest"]
    assert one(class_a(speed=1)).positions["digest"] != one(first).positions["digest"]


_KNOTS = st.integers(0, 1022).map(lambda v: v / 10)
_COURSE = st.integers(0, 3599).map(lambda v: v / 10)
_LON = st.integers(-108_000_000, 108_000_000)
_LAT = st.integers(-54_000_000, 54_000_000)


@given(
    msg_type=st.sampled_from([1, 2, 3, 18, 19]),
    mmsi=st.integers(1, 999_999_999),
    lon=_LON,
    lat=_LAT,
    speed=_KNOTS,
    course=_COURSE,
    heading=st.integers(0, 359),
)
def test_any_position_comes_back_as_it_was_encoded(
    msg_type: int, mmsi: int, lon: int, lat: int, speed: float, course: float, heading: int
) -> None:
    degrees = {"lon": lon / 600_000, "lat": lat / 600_000}
    found = one(armoured(type=msg_type, mmsi=mmsi, speed=speed, course=course, heading=heading, **degrees))
    (row,) = found.positions
    assert row["transponder"] == mmsi
    assert row["lon"] == pytest.approx(degrees["lon"], abs=1e-6)
    assert row["lat"] == pytest.approx(degrees["lat"], abs=1e-6)
    assert abs(row["sog"] - speed) < 0.11  # pyais's encoder cuts off where it should round
    assert abs(row["cog"] - course) < 0.11
    assert row["heading"] == heading


@given(st.text(alphabet=[chr(c) for c in range(32, 96) if chr(c) != "@"], max_size=20))
def test_any_name_comes_back_as_it_was_encoded(name: str) -> None:
    (row,) = one(armoured(type=5, shipname=name)).statics
    assert row["name"] == (name.strip() or None)


@given(
    st.binary(max_size=60).map(lambda b: bytes(c % 64 + 48 if c % 64 < 40 else c % 64 + 56 for c in b)),
    st.integers(0, 5),
)
def test_any_bits_give_rows_of_sound_values_or_a_typed_refusal(payload: bytes, fill: int) -> None:
    found = one(sent(payload, fill))
    assert len(found.refused) == (not (len(found.positions) or len(found.statics) or found.records))
    for row in found.positions:
        assert -180 <= row["lon"] <= 180
        assert -90 <= row["lat"] <= 90
        assert not row["cog"] >= 511  # above 360 it means nothing, and is kept as it was sent
        assert row["heading"] in range(511) or row["heading"] == NULL_I2
        assert 1 <= row["transponder"] <= 999_999_999


@pytest.mark.parametrize("msg_type", range(1, 28))
@given(data=st.data())
def test_any_message_of_any_type_is_read_or_refused(msg_type: int, data: st.DataObject) -> None:
    bits = data.draw(st.integers(38, 430))
    found = one(packed((msg_type, 6), (0, 2), (574123456, 30), (data.draw(st.integers(0, 2**bits - 1)), bits)))
    assert all(r.reason in (Reason.BAD_POSITION, Reason.BAD_PAYLOAD) for _, r in found.refused)
