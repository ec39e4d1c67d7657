"""AIS messages by table, many at once: the bits of whole batches into columns of POSITION and STATIC, and records.

The data's way: payloads, wherever they lie in a text (``Payloads``), become words of bits (``decoders.armour``), by
length so that short ones carry no long one's width. Messages of types that share a table are then read together:
field by field, each one pass over the words, scaled, and null where the table says so.

Only messages with nothing wrong and nothing odd about them are read here. The others are named in the result, for
``decoders.ais`` to look at one by one: so there is one place that refuses, and one that says why.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache, lru_cache, partial
from itertools import repeat
from math import copysign, nan
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from decoders import armour
from decoders.ais_fields import ADDRESSED_CHANNEL, KINDS, MINIMUM_BITS, RECORD_FIELDS, Form
from decoders.ais_tables import CRAFT, ETA, NO_ETA, PART, POSITION_FIELDS, STATIC_FIELDS
from decoders.identity import ais_digests
from decoders.records import NULL_I1, NULL_I2, NULL_I4, POSITION, STATIC, AisRecord, empty, take

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from decoders.ais_fields import Field
    from decoders.armour import Bits
    from decoders.nmea_columns import Flags, Ints, Text
    from decoders.records import Table

#: Payloads are read in these widths, in characters: a slot's worth, type 5, five slots' worth.
_WIDTHS: Final = (32, 72, 168)
#: So few messages of one table are read faster one by one; among so many it is all one, and they go by table: then
#: pyais, which takes a tenth of a second to load, may never be needed.
_FEW: Final = 6
_MANY: Final = 2_000

_FORBIDDEN_PARTS: Final = 2
#: Of message 22, whether it is addressed: a bit.
_ADDRESSED: Final = (139, 1)
#: Bits of communication state at the end of message 26.
_STATE: Final = 20
#: Messages whose layout depends on their flags, and which have no table.
_BINARY: Final = (25, 26)
_NULLS: Final[dict[str, float]] = {
    "sog": nan,
    "cog": nan,
    "altitude": nan,
    "rot": nan,
    "draught": nan,
    "heading": NULL_I2,
    "nav_status": NULL_I1,
    "imo": NULL_I4,
    **dict.fromkeys(("ship_type", "to_bow", "to_stern", "to_port", "to_starboard"), NULL_I2),
}
_SIZE: Final = ("to_bow", "to_stern", "to_port", "to_starboard")
_TEXTS: Final = ("name", "callsign", "destination", "eta")


@dataclass(slots=True)
class Payloads:
    """Whole AIS messages as received, in their order, and what is known of their reception: columns of equal length."""

    start: Ints  # where the armoured payload begins
    length: Ints  # its characters, both parts'
    more: Ints  # where the second of two sentences' payload begins
    more_length: Ints  # its characters; 0 where there is one sentence
    fill: Ints  # bits of the last character that are no data
    time: Ints  # microseconds since the epoch
    received_at: Ints
    source: Ints
    message: Ints


@dataclass(slots=True)
class Read:
    """What was read."""

    #: By the index of the payload; None where that is no record.
    records: NDArray[np.object_]
    #: Tables with, of each row, the index of its payload.
    positions: list[tuple[Ints, Table]] = field(default_factory=list)
    statics: list[tuple[Ints, Table]] = field(default_factory=list)
    #: Indices of the payloads to look at one by one, in rising order.
    left: Ints = field(default_factory=lambda: np.zeros(0, np.int64))


@dataclass(slots=True)
class _Heads:
    """What all rows say first."""

    sent: Payloads
    mmsi: Ints
    digest: Ints
    msg_type: Ints

    def fill(self, rows: Table, index: Ints) -> None:
        for name in ("time", "received_at", "source", "message"):
            rows[name] = getattr(self.sent, name)[index]
        rows["transponder"] = self.mmsi[index]
        rows["digest"] = self.digest[index]
        rows["msg_type"] = self.msg_type[index]

    def records(self, index: Ints, fields: Callable[[], list[dict[str, Any]]]) -> list[AisRecord]:
        """Records, the fields of which are made together when those of any are asked for."""
        sent = self.sent
        columns = (sent.time, sent.received_at, self.mmsi, self.digest, sent.source, self.msg_type)
        heads = (column[index].tolist() for column in columns)
        kinds, message = _KIND[self.msg_type[index]].tolist(), sent.message[index].tolist()
        said = zip(repeat(fields), range(len(index)))
        rows = zip(*heads, kinds, said, message, strict=True)
        return list(map(partial(tuple.__new__, AisRecord), rows))


def read(text: Text, sent: Payloads) -> Read:
    """Read all that is plain."""
    count = len(sent.start)
    few = _FEW if count < _MANY else 0
    done = np.zeros(count, np.bool_)
    heads = _Heads(sent, *np.zeros((3, count), np.int64))
    out = Read(np.full(count, None))
    narrower = 0
    for width in _WIDTHS:
        index = np.flatnonzero((sent.length > narrower) & (sent.length <= width))
        narrower = width
        if len(index) <= few:
            continue
        length, fill = sent.length[index], sent.fill[index]
        words, armoured = armour.read(text, sent.start[index], length, width, sent.more[index], sent.more_length[index])
        bits = armour.Bits(words, 6 * length - fill)
        msg_type = bits.integers(0, 6)
        mmsi = bits.integers(8, 30)
        heads.msg_type[index], heads.mmsi[index] = msg_type, mmsi
        heads.digest[index] = ais_digests(words, length, fill)
        minimum = _MINIMUM[msg_type]
        part = np.where(msg_type == 24, bits.integers(*PART), 0)
        minimum[part == 1] = _PART_B
        for binary in np.flatnonzero((msg_type == 25) | (msg_type == 26)).tolist():
            flags = int(words[0, binary]) >> armour.WORD_BITS - 40
            minimum[binary] += 30 * (flags >> 1 & 1) + 16 * (flags & 1)
        good = armoured & (bits.length >= minimum) & (mmsi >= 1) & (mmsi <= 999_999_999) & (part < _FORBIDDEN_PARTS)
        tables = np.where(good, _TABLE[msg_type], 0).astype(np.uint8)
        order = np.argsort(tables, kind="stable")
        ends = np.cumsum(np.bincount(tables)).tolist()
        for table in range(1, len(ends)):
            chosen = order[ends[table - 1] : ends[table]]
            if len(chosen) > few:
                done[index[chosen]] = _read_table(table, bits.take(chosen), part[chosen], index[chosen], heads, out)
    out.left = np.flatnonzero(~done)
    return out


def _read_table(table: int, bits: Bits, part: Ints, index: Ints, heads: _Heads, out: Read) -> Flags:
    """Read messages of types that share a table, ``table`` being the least of them; returns which could be."""
    good = np.ones(len(index), np.bool_)
    if table in RECORD_FIELDS or table in _BINARY:
        if table == 22:
            good = _places(bits, RECORD_FIELDS[22]) | (bits.integers(*_ADDRESSED) == 1)
        elif table in RECORD_FIELDS:
            good = _places(bits, RECORD_FIELDS[table])
        if not good.all():
            bits, index = bits.take(np.flatnonzero(good)), index[good]
        out.records[index] = heads.records(index, cache(partial(_FIELDS_OF.get(table, _records), bits, table)))
        return good
    if table in POSITION_FIELDS:
        good = _places(bits, POSITION_FIELDS[table])
        if not good.all():
            bits, index, part = bits.take(np.flatnonzero(good)), index[good], part[good]
        rows = empty(POSITION, len(index))
        heads.fill(rows, index)
        there = _positions(rows, bits, POSITION_FIELDS[table])
        if not there.all():
            nowhere = np.flatnonzero(~there)
            fields = cache(partial(_placeless, rows[nowhere], bits.take(nowhere), table))
            out.records[index[nowhere]] = heads.records(index[nowhere], fields)
            rows = rows[there]
        out.positions.append((index[there], rows))
    for which in np.unique(part).tolist():
        fields_of = STATIC_FIELDS.get((table, which))
        if fields_of is not None:
            chosen = np.flatnonzero(part == which)
            rows = empty(STATIC, len(chosen))
            heads.fill(rows, index[chosen])
            _statics(rows, bits.take(chosen), fields_of)
            out.statics.append((index[chosen], rows))
    return good


def ordered(dtype: np.dtype[Any], parts: list[tuple[Ints, Table]]) -> Table:
    """Tables as one, by the index of each row's payload."""
    parts = [part for part in parts if len(part[0])]
    if not parts:
        return empty(dtype)
    if len(parts) == 1:
        return parts[0][1]
    order = np.argsort(np.concatenate([index for index, _ in parts]), kind="stable")
    return take(np.concatenate([rows for _, rows in parts]), order)


def _places(bits: Bits, fields: Sequence[Field]) -> Flags:
    """Whether every longitude and latitude is one, or said to be none."""
    good = np.ones(len(bits.length), np.bool_)
    for name, first, width, form, absent in fields:
        if form in (Form.MINUTES, Form.TENTHS):
            value = bits.signed(first, width)
            limit = (180 if name.endswith("lon") else 90) * (600_000 if form is Form.MINUTES else 600)
            good &= (abs(value) <= limit) | (value == absent) | (bits.length < first + width)
    return good


def _degrees(value: Ints, form: Form) -> NDArray[np.float64]:
    """Degrees, to six digits: the double next to the decimal, for a third or two beyond it is never half way."""
    scaled = 5 * value if form is Form.MINUTES else 5000 * value
    return (scaled + 1) // 3 / 1e6


def _positions(rows: Table, bits: Bits, fields: Sequence[Field]) -> Flags:
    """Fill the columns of POSITION; returns which rows have a position."""
    for name in ("sog", "cog", "altitude", "rot", "heading", "nav_status"):
        rows[name] = _NULLS[name]
    there = np.ones(len(rows), np.bool_)
    for name, first, width, form, absent in fields:
        if form in (Form.MINUTES, Form.TENTHS):
            value = bits.signed(first, width)
            there &= value != absent
            rows[name] = _degrees(value, form)
        elif form is Form.TURN:
            rows[name] = _TURN[bits.unsigned(first, width)]
        else:
            rows[name] = _numbers(name, bits.integers(first, width), form, absent)
    return there


def _numbers(name: str, value: Ints, form: Form, absent: int | None) -> NDArray[Any]:
    scaled: NDArray[Any] = value / 10.0 if form is Form.DECIMAL else value
    return scaled if absent is None else np.where(value == absent, _NULLS[name], scaled)


def _placeless(rows: Table, bits: Bits, table: int) -> list[dict[str, Any]]:
    """What position reports without a position say else."""
    columns: dict[str, list[Any]] = {}
    for name, first, width, form, absent in POSITION_FIELDS[table]:
        if form in (Form.MINUTES, Form.TENTHS):
            none = bits.signed(first, width) == absent
            columns[name] = [
                None if no else value for no, value in zip(none.tolist(), rows[name].tolist(), strict=True)
            ]
    for name in ("sog", "cog", "heading", "nav_status", "rot"):
        null = _NULLS[name]
        columns[name] = [None if value == null or value != value else value for value in rows[name].tolist()]  # noqa: PLR0124
    columns["accuracy"] = [bool(value) for value in rows["accuracy"].tolist()]
    if table == 9:
        columns["altitude"] = [None if value != value else value for value in rows["altitude"].tolist()]  # noqa: PLR0124
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _statics(rows: Table, bits: Bits, fields: Sequence[Field]) -> None:
    """Fill the columns of STATIC."""
    for name in ("imo", "ship_type", *_SIZE, "draught"):
        rows[name] = _NULLS[name]
    for name in _TEXTS:
        rows[name] = None
    for name, first, width, form, absent in fields:
        if form is Form.TEXT:
            rows[name] = texts(bits.text(first, width))
        elif form is Form.ETA:
            rows[name] = _etas(bits)
        else:
            rows[name] = _numbers(name, bits.integers(first, width), form, absent)
    if any(name == _SIZE[0] for name, *_ in fields):
        sizeless = ~np.logical_or.reduce([rows[name] > 0 for name in _SIZE])
        mmsi = rows["transponder"]
        sizeless |= (rows["msg_type"] == 24) & (mmsi >= CRAFT[0]) & (mmsi <= CRAFT[1])
        for name in _SIZE:
            rows[name][sizeless] = NULL_I2


class _Texts(dict[bytes, str | None]):
    """Text by the characters sent, each made once: vessels say the same again and again."""

    def __missing__(self, sent: bytes) -> str | None:
        found = self[sent] = sent.partition(b"@")[0].decode().strip() or None
        return found


def texts(sent: NDArray[np.bytes_]) -> list[str | None]:
    """Texts, each ended at the ``@`` that ends it (M.1371-5, Annex 8, 6-bit ASCII); None where nothing is left."""
    known = _Texts()
    return [known[one] for one in sent.tolist()]


def _etas(bits: Bits) -> list[str | None]:
    return list(map(eta, *(bits.integers(*place).tolist() for place in ETA)))


@lru_cache(maxsize=4096)
def eta(*parts: int) -> str | None:
    """``MM-DDTHH:MMZ`` of month, day, hour and minute as sent; those not available as ``--``.

    None where neither month nor day is available: many a transponder that was never told sends zeros throughout.
    """
    if parts[:2] == NO_ETA[:2]:
        return None
    shown = ("--" if value == absent else f"{value:02d}" for value, absent in zip(parts, NO_ETA, strict=True))
    return "{}-{}T{}:{}Z".format(*shown)


def _records(bits: Bits, table: int) -> list[dict[str, Any]]:
    """The fields of records by their names; a field the message is too short for is null."""
    return _by_fields(bits, RECORD_FIELDS[table])


def _by_fields(bits: Bits, fields: Sequence[Field]) -> list[dict[str, Any]]:
    columns: dict[str, list[Any]] = {}
    for name, first, width, form, absent in fields:
        columns[name] = _record_column(bits, first, width, form, absent)
    out = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    if _SIZE[0] in columns:
        for one in out:
            if not any(one[name] for name in _SIZE):
                one.update(dict.fromkeys(_SIZE))
    return out


def _variants(bits: Bits, flags: Ints, read: Callable[[Bits, int], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The fields of records whose layout depends on flags, given how messages with the same flags are read."""
    out: list[dict[str, Any]] = [{}] * len(flags)
    for flag in np.unique(flags).tolist():
        chosen = np.flatnonzero(flags == flag)
        for place, fields in zip(chosen.tolist(), read(bits.take(chosen), flag), strict=True):
            out[place] = fields
    return out


def _channels(bits: Bits, table: int) -> list[dict[str, Any]]:
    """Message 22: to an area, or to two stations."""

    def read(some: Bits, addressed: int) -> list[dict[str, Any]]:
        return _by_fields(some, ADDRESSED_CHANNEL if addressed else RECORD_FIELDS[table])

    return _variants(bits, bits.integers(*_ADDRESSED), read)


def _binaries(bits: Bits, table: int) -> list[dict[str, Any]]:
    """Messages 25 and 26: where the data begins depends on two flags; 26 ends in 20 bits of communication state."""

    def read(some: Bits, flags: int) -> list[dict[str, Any]]:
        addressed, structured = bool(flags & 2), bool(flags & 1)
        at = 70 if addressed else 40
        state = _STATE if table == 26 else 0
        nothing: list[Any] = [None] * len(some.length)
        data = some.since(at + 16 if structured else at, without=state)
        columns = {
            "repeat": some.integers(6, 2).tolist(),
            "addressed": [addressed] * len(nothing),
            "structured": [structured] * len(nothing),
            "dest_mmsi": [mmsi or None for mmsi in some.integers(40, 30).tolist()] if addressed else nothing,
            "dac": some.integers(at, 10).tolist() if structured else nothing,
            "fid": some.integers(at + 10, 6).tolist() if structured else nothing,
            "data": [octets.hex() or None for octets in data.data(0, armour.WORD_BITS * len(data.words))],
        }
        if state:
            columns["radio"] = some.last(state).tolist()
        return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]

    return _variants(bits, bits.integers(38, 2), read)


def _record_column(bits: Bits, first: int, width: int, form: Form, absent: int | None) -> list[Any]:
    if form is Form.TEXT:
        return _record_texts(bits, first, width)
    if form is Form.DATA:
        return [data.hex() or None for data in bits.data(first, width)]
    if form in (Form.MINUTES, Form.TENTHS):
        value = bits.signed(first, width)
        out: list[Any] = _degrees(value, form).tolist()
    else:
        value = bits.integers(first, width)
        out = (value != 0 if form is Form.FLAG else value).tolist()
    null = bits.length < first + width
    if absent is not None:
        null |= value == absent
    if null.any():
        for index in np.flatnonzero(null).tolist():
            out[index] = None
    return out


def _record_texts(bits: Bits, first: int, width: int) -> list[str | None]:
    """Texts that may end before their field does, with the message; what is no whole character is left out."""
    characters = np.clip(bits.length - first, 0, width) // 6
    most = int(characters.max())
    if not most:
        return [None] * len(characters)
    sent = bits.text(first, 6 * most)
    if (characters < most).any():
        pairs = zip(sent.tolist(), characters.tolist(), strict=True)
        sent = np.array([one[:count] for one, count in pairs], f"S{most}")
    return texts(sent)


def _turns() -> NDArray[np.float64]:
    """Degrees per minute, in whole ones, by the 8 bits sent; 127 and -127 as they are: see ``decoders.records``."""
    out = np.full(256, nan)
    for sent in range(-127, 128):
        turn = float(sent) if abs(sent) == 127 else copysign(round((sent / 4.733) ** 2), sent)
        out[sent & 255] = turn + 0.0  # -0.0 is 0.0
    return out


_TURN: Final = _turns()
#: How the fields of a table's records are read, where their layout depends on flags.
_FIELDS_OF: Final = {22: _channels, 25: _binaries, 26: _binaries}
_KIND: Final = np.array([KINDS.get(code) for code in range(64)], object)
#: By message type: bits it must have (more than any has, where it is not read here), and its table: the least type of
#: those that share it, 0 for none.
_MINIMUM: Final = np.full(64, 1 << 20, np.int64)
_TABLE: Final = np.zeros(64, np.int64)
_PART_B: Final = 162
for _type, _bits in MINIMUM_BITS.items():
    _found = POSITION_FIELDS.get(_type) or RECORD_FIELDS.get(_type)
    _MINIMUM[_type] = _bits
    _TABLE[_type] = _type
    for _other in range(1, _type):
        same = POSITION_FIELDS.get(_other) or RECORD_FIELDS.get(_other)
        if (
            _found is not None
            and same == _found
            and (_other, 0) not in STATIC_FIELDS
            and (_type, 0) not in STATIC_FIELDS
        ):
            _TABLE[_type] = _other
            break
