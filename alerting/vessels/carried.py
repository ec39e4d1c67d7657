"""Carried beacons: several identities that move as one body while under way. One alert for all of them.

When a pair has kept together for long and far enough, everyone who is beside either of them, directly or through
others, at more than one common time, belongs to the body. Who joins later revises the alert. It is over when no two of
them are beside each other any more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from alerting.messages import vessels as messages
from alerting.model import Event
from alerting.vessels.pairs import Pair, Pairs
from alerting.vessels.teller import Alert

if TYPE_CHECKING:
    from collections.abc import Iterable

    from alerting.model import RuleState
    from alerting.names import Names
    from alerting.outcome import Outcome, Ruled
    from alerting.rules.vessels import CarriedBeaconsRule
    from alerting.vessels.kinds import Kinds
    from alerting.vessels.near import Near
    from alerting.vessels.teller import When

_KEY: Final = "group"


@dataclass(slots=True)
class _Body:
    subject: int  # the least id when it was told
    members: set[int]
    alert: Alert
    about: list[int]  # those of it for whom the rule was found to be meant


class CarriedBeacons(Pairs):
    """A ``carried_beacons`` rule. The alert is about the least id of the body."""

    def __init__(self, ruled: Ruled, names: Names, rule: CarriedBeaconsRule, ports: Near) -> None:
        super().__init__(ruled, names, rule, ports, rule.tolerance)
        self._least, self._for, self._path, self._count = rule.min_speed, rule.for_, rule.path, rule.min_fixes
        self._bodies: dict[int, _Body] = {}  # by subject
        self._body_of: dict[int, int] = {}  # member -> subject

    def take_up(self, state: RuleState) -> bool:
        said = state.state or {}
        if (alert := Alert.restore(said)) is None:
            return super().take_up(state)
        about = said.get("about", [state.subject_id])
        self._bodies[state.subject_id] = _Body(state.subject_id, set(said["members"]), alert, about)
        self._body_of |= dict.fromkeys(said["members"], state.subject_id)
        return True

    def suits(self, knots: float) -> bool:
        return knots >= self._least

    def grown(self, pair: Pair, when: When, kinds: Kinds, out: Outcome) -> None:
        short = pair.last - pair.since < self._for or pair.path < self._path
        if short or pair.fixes < self._count or (pair.a in self._body_of and pair.b in self._body_of):
            return
        scope = self._rule.scope
        about = all(kinds.matches(scope, name, pair.since, message=when.message) for name in (pair.a, pair.b))
        if not about or not self.ruled.in_force(pair.last):
            return
        known = self._body_of.get(pair.a, self._body_of.get(pair.b))
        members = {pair.a, pair.b} if known is not None else self._together(pair)
        body = None if known is None else self._bodies[known]
        if body is not None:
            body.members |= members
        subject = body.subject if body else min(members)
        everyone = sorted(body.members if body else members)
        since = body.alert.started_at if body else pair.since
        called = [self.subject(name, since).name for name in everyone]
        text = messages.carried(self.rule, called, pair.since, pair.path)
        details = self._details(pair, called, everyone)
        place = pair.last_lon, pair.last_lat
        if body is None:
            alert = self.teller.fire(
                out, when, self.subject(subject, since), _KEY, pair.since, pair.last, text, details, place=place
            )
            body = self._bodies[subject] = _Body(subject, members, alert, [pair.a, pair.b])
        else:
            about_ = self.subject(subject, since)
            self.teller.change(
                out, when, about_, _KEY, body.alert, Event.REVISED, pair.last, text, details, place=place
            )
        self._body_of |= dict.fromkeys(body.members, subject)
        self._keep_body(body, out)

    def ended(self, pair: Pair, when: When, at: int, reason: str, out: Outcome) -> None:
        subject = self._body_of.get(pair.a)
        if subject is None or self._body_of.get(pair.b) != subject:
            return
        body = self._bodies[subject]
        if any(other in body.members for name in body.members for other in self._partners.get(name, ())):
            return
        del self._bodies[subject]
        for name in body.members:
            del self._body_of[name]
        since = body.alert.started_at
        called = [self.subject(name, since).name for name in sorted(body.members)]
        text = messages.carried_over(self.rule, called, at)
        details = {"reason": reason} | self._details(pair, called, body.members)
        about = self.subject(subject, since)
        self.teller.change(out, when, about, _KEY, body.alert, Event.RESOLVED, at, text, details)
        out.remember(self.rule.id, about, _KEY, None)

    def _together(self, pair: Pair) -> set[int]:
        """Everyone beside these two, directly or through others, who is in no body yet."""
        found, todo = {pair.a, pair.b}, [pair.a, pair.b]
        while todo:
            for beside in self._of(todo.pop()):
                for name in (beside.a, beside.b):
                    if name not in found and name not in self._body_of and beside.fixes > 1:
                        found.add(name)
                        todo.append(name)
        return found

    def _keep_body(self, body: _Body, out: Outcome) -> None:
        said = {"members": sorted(body.members), "about": body.about} | body.alert.kept(self.ruled)
        out.remember(self.rule.id, self.subject(body.subject), _KEY, said)

    def _details(self, pair: Pair, called: list[str], everyone: Iterable[int]) -> dict[str, Any]:
        return pair.told() | {
            "vessels": called,
            "partners": [str(name) for name in sorted(everyone)],
            "tolerance_m": self._tolerance,
            "least_path_m": self._path,
            "for_seconds": self._for // 1_000_000,
            "min_speed_kn": self._least,
        }
