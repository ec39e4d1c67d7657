"""The rules at work: observations in, transitions of alerts out. Pure: it reads no clock and does no I/O.

The engine judges rows in arrival order, each against the state that the rows before it left; time comes in as receive
times of rows and as ``now``, the tick that ends a batch. What comes out depends on the rows, their order and the last
tick alone, not on how rows fell into batches: a timer that ran out between two rows fires at its deadline, whether or
not a batch ended in between. So a process that was killed and one that was not come to the same tables.

For that ``now`` must not run ahead of rows still to come: it is at least the receive time of every row of the batch,
and at most that of the next row to be judged.

A rule in shadow mode is judged like all others. Its alerts have ids of their own (``model.shadow_id``) and are marked.
One that is only a condition of combined rules (``alerting.combined``) is judged likewise, and nothing is told of it.
When its mode changes, the alerts it has open are closed as what they were, and whatever holds then fires anew.

An engine is thrown away, and a new one restored, when a batch it judged could not be committed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

from alerting import messages
from alerting.combined.part import Combined
from alerting.judging.heard import Heard
from alerting.judging.hearing import Hearing
from alerting.judging.lateness import late
from alerting.judging.outcome import ASKS, FORM, Order, Outcome, Ruled, marks, readable
from alerting.judging.series import Series
from alerting.model import AlertState, Event, Severity, Subject, SubjectKind, Transition, shadow_id
from alerting.readings.figures import Figures
from alerting.readings.links import Links
from alerting.readings.places import Places
from alerting.readings.silence import Silence
from alerting.readings.thresholds import Thresholds
from alerting.registry.names import Names
from alerting.registry.register import UNREGISTERED
from alerting.rules import ScopedRule
from alerting.rules.base import Mode
from alerting.vessels.part import Vessels
from alerting.zones.fences import Fences
from geofence.tracks import CAPACITY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from alerting.judging.heard import Part
    from alerting.model import LookBack, Memory, RuleState, Verdict
    from alerting.registry.register import Registry
    from alerting.rules import Rule
    from decoders.records import Observations
    from geofence.zones import Zone


class Engine:
    """All rules over all subjects.

    Args:
        rules: those of a rule book; disabled ones are passed over.
        zones: every zone that a rule speaks of; others are passed over.
        registry: what is known of vessels and devices beside what they send.
        names: (kind, id) -> name, for subjects known beforehand.
        capacity: how many transponders to remember (``geofence.tracks``).

    Raises:
        ValueError: two rules share an id, or a rule speaks of a zone or a rule that is not there.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        zones: Sequence[Zone],
        *,
        registry: Registry = UNREGISTERED,
        names: Mapping[tuple[str, int], str] | None = None,
        capacity: int = CAPACITY,
    ) -> None:
        if len({rule.id for rule in rules}) < len(rules):
            raise ValueError("two rules share an id")
        ruled = [Ruled(rule, n, rule.version, *rule.window) for n, rule in enumerate(rules) if rule.enabled]
        self._modes = {r.rule.id: (r.rule.mode, r.version) for r in ruled}
        self._channels = {r.rule.id: r.rule.channels for r in ruled if r.rule.channels is not None}
        self._rules = {r.rule.id: r.rule for r in ruled}
        self._marks = {r.rule.id: marks(r.rule) for r in ruled}
        self._registry = registry
        places = Places(registry, zones)
        self._names = Names(names, registry=registry, capacity=capacity)
        self._series = Series()
        self._hearing = Hearing()
        self._thresholds = Thresholds(ruled, self._names, places, self._series, self._hearing)
        self._silence = Silence(ruled, self._names, places, self._series, self._hearing)
        self._links = Links(ruled, self._names, self._series, self._hearing)
        self._figures = Figures(ruled, self._names, places, self._series)
        self._fences = Fences(ruled, zones, self._names, registry, capacity=capacity)
        self._vessels = Vessels(ruled, zones, self._names, registry, self._hearing, self._fences.ships)
        # Vessels before fences, which learn the batch's ship types.
        self._parts: tuple[Part, ...] = (
            *(self._thresholds, self._figures, self._silence, self._links),
            *(self._vessels, self._fences),
        )
        self._combined = Combined(ruled, self._names, registry, self._hearing)
        self._withdrawn: list[tuple[RuleState, str]] = []  # and why
        self._now = -(2**62)

    def restore(self, memory: Memory, *, edited: bool = False) -> None:
        """Become what an engine would be that had never stopped. To be called once, before the first ``judge``.

        Rules that look back on readings have them again by ``recall``. Episodes of rules that are gone, are of another
        kind now, ask something else now (``BaseRule.asks``), or no longer cover their subject, are closed by the next
        ``judge``; so are those that were left behind in a form that is not read any more.

        Args:
            memory: what the database remembers.
            edited: whether rules, zones or the registry may be others than those that what is remembered was judged by.
                Who is inside of what is new or another is then judged by the next ``judge``, without waiting to be
                heard again.
        """
        self._names.restore(memory.names)
        if memory.readings is not None:
            self._series.restore(memory.readings)
            self._silence.restore(memory.readings)
            self._figures.restore(memory.readings)
        self._links.restore(memory.positions, memory.readings)
        self._fences.restore(memory.positions, memory.ship_types, memory.static_times, memory.first_seen)
        if memory.positions is not None:
            self._vessels.restore(memory.positions, memory.first_seen)
        for state in memory.states:
            if state.state is None:
                continue
            rule = self._rules.get(state.rule_id)
            known = readable(state, rule) and (rule is None or self._in_mode(state.state, rule))
            kept = replace(state, state={name: said for name, said in state.state.items() if name not in (FORM, ASKS)})
            asks = self._marks.get(state.rule_id, {}).get(ASKS)
            another = known and rule is not None and state.state.get(ASKS, asks) != asks
            if known and not another and not self._dropped(kept, rule) and self._take_up(kept):
                self._combined.hold(kept)
            else:
                self._withdrawn.append((state, "edited" if another else "withdrawn"))
        self._combined.restore(memory.listened)
        if edited:
            self._fences.reconsider()

    @staticmethod
    def _in_mode(state: Mapping[str, Any], rule: Rule) -> bool:
        """Whether what is open was told, or not told, as the rule has it now."""
        return not state.get("alert") or _mode(state) is rule.mode

    def _take_up(self, state: RuleState) -> bool:
        if self._hearing.restore(state) or any(part.take_up(state) for part in self._parts):
            return True
        return self._combined.take_up(state)

    def _dropped(self, kept: RuleState, rule: Rule | None) -> bool:
        """Whether an alert is about somebody whom its rule is not about by the registry as it is now.

        Asked for the time for which it was asked when the alert fired: as long as the registry says the same, the same.
        """
        state = kept.state or {}
        if not isinstance(rule, ScopedRule) or not rule.scope.asks_registry or not state.get("alert"):
            return False
        about = state.get("about", [kept.subject_id])
        return any(rule.dropped(transponder, self._registry, state["started_at"]) for transponder in about)

    def looks_back(self) -> LookBack:
        """After ``restore``: which stored readings rules want again (``recall``)."""
        return self._figures.looks_back()

    def held(self) -> dict[tuple[int, str], Mapping[str, object]]:
        """What rules on figures hold of readings now, beside their alerts: by device and part, JSON-ready."""
        return self._figures.held()

    def recall(self, readings: NDArray[np.void]) -> None:
        """Take stored readings again (READING rows), in arrival order, before the first ``judge``. Nothing is judged.

        All that ``looks_back`` asked for; in any number of parts, of which none has only some of a device and metric.
        """
        self._figures.recall(readings)

    def deaf(self, since: int, until: int) -> None:
        """Nothing could be heard between two receive times (microseconds), neither row nor tick:
        ``alerting.judging.hearing``.

        To be called before the first row or tick at or after ``until`` is judged, or after ``restore``, with the last
        receive time known to it. It lasts once the next ``judge`` is committed.
        """
        self._hearing.deaf(since, until)

    @property
    def forgotten(self) -> int:
        """How many transponders were forgotten for want of room."""
        return self._fences.tracks.evicted

    def without_place(self) -> list[str]:
        """Devices that were heard and are asked to be near something, of which the registry knows no place; by name."""
        heard = zip(self._series.device.tolist(), self._series.metric.tolist(), strict=True)
        return sorted(self._names.subject(*who).name for who in self._combined.without_place(heard))

    @property
    def looked_at(self) -> int:
        """How many rows combined rules have looked at one by one."""
        return self._combined.rows

    def judge(self, observations: Observations, now: int) -> Verdict:
        """Judge a batch, rows in arrival order, and what is due by ``now`` (microseconds UTC)."""
        self._names.learn(observations.names)
        out = Outcome(self._marks)
        self._now = max(
            self._now,
            now,
            *(int(t["received_at"][-1]) for t in (observations.positions, observations.readings) if len(t)),
        )
        self._withdraw(out)
        withdrawn = len(out.found)
        self._fences.look_anew(self._now, out)
        out.keep(self._hearing.unsaid())
        readings, late_readings = self._series.advance(observations.readings)
        merged = self._fences.tracks.advance(observations.positions)
        heard = Heard(observations, readings, self._fences.apart.advance(merged), merged, self._now)
        for part in self._parts:
            part.judge(heard, out)
        self._combined.judge(heard, out.found[withdrawn:], out)
        verdict = out.verdict(observations, late_positions=merged.late, late_readings=late_readings)
        verdict.late = [*late(heard), *out.late]
        going_on = self._going_on(verdict.transitions)
        found = (
            self._in_its_mode(self._described(transition))
            for transition in verdict.transitions
            if transition.alert_id not in going_on
        )
        verdict.transitions = [told for told in found if told is not None]
        return verdict

    @staticmethod
    def _going_on(transitions: Sequence[Transition]) -> set[UUID]:
        """Alerts of edited rules that would end and fire anew at once: by what the rule asks now, they go on."""
        ended = {told.alert_id for told in transitions if told.details.get("reason") == "edited"}
        return ended and {
            told.alert_id for told in transitions if told.alert_id in ended and told.event is Event.FIRING
        }

    def _described(self, told: Transition) -> Transition:
        """With what the registry says of its subject, and where a device stands."""
        if told.subject.kind is SubjectKind.TRANSPONDER:
            carried = self._registry.carrier(told.subject.id, told.started_at)
            if carried is None:
                return told
            said = {"transponder": self._names.transponder(told.subject.id).name, "vessel": carried.told()}
            return replace(told, details={**told.details, **said})
        site = self._registry.site(told.subject.name) if told.subject.kind is SubjectKind.DEVICE else None
        if site is None:
            return told
        lon, lat = (told.lon, told.lat) if site.place is None else site.place
        return replace(told, lon=lon, lat=lat, details={**told.details, "site": site.told()})

    def _in_its_mode(self, transition: Transition) -> Transition | None:
        """A change as its rule has it told; None: not at all."""
        mode, version = self._modes.get(transition.rule_id, (Mode.LIVE, ""))
        mode = mode if version == transition.rule_version else Mode.LIVE  # of before it was edited
        if mode is Mode.CONDITION:
            return None
        if transition.event is Event.FIRING and (channels := self._channels.get(transition.rule_id)) is not None:
            transition = replace(transition, channels=channels)
        if not transition.shadow and mode is not Mode.SHADOW:
            return transition
        return replace(transition, shadow=True, alert_id=shadow_id(transition.alert_id))

    def _withdraw(self, out: Outcome) -> None:
        """Close what no rule watches any more."""
        for old, reason in self._withdrawn:
            state = old.state or {}
            if "name" in state:  # what is told of by that alone
                self._names.restore({(old.subject_kind.value, old.subject_id): state["name"]})
            subject = self._names.subject(old.subject_kind, old.subject_id, state.get("started_at"))
            if state.get("alert") and _mode(state) is not Mode.CONDITION:
                out.add(
                    Order(self._now, True, 0, 0, old.subject_id, -1, old.key, 0),
                    self._closed(old, state, subject, reason),
                )
            out.remember(old.rule_id, subject, old.key, None)
        self._withdrawn.clear()

    def _closed(self, old: RuleState, state: Mapping[str, Any], subject: Subject, reason: str) -> Transition:
        title = state["title"]
        assert isinstance(title, dict)
        started_at = state["started_at"]
        assert isinstance(started_at, int)
        text = (messages.edited if reason == "edited" else messages.withdrawn)(title, subject.name)
        return Transition(
            alert_id=UUID(str(state["alert"])),
            rule_id=old.rule_id,
            rule_version=str(state["version"]),
            subject=subject,
            key=old.key,
            state=AlertState.RESOLVED,
            severity=Severity(str(state["severity"])),
            at=max(self._now, started_at),
            started_at=started_at,
            summary_en=text.en,
            summary_vi=text.vi,
            zone_id=state.get("zone", old.key) if old.subject_kind is SubjectKind.TRANSPONDER else None,
            details={"title": title, "reason": reason},
            shadow=bool(state.get("shadow")),
        )


def _mode(state: Mapping[str, Any]) -> Mode:
    """The mode that a rule was in when it left a state behind."""
    return next((mode for mode in (Mode.SHADOW, Mode.CONDITION) if state.get(mode.value)), Mode.LIVE)
