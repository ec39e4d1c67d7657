"""Rows of state as the JSON that ``storage.statements`` take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from alerting.model import Event
from storage import statements
from storage.times import iso

if TYPE_CHECKING:
    from collections.abc import Iterable

    from alerting.model import Notification, RuleState, Transition


_ENDS: Final = frozenset(event.value for event in (Event.RESOLVED, Event.RETRACTED, Event.CLOSED, Event.INCIDENT_OVER))


def json_text(value: Any) -> str:
    """JSON; mappings that are no ``dict`` are written as objects.

    Raises:
        orjson.JSONEncodeError: a lone surrogate, an integer beyond 64 bits, or something that is not JSON.
    """
    return orjson.dumps(value, default=_plain).decode()


def _plain(value: Any) -> Any:
    if hasattr(value, "items"):
        return dict(value.items())
    raise TypeError(f"{type(value).__name__} is not JSON")


def changed_row(transition: Transition) -> dict[str, Any]:
    """For ``CHANGE_ALERTS`` and ``RESOLVE_ALERTS``; most of one for ``FIRE_ALERTS``."""
    return {
        "id": str(transition.alert_id),
        "change": transition.event.value,
        "state": transition.state.value,
        "at": iso(transition.at),
        "known": iso(transition.known or transition.at),
        "severity": transition.severity,
        "value": transition.value,
        "zone_id": transition.zone_id,
        "lon": transition.lon,
        "lat": transition.lat,
        "summary_en": transition.summary_en,
        "summary_vi": transition.summary_vi,
        "details": transition.details,
    }


def queueing(notifications: Iterable[Notification]) -> list[tuple[bytes, tuple[str]]]:
    """The statements, with their parameters, that queue these: to be carried out in order, after what they tell of."""
    news: list[dict[str, Any]] = []
    ends: list[dict[str, Any]] = []
    for n in notifications:
        row = {
            "id": str(n.id),
            "alert_id": str(n.alert_id),
            "channel": n.channel,
            "event": n.event,
            "at": iso(n.at),
            "payload": n.payload,
            "named": n.named,
            "if_told": n.if_told,
            "known": iso(n.known) if n.known else None,
            "groups": n.groups,
        }
        (ends if n.event in _ENDS else news).append(row)
    new = [{"id": row["id"], "known": row["known"] or row["at"]} for row in news if row["groups"]]
    both = ((statements.QUEUE_NEWS, news), (statements.HOLD_GROUPED, new), (statements.QUEUE_ENDS, ends))
    return [(statement, (json_text(rows),)) for statement, rows in both if rows]


def remembering(states: Iterable[RuleState]) -> list[tuple[bytes, tuple[str]]]:
    """The statements, with their parameters, that keep these, and forget those that are None."""
    kept: dict[tuple[str, str, int, str], dict[str, Any]] = {}
    gone: dict[tuple[str, str, int, str], dict[str, Any]] = {}
    for one in states:
        place = {"rule_id": one.rule_id, "subject_kind": one.subject_kind, "subject_id": one.subject_id, "key": one.key}
        key = (one.rule_id, str(one.subject_kind), one.subject_id, one.key)
        kept.pop(key, None)
        gone.pop(key, None)
        if one.state is None:
            gone[key] = place
        else:
            kept[key] = {**place, "state": one.state}
    both = ((statements.UPSERT_RULE_STATE, kept), (statements.DELETE_RULE_STATE, gone))
    return [(statement, (json_text(list(rows.values())),)) for statement, rows in both if rows]
