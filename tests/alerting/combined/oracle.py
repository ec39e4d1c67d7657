"""Combined rules the slow way: after every instant every rule is worked out anew, for every subject there is."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from alerting.model import AlertState

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from alerting.model import Transition
    from alerting.rules import CombinedRule

MINUTE = 60_000_000
#: Kind and id of a subject.
Who = tuple[str, int]
#: Rule, kind and id of the subject, what happened, when, since when, severity, ids of the members.
Told = tuple[str, str, int, str, int, int, str, tuple[int, ...]]
#: When something is known: rows of an instant first, then that we heard nothing from then on, then what is due.
ROWS, DEAF, DUE = 0, 1, 2


def haversine(one: tuple[float, float], other: tuple[float, float]) -> float:
    """Metres between longitude and latitude and others."""
    a, b, c, d = (math.radians(degrees) for degrees in (*one, *other))
    half = math.sin((d - b) / 2) ** 2 + math.cos(b) * math.cos(d) * math.sin((c - a) / 2) ** 2
    return 2 * 6_371_008.8 * math.asin(math.sqrt(half))


@dataclass
class Happened:
    """What is known at an instant: changes of other rules, and where vessels are (None: forgotten)."""

    changes: list[Transition] = field(default_factory=list)
    places: dict[int, tuple[float, float] | None] = field(default_factory=dict)
    deaf_until: int = 0


@dataclass
class Alert:
    since: int
    due: int | None = None  # when it fires, or is over
    firing: bool = False
    step: int = 0


@dataclass
class Oracle:
    """``rules``: each after those that it speaks of; ``kinds``: of the subjects of every rule."""

    rules: list[CombinedRule]
    kinds: Mapping[str, str]
    subjects: list[Who]
    places: dict[Who, tuple[float, float] | None]
    held: dict[str, set[tuple[Who, str]]] = field(default_factory=dict)
    alerts: dict[tuple[str, Who], Alert] = field(default_factory=dict)
    deaf: list[tuple[int, int]] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    texts: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    def run(self, events: Mapping[tuple[int, int], Happened], start: int, end: int) -> list[Told]:
        """Everything from a time to a tick."""
        self.texts = {rule.id: rule.body["when"] for rule in self.rules}
        step = 5 * MINUTE  # calendars of these tests change every so often, or not so often
        marks = {(at, DUE) for at in range(start - start % step, end, step)}
        at = (start, -1)
        while True:
            dues = [(alert.due, DUE) for alert in self.alerts.values() if alert.due is not None and alert.due < end]
            later = [key for key in (*events, *marks, *dues) if key > at and key < (end, DUE)]
            if not later:
                return self.told
            at = min(later)
            self._at(*at, events.get(at, Happened()))

    def _at(self, known: int, sort: int, event: Happened) -> None:
        if sort == DEAF:
            self._put_off(known, event.deaf_until)
            return
        for change in event.changes:
            self._hear(change.rule_id, (change.subject.kind.value, change.subject.id), change.key, change.state)
        self.places |= {("transponder", vessel): place for vessel, place in event.places.items()}
        for rule in self.rules:
            for who in self.subjects:
                self._look(rule, who, known, timer=sort == DUE)

    def _hear(self, rule: str, who: Who, key: str, state: AlertState) -> None:
        held = self.held.setdefault(rule, set())
        (held.discard if state is AlertState.RESOLVED else held.add)((who, key))

    def _of(self, rule: str) -> set[Who]:
        return {who for who, _ in self.held.get(rule, ())}

    def _look(self, rule: CombinedRule, who: Who, known: int, *, timer: bool) -> None:
        members: set[Who] = set()
        in_force = self._in_force(rule, known)
        holds = self._true(rule, self.texts[rule.id], who, members) and who in self._of(rule.about) and in_force
        alert = self.alerts.get((rule.id, who))
        ripe = alert is not None and alert.due is not None and timer and alert.due <= known
        step = sum(len(members) >= level.at_least for level in rule.levels or ())
        if alert is None:
            if not holds:
                return
            alert = self.alerts[rule.id, who] = Alert(known, self._later(known, rule.for_))
            ripe = not rule.for_
        if not alert.firing:
            if not holds:
                del self.alerts[rule.id, who]
            elif ripe:
                alert.firing, alert.due, alert.step = True, None, step
                self._tell(rule, who, "firing", known, alert, members)
            return
        if holds:
            alert.due = None
            if step != alert.step:
                event = "escalated" if step > alert.step else "deescalated"
                alert.step = step
                self._tell(rule, who, event, known, alert, members)
            return
        if in_force and rule.keep_firing_for and not ripe:
            alert.due = alert.due or self._later(known, rule.keep_firing_for)
            return
        del self.alerts[rule.id, who]
        self._tell(rule, who, "resolved", known, alert, members)

    def _tell(self, rule: CombinedRule, who: Who, event: str, at: int, alert: Alert, members: Iterable[Who]) -> None:
        severity = ([rule.severity] + [level.severity for level in rule.levels or ()])[alert.step].value
        ids = tuple(sorted(number for _, number in members))
        self.told.append((rule.id, *who, event, at, alert.since, severity, ids))
        self._hear(rule.id, who, "", AlertState.RESOLVED if event == "resolved" else AlertState.FIRING)

    def _true(
        self, rule: CombinedRule, when: Mapping[str, Any], who: Who, members: set[Who], *, against: bool = False
    ) -> bool:
        """By the rule's own text."""
        if "not" in when:
            return not self._true(rule, when["not"], who, members, against=not against)
        for key, of in (("all", all), ("any", any)):
            if key in when:
                return of([self._true(rule, part, who, members, against=against) for part in when[key]])
        found = self._of(when["rule"])
        join = when.get("join") or self._join(rule, when)
        if join == "same":
            return who in found
        if join == "near":
            within, here = when.get("within_m", rule.within_m), self.places.get(who)
            found = {
                other
                for other in found
                if here and (there := self.places.get(other)) and haversine(here, there) <= within
            }
        if not against:
            members |= found
        return len(found) >= int(when.get("at_least", 1))

    def _join(self, rule: CombinedRule, when: Mapping[str, Any]) -> str:
        if "within_m" in when:
            return "near"
        kinds = {self.kinds[rule.about], self.kinds[when["rule"]]}
        if when["rule"] == rule.about or kinds == {"transponder"}:
            return "same"
        return "near" if rule.within_m is not None else "any"

    def _in_force(self, rule: CombinedRule, time: int) -> bool:
        there = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time)
        clock = there.strftime("%H:%M")
        return rule.hours is None or any(hours[:5] <= clock < hours[6:] for hours in rule.hours)

    def _later(self, since: int, duration: int) -> int:
        """With the rest of a time in which nothing can be heard, if it begins in one."""
        rest = max((until for start, until in self.deaf if start <= since), default=since)
        return max(since, rest) + duration

    def _put_off(self, since: int, until: int) -> None:
        if until - since <= MINUTE:
            return
        self.deaf.append((since, until))
        for (name, _), alert in self.alerts.items():
            rule = next(rule for rule in self.rules if rule.id == name)
            if alert.due is not None and alert.due >= since:
                duration = rule.keep_firing_for if alert.firing else rule.for_
                alert.due = max(alert.due + until - since, until + min(duration, 10 * MINUTE))
