"""All meters on one metric: which devices each of them watches, and what becomes of a reading."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from alerting.judging.series import NEVER, grown
from alerting.meters.base import Cells, begins, offset
from alerting.meters.rates import RateGauge, RateMeter
from alerting.meters.runs import RunGauge, RunMeter, ValueGauge, ValueMeter
from alerting.meters.windows import WindowGauge, WindowMeter
from alerting.rules import RangeRule, RateRule, StuckRule, WindowRule

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from alerting.meters.base import Gauge, Meter

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]

#: Rules on what one metric of a device comes to.
GaugeRule = WindowRule | RateRule | StuckRule | RangeRule

#: Among states, beside the keys of meters: when a device was first heard.
_FIRST: Final = "first"
_NOTHING: Final = 2**62


class Look(NamedTuple):
    """A reading that somebody has to look at."""

    gauge: Gauge
    at: int  # the place
    row: int  # of those given
    level: float
    value: float
    there: bool  # whether anything is shown


@dataclass(slots=True)
class _Kept:
    """A meter, and who reads it."""

    meter: Meter
    gauges: dict[tuple[object, ...], Gauge] = field(default_factory=dict)
    cells: Cells = field(default_factory=Cells)  # of a meter that lasts
    places: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))  # by seat; -1: not watched
    count: int = 0

    def mine(self, seats: Ints) -> tuple[Ints, Ints | None]:
        """The places of those seats that are watched; which these are, None: all."""
        at = self.places[seats].astype(np.int64)
        there = np.flatnonzero(at >= 0)
        return (at, None) if len(there) == len(at) else (at[there], there)


class Panel:
    """The meters on one metric. Each device has a *seat* here, and a place with each meter that watches it."""

    def __init__(self, metric: int, name: str) -> None:
        self.metric, self.name = metric, name
        self._kept: dict[str, _Kept] = {}
        self._waits = False  # whether any gauge wants a device to have been heard for some time
        self._count = 0
        self._device = np.zeros(0, np.int64)  # by seat
        self._first = np.zeros(0, np.int64)  # event time of the first reading; NEVER: none yet
        #: By device and part, the states that have changed since they were told.
        self.unsaid: dict[tuple[int, str], Mapping[str, Any]] = {}

    # --- who watches

    def gauge(self, rule: GaugeRule) -> Gauge:
        """The gauge that a rule reads, made if it is the first to read it."""
        meter = _meter(rule)
        kept = self._kept.setdefault(meter.key, _Kept(meter))
        key = _seen(rule)
        if key not in kept.gauges:
            kept.gauges[key] = _gauge(kept.meter, rule)
        self._waits |= kept.gauges[key].watch.waits > 0
        return kept.gauges[key]

    def sit(self, devices: Ints) -> Ints:
        """Seats for devices that have none."""
        seats = np.arange(self._count, self._count + len(devices))
        self._count += len(devices)
        self._device = grown(self._device, self._count, 0)
        self._first = grown(self._first, self._count, NEVER)
        self._device[seats] = devices
        for kept in self._kept.values():
            kept.places = grown(kept.places, self._count, -1)
        return seats

    def watch(self, seats: Ints, plans: Mapping[Gauge, int], last: Ints) -> None:
        """Let gauges watch seats, each by the rules of a plan.

        ``last``: event times of the newest readings of the seats, ``NEVER`` where there is none.
        """
        for kept in self._kept.values():
            readers = {gauge: plans[gauge] for gauge in kept.gauges.values() if gauge in plans}
            if not readers:
                continue
            at = np.arange(kept.count, kept.count + len(seats))
            kept.count += len(seats)
            kept.places[seats] = at
            kept.meter.reserve(kept.count)
            if kept.meter.lasting:
                kept.cells.reserve(kept.count)
                kept.cells.open(at, offset(self._device[seats]), last)
            for gauge in kept.gauges.values():
                gauge.watch.reserve(kept.count)
            for gauge, plan in readers.items():
                gauge.watch.open(at, plan)

    def place(self, gauge: Gauge, seat: int) -> int:
        """That of a seat with the meter of a gauge."""
        return int(self._kept[gauge.meter.key].places[seat])

    # --- after a restart

    def load(self, seat: int, part: str, state: Mapping[str, Any]) -> bool:
        """Be, at a new seat, as was told; False if that is of no use any more."""
        if part == _FIRST and self._waits:
            self._first[seat] = state["time"]
            return True
        kept = self._kept.get(part)
        at = -1 if kept is None else int(kept.places[seat])
        if kept is None or at < 0 or not kept.meter.lasting or kept.cells.begin(at) != state["at"]:
            return False
        kept.meter.load(at, state)
        return True

    def since(self, seats: Ints, last: Ints) -> Ints:
        """From which event times on readings are wanted again."""
        out = np.full(len(seats), _NOTHING)
        for kept in self._kept.values():
            _, there = kept.mine(seats)
            wanted = kept.meter.since(last, begins(last, offset(self._device[seats])))
            if there is None:
                out = np.minimum(out, wanted)
            else:
                out[there] = np.minimum(out[there], wanted[there])
        return out

    def recall(self, seats: Ints, time: Ints, value: Floats, last: Ints, *, runs_only: bool = False) -> None:
        """Take readings again, all of different seats. ``last``: as ``since`` was told."""
        if self._waits:
            self._hear_first(seats, time)
        for kept in self._kept.values():
            if runs_only and not isinstance(kept.meter, RunMeter):
                continue
            at, there = kept.mine(seats)
            rows = np.arange(len(seats)) if there is None else there
            wanted = kept.meter.since(last[rows], begins(last[rows], offset(self._device[seats[rows]])))
            again = time[rows] >= wanted
            if again.any():
                kept.meter.take(at[again], time[rows][again], value[rows][again])

    def held(self) -> Iterator[tuple[int, str, dict[str, Any]]]:
        """What meters hold now: of which device, which part, and what, JSON-ready."""
        for kept in self._kept.values():
            for seat in np.flatnonzero(kept.places[: self._count] >= 0).tolist():
                yield int(self._device[seat]), kept.meter.key, kept.meter.snapshot(int(kept.places[seat]))

    # --- readings

    def judge(self, seats: Ints, time: Ints, value: Floats) -> Iterator[Look]:
        """Take readings, all of different seats; those that somebody has to look at, before the next are taken."""
        if self._waits:
            self._hear_first(seats, time)
        for kept in self._kept.values():
            at, there = kept.mine(seats)
            if not len(at):
                continue
            times, values = (time, value) if there is None else (time[there], value[there])
            if kept.meter.lasting:
                self._tell(kept, seats if there is None else seats[there], at, times)
            kept.meter.take(at, times, values)
            for gauge in kept.gauges.values():
                shown = gauge.show(at, times, values)
                if gauge.watch.waits:
                    mine = seats if there is None else seats[there]
                    old = times - self._first[mine] >= gauge.watch.waits
                    shown = shown._replace(there=old if shown.there is None else shown.there & old)
                for row in gauge.watch.restless(at, times, shown).tolist():
                    yield Look(
                        gauge,
                        int(at[row]),
                        row if there is None else int(there[row]),
                        float(shown.level[row]),
                        float(shown.value[row]),
                        shown.there is None or bool(shown.there[row]),
                    )

    def _tell(self, kept: _Kept, seats: Ints, at: Ints, time: Ints) -> None:
        """Of meters that readings open cells of: what they have kept until then."""
        for row in kept.cells.roll(at, time).tolist():
            place = int(at[row])
            state = {"at": kept.cells.begin(place), **kept.meter.snapshot(place)}
            self.unsaid[int(self._device[seats[row]]), kept.meter.key] = state

    def _hear_first(self, seats: Ints, time: Ints) -> None:
        for row in np.flatnonzero(self._first[seats] == NEVER).tolist():
            self._first[seats[row]] = time[row]
            self.unsaid[int(self._device[seats[row]]), _FIRST] = {"time": int(time[row])}


def _meter(rule: GaugeRule) -> Meter:
    match rule:
        case WindowRule():
            return WindowMeter(rule)
        case RateRule():
            return RateMeter(rule)
        case StuckRule():
            return RunMeter(rule)
        case RangeRule():
            return ValueMeter()


def _seen(rule: GaugeRule) -> tuple[object, ...]:
    """What sets the gauge of a rule apart from the others of its meter."""
    match rule:
        case WindowRule():
            return rule.aggregate, rule.min_samples, rule.coverage, rule.waits
        case RateRule():
            return rule.per, rule.change, rule.method, rule.min_samples
        case StuckRule():
            return rule.min_samples, rule.except_
        case RangeRule():
            return ()


def _gauge(meter: Meter, rule: GaugeRule) -> Gauge:
    match meter, rule:
        case WindowMeter(), WindowRule():
            return WindowGauge(meter, rule)
        case RateMeter(), RateRule():
            return RateGauge(meter, rule)
        case RunMeter(), StuckRule():
            return RunGauge(meter, rule)
        case ValueMeter(), RangeRule():
            return ValueGauge(meter)
    raise AssertionError(f"a {rule.kind} rule does not read {meter.key}")
