"""Groups of vessels that are beside each other, directly or through others: one alert for all of them.

When a pair has been one for long enough, everyone who is beside either of them, directly or through others, for about
as long belongs to the group. Who joins later revises the alert; who goes while others stay does not. It is over when no
two of them are beside each other any more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from alerting.judging.apart import key_of
from alerting.model import Event
from alerting.vessels.pairs import Pair, Pairs
from alerting.vessels.teller import Alert
from geofence.apart import owner

if TYPE_CHECKING:
    from alerting.judging.outcome import Outcome, Ruled
    from alerting.messages import Text
    from alerting.model import RuleState
    from alerting.registry.names import Names
    from alerting.rules.vessels import CarriedBeaconsRule, EncounterRule
    from alerting.vessels.kinds import Kinds
    from alerting.vessels.near import Near
    from alerting.vessels.teller import When


@dataclass(slots=True)
class _Group:
    subject: int
    key: str
    members: set[int]  # that are beside each other now
    ever: set[int]
    alert: Alert
    about: list[int]  # those of it for whom the rule was found to be meant


class Groups(Pairs):
    """Tells of groups; what makes one, and the words, are for others to say."""

    def __init__(
        self, ruled: Ruled, names: Names, rule: EncounterRule | CarriedBeaconsRule, ports: Near, tolerance: float
    ) -> None:
        super().__init__(ruled, names, rule, ports, tolerance)
        self._groups: dict[tuple[int, str], _Group] = {}
        self._group_of: dict[int, _Group] = {}  # by member

    # --- for others to say

    def ripe(self, pair: Pair) -> bool:
        """Whether a pair has been one for long enough."""
        raise NotImplementedError

    def joins(self, pair: Pair) -> bool:
        """Whether those of a pair belong together, should one of them belong to a group."""
        raise NotImplementedError

    def place_of(self, pair: Pair, members: set[int]) -> tuple[int, str]:
        """Subject and key of the alert that a pair begins."""
        raise NotImplementedError

    def told(self, vessels: list[str], pair: Pair) -> Text:
        """What is said while it lasts."""
        raise NotImplementedError

    def told_over(self, vessels: list[str], pair: Pair, at: int) -> Text:
        """What is said when it is over."""
        raise NotImplementedError

    def details(self, pair: Pair) -> dict[str, Any]:
        """What alerts say of the rule."""
        raise NotImplementedError

    # --- groups

    def take_up(self, state: RuleState) -> bool:
        said = state.state or {}
        if (alert := Alert.restore(said)) is None:
            return super().take_up(state)
        group = _Group(state.subject_id, state.key, set(said["members"]), set(said["ever"]), alert, said["about"])
        self._groups[state.subject_id, state.key] = group
        self._group_of |= dict.fromkeys(group.members, group)
        return True

    def grown(self, pair: Pair, when: When, kinds: Kinds, out: Outcome) -> None:
        a, b = self._group_of.get(pair.a), self._group_of.get(pair.b)
        if (a is not None and b is not None) or not self.ripe(pair):
            return
        about = all(
            kinds.matches(self._rule.scope, name, pair.since, message=when.message) for name in (pair.a, pair.b)
        )
        if not about or not self.ruled.in_force(pair.last):
            return
        place = pair.last_lon, pair.last_lat
        group = a or b
        if group is not None:
            group.members |= {pair.a, pair.b}
            group.ever |= group.members
            since = group.alert.started_at
            text, said = self._said(group.ever, pair, since)
            about_ = self.subject(group.subject, since)
            self.teller.change(
                out, when, about_, group.key, group.alert, Event.REVISED, pair.last, text, said, place=place
            )
        else:
            members = self._together(pair)
            subject, key = self.place_of(pair, members)
            if (subject, key) in self._groups:
                return  # one that it has left goes on without it
            text, said = self._said(members, pair, pair.since)
            alert = self.teller.fire(
                out, when, self.subject(subject, pair.since), key, pair.since, pair.last, text, said, place=place
            )
            group = self._groups[subject, key] = _Group(subject, key, members, set(members), alert, [pair.a, pair.b])
        self._group_of |= dict.fromkeys(group.members, group)
        self._keep_group(group, out)

    def ended(self, pair: Pair, when: When, at: int, reason: str, out: Outcome) -> None:
        group = self._group_of.get(pair.a)
        if group is None or self._group_of.get(pair.b) is not group:
            return
        for name in (pair.a, pair.b):
            if not self._partners.get(name, set()) & group.members:
                group.members.discard(name)
                del self._group_of[name]
        if group.members:
            self._keep_group(group, out)
            return
        del self._groups[group.subject, group.key]
        since = group.alert.started_at
        text = self.told_over(self._called(group.ever, since), pair, at)
        _, said = self._said(group.ever, pair, since)
        about = self.subject(group.subject, since)
        place = pair.last_lon, pair.last_lat
        self.teller.change(
            out, when, about, group.key, group.alert, Event.RESOLVED, at, text, {"reason": reason} | said, place=place
        )
        out.remember(self.rule.id, about, key_of(group.subject, group.key), None)

    def _together(self, pair: Pair) -> set[int]:
        """Everyone beside these two, directly or through others, who is in no group yet."""
        found, todo = {pair.a, pair.b}, [pair.a, pair.b]
        while todo:
            for beside in self._of(todo.pop()):
                for name in (beside.a, beside.b):
                    if name not in found and name not in self._group_of and self.joins(beside):
                        found.add(name)
                        todo.append(name)
        return found

    def _called(self, members: set[int], since: int) -> list[str]:
        return [self.subject(name, since).name for name in sorted(members)]

    def _said(self, members: set[int], pair: Pair, since: int) -> tuple[Text, dict[str, Any]]:
        called = self._called(members, since)
        said = {"vessels": called, "partners": [str(name) for name in sorted(set(map(owner, members)))]}
        return self.told(called, pair), said | pair.told() | self.details(pair)

    def _keep_group(self, group: _Group, out: Outcome) -> None:
        said = {"members": sorted(group.members), "ever": sorted(group.ever), "about": group.about}
        said |= group.alert.kept(self.ruled)
        out.remember(self.rule.id, self.subject(group.subject), key_of(group.subject, group.key), said)
