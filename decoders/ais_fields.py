"""Fields of AIS messages, as ITU-R M.1371-5 (02/2014), Annex 8, lays them out: what is sent, and what says "nothing".

Names of fields are those of the standard's tables in the short form that gpsd and pyais made common; positions and
static data use the names of ``decoders.records``.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

#: Bits a message must have to hold all its fields, trailing spare bits aside (M.1371-5, Annex 8).
#: A message with fewer was cut short. Types of variable length need their fixed part.
MINIMUM_BITS: Final = {
    1: 168,
    2: 168,
    3: 168,
    4: 168,
    5: 422,  # up to the destination: some transponders leave out the two bits after it
    6: 88,  # up to the application identifier
    7: 72,  # one acknowledgement
    8: 56,  # up to the application identifier
    9: 168,
    10: 70,
    11: 168,
    12: 72,
    13: 72,
    14: 40,
    15: 88,  # one station asked for one message
    16: 92,  # one station
    17: 75,  # a position without corrections
    18: 168,
    19: 308,
    20: 70,  # one reservation
    21: 271,
    22: 145,
    23: 154,
    24: 160,  # part A; part B has 162
    25: 40,  # and 30 where addressed, 16 where structured
    26: 60,  # likewise
    27: 95,
}

#: What ``haidang decode`` and ``AisRecord.kind`` call a message type.
KINDS: Final = {
    1: "position",
    2: "position",
    3: "position",
    4: "base_station",
    5: "static",
    6: "binary",
    7: "acknowledge",
    8: "binary",
    9: "sar_aircraft",
    10: "utc_inquiry",
    11: "utc_response",
    12: "safety_text",
    13: "acknowledge",
    14: "safety_text",
    15: "interrogation",
    16: "assignment",
    17: "dgnss",
    18: "position",
    19: "position",
    20: "data_link_management",
    21: "aton",
    22: "channel_management",
    23: "group_assignment",
    24: "static",
    25: "binary",
    26: "binary",
    27: "position",
}


class Form(Enum):
    """How the bits of a field read."""

    UNSIGNED = auto()
    FLAG = auto()  # one bit, true or false
    MMSI = auto()  # unsigned; 0 is nobody
    TEXT = auto()  # 6-bit characters, ended by "@"
    MINUTES = auto()  # signed, 1/10 000 minute, in degrees
    TENTHS = auto()  # signed, 1/10 minute, in degrees
    DATA = auto()  # whatever is left, in hexadecimal digits
    DECIMAL = auto()  # unsigned, tenths
    TURN = auto()  # signed, 4.733 times the square root of degrees per minute
    ETA = auto()  # month, day, hour and minute of UTC


#: (name, first bit, bits, form, value that says "not available" or None)
Field = tuple[str, int, int, Form, int | None]

_LON: Final = 181 * 600_000
_LAT: Final = 91 * 600_000


def _base_station() -> tuple[Field, ...]:
    """Messages 4 and 11: base station report, UTC and date response."""
    return (
        ("year", 38, 14, Form.UNSIGNED, 0),
        ("month", 52, 4, Form.UNSIGNED, 0),
        ("day", 56, 5, Form.UNSIGNED, 0),
        ("hour", 61, 5, Form.UNSIGNED, 24),
        ("minute", 66, 6, Form.UNSIGNED, 60),
        ("second", 72, 6, Form.UNSIGNED, 60),
        ("accuracy", 78, 1, Form.FLAG, None),
        ("lon", 79, 28, Form.MINUTES, _LON),
        ("lat", 107, 27, Form.MINUTES, _LAT),
        ("epfd", 134, 4, Form.UNSIGNED, None),
        ("raim", 148, 1, Form.FLAG, None),
        ("radio", 149, 19, Form.UNSIGNED, None),
    )


def _acknowledge() -> tuple[Field, ...]:
    """Messages 7 and 13: up to four destinations, each with the number of what is acknowledged."""
    return tuple(
        field
        for i in range(4)
        for field in (
            (f"mmsi{i + 1}", 40 + 32 * i, 30, Form.MMSI, 0),
            (f"mmsiseq{i + 1}", 70 + 32 * i, 2, Form.UNSIGNED, None),
        )
    )


def _reservations() -> tuple[Field, ...]:
    """Message 20: up to four blocks of slots."""
    return tuple(
        field
        for i in range(4)
        for field in (
            (f"offset{i + 1}", 40 + 30 * i, 12, Form.UNSIGNED, None),
            (f"number{i + 1}", 52 + 30 * i, 4, Form.UNSIGNED, None),
            (f"timeout{i + 1}", 56 + 30 * i, 3, Form.UNSIGNED, None),
            (f"increment{i + 1}", 59 + 30 * i, 11, Form.UNSIGNED, None),
        )
    )


_REPEAT: Final = ("repeat", 6, 2, Form.UNSIGNED, None)

#: Message types that are kept as records, field by field.
RECORD_FIELDS: Final[dict[int, tuple[Field, ...]]] = {
    4: (_REPEAT, *_base_station()),
    6: (
        _REPEAT,
        ("seqno", 38, 2, Form.UNSIGNED, None),
        ("dest_mmsi", 40, 30, Form.MMSI, 0),
        ("retransmit", 70, 1, Form.FLAG, None),
        ("dac", 72, 10, Form.UNSIGNED, None),
        ("fid", 82, 6, Form.UNSIGNED, None),
        ("data", 88, 920, Form.DATA, None),
    ),
    7: (_REPEAT, *_acknowledge()),
    8: (
        _REPEAT,
        ("dac", 40, 10, Form.UNSIGNED, None),
        ("fid", 50, 6, Form.UNSIGNED, None),
        ("data", 56, 952, Form.DATA, None),
    ),
    10: (_REPEAT, ("dest_mmsi", 40, 30, Form.MMSI, 0)),
    11: (_REPEAT, *_base_station()),
    12: (
        _REPEAT,
        ("seqno", 38, 2, Form.UNSIGNED, None),
        ("dest_mmsi", 40, 30, Form.MMSI, 0),
        ("retransmit", 70, 1, Form.FLAG, None),
        ("text", 72, 936, Form.TEXT, None),
    ),
    13: (_REPEAT, *_acknowledge()),
    14: (_REPEAT, ("text", 40, 968, Form.TEXT, None)),
    15: (
        _REPEAT,
        ("mmsi1", 40, 30, Form.MMSI, 0),
        ("type1_1", 70, 6, Form.UNSIGNED, None),
        ("offset1_1", 76, 12, Form.UNSIGNED, None),
        ("type1_2", 90, 6, Form.UNSIGNED, None),
        ("offset1_2", 96, 12, Form.UNSIGNED, None),
        ("mmsi2", 110, 30, Form.MMSI, 0),
        ("type2_1", 140, 6, Form.UNSIGNED, None),
        ("offset2_1", 146, 12, Form.UNSIGNED, None),
    ),
    16: (  # without a second station the message ends after 92 bits and 4 spare ones
        _REPEAT,
        ("mmsi1", 40, 30, Form.MMSI, 0),
        ("offset1", 70, 12, Form.UNSIGNED, None),
        ("increment1", 82, 10, Form.UNSIGNED, None),
        ("mmsi2", 92, 30, Form.MMSI, 0),
        ("offset2", 122, 12, Form.UNSIGNED, None),
        ("increment2", 134, 10, Form.UNSIGNED, None),
    ),
    17: (
        _REPEAT,
        ("lon", 40, 18, Form.TENTHS, 181 * 600),
        ("lat", 58, 17, Form.TENTHS, 91 * 600),
        ("data", 80, 736, Form.DATA, None),
    ),
    20: (_REPEAT, *_reservations()),
    21: (
        _REPEAT,
        ("aid_type", 38, 5, Form.UNSIGNED, None),
        ("name", 43, 120, Form.TEXT, None),
        ("accuracy", 163, 1, Form.FLAG, None),
        ("lon", 164, 28, Form.MINUTES, _LON),
        ("lat", 192, 27, Form.MINUTES, _LAT),
        ("to_bow", 219, 9, Form.UNSIGNED, None),
        ("to_stern", 228, 9, Form.UNSIGNED, None),
        ("to_port", 237, 6, Form.UNSIGNED, None),
        ("to_starboard", 243, 6, Form.UNSIGNED, None),
        ("epfd", 249, 4, Form.UNSIGNED, None),
        ("second", 253, 6, Form.UNSIGNED, 60),
        ("off_position", 259, 1, Form.FLAG, None),
        ("reserved_1", 260, 8, Form.UNSIGNED, None),
        ("raim", 268, 1, Form.FLAG, None),
        ("virtual_aid", 269, 1, Form.FLAG, None),
        ("assigned", 270, 1, Form.FLAG, None),
        ("name_ext", 272, 88, Form.TEXT, None),
    ),
    22: (  # where "addressed" is set, ADDRESSED_CHANNEL
        _REPEAT,
        ("channel_a", 40, 12, Form.UNSIGNED, None),
        ("channel_b", 52, 12, Form.UNSIGNED, None),
        ("txrx", 64, 4, Form.UNSIGNED, None),
        ("power", 68, 1, Form.FLAG, None),
        ("ne_lon", 69, 18, Form.TENTHS, 181 * 600),
        ("ne_lat", 87, 17, Form.TENTHS, 91 * 600),
        ("sw_lon", 104, 18, Form.TENTHS, 181 * 600),
        ("sw_lat", 122, 17, Form.TENTHS, 91 * 600),
        ("addressed", 139, 1, Form.FLAG, None),
        ("band_a", 140, 1, Form.FLAG, None),
        ("band_b", 141, 1, Form.FLAG, None),
        ("zonesize", 142, 3, Form.UNSIGNED, None),
    ),
    23: (
        _REPEAT,
        ("ne_lon", 40, 18, Form.TENTHS, 181 * 600),
        ("ne_lat", 58, 17, Form.TENTHS, 91 * 600),
        ("sw_lon", 75, 18, Form.TENTHS, 181 * 600),
        ("sw_lat", 93, 17, Form.TENTHS, 91 * 600),
        ("station_type", 110, 4, Form.UNSIGNED, None),
        ("ship_type", 114, 8, Form.UNSIGNED, None),
        ("txrx", 144, 2, Form.UNSIGNED, None),
        ("interval", 146, 4, Form.UNSIGNED, None),
        ("quiet", 150, 4, Form.UNSIGNED, None),
    ),
}

#: Message 22 addressed to two stations (bit 139 set): two destinations in place of the four corners.
ADDRESSED_CHANNEL: Final[tuple[Field, ...]] = (
    *(field for field in RECORD_FIELDS[22] if field[3] is not Form.TENTHS),
    ("dest1", 69, 30, Form.MMSI, 0),
    ("dest2", 104, 30, Form.MMSI, 0),
)
