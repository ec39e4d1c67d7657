"""Publishing as field gateways do: QoS 1, an own client id each, nothing forgotten before its PUBACK.

A publish that the broker's ACL refuses is acknowledged too, with a reason code of failure: that is looked at here,
and aiomqtt does not.
"""

from __future__ import annotations

import asyncio
import functools
import ssl
from collections import Counter, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Self
from urllib.parse import unquote, urlsplit

import aiomqtt
import paho.mqtt.client as paho
import structlog
from paho.mqtt.enums import MQTTErrorCode

from simulators.events import BadConfig, Publish, Sentences
from simulators.scenario import as_publish
from simulators.wire import Target, Unreachable

if TYPE_CHECKING:
    from types import TracebackType

    from aiomqtt.types import PahoSocket
    from paho.mqtt.properties import Properties
    from paho.mqtt.reasoncodes import ReasonCode

log = structlog.get_logger(__name__)

_WINDOW: Final = 100  # publishes of one gateway without their PUBACK; less if the broker's Receive Maximum is
_KEPT: Final = 10_000  # messages a gateway keeps for a broker that is away; then the simulation waits
_RETRY_S: Final = 1.0
_ANSWER_S: Final = 5.0  # how long to wait for a CONNACK

Protocol = Literal["5", "3.1.1"]


class BadUrl(BadConfig):
    """A broker URL that cannot be read."""


@dataclass(slots=True, frozen=True)
class Broker:
    """Where a broker listens and who we are to it."""

    host: str
    port: int
    username: str | None = None
    password: str | None = None
    tls: bool = False
    protocol: Protocol = "5"

    @classmethod
    def parse(cls, url: str, protocol: Protocol = "5") -> Self:
        """Read ``mqtt://[user:password@]host[:port]``, or ``mqtts://`` for TLS.

        Raises:
            BadUrl: another scheme, no host, or a port that is none.
        """
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError as error:
            raise BadUrl(f"{url}: {error}") from error
        if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname or parts.path.strip("/"):
            raise BadUrl(f"{url}: not of the form mqtt://[user:password@]host[:port]")
        tls = parts.scheme == "mqtts"
        user = unquote(parts.username) if parts.username else None
        password = unquote(parts.password) if parts.password else None
        return cls(parts.hostname, port or (8883 if tls else 1883), user, password, tls, protocol)

    def __str__(self) -> str:
        """Without the password."""
        return f"mqtt{'s' if self.tls else ''}://{self.host}:{self.port}"


class Publisher(aiomqtt.Client):
    """An aiomqtt client whose publishes can overlap and tell the broker's reason code. All use of what aiomqtt keeps
    private is in this class.
    """

    def __init__(self, broker: Broker, client_id: str) -> None:
        """A clean start: what was not acknowledged is kept and sent again by the owner of this client."""
        five = broker.protocol == "5"
        super().__init__(
            broker.host,
            broker.port,
            username=broker.username,
            password=broker.password,
            identifier=client_id,
            protocol=aiomqtt.ProtocolVersion.V5 if five else aiomqtt.ProtocolVersion.V311,
            clean_session=None if five else True,
            clean_start=True if five else paho.MQTT_CLEAN_START_FIRST_ONLY,
            timeout=_ANSWER_S,
            max_inflight_messages=65_535,
            tls_context=ssl.create_default_context() if broker.tls else None,
        )
        self.window = _WINDOW
        self._replies: dict[int, asyncio.Future[ReasonCode]] = {}

    def _on_connect(
        self,
        client: paho.Client,
        userdata: Any,
        flags: paho.ConnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        self.window = min(_WINDOW, getattr(properties, "ReceiveMaximum", 65_535))
        super()._on_connect(client, userdata, flags, reason_code, properties)

    # aiomqtt connects in a thread and hands the loop the number of the socket. If the peer has reset it by then, the
    # number is stale, or already that of another connection, whose reading it would end. So: look again, on the loop.

    def _on_socket_open(self, client: paho.Client, userdata: Any, sock: PahoSocket) -> None:
        adopt = functools.partial(super()._on_socket_open, client, userdata, sock)
        self._loop.call_soon_threadsafe(lambda: adopt() if sock.fileno() != -1 else None)

    def _on_socket_register_write(self, client: paho.Client, userdata: Any, sock: PahoSocket) -> None:
        adopt = functools.partial(super()._on_socket_register_write, client, userdata, sock)
        self._loop.call_soon_threadsafe(lambda: adopt() if sock.fileno() != -1 else None)

    def _on_publish(
        self, client: paho.Client, userdata: Any, mid: int, reason_code: ReasonCode, properties: Properties
    ) -> None:
        # The PUBACK is read by this same thread, so it cannot come before post() has put its future there.
        reply = self._replies.pop(mid, None)
        if reply is not None and not reply.done():
            reply.set_result(reason_code)
        super()._on_publish(client, userdata, mid, reason_code, properties)

    def post(self, topic: str, payload: bytes) -> asyncio.Future[ReasonCode]:
        """Send a QoS 1 publish; the future brings the PUBACK's reason code. It never ends if the connection does.

        Raises:
            aiomqtt.MqttError: not connected.
        """
        info = self._client.publish(topic, payload, qos=1)
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise aiomqtt.MqttCodeError(info.rc, "Could not publish")
        reply: asyncio.Future[ReasonCode] = asyncio.get_running_loop().create_future()
        self._replies[info.mid] = reply
        return reply


class _Uplink:
    """One gateway's connection: sends in order, keeps what is not acknowledged, and comes back after a broken line."""

    def __init__(self, broker: Broker, client_id: str) -> None:
        self._broker = broker
        self._client_id = client_id
        self._queue: deque[Publish] = deque()
        self._sent: deque[Publish] = deque()  # sent and not acknowledged, in order
        self._changed = asyncio.Event()
        self._closing = False
        self.acknowledged = 0
        self.refused: Counter[str] = Counter()

    async def put(self, event: Publish) -> None:
        while len(self._queue) >= _KEPT:
            self._changed.clear()
            await self._changed.wait()
        self._queue.append(event)
        self._changed.set()

    def close(self) -> None:
        """Say that nothing more will come: ``run`` ends when all is acknowledged."""
        self._closing = True
        self._changed.set()

    async def run(self) -> None:
        away = False
        while True:
            client = Publisher(self._broker, self._client_id)
            try:
                async with client:
                    if away:
                        log.info("simulator.broker.back", broker=str(self._broker), client_id=self._client_id)
                        away = False
                    # What was under way when the line broke goes again, first: at least once, in order.
                    self._queue.extendleft(reversed(self._sent))
                    self._sent.clear()
                    await self._serve(client)
                    return
            except aiomqtt.MqttError as error:
                if not away:
                    log.warning("simulator.broker.away", broker=str(self._broker), error=str(error))
                    away = True
            await asyncio.sleep(_RETRY_S)

    async def _serve(self, client: Publisher) -> None:
        """Pump until closed and empty; an ``MqttError`` says that the line broke."""
        pump = asyncio.create_task(self._pump(client), name=f"pump {self._client_id}")
        broken = asyncio.create_task(_until_disconnected(client), name=f"line {self._client_id}")
        try:
            done, _ = await asyncio.wait((pump, broken), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (pump, broken):
                task.cancel()
            await asyncio.gather(pump, broken, return_exceptions=True)

    async def _pump(self, client: Publisher) -> None:
        while not (self._closing and not self._queue and not self._sent):
            while self._queue and len(self._sent) < client.window:
                event = self._queue.popleft()
                self._sent.append(event)
                client.post(event.topic, event.payload).add_done_callback(self._acknowledge)
            self._changed.clear()
            await self._changed.wait()

    def _acknowledge(self, reply: asyncio.Future[ReasonCode]) -> None:
        if reply.cancelled():
            return
        event = self._sent.popleft()  # a broker acknowledges in the order of the publishes (MQTT 5, 4.6)
        code = reply.result()
        if code.is_failure:
            if str(code) not in self.refused:
                log.warning("simulator.publish.refused", topic=event.topic, reason=str(code))
            self.refused[str(code)] += 1
        else:
            self.acknowledged += 1
        self._changed.set()


async def _until_disconnected(client: aiomqtt.Client) -> None:
    async for _ in client.messages:  # nothing is subscribed; the iterator raises when the line breaks
        pass


class MqttTarget(Target):
    """Every gateway of a simulation, each with a connection of its own; receivers publish their sentences raw.

    Leaving the context waits, up to ``drain_s``, until all is acknowledged.
    """

    def __init__(
        self, url: str, *, client_prefix: str = "haidang-sim", drain_s: float = 15.0, protocol: Protocol = "5"
    ) -> None:
        """Raises ``BadUrl``."""
        super().__init__()
        self._broker = Broker.parse(url, protocol)
        self._prefix = client_prefix
        self._drain_s = drain_s
        self._uplinks: dict[str, tuple[_Uplink, asyncio.Task[None]]] = {}

    async def __aenter__(self) -> Self:
        """Try the broker once, so that a wrong address is known now and not after the first reading."""
        try:
            async with Publisher(self._broker, f"{self._prefix}-check"):
                pass
        except aiomqtt.MqttError as error:
            raise Unreachable(f"{self._broker}: {error}") from error
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks = [task for _, task in self._uplinks.values()]
        for uplink, _ in self._uplinks.values():
            uplink.close()
        if tasks:
            await asyncio.wait(tasks, timeout=self._drain_s)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def takes(self, event: Sentences | Publish) -> bool:  # noqa: ARG002  # everything goes over MQTT
        return True

    async def send(self, event: Sentences | Publish) -> None:
        publish = as_publish(event) if isinstance(event, Sentences) else event
        if publish.gateway not in self._uplinks:
            uplink = _Uplink(self._broker, f"{self._prefix}-{publish.gateway}")
            task = asyncio.create_task(uplink.run(), name=f"uplink {publish.gateway}")
            self._uplinks[publish.gateway] = uplink, task
        await self._uplinks[publish.gateway][0].put(publish)
        self.messages += 1
        self.bytes += len(publish.payload)

    @property
    def acknowledged(self) -> int:
        """Publishes the broker took."""
        return sum(uplink.acknowledged for uplink, _ in self._uplinks.values())

    @property
    def refused(self) -> Counter[str]:
        """Publishes the broker acknowledged with a failure, by reason."""
        return sum((uplink.refused for uplink, _ in self._uplinks.values()), Counter())

    def summary(self) -> dict[str, Any]:
        return super().summary() | {"acknowledged": self.acknowledged, "refused": dict(self.refused)}
