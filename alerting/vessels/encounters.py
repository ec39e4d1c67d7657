"""Encounters: vessels close together and slow for long, away from ports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alerting.messages import vessels as messages
from alerting.vessels.groups import Groups
from alerting.vessels.knots import least

if TYPE_CHECKING:
    from alerting.judging.outcome import Ruled
    from alerting.messages import Text
    from alerting.registry.names import Names
    from alerting.rules.vessels import EncounterRule
    from alerting.vessels.near import Near
    from alerting.vessels.pairs import Pair


class Encounters(Groups):
    """An ``encounter`` rule. The alert is about the lesser id of the pair that began it; its key is the other.

    Where reports are far apart, less than ``for`` need be seen (``knots.least``).
    """

    def __init__(self, ruled: Ruled, names: Names, rule: EncounterRule, ports: Near) -> None:
        super().__init__(ruled, names, rule, ports, rule.distance)
        self._most, self._for, self._least = rule.max_speed, rule.for_, rule.min_fixes

    def suits(self, knots: float) -> bool:
        return knots < self._most

    def ripe(self, pair: Pair) -> bool:
        return pair.fixes >= self._least and pair.last - pair.since >= least(self._for, pair.taken)

    def joins(self, pair: Pair) -> bool:
        return pair.last - pair.since >= self._for // 2

    def place_of(self, pair: Pair, members: set[int]) -> tuple[int, str]:  # noqa: ARG002
        return pair.a, str(pair.b)

    def told(self, vessels: list[str], pair: Pair) -> Text:
        return messages.met(self.rule, vessels, pair.since, pair.last - pair.since)

    def told_over(self, vessels: list[str], pair: Pair, at: int) -> Text:  # noqa: ARG002
        return messages.parted(self.rule, vessels, pair.last, pair.last - pair.since)

    def details(self, pair: Pair) -> dict[str, Any]:  # noqa: ARG002
        return {"distance_m": self._tolerance, "max_speed_kn": self._most, "for_seconds": self._for // 1_000_000}
