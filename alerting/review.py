"""Looking at an alert again, once rows of its time and subject came late. Pure.

Rows that come late are not judged as if they were new. But what was told of the time they speak of may be wrong: the
level was not held after all, or the vessel was in the zone an hour earlier. So the rule is put to everything that is
stored of the subject, twice: in the order in which it came, which must give the alert as it was told, and in the order
in which it happened, as if all had been received at once. What is left of the alert in the second telling decides:

* nothing: it is *retracted*;
* an episode that began or ended at another time, with another value or greatest severity, or several of them: it is
  *revised*, and says what was told before;
* the same: nothing is said.

Both tellings come from the engine itself. An alert that the first does not find again (its rule has changed, its rows
are gone, its episode began before what was read) is left as it is. No alert is made: history wakes nobody up.

A silence is about what was heard and when, which rows that came late do not change: ``no_data`` is not looked at. Nor
is a combined rule, which goes by what was known when.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from alerting import messages
from alerting.engine import Engine
from alerting.model import AlertState, Event, Severity, Transition
from decoders.records import Observations, take

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from numpy.typing import NDArray

    from alerting.model import Memory
    from alerting.rules import Rule
    from geofence.zones import Zone

    Table = NDArray[np.void]

#: Kinds of rules about what was heard or known when, and not about what it said.
ABOUT_HEARING: Final = frozenset({"no_data", "gap", "feed_silent", "combined"})
_TABLES: Final = ("statics", "positions", "readings")


@dataclass(slots=True)
class _Episode:
    first: Transition
    worst: Severity
    ended_at: int | None = None

    @property
    def said(self) -> dict[str, Any]:
        """What of it is told, and compared. JSON-ready."""
        return {
            "since": messages.iso(self.first.started_at),
            "until": None if self.ended_at is None else messages.iso(self.ended_at),
            "value": self.first.value,
            "severity": self.worst.value,
        }

    def overlaps(self, other: _Episode) -> bool:
        """Whether both were there at one time, the ends included."""
        mine, its = (2**62 if e.ended_at is None else e.ended_at for e in (self, other))
        return self.first.started_at <= its and other.first.started_at <= mine


def review(
    alert: UUID, rule: Rule, zones: Sequence[Zone], before: Memory, observations: Observations, at: int
) -> Transition | None:
    """What is to be said of an alert now.

    Args:
        alert: its id.
        rule: as it was when the alert was raised.
        zones: those that the rule speaks of, as they were.
        before: what was known before the observations.
        observations: all that is stored of the subject from some time before the alert on, in order of arrival.
        at: the time of the change, microseconds: of the same rows always the same.
    """
    if rule.kind in ABOUT_HEARING:
        return None
    told = _episodes(rule, zones, before, observations)
    was = told.get(alert)
    if was is None:
        return None
    found = _episodes(rule, zones, before, in_time(observations)).values()
    same = sorted(
        (e for e in found if e.first.key == was.first.key and e.overlaps(was)), key=lambda e: e.first.started_at
    )
    if not same:
        text = messages.retracted(rule, was.first.subject.name)
        return replace(
            was.first,
            state=AlertState.RESOLVED,
            change=Event.RETRACTED,
            at=at,
            summary_en=text.en,
            summary_vi=text.vi,
            details={**was.first.details, "reason": "late_data", "was": was.said},
        )
    now = same[0]
    if len(same) == 1 and now.said == was.said:
        return None
    text = messages.revised(messages.Text(now.first.summary_en, now.first.summary_vi))
    return replace(
        now.first,
        alert_id=alert,
        started_at=was.first.started_at,
        change=Event.REVISED,
        severity=now.worst,
        at=at,
        summary_en=text.en,
        summary_vi=text.vi,
        details={
            **now.first.details,
            "reason": "late_data",
            "was": was.said,
            "now": [episode.said for episode in same],
        },
    )


def _episodes(rule: Rule, zones: Sequence[Zone], before: Memory, observations: Observations) -> dict[UUID, _Episode]:
    engine = Engine([rule], zones)
    engine.restore(before)
    tables = [table for name in _TABLES if len(table := getattr(observations, name))]
    if not tables:
        return {}
    found: dict[UUID, _Episode] = {}
    for told in engine.judge(observations, max(int(t["received_at"].max()) for t in tables)).transitions:
        episode = found.setdefault(told.alert_id, _Episode(told, told.severity))
        episode.worst = max(episode.worst, told.severity, key=lambda severity: severity.rank)
        if told.state is AlertState.RESOLVED:
            episode.ended_at = told.at
    return found


def in_time(observations: Observations) -> Observations:
    """The same, as if each row had been received at the time it speaks of. Of one time, what came first is first."""
    rows = [(name, getattr(observations, name)) for name in _TABLES]
    times = np.concatenate([table["time"] for _, table in rows])
    came = np.concatenate([table["message"] for _, table in rows])
    order = np.lexsort((came, times))
    number = np.empty(len(order), np.int64)
    number[order] = np.arange(len(order))
    out = Observations(messages=len(order), names=observations.names)
    start = 0
    for name, table in rows:
        mine = number[start : start + len(table)]
        start += len(table)
        moved = take(table, np.argsort(mine))
        moved["message"] = np.sort(mine)
        moved["received_at"] = moved["time"]
        setattr(out, name, moved)
    return out
