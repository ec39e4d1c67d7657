"""Sensor readings as JSON: ``{"time": …, "readings": {"pm2_5": 12.3, …}}``, or an array of those."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from decoders.identity import device_id, metric_id
from decoders.json_entries import (
    MAX_ENTRIES,
    MAX_PAYLOAD,
    BadEntry,
    Entry,
    claims,
    entries,
    event_time,
    fragment,
    number,
    reject,
)
from decoders.records import READING, Name, Observations, Reason, table
from decoders.refused import Refused
from decoders.times import MAX_FUTURE_US
from decoders.topics import Format, Route, route

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from decoders.block import Block
    from decoders.records import Reject

MAX_METRICS: Final = 256

_METRIC: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")


class ReadingsDecoder:
    """Readings on ``haidang/v1/{gateway}/{device}/readings`` (``block.Decoder``).

    What is good in a payload is taken; what is bad is refused with its own JSON, so that it can be sent again.

    Args:
        ranges: (low, high) of what a metric can physically be, both included; None where no bound is known.
        max_future_us: how far a time may lie ahead of the reception; None where that is no real clock.
        max_payload: bytes.
        max_entries: of one payload.
        max_metrics: of one entry.
    """

    def __init__(
        self,
        *,
        ranges: Mapping[str, tuple[float, float] | None] | None = None,
        max_future_us: int | None = MAX_FUTURE_US,
        max_payload: int = MAX_PAYLOAD,
        max_entries: int = MAX_ENTRIES,
        max_metrics: int = MAX_METRICS,
    ) -> None:
        self._ranges = dict(ranges or {})
        self._max_future = max_future_us
        self._max_payload = max_payload
        self._max_entries = max_entries
        self._max_metrics = max_metrics

    def decode(self, blocks: Sequence[Block]) -> Observations:
        """Everything the blocks said, in arrival order."""
        out = Observations(messages=max((b.first + b.messages for b in blocks), default=0))
        rows: list[tuple[Any, ...]] = []
        names: dict[Name, None] = {}
        for block in blocks:
            where = route(block.origin)
            if isinstance(where, Route) and where.format is not Format.READINGS:
                where = Refused(Reason.BAD_TOPIC, "not a topic of readings")
            if isinstance(where, Refused):
                out.rejects.append(reject(block, where, block.data))
            else:
                out.rejects.extend(self._payload(block, where, rows, names))
        out.readings = table(READING, rows)
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
        device = device_id(where.gateway, where.device)
        before = len(rows)
        for entry in found:
            if isinstance(entry, BadEntry):
                yield reject(block, entry.refused, entry.raw, entry.index)
                continue
            time = self._time(entry, block, where)
            if isinstance(time, Refused):
                yield reject(block, time, fragment(entry.fields, block.data), entry.index)
                continue
            for metric, given in entry.fields["readings"].items():
                value = self._value(metric, given)
                if isinstance(value, Refused):
                    raw = fragment({"time": entry.fields["time"], "readings": {metric: given}}, block.data)
                    yield reject(block, value, raw, entry.index)
                    continue
                ident = metric_id(metric)
                names[Name("metric", ident, metric)] = None
                rows.append((time, block.received_at, device, ident, block.source, value, block.first))
        if len(rows) > before:
            names[Name("device", device, where.name)] = None

    def _time(self, entry: Entry, block: Block, where: Route) -> int | Refused:
        """The time of an entry that is whole; or why the entry is not taken."""
        if refused := claims(entry.fields, where):
            return refused
        readings = entry.fields.get("readings")
        if not isinstance(readings, dict):
            return Refused(Reason.BAD_FIELD, "no object of readings")
        if len(readings) > self._max_metrics:
            return Refused(Reason.TOO_LARGE, f"{len(readings)} readings, more than {self._max_metrics}")
        return event_time(entry.fields, block.received_at, self._max_future)

    def _value(self, metric: str, given: Any) -> float | Refused:
        if not _METRIC.fullmatch(metric):
            return Refused(Reason.BAD_FIELD, "not the name of a metric")
        value = number(given)
        if isinstance(value, Refused):
            return value
        bounds = self._ranges.get(metric)
        if bounds is not None and not bounds[0] <= value <= bounds[1]:
            return Refused(Reason.OUT_OF_RANGE, f"{metric} {value:g} is outside {bounds[0]:g} to {bounds[1]:g}")
        return value
