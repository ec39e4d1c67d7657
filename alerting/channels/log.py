"""The log: one structured line for each notification. It cannot fail, and is the channel to start with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self

import structlog

if TYPE_CHECKING:
    from types import TracebackType

    from alerting.channels.settings import LogSettings
    from alerting.desk.outbox import QueuedNotification

_FIELDS: Final = (
    "alert_id",
    "rule",
    "severity",
    "state",
    "subject",
    "zone",
    "value",
    "unit",
    "at",
    "started_at",
    "summary_en",
    "summary_vi",
)


class Log:
    """A ``Channel``."""

    def __init__(self, settings: LogSettings) -> None:
        self._log = structlog.get_logger("haidang.alerts").bind(channel=settings.name)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to close."""

    async def send(self, notification: QueuedNotification) -> None:
        payload = notification.payload
        fields = {name: payload.get(name) for name in _FIELDS}
        level = self._log.warning if notification.event == "firing" else self._log.info
        level(f"alert.{notification.event}", notification_id=str(notification.id), **fields)
