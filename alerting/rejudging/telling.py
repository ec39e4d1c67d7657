"""A telling: the episodes that a rule makes of the rows of a subject, and what an engine holds after them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from alerting import messages
from alerting.engine import Engine
from alerting.model import AlertState, RuleState, Severity, Transition
from alerting.readings.figures import METER
from alerting.rejudging.in_time import in_time
from decoders.arrival import before

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from alerting.rejudging.case import Case

_FAR: Final = 2**62
_SECOND: Final = 1_000_000


@dataclass(slots=True)
class Episode:
    first: Transition
    last: Transition  # that was not its end
    worst: Severity
    end: Transition | None = None

    @property
    def until(self) -> int | None:
        """The event time of its end; of a gap in what a vessel sends: of the fix that ended it."""
        if self.end is None:
            return None
        if self.is_gap:
            return self.first.started_at + int(self.end.details.get("silent_seconds", 0)) * _SECOND
        return self.end.at

    @property
    def said(self) -> dict[str, Any]:
        """What of it is told, and compared. JSON-ready."""
        return {
            "since": messages.iso(self.first.started_at),
            "until": None if self.until is None else messages.iso(self.until),
            "value": self.first.value,
            "severity": self.worst.value,
        }

    def overlaps(self, other: Episode, *, ends: bool) -> bool:
        """Whether both were there at one time, their ``ends`` included; but where one gap ends another may begin."""
        mine, its = (_FAR if e.end is None else e.end.at for e in (self, other))
        if self.is_gap or not ends:
            return self.first.started_at < its and other.first.started_at < mine
        return self.first.started_at <= its and other.first.started_at <= mine

    @property
    def is_gap(self) -> bool:
        return self.first.details.get("kind") == "gap"


@dataclass(slots=True)
class Telling:
    """By the id that an episode's alert would have; and what the engine keeps."""

    episodes: dict[UUID, Episode]
    states: dict[str, RuleState]  # by key
    meters: dict[str, RuleState]
    held: Mapping[Any, Any]  # by its meters

    def lasting(self) -> dict[str, UUID]:
        """By key, the episode that is not over."""
        return {e.first.key: id_ for id_, e in self.episodes.items() if e.end is None}


def tell(case: Case, cut: int | None, keys: frozenset[str] | None, *, done: bool = False) -> Telling:
    """What the rule makes of the rows: taken in time up to a tick (``done``: they are), and after it as they came."""
    engine = Engine([case.rule], case.zones, registry=case.registry)
    engine.restore(case.before)
    first, rest = before(case.rows, -_FAR if cut is None else cut + 1)
    episodes: dict[UUID, Episode] = {}
    states: dict[str, RuleState] = {}
    meters: dict[str, RuleState] = {}
    mine, told = (case.subject.kind, case.subject.id), []
    if cut is not None:
        told.append(engine.judge(case.rows if done else in_time(first), cut))
    if cut is None or (cut < case.now and not done):
        rest.names = case.rows.names
        told.append(engine.judge(rest, case.now))
    for verdict in told:
        for found in verdict.transitions:
            if (found.subject.kind, found.subject.id) == mine and (keys is None or found.key in keys):
                _add(episodes, found)
        for state in verdict.states:
            if (state.subject_kind, state.subject_id) != mine:
                continue
            if state.rule_id == METER:
                meters[state.key] = state
            elif state.rule_id == case.rule.id and (keys is None or state.key in keys):
                states[state.key] = state
    kept = {key: state for key, state in states.items() if state.state is not None}
    return Telling(episodes, kept, meters, engine.held())


def _add(episodes: dict[UUID, Episode], found: Transition) -> None:
    episode = episodes.setdefault(found.alert_id, Episode(found, found, found.severity))
    episode.worst = max(episode.worst, found.severity, key=lambda severity: severity.rank)
    if found.state is AlertState.RESOLVED:
        episode.end = found
    else:
        episode.last = found
