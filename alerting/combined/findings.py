"""What rules have found and not yet seen end, and who of them is near whom."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alerting.combined.near import OTHERS, SUBJECTS, Near
from alerting.model import AlertState
from alerting.rules import Join

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from collections.abc import Set as AbstractSet

    from alerting.combined.places import Places, Who
    from alerting.combined.plan import Leaf, Plan
    from alerting.model import Transition


class Findings:
    """By rule and subject: the ids of alerts that are open, and since when (event time, microseconds).

    A rule may have found several things of a subject.
    """

    def __init__(self, rules: Iterable[str], places: Places) -> None:
        self._held: dict[str, dict[Who, dict[str, int]]] = {rule: {} for rule in rules}
        self._near: dict[int, dict[int, Near]] = {}  # by plan that is awake, and leaf
        self._places = places

    # --- what holds

    def take(self, rule: str, who: Who, alert: str, since: int | None) -> bool:
        """It has found something, or (None) seen it end; whether that changes that it holds of the subject."""
        held = self._held[rule]
        before = who in held
        if since is not None:
            held.setdefault(who, {})[alert] = since
        elif before:
            held[who].pop(alert, None)
            if not held[who]:
                del held[who]
        return before != (who in held)

    def hear(self, told: Transition) -> bool:
        """``take`` of a transition."""
        since = None if told.state is AlertState.RESOLVED else told.started_at
        return self.take(told.rule_id, (told.subject.kind, told.subject.id), str(told.alert_id), since)

    def held(self, rule: str) -> Mapping[Who, Mapping[str, int]]:
        """Of whom it holds."""
        return self._held[rule]

    def truth(self, plan: Plan, leaf: Leaf, who: Who) -> bool:
        """Whether a condition holds for a subject of the rule."""
        if leaf.join is Join.SAME:
            return who in self._held[leaf.rule]
        return len(self.members(plan, leaf, who)) >= leaf.at_least

    def members(self, plan: Plan, leaf: Leaf, who: Who) -> AbstractSet[Who]:
        """Of whom a condition holds so that it counts for a subject, itself included."""
        match leaf.join:
            case Join.SAME:
                return {who} & self._held[leaf.rule].keys()
            case Join.ANY:
                return self._held[leaf.rule].keys()
            case Join.NEAR:
                near = self._near[plan.number][leaf.number].to(who) if self.awake(plan) else None
                return self._near_now(leaf, who) if near is None else near

    def _near_now(self, leaf: Leaf, who: Who) -> set[Who]:
        """Who is near one that is not followed."""
        near = Near(leaf.within_m)
        for other in self._held[leaf.rule]:
            near.put(OTHERS, other, self._places.of(other))
        return near.put(SUBJECTS, who, self._places.of(who))

    # --- who is near whom

    def awake(self, plan: Plan) -> bool:
        """Whether it can hold of anybody."""
        return plan.number in self._near

    def sleep(self, plan: Plan) -> None:
        """Do not follow who is near whom any more: as long as a rule that is needed holds of nobody."""
        self._near.pop(plan.number, None)

    def wake(self, plan: Plan) -> None:
        """Follow again."""
        if plan.number in self._near:
            return
        made = self._near[plan.number] = {leaf.number: Near(leaf.within_m) for leaf in plan.near}
        for leaf in plan.near:
            for side, rule in ((SUBJECTS, plan.rule.about), (OTHERS, leaf.rule)):
                for who in self._held[rule]:
                    made[leaf.number].put(side, who, self._places.of(who))

    def concerned(self, plan: Plan, changed: set[tuple[str, Who]], moved: Iterable[Who]) -> set[Who]:
        """The subjects for which something may have changed, now that these rules changed and these vessels moved."""
        out: set[Who] = set()
        for rule, who in changed:
            if rule == plan.rule.about:
                out.add(who)
                self._meet(plan, who)
            for leaf in plan.leaves:
                if leaf.rule == rule:
                    out |= self._concerned_by(plan, leaf, who)
        for who in moved if self.awake(plan) else ():
            for leaf in plan.near:
                if who in self._held[leaf.rule]:
                    out |= self._join(plan, leaf, who)
            if who in self._held[plan.rule.about] and self._meet(plan, who):
                out.add(who)
        return out

    def _concerned_by(self, plan: Plan, leaf: Leaf, who: Who) -> set[Who]:
        """The subjects of a rule to which it matters that a condition does, or does no longer, hold of one."""
        active = self._held[plan.rule.about]
        match leaf.join:
            case Join.SAME:
                return {who} & active.keys()
            case Join.ANY:
                return set(active)
            case Join.NEAR:
                return self._join(plan, leaf, who)

    def _meet(self, plan: Plan, who: Who) -> bool:
        """Work out who is near a subject of the rule; whether that is a change."""
        changes = False
        for near in self._near.get(plan.number, {}).values():
            if who in self._held[plan.rule.about]:
                changes |= bool(near.put(SUBJECTS, who, self._places.of(who)))
            else:
                changes |= bool(near.drop(SUBJECTS, who))
        return changes

    def _join(self, plan: Plan, leaf: Leaf, other: Who) -> set[Who]:
        """Work out to which subjects of the rule another is near; those for which that is a change."""
        if not self.awake(plan):
            return set()
        near = self._near[plan.number][leaf.number]
        if other in self._held[leaf.rule]:
            return near.put(OTHERS, other, self._places.of(other))
        return near.drop(OTHERS, other)
