"""How detectors tell of an alert: the same fields and the same order for all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from alerting.judging.outcome import POSITIONS, Order
from alerting.model import AlertState, Event, Severity, Transition, alert_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from alerting.judging.outcome import Outcome, Ruled
    from alerting.messages import Text
    from alerting.model import Subject
    from alerting.vessels.fixes import Fix


@dataclass(slots=True)
class Alert:
    """One that is firing. Event times."""

    id: UUID
    started_at: int
    at: int  # of its last change
    severity: Severity

    @classmethod
    def restore(cls, state: Mapping[str, Any]) -> Alert | None:
        """As ``kept`` said; None if there is none in it."""
        if not state.get("alert"):
            return None
        return cls(UUID(state["alert"]), state["started_at"], state["at"], Severity(state["severity"]))

    def kept(self, ruled: Ruled) -> dict[str, Any]:
        """What a state must hold of it, JSON-ready."""
        return {"alert": str(self.id), "at": self.at, "zone": None} | ruled.left_behind(self.started_at, self.severity)


@dataclass(slots=True, frozen=True)
class When:
    """When something was known, and by what: a row, or a deadline of a subject."""

    known: int
    timer: bool
    message: int
    kind: int
    row: int

    @classmethod
    def of(cls, fix: Fix) -> When:
        """At the arrival of a fix."""
        return cls(fix.received, False, fix.message, POSITIONS, fix.row)

    @classmethod
    def due(cls, deadline: int, subject: int) -> When:
        """At a deadline."""
        return cls(deadline, True, 0, POSITIONS, subject)


class Teller:
    """Tells of the alerts of one rule."""

    def __init__(self, ruled: Ruled) -> None:
        self.ruled = ruled

    def fire(
        self,
        out: Outcome,
        when: When,
        subject: Subject,
        key: str,
        started_at: int,
        at: int,
        text: Text,
        details: Mapping[str, Any],
        *,
        place: tuple[float, float] | None = None,
        value: float | None = None,
        severity: Severity | None = None,
    ) -> Alert:
        """A new alert."""
        rule = self.ruled.rule
        alert = Alert(alert_id(rule.id, subject, key, started_at), started_at, at, severity or rule.severity)
        self.change(out, when, subject, key, alert, Event.FIRING, at, text, details, place=place, value=value)
        return alert

    def change(
        self,
        out: Outcome,
        when: When,
        subject: Subject,
        key: str,
        alert: Alert,
        event: Event,
        at: int,
        text: Text,
        details: Mapping[str, Any],
        *,
        place: tuple[float, float] | None = None,
        value: float | None = None,
    ) -> None:
        """What became of an alert. The severity is that of ``alert``, and its time becomes ``at`` if that is later."""
        over = event in {Event.RESOLVED, Event.RETRACTED}
        alert.at = max(alert.at, at)
        out.add(
            Order(when.known, when.timer, when.message, when.kind, when.row, self.ruled.number, key, 0 if over else 1),
            Transition(
                alert_id=alert.id,
                rule_id=self.ruled.rule.id,
                rule_version=self.ruled.version,
                subject=subject,
                key=key,
                state=AlertState.RESOLVED if over else AlertState.FIRING,
                severity=alert.severity,
                at=alert.at,
                started_at=alert.started_at,
                summary_en=text.en,
                summary_vi=text.vi,
                value=value,
                lon=place[0] if place else None,
                lat=place[1] if place else None,
                details={**self.ruled.told(), **details},
                change=None if event.value in {"firing", "resolved"} else event,
            ),
        )
