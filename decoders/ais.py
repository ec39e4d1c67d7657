"""AIS messages (ITU-R M.1371-5, Annex 8): armoured payloads in, rows and records out.

Whole batches are read by ``decoders.ais_batch``, from bit-field tables, to the same rows. What is odd, wrong, rare or
alone is read here, one message at a time: positions and static data by pyais, records from the tables of
``decoders.ais_fields``. Where pyais loses what was sent, the bits are read here: it folds ship types it does not know
into others, and keeps text after the ``@`` that ends it. "Not available" codes end here: they become nulls.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from math import nan
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from decoders import ais_batch
from decoders.ais_batch import eta as shown_eta
from decoders.ais_fields import (
    ADDRESSED_CHANNEL,
    KINDS,
    MINIMUM_BITS,
    RECORD_FIELDS,
    Field,
    Form,
)
from decoders.ais_tables import POSITION_FIELDS
from decoders.bits import BitString
from decoders.identity import ais_digest
from decoders.records import NULL_I1, NULL_I2, NULL_I4, POSITION, STATIC, AisRecord, Reason, table
from decoders.refused import Refused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from decoders.ais_batch import Payloads
    from decoders.nmea_columns import Ints, Text
    from decoders.records import Table

#: Characters that stand for six bits (IEC 61162-1, table of 6-bit binary field conversion): 0 to W and ` to w.
_ARMOUR: Final = re.compile(rb"[0-W`-w]+")

#: Of the types that carry a position: where it is.
_PLACES: Final = {
    msg_type: [entry for entry in fields if entry[3] in (Form.MINUTES, Form.TENTHS)]
    for msg_type, fields in POSITION_FIELDS.items()
}
_STATUS_TYPES: Final = frozenset({1, 2, 3, 27})
_TURN_TYPES: Final = frozenset({1, 2, 3})
#: The greatest speed, in knots, that means one; of other types 102.2.
_FASTEST: Final = {9: 1022.0, 27: 62.0}
#: First bit of the 8-bit ship type.
_SHIP_TYPE_BIT: Final = {5: 232, 19: 263, 24: 40}


class Transmission(NamedTuple):
    """One whole AIS message as received, and what is known of its reception."""

    payload: bytes  # armoured, all sentences joined
    fill: int  # bits of the last character that are no data
    time: int  # microseconds since the epoch
    received_at: int
    source: int  # who heard it
    message: int


@dataclass(slots=True)
class Decoded:
    """What a run of transmissions said, in their order."""

    positions: Table
    statics: Table
    records: list[AisRecord]
    #: (index of the transmission, why it cannot be taken)
    refused: list[tuple[int, Refused]]


def decode(transmissions: Sequence[Transmission]) -> Decoded:
    """Decode every transmission, one by one: into a row, two rows (type 19), a record, or a refusal."""
    rows, refused = _each(transmissions)
    return Decoded(table(POSITION, rows.positions), table(STATIC, rows.statics), rows.records, refused)


def decode_all(text: Text, sent: Payloads) -> Decoded:
    """The same of whole columns: by table what can be, the rest one by one."""
    read = ais_batch.read(text, sent)
    rest, refused = _each(_transmissions(text, sent, read.left))
    positions = [*read.positions, (read.left[rest.position_index], table(POSITION, rest.positions))]
    statics = [*read.statics, (read.left[rest.static_index], table(STATIC, rest.statics))]
    if rest.records:
        read.records[read.left[rest.record_index]] = rest.records
    return Decoded(
        ais_batch.ordered(POSITION, positions),
        ais_batch.ordered(STATIC, statics),
        read.records[read.records.astype(np.bool_)].tolist(),
        [(int(read.left[index]), why) for index, why in refused],
    )


def _each(transmissions: Sequence[Transmission]) -> tuple[_Rows, list[tuple[int, Refused]]]:
    rows = _Rows()
    refused: list[tuple[int, Refused]] = []
    for index, sent in enumerate(transmissions):
        rows.index = index
        bits = _bits(sent.payload, sent.fill)
        problem = bits if isinstance(bits, Refused) else _decode(sent, bits, rows)
        if problem is not None:
            refused.append((index, problem))
    return rows, refused


def _transmissions(text: Text, sent: Payloads, index: Ints) -> list[Transmission]:
    data = text.data
    places = (sent.start, sent.start + sent.length - sent.more_length, sent.more, sent.more + sent.more_length)
    rest = (sent.fill, sent.time, sent.received_at, sent.source, sent.message)
    columns = [column[index].tolist() for column in (*places, *rest)]
    return [
        Transmission(data[start:end] + data[more:more_end] if more else data[start:end], *others)
        for start, end, more, more_end, *others in zip(*columns, strict=True)
    ]


@dataclass(slots=True)
class _Rows:
    """Rows as tuples in the order of their dtype's fields, until there are all of them."""

    index: int = 0
    positions: list[tuple[Any, ...]] = field(default_factory=list)
    statics: list[tuple[Any, ...]] = field(default_factory=list)
    records: list[AisRecord] = field(default_factory=list)
    position_index: list[int] = field(default_factory=list)
    static_index: list[int] = field(default_factory=list)
    record_index: list[int] = field(default_factory=list)

    def position(self, row: tuple[Any, ...]) -> None:
        self.positions.append(row)
        self.position_index.append(self.index)

    def static(self, row: tuple[Any, ...]) -> None:
        self.statics.append(row)
        self.static_index.append(self.index)

    def record(self, record: AisRecord) -> None:
        self.records.append(record)
        self.record_index.append(self.index)


@dataclass(slots=True, frozen=True)
class _Head:
    """What every row says first, and who sent it."""

    sent: Transmission
    msg_type: int
    mmsi: int

    @property
    def columns(self) -> tuple[int, int, int, int, int]:
        sent = self.sent
        return sent.time, sent.received_at, self.mmsi, _digest(sent.payload, sent.fill), sent.source

    def record(self, fields: dict[str, Any]) -> AisRecord:
        return AisRecord(*self.columns, self.msg_type, KINDS[self.msg_type], fields, self.sent.message)


def _message(head: _Head) -> Any:
    """A message as pyais reads it."""
    # Loaded with the first that is read so: its classes take a tenth of a second to be made, and a log may have none.
    from pyais.bit_vector import bit_vector  # noqa: PLC0415
    from pyais.messages import MSG_CLASS  # noqa: PLC0415

    return MSG_CLASS[head.msg_type].from_vector(bit_vector(head.sent.payload, head.sent.fill))


def _digest(payload: bytes, fill: int) -> int:
    words = -(-len(payload) // 8)
    bits = BitString(payload.ljust(8 * words, b"0"))
    return ais_digest([bits.unsigned(48 * word, 48) for word in range(words)], len(payload), fill)


def _bits(payload: bytes, fill: int) -> BitString | Refused:
    """The bits of a message that is of a known type, whole, and of a possible MMSI."""
    if not _ARMOUR.fullmatch(payload):
        detail = "a character that stands for no six bits" if payload else "no payload"
        return Refused(Reason.BAD_PAYLOAD, detail)
    bits = BitString(payload, fill)
    msg_type = bits.unsigned(0, 6)
    minimum = MINIMUM_BITS.get(msg_type)
    if minimum is None:
        return Refused(Reason.UNKNOWN_TYPE, f"type {msg_type}")
    if msg_type == 24 and bits.unsigned(38, 2) == 1:
        minimum = 162
    elif msg_type in (25, 26):
        minimum += 30 * bits.unsigned(38, 1) + 16 * bits.unsigned(39, 1)
    if bits.length < minimum:
        return Refused(Reason.BAD_PAYLOAD, f"type {msg_type} cut short: {bits.length} bits of {minimum}")
    mmsi = bits.unsigned(8, 30)
    if not 0 < mmsi <= 999_999_999:
        return Refused(Reason.BAD_MMSI, f"MMSI {mmsi}")
    if msg_type == 24 and bits.unsigned(38, 2) > 1:
        return Refused(Reason.BAD_PAYLOAD, f"type 24 has no part {bits.unsigned(38, 2)}")
    return bits


def _decode(sent: Transmission, bits: BitString, rows: _Rows) -> Refused | None:
    head = _Head(sent, bits.unsigned(0, 6), bits.unsigned(8, 30))
    if head.msg_type in _PLACES:
        place = _values(bits, _PLACES[head.msg_type])
        if isinstance(place, Refused):
            return place
        found = _message(head)
        _position(found, head, rows)
        if head.msg_type == 19:
            rows.static(_static(found, bits, head))
        return None
    if head.msg_type in _SHIP_TYPE_BIT:
        rows.static(_static(_message(head), bits, head))
        return None
    fields = _fields(bits, head.msg_type)
    if isinstance(fields, Refused):
        return fields
    rows.record(head.record(fields))
    return None


def _position(found: Any, head: _Head, rows: _Rows) -> None:
    """A POSITION row; without a position in it, a record, so that the rest of what it says is kept.

    Longitude 181 and latitude 91 are "not available"; SOG 102.3 kn (type 9: 1023, type 27: 63), COG 360 (type 27:
    511), heading 511, altitude 4095, status 15 likewise. Other values that
    should not be used (heading 480, COG 363) are kept as they were sent.
    """
    lon, lat = found.lon, found.lat
    no_lon, no_lat = lon == 181.0, lat == 91.0
    msg_type = head.msg_type
    altitude = rot = nan
    heading, nav_status = NULL_I2, NULL_I1
    if msg_type == 9:
        altitude = nan if found.alt == 4095 else float(found.alt)
    elif msg_type != 27 and found.heading != 511:
        heading = found.heading
    sog = found.speed if found.speed <= _FASTEST.get(msg_type, 102.2) else nan
    cog = found.course if found.course != (511.0 if msg_type == 27 else 360.0) else nan
    if msg_type in _STATUS_TYPES and found.status != 15:
        nav_status = int(found.status)
    if msg_type in _TURN_TYPES:
        rot = _rate_of_turn(float(found.turn))
    if not (no_lon or no_lat):
        accuracy = int(found.accuracy)
        row = (lon, lat, sog, cog, altitude, rot, heading, nav_status, accuracy, msg_type, head.sent.message)
        rows.position((*head.columns, *row))
        return
    fields: dict[str, Any] = {
        "lon": None if no_lon else lon,
        "lat": None if no_lat else lat,
        "sog": _number(sog),
        "cog": _number(cog),
        "heading": None if heading == NULL_I2 else heading,
        "nav_status": None if nav_status == NULL_I1 else nav_status,
        "rot": _number(rot),
        "accuracy": bool(found.accuracy),
    }
    if msg_type == 9:
        fields["altitude"] = _number(altitude)
    rows.record(head.record(fields))


def _rate_of_turn(turn: float) -> float:
    """Degrees per minute from pyais's, in whole degrees; -128 is "not available".

    127 and -127 stay as they were sent: turning at more than 5 degrees in 30 s, as told without a turn indicator.
    """
    if turn == -128.0:
        return nan
    return turn + 0.0  # -0.0 is 0.0


def _number(value: float) -> float | None:
    return None if value != value else value  # noqa: PLR0124  # only NaN differs from itself


def _static(found: Any, bits: BitString, head: _Head) -> tuple[Any, ...]:
    """A STATIC row of type 5, 19 or 24 (parts A and B); what the message does not carry is null."""
    msg_type = head.msg_type
    imo, draught = NULL_I4, nan
    ship_type = NULL_I2
    sides = (NULL_I2,) * 4
    name = callsign = destination = eta = None
    part_a = msg_type == 24 and found.partno == 0
    if not part_a:
        ship_type = bits.unsigned(_SHIP_TYPE_BIT[msg_type], 8)
        if hasattr(found, "to_bow"):  # else a craft's part B, with its mother ship's MMSI in place of its size
            sent = (found.to_bow, found.to_stern, found.to_port, found.to_starboard)
            sides = sent if any(sent) else sides
    if msg_type != 24 or part_a:
        name = _text(found.shipname)
    if msg_type == 5:
        imo = found.imo or NULL_I4
        draught = found.draught or nan
        destination = _text(found.destination)
        eta = shown_eta(found.month, found.day, found.hour, found.minute)
    if msg_type == 5 or (msg_type == 24 and not part_a):
        callsign = _text(found.callsign)
    row = (imo, ship_type, *sides, draught, name, callsign, destination, eta, msg_type, head.sent.message)
    return (*head.columns, *row)


def _text(text: str) -> str | None:
    """Text as pyais gives it, ended at the ``@`` that ends it (M.1371-5, Annex 8, 6-bit ASCII)."""
    return text.partition("@")[0].strip() or None


def _fields(bits: BitString, msg_type: int) -> dict[str, Any] | Refused:
    """The fields of a record by their names; a field the message is too short for is null."""
    if msg_type in (25, 26):
        return _binary(bits, msg_type)
    fields = RECORD_FIELDS[msg_type]
    if msg_type == 22 and bits.unsigned(139, 1):
        fields = ADDRESSED_CHANNEL
    out = _values(bits, fields)
    if isinstance(out, Refused):
        return out
    if msg_type == 21 and not any(out[name] for name in ("to_bow", "to_stern", "to_port", "to_starboard")):
        out.update(to_bow=None, to_stern=None, to_port=None, to_starboard=None)
    return out


def _values(bits: BitString, fields: Sequence[Field]) -> dict[str, Any] | Refused:
    out: dict[str, Any] = {}
    for entry in fields:
        value = _field(bits, entry)
        if isinstance(value, Refused):
            return value
        out[entry[0]] = value
    return out


def _field(bits: BitString, entry: Field) -> Any:
    """The value of a field, ready for JSON; None where it is not there or not available."""
    name, first, width, form, absent = entry
    left = bits.length - first
    match form:
        case Form.TEXT:
            return _text(bits.text(first, min(width, left) // 6 * 6))
        case Form.DATA:
            return _hexadecimal(bits, first, min(width, left))
        case _ if left < width:
            return None
        case Form.FLAG:
            return bool(bits.unsigned(first, 1))
        case Form.UNSIGNED | Form.MMSI:
            value = bits.unsigned(first, width)
            return None if value == absent else value
        case Form.MINUTES | Form.TENTHS:
            value = bits.signed(first, width)
            return None if value == absent else _degrees(name, value, 600_000 if form is Form.MINUTES else 600)


def _degrees(name: str, value: int, per_degree: int) -> float | Refused:
    if abs(value) > (180 if name.endswith("lon") else 90) * per_degree:
        return Refused(Reason.BAD_POSITION, f"{name} {value / per_degree:g}")
    return round(value / per_degree, 6)


def _hexadecimal(bits: BitString, first: int, width: int) -> str | None:
    """Bits as hexadecimal digits, the last byte filled up with zeros."""
    return bits.octets(first, width).hex() or None


def _binary(bits: BitString, msg_type: int) -> dict[str, Any]:
    """Messages 25 and 26: where the data begins depends on two flags; 26 ends in 20 bits of communication state."""
    addressed, structured = bool(bits.unsigned(38, 1)), bool(bits.unsigned(39, 1))
    at = 70 if addressed else 40
    data = at + 16 if structured else at
    end = bits.length - 20 if msg_type == 26 else bits.length
    out: dict[str, Any] = {
        "repeat": bits.unsigned(6, 2),
        "addressed": addressed,
        "structured": structured,
        "dest_mmsi": (bits.unsigned(40, 30) or None) if addressed else None,
        "dac": bits.unsigned(at, 10) if structured else None,
        "fid": bits.unsigned(at + 10, 6) if structured else None,
        "data": _hexadecimal(bits, data, end - data),
    }
    if msg_type == 26:
        out["radio"] = bits.unsigned(end, 20)
    return out
