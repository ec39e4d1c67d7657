"""MQTT: publish of the payload as JSON with QoS 1, taken for sent when the broker's PUBACK says so.

The library's own ``publish`` returns normally when the broker refuses a publish (an ACL, a quota): the reason code of
the PUBACK is looked at here. MQTT 3.1.1 has no such code, so there a refused publish cannot be told from a taken one.
The outbox is the session: the connection starts clean, and a publish whose PUBACK never came is published again.
"""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import urlsplit

import aiomqtt
import orjson
from paho.mqtt.client import MQTT_CLEAN_START_FIRST_ONLY, MQTT_ERR_SUCCESS

from alerting.channels.base import PermanentFailure, TemporaryFailure, foreign_errors

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from paho.mqtt.client import Client as PahoClient
    from paho.mqtt.properties import Properties
    from paho.mqtt.reasoncodes import ReasonCode

    from alerting.channels.settings import MqttSettings
    from alerting.desk.outbox import QueuedNotification

#: PUBACK reason codes (MQTT 5, 3.4.2.1) that another try of the same message will meet again.
PERMANENT: Final = frozenset(
    {
        0x87,  # not authorized
        0x90,  # topic name invalid
        0x99,  # payload format invalid
    }
)
#: From here on a reason code is a failure (MQTT 5, 2.4).
FAILURE: Final = 0x80
#: MQTT 5, 1.5.4: the longest UTF-8 encoded string.
_MAX_TOPIC_BYTES: Final = 65_535


class Mqtt:
    """A ``Channel``. Connects at the first send, and again at the next send after a connection broke."""

    def __init__(self, settings: MqttSettings) -> None:
        self._settings = settings
        parts = urlsplit(settings.url)
        self._host = parts.hostname or ""
        self._port = parts.port or (8883 if parts.scheme == "mqtts" else 1883)
        self._target = f"{self._host}:{self._port}"
        self._tls = _tls(settings) if parts.scheme == "mqtts" else None
        self._connection: asyncio.Task[_Connection] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if (task := self._connection) is not None:
            self._connection = None
            # A connection being made is made in a thread, which cannot be stopped: wait, then close it.
            with suppress(aiomqtt.MqttError, OSError):
                await (await task).close()

    async def send(self, notification: QueuedNotification) -> None:
        topic = render(self._settings.topic, notification.payload)
        with foreign_errors(self._target):
            async with asyncio.timeout(self._settings.timeout_seconds):
                connection = await self._connected()
                try:
                    reason = await connection.publish(topic, orjson.dumps(notification.payload), self._settings.retain)
                except asyncio.CancelledError:
                    # No acknowledgement in time: a connection that takes bytes and answers nothing helps nobody.
                    connection.drop()
                    raise
        if reason.value in PERMANENT:
            raise PermanentFailure(f"{self._target}: publish to {topic} refused: {reason}")
        if reason.value >= FAILURE:
            raise TemporaryFailure(f"{self._target}: publish to {topic} not taken: {reason}")

    async def _connected(self) -> _Connection:
        """The standing connection, or a new one. Senders at the same time share one attempt."""
        task = self._connection
        if task is not None and task.done() and (task.cancelled() or task.exception() or task.result().broken):
            task = None
        if task is None:
            task = self._connection = asyncio.create_task(self._connect(), name=f"mqtt connect {self._target}")
        return await asyncio.shield(task)

    async def _connect(self) -> _Connection:
        settings = self._settings
        five = settings.protocol == "5"
        connection = _Connection(
            self._host,
            self._port,
            identifier=settings.client_id,
            username=settings.username,
            password=settings.password.get_secret_value() if settings.password else None,
            protocol=aiomqtt.ProtocolVersion.V5 if five else aiomqtt.ProtocolVersion.V311,
            clean_start=True if five else MQTT_CLEAN_START_FIRST_ONLY,
            clean_session=None if five else True,
            timeout=settings.timeout_seconds,
            tls_context=self._tls,
        )
        await connection.open()
        return connection


class _Connection(aiomqtt.Client):
    """One connection, used once. The only place that touches the library's private parts."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._reasons: dict[int, asyncio.Future[ReasonCode]] = {}

    @property
    def broken(self) -> bool:
        """Whether the connection has ended."""
        return self._disconnected.done()

    async def open(self) -> None:
        try:
            await self.__aenter__()
        except BaseException:
            # The library leaves the socket open where the broker accepts the connection and then says nothing.
            self._client._sock_close()  # noqa: SLF001
            raise

    def drop(self) -> None:
        """End it at once, without a word: what waits for an acknowledgement on it fails."""
        if not self._disconnected.done():
            self._client._sock_close()  # noqa: SLF001
            self._disconnected.set_exception(aiomqtt.MqttError("connection dropped"))
            self._disconnected.exception()  # seen: not to be reported as never retrieved

    async def close(self) -> None:
        try:
            await self.__aexit__(None, None, None)
        finally:
            if self._disconnected.done():
                self._disconnected.exception()  # seen: not to be reported as never retrieved

    async def publish(self, topic: str, payload: bytes, retain: bool) -> ReasonCode:  # type: ignore[override]
        """Publish with QoS 1 and return the reason code of the PUBACK.

        Raises:
            aiomqtt.MqttError: the connection broke before it came.
        """
        info = self._client.publish(topic, payload, qos=1, retain=retain)
        if info.rc != MQTT_ERR_SUCCESS:
            raise aiomqtt.MqttCodeError(info.rc, "could not publish")
        # Acknowledgements are read on this loop, so none can have come between the two lines.
        reason: asyncio.Future[ReasonCode] = self._loop.create_future()
        self._reasons[info.mid] = reason
        try:
            await asyncio.wait((reason, self._disconnected), return_when=asyncio.FIRST_COMPLETED)
        finally:
            del self._reasons[info.mid]
        if not reason.done():
            raise aiomqtt.MqttError("disconnected before the acknowledgement") from self._disconnected.exception()
        return reason.result()

    def _on_publish(
        self, client: PahoClient, userdata: Any, mid: int, reason_code: ReasonCode, properties: Properties
    ) -> None:
        reason = self._reasons.get(mid)
        if reason is not None and not reason.done():
            reason.set_result(reason_code)
        super()._on_publish(client, userdata, mid, reason_code, properties)


def render(template: str, payload: Mapping[str, Any]) -> str:
    """The topic of one notification. What could make a level more, fewer or a wildcard becomes ``_``."""
    fields = {
        "rule": payload["rule"],
        "alert_id": payload["alert_id"],
        "severity": payload["severity"],
        "state": payload["state"],
        "event": payload["event"],
        "subject_kind": payload["subject"]["kind"],
        "subject_id": payload["subject"]["id"],
    }
    topic = template
    for name, value in fields.items():
        topic = topic.replace(f"{{{name}}}", "".join("_" if c in "/+#" or not c.isprintable() else c for c in value))
    if len(topic.encode()) > _MAX_TOPIC_BYTES:
        raise PermanentFailure("the topic is longer than MQTT allows")
    return topic


class TlsSocket(ssl.SSLSocket):
    """Closed where the handshake fails: paho lets go of it open."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise


def _tls(settings: MqttSettings) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=settings.ca_file)
    context.sslsocket_class = TlsSocket
    if settings.cert_file is not None:
        context.load_cert_chain(settings.cert_file, settings.key_file)
    return context
