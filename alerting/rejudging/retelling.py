"""One alert told again by rows: as they came, and from each review on that moved the engine, as it went on. Pure.

A review (``alerting.rejudging.review``) has the engine go on as if nothing had come late up to a tick. What was told
after it follows from that: rows taken in time up to the tick, and after it as they came. So each such tick has a
telling of its own, which counts from there to the next; an alert that fired by a review is told by its telling only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from alerting.engine import Engine
from alerting.judging.hearing import kept
from alerting.model import AlertState
from alerting.rejudging.in_time import in_time
from alerting.rejudging.instants import instant, iso
from alerting.rejudging.review import IN_TIME_UNTIL
from decoders.arrival import before, joined

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from alerting.model import Memory, Transition
    from alerting.registry.register import Registry
    from alerting.rules import Rule
    from decoders.records import Observations
    from geofence.zones import Zone

#: What changes of the engine follow from rows, and for which reasons they do not.
_CHANGES: Final = frozenset({"escalated", "deescalated", "resolved"})
_NOT_OF_ROWS: Final = frozenset({"withdrawn", "edited", "forgotten", "late_data"})


@dataclass(slots=True)
class _Telling:
    """``cut``: the tick up to which rows are taken in time; None: they all are as they came."""

    cut: int | None
    engine: Engine
    begun: bool


@dataclass(slots=True, frozen=True)
class Known:
    """What is known beside the rows: rules, zones, registry, what was before, and when nothing could be heard."""

    rules: Sequence[Rule]  # the alert's is the last
    zones: Sequence[Zone]
    registry: Registry
    before: Memory
    deaf: Sequence[tuple[int, int]] = ()


class Retelling:
    """Rows are given in order of arrival, in parts that end at every tick of ``cuts`` and beginning of a deaf span."""

    def __init__(self, known: Known, alert: Mapping[str, Any], history: Sequence[Mapping[str, Any]]) -> None:
        self._alert, self._deaf = alert, dict(known.deaf)
        self.cuts = cuts(alert, history)  # ticks, as they end parts
        self.told: list[Transition] = []  # of the alert
        self._parts: list[Observations] = []
        late = bool(self.cuts) and fired_with(history).get("reason") == "late_data"
        ends = [tick - 1 for tick in self.cuts]
        self._tellings = [_telling(known, cut) for cut in (ends if late else [None, *ends])]

    def take(self, rows: Observations, tick: int) -> None:
        """What was received before ``tick`` and not given yet."""
        self._parts.append(rows)
        for telling in self._tellings:
            if telling.begun:
                self._note(telling, telling.engine.judge(rows, tick).transitions)
            elif telling.cut == tick - 1:
                self._parts = [joined(self._parts)]
                self._begin(telling, telling.engine.judge(in_time(self._parts[0]), telling.cut).transitions)
            if telling.begun and tick in self._deaf:
                telling.engine.deaf(tick, self._deaf[tick])

    def rows(self) -> Observations:
        """All that was given."""
        self._parts = [joined(self._parts)]
        return self._parts[0]

    def _begin(self, telling: _Telling, transitions: Sequence[Transition]) -> None:
        telling.begun = True
        if telling is self._tellings[0]:  # the alert fired by it, as it stood by then
            mine = [t for t in transitions if self._is_mine(t) and t.state is not AlertState.RESOLVED]
            self.told += [replace(t, known=telling.cut or 0) for t in mine[-1:]]

    def _note(self, telling: _Telling, transitions: Sequence[Transition]) -> None:
        if telling is self._tellings[0]:
            mine = [t for t in transitions if self._is_mine(t)]
        else:  # after a review an alert may stand for an episode that began at another time
            mine = [t for t in transitions if self._is_of_mine(t)]
        if telling is [one for one in self._tellings if one.begun][-1]:
            self.told += mine

    def _is_mine(self, told: Transition) -> bool:
        return str(told.alert_id) == str(self._alert["id"])

    def _is_of_mine(self, told: Transition) -> bool:
        about = [told.rule_id, told.subject.kind.value, str(told.subject.id), told.key]
        return about == [str(self._alert[name]) for name in ("rule_id", "subject_kind", "subject_id", "key")]


def _telling(known: Known, cut: int | None) -> _Telling:
    engine = Engine(known.rules, known.zones, registry=known.registry)
    spans = [] if cut is None else [kept(span for span in known.deaf if span[0] <= cut)]
    engine.restore(replace(known.before, states=spans))
    return _Telling(cut, engine, cut is None)


def retell(
    known: Known, alert: Mapping[str, Any], history: Sequence[Mapping[str, Any]], rows: Observations, until: int
) -> list[Transition]:
    """What numbered rows received before ``until`` tell of an alert."""
    telling = Retelling(known, alert, history)
    ticks = {*telling.cuts, *(since for since, _ in known.deaf)}
    for tick in [*sorted(tick for tick in ticks if tick < until), until]:
        part, rows = before(rows, tick)
        telling.take(part, tick)
    return telling.told


def cuts(alert: Mapping[str, Any], history: Sequence[Mapping[str, Any]]) -> list[int]:
    """The ticks right after those up to which reviews of an alert took rows in time, first to last."""
    found = {row["details"][IN_TIME_UNTIL] for row in history if IN_TIME_UNTIL in row["details"]}
    fired = fired_with(history)
    if fired.get("reason") == "late_data" and IN_TIME_UNTIL not in fired:
        found.add(alert["known_at"])  # by a version that did not say
    return sorted(instant(str(text)) + 1 for text in found)


def fired_with(history: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The details that an alert was first told with."""
    found: Mapping[str, Any] = next((row["details"] for row in history if row["change"] == "firing"), {})
    return found


def differences(facts: Mapping[str, Any], told: Sequence[Transition]) -> list[tuple[str, Any, Any]]:
    """In what an alert and its changes by the engine, as stored, are others than those told: (what, was, now).

    Changes by people are theirs. What came late and revised or retracted it is another telling, and what a change of
    the rules, of zones or want of room ended, no rows did; nor is what was recorded after a zone went out of force
    that it stands on (``zones_until`` of the facts) found by the zone as it was.
    """
    alert, first = facts["alert"], told[0]
    zones_until = facts.get("zones_until")
    after = {(t.event.value, t.at): t.severity.value for t in told}
    found: list[tuple[str, Any, Any]] = [("time", instant(alert["fired_at"]), first.at)]
    severity = first.severity.value
    for change in facts["history"]:
        if change["change"] == "revised":
            severity = alert["severity"]
        if change["actor"] != "engine" or change["change"] not in _CHANGES:
            continue
        if zones_until is not None and instant(change["recorded_at"]) >= instant(zones_until):
            severity = change["details"].get("severity", severity)
        elif change["details"].get("reason") not in _NOT_OF_ROWS:
            said = (change["change"], instant(change["at"]))
            found.append((f"change ({said[0]})", said[1], said[1] if said in after else None))
            severity = after.get(said, severity)
    found.append(("severity", alert["severity"], severity))
    return [(what, _text(was), _text(now)) for what, was, now in found if was != now]


def _text(value: object) -> object:
    """As a person reads it."""
    return iso(value) if isinstance(value, int) else "none" if value is None else value
