"""The vocabulary: what decoders hand on, as tables of columns.

A batch of observations is a handful of NumPy structured arrays, one per kind, and not a list of objects:
per-message objects cap the program at some 30,000 messages a second. Rules of every table:

* Times are ``int64`` microseconds since 1970-01-01T00:00Z (UTC). ``time`` is when it happened (event time),
  ``received_at`` when we heard of it. ``received_at`` never falls within one batch, in arrival order.
* Null is ``NaN`` in a float column and ``NULL_INT`` of the column's type in an integer column that may be null.
  "Not available" codes of the wire never leave ``decoders/``; storage turns nulls into SQL NULL.
* ``message`` is the index, within the batch, of the received message a row came from: rows are in arrival
  order, and the ledger finds the fate of a message by it.
* Ids are deterministic (``decoders.identity``): the same name has the same id in every process and every run,
  so tables of a run that was killed equal those of a run that was not.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    Table = NDArray[np.void]

NULL_I1: Final = -128
NULL_I2: Final = -32768
NULL_I4: Final = -(2**31)

#: One position report of one transponder. Units: degrees WGS 84, knots, degrees true, degrees/minute, metres.
POSITION: Final = np.dtype(
    [
        ("time", "i8"),
        ("received_at", "i8"),
        ("transponder", "i8"),  # identity.ais_id or identity.transponder_id
        ("digest", "i8"),  # identity.digest of the payload: the same transmission heard twice has the same one
        ("source", "i8"),  # identity.source_id
        ("lon", "f8"),  # never null: a position without a place is no position
        ("lat", "f8"),
        ("sog", "f8"),  # knots; 102.2 means "102.2 or more"
        ("cog", "f8"),  # degrees true [0, 360); above: as sent, without meaning
        ("altitude", "f8"),  # m, SAR aircraft only; 4094 means "4094 or more"
        (
            "rot",
            "f4",
        ),  # degrees per minute, + is to starboard; +-127: over 5 degrees in 30 s, no turn indicator
        ("heading", "i2"),  # degrees true [0, 359], above: as sent, without meaning; NULL_I2
        ("nav_status", "i1"),  # 0..14; NULL_I1 (15 is "not defined")
        ("accuracy", "i1"),  # 1: better than 10 m; 0: worse; NULL_I1: not reported
        ("msg_type", "i1"),  # AIS 1..27; 0 for a position that is not AIS
        ("message", "i4"),
    ]
)

#: One value of one metric of one device, in the unit of the metric catalogue.
READING: Final = np.dtype(
    [
        ("time", "i8"),
        ("received_at", "i8"),
        ("device", "i8"),  # identity.device_id
        ("metric", "i8"),  # identity.metric_id
        ("source", "i8"),
        ("value", "f8"),  # finite: NaN and infinities are rejects
        ("message", "i4"),
    ]
)

#: Static and voyage data of one transponder (AIS 5, 19, 24; VMS identity fields). Text is ``str`` or None.
STATIC: Final = np.dtype(
    [
        ("time", "i8"),
        ("received_at", "i8"),
        ("transponder", "i8"),
        ("digest", "i8"),
        ("source", "i8"),
        ("imo", "i4"),  # NULL_I4
        ("ship_type", "i2"),  # the raw code 0..255; NULL_I2 where the message carries none (0 is "not available")
        ("to_bow", "i2"),  # m from the reference point; NULL_I2
        ("to_stern", "i2"),
        ("to_port", "i2"),
        ("to_starboard", "i2"),
        ("draught", "f4"),  # m; 25.5 means "25.5 or more"
        ("name", "O"),
        ("callsign", "O"),
        ("destination", "O"),
        ("eta", "O"),  # "MM-DDTHH:MMZ" as sent (AIS carries no year), its unavailable parts as "--"; None if all are
        ("msg_type", "i1"),
        ("message", "i4"),
    ]
)


#: One more hearing, by another receiver, of a transmission already known (ReceptionWindow in ``decoders.window``).
RECEPTION: Final = np.dtype(
    [
        ("time", "i8"),  # of the first hearing, so that both join
        ("received_at", "i8"),
        ("transponder", "i8"),
        ("digest", "i8"),
        ("source", "i8"),
        ("message", "i4"),
    ]
)


class Reason(StrEnum):
    """Why a message, or part of one, was refused. The value is what quarantine and ``haidang decode`` show."""

    BAD_CHECKSUM = "bad_checksum"
    BAD_SENTENCE = "bad_sentence"  # not of the form !ttVDM,n,n,n?,c?,payload,fill*hh
    BAD_TAG_BLOCK = "bad_tag_block"  # malformed, or its own checksum is wrong
    BAD_PAYLOAD = "bad_payload"  # armouring, length or field values no message type allows
    UNKNOWN_TYPE = "unknown_type"  # AIS message type 0 or 28..63
    INCOMPLETE_MESSAGE = "incomplete_message"  # fragments that never came together
    FRAGMENT_OVERFLOW = "fragment_overflow"  # more unfinished messages than the cap
    BAD_JSON = "bad_json"
    BAD_TEXT = "bad_text"  # not UTF-8, NUL, lone surrogates
    BAD_FIELD = "bad_field"  # a field of the wrong type, or a required one absent
    BAD_VALUE = "bad_value"  # NaN, infinite, 2^63 or more, not a number
    DUPLICATE_NAME = "duplicate_name"  # a name twice in one JSON object
    BAD_TIME = "bad_time"  # no time, or one that cannot be read
    TIME_UNIT = "time_unit"  # a number that is a believable time in another unit than milliseconds only
    TIME_IN_FUTURE = "time_in_future"  # later than received_at by more than the bound
    TIME_TOO_OLD = "time_too_old"  # before the earliest time believed
    OUT_OF_RANGE = "out_of_range"  # outside what the field or the metric can physically be
    BAD_POSITION = "bad_position"  # longitude or latitude outside the globe
    BAD_MMSI = "bad_mmsi"  # not 1..999999999
    IDENTITY_MISMATCH = "identity_mismatch"  # the payload claims another device than the topic
    BAD_TOPIC = "bad_topic"  # no decoder answers to this topic
    BAD_NAME = "bad_name"  # a gateway or device name that is empty, too long, or has characters it must not have
    TOO_LARGE = "too_large"  # payload bytes over the bound
    TOO_DEEP = "too_deep"  # JSON nested deeper than the bound
    TEXT_TOO_LONG = "text_too_long"  # a JSON string over the bound
    TOO_MANY_ENTRIES = "too_many_entries"  # of one payload
    TOO_MANY_READINGS = "too_many_readings"  # of one entry
    TOO_MANY_GATEWAYS = "too_many_gateways"  # distinct ones over the bound, as have the next two
    TOO_MANY_DEVICES = "too_many_devices"
    TOO_MANY_METRICS = "too_many_metrics"
    CONFLICTING_VALUE = "conflicting_value"  # another value is stored for the same device, metric and time
    DATABASE_REFUSED = "database_refused"  # the row the database would not take
    SPOOL_DAMAGED = "spool_damaged"  # came back from the spool with a wrong checksum


@dataclass(slots=True)  # not frozen: that would make each take three times as long to make
class Reject:
    """One refused message, or one refused part of a message of which the rest was taken."""

    message: int  # -1: a message pending since an earlier batch (a fragment that waited in vain)
    reason: Reason
    raw: bytes
    received_at: int
    source: int
    origin: str  # topic, peer address or file name
    detail: str = ""  # one line for a person
    line: int = 0  # 1-based line within a file or payload; 0 where there are no lines
    size: int = 0  # bytes received, where `raw` is only their beginning; 0: it is all of them


class AisRecord(NamedTuple):  # made in bulk, in a fifth of the time of a dataclass
    """A decoded AIS message that is neither position nor static data (4, 6-8, 10-17, 20-23, 25, 26), or an aid to
    navigation (21): kept whole, under the field names of ITU-R M.1371-5.
    """

    time: int
    received_at: int
    transponder: int
    digest: int
    source: int
    msg_type: int
    kind: str  # "base_station", "aton", "safety_text", "binary", ...
    said: dict[str, Any] | tuple[Callable[[], list[dict[str, Any]]], int]  # its fields, or where to get them
    message: int

    @property
    def fields(self) -> dict[str, Any]:
        """What it says, ready for JSON; null where not available."""
        if isinstance(self.said, dict):
            return self.said
        rows, index = self.said
        return rows()[index]


@dataclass(slots=True, frozen=True)
class Name:
    """A name behind an id. Decoders tell every distinct name of a batch; storage knows which are new.

    Not told for AIS: an AIS transponder's name is its MMSI.
    """

    kind: str  # "device" | "metric" | "source" | "transponder"
    id: int
    name: str  # "gateway/device", metric name, source name, MMSI or VMS id as text
    detail: str = ""  # transponder: its MMSI class or "vms"; source: its kind


def empty(dtype: np.dtype[Any], rows: int = 0) -> Table:
    """A table of ``rows`` zeroed rows of ``dtype``."""
    return np.zeros(rows, dtype=dtype)


#: Tables without rows hold nothing that could be changed, and so can be shared.
_NONE: Final = {dtype: empty(dtype) for dtype in (POSITION, READING, STATIC, RECEPTION)}


def table(dtype: np.dtype[Any], rows: Sequence[tuple[Any, ...]]) -> Table:
    """A table from row tuples in the order of the dtype's fields."""
    return np.array(rows, dtype=dtype) if rows else empty(dtype)


def take(rows: Table, index: NDArray[np.int64]) -> Table:
    """Some rows of a table, by their indices."""
    if rows.dtype.hasobject:
        return rows[index]
    # As bytes without fields, which NumPy moves several times faster.
    return np.ascontiguousarray(rows).view(f"V{rows.dtype.itemsize}")[index].view(rows.dtype)


@dataclass(slots=True)
class Observations:
    """What a batch of received messages said: one table per kind, and what could not be taken.

    ``messages`` is the number of received messages the batch covers; every row's and reject's ``message`` is
    below it. A message named by no row, record, reject, ``pending`` or ``repeated`` is *ignored* (a comment, a GPS
    sentence).
    """

    messages: int = 0
    positions: Table = field(default_factory=lambda: _NONE[POSITION])
    readings: Table = field(default_factory=lambda: _NONE[READING])
    statics: Table = field(default_factory=lambda: _NONE[STATIC])
    receptions: Table = field(default_factory=lambda: _NONE[RECEPTION])
    records: list[AisRecord] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    names: list[Name] = field(default_factory=list)
    #: (message, joined): `message` was a fragment of the same multi-sentence message as `joined`, and shares its fate.
    joined: list[tuple[int, int]] = field(default_factory=list)
    #: Messages of this batch still waiting, at its end, for the rest of a multi-sentence message.
    pending: list[int] = field(default_factory=list)
    #: Messages that repeat a part of a multi-sentence message that waits, once too often to wait with it: duplicates.
    repeated: list[int] = field(default_factory=list)
    #: (joined, source, n): the message `joined` brought `n` messages, pending since earlier batches, to their end.
    released: list[tuple[int, int, int]] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """How many there are, records among them."""
        tables = (self.positions, self.readings, self.statics, self.receptions)
        return sum(map(len, tables)) + len(self.records)


def concatenate(parts: Iterable[Observations]) -> Observations:
    """Join parts that already number their messages over one batch; rows come out in arrival order."""
    parts = list(parts)
    if len(parts) == 1:
        return parts[0]
    out = Observations(messages=max((p.messages for p in parts), default=0))
    for name in ("positions", "readings", "statics", "receptions"):
        tables = [t for p in parts if len(t := getattr(p, name))]
        if not tables:
            continue
        joined = tables[0] if len(tables) == 1 else np.concatenate(tables)
        order = np.argsort(joined["message"], kind="stable")
        setattr(out, name, take(joined, order))
    for name in ("records", "rejects", "names", "joined", "pending", "repeated", "released"):
        getattr(out, name).extend(x for p in parts for x in getattr(p, name))
    out.records.sort(key=lambda r: r.message)
    out.rejects.sort(key=lambda r: r.message)
    return out
