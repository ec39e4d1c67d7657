"""Encounters: two vessels close together and slow for long, away from ports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alerting.messages import vessels as messages
from alerting.model import Event
from alerting.vessels.pairs import Pair, Pairs
from alerting.vessels.teller import Alert

if TYPE_CHECKING:
    from alerting.model import RuleState
    from alerting.names import Names
    from alerting.outcome import Outcome, Ruled
    from alerting.rules.vessels import EncounterRule
    from alerting.vessels.kinds import Kinds
    from alerting.vessels.near import Near
    from alerting.vessels.teller import When


class Encounters(Pairs):
    """An ``encounter`` rule. The alert is about the lesser id; its key is the other."""

    def __init__(self, ruled: Ruled, names: Names, rule: EncounterRule, ports: Near) -> None:
        super().__init__(ruled, names, rule, ports, rule.distance)
        self._most, self._for, self._least = rule.max_speed, rule.for_, rule.min_fixes
        self._alerts: dict[tuple[int, int], Alert] = {}

    def take_up(self, state: RuleState) -> bool:
        super().take_up(state)
        if alert := Alert.restore(state.state or {}):
            self._alerts[state.subject_id, int(state.key)] = alert
        return True

    def suits(self, knots: float) -> bool:
        return knots < self._most

    def kept(self, pair: Pair) -> dict[str, Any]:
        alert = self._alerts.get((pair.a, pair.b))
        return {"about": [pair.a, pair.b]} | alert.kept(self.ruled) if alert else {}

    def grown(self, pair: Pair, when: When, kinds: Kinds, out: Outcome) -> None:
        if (pair.a, pair.b) in self._alerts or pair.fixes < self._least or pair.last - pair.since < self._for:
            return
        scope = self._rule.scope
        about = all(kinds.matches(scope, name, pair.since, message=when.message) for name in (pair.a, pair.b))
        if not about or not self.ruled.in_force(pair.last):
            return
        subject, other = self.subject(pair.a, pair.since), self.subject(pair.b, pair.since)
        text = messages.met(self.rule, subject.name, other.name, pair.since, pair.last - pair.since)
        place = pair.last_lon, pair.last_lat
        self._alerts[pair.a, pair.b] = self.teller.fire(
            out, when, subject, str(pair.b), pair.since, pair.last, text, self._details(pair), place=place
        )

    def ended(self, pair: Pair, when: When, at: int, reason: str, out: Outcome) -> None:
        alert = self._alerts.pop((pair.a, pair.b), None)
        if alert is None:
            return
        subject, other = self.subject(pair.a, pair.since), self.subject(pair.b, pair.since)
        text = messages.parted(self.rule, subject.name, other.name, pair.last, pair.last - pair.since)
        details = {"reason": reason} | self._details(pair)
        place = pair.last_lon, pair.last_lat
        self.teller.change(out, when, subject, str(pair.b), alert, Event.RESOLVED, at, text, details, place=place)

    def _details(self, pair: Pair) -> dict[str, Any]:
        return pair.told() | {
            "vessels": [self.subject(name, pair.since).name for name in (pair.a, pair.b)],
            "partners": [str(pair.a), str(pair.b)],
            "distance_m": self._tolerance,
            "max_speed_kn": self._most,
            "for_seconds": self._for // 1_000_000,
        }
