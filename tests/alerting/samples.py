"""Transitions and claimed rows to try things with."""

from __future__ import annotations

from alerting.desk.notify import ChannelSpec, notifications
from alerting.desk.outbox import QueuedNotification
from alerting.model import AlertState, Event, Severity, Subject, SubjectKind, Transition, alert_id

START = 1_795_000_000_000_000  # 2026-11-18, microseconds
SUBJECT = Subject(SubjectKind.TRANSPONDER, 574_123_456, "BV-90123-TS")
ALL_EVENTS = frozenset(Event)


def transition(
    state: AlertState = AlertState.FIRING,
    *,
    rule: str = "vms.gap",
    severity: Severity = Severity.MAJOR,
    subject: Subject = SUBJECT,
    start: int = START,
    after: int = 60_000_000,
    value: float | None = 6.5,
) -> Transition:
    return Transition(
        alert_id=alert_id(rule, subject, "key", start),
        rule_id=rule,
        rule_version="5f0c",
        subject=subject,
        key="key",
        state=state,
        severity=severity,
        at=start + after,
        started_at=start,
        summary_en="No position for 6.5 h",
        summary_vi="Mất tín hiệu 6,5 giờ",
        value=value,
        zone_id="lagoon",
        lon=107.64,
        lat=16.55,
        details={"unit": "h", "threshold": 6.0},
    )


def queued(moved: Transition, channel: str = "hook", *, attempts: int = 0) -> QueuedNotification:
    [row] = notifications([moved], [ChannelSpec(channel, events=ALL_EVENTS)], link="https://hd.example/a/{id}")
    return QueuedNotification(row.id, row.alert_id, row.channel, row.event, dict(row.payload), attempts)
