"""Combined rules at work: a second look at each batch, once all other rules have found what they find.

What a combined rule goes by are the changes that other rules found, and where those they hold of are. So it walks
through a batch in order of what was known when: changes, fixes of vessels that matter, and its own timers. At each such
instant everything that was known at it is taken in first, all rows of a message at once, and then the rule is put to
the subjects concerned, each combined rule after those that it speaks of. Its own changes sort after what they follow
from, at the end of the instant.

* Times are those at which things became known (receive times, or deadlines): rows of several subjects have no other
  clock in common. A burst of old data is judged as it comes.
* With ``for`` the conditions must hold so long before the alert fires, and with ``keep_firing_for`` they must not hold
  for so long before it is over. Time in which nothing could be heard does not count (``alerting.judging.hearing``).
* A rule that goes out of force is over there and then, and one that comes into force looks at what holds.
* What rules hold of, and where everyone is, is worked out anew after a restart: only what is under way is kept.
* A rule one of whose ``all`` holds of nobody sleeps: no row is looked at for it.

``capacity``: a vessel that is forgotten (``geofence.tracks``) is near nothing, and what lasted of it has ended.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Final

import numpy as np

from alerting.combined.episodes import Alerts, Episode
from alerting.combined.findings import Findings
from alerting.combined.places import Place, Places
from alerting.combined.plan import plans
from alerting.judging.outcome import Order
from alerting.model import AlertState, Event, SubjectKind
from alerting.rules.base import END
from alerting.rules.devices import OnDevices
from decoders.identity import metric_id
from geofence.moves import Stretch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from collections.abc import Set as AbstractSet

    from numpy.typing import NDArray

    from alerting.combined.places import Instant, Who
    from alerting.combined.plan import Plan
    from alerting.judging.heard import Heard
    from alerting.judging.hearing import Hearing
    from alerting.judging.outcome import Outcome, Ruled
    from alerting.model import RuleState, Transition
    from alerting.registry.names import Names
    from alerting.registry.register import Registry
    from alerting.rules.base import BaseRule

    Told = tuple[Order, Transition]

#: As the message of a change: after all there can be at an instant. And it follows from no row alone.
_AFTER, _NO_ROW = 2**62, -1
_NEVER: Final = (END, True)


@dataclass(slots=True)
class _Event:
    """What was known at an instant."""

    changes: list[Transition] = field(default_factory=list)
    moves: list[tuple[int, int, Place | None]] = field(default_factory=list)  # row, vessel, and where it is now
    look: bool = False  # at everything


class Combined:
    """All combined rules. To be judged after all others."""

    def __init__(self, ruled: Sequence[Ruled], names: Names, registry: Registry, hearing: Hearing) -> None:
        self._plans = plans(ruled)
        self._by_rule = {plan.rule.id: plan for plan in self._plans}
        self._hearing = hearing
        self._places = Places(names, registry)
        self._spoken = {name for plan in self._plans for name in plan.rule.spoken}
        self._findings = Findings(self._spoken, self._places)
        self._alerts = Alerts(names, self._findings, self._places)
        self._episodes: list[dict[Who, Episode]] = [{} for _ in self._plans]
        self._timers: list[tuple[int, int, Who]] = []  # (deadline, plan, subject), at most one of each episode
        self._timed: set[tuple[int, Who]] = set()
        self._edges: dict[int, int] = {}  # plan -> when it next comes into force, or goes out of it
        self._vessels: frozenset[int] = frozenset()  # whose rows matter
        self._ids = np.empty(0, np.int64)  # the same, sorted
        self._restless = bool(self._plans)  # whose rows matter may have changed
        self._since: int | None = None  # until when it was judged before a restart
        self._fresh = False
        #: Rows that were looked at one by one.
        self.rows = 0

    # --- what is kept

    def restore(self, listened: int | None) -> None:
        """Begin where another engine ended, which had judged up to a receive time, if that is known."""
        self._fresh, self._since = bool(self._plans), listened

    def take_up(self, kept: RuleState) -> bool:
        """Take up an episode; False if it is not of a rule in use, or is about something else now."""
        plan, who = self._by_rule.get(kept.rule_id), (kept.subject_kind, kept.subject_id)
        if plan is None or plan.kind is not kept.subject_kind:
            return False
        self._episodes[plan.number][who] = Episode.restore(kept.state or {})
        self._time(plan, who)
        return True

    def hold(self, kept: RuleState) -> None:
        """Another rule (or one of these) has an open episode from before a restart."""
        said = kept.state or {}
        if kept.rule_id in self._spoken and said.get("alert"):
            since = said.get("started_at", said.get("since"))
            self._findings.take(kept.rule_id, (kept.subject_kind, kept.subject_id), said["alert"], since)

    def without_place(self, heard: Iterable[tuple[int, int]]) -> set[Who]:
        """Of devices and metrics that were heard, the devices that nothing can be near, though a rule asks for that."""
        leaves: dict[str, BaseRule] = {leaf.rule: leaf.of.rule for plan in self._plans for leaf in plan.near}
        leaves |= {plan.rule.about: self._about(plan) for plan in self._plans if plan.near}
        watched: dict[int, list[OnDevices]] = {}
        for rule in leaves.values():
            if isinstance(rule, OnDevices):
                for name in rule.watched:
                    watched.setdefault(metric_id(name), []).append(rule)
        out: set[Who] = set()
        for device, metric in heard:
            who = (SubjectKind.DEVICE, device)
            asked = watched.get(metric)
            if asked is None or self._places.of(who) is not None:
                continue
            name = self._alerts.subject(who).name
            if any(rule.applies_to(name) for rule in asked):
                out.add(who)
        return out

    def _about(self, plan: Plan) -> BaseRule:
        """The rule that is not a combined one, whose subjects a combined rule is about."""
        while (other := self._by_rule.get(plan.rule.about)) is not None:
            plan = other
        return next(leaf.of.rule for leaf in plan.leaves if leaf.rule == plan.rule.about)

    # --- one batch

    def judge(self, heard: Heard, found: Iterable[Told], out: Outcome) -> None:
        """Judge what other rules found in a batch, and what is due."""
        if not self._plans:
            return
        told = sorted((one for one in found if one[1].rule_id in self._spoken), key=lambda one: one[0])
        if told or self._restless:
            self._vessels, awake = self._mattering([transition for _, transition in told])
            self._ids = np.array(sorted(self._vessels), np.int64)
            self._places.begin(heard, self._vessels)
            for plan in self._plans:
                (self._findings.wake if plan.number in awake else self._findings.sleep)(plan)
        else:
            self._places.begin(heard, self._vessels)
        self._restless = bool(told)
        events = self._events(heard, told)
        if self._fresh:
            events.setdefault((heard.now, False), _Event()).look = True
            self._mind_edges(heard.now if self._since is None else self._since)
            self._fresh = False
        waiting = sorted(events, reverse=True)
        while True:
            timer = min(*self._edges.values(), self._timers[0][0] if self._timers else END, END)
            instant = min((timer, True) if timer < heard.now else _NEVER, waiting[-1] if waiting else _NEVER)
            if instant == _NEVER:
                break
            event = events[waiting.pop()] if waiting and waiting[-1] == instant else _Event()
            self._step(instant, event, out)

    def _mattering(self, told: Iterable[Transition]) -> tuple[frozenset[int], set[int]]:
        """The vessels whose rows matter until the end of a batch, and the rules that are awake in it."""
        fired: dict[str, set[Who]] = {}
        for transition in told:
            if transition.state is not AlertState.RESOLVED:
                fired.setdefault(transition.rule_id, set()).add((transition.subject.kind, transition.subject.id))

        def possible(rule: str) -> Iterator[AbstractSet[Who]]:
            """Of whom a rule may hold before the batch ends."""
            yield self._findings.held(rule).keys()
            yield fired.get(rule, frozenset())
            if (plan := self._by_rule.get(rule)) is not None:
                yield from possible(plan.rule.about)

        awake = [plan for plan in self._plans if all(any(possible(rule)) for rule in plan.needed)]
        rules = {rule for plan in awake if plan.near for rule in (plan.rule.about, *(leaf.rule for leaf in plan.near))}
        found = {who for rule in rules for some in possible(rule) for who in some}
        vessels = frozenset(number for kind, number in found if kind is SubjectKind.TRANSPONDER)
        return vessels, {plan.number for plan in awake}

    def _events(self, heard: Heard, told: Iterable[Told]) -> dict[Instant, _Event]:
        events: dict[Instant, _Event] = {}
        for order, transition in told:
            events.setdefault(order[:2], _Event()).changes.append(transition)
        if not self._vessels:
            return events
        received = heard.observations.positions["received_at"]
        for entry in heard.advance.log:
            if isinstance(entry, Stretch):
                for i in np.flatnonzero(_among(entry.transponder, self._ids) & (entry.row >= 0)).tolist():
                    row, fix = int(entry.row[i]), entry.fix(i)
                    moves = events.setdefault((int(received[row]), False), _Event()).moves
                    moves.append((row, int(entry.transponder[i]), Place(fix.lon, fix.lat, fix.time)))
                    self.rows += 1
            else:
                gone = entry.state["transponder"]
                for vessel in gone[_among(gone, self._ids)].tolist():
                    moves = events.setdefault((int(received[entry.row]), False), _Event()).moves
                    moves.append((entry.row, vessel, None))
        return events

    def _step(self, instant: Instant, event: _Event, out: Outcome) -> None:
        """Take in what was known at an instant, and put the rules to whom it concerns."""
        self._places.stand(instant)
        changed: set[tuple[str, Who]] = set()
        for transition in event.changes:
            self._hear(transition, changed)
        for _, vessel, place in sorted(event.moves, key=lambda move: move[0]):
            self._places.moved(vessel, place)
        moved = {(SubjectKind.TRANSPONDER, vessel) for _, vessel, _ in event.moves}
        due = self._due(instant)
        for plan in self._plans:
            concerned = self._findings.concerned(plan, changed, moved)
            concerned |= {who for number, who in due if number == plan.number}
            if event.look or (instant[1] and self._edges.get(plan.number, END) <= instant[0]):
                self._edges.pop(plan.number, None)
                concerned |= self._findings.held(plan.rule.about).keys() | self._episodes[plan.number].keys()
            for who in sorted(concerned):
                self._settle(plan, who, instant, changed, out)
        self._mind_edges(instant[0])

    def _hear(self, transition: Transition, changed: set[tuple[str, Who]]) -> None:
        if transition.rule_id in self._spoken and self._findings.hear(transition):
            changed.add((transition.rule_id, (transition.subject.kind, transition.subject.id)))

    def _settle(self, plan: Plan, who: Who, instant: Instant, changed: set[tuple[str, Who]], out: Outcome) -> None:
        """What the conditions come to for a subject now."""
        known, episodes = instant[0], self._episodes[plan.number]
        in_force = plan.ruled.in_force(known)
        holds = in_force and self._findings.awake(plan) and who in self._findings.held(plan.rule.about)
        holds = holds and plan.holds(lambda leaf: self._findings.truth(plan, leaf, who))
        if who not in episodes and not holds:
            return
        before = replace(episodes[who]) if who in episodes else None
        episode = episodes.setdefault(who, Episode(known))
        event = self._turn(plan, who, episode, instant, holds=holds, in_force=in_force)
        if event is not None:
            episode.at = max(known, episode.at)
            reason = None if event is not Event.RESOLVED else "conditions" if in_force else "not_in_force"
            transition = self._alerts.transition(plan, who, episode, event, reason)
            step = int(event is not Event.RESOLVED)
            out.add(Order(*instant, _AFTER, plan.number, _NO_ROW, plan.ruled.number, "", step), transition)
            self._hear(transition, changed)
        if event is Event.RESOLVED or (episode.pending and not holds):
            del episodes[who]
            out.remember(plan.rule.id, self._alerts.subject(who), "", None)
        elif episode != before:
            kept = episode.kept(plan, self._alerts.id(plan, who, episode))
            out.remember(plan.rule.id, self._alerts.subject(who), "", kept)
            self._time(plan, who)

    def _turn(
        self, plan: Plan, who: Who, episode: Episode, instant: Instant, *, holds: bool, in_force: bool
    ) -> Event | None:
        """What becomes of an episode, and that for its alert; None: nothing."""
        if not holds:
            if episode.pending:
                return None
            episode.lapsed = instant[0] if episode.lapsed is None else episode.lapsed
            over = not in_force or not plan.rule.keep_firing_for or self._ripe(plan, episode, instant)
            return Event.RESOLVED if over else None
        episode.lapsed = None
        before = episode.step
        step = plan.rule.step(self._alerts.count(plan, who)) if plan.rule.levels else 0
        if episode.pending and plan.rule.for_ and not self._ripe(plan, episode, instant):
            return None
        episode.step = step
        if episode.pending:
            return Event.FIRING
        return None if step == before else Event.ESCALATED if step > before else Event.DEESCALATED

    # --- timers

    def _deadline(self, plan: Plan, episode: Episode) -> int:
        """When an episode has been pending, or over, for long enough; ``END`` if it is neither."""
        if episode.pending:
            return self._hearing.deadline(episode.since, plan.rule.for_)
        return END if episode.lapsed is None else self._hearing.deadline(episode.lapsed, plan.rule.keep_firing_for)

    def _ripe(self, plan: Plan, episode: Episode, instant: Instant) -> bool:
        """Whether it has been so for long enough: a deadline has passed after what was known at that very instant."""
        return instant[1] and self._deadline(plan, episode) <= instant[0]

    def _time(self, plan: Plan, who: Who) -> None:
        """See to it that an episode is looked at when it has been pending, or over, for long enough."""
        deadline = self._deadline(plan, self._episodes[plan.number][who])
        if deadline < END and (plan.number, who) not in self._timed:
            self._timed.add((plan.number, who))
            heappush(self._timers, (deadline, plan.number, who))

    def _mind_edges(self, known: int) -> None:
        """See to it that rules are put again to what holds when they next come into force, or go out of it."""
        for plan in self._plans:
            if plan.number not in self._edges and (self._findings.held(plan.rule.about) or self._episodes[plan.number]):
                self._edges[plan.number] = plan.ruled.next_edge(known)

    def _due(self, instant: Instant) -> set[tuple[int, Who]]:
        """Whose episodes are due at an instant. They are not timed any more."""
        due: set[tuple[int, Who]] = set()
        while instant[1] and self._timers and self._timers[0][0] <= instant[0]:
            _, number, who = heappop(self._timers)
            self._timed.discard((number, who))
            if (episode := self._episodes[number].get(who)) is not None:
                if self._deadline(self._plans[number], episode) <= instant[0]:
                    due.add((number, who))
                else:
                    self._time(self._plans[number], who)  # of a later episode, or put off since
        return due


def _among(column: NDArray[np.int64], ids: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which are among ids, which are sorted and not none."""
    at = np.searchsorted(ids, column).clip(max=len(ids) - 1)
    out: NDArray[np.bool_] = ids[at] == column
    return out
