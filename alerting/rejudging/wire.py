"""The messages that decided an alert, as received: what they say is what the rows say. Pure."""

from __future__ import annotations

from base64 import b64decode
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from alerting.rejudging.instants import EvidenceError, instant, iso
from decoders.block import Block
from decoders.bounds import Bounds
from decoders.mqtt import TopicDecoder
from decoders.nmea_decoder import NmeaDecoder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from decoders.block import Decoder
    from decoders.records import Observations

#: By table, the columns that find a row again.
_KEYS: Final = {
    "positions": ("transponder", "digest"),
    "statics": ("transponder", "digest"),
    "readings": ("device", "metric", "time"),
}
#: What a message decoded by itself may say otherwise: which it was, and when its whole delivery came.
_BESIDE: Final = frozenset({"message", "received_at"})


def check_messages(messages: Sequence[Mapping[str, Any]], rows: Observations, until: int) -> int:
    """Decode each message anew; how many were found to be rows.

    One of which only the beginning was kept, or that was judged after ``until``, is passed over; so is one of somebody
    without whose rows the alert is come to.

    Raises:
        EvidenceError: a message does not say what the rows say that it brought.
    """
    found = 0
    for sent in messages:
        at = instant(sent["received_at"])
        raw = b64decode(sent["raw"])
        if sent["size"] > len(raw) or at + sent["message"] >= until:
            continue
        parts = raw.count(b"\n") if sent["per_line"] else 0
        block = Block(raw, sent["source_id"], sent["origin"], at, 0, per_line=sent["per_line"])
        said = _decoder(sent["format"], len(raw)).decode([block])
        fits = _fits(said, rows, at + sent["message"], several=parts > 0)
        if fits is False:
            raise EvidenceError(f"the message received {iso(at + sent['message'])} does not say what the rows say")
        found += fits is True
    return found


def _decoder(form: str, size: int) -> Decoder:
    """As it was when it was received; what was believed then is believed."""
    match form:
        case "nmea" | "nmea, times untrusted":
            return NmeaDecoder(trusted=form == "nmea", max_future_us=None)
        case "mqtt":
            most = Bounds()
            most = replace(most, payload_bytes=max(size, most.payload_bytes), entries=size, readings=size)
            return TopicDecoder(bounds=most, max_future_us=None)
    raise EvidenceError(f"there is no decoder {form!r}")


def _fits(said: Observations, rows: Observations, received: int, *, several: bool) -> bool | None:
    """Whether what was received at an instant, by the rows, was said; None: nothing of it is among them.

    ``several``: of lines that were received one after the other, the time of reception is not known.
    """
    fits: bool | None = None
    for name, keys in _KEYS.items():
        table, decoded = getattr(rows, name), getattr(said, name)
        for row in table[table["received_at"] == received]:
            same = decoded
            for key in keys:
                same = same[same[key] == row[key]]
            if not any(_equal(row, one, several=several) for one in same):
                return False
            fits = True
    digests = {(record.transponder, record.digest): record.fields for record in said.records}
    for record in rows.records:
        if record.received_at == received:
            if digests.get((record.transponder, record.digest)) != record.fields:
                return False
            fits = True
    return fits


def _equal(row: np.void, other: np.void, *, several: bool) -> bool:
    beside = _BESIDE | ({"time"} if several else set())
    return all(
        row[name] == other[name] or (row[name] != row[name] and other[name] != other[name])  # NaN
        for name in row.dtype.names or ()
        if name not in beside
    )
