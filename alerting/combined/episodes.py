"""What became of the conditions of a combined rule for one subject, and what an alert says of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from alerting import messages
from alerting.messages.combined import combined
from alerting.model import AlertState, Event, Transition, alert_id
from alerting.rules import Join, LadderRule
from geofence.sphere import metres

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from alerting.combined.findings import Findings
    from alerting.combined.places import Places, Who
    from alerting.combined.plan import Leaf, Plan
    from alerting.model import Subject
    from alerting.registry.names import Names

#: Members that an alert names.
_NAMED: Final = 50


@dataclass(slots=True)
class Episode:
    """From when the conditions hold until they have not for long enough. Receive times, microseconds."""

    since: int
    at: int = 0  # of the alert's last change; 0: it is pending
    step: int = 0
    lapsed: int | None = None  # since when they hold no longer, while the alert is kept for `keep_firing_for`

    @property
    def pending(self) -> bool:
        return not self.at

    @classmethod
    def restore(cls, said: Mapping[str, Any]) -> Episode:
        """As ``kept`` said."""
        if not said.get("alert"):
            return cls(said["rungs"][0]["since"])
        return cls(said["started_at"], said["at"], said["step"], said["lapsed"])

    def kept(self, plan: Plan, alert: UUID) -> dict[str, Any]:
        """What a state must hold of it, JSON-ready."""
        if self.pending:  # as ``storage.alerts.pending`` looks for it
            return {"rungs": [{"step": None, "since": self.since, "counts": False, "value": None}]}
        said = {"alert": str(alert), "at": self.at, "step": self.step, "lapsed": self.lapsed}
        return said | plan.ruled.left_behind(self.since, plan.rule.severity_at(self.step))


class Alerts:
    """Makes transitions."""

    def __init__(self, names: Names, findings: Findings, places: Places) -> None:
        self._names, self._findings, self._places = names, findings, places

    def id(self, plan: Plan, who: Who, episode: Episode) -> UUID:
        return alert_id(plan.rule.id, self.subject(who), "", episode.since)

    def subject(self, who: Who, since: int | None = None) -> Subject:
        """A subject; ``since``: as it goes in what began then."""
        return self._names.subject(*who, since)

    def count(self, plan: Plan, who: Who) -> int:
        """How many members the alert has."""
        return len(self._members(plan, who))

    def transition(self, plan: Plan, who: Who, episode: Episode, event: Event, reason: str | None) -> Transition:
        """The alert's change at ``episode.at``. ``reason``: why it is over."""
        rule, place, subject = plan.rule, self._places.of(who), self.subject(who, episode.since)
        members = [self._member(who, other, leaf) for other, leaf in self._members(plan, who).items()]
        members.sort(key=lambda one: (one["distance_m"] is None, one["distance_m"], one["kind"], int(one["id"])))
        truth = {leaf.number: self._findings.truth(plan, leaf, who) for leaf in plan.leaves}
        details: dict[str, Any] = plan.ruled.told() | {
            "since": messages.iso(episode.since),
            "for_seconds": rule.for_ // 1_000_000,
            "when": plan.told(lambda leaf: truth[leaf.number]),
            "conditions": [self._condition(plan, who, leaf, holds=truth[leaf.number]) for leaf in plan.leaves],
            "members": members[:_NAMED],
            "members_total": len(members),
            "rules": dict(plan.rules),
        }
        details |= {"reason": reason} if reason else {}
        names = [str(one["name"]) for one in members]
        withins = {leaf.within_m for leaf in plan.near if not leaf.denied}
        text = combined(rule, subject, names, withins.pop() if len(withins) == 1 else None, episode.at, event)
        return Transition(
            alert_id=self.id(plan, who, episode),
            rule_id=rule.id,
            rule_version=plan.ruled.version,
            subject=subject,
            key="",
            state=AlertState.RESOLVED if event is Event.RESOLVED else AlertState.FIRING,
            severity=rule.severity_at(episode.step),
            at=episode.at,
            started_at=episode.since,
            summary_en=text.en,
            summary_vi=text.vi,
            lon=place.lon if place else None,
            lat=place.lat if place else None,
            details=details,
            change=event if event in {Event.ESCALATED, Event.DEESCALATED} else None,
        )

    def _members(self, plan: Plan, who: Who) -> dict[Who, Leaf]:
        """Who makes the conditions hold beside the subject itself, each with the first condition that it counts for."""
        out: dict[Who, Leaf] = {}
        for leaf in plan.leaves:
            if not leaf.denied and leaf.join is not Join.SAME:
                for other in self._findings.members(plan, leaf, who):
                    out.setdefault(other, leaf)
        return out

    def _member(self, who: Who, other: Who, leaf: Leaf) -> dict[str, Any]:
        here, there = self._places.of(who), self._places.of(other)
        far = round(metres(here.lon, here.lat, there.lon, there.lat), 1) if here and there else None
        since = min(self._findings.held(leaf.rule)[other].values())
        said: dict[str, Any] = {
            "kind": other[0].value,
            "id": str(other[1]),  # as text: most readers of JSON keep 53 bits
            "name": self.subject(other, since).name,
            "rule": leaf.rule,
            "since": messages.iso(since),
            "distance_m": far,
        }
        if there:
            said |= {"lon": round(there.lon, 6), "lat": round(there.lat, 6)}
            said |= {"seen": messages.iso(there.seen)} if there.seen is not None else {}
        return said

    def _condition(self, plan: Plan, who: Who, leaf: Leaf, *, holds: bool) -> dict[str, Any]:
        rule = leaf.of.rule
        said: dict[str, Any] = {
            "rule": rule.id,
            "rule_version": leaf.of.version,
            "title": leaf.of.title,
            "kind": rule.kind,
            "source": rule.source,
            "join": leaf.join.value,
            "holds": holds,
            "of": len(self._findings.members(plan, leaf, who)),
        }
        if leaf.join is not Join.SAME:
            said["at_least"] = leaf.at_least
        if leaf.join is Join.NEAR:
            said["within_m"] = leaf.within_m
        if isinstance(rule, LadderRule):
            said |= {"thresholds": [rung.raise_ for rung in rule.rungs], "direction": rule.direction.value}
            said |= {"unit": unit} if (unit := getattr(rule, "unit", None)) else {}
        if who in self._findings.held(leaf.rule):
            said["since"] = messages.iso(min(self._findings.held(leaf.rule)[who].values()))
        return said
