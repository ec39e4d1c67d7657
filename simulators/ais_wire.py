"""AIS messages as NMEA 0183 sentences: what transponders, base stations and aids to navigation put on the air.

Payloads are packed by pyais, which truncates where M.1371 rounds: speeds, courses and draughts are therefore
handed to it as the middle of the wanted step. Armouring is done here, because type 24 part A has 160 bits on the
air and type 21 without a name extension 272, where pyais packs the longest form.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from pyais.encode import ais_to_nmea_0183, data_to_payload

from simulators.events import SECOND, utc

if TYPE_CHECKING:
    from numpy.typing import NDArray

FISHING_VESSEL: Final = 30  # ship type
NO_HEADING: Final = 511
NO_ROT: Final = -128
_GPS: Final = 1  # type of electronic position fixing device
#: Communication state of a class B "CS" station, which has none to tell: fixed by M.1371-5 (message 18).
_CS_COMM_STATE: Final = 0b1_1100000000000000110


@dataclass(slots=True, frozen=True)
class Payload:
    """A message as it goes into sentences: armoured text, and how many bits at its end are fill."""

    text: str
    fill: int


@dataclass(slots=True, frozen=True)
class Report:
    """What a position report says, in the steps the wire has. Degrees, knots, degrees true."""

    mmsi: int
    lon: float
    lat: float
    sog: float
    cog: float | None
    heading: int | None
    nav_status: int
    second: int
    rot: int | None = None  # ROT_AIS, -126..126: 4.733 times the root of degrees per minute
    comm_state: int = 0


@dataclass(slots=True, frozen=True)
class Hull:
    """What static and voyage data say. Metres; the reference point is the antenna."""

    mmsi: int
    name: str
    callsign: str
    to_bow: int
    to_stern: int
    to_port: int
    to_starboard: int
    draught: float
    destination: str
    ship_type: int = FISHING_VESSEL


def _tenths(value: float | None, unavailable: int) -> float:
    """The middle of the step of 0.1 that ``value`` rounds to, so that truncation ends in the right one."""
    return ((unavailable if value is None else round(value * 10)) + 0.5) / 10


def sotdma(slot_timeout: int, time: int) -> int:
    """The communication state of an SOTDMA message (M.1371-5, Annex 2, 3.3.7.2.2): synchronised to UTC directly, and
    beside the slot time-out its sub-message: stations heard, the slot number, UTC, or the offset to the next slot.
    """
    at = utc(time)
    match slot_timeout:
        case 3 | 5 | 7:
            sub_message = 2
        case 2 | 4 | 6:
            sub_message = (time % (60 * SECOND)) * 2250 // (60 * SECOND)
        case 1:
            sub_message = at.hour << 9 | at.minute << 2
        case _:
            sub_message = 0
    return slot_timeout << 14 | sub_message


def armour(data: bytes, bits: int) -> tuple[str, int]:
    """Six bits to a character (IEC 61162-1): the payload text and the number of fill bits at its end."""
    fill = -bits % 6
    value = (int.from_bytes(data) >> (len(data) * 8 - bits)) << fill
    sixes = ((value >> shift) & 63 for shift in range(bits + fill - 6, -1, -6))
    return "".join(chr(six + 48 if six < 40 else six + 56) for six in sixes), fill


def pack(fields: dict[str, Any], *, bits: int | None = None) -> Payload:
    """One message, packed and armoured. ``fields`` as pyais names them, ``msg_type`` among them; ``bits`` cuts it."""
    data, packed = data_to_payload(fields["msg_type"], fields).to_bytes()
    return Payload(*armour(data, packed if bits is None else bits))


def sentences(payload: Payload, *, channel: str, sequence: int) -> list[str]:
    """The VDM sentences of one message, without line ends.

    ``channel`` is "A" or "B"; ``sequence``, 0..9, is told only where there is more than one sentence.
    """
    return ais_to_nmea_0183(payload.text, "AI", "VDM", channel, payload.fill, sequence)


def position_a(report: Report, *, msg_type: int = 1) -> Payload:
    """Types 1 and 3: position report of class A."""
    fields = _position(report, msg_type) | {
        "status": report.nav_status,
        # pyais takes degrees per minute and packs 4.733 times their root.
        "turn": float(NO_ROT) if report.rot is None else _degrees_per_minute(report.rot),
        "maneuver": 0,  # not available; pyais's own default, 3, is a value the standard does not use
        "radio": report.comm_state,
    }
    return pack(fields)


def position_b(report: Report) -> Payload:
    """Type 18: position report of class B "CS"."""
    fields = _position(report, 18) | {"cs": True, "display": False, "dsc": True, "band": True, "msg22": True}
    return pack(fields | {"radio": _CS_COMM_STATE})


def extended_b(report: Report, hull: Hull) -> Payload:
    """Type 19: extended position report of class B, two sentences."""
    fields = _position(report, 19) | _dimensions(hull)
    fields |= {"shipname": hull.name, "ship_type": hull.ship_type, "epfd": _GPS, "dte": True}
    return pack(fields)


def static_a(hull: Hull) -> Payload:
    """Type 5: static and voyage related data of class A, two sentences. ETA "not available"."""
    fields = _dimensions(hull) | {
        "msg_type": 5,
        "mmsi": hull.mmsi,
        "ais_version": 2,
        "callsign": hull.callsign,
        "shipname": hull.name,
        "ship_type": hull.ship_type,
        "epfd": _GPS,
        "month": 0,
        "day": 0,
        "hour": 24,
        "minute": 60,
        "draught": _tenths(hull.draught, 0),
        "destination": hull.destination,
    }
    return pack(fields)


def static_b(hull: Hull, part: int) -> Payload:
    """Type 24: static data of class B; ``part`` 0 is A (the name), 1 is B (the rest)."""
    fields: dict[str, Any] = {"msg_type": 24, "mmsi": hull.mmsi, "partno": part}
    if part == 0:
        return pack(fields | {"shipname": hull.name}, bits=160)
    fields |= _dimensions(hull) | {"ship_type": hull.ship_type, "callsign": hull.callsign}
    fields |= {"vendorid": "SIM", "model": 1, "serial": hull.mmsi % 1000}
    return pack(fields)


def base_station(mmsi: int, lon: float, lat: float, time: int, comm_state: int) -> Payload:
    """Type 4: base station report with its UTC."""
    at = utc(time)
    fields = {
        "msg_type": 4,
        "mmsi": mmsi,
        "year": at.year,
        "month": at.month,
        "day": at.day,
        "hour": at.hour,
        "minute": at.minute,
        "second": at.second,
        "accuracy": True,
        "lon": lon,
        "lat": lat,
        "epfd": _GPS,
        "radio": comm_state,
    }
    return pack(fields)


def aid_to_navigation(mmsi: int, name: str, aid_type: int, lon: float, lat: float, second: int) -> Payload:
    """Type 21: a real aid to navigation, on station; ``name`` of up to 20 characters."""
    fields = {
        "msg_type": 21,
        "mmsi": mmsi,
        "aid_type": aid_type,
        "name": name,
        "accuracy": True,
        "lon": lon,
        "lat": lat,
        "epfd": 7,  # surveyed
        "second": second,
    }
    return pack(fields, bits=272)


def tag_block(**parts: str | int) -> str:
    r"""A TAG block (NMEA 0183 4.10, 7): ``\s:name,c:1700000000*hh\``, in the order given."""
    body = ",".join(f"{key}:{value}" for key, value in parts.items())
    checksum = 0
    for octet in body.encode():
        checksum ^= octet
    return f"\\{body}*{checksum:02X}\\"


def _position(report: Report, msg_type: int) -> dict[str, Any]:
    return {
        "msg_type": msg_type,
        "mmsi": report.mmsi,
        "speed": _tenths(report.sog, 1023),
        "accuracy": True,
        "lon": report.lon,
        "lat": report.lat,
        "course": _tenths(None if report.cog is None else round(report.cog, 1) % 360.0, 3600),
        "heading": NO_HEADING if report.heading is None else report.heading,
        "second": report.second,
    }


def _dimensions(hull: Hull) -> dict[str, int]:
    return {
        "to_bow": hull.to_bow,
        "to_stern": hull.to_stern,
        "to_port": hull.to_port,
        "to_starboard": hull.to_starboard,
    }


def _degrees_per_minute(rot: int) -> float:
    rate = (rot / 4.733) ** 2
    return rate if rot >= 0 else -rate


# Position reports by the hundred thousand: one type 1 is 168 bits, 28 characters, a line of 49 bytes.
_BITS: Final = 168
_WIDTHS: Final = (6, 2, 30, 4, 8, 10, 1, 28, 27, 12, 9, 6, 2, 3, 1, 19)
_HEAD: Final = b"!AIVDM,1,1,,A,"
LINE_BYTES: Final = len(_HEAD) + 28 + len(b",0*hh\r\n")
_HEX: Final = np.frombuffer(b"0123456789ABCDEF", np.uint8)


def position_lines(
    mmsi: NDArray[np.int64],
    lon: NDArray[np.float64],
    lat: NDArray[np.float64],
    sog: NDArray[np.float64],
    cog: NDArray[np.float64],
    second: NDArray[np.int64],
) -> NDArray[np.uint8]:
    """Type 1 position reports of vessels under way, packed column by column.

    Args:
        mmsi: shape (n,), as all the others.
        lon: degrees.
        lat: degrees.
        sog: knots.
        cog: degrees true, [0, 360).
        second: UTC second, 0..59.

    Returns:
        Shape (n, LINE_BYTES), ``uint8``: each row is one sentence on channel A with CR LF.
    """
    n = len(mmsi)

    def same(value: int) -> NDArray[np.int64]:
        return np.full(n, value, np.int64)

    columns = (
        same(1),
        same(0),
        mmsi,
        same(0),
        same(NO_ROT),
        np.rint(sog * 10).astype(np.int64),
        same(1),
        np.rint(lon * 600_000).astype(np.int64),
        np.rint(lat * 600_000).astype(np.int64),
        np.rint(cog * 10).astype(np.int64) % 3600,
        same(NO_HEADING),
        second,
        same(0),
        same(0),
        same(0),
        same(0),
    )
    bits = np.empty((n, _BITS), np.uint8)
    at = 0
    for column, width in zip(columns, _WIDTHS, strict=True):
        shifts = np.arange(width - 1, -1, -1, dtype=np.int64)
        bits[:, at : at + width] = (column[:, None] >> shifts) & 1
        at += width
    sixes = bits.reshape(n, 28, 6) @ np.array([32, 16, 8, 4, 2, 1], np.uint8)
    lines = np.empty((n, LINE_BYTES), np.uint8)
    end = len(_HEAD) + 28
    lines[:, : len(_HEAD)] = np.frombuffer(_HEAD, np.uint8)
    lines[:, len(_HEAD) : end] = sixes + np.where(sixes < 40, 48, 56).astype(np.uint8)
    lines[:, end : end + 3] = np.frombuffer(b",0*", np.uint8)
    checksum = np.bitwise_xor.reduce(lines[:, 1 : end + 2], axis=1)
    lines[:, end + 3] = _HEX[checksum >> 4]
    lines[:, end + 4] = _HEX[checksum & 15]
    lines[:, end + 5 :] = np.frombuffer(b"\r\n", np.uint8)
    return lines
