"""aiomqtt, and paho beneath it, as the client. All use of what they keep private is in this file.

What is changed of them: acks are manual; a topic of invalid UTF-8 does not raise; PUBREC comes after the commit;
reading can pause; a socket that the peer has reset while connecting is not read from.

What cannot be changed: paho holds every packet whole, however large (up to 256 MB, MQTT's own limit), so the bound on
payloads must be the broker's (mosquitto: ``message_size_limit``). It takes a topic alias for an empty topic. And it
does not wait, after DISCONNECT, for the broker to hang up: acks given last may be overlooked if we are back at once,
and the messages come again.
"""

# ruff: noqa: SLF001, ARG002  # acking by hand is reached through private parts, by methods whose form is aiomqtt's
from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import aiomqtt
from paho.mqtt.client import MQTT_CLEAN_START_FIRST_ONLY
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from alerting.channels.mqtt import TlsSocket
from ingest.sources.base import SourceUnavailable
from ingest.sources.mqtt.connection import Connection, Loss, Session, Sink
from ingest.sources.mqtt.reasons import SESSION_TAKEN_OVER, words
from ingest.sources.mqtt.wire import Publish

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Sequence

    import paho.mqtt.client as paho
    from aiomqtt.types import PahoSocket

    from ingest.sources.mqtt.options import MqttOptions, Tls

_QOS_BITS = 0x06
_QOS_1 = 0x02


class LibraryConnection(Connection):
    """One connection; see `Connection`."""

    def __init__(self, options: MqttOptions, session: Session, sink: Sink, stale: Callable[[], None]) -> None:
        super().__init__(options, session, sink, stale)
        self._client: _Client | None = None
        self._entered = False
        self._holding = False
        self._watching: asyncio.Task[None] | None = None
        self._exactly_once: set[int] = set()  # QoS 2 packet ids delivered here and not yet acked

    async def open(self) -> None:
        try:
            self._client = client = _Client(self.options, self)
            await client.__aenter__()
        except (aiomqtt.MqttError, OSError) as exc:
            raise SourceUnavailable(_one_line(exc)) from exc
        self._entered = True
        if not self.session_present:
            self.session.received.clear()
        self._watching = asyncio.create_task(self._watch(client), name="mqtt: lost")

    async def _watch(self, client: _Client) -> None:
        await asyncio.wait((client.gone,))
        self._end(client.loss)

    async def subscribe(self) -> None:
        assert self._client is not None
        five = self.options.protocol == "5"
        try:
            granted: Sequence[ReasonCode | int] = await self._client.subscribe(
                # Retain Handling 1: see `wire.subscribe`.
                [(topic, SubscribeOptions(qos=1, retainHandling=1)) for topic in self.options.topics]
                if five
                else [(topic, 1) for topic in self.options.topics]
            )
        except aiomqtt.MqttError as exc:
            raise SourceUnavailable(self.over.result().reason if self.over.done() else _one_line(exc)) from exc
        self._check_granted([code.value if isinstance(code, ReasonCode) else code for code in granted])

    def hold(self) -> None:
        self._holding = True
        if self._client is not None:
            self._client.pause()

    async def close(self) -> None:
        client = self._client
        if client is None:
            return
        self.window.close()
        if self._entered:
            # The connection is often gone already, which is why we leave: nothing to add to that.
            with contextlib.suppress(aiomqtt.MqttError):
                await client.__aexit__(None, None, None)
        await client.tidy()
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        self._end(Loss("disconnected"))

    # --- from the client

    def arrived(self, message: paho.MQTTMessage) -> None:
        """Runs inside paho's read: an exception here would break the connection and come back for ever."""
        if self._holding or self._client is None:
            return
        qos = message.qos
        if qos and message.mid in self._client.exactly_once:
            qos = 2
            self._client.exactly_once.discard(message.mid)
            if message.mid in self.session.received:
                self._client.pubrec(message.mid)
                return
            if message.mid in self._exactly_once:
                return
            self._exactly_once.add(message.mid)
        payload = bytes(message.payload)
        # The raw bytes: a topic of invalid UTF-8 must reach quarantine, not raise.
        topic = message._topic.decode("utf-8", "backslashreplace").replace("\0", "\\x00")
        publish = Publish(topic, payload, qos, message.dup, message.retain, message.mid, len(payload))
        if not self.sink((publish,), self.window):
            self.hold()
        elif self.window.room <= 0:
            self._client.pause()

    def released(self, packet_id: int) -> None:
        """PUBREL: the last step but one of QoS 2."""
        self.session.received.discard(packet_id)

    def _send_ack(self, packet_id: int, qos: int) -> None:
        assert self._client is not None
        if qos == 1:
            self._client.puback(packet_id)
        else:
            self._exactly_once.discard(packet_id)
            self.session.received.add(packet_id)
            self._client.pubrec(packet_id)
        if not self._holding and self.window.half_empty:
            self._client.resume()


class _Client(aiomqtt.Client):
    def __init__(self, options: MqttOptions, owner: LibraryConnection) -> None:
        five = options.protocol == "5"
        properties: Properties | None = None
        if five:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = 0 if options.clean else options.session_expiry
            properties.ReceiveMaximum = options.receive_maximum
        super().__init__(
            options.host,
            options.port,
            username=options.username,
            password=options.password,
            identifier=options.client_id,
            protocol=aiomqtt.ProtocolVersion.V5 if five else aiomqtt.ProtocolVersion.V311,
            # aiomqtt's default starts clean at process start, and would throw away the queued session.
            clean_start=options.clean if five else MQTT_CLEAN_START_FIRST_ONLY,
            clean_session=None if five else options.clean,
            properties=properties,
            keepalive=max(1, round(options.keepalive)),
            timeout=options.timeout,
            tls_context=_context(options.tls) if options.tls else None,
        )
        self._owner = owner
        self._reading: PahoSocket | None = None
        self._paused = False
        self._reason: ReasonCode | None = None  # of the server's DISCONNECT
        self.exactly_once: set[int] = set()  # packet ids of QoS 2 about to be handed over
        inner = self._client
        inner.manual_ack_set(True)
        inner.on_message = lambda _client, _userdata, message: owner.arrived(message)
        connected: Any = inner.on_connect
        disconnected: Any = inner.on_disconnect

        def on_connect(client: Any, userdata: Any, flags: Any, *rest: Any) -> None:
            owner.session_present = flags.session_present
            connected(client, userdata, flags, *rest)

        def on_disconnect(client: Any, userdata: Any, flags: Any, code: Any, properties: Any) -> None:
            if flags.is_disconnect_packet_from_server:
                self._reason = code
            disconnected(client, userdata, flags, code, properties)

        inner.on_connect = on_connect
        inner.on_disconnect = on_disconnect
        self._take_over_qos_2()
        self._keep_quiet_while_paused()

    def _take_over_qos_2(self) -> None:
        """Of itself, paho says PUBREC on arrival: the message would be ours, and lost if we died before the commit.

        So it is made to see a message of QoS 1, and PUBREC is sent where PUBACK would be.
        """
        inner: Any = self._client
        publish, pubrel = inner._handle_publish, inner._handle_pubrel

        def handle_publish() -> MQTTErrorCode:
            packet = inner._in_packet
            if packet["command"] & _QOS_BITS == 0x04:
                body = packet["packet"]
                at = 2 + (body[0] << 8 | body[1])
                self.exactly_once.add(body[at] << 8 | body[at + 1])
                packet["command"] = packet["command"] & ~_QOS_BITS | _QOS_1
            return MQTTErrorCode(publish())

        def handle_pubrel() -> MQTTErrorCode:
            body = inner._in_packet["packet"]
            code = MQTTErrorCode(pubrel())
            packet_id = body[0] << 8 | body[1]
            self._owner.released(packet_id)
            return MQTTErrorCode(inner._send_pubcomp(packet_id)) if code == MQTTErrorCode.MQTT_ERR_SUCCESS else code

        inner._handle_publish, inner._handle_pubrel = handle_publish, handle_pubrel

    def _keep_quiet_while_paused(self) -> None:
        """While we do not read, PINGREQs go out, and their answers are not missed."""
        inner: Any = self._client
        check = inner._check_keepalive

        def check_keepalive() -> None:
            if self._paused:
                inner._ping_t = 0
            check()

        inner._check_keepalive = check_keepalive

    # aiomqtt connects in a thread and hands the loop the number of the socket. If the peer has reset it by then, the
    # number is stale, or already that of another connection, whose reading it would end. So: look again, on the loop.

    def _on_socket_open(self, client: paho.Client, userdata: Any, sock: PahoSocket) -> None:
        def adopt() -> None:
            if sock.fileno() == -1:
                self._fail(ConnectionResetError("the broker reset the connection"))
                return
            self._reading = sock
            self._misc_task = self._loop.create_task(self._misc_loop())
            self._loop.add_reader(sock.fileno(), self._readable)

        self._loop.call_soon_threadsafe(adopt)

    def _on_socket_register_write(self, client: paho.Client, userdata: Any, sock: PahoSocket) -> None:
        def writable() -> None:
            try:
                client.loop_write()
            except OSError as exc:
                self._fail(exc)

        self._loop.call_soon_threadsafe(
            lambda: self._loop.add_writer(sock.fileno(), writable) if sock.fileno() != -1 else None
        )

    def _readable(self) -> None:
        inner = self._client
        try:
            while True:
                inner.loop_read()
                # TLS may hold packets that the socket no longer shows.
                pending = getattr(inner.socket(), "pending", None)
                if self._paused or pending is None or not pending():
                    break
        except (OSError, ValueError, IndexError, KeyError) as exc:  # paho on what is malformed
            self._fail(exc)

    def _fail(self, error: Exception) -> None:
        if not self._disconnected.done():
            self._disconnected.set_exception(error)

    # --- for the connection

    @property
    def gone(self) -> asyncio.Future[None]:
        """Done when the connection is over."""
        return self._disconnected

    @property
    def loss(self) -> Loss:
        """Why it is over."""
        if self._reason is not None:
            code = self._reason.value
            return Loss(f"the broker disconnects us: {words(code)}", taken_over=code == SESSION_TAKEN_OVER)
        exc = self._disconnected.exception() if self._disconnected.done() else None
        return Loss(_one_line(exc) if exc else "disconnected")

    def puback(self, packet_id: int) -> None:
        self._client.ack(packet_id, 1)

    def pubrec(self, packet_id: int) -> None:
        inner: Any = self._client
        inner._send_pubrec(packet_id)

    def pause(self) -> None:
        """Read no more from the socket."""
        if not self._paused:
            self._paused = True
            if self._reading is not None and self._reading.fileno() != -1:
                self._loop.remove_reader(self._reading.fileno())

    def resume(self) -> None:
        """Read again."""
        if self._paused and not self._disconnected.done():
            self._paused = False
            if self._reading is not None and self._reading.fileno() != -1:
                self._loop.add_reader(self._reading.fileno(), self._readable)
                if self._owner.options.tls:
                    self._loop.call_soon(self._readable)

    async def tidy(self) -> None:
        """Leave nothing behind: no socket, no task."""
        inner: Any = self._client
        inner._sock_close()
        task = self._misc_task
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        for future in (self._connected, self._disconnected):
            if future.done() and not future.cancelled():
                future.exception()


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _context(tls: Tls) -> ssl.SSLContext:
    context = tls.context()
    context.sslsocket_class = TlsSocket
    return context
