"""The bits of positions and static data, as ITU-R M.1371-5 (02/2014), Annex 8, lays them out, one table a message type.

Names are those of the columns of ``decoders.records.POSITION`` and ``STATIC``: each field goes into the column of its
name. To read one more type by table, add one; ``decoders.ais_fields`` has the tables of those that become records.
"""

from __future__ import annotations

from typing import Final

from decoders.ais_fields import Field, Form

_LON: Final = 181 * 600_000
_LAT: Final = 91 * 600_000


def _place(first: int) -> tuple[Field, ...]:
    """Position accuracy, longitude, latitude and course, one after the other in most types."""
    return (
        ("accuracy", first, 1, Form.UNSIGNED, None),
        ("lon", first + 1, 28, Form.MINUTES, _LON),
        ("lat", first + 29, 27, Form.MINUTES, _LAT),
        ("cog", first + 56, 12, Form.DECIMAL, 3600),
    )


def _size(first: int) -> tuple[Field, ...]:
    """Dimensions about the reference point; all 0 is "not available"."""
    return (
        ("to_bow", first, 9, Form.UNSIGNED, None),
        ("to_stern", first + 9, 9, Form.UNSIGNED, None),
        ("to_port", first + 18, 6, Form.UNSIGNED, None),
        ("to_starboard", first + 24, 6, Form.UNSIGNED, None),
    )


#: Table 48: class A position reports.
_CLASS_A: Final[tuple[Field, ...]] = (
    ("nav_status", 38, 4, Form.UNSIGNED, 15),
    ("rot", 42, 8, Form.TURN, -128),
    ("sog", 50, 10, Form.DECIMAL, 1023),
    *_place(60),
    ("heading", 128, 9, Form.UNSIGNED, 511),
)

#: Tables 67 and 68: class B position reports, the short one and the beginning of the extended one.
_CLASS_B: Final[tuple[Field, ...]] = (
    ("sog", 46, 10, Form.DECIMAL, 1023),
    *_place(56),
    ("heading", 124, 9, Form.UNSIGNED, 511),
)

POSITION_FIELDS: Final[dict[int, tuple[Field, ...]]] = {
    1: _CLASS_A,
    2: _CLASS_A,
    3: _CLASS_A,
    9: (  # search and rescue aircraft: in whole knots
        ("altitude", 38, 12, Form.UNSIGNED, 4095),
        ("sog", 50, 10, Form.UNSIGNED, 1023),
        *_place(60),
    ),
    18: _CLASS_B,
    19: _CLASS_B,
    27: (  # long range: tenths of minutes, whole knots, whole degrees
        ("accuracy", 38, 1, Form.UNSIGNED, None),
        ("nav_status", 40, 4, Form.UNSIGNED, 15),
        ("lon", 44, 18, Form.TENTHS, 181 * 600),
        ("lat", 62, 17, Form.TENTHS, 91 * 600),
        ("sog", 79, 6, Form.UNSIGNED, 63),
        ("cog", 85, 9, Form.UNSIGNED, 511),
    ),
}

#: Month, day, hour and minute of the estimated time of arrival in type 5 (table 52), and what says there is none.
ETA: Final = ((274, 4), (278, 5), (283, 5), (288, 6))
NO_ETA: Final = (0, 0, 24, 60)

#: Which part a type 24 message is: 2 bits; A is 0, B is 1.
PART: Final = (38, 2)

#: By message type and, of type 24, part (of others 0).
STATIC_FIELDS: Final[dict[tuple[int, int], tuple[Field, ...]]] = {
    (5, 0): (  # class A, static and voyage related
        ("imo", 40, 30, Form.UNSIGNED, 0),
        ("callsign", 70, 42, Form.TEXT, None),
        ("name", 112, 120, Form.TEXT, None),
        ("ship_type", 232, 8, Form.UNSIGNED, None),
        *_size(240),
        ("eta", 274, 20, Form.ETA, None),
        ("draught", 294, 8, Form.DECIMAL, 0),
        ("destination", 302, 120, Form.TEXT, None),
    ),
    (19, 0): (  # class B, extended position report
        ("name", 143, 120, Form.TEXT, None),
        ("ship_type", 263, 8, Form.UNSIGNED, None),
        *_size(271),
    ),
    (24, 0): (("name", 40, 120, Form.TEXT, None),),  # class B, part A
    (24, 1): (  # part B; of a craft, in place of its size, the MMSI of its mother ship
        ("ship_type", 40, 8, Form.UNSIGNED, None),
        ("callsign", 90, 42, Form.TEXT, None),
        *_size(132),
    ),
}

#: MMSIs of craft associated with a parent ship (ITU-R M.585-9, Annex 1): 98MIDxxxx.
CRAFT: Final = (980_000_000, 989_999_999)
