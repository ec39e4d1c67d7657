"""What came of judging a span again: how many alerts, when, about whom, for how long, and how they differ from others.

An alert is *of the span* if it became known within it: by receive time, as duty officers live through it. Two runs tell
of the same alert if rule, subject, key and start are the same, which is what its id is made of.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from statistics import fmean, median
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from alerting.model import AlertState, Severity
from alerting.rules import Waits
from decoders.arrival import before

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from alerting.engine import Engine
    from alerting.model import Transition
    from alerting.rules import Rule
    from decoders.records import Observations

_SECOND: Final = 1_000_000
_DAY: Final = 86_400 * _SECOND
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

#: How many subjects and shifts a summary names.
_NAMED: Final = 20


class Identity(NamedTuple):
    """What the id of an alert is made of (``model.alert_id``)."""

    rule: str
    subject_kind: str
    subject: int
    key: str
    started_at: int


@dataclass(slots=True)
class Episode:
    """One alert, from its beginning to its end as far as it is known. Times are microseconds UTC."""

    identity: Identity
    id: str
    subject_name: str
    severity: str  # the greatest it had
    known: int  # when it became known, by receive time
    fired_at: int
    summary_en: str = ""
    ended_at: int | None = None
    retracted: bool = False

    def said(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "id": self.id,
            "rule": self.identity.rule,
            "subject": self.subject_name,
            "key": self.identity.key,
            "severity": self.severity,
            "started_at": iso(self.identity.started_at),
            "known_at": iso(self.known),
            "ended_at": None if self.ended_at is None else iso(self.ended_at),
            "retracted": self.retracted,
            "summary_en": self.summary_en,
        }


class Tally:
    """Follows alerts through the transitions of a run."""

    def __init__(self) -> None:
        self._episodes: dict[str, Episode] = {}

    def add(self, transitions: Iterable[Transition]) -> None:
        for told in transitions:
            id_ = str(told.alert_id)
            episode = self._episodes.get(id_)
            if episode is None:
                subject = told.subject
                episode = self._episodes[id_] = Episode(
                    Identity(told.rule_id, subject.kind.value, subject.id, told.key, told.started_at),
                    id_,
                    subject.name,
                    told.severity.value,
                    told.known,
                    told.at,
                    told.summary_en,
                )
            episode.severity = max(episode.severity, told.severity.value, key=lambda name: Severity(name).rank)
            if told.state is AlertState.RESOLVED:
                episode.ended_at = told.at
                episode.retracted = told.event.value == "retracted"

    def within(self, since: int, until: int) -> list[Episode]:
        """The alerts that became known from ``since`` up to, not including, ``until``, in that order."""
        found = [episode for episode in self._episodes.values() if since <= episode.known < until]
        return sorted(found, key=lambda episode: (episode.known, episode.identity))


def judged(
    engine: Engine, observations: Observations, until: int, deaf: Iterable[tuple[int, int]] = ()
) -> list[Transition]:
    """What an engine tells of numbered observations, all received before ``until``; ``deaf``: ``Engine.deaf``."""
    told: list[Transition] = []
    for since, end in sorted(deaf):
        if since < until:
            first, observations = before(observations, since)
            told += engine.judge(first, since).transitions
            engine.deaf(since, end)
    return told + engine.judge(observations, until).transitions


@dataclass(slots=True, frozen=True)
class Difference:
    """Two sets of alerts of one span."""

    both: list[Episode]
    only_draft: list[Episode]
    only_live: list[Episode]


def difference(draft: Sequence[Episode], live: Sequence[Episode]) -> Difference:
    """Which alerts are in both, which in one of them only."""
    drafted, lived = {e.identity for e in draft}, {e.identity for e in live}
    return Difference(
        both=[e for e in draft if e.identity in lived],
        only_draft=[e for e in draft if e.identity not in lived],
        only_live=[e for e in live if e.identity not in drafted],
    )


@dataclass(slots=True, frozen=True)
class Shifts:
    """When duty changes: times of the day, microseconds after midnight, in a place that much east of UTC."""

    changes: tuple[int, ...]
    east: int

    def edges(self, since: int, until: int) -> list[int]:
        """``since``, every change between, ``until``."""
        first, last = (since + self.east) // _DAY, (until + self.east) // _DAY
        days = range(first, last + 1)
        found = (day * _DAY + change - self.east for day in days for change in sorted(self.changes))
        return [since, *(edge for edge in found if since < edge < until), until]


def warm_up(rules: Iterable[Rule]) -> int:
    """How long before a span judging must begin for what the rules look back on to be there, microseconds.

    The longest duration that any of them says (a window, ``for``, ``after``, ``resolve_after``), and a day: what they
    know of each subject (where it was, what it is, what it last said) is looked up however old it is.
    """
    return max((duration for rule in rules for duration in rule.durations()), default=0) + _DAY


def warm_up_before(rules: Iterable[Rule], since: int) -> int:
    """``warm_up`` before a span that begins at an instant; of rules that learn from whole days, from midnight UTC two
    days before at the latest: then they know what they knew, unless of a subject that is seldom heard.
    """
    rules = list(rules)
    learn = any(isinstance(rule, Waits) and rule.learned for rule in rules)
    return max(warm_up(rules), since % _DAY + 2 * _DAY if learn else 0)


def summary(
    episodes: Sequence[Episode], since: int, until: int, *, rules: Iterable[Rule], shifts: Shifts
) -> dict[str, Any]:
    """How many alerts there were, JSON-ready."""
    edges = shifts.edges(since, until)
    per_shift = Counter[int]()
    for episode in episodes:
        per_shift[max(edge for edge in edges[:-1] if edge <= episode.known)] += 1
    counts = [per_shift[start] for start, _ in pairwise(edges)]
    days = (until - since) / _DAY
    return {
        "alerts": len(episodes),
        "per_day": round(len(episodes) / days, 2) if days else 0.0,
        "days": _counted((iso(e.known + shifts.east)[:10] for e in episodes), by_name=True),
        "rules": {rule.id: _of_rule(rule, [e for e in episodes if e.identity.rule == rule.id], days) for rule in rules},
        "subjects": _counted(e.subject_name for e in episodes),
        "shifts": {
            "count": len(counts),
            "mean": round(fmean(counts), 2) if counts else 0.0,
            "most": max(counts, default=0),
            "quiet": counts.count(0),
            "busiest": {iso(start): n for start, n in per_shift.most_common(_NAMED)},
        },
    }


def _of_rule(rule: Rule, episodes: Sequence[Episode], days: float) -> dict[str, Any]:
    lasted = [(e.ended_at - e.identity.started_at) / _SECOND for e in episodes if e.ended_at is not None]
    return {
        "version": rule.version,
        "alerts": len(episodes),
        "per_day": round(len(episodes) / days, 2) if days else 0.0,
        "subjects": len({(e.identity.subject_kind, e.identity.subject) for e in episodes}),
        "open": sum(e.ended_at is None for e in episodes),
        "retracted": sum(e.retracted for e in episodes),
        "seconds": {"median": median(lasted), "longest": max(lasted)} if lasted else None,
    }


def _counted(names: Iterable[str], *, by_name: bool = False) -> Mapping[str, int]:
    counts = Counter(names)
    return dict(sorted(counts.items()) if by_name else counts.most_common(_NAMED))


def iso(time: int) -> str:
    """ISO 8601 in UTC, to the second."""
    return f"{_EPOCH + timedelta(microseconds=time):%Y-%m-%dT%H:%M:%SZ}"
