"""Rules on figures, and what a figure makes of the alert of one of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, get_args

from alerting import messages
from alerting.judging.ladder import Standing
from alerting.judging.levels import Level
from alerting.judging.outcome import READINGS, Order, Outcome, Ruled
from alerting.meters import Figure, FigureRule
from alerting.model import Event
from alerting.rules import AqiRule, LadderRule, RangeRule, Rung, StuckRule, WindowRule
from alerting.rules.base import east

if TYPE_CHECKING:
    import numpy as np

    from alerting.model import Subject

_KINDS: Final = get_args(FigureRule)
AQI_KEY: Final = "vn_aqi"


@dataclass(slots=True, frozen=True)
class Judge:
    """A rule, and the ladder that its figures are held against."""

    ruled: Ruled
    rule: FigureRule
    key: str
    rungs: tuple[Rung, ...]
    levels: tuple[tuple[int, Level], ...]  # each with its step: a range has two of one
    east: int

    @classmethod
    def of(cls, ruled: Ruled) -> Judge:
        rule = ruled.rule
        assert isinstance(rule, _KINDS)
        match rule:
            case LadderRule():
                rungs = rule.rungs
                levels = [(step, Level.of(rule, step)) for step in range(len(rungs))]
            case StuckRule():
                rungs = (Rung.model_validate({"severity": rule.severity, "raise": rule.for_ / 1e6}),)
                levels = [(0, Level.at(1, rule.for_ / 1e6, None, inclusive=True))]
            case RangeRule():
                rungs = (Rung.model_validate({"severity": rule.severity, "raise": 0.0}),)
                bounds = ((1, rule.high), (-1, rule.low))
                levels = [
                    (0, Level.at(sign, bound, bound - sign * rule.margin if rule.margin else None, inclusive=False))
                    for sign, bound in bounds
                    if bound is not None
                ]
        key = AQI_KEY if isinstance(rule, AqiRule) else rule.metric
        return cls(ruled, rule, key, rungs, tuple(levels), east(rule.utc_offset) // timedelta(microseconds=1))

    def step(self, level: float, step: int) -> int:
        """The step that a figure leads to from another, -1 being none: the highest that it reaches or that it keeps."""
        for number, one in reversed(self.levels):
            if one.holds(level) or (number <= step and one.keeps(level)):
                return number
        return -1

    def judge(
        self,
        subject: Subject,
        standing: dict[int, Standing],
        number: int,
        figure: Figure | None,
        record: np.void,
        row: int,
        out: Outcome,
    ) -> None:
        """Have the alert of the rule be what a figure makes it.

        Args:
            subject: the device.
            standing: its alerts, by the numbers of their rules.
            number: that of this rule.
            figure: None: there is none to be judged.
            record: the reading that it was made with.
            row: the place of that in its table.
            out: what comes of it.
        """
        alert, time = standing.get(number), int(record["time"])
        if not self.ruled.in_force(time):
            figure = None
            event = alert.move(-1, time, time) if alert is not None else None
        elif figure is None:
            return
        elif alert is None:
            step = self.step(figure.level, -1)
            event = Event.FIRING if step >= 0 else None
            alert = Standing.begin(self.rule.id, subject, self.key, figure.since, figure.time, step)
        else:
            event = alert.move(self.step(figure.level, alert.step), figure.time, figure.time)
        if event is None or alert is None:
            return
        if event is Event.RESOLVED:
            standing.pop(number)
        else:
            standing[number] = alert
        received, message = int(record["received_at"]), int(record["message"])
        order = Order(received, False, message, READINGS, row, self.ruled.number, self.key, 0)
        self._tell(subject, alert, event, figure, order, out)

    def _tell(
        self, subject: Subject, alert: Standing, event: Event, figure: Figure | None, order: Order, out: Outcome
    ) -> None:
        value, said = None, _said(self.rule) | {"since": messages.iso(alert.since)}
        if figure is None:
            text = messages.out_of_force(self.rule, subject.name, alert.at)
        else:
            if isinstance(self.rule, RangeRule):
                figure = figure._replace(level=_outside(self.rule, figure.value))
            text = messages.figure(self.rule, alert.step, subject.name, figure, alert.at, event)
            value, said = figure.value, said | dict(figure.said)
        out.add(order, alert.transition(event, self.ruled, self.rungs, subject, self.key, text, value, said))
        kept = alert.kept(self.ruled, self.rungs) if event is not Event.RESOLVED else None
        out.remember(self.rule.id, subject, self.key, kept)


def _outside(rule: RangeRule, value: float) -> float:
    """How far a value lies outside; less than nothing within."""
    under = float("-inf") if rule.low is None else rule.low - value
    over = float("-inf") if rule.high is None else value - rule.high
    return max(under, over)


def _said(rule: FigureRule) -> dict[str, Any]:
    """What an alert says about how its figure is made."""
    keys = {"metric", "unit", "direction", "inclusive", "aggregate", "over", "per", "change", "method", "min_samples"}
    keys |= {"min_coverage", "for_", "tolerance", "low", "high", "margin", "period"}
    said = rule.model_dump(mode="json", by_alias=True, include=keys, exclude_none=True)
    if isinstance(rule, WindowRule):
        said["bucket"] = f"{rule.width // 1_000_000}s"
    if isinstance(rule, StuckRule | RangeRule):
        said |= {"threshold": None, "clear": None}
    return said
