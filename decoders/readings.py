"""Sensor readings as JSON: ``{"time": …, "readings": {"pm2_5": 12.3, …}}``, or an array of those.

An ordinary payload (one entry, a known device, metrics it had before, numbers) takes a short way: its values join the
columns of the batch unseen and are judged there all at once. Everything else takes the long way, to the same end.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
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
    from decoders.records import Reject, Table
    from decoders.register import Device

_METRIC: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")
_NUMBERS: Final = frozenset({int, float})
#: What gateways say beside the readings, and we have no use for.
_SCALARS: Final = frozenset({int, float, bool, type(None)})
_OWN: Final = frozenset({"time", "readings"})
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


@dataclass(slots=True)
class _Rows:
    """A run is the rows of one entry; the lists of runs are of one length, and so are those of rows."""

    blocks: list[Block] = field(default_factory=list)
    devices: list[Device] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    def run(self, block: Block, device: Device, time: int, codes: Sequence[int]) -> None:
        self.blocks.append(block)
        self.devices.append(device)
        self.times.append(time)
        self.counts.append(len(codes))
        self.codes += codes


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
            rows.run(block, device, time, codes)
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
        device = self._topics.get(block.origin)
        data = block.data
        if device is None or len(data) > self._short:
            return False
        try:
            fields = orjson.loads(data)
            given = fields["time"]
            readings = fields["readings"]
            shape = self._shapes[tuple(readings)]
            colons = len(readings) + len(fields)
            if type(given) is str:
                since = datetime.fromisoformat(given) - EPOCH
                time = since.days * _DAY_US + since.seconds * _SECOND_US + since.microseconds
                colons += given.count(":")
            elif type(given) is int:
                time = given * 1000
            else:
                return False
            if len(fields) > len(_OWN):
                colons += _colons_beside(fields)
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, OverflowError):
            return False
        ordinary = (
            type(readings) is dict
            and EARLIEST <= time <= LATEST
            and (self._max_future is None or time <= block.received_at + self._max_future)
            and not shape.metrics & ~device.metrics
            and _NUMBERS.issuperset(map(type, readings.values()))
            # A name brings a colon, and texts have theirs: more, and a name came twice.
            and data.count(b":") == colons
            and b"\\" not in data
        )
        if ordinary:
            rows.run(block, device, time, shape.codes)
            rows.values += readings.values()
        return ordinary

    # --- the batch

    def _finish(self, rows: _Rows, out: Observations) -> None:
        if not rows.codes:
            return
        codes = np.array(rows.codes)
        values = np.array(rows.values, dtype=np.float64)
        low, high = self._limits()
        good = (values >= low[codes]) & (values <= high[codes])
        of = np.repeat(np.arange(len(rows.counts)), rows.counts)
        devices = rows.devices
        if not good.all():
            out.rejects.extend(self._refused(rows, np.flatnonzero(~good), of))
            out.rejects.sort(key=lambda r: r.message)
            of, codes, values = of[good], codes[good], values[good]
            devices = [devices[run] for run in dict.fromkeys(of.tolist())]
        out.readings = self._table(rows, of, self._ids[codes], values)
        metrics = self._register.metrics
        out.names = [metrics[code] for code in np.flatnonzero(np.bincount(codes)).tolist()]
        out.names += [Name("device", device.id, device.name) for device in dict.fromkeys(devices)]

    def _table(
        self, rows: _Rows, of: NDArray[np.int64], metric: NDArray[np.int64], values: NDArray[np.float64]
    ) -> Table:
        table = empty(READING, len(of))
        table["time"] = np.array(rows.times)[of]
        table["received_at"] = np.array([block.received_at for block in rows.blocks])[of]
        table["device"] = np.array([device.id for device in rows.devices])[of]
        table["metric"] = metric
        table["source"] = np.array([block.source for block in rows.blocks])[of]
        table["value"] = values
        table["message"] = np.array([block.first for block in rows.blocks])[of]
        return table

    def _limits(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """What each metric can be at least and at most, by code."""
        metrics = self._register.metrics
        if len(self._low) != len(metrics):
            pairs = [self._ranges.get(metric.name) or (-_MOST, _MOST) for metric in metrics]
            self._low, self._high = np.array(pairs).T.clip(-_MOST, _MOST)
            self._ids = np.array([metric.id for metric in metrics])
        return self._low, self._high

    def _refused(self, rows: _Rows, bad: NDArray[np.int64], of: NDArray[np.int64]) -> Iterator[Reject]:
        """Say of values that came the short way why they are not taken."""
        parsed, fields = -1, {}
        for at in bad.tolist():
            run = int(of[at])
            block = rows.blocks[run]
            if run != parsed:
                parsed, fields = run, orjson.loads(block.data)
            metric = self._register.metrics[rows.codes[at]].name
            given = fields["readings"][metric]
            refused = self._value(metric, given)
            assert isinstance(refused, Refused)
            part = _part(fields, metric)
            yield reject(block, refused, block.data if part is fields else fragment(part, block.data), 1)


def _colons_beside(fields: dict[str, Any]) -> int:
    """Colons in the texts beside time and readings.

    Raises:
        ValueError: something there wants to be looked at.
    """
    colons = 0
    for name in fields.keys() - _OWN:
        value = fields[name]
        if type(value) is str:
            colons += value.count(":")
        elif type(value) not in _SCALARS:
            raise ValueError("not plain")
        if ":" in name or name in CLAIMS:
            raise ValueError("not plain")
    return colons


def _part(fields: dict[str, Any], metric: str) -> dict[str, Any]:
    """An entry with one of its readings alone: the entry itself where there is no other."""
    readings = fields["readings"]
    return fields if len(readings) == 1 else {"time": fields["time"], "readings": {metric: readings[metric]}}
