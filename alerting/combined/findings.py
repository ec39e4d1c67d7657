"""What rules have found and not yet seen end, and who of them is near whom."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Final

from alerting.model import AlertState, SubjectKind
from alerting.rules import Join
from alerting.vessels.geo import METRES_PER_DEGREE, metres

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from collections.abc import Set as AbstractSet

    from alerting.combined.places import Place, Places, Who
    from alerting.combined.plan import Leaf, Plan
    from alerting.model import Transition

#: By how much rounding may make a distance less than its northern part.
_SLACK: Final = 1e-9


class Findings:
    """By rule and subject: the ids of alerts that are open, and since when (event time, microseconds).

    A rule may have found several things of a subject.
    """

    def __init__(self, rules: Iterable[str], places: Places) -> None:
        self._held: dict[str, dict[Who, dict[str, int]]] = {rule: {} for rule in rules}
        self._near: dict[tuple[int, int], dict[Who, set[Who]]] = {}  # plan and leaf: subject -> who is near it
        self._awake: set[int] = set()
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
                near = self._near.get((plan.number, leaf.number), {}).get(who)
                return self._near_to(leaf, who) if near is None else near

    def awake(self, plan: Plan) -> bool:
        """Whether it can hold of anybody."""
        return plan.number in self._awake

    # --- who is near whom

    def sleep(self, plan: Plan) -> None:
        """Do not follow who is near whom any more: as long as a rule that is needed holds of nobody."""
        if plan.number in self._awake:
            self._awake.discard(plan.number)
            for leaf in plan.near:
                self._near.pop((plan.number, leaf.number), None)

    def wake(self, plan: Plan) -> None:
        """Follow again."""
        if plan.number in self._awake:
            return
        self._awake.add(plan.number)
        for leaf in plan.near:
            there = [(place.lat, who, place) for who in self._held[leaf.rule] if (place := self._places.of(who))]
            there.sort(key=lambda found: found[:2])
            degrees = leaf.within_m / METRES_PER_DEGREE + _SLACK
            near = self._near[plan.number, leaf.number] = {}
            for who in self._held[plan.rule.about]:
                here = self._places.of(who)
                low = bisect_left(there, here.lat - degrees, key=lambda found: found[0]) if here else 0
                high = bisect_right(there, here.lat + degrees, low, key=lambda found: found[0]) if here else 0
                near[who] = {other for _, other, place in there[low:high] if _within(here, place, leaf)}

    def concerned(self, plan: Plan, changed: set[tuple[str, Who]], moved: Iterable[Who]) -> set[Who]:
        """The subjects for which something may have changed, now that these rules changed and these vessels moved."""
        active = self._held[plan.rule.about]
        out: set[Who] = set()
        for rule, who in changed:
            if rule == plan.rule.about:
                out.add(who)
                self._meet(plan, who)
            for leaf in plan.leaves:
                if leaf.rule == rule:
                    out |= self._concerned_by(plan, leaf, who)
        for who in moved if plan.number in self._awake else ():
            for leaf in plan.near:
                if who in self._held[leaf.rule]:
                    out.update(self._join(plan, leaf, who))
            if plan.kind is SubjectKind.TRANSPONDER and who in active and self._meet(plan, who):
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
                return set(self._join(plan, leaf, who))

    def _meet(self, plan: Plan, who: Who) -> bool:
        """Work out who is near a subject of the rule; whether that is a change."""
        if plan.number not in self._awake:
            return False
        active, changes = who in self._held[plan.rule.about], False
        for leaf in plan.near:
            near = self._near[plan.number, leaf.number]
            before = near.pop(who, None)
            if active:
                near[who] = self._near_to(leaf, who)
            changes |= before != near.get(who)
        return changes

    def _near_to(self, leaf: Leaf, who: Who) -> set[Who]:
        here = self._places.of(who)
        return {other for other in self._held[leaf.rule] if here and _within(here, self._places.of(other), leaf)}

    def _join(self, plan: Plan, leaf: Leaf, other: Who) -> Iterator[Who]:
        """Work out to which subjects of the rule another is near; those for which that is a change."""
        if plan.number not in self._awake:
            return
        there = self._places.of(other) if other in self._held[leaf.rule] else None
        for who, near in self._near[plan.number, leaf.number].items():
            if (there is not None and _within(self._places.of(who), there, leaf)) != (other in near):
                near ^= {other}
                yield who


def _within(here: Place | None, there: Place | None, leaf: Leaf) -> bool:
    """Whether two places are near each other; one that is not known is near nothing."""
    if here is None or there is None or abs(here.lat - there.lat) * METRES_PER_DEGREE > leaf.within_m * (1 + _SLACK):
        return False
    return metres(here.lon, here.lat, there.lon, there.lat) <= leaf.within_m
