"""Positions as JSON: ``{"time": …, "lon": …, "lat": …, "sog": …, "cog": …}``, or an array of those.

What a VMS provider publishes: the device is a transponder that is not AIS. Knots, degrees true, degrees WGS 84.
"""

from __future__ import annotations

from math import nan
from typing import TYPE_CHECKING, Any, Final

from decoders.identity import digest, transponder_id
from decoders.json_entries import (
    MAX_ENTRIES,
    MAX_PAYLOAD,
    BadEntry,
    claims,
    entries,
    event_time,
    fragment,
    number,
    reject,
)
from decoders.records import NULL_I1, NULL_I2, POSITION, Name, Observations, Reason, table
from decoders.refused import Refused
from decoders.times import MAX_FUTURE_US
from decoders.topics import Format, Route, route

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from decoders.block import Block
    from decoders.records import Reject

_REQUIRED: Final = frozenset({"lon", "lat"})
#: (field, least, most, reason where it is outside). The fastest is what AIS can say of an aircraft.
_FIELDS: Final = (
    ("lon", -180.0, 180.0, Reason.BAD_POSITION),
    ("lat", -90.0, 90.0, Reason.BAD_POSITION),
    ("sog", 0.0, 1022.0, Reason.OUT_OF_RANGE),
    ("cog", 0.0, 360.0, Reason.OUT_OF_RANGE),
    ("heading", 0.0, 360.0, Reason.OUT_OF_RANGE),
    ("nav_status", 0.0, 15.0, Reason.OUT_OF_RANGE),
)


class PositionDecoder:
    """Positions on ``haidang/v1/{gateway}/{device}/position`` (``block.Decoder``).

    Args:
        max_future_us: how far a time may lie ahead of the reception; None where that is no real clock.
        max_payload: bytes.
        max_entries: of one payload.
    """

    def __init__(
        self,
        *,
        max_future_us: int | None = MAX_FUTURE_US,
        max_payload: int = MAX_PAYLOAD,
        max_entries: int = MAX_ENTRIES,
    ) -> None:
        self._max_future = max_future_us
        self._max_payload = max_payload
        self._max_entries = max_entries

    def decode(self, blocks: Sequence[Block]) -> Observations:
        """Everything the blocks said, in arrival order."""
        out = Observations(messages=max((b.first + b.messages for b in blocks), default=0))
        rows: list[tuple[Any, ...]] = []
        names: dict[Name, None] = {}
        for block in blocks:
            where = route(block.origin)
            if isinstance(where, Route) and where.format is not Format.POSITION:
                where = Refused(Reason.BAD_TOPIC, "not a topic of positions")
            if isinstance(where, Refused):
                out.rejects.append(reject(block, where, block.data))
            else:
                out.rejects.extend(self._payload(block, where, rows, names))
        out.positions = table(POSITION, rows)
        out.names = list(names)
        return out

    def expire(self, now: int) -> Observations:  # noqa: ARG002  # nothing waits here
        """Nothing: no payload waits for another."""
        return Observations()

    def pending(self) -> Sequence[Block]:
        """Nothing: no payload waits for another."""
        return ()

    def _payload(
        self, block: Block, where: Route, rows: list[tuple[Any, ...]], names: dict[Name, None]
    ) -> Iterator[Reject]:
        found = entries(block.data, self._max_payload, self._max_entries)
        if isinstance(found, Refused):
            yield reject(block, found, block.data)
            return
        transponder = transponder_id("device", where.name)
        for entry in found:
            if isinstance(entry, BadEntry):
                yield reject(block, entry.refused, entry.raw, entry.index)
                continue
            raw = fragment(entry.fields, block.data)
            head = (block.received_at, transponder, digest(raw), block.source)
            row = self._row(entry.fields, where, block, head)
            if isinstance(row, Refused):
                yield reject(block, row, raw, entry.index)
                continue
            rows.append(row)
            names[Name("transponder", transponder, where.name, "vms")] = None

    def _row(
        self, fields: dict[str, Any], where: Route, block: Block, head: tuple[int, ...]
    ) -> tuple[Any, ...] | Refused:
        if refused := claims(fields, where):
            return refused
        time = event_time(fields, block.received_at, self._max_future)
        if isinstance(time, Refused):
            return time
        values: dict[str, float | None] = {}
        for key, low, high, reason in _FIELDS:
            value = _value(fields, key, low, high, reason)
            if isinstance(value, Refused):
                return value
            values[key] = value
        cog, heading, status = values["cog"], values["heading"], values["nav_status"]
        return (
            time,
            *head,
            values["lon"],
            values["lat"],
            nan if values["sog"] is None else values["sog"],
            nan if cog is None else cog % 360.0,
            nan,
            nan,
            NULL_I2 if heading is None else round(heading) % 360,
            NULL_I1 if status is None or status == 15 else int(status),
            NULL_I1,
            0,
            block.first,
        )


def _value(fields: dict[str, Any], key: str, low: float, high: float, reason: Reason) -> float | Refused | None:
    """A field from ``low`` to ``high``; None where an optional one is absent or null."""
    given = fields.get(key)
    if given is None:
        return Refused(Reason.BAD_FIELD, f"no {key}") if key in _REQUIRED else None
    value = number(given)
    if isinstance(value, Refused):
        return Refused(value.reason, f"{key}: {value.detail}")
    if not low <= value <= high:
        return Refused(reason, f"{key} {value:g} is outside {low:g} to {high:g}")
    if key == "nav_status" and not value.is_integer():
        return Refused(Reason.BAD_VALUE, f"{key} is no whole number")
    return value
