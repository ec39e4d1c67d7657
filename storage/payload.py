"""Rows of state as the JSON that ``storage.statements`` take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from storage.times import iso

if TYPE_CHECKING:
    from collections.abc import Iterable

    from alerting.model import Notification


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


def notification_rows(notifications: Iterable[Notification]) -> str:
    """For ``QUEUE_NOTIFICATIONS``."""
    rows = [
        {
            "id": str(n.id),
            "alert_id": str(n.alert_id),
            "channel": n.channel,
            "event": n.event,
            "at": iso(n.at),
            "payload": n.payload,
        }
        for n in notifications
    ]
    return json_text(rows)
