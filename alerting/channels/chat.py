"""Chat services and SMS gateways by the library Apprise, an optional part (``pip install 'haidang[chat]'``).

The library blocks, follows redirects, heeds proxies of the environment and connects to whatever its URLs name: the
address policy of the webhook does not hold here. It says that a service did not take a notification, and seldom why,
so every failure is temporary. Each service is called in a thread of its own that nobody waits for at the end of the
process. One that hangs is not called again for the same notification before it comes back, and only so often for
others.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Self

from alerting.channels.base import TemporaryFailure
from alerting.channels.daemon import in_daemon
from alerting.channels.parts import Parts
from alerting.channels.services import reasons, service
from alerting.channels.text import Written, write

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType
    from uuid import UUID

    from alerting.channels.parts import Part
    from alerting.channels.settings import AppriseSettings
    from alerting.desk.outbox import QueuedNotification

_OVER: Final = frozenset({"resolved", "retracted", "closed", "incident_over"})
_TYPES: Final = {"info": "info", "warning": "warning"}


class Chat:
    """A ``Channel``."""

    def __init__(self, settings: AppriseSettings) -> None:
        self._settings = settings
        self._services: dict[str, Any] = {}
        for number, url in enumerate(settings.urls, start=1):
            made = service(url.get_secret_value(), f"url {number}")
            self._services[f"url {number} ({made.service_name})"] = made
        self._parts = Parts()
        self._busy: set[tuple[str, UUID]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to close; threads that hang die with the process."""

    async def send(self, notification: QueuedNotification) -> None:
        written = write(self._settings, notification.payload)
        type_ = _type(notification.event, notification.payload)
        part = self._parts.of(notification.id)
        calls: dict[asyncio.Task[str | None], str] = {}
        failed: list[str] = []
        for name in part.open(list(self._services)):
            hanging = sum(1 for busy, _ in self._busy if busy == name)
            if (name, notification.id) in self._busy:
                failed.append(f"{name}: an earlier try has not come back")
            elif hanging >= self._settings.concurrency:
                failed.append(f"{name}: {hanging} earlier calls have not come back")
            else:
                self._busy.add((name, notification.id))
                call = asyncio.create_task(in_daemon(self._call, name, notification.id, part, written, type_))
                calls[call] = name
        if calls:
            done, late = await asyncio.wait(calls, timeout=self._settings.timeout_seconds)
            failed += [f"{calls[one]}: {reason}" for one in done if (reason := one.result()) is not None]
            failed += [f"{calls[one]}: no answer in {self._settings.timeout_seconds:g} s" for one in late]
            for one in late:
                one.cancel()
        if failed:
            raise TemporaryFailure("; ".join(sorted(failed)))
        self._parts.forget(notification.id)

    def _call(self, name: str, id_: UUID, part: Part, written: Written, type_: str) -> str | None:
        """In its own thread: None if the service took it, or why not. One that took it late has taken it."""
        try:
            reasons.take()
            if self._services[name].notify(body=written.body, title=written.subject, notify_type=type_):
                part.taken.add(name)
                return None
            return f"not taken: {reasons.take()}"
        except Exception as error:  # noqa: BLE001  # plugins by many hands; the words may hold secrets
            return f"failed: {type(error).__name__}"
        finally:
            self._busy.discard((name, id_))


def _type(event: str, payload: Mapping[str, Any]) -> str:
    """Apprise's kinds of message, which services show as colours."""
    if event in _OVER:
        return "success"
    return _TYPES.get(str(payload.get("severity")), "failure")
