"""Our own client: an ``asyncio.Protocol`` that receives, and acks when it is told to.

* Acks of one turn of the event loop leave in one write.
* A broker that sends more than Receive Maximum allows is not cut off (0x93 would have it send all of it again, for
  ever) but not read from: TCP's window holds it. So memory is bounded, and nothing is lost.
* A line that is dead without saying so is found within two keep-alives, by PINGREQ (3.1.2.10, 3.12). Not while we
  ourselves do not read: the answer would lie unread.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, cast

from ingest.sources.base import SourceUnavailable
from ingest.sources.mqtt import wire
from ingest.sources.mqtt.connection import Connection, Loss, Session, Sink, why
from ingest.sources.mqtt.reasons import NORMAL, PROTOCOL_ERROR, SESSION_TAKEN_OVER, MqttFault, words

if TYPE_CHECKING:
    from collections.abc import Callable

    from ingest.sources.mqtt.options import MqttOptions

#: How long a broker may take to hang up after our DISCONNECT before we do.
_FAREWELL_SECONDS = 2.0
_SUBSCRIBE_ID = 1


class NativeConnection(Connection):
    """One connection; see `Connection`."""

    def __init__(self, options: MqttOptions, session: Session, sink: Sink, stale: Callable[[], None]) -> None:
        super().__init__(options, session, sink, stale)
        self._five = options.protocol == "5"
        self._reader = wire.PacketReader(five=self._five, max_payload=options.max_payload)
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[wire.Connack | wire.Suback] | None = None
        self._out: list[bytes] = []
        self._exactly_once: set[int] = set()  # QoS 2 packet ids delivered here and not yet acked
        self._paused = False
        self._ended = False  # no packet is looked at any more
        self._pulse = _Pulse(options.keepalive, self._loop.time())
        self._beat: asyncio.TimerHandle | None = None

    async def open(self) -> None:
        options = self.options
        try:
            async with asyncio.timeout(options.timeout):
                tls = options.tls.context() if options.tls else None
                await self._loop.create_connection(
                    lambda: _Wire(self),
                    options.host,
                    options.port,
                    ssl=tls,
                    server_hostname=options.host if tls else None,
                )
        except OSError as exc:  # TLS and time-outs are OSErrors too
            raise SourceUnavailable(why(exc)) from exc
        except asyncio.CancelledError:
            self._forget()
            raise
        hello = wire.connect(
            five=self._five,
            client_id=options.client_id,
            clean=options.clean,
            keepalive=max(1, round(options.keepalive)),
            session_expiry=0 if options.clean else options.session_expiry,
            receive_maximum=options.receive_maximum,
            username=options.username,
            password=options.password,
        )
        try:
            answer = await self._ask(hello)
        except SourceUnavailable as exc:
            raise SourceUnavailable(self._unanswered(str(exc))) from exc
        if not isinstance(answer, wire.Connack):
            raise SourceUnavailable("the broker answers CONNECT with SUBACK")
        if answer.code:
            reason = str(answer.properties.get(wire.REASON_STRING, ""))
            raise SourceUnavailable(f"the broker refuses us: {words(answer.code, reason)}")
        self.session_present = answer.session_present
        if not self.session_present:
            self.session.received.clear()
        self._granted(answer)
        self._pulse.begin(self._loop.time())
        self._watch()

    def _forget(self) -> None:
        """Given up while it opened: uvloop closes such a transport without a word, and has it look open still."""
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    def _unanswered(self, reason: str) -> str:
        """What may be behind a broker that hangs up on CONNECT.

        In TLS 1.3 our certificate is missed only after the handshake has succeeded here, and the reset that follows
        can overtake the alert that says so (RFC 8446, 4.4.2.4 and 6.2).
        """
        tls = self.options.tls
        if tls is None or tls.certificate is not None or "certificate" in reason:
            return reason
        return f"{reason}; it may want a certificate of ours"

    def _granted(self, answer: wire.Connack) -> None:
        server = answer.properties.get(wire.SERVER_KEEP_ALIVE)
        if isinstance(server, int) and server:
            # [MQTT-3.1.2-21]. 0 leaves the broker without a watch on us, but us not without one on the broker.
            self._pulse.keepalive = min(self.options.keepalive, server)
        expiry = answer.properties.get(wire.SESSION_EXPIRY)
        if isinstance(expiry, int) and expiry < self.options.session_expiry and not self.options.clean:
            self.warnings.append(f"the broker keeps our session for {expiry} s, not {self.options.session_expiry} s")

    async def subscribe(self) -> None:
        answer = await self._ask(wire.subscribe(_SUBSCRIBE_ID, self.options.topics, five=self._five))
        if not isinstance(answer, wire.Suback) or answer.packet_id != _SUBSCRIBE_ID:
            raise SourceUnavailable("the broker answers another SUBSCRIBE than ours")
        self._check_granted(answer.codes, answer.reason)

    async def _ask(self, request: bytes) -> wire.Connack | wire.Suback:
        """Send a packet and wait for its answer."""
        assert self._transport is not None
        self._answer = self._loop.create_future()
        self._transport.write(request)
        await asyncio.wait((self._answer, self.over), timeout=self.options.timeout, return_when=asyncio.FIRST_COMPLETED)
        if self._answer.done():
            return self._answer.result()
        raise SourceUnavailable(self.over.result().reason if self.over.done() else "no answer in time")

    def hold(self) -> None:
        self._ended = True
        if self._transport is not None and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    async def close(self) -> None:
        transport = self._transport
        if transport is None:
            return
        self._ended = True
        if not transport.is_closing():
            self._flush()
            transport.write(wire.disconnect(NORMAL, five=self._five))
            # Closing with bytes unread would reset the connection, and our last acks might be lost with it.
            self._resume()
            await asyncio.wait((self.over,), timeout=_FAREWELL_SECONDS)
            transport.close()
        await asyncio.wait((self.over,), timeout=_FAREWELL_SECONDS)
        if not self.over.done():
            with contextlib.suppress(AttributeError):  # of Python up to 3.11.2: TLS, closing already
                transport.abort()
            await asyncio.wait((self.over,))

    # --- from the transport

    def made(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def lost(self, exc: Exception | None) -> None:
        if self._beat is not None:
            self._beat.cancel()
        self._ended = True
        self._end(Loss(why(exc)))

    def received(self, data: bytes) -> None:
        self._pulse.heard(self._loop.time())
        if self._ended:
            return
        self._reader.feed(data)
        if not self._paused:
            self._read()

    def _read(self) -> None:
        """Hand on what has arrived, as far as there is room."""
        publishes: list[wire.Publish] = []
        fault: MqttFault | None = None
        try:
            self._take(publishes)
        except MqttFault as exc:
            fault = exc  # what came before it is sound
        if publishes and not self.sink(publishes, self.window):
            self.hold()
        if fault is not None:
            self._fail(fault)
        elif self.window.room <= 0 and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def _take(self, publishes: list[wire.Publish]) -> None:
        room = self.window.room
        if room <= 0:
            return
        while True:
            ordinary = self._reader.ordinary(room)
            publishes += ordinary
            room -= len(ordinary)
            packet = next(self._reader.packets(), None) if room else None
            if packet is None:
                return
            if type(packet) is not wire.Publish:
                self._handle(packet)
                if self._ended:
                    return
            elif not packet.qos:
                publishes.append(packet)
            elif packet.qos == 1 or not self._again(packet.packet_id):
                publishes.append(packet)
                room -= 1

    def _handle(self, packet: wire.Packet) -> None:
        match packet:
            case wire.Connack() | wire.Suback():
                if self._answer is None or self._answer.done():
                    raise MqttFault(PROTOCOL_ERROR, f"a {type(packet).__name__.upper()} that nothing asked for")
                self._answer.set_result(packet)
            case wire.Pubrel():
                # PUBCOMP, whether or not we know the packet id: after a restart we do not, and it is well so.
                self.session.received.discard(packet.packet_id)
                self._write(wire.pubcomp(packet.packet_id))
            case wire.Disconnect():
                self._ended = True
                loss = Loss(
                    f"the broker disconnects us: {words(packet.code, packet.reason)}",
                    taken_over=packet.code == SESSION_TAKEN_OVER,
                )
                self._end(loss)
                if self._transport is not None:
                    self._transport.close()
            case wire.Pingresp() | wire.Publish():
                pass

    def _again(self, packet_id: int) -> bool:
        """Whether a QoS 2 message is one already received (4.3.3): known, so not delivered a second time."""
        if packet_id in self.session.received:
            self._write(wire.pubrec(packet_id))
            return True
        if packet_id in self._exactly_once:
            return True
        self._exactly_once.add(packet_id)
        return False

    def _fail(self, fault: MqttFault) -> None:
        """End the connection, saying why to both sides (4.13)."""
        self._ended = True
        self._end(Loss(str(fault)))
        if self._transport is not None:
            if self._five:
                self._transport.write(wire.disconnect(fault.code, five=True))
            self._transport.close()

    # --- to the transport

    def _send_ack(self, packet_id: int, qos: int) -> None:
        if qos == 1:
            self._write(wire.puback(packet_id))
            return
        # The second step of four is where we answer for the message: so it comes after the commit.
        self._exactly_once.discard(packet_id)
        self.session.received.add(packet_id)
        self._write(wire.pubrec(packet_id))

    def _write(self, packet: bytes) -> None:
        """Send with whatever else this turn of the loop has to send."""
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(packet)

    def _flush(self) -> None:
        if self._out and self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"".join(self._out))
        self._out.clear()
        if self._paused and not self._ended and self.window.half_empty:
            self._resume()
            self._read()

    def _resume(self) -> None:
        if self._paused and self._transport is not None and not self._transport.is_closing():
            self._paused = False
            self._pulse.begin(self._loop.time())
            self._transport.resume_reading()

    # --- is the line alive?

    def _watch(self) -> None:
        assert self._transport is not None
        if self._transport.is_closing():
            return
        due, dead = self._pulse.look(self._loop.time(), deaf=self._paused)
        if dead:
            self._end(Loss(f"no sign of life from the broker for {self._pulse.keepalive:g} s"))
            self._transport.abort()
            return
        if due:
            self._transport.write(wire.PINGREQ)
        self._beat = self._loop.call_later(self._pulse.interval, self._watch)


class _Pulse:
    """Decides when to ask for a sign of life, and when there was none. Times in seconds of any steady clock.

    Looked at every quarter of the keep-alive, it asks after half of one without a word, or when a ping is due for the
    broker's own watch on us, and gives up three quarters after asking: within two keep-alives of the last byte.
    """

    def __init__(self, keepalive: float, now: float) -> None:
        self.keepalive = keepalive
        self.begin(now)

    @property
    def interval(self) -> float:
        return self.keepalive / 4

    def begin(self, now: float) -> None:
        """Nothing is held against the time before."""
        self._looked = now
        self._heard = now
        self._told = now  # when the broker was last told that we live
        self._asked: float | None = None

    def heard(self, now: float) -> None:
        self._heard = now
        self._asked = None

    def look(self, now: float, *, deaf: bool) -> tuple[bool, bool]:
        """(a PINGREQ is due, the line is dead). ``deaf``: we do not read at present."""
        stalled = now - self._looked > 2 * self.interval  # we were late ourselves: what came may lie unread
        self._looked = now
        if (deaf or stalled) and self._asked is not None:
            self._asked = now
        if self._asked is not None and now - self._asked >= 3 * self.interval:
            return False, True
        silent = self._asked is None and now - self._heard >= 2 * self.interval
        if silent or now - self._told >= 2 * self.interval:
            self._told = now
            if not deaf and self._asked is None:
                self._asked = now
            return True, False
        return False, False


class _Wire(asyncio.Protocol):
    """What the event loop sees of a connection."""

    def __init__(self, connection: NativeConnection) -> None:
        self._connection = connection
        self.data_received = connection.received  # type: ignore[method-assign]  # one call less for each read

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._connection.made(cast("asyncio.Transport", transport))

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.lost(exc)
