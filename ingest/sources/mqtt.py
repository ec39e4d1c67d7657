"""MQTT at QoS 1: the broker is told only after the commit.

paho's manual acknowledgement is reached through one class, ``_Connection``, that owns every private access. Every
connection is a new client object, and an ack belongs to its connection: a packet id is reused after a reconnect,
and acking it on the wrong connection would lose another message. A stale ack does nothing; the message comes again.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Self

import aiomqtt
from paho.mqtt.client import MQTT_CLEAN_START_FIRST_ONLY
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from ingest.delivery import Delivery
from ingest.inbox import InboxClosed
from ingest.sources.base import Source, SourceUnavailable, SourceWatcher, backoff, log, pause

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import paho.mqtt.client as paho

    from ingest.inbox import Inbox

_CLEAN_START_NEVER = False


@dataclass(slots=True, frozen=True)
class Tls:
    """Files of PEM; ``certificate`` and ``key`` are ours, for mutual TLS."""

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Load the files.

        Raises:
            OSError, ssl.SSLError: a file is missing or not what it should be.
        """
        context = ssl.create_default_context(cafile=str(self.ca) if self.ca else None)
        if self.certificate:
            context.load_cert_chain(self.certificate, self.key)
        return context


@dataclass(slots=True, frozen=True)
class MqttOptions:
    """How to reach the broker, and what to ask of it."""

    host: str
    port: int = 1883
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    client_id: str = "haidang"
    topics: Sequence[str] = ()
    protocol: Literal["5", "3.1.1"] = "5"
    session_expiry: int = 7 * 86_400  # seconds the broker keeps our session and its queue while we are away
    receive_maximum: int = 10_000  # QoS 1 messages not yet acked: the bound on what we hold
    keepalive: int = 30
    timeout: float = 10.0
    tls: Tls | None = None
    max_payload: int = 1 << 20

    @property
    def url(self) -> str:
        return f"{'mqtts' if self.tls else 'mqtt'}://{self.host}:{self.port}"


class _Connection:
    """One connection to the broker. All use of aiomqtt's and paho's inner parts is here."""

    def __init__(self, options: MqttOptions, on_message: Callable[[_Connection, paho.MQTTMessage], None]) -> None:
        five = options.protocol == "5"
        properties: Properties | None = None
        if five:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = options.session_expiry
            properties.ReceiveMaximum = options.receive_maximum
        self._client = aiomqtt.Client(
            options.host,
            options.port,
            username=options.username,
            password=options.password,
            identifier=options.client_id,
            protocol=aiomqtt.ProtocolVersion.V5 if five else aiomqtt.ProtocolVersion.V311,
            # aiomqtt's default starts clean at process start, and would throw away the queued session.
            clean_start=_CLEAN_START_NEVER if five else MQTT_CLEAN_START_FIRST_ONLY,
            clean_session=None if five else False,
            properties=properties,
            keepalive=options.keepalive,
            timeout=options.timeout,
            tls_context=options.tls.context() if options.tls else None,
        )
        self._options = options
        self._session_present = False
        self.alive = False
        inner = self._client._client  # noqa: SLF001  # manual ack is offered by paho alone
        inner.manual_ack_set(True)
        inner.on_message = lambda _client, _userdata, message: on_message(self, message)
        connected = inner.on_connect
        assert connected is not None

        def on_connect(client: Any, userdata: Any, flags: Any, *rest: Any) -> None:
            self._session_present = flags.session_present
            connected(client, userdata, flags, *rest)

        inner.on_connect = on_connect

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        self.alive = True
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.alive = False
        # The connection is often gone already, which is why we leave: nothing to add to that.
        with contextlib.suppress(aiomqtt.MqttError):
            await self._client.__aexit__(None, None, None)

    @property
    def session_present(self) -> bool:
        """Whether the broker had kept our session, and with it what was queued."""
        return self._session_present

    async def subscribe(self) -> None:
        granted: Sequence[ReasonCode | int] = await self._client.subscribe(
            [(topic, 1) for topic in self._options.topics]
        )
        for topic, code in zip(self._options.topics, granted, strict=True):
            value = code.value if isinstance(code, ReasonCode) else code
            if value >= 0x80:
                raise SourceUnavailable(f"the broker refuses the subscription to {topic!r} ({code})")
            if value != 1:
                raise SourceUnavailable(f"the broker grants QoS {value}, not 1, on {topic!r}")

    def ack(self, mid: int) -> bool:
        """Send PUBACK on this connection. False: it is over, and nothing was sent."""
        if not self.alive or self._client._disconnected.done():  # noqa: SLF001
            return False
        self._client._client.ack(mid, 1)  # noqa: SLF001
        return True

    async def lost(self) -> None:
        """Return when the connection is over."""
        await asyncio.wait([self._client._disconnected])  # noqa: SLF001

    @property
    def loss(self) -> str:
        """Why it is over."""
        future = self._client._disconnected  # noqa: SLF001
        exc = future.exception() if future.done() and not future.cancelled() else None
        return str(exc) if exc else "disconnected"


class MqttSource(Source):
    """Subscribes at QoS 1 with a persistent session; acks in arrival order, after the commit."""

    format = "mqtt"

    def __init__(self, name: str, watcher: SourceWatcher, options: MqttOptions) -> None:
        super().__init__(name, watcher)
        self.options = options
        self._inbox: Inbox | None = None
        self._shedding = False
        self.subscribed = asyncio.Event()

    async def check(self) -> None:
        """Connect and disconnect once, under another client id.

        Raises:
            SourceUnavailable: the broker cannot be reached, refuses us, or the TLS files are wrong.
        """
        try:
            # Not under our client id: a check must not disturb, or take over, the session.
            probe = aiomqtt.Client(
                self.options.host,
                self.options.port,
                username=self.options.username,
                password=self.options.password,
                timeout=self.options.timeout,
                tls_context=self.options.tls.context() if self.options.tls else None,
            )
            async with probe:
                pass
        except (aiomqtt.MqttError, OSError) as exc:
            raise SourceUnavailable(f"source {self.name}: no MQTT broker at {self.options.url} ({exc})") from exc

    async def run(self, inbox: Inbox) -> None:
        self._inbox = inbox
        delays = backoff()
        while not self.stopping:
            detail = ""
            try:
                async with _Connection(self.options, self._on_message) as connection:
                    self.watcher.session(self.name, resumed=connection.session_present)
                    await connection.subscribe()
                    self.watcher.connected(self.name, up=True)
                    self.subscribed.set()
                    delays = backoff()
                    await self._serve(connection)
                    detail = connection.loss
            except (aiomqtt.MqttError, SourceUnavailable, OSError) as exc:
                detail = str(exc)
            if not self.stopping:
                self.watcher.connected(self.name, up=False, detail=detail)
                await pause(self._stopping, next(delays))
        self.watcher.connected(self.name, up=False, detail="stopped")

    async def _serve(self, connection: _Connection) -> None:
        """Until the connection is lost, or we stop and all that was delivered is acked."""
        lost = asyncio.create_task(connection.lost(), name=f"{self.name}: lost")
        released = asyncio.create_task(self._released.wait(), name=f"{self.name}: released")
        try:
            await asyncio.wait((lost, released), return_when=asyncio.FIRST_COMPLETED)
        finally:
            lost.cancel()
            released.cancel()

    def _on_message(self, connection: _Connection, message: paho.MQTTMessage) -> None:
        """Runs inside paho's read; an exception here would break the connection and come back for ever."""
        if self.stopping or self._inbox is None:
            return  # not acked: the broker keeps it for the next process
        mid, qos = message.mid, message.qos
        delivery = Delivery(
            bytes(message.payload),
            self.name,
            # The raw bytes: a topic of invalid UTF-8 must reach quarantine, not raise.
            message._topic.decode("utf-8", "backslashreplace"),  # noqa: SLF001
            time.time_ns() // 1000,
            redelivered=message.dup,
            ack=(lambda: self._ack(connection, mid)) if qos else None,
        )
        try:
            if qos:
                self._inbox.force(delivery)  # bounded by Receive Maximum
                self.watcher.received(self.name, 1)
            else:
                self._offer(delivery)
        except InboxClosed:
            return  # as when stopping

    def _offer(self, delivery: Delivery) -> None:
        """QoS 0 cannot be held back: it is shed first."""
        assert self._inbox is not None
        taken = self._inbox.offer(delivery)
        self.watcher.received(self.name, 1)
        if not taken:
            self.watcher.dropped(self.name, "overload", 1)
        if taken == self._shedding:
            self._shedding = not taken
            log.warning("shedding_began" if self._shedding else "shedding_ended", source=self.name)

    def _ack(self, connection: _Connection, mid: int) -> None:
        if not connection.ack(mid):
            self.watcher.stale_ack(self.name)
