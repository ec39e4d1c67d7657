"""A webhook: POST of the payload as JSON, signed, to an address that was judged before connecting.

Headers: ``X-Haidang-Notification-Id`` and ``Idempotency-Key`` (the same id whenever the same notification is sent
again), ``X-Haidang-Event``, and, with a secret, ``X-Haidang-Signature`` (``alerting.channels.signature``).
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Self

import httpx
import orjson

from alerting.channels import http, signature
from alerting.channels.addresses import resolve
from alerting.channels.base import foreign_errors

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from alerting.channels.settings import WebhookSettings
    from alerting.desk.outbox import QueuedNotification

#: Addresses of one name that are tried within one send.
_MAX_ADDRESSES = 4


class Webhook:
    """A ``Channel``. ``clock`` is unix time, seconds: the signature carries it."""

    def __init__(self, settings: WebhookSettings, *, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._clock = clock
        self._url = httpx.URL(settings.url)
        self._host = self._url.raw_host.decode("ascii")
        self._port = self._url.port or (443 if self._url.scheme == "https" else 80)
        self._target = f"{self._host}:{self._port}"
        secrets = (settings.secret, settings.previous_secret)
        self._secrets = [secret.get_secret_value().encode() for secret in secrets if secret is not None]
        self._client = http.client(connections=settings.concurrency, ca_file=settings.ca_file)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def send(self, notification: QueuedNotification) -> None:
        body = orjson.dumps(notification.payload)
        headers = self._headers(notification, body)
        with foreign_errors(self._target):
            deadline = asyncio.get_running_loop().time() + self._settings.timeout_seconds
            async with asyncio.timeout_at(deadline):
                addresses = await resolve(self._host, self._port, self._settings.allow_networks)
            await self._post(addresses[:_MAX_ADDRESSES], body, headers, deadline)

    async def _post(self, addresses: list[str], body: bytes, headers: dict[str, str], deadline: float) -> None:
        """To the first address that lets us connect. The name stays in Host and in the TLS handshake."""
        connect = httpx.Timeout(None, connect=self._settings.timeout_seconds / len(addresses))
        extensions = {"sni_hostname": self._host, "timeout": connect.as_dict()}
        for address in addresses:
            try:
                await http.post(
                    self._client,
                    self._url.copy_with(host=address),
                    content=body,
                    headers=headers,
                    now=self._clock(),
                    deadline=deadline,
                    extensions=extensions,
                )
            except (httpx.ConnectError, httpx.ConnectTimeout):
                if address == addresses[-1]:
                    raise
            else:
                return

    def _headers(self, notification: QueuedNotification, body: bytes) -> dict[str, str]:
        headers = {name: value.get_secret_value() for name, value in self._settings.headers.items()}
        headers |= {
            "Host": self._url.netloc.decode("ascii"),
            "User-Agent": "haidang",
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",
            "X-Haidang-Notification-Id": str(notification.id),
            "X-Haidang-Event": notification.event,
            "Idempotency-Key": str(notification.id),
        }
        if self._secrets:
            headers[signature.HEADER] = signature.sign(self._secrets, body, int(self._clock()))
        return headers
