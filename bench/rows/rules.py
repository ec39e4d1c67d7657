"""What judging costs with a thousand rules on twenty thousand subjects of each kind: the engine alone, one process.

Every device sends a reading and every vessel a position a minute, for an hour. Nothing reaches a level, so that what is
timed is the looking, and not the telling; vessels go in and out of zones.
"""

from __future__ import annotations

import gc
import tracemalloc
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from alerting.engine import Engine
from alerting.rules import RULE
from bench import inputs
from bench.harness import OURS, Contestant, Measure, Row, Sample, Target, timed
from decoders.identity import device_id, metric_id
from decoders.records import NULL_I1, POSITION, READING, Name, Observations, empty

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from alerting.rules import Rule
    from geofence.zones import Zone

_GROUPS: Final = 50  # of devices; a rule watches one of them
_MINUTE: Final = 60_000_000
_METRIC: Final = "water_level"
_FIRST_MMSI: Final = 574_000_000
_OVER: Final = ("30m", "1h", "8h", "24h")
_MIXED = "rows/s, 1,000 mixed rules"
_WINDOWS = "readings/s, 20 window rules a device"
_OTHERS = "readings/s, 20 rate, stuck and range rules a device"
_STATES = "states written, mixed rules, per 100 readings"
_HELD = "held in memory, mixed rules"


class Rules(Row):
    name = "rules"
    title = "Rules: 1,000 of them, 20,000 devices and 20,000 vessels, each heard once a minute; the engine alone"
    measures = (
        Measure(_MIXED, "1/s", {"": Target(least=103_000)}),
        Measure(_WINDOWS, "1/s", {"": Target(least=100_000)}),
        Measure(_OTHERS, "1/s"),
        Measure(_STATES, "1", {"": Target(most=20)}),
        Measure(_HELD, "MB"),
    )

    def prepare(self) -> None:
        self._subjects, self._minutes = self.size(20_000, 200), self.size(60, 61)
        names = [(f"gw-{n % 100}", f"dev-{n % _GROUPS:02d}-{n}") for n in range(self._subjects)]
        self._ids = np.array([device_id(*name) for name in names])
        self._names = [Name("device", int(id_), "/".join(name)) for id_, name in zip(self._ids, names, strict=True)]
        zones = inputs.zones(self.size(300, 30))
        self._mixed = [*thresholds(400), *windows(200), *silences(100), *_in_zones(self.size(300, 30), zones)]
        self._zones = zones
        self.notes.append(
            "mixed: 400 threshold, 200 window, 100 no_data and 300 zone rules; of devices each watches one of 50 groups"
        )

    def contestants(self) -> Sequence[Contestant]:
        return [Contestant(OURS, self._ours)]

    def _ours(self) -> Sample:
        values, spent = {}, 0.0
        values[_MIXED], cpu, states = self._hour(self._mixed, vessels=True)
        values[_STATES] = 100 * states / (self._subjects * self._minutes)
        spent += cpu
        values[_WINDOWS], cpu, _ = self._hour(windows(1000), vessels=False)
        spent += cpu
        values[_OTHERS], cpu, _ = self._hour(others(1000), vessels=False)
        values[_HELD] = self._memory()
        return Sample(values, spent + cpu)

    def _hour(self, rules: list[Rule], *, vessels: bool) -> tuple[float, float, int]:
        """Rows a second, CPU seconds, and states to be written, after everybody was heard for the first time."""
        engine, rows, states, spent, wall = Engine(rules, self._zones), 0, 0, 0.0, 0.0
        for minute, batch in enumerate(self._heard(self._minutes + 1, vessels=vessels)):
            with timed() as watch:
                verdict = engine.judge(batch, inputs.EPOCH_MS * 1000 + (minute + 1) * _MINUTE)
            if minute:
                rows += len(batch.readings) + len(batch.positions)
                states += sum(state.subject_kind == "device" for state in verdict.states)
                spent, wall = spent + watch.cpu, wall + watch.wall
        return rows / wall, spent, states

    def _memory(self) -> float:
        """What an engine of the mixed rules holds, MB (10^6 bytes), once everybody was heard twice."""
        gc.collect()
        tracemalloc.start()
        engine = Engine(self._mixed, self._zones)
        for minute, batch in enumerate(self._heard(2, vessels=True)):
            engine.judge(batch, inputs.EPOCH_MS * 1000 + (minute + 1) * _MINUTE)
        del batch
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return held / 1e6

    def _heard(self, minutes: int, *, vessels: bool) -> Iterator[Observations]:
        rng, count = np.random.default_rng(8), self._subjects
        lon, lat = inputs.points(count)
        for minute in range(minutes):
            out = Observations(messages=2 * count, names=self._names if minute == 0 else [])
            out.readings = empty(READING, count)
            out.readings["device"], out.readings["metric"] = self._ids, metric_id(_METRIC)
            out.readings["value"] = rng.uniform(0.2, 0.8, count)
            if vessels:
                out.positions = empty(POSITION, count)
                out.positions["transponder"] = _FIRST_MMSI + np.arange(count)
                lon, lat = lon + rng.normal(0, 0.0008, count), lat + rng.normal(0, 0.0008, count)
                out.positions["lon"], out.positions["lat"] = lon, lat
                out.positions["sog"], out.positions["cog"], out.positions["nav_status"] = 5.0, 90.0, NULL_I1
            start = inputs.EPOCH_MS * 1000 + minute * _MINUTE
            for table, first in ((out.readings, 0), (out.positions, count)):
                table["message"] = first + np.arange(len(table))
                table["time"] = table["received_at"] = start + first + np.arange(len(table))
            yield out


def _rule(number: int, kind: str, **fields: Any) -> Rule:
    said = {"title": {"en": "R", "vi": "R"}, "severity": "warning", "source": "a benchmark", "metric": _METRIC}
    group = {"devices": [f"dev-{number % _GROUPS:02d}-*"]}
    unit = {} if kind == "no_data" else {"unit": "m"}
    return RULE.validate_python(said | group | unit | {"id": f"{kind}-{number}", "kind": kind} | fields)


def thresholds(count: int) -> list[Rule]:
    """Levels, all different; one of four has to last, one of four is in force at night."""
    more: tuple[dict[str, Any], ...] = ({}, {"for": "10m"}, {"hours": ["18:00-06:00"]}, {"clear": 0.9})
    return [_rule(n, "threshold", **{"raise": 1.0 + n / 100}, **more[n // _GROUPS % 4]) for n in range(count)]


def windows(count: int) -> list[Rule]:
    """Means and maxima over half an hour to a day."""
    return [
        _rule(
            n,
            "window",
            aggregate=("mean", "max")[n // _GROUPS // len(_OVER) % 2],
            over=_OVER[n // _GROUPS % len(_OVER)],
            **{"raise": 1.0 + n / 100},
        )
        for n in range(count)
    ]


def others(count: int) -> list[Rule]:
    """Rates, runs and ranges, of each in turn."""
    made = []
    for n in range(count):
        match n // _GROUPS % 3:
            case 0:
                over = _OVER[n // _GROUPS // 3 % len(_OVER)]
                made.append(_rule(n, "rate", change="rising", over=over, **{"raise": 50.0 + n / 100}))
            case 1:
                made.append(_rule(n, "stuck", **{"for": f"{60 + n}m"}))
            case _:
                made.append(_rule(n, "range", low=-1.0, high=7.0 + n / 100))
    return made


def silences(count: int) -> list[Rule]:
    """Of half an hour and more."""
    return [_rule(n, "no_data", after=f"{30 + n}m") for n in range(count)]


def _in_zones(count: int, zones: list[Zone]) -> list[Rule]:
    return inputs.zone_rules(count, zones, ("entered", "inside", "left"))
