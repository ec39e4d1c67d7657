"""JSON payloads of our own topics: an object, or an array of them, each with a time. What readings and positions share.

Bounded in time and memory whatever is sent: payload size, nesting, texts, entries. A name that comes twice in one
object is refused: which of its values was meant nobody can say (RFC 8259, 4).
"""

from __future__ import annotations

import codecs
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from decoders.records import Reason, Reject
from decoders.refused import Refused
from decoders.times import check_time, epoch_time, iso_time

if TYPE_CHECKING:
    from collections.abc import Iterator

    from decoders.block import Block
    from decoders.bounds import Bounds
    from decoders.topics import Route

#: No measurement is as large. Beyond it integers of the wire lose their type, and sums of doubles may overflow.
LARGEST: Final = 2**63

#: Names of an entry by which it says who it is from.
CLAIMS: Final = frozenset({"gateway", "gateway_id", "gatewayId", "device", "device_id", "deviceId"})
#: Characters of foreign text repeated in a detail.
_SHOWN: Final = 40


@dataclass(slots=True, frozen=True)
class Entry:
    """One object of a payload, by its position there."""

    index: int
    fields: dict[str, Any]


@dataclass(slots=True, frozen=True)
class BadEntry:
    """Something in an entry's place that is none; ``raw`` is its own JSON, an array of it alone."""

    index: int
    refused: Refused
    raw: bytes


def reject(block: Block, refused: Refused, raw: bytes, index: int = 0) -> Reject:
    """A reject of all or part of a payload; ``line`` is the entry's number, from 1, where it is a part."""
    return Reject(
        block.first, refused.reason, raw, block.received_at, block.source, block.origin, refused.detail, index
    )


def entries(data: bytes, bounds: Bounds) -> Iterator[Entry | BadEntry] | Refused:
    """The entries of a payload, or why it has none."""
    if len(data) > bounds.payload_bytes:
        return Refused(Reason.TOO_LARGE, f"{len(data)} bytes, more than {bounds.payload_bytes}")
    try:
        payload = orjson.loads(data)
    except orjson.JSONDecodeError as exc:
        return _unreadable(data, exc)
    if isinstance(payload, dict):
        payload = [payload]
    if not isinstance(payload, list):
        return Refused(Reason.BAD_JSON, "neither an object nor an array of objects")
    if len(payload) > bounds.entries:
        return Refused(Reason.TOO_MANY_ENTRIES, f"{len(payload)} entries, more than {bounds.entries}")
    return _survey(payload, data, bounds) or _entries(payload, data)


def _survey(payload: list[Any], data: bytes, bounds: Bounds) -> Refused | None:
    """Nesting and texts over the bounds, and names that came twice in one object, which parsing has hidden."""
    names = colons = 0
    waiting: list[tuple[Any, int]] = [(payload, 0 if data.lstrip()[:1] == b"{" else 1)]
    while waiting:
        value, depth = waiting.pop()
        if depth > bounds.json_depth:
            return Refused(Reason.TOO_DEEP, f"nested deeper than {bounds.json_depth}")
        parts: Any = value
        if type(value) is dict:
            names += len(value)
            parts = (*value, *value.values())
        for part in parts:
            if type(part) is str:
                if len(part) > bounds.text_chars:
                    return Refused(
                        Reason.TEXT_TOO_LONG, f"a text of {len(part)} characters, more than {bounds.text_chars}"
                    )
                colons += part.count(":")
            elif type(part) is dict or type(part) is list:
                waiting.append((part, depth + 1))
    # Without escapes, every colon stands behind a name or within a text: more of them, and a name was overwritten.
    if data.count(b":") == names + colons and b"\\" not in data:
        return None
    try:
        json.loads(data, object_pairs_hook=_unique, parse_int=_nothing, parse_float=_nothing)
    except _TwiceError as exc:
        return Refused(Reason.DUPLICATE_NAME, f"an object has the name {str(exc)[:_SHOWN]!r} twice")
    return None


class _TwiceError(Exception):
    """A name that came twice in one object."""


def _unique(pairs: list[tuple[str, Any]]) -> None:
    seen = set()
    for name, _ in pairs:
        if name in seen:
            raise _TwiceError(name)
        seen.add(name)


def _nothing(_text: str) -> None:
    """Numbers are not looked at here, however many digits they have."""


def _entries(payload: list[Any], data: bytes) -> Iterator[Entry | BadEntry]:
    for index, fields in enumerate(payload, start=1):
        if isinstance(fields, dict):
            yield Entry(index, fields)
        else:
            yield BadEntry(index, Refused(Reason.BAD_FIELD, "an entry that is no object"), fragment([fields], data))


def fragment(value: Any, data: bytes) -> bytes:
    """Part of a payload as JSON of its own; the whole payload where the part nests deeper than can be written."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        return data


def _unreadable(data: bytes, exc: orjson.JSONDecodeError) -> Refused:
    try:
        data.decode()
    except UnicodeDecodeError:
        return Refused(Reason.BAD_TEXT, "not UTF-8")
    if b"\0" in data:
        return Refused(Reason.BAD_TEXT, "NUL")
    if data.startswith(codecs.BOM_UTF8):
        return Refused(Reason.BAD_JSON, "a byte order mark")
    if "depth" in exc.msg or "recursion" in exc.msg.lower():
        return Refused(Reason.TOO_DEEP, "nested deeper than can be read")
    if "surrogate" in exc.msg:
        return Refused(Reason.BAD_TEXT, "a lone surrogate")
    return Refused(Reason.BAD_JSON, exc.msg)


def claims(fields: dict[str, Any], route: Route) -> Refused | None:
    """Whether an entry claims another gateway or device than the topic it came on."""
    for key in CLAIMS & fields.keys():
        what = key.removesuffix("_id").removesuffix("Id")
        names = (route.gateway,) if what == "gateway" else (route.device, route.name)
        if fields[key] not in names:
            return Refused(Reason.IDENTITY_MISMATCH, f"claims another {what} than its topic")
    return None


def event_time(fields: dict[str, Any], received_at: int, max_future_us: int | None) -> int | Refused:
    """The ``time`` of an entry in microseconds: ISO-8601 with an offset, or a number of milliseconds since 1970."""
    value = fields.get("time")
    if value is None:
        return Refused(Reason.BAD_TIME, "no time")
    if isinstance(value, str):
        time = iso_time(value)
        return time if isinstance(time, Refused) else check_time(time, received_at, max_future_us) or time
    if isinstance(value, bool) or not isinstance(value, int | float):
        return Refused(Reason.BAD_TIME, "time is neither text nor a number")
    return epoch_time(value, received_at, max_future_us)


def number(value: Any) -> float | Refused:
    """A finite number less than 2^63 from zero, or why it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return Refused(Reason.BAD_VALUE, "not a number")
    if not math.isfinite(value):
        return Refused(Reason.BAD_VALUE, "not finite")
    if abs(value) >= LARGEST or abs(float(value)) >= LARGEST:  # a whole number may be rounded up to it
        return Refused(Reason.BAD_VALUE, "2^63 or more")
    return float(value)
