"""From alerts and expectations to precision, recall and time to detect."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from quality.scenario import Expected, Told


@dataclass(slots=True)
class Score:
    """Of one kind of rule, or of one scenario."""

    hits: int = 0
    missed: list[Expected] = field(default_factory=list)
    false: list[Told] = field(default_factory=list)
    delays_s: list[float] = field(default_factory=list)  # from the beginning to the alert, event time

    @property
    def precision(self) -> float:
        """Of the alerts, the share that was expected; 1 where there was none."""
        told = self.hits + len(self.false)
        return self.hits / told if told else 1.0

    @property
    def recall(self) -> float:
        """Of what was expected, the share that was told; 1 where nothing was."""
        wanted = self.hits + len(self.missed)
        return self.hits / wanted if wanted else 1.0

    @property
    def delay_s(self) -> float | None:
        """The median."""
        return median(self.delays_s) if self.delays_s else None

    def add(self, other: Score) -> None:
        self.hits += other.hits
        self.missed += other.missed
        self.false += other.false
        self.delays_s += other.delays_s


def by_kind(expected: Sequence[Expected], told: Sequence[Told]) -> dict[str, Score]:
    """The score of each rule that something was expected of, or that told something; "zone-left" counts as "zone".

    Where nothing was expected and nothing told, that is the kind "ordinary".
    """
    kinds = sorted({one.rule.partition("-")[0] for one in expected} | {one.rule.partition("-")[0] for one in told})
    found = {
        kind: score(
            [one for one in expected if one.rule.partition("-")[0] == kind],
            [one for one in told if one.rule.partition("-")[0] == kind],
        )
        for kind in kinds
    }
    return found or {"ordinary": Score()}


def score(expected: Sequence[Expected], told: Iterable[Told]) -> Score:
    """Match alerts with what was expected, each at most once, the earliest first; a retracted alert is none."""
    out = Score()
    waiting = sorted(expected, key=lambda one: one.since)
    for alert in sorted(told, key=lambda one: (one.fired_at, one.rule, one.subject)):
        if alert.retracted:
            continue
        found = next((one for one in waiting if alert.fits(one)), None)
        if found is None:
            out.false.append(alert)
        else:
            waiting.remove(found)
            out.hits += 1
            out.delays_s.append((alert.fired_at - found.since) / 1e6)
    out.missed += waiting
    return out
