"""Who is told of what: from the engine's transitions to outbox rows. Pure.

The payload is what every channel renders from, and what a webhook receives as its body. Its form is a contract with
receivers (``SCHEMA``): fields are added, never renamed or given another meaning.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final

from alerting.model import Event, Notification, Severity, Transition, notification_id
from decoders.catalogue import METRICS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

SCHEMA: Final = "haidang.notification/1"

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


#: What a channel is told of unless it says otherwise: that it is there, all that alters what was told, and its end.
TOLD: Final = frozenset(event for event in Event if not event.by_people)


@dataclass(slots=True, frozen=True)
class ChannelSpec:
    """Which notifications a channel gets."""

    name: str
    min_severity: Severity = Severity.INFO
    events: frozenset[Event] = TOLD
    rules: tuple[str, ...] = ("*",)  # globs on the rule id, any of which may match; case matters
    carries: frozenset[Event] = frozenset(Event)  # what can be said through it at all

    def wants(self, transition: Transition) -> bool:
        """Whether it is told of a change like this, if the alert is or was severe enough for it."""
        return transition.event in self.events and any(
            fnmatchcase(transition.rule_id, pattern) for pattern in self.rules
        )

    @property
    def groups(self) -> bool:
        """Whether it is told how many alerts an incident has, so that it need not be told of each."""
        return Event.GROUPED in self.events and Event.GROUPED in self.carries

    def suits(self, transition: Transition) -> bool:
        """Whether a change says that the alert is or was severe enough for it."""
        worst = Severity(transition.details.get("worst_severity", transition.severity))
        return max(transition.severity.rank, worst.rank) >= self.min_severity.rank


def notifications(
    transitions: Iterable[Transition], channels: Sequence[ChannelSpec], *, link: str | None = None
) -> list[Notification]:
    """One row for each transition and each channel that wants it, in the order of the transitions.

    What was once severe enough for a channel it is told to the end: what is not, or does not say that it was, has a row
    all the same, to be dropped if the channel was told nothing of the alert before (``Notification.if_told``).
    Ids are ``model.notification_id``: told twice of the same transition, the same rows come out. ``link`` is the
    address of an alert's page, in which ``{id}`` is replaced. Of what rules in shadow mode find, nobody is told.
    Channels that an alert's rule leaves out are left out when its rows are queued: by what the rule said when it fired.
    """
    rows: list[Notification] = []
    for transition in transitions:
        takers = [] if transition.shadow else [channel for channel in channels if channel.wants(transition)]
        if transition.event is Event.FIRING:
            takers = [channel for channel in takers if channel.suits(transition)]
        if not takers:
            continue
        shared = payload(transition, link=link)
        event = transition.event
        for channel in takers:
            at = transition.at if event.repeats else None
            row_id = notification_id(transition.alert_id, event.value, channel.name, at)
            rows.append(
                Notification(
                    id=row_id,
                    alert_id=transition.alert_id,
                    channel=channel.name,
                    event=event.value,
                    at=transition.at,
                    payload={**shared, "notification_id": str(row_id)},
                    if_told=not channel.suits(transition),
                    known=transition.known,
                    groups=channel.groups,
                )
            )
    return rows


def payload(transition: Transition, *, link: str | None = None) -> dict[str, Any]:
    """What there is to say about one transition, JSON-ready: no NaN, no numbers a double cannot hold exactly."""
    details = _json_ready(transition.details)
    return {
        "schema": SCHEMA,
        "event": transition.event.value,
        "alert_id": str(transition.alert_id),
        "rule": transition.rule_id,
        "rule_version": transition.rule_version,
        "severity": transition.severity.value,
        "state": transition.state.value,
        # As text: ids of devices use 63 bits, and most readers of JSON keep 53.
        "subject": {
            "kind": transition.subject.kind.value,
            "id": str(transition.subject.id),
            "name": transition.subject.name,
        },
        "key": transition.key,
        "at": iso_z(transition.at),
        "started_at": iso_z(transition.started_at),
        "value": _number(transition.value),
        "unit": _unit(details),
        "zone": transition.zone_id,
        "lon": _number(transition.lon),
        "lat": _number(transition.lat),
        "summary_en": transition.summary_en,
        "summary_vi": transition.summary_vi,
        "details": details,
        "link": link_to(link, transition.alert_id),
    }


def link_to(link: str | None, alert_id: UUID) -> str | None:
    """``link`` with ``{id}`` replaced; other braces stay as they are."""
    return None if link is None else link.replace("{id}", str(alert_id))


def iso_z(microseconds: int) -> str:
    """Microseconds since the epoch as ISO 8601 in UTC: ``2026-11-23T20:30:00.000000Z``."""
    moment = _EPOCH + timedelta(microseconds=microseconds)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _unit(details: Mapping[str, Any]) -> str | None:
    unit = details.get("unit")
    if isinstance(unit, str):
        return unit
    metric = METRICS.get(str(details.get("metric")))
    return metric.unit if metric else None


def _number(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _json_ready(value: Any) -> Any:
    """A copy in plain JSON types; numbers that JSON cannot say are null."""
    if hasattr(value, "item"):  # a NumPy scalar
        value = value.item()
    if value is None or isinstance(value, bool | str | int):
        return value
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, Mapping):
        return {str(key): _json_ready(item) for key, item in value.items()}
    if isinstance(value, Iterable):
        return [_json_ready(item) for item in value]
    return str(value)
