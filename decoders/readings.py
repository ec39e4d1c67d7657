"""Sensor readings as JSON: ``{"time": …, "readings": {"pm2_5": 12.3, …}}``, or an array of those.

An ordinary payload (one entry, a known device, metrics it had before, numbers) takes a short way: its values join the
columns of the batch unseen and are judged there all at once. Everything else takes the long way, to the same end.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import orjson

from decoders.json_decoder import Bad, JsonDecoder
from decoders.json_entries import CLAIMS, LARGEST, fragment, number, reject
from decoders.records import READING, Name, Observations, Reason, empty
from decoders.refused import Refused
from decoders.times import EARLIEST, EPOCH, LATEST
from decoders.topics import Format

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from decoders.block import Block
    from decoders.records import Reject
    from decoders.register import Device

_METRIC: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")
_NUMBERS: Final = frozenset({int, float})
#: Bytes that an ordinary payload does without: of escapes and arrays.
_BACKSLASH, _BRACKET = b"\\["
#: Sets of metrics that come together, remembered; when there are more, all are forgotten and learnt anew.
_SHAPES: Final = 4096
_DAY_US: Final = 86_400_000_000
_SECOND_US: Final = 1_000_000
#: The greatest double that is a value at all.
_MOST: Final = float(np.nextafter(float(LARGEST), 0.0))


@dataclass(slots=True, frozen=True)
class _Shape:
    """The metrics of one payload, in its order."""

    codes: Sequence[int]
    metrics: int  # the same as bits


#: The rows of one entry: where they are from, whose and of when they are, and the codes of their metrics.
_Run = tuple["Block", "Device", int, "Sequence[int]"]


@dataclass(slots=True)
class _Rows:
    """Runs, and the values of all their rows."""

    runs: list[_Run] = field(default_factory=list)
    values: list[float] = field(default_factory=list)


class ReadingsDecoder(JsonDecoder[_Rows]):
    """Readings on ``haidang/v1/{gateway}/{device}/readings``.

    Args:
        ranges: (low, high) of what a metric can physically be, both included; None where no bound is known.
        quick: False: every payload the long way. What comes out is the same.
        others: see ``JsonDecoder``.
    """

    format = Format.READINGS

    def __init__(
        self,
        *,
        ranges: Mapping[str, tuple[float, float] | None] | None = None,
        quick: bool = True,
        **others: Any,
    ) -> None:
        super().__init__(**others)
        self._ranges = dict(ranges or {})
        self._short = min(self._bounds.payload_bytes, self._bounds.text_chars) if quick else -1
        self._topics: dict[str, Device] = {}  # of kept devices only, and so as bounded as they are
        self._shapes: dict[tuple[str, ...], _Shape] = {}
        self._entries: dict[tuple[str, ...], int] = {}  # names of entries in which nothing is to be seen to
        self._low: NDArray[np.float64] = np.zeros(0)  # by code
        self._high: NDArray[np.float64] = np.zeros(0)
        self._ids: NDArray[np.int64] = np.zeros(0, dtype=np.int64)

    def _rows(self) -> _Rows:
        return _Rows()

    # --- the long way

    def _whole(self, fields: dict[str, Any]) -> Refused | None:
        readings = fields.get("readings")
        if not isinstance(readings, dict):
            return Refused(Reason.BAD_FIELD, "no object of readings")
        if len(readings) > self._bounds.readings:
            return Refused(Reason.TOO_MANY_READINGS, f"{len(readings)} readings, more than {self._bounds.readings}")
        return None

    def _entry(self, block: Block, device: Device, time: int, fields: dict[str, Any], rows: _Rows) -> Iterator[Bad]:
        codes: list[int] = []
        for metric, given in fields["readings"].items():
            value = self._value(metric, given)
            code = value if isinstance(value, Refused) else self._register.metric(device, metric)
            if isinstance(value, Refused) or isinstance(code, Refused):
                assert isinstance(code, Refused)
                yield code, _part(fields, metric)
                continue
            codes.append(code)
            rows.values.append(value)
        if codes:
            self._register.keep(device)
            self._topics[block.origin] = device
            rows.runs.append((block, device, time, codes))
            if len(codes) == len(fields["readings"]):
                self._learn(tuple(fields["readings"]), codes)

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

    def _learn(self, metrics: tuple[str, ...], codes: Sequence[int]) -> None:
        if len(self._shapes) >= _SHAPES:
            self._shapes.clear()
        self._shapes[metrics] = _Shape(codes, sum(1 << code for code in codes))

    # --- the short way

    def _quick(self, block: Block, rows: _Rows) -> bool:
        """Take a payload whose values are numbers and whose all else is known to be good."""
        data = block.data
        device = self._topics.get(block.origin)
        if device is None or len(data) > self._short:
            return False
        try:
            fields = orjson.loads(data)
            given = fields["time"]
            readings = fields["readings"]
            shape = self._shapes[tuple(readings)]
            colons = self._plain(tuple(fields)) + len(readings)
            if type(given) is str:
                since = datetime.fromisoformat(given) - EPOCH
                time = since.days * _DAY_US + since.seconds * _SECOND_US + since.microseconds
                colons += given.count(":")
            elif type(given) is int:
                time = given * 1000
            else:
                return False
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, OverflowError):
            return False
        ordinary = (
            type(readings) is dict
            and EARLIEST <= time <= LATEST
            and (self._max_future is None or time <= block.received_at + self._max_future)
            and not shape.metrics & ~device.metrics
            and _NUMBERS.issuperset(map(type, readings.values()))
            # A name brings a colon, and texts have theirs: more, and a name came twice, or in an object beside.
            and (data.count(b":") == colons or data.count(b":") == colons + _colons_beside(fields))
            and _BACKSLASH not in data
            and _BRACKET not in data
        )
        if ordinary:
            rows.runs.append((block, device, time, shape.codes))
            rows.values += readings.values()
        return ordinary

    def _plain(self, names: tuple[str, ...]) -> int:
        """How many names an entry has, if there is nothing to be seen to in them.

        Raises:
            ValueError: there is.
        """
        if names not in self._entries:
            if any(":" in name or name in CLAIMS for name in names):
                raise ValueError("not plain")
            if len(self._entries) >= _SHAPES:
                self._entries.clear()
            self._entries[names] = len(names)
        return self._entries[names]

    # --- the batch

    def _finish(self, rows: _Rows, out: Observations) -> None:
        if not rows.runs:
            return
        blocks, devices, times, codes_of = zip(*rows.runs, strict=True)
        codes = np.fromiter(chain.from_iterable(codes_of), np.int64, len(rows.values))
        values = np.array(rows.values, dtype=np.float64)
        low, high = self._limits()
        good = (values >= low[codes]) & (values <= high[codes])
        of = np.repeat(np.arange(len(codes_of)), list(map(len, codes_of)))
        if not good.all():
            out.rejects.extend(self._refused(blocks, codes, np.flatnonzero(~good), of))
            out.rejects.sort(key=lambda r: r.message)
            of, codes, values = of[good], codes[good], values[good]
        columns = np.empty((5, len(blocks)), np.int64)
        columns[0] = times
        columns[1] = [block.received_at for block in blocks]
        columns[2] = [device.id for device in devices]
        columns[3] = [block.source for block in blocks]
        columns[4] = [block.first for block in blocks]
        if len(of) != len(blocks) or not good.all():
            columns = columns[:, of]
        table = out.readings = empty(READING, len(of))
        for name, column in zip(("time", "received_at", "device", "source", "message"), columns, strict=True):
            table[name] = column
        table["metric"] = self._ids[codes]
        table["value"] = values
        metrics = self._register.metrics
        out.names = [metrics[code] for code in np.flatnonzero(np.bincount(codes)).tolist()]
        heard = dict.fromkeys(devices if len(of) == len(good) else (devices[run] for run in of.tolist()))
        out.names += [Name("device", device.id, device.name) for device in heard]

    def _limits(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """What each metric can be at least and at most, by code."""
        metrics = self._register.metrics
        if len(self._low) != len(metrics):
            pairs = [self._ranges.get(metric.name) or (-_MOST, _MOST) for metric in metrics]
            self._low, self._high = np.array(pairs).T.clip(-_MOST, _MOST)
            self._ids = np.array([metric.id for metric in metrics])
        return self._low, self._high

    def _refused(
        self, blocks: Sequence[Block], codes: NDArray[np.int64], bad: NDArray[np.intp], of: NDArray[np.int64]
    ) -> Iterator[Reject]:
        """Say of values that came the short way why they are not taken."""
        parsed, fields = -1, {}
        for at in bad.tolist():
            run = int(of[at])
            block = blocks[run]
            if run != parsed:
                parsed, fields = run, orjson.loads(block.data)
            metric = self._register.metrics[codes[at]].name
            given = fields["readings"][metric]
            refused = self._value(metric, given)
            assert isinstance(refused, Refused)
            part = _part(fields, metric)
            yield reject(block, refused, block.data if part is fields else fragment(part, block.data), 1)


def _colons_beside(fields: dict[str, Any]) -> int:
    """Colons in the texts beside the time, which are no names."""
    return sum(value.count(":") for name, value in fields.items() if type(value) is str and name != "time")


def _part(fields: dict[str, Any], metric: str) -> dict[str, Any]:
    """An entry with one of its readings alone: the entry itself where there is no other."""
    readings = fields["readings"]
    return fields if len(readings) == 1 else {"time": fields["time"], "readings": {metric: readings[metric]}}
