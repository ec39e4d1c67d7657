"""JSON payloads of our own topics: an object, or an array of them, each with a time. What readings and positions share.

Bounded in time and memory whatever is sent: payload size, nesting (by the parser), entries, and fields per entry.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import orjson

from decoders.records import Reason, Reject
from decoders.refused import Refused
from decoders.times import check_time, microseconds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from decoders.block import Block
    from decoders.topics import Route

MAX_PAYLOAD: Final = 256 * 1024
MAX_ENTRIES: Final = 10_000

_LARGEST_INTEGER: Final = 2**63


@dataclass(slots=True, frozen=True)
class Entry:
    """One object of a payload, by its position there."""

    index: int
    fields: dict[str, Any]


@dataclass(slots=True, frozen=True)
class BadEntry:
    """Something in an entry's place that is none; ``raw`` is its own JSON."""

    index: int
    refused: Refused
    raw: bytes


def reject(block: Block, refused: Refused, raw: bytes, index: int = 0) -> Reject:
    """A reject of all or part of a payload; ``line`` is the entry's number, from 1, where it is a part."""
    return Reject(
        block.first, refused.reason, raw, block.received_at, block.source, block.origin, refused.detail, index
    )


def entries(data: bytes, max_payload: int, max_entries: int) -> Iterator[Entry | BadEntry] | Refused:
    """The entries of a payload, or why it has none."""
    if len(data) > max_payload:
        return Refused(Reason.TOO_LARGE, f"{len(data)} bytes, more than {max_payload}")
    try:
        payload = orjson.loads(data)
    except orjson.JSONDecodeError as exc:
        return _unreadable(data, exc)
    if isinstance(payload, dict):
        payload = [payload]
    if not isinstance(payload, list):
        return Refused(Reason.BAD_JSON, "neither an object nor an array of objects")
    if len(payload) > max_entries:
        return Refused(Reason.TOO_LARGE, f"{len(payload)} entries, more than {max_entries}")
    return _entries(payload, data)


def _entries(payload: list[Any], data: bytes) -> Iterator[Entry | BadEntry]:
    for index, fields in enumerate(payload, start=1):
        if isinstance(fields, dict):
            yield Entry(index, fields)
        else:
            yield BadEntry(index, Refused(Reason.BAD_FIELD, "an entry that is no object"), fragment(fields, data))


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
    if "depth" in exc.msg or "recursion" in exc.msg.lower():
        return Refused(Reason.TOO_LARGE, "nested too deep")
    if "surrogate" in exc.msg:
        return Refused(Reason.BAD_TEXT, "a lone surrogate")
    return Refused(Reason.BAD_JSON, exc.msg)


def claims(fields: dict[str, Any], route: Route) -> Refused | None:
    """Whether an entry claims another gateway or device than the topic it came on."""
    for key, name in (("gateway", route.gateway), ("device", route.device)):
        if key in fields and fields[key] != name and not (key == "device" and fields[key] == route.name):
            return Refused(Reason.IDENTITY_MISMATCH, f"claims another {key} than its topic")
    return None


def event_time(fields: dict[str, Any], received_at: int, max_future_us: int | None) -> int | Refused:
    """The ``time`` of an entry in microseconds: ISO-8601 with an offset, or a number of milliseconds since 1970."""
    value = fields.get("time")
    if value is None:
        return Refused(Reason.BAD_TIME, "no time")
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
            if moment.tzinfo is None:
                return Refused(Reason.BAD_TIME, "time without an offset from UTC")
            time = microseconds(moment)
        except (ValueError, OverflowError):
            return Refused(Reason.BAD_TIME, "time is not ISO-8601")
    elif isinstance(value, bool) or not isinstance(value, int | float):
        return Refused(Reason.BAD_TIME, "time is neither text nor a number")
    else:
        time = value * 1000 if isinstance(value, int) else round(min(max(value, -1e18), 1e18) * 1000.0)
    return check_time(time, received_at, max_future_us) or time


def number(value: Any) -> float | Refused:
    """A finite number, or why it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return Refused(Reason.BAD_VALUE, "not a number")
    if isinstance(value, int) and abs(value) >= _LARGEST_INTEGER:
        return Refused(Reason.BAD_VALUE, "an integer of more than 64 bits")
    if not math.isfinite(value):
        return Refused(Reason.BAD_VALUE, "not finite")
    return float(value)
