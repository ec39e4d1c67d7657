"""The alert of a ladder: one from its first level to its last, becoming more and less severe on the way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from alerting.model import AlertState, Event, Transition, alert_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from alerting.judging.outcome import Ruled
    from alerting.messages import Text
    from alerting.model import Subject
    from alerting.rules import Rung


@dataclass(slots=True)
class Standing:
    """An alert that is firing, and on which step of its ladder."""

    alert: UUID
    since: int  # event time of the episode's start
    at: int  # and of its last change
    step: int
    worst: int  # the highest step it was on

    @classmethod
    def begin(cls, rule_id: str, subject: Subject, key: str, since: int, at: int, step: int) -> Standing:
        """That of an episode that has just become an alert."""
        return cls(alert_id(rule_id, subject, key, since), since, at, step, step)

    @classmethod
    def restore(cls, state: Mapping[str, Any]) -> Standing | None:
        """As ``kept`` said; None if there is none in it."""
        if not state.get("alert"):
            return None
        since = state.get("started_at", state.get("since"))
        return cls(UUID(state["alert"]), since, state["at"], state.get("step", 0), state.get("worst", 0))

    def kept(self, ruled: Ruled, rungs: tuple[Rung, ...]) -> dict[str, Any]:
        """What a state must hold of it, JSON-ready."""
        severity = rungs[self.step].severity
        return {"alert": str(self.alert), "at": self.at, "step": self.step, "worst": self.worst} | ruled.left_behind(
            self.since, severity
        )

    def move(self, step: int, up: int, down: int) -> Event | None:
        """Go to another step, -1 being none; what that is, None if nothing. Times: of the change, by its direction."""
        if step == self.step:
            return None
        event = Event.ESCALATED if step > self.step else Event.DEESCALATED
        self.at = max(self.at, up if event is Event.ESCALATED else down)
        if step < 0:
            return Event.RESOLVED
        self.step, self.worst = step, max(step, self.worst)
        return event

    def transition(
        self,
        event: Event,
        ruled: Ruled,
        rungs: tuple[Rung, ...],
        subject: Subject,
        key: str,
        text: Text,
        value: float | None,
        said: Mapping[str, Any],
    ) -> Transition:
        """The change that led here."""
        rung = rungs[self.step]
        details = ruled.told() | {"threshold": rung.raise_, "clear": rung.clear, **said}
        if len(rungs) > 1:
            details["level"] = {"number": self.step + 1, "of": len(rungs)}
            details["worst_severity"] = rungs[self.worst].severity.value
            if rung.name:
                details["level"]["name"] = {"en": rung.name.en, "vi": rung.name.vi}
        steps = event in {Event.ESCALATED, Event.DEESCALATED}
        return Transition(
            alert_id=self.alert,
            rule_id=ruled.rule.id,
            rule_version=ruled.version,
            subject=subject,
            key=key,
            state=AlertState.RESOLVED if event is Event.RESOLVED else AlertState.FIRING,
            severity=rung.severity,
            at=self.at,
            started_at=self.since,
            summary_en=text.en,
            summary_vi=text.vi,
            value=value,
            details=details,
            change=event if steps else None,
        )
