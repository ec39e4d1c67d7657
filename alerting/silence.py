"""Silence: a device and metric from which nothing new has come for too long.

Measured in receive time. What matters is whether the station can be heard, not how old the data are that it sends: a
gateway that comes back with a burst of old rows is back, at the time it was received. Only rows that are news count
(``alerting.series``), so a broker that repeats an old message does not keep a dead station alive.

The alert's time is the deadline, however late it is noticed: if the next row comes before any tick passed the deadline,
the alert fires and resolves one after the other, just as it would have with a tick in between.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import numpy as np

from alerting import messages
from alerting.model import AlertState, Transition, alert_id
from alerting.outcome import READINGS, Order, Outcome, Ruled
from alerting.rules import NoDataRule
from alerting.series import NEVER, Watches
from decoders.identity import metric_id

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from alerting.names import Names
    from alerting.series import Judged, Series

    Table = NDArray[np.void]

_FAR: Final = 2**62


@dataclass(slots=True)
class _Episode:
    heard: int  # receive time of the last row before the silence
    at: int
    alert: UUID


class Silence:
    """All no-data rules. ``open`` is to be called for every slot of the series, before it is judged."""

    def __init__(self, ruled: Sequence[Ruled], names: Names) -> None:
        self._ruled = [r for r in ruled if isinstance(r.rule, NoDataRule)]
        self._rules = [r.rule for r in self._ruled if isinstance(r.rule, NoDataRule)]
        self._metric = [metric_id(rule.metric) for rule in self._rules]
        self._after = np.array([rule.after for rule in self._rules], np.int64)
        self._names = names
        self._watches = Watches()
        self._devices: dict[int, int] = {}  # slot -> device
        self._episodes: dict[int, _Episode] = {}  # by watch
        self._quiet_until = -_FAR  # no deadline passes before; looked for again then

    def open(self, slot: int, device: int, metric: int) -> None:
        """Find the rules that watch a new slot."""
        name = self._names.device(device).name
        found = [
            number
            for number, rule in enumerate(self._rules)
            if self._metric[number] == metric and rule.applies_to(name)
        ]
        self._watches.open(slot, found)
        if found:
            self._devices[slot] = device

    def restore(self, rule_id: str, device: int, key: str, state: Mapping[str, Any], series: Series) -> bool:
        """Take up an episode; False if no rule watches its subject any more."""
        numbers = [n for n, rule in enumerate(self._rules) if rule.id == rule_id and rule.metric == key]
        if not numbers or "heard" not in state:
            return False
        watch = self._watches.find(series.slot(device, metric_id(key)), numbers[0])
        if watch is None:
            return False
        self._episodes[watch] = _Episode(state["heard"], state["at"], UUID(state["alert"]))
        self._watches.phase[watch] = 1
        return True

    def judge(self, readings: Table, judged: Judged, heard: NDArray[np.int64], now: int, out: Outcome) -> None:
        """Judge the rows that are news, then the silences that are too long by ``now``.

        ``heard`` is the receive time of the last row of every slot, this batch included; NEVER where there was none.
        """
        index, watch = self._watches.expand(judged.slot)
        if len(watch):
            self._rows(readings, judged, index, watch, out)
        if now > self._quiet_until and len(self._watches):
            self._due(heard, now, out)

    def _rows(
        self,
        readings: Table,
        judged: Judged,
        index: NDArray[np.int64],
        watch: NDArray[np.int64],
        out: Outcome,
    ) -> None:
        row, before = judged.row[index], judged.heard_before[index]
        received = readings["received_at"][row]
        gap = (before != NEVER) & (received - before > self._after[self._watches.rule[watch]])
        for k in np.flatnonzero(gap | (self._watches.phase[watch] != 0)).tolist():
            number, record = int(watch[k]), readings[int(row[k])]
            if number not in self._episodes and gap[k]:
                self._fire(number, int(before[k]), out)
            if number in self._episodes:
                ruled = self._ruled[int(self._watches.rule[number])]
                order = Order(
                    int(received[k]),
                    timer=False,
                    message=int(record["message"]),
                    kind=READINGS,
                    row=int(row[k]),
                    rule=ruled.number,
                    key=self._rules[int(self._watches.rule[number])].metric,
                    step=0,
                )
                self._resolve(number, int(received[k]), order, out)

    def _due(self, heard: NDArray[np.int64], now: int, out: Outcome) -> None:
        last = heard[self._watches.slot]
        after = self._after[self._watches.rule]
        deadline = np.where((last == NEVER) | (self._watches.phase != 0), _FAR, last + after)
        for number in np.flatnonzero(deadline < now).tolist():
            self._fire(number, int(last[number]), out)
        # Whatever is heard from now on has its deadline later than this.
        waiting = deadline[deadline >= now]
        self._quiet_until = int(min(waiting.min(initial=_FAR), now + int(self._after.min())))

    def _fire(self, watch: int, heard: int, out: Outcome) -> None:
        number = int(self._watches.rule[watch])
        rule, ruled = self._rules[number], self._ruled[number]
        at = heard + rule.after
        if not ruled.in_force(at):
            return
        subject = self._names.device(self._devices[int(self._watches.slot[watch])])
        episode = self._episodes[watch] = _Episode(heard, at, alert_id(rule.id, subject, rule.metric, heard))
        self._watches.phase[watch] = 1
        text = messages.no_data_fired(rule, subject.name, heard)
        order = Order(at, True, 0, READINGS, subject.id, ruled.number, rule.metric, 1)
        out.add(order, self._transition(watch, AlertState.FIRING, at, text))
        state = {"heard": heard, "at": at, "alert": str(episode.alert)} | ruled.left_behind(heard)
        out.remember(rule.id, subject, rule.metric, state)

    def _resolve(self, watch: int, at: int, order: Order, out: Outcome) -> None:
        rule = self._rules[int(self._watches.rule[watch])]
        subject = self._names.device(self._devices[int(self._watches.slot[watch])])
        text = messages.no_data_resolved(rule, subject.name, at)
        out.add(order, self._transition(watch, AlertState.RESOLVED, at, text))
        del self._episodes[watch]
        self._watches.phase[watch] = 0
        out.remember(rule.id, subject, rule.metric, None)

    def _transition(self, watch: int, state: AlertState, at: int, text: messages.Text) -> Transition:
        number = int(self._watches.rule[watch])
        rule, ruled, episode = self._rules[number], self._ruled[number], self._episodes[watch]
        details = ruled.told() | {
            "metric": rule.metric,
            "after_seconds": rule.after // 1_000_000,
            "last_heard": messages.iso(episode.heard),
        }
        return Transition(
            alert_id=episode.alert,
            rule_id=rule.id,
            rule_version=ruled.version,
            subject=self._names.device(self._devices[int(self._watches.slot[watch])]),
            key=rule.metric,
            state=state,
            severity=rule.severity,
            at=at,
            started_at=episode.heard,
            summary_en=text.en,
            summary_vi=text.vi,
            details=details,
        )
