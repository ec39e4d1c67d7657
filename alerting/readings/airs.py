"""Rules on the air quality index: of devices, from several metrics each, hour by hour (``alerting.meters.air``)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from alerting import vn_aqi
from alerting.judging.series import NEVER, grown
from alerting.meters import HOUR, Air, begins, offset
from alerting.rules import AqiRule
from decoders.identity import metric_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from alerting.judging.heard import Heard
    from alerting.judging.ladder import Standing
    from alerting.judging.outcome import Outcome
    from alerting.judging.series import Series
    from alerting.readings.judges import Judge
    from alerting.registry.names import Names

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]

_METRICS: Final = {metric_id(name): name for name in vn_aqi.METRICS}


@dataclass(slots=True)
class _Aired:
    """The rules on the air of one device at one offset from UTC."""

    device: int
    air: Air
    rules: tuple[int, ...]
    standing: dict[int, Standing] = field(default_factory=dict)


class Airs:
    """All rules on the index over the subjects of a series."""

    def __init__(self, judges: Sequence[Judge], names: Names, series: Series) -> None:
        self._judges, self._names, self._series = judges, names, series
        self._airs: dict[tuple[int, int], _Aired] = {}  # (device, east)
        # By slot of the series.
        self._aired: dict[int, list[_Aired]] = {}
        self._metric: dict[int, str] = {}
        self._watched = np.zeros(64, np.bool_)  # whether it is among them
        self._until: dict[int, int] = {}  # end of the cell under way (``alerting.meters.base``); NEVER before the first
        #: By device and key, the states that have changed since they were told.
        self.unsaid: dict[tuple[int, str], Mapping[str, Any]] = {}

    def watch(self, slot: int, rules: Sequence[int], last: int) -> None:
        """Let rules watch a subject. ``last``: time of its newest reading, ``NEVER`` if there is none."""
        device = int(self._series.device[slot])
        self._metric[slot] = _METRICS[int(self._series.metric[slot])]
        self._until[slot] = NEVER if last == NEVER else _begin(device, last) + HOUR
        for east in sorted({self._judges[number].east for number in rules}):
            aired = self._airs.get((device, east))
            if aired is None:
                mine = tuple(number for number in rules if self._judges[number].east == east)
                aired = self._airs[device, east] = _Aired(device, Air(east), mine)
            if last > NEVER:
                aired.air.reach((last + east) // HOUR)
            self._aired.setdefault(slot, []).append(aired)
        self._watched = grown(self._watched, len(self._series), fill=False)
        self._watched[slot] = slot in self._aired

    def stand(self, device: int, number: int, standing: Standing) -> None:
        """Take up an alert of a rule that watches the device."""
        self._airs[device, self._judges[number].east].standing[number] = standing

    def load(self, slot: int, part: str, state: Mapping[str, Any]) -> bool:
        """Be as was told; False if that is of no use any more."""
        for aired in self._aired.get(slot, ()):
            if part == f"hours/{aired.air.east}" and state["at"] == self._until[slot] - HOUR:
                aired.air.load(self._metric[slot], state)
                return True
        return False

    def held(self) -> Iterator[tuple[int, str, dict[str, Any]]]:
        """What is kept now: of which device, under which key, and what, JSON-ready."""
        for slot, mine in self._aired.items():
            for aired in mine:
                yield (
                    aired.device,
                    f"{self._metric[slot]}#hours/{aired.air.east}",
                    aired.air.snapshot(self._metric[slot]),
                )

    def since(self) -> dict[int, int]:
        """By slot, from which event time on readings are wanted again."""
        return {slot: until - HOUR for slot, until in self._until.items() if until > NEVER}

    def recall(self, slots: Ints, time: Ints, value: Floats) -> None:
        """Take readings that are news again, those of each subject in arrival order."""
        for row in self._mine(slots).tolist():
            slot = int(slots[row])
            if time[row] >= self._until[slot] - HOUR:
                for aired in self._aired[slot]:
                    aired.air.take(self._metric[slot], int(time[row]), float(value[row]))

    def judge(self, heard: Heard, out: Outcome) -> None:
        """Judge the rows that are news, in arrival order."""
        if not self._aired:
            return
        slots = heard.readings.slot
        mine = self._mine(slots)
        if not len(mine):
            return
        mine = mine[np.argsort(heard.readings.row[mine])]
        rows, table = heard.readings.row[mine], heard.observations.readings
        columns = (table[name][rows].tolist() for name in ("time", "value"))
        for slot, row, time, value in zip(slots[mine].tolist(), rows.tolist(), *columns, strict=True):
            name = self._metric[slot]
            if time >= self._until[slot]:
                self._tell(slot, name, time)
            for aired in self._aired[slot]:
                opens = aired.air.opens(time)
                for number in aired.rules:
                    if not opens and number not in aired.standing:
                        continue
                    judge = self._judges[number]
                    assert isinstance(judge.rule, AqiRule)
                    figure = aired.air.figure(judge.rule, time) if opens else None
                    subject = self._names.device(aired.device)
                    judge.judge(subject, aired.standing, number, figure, table[row], row, out)
                aired.air.take(name, time, value)

    def _mine(self, slots: Ints) -> NDArray[np.intp]:
        """Which of these are of subjects that a rule watches."""
        self._watched = grown(self._watched, len(self._series), fill=False)
        return np.flatnonzero(self._watched[slots])

    def _tell(self, slot: int, name: str, time: int) -> None:
        """What is kept of a subject of which a reading opens a cell."""
        device, first = int(self._series.device[slot]), self._until[slot] == NEVER
        begin = _begin(device, time)
        self._until[slot] = begin + HOUR
        if not first:
            for aired in self._aired[slot]:
                self.unsaid[device, f"{name}#hours/{aired.air.east}"] = {"at": begin, **aired.air.snapshot(name)}


def _begin(device: int, time: int) -> int:
    return int(begins(np.array([time]), offset(np.array([device])))[0])
