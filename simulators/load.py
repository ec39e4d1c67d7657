"""Load: readings over MQTT and positions over TCP or UDP, at a set rate or flat out, with a record of what was sent.

The MQTT side writes its packets itself (CONNECT, PUBLISH, PUBACK and DISCONNECT of MQTT 5 or 3.1.1, OASIS standards):
a client library spends more on a publish than the service under load on storing it, and would be what is measured.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np

from simulators import ais_wire
from simulators.events import BadConfig
from simulators.sensors import PREFIX
from simulators.wire import SentenceTarget, TcpListen, UdpSend, Unreachable

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulators.mqtt import Broker

#: Metrics of a loading device, in order; every value below is within the physical range of every one of them.
METRICS: Final = ("pm2_5", "pm10", "no2", "o3", "temperature", "humidity", "water_level", "rain_1h")
_WINDOW: Final = 1000  # publishes of one client without their PUBACK, where the broker allows as many
_PULSE_S: Final = 0.005  # how often a set rate is looked at
_CONNECT_S: Final = 10.0
_CLOSE_S: Final = 2.0
_DRAIN_S: Final = 30.0  # how long to wait for the last PUBACKs
_DAY_MS: Final = 86_400_000
_CHUNK: Final = 2000  # positions packed at once


def value(number: int) -> float:
    """What a device's reading says, for each of its metrics: 0.0 to 49.9 in steps of 0.1."""
    return number % 500 / 10


def offset(seed: int) -> int:
    """Where in the row of values, or of places, a load begins: at its head with seed 1, and elsewhere with another."""
    return (seed - 1) * 7919 % 1_000_000


@dataclass(slots=True)
class DeviceLoad:
    """What one device sent: its n-th reading (from 0) has the time ``first_ms + n`` and ``value(offset + n)``."""

    gateway: str
    device: str
    first_ms: int
    offset: int = 0
    sent: int = 0
    acknowledged: list[list[int]] = field(default_factory=list)  # ranges of n, both ends included
    refused: int = 0

    def acknowledge(self, n: int) -> None:
        if self.acknowledged and self.acknowledged[-1][1] == n - 1:
            self.acknowledged[-1][1] = n
        else:
            self.acknowledged.append([n, n])

    @property
    def acknowledged_count(self) -> int:
        return sum(last - first + 1 for first, last in self.acknowledged)

    def record(self) -> dict[str, Any]:
        """For an oracle, JSON-ready."""
        return {
            "gateway": self.gateway,
            "device": self.device,
            "first_ms": self.first_ms,
            "first_value": value(self.offset),
            "sent": self.sent,
            "acknowledged": self.acknowledged,
            "refused": self.refused,
        }


@dataclass(slots=True)
class MqttLoad:
    """The outcome of a load of readings."""

    seconds: float
    metrics: tuple[str, ...]
    devices: list[DeviceLoad]
    broken: int  # connections that broke; what they had under way may or may not have arrived

    @property
    def sent(self) -> int:
        return sum(d.sent for d in self.devices)

    @property
    def acknowledged(self) -> int:
        return sum(d.acknowledged_count for d in self.devices)

    def summary(self) -> dict[str, Any]:
        """Counts and rates, JSON-ready; ``rows`` is how many readings the acknowledged messages hold."""
        return {
            "sent": self.sent,
            "acknowledged": self.acknowledged,
            "refused": sum(d.refused for d in self.devices),
            "rows": self.acknowledged * len(self.metrics),
            "devices": len(self.devices),
            "broken_connections": self.broken,
            "seconds": round(self.seconds, 3),
            "messages_per_second": round(self.acknowledged / self.seconds, 1) if self.seconds else 0.0,
        }


def _length(n: int) -> bytes:
    """A variable byte integer (MQTT 5, 1.5.5)."""
    out = bytearray()
    while True:
        n, low = divmod(n, 128)
        out.append(low | 128 if n else low)
        if not n:
            return bytes(out)


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack(">H", len(data)) + data


def _connect_packet(broker: Broker, client_id: str) -> bytes:
    flags = 0x02 | (0x80 if broker.username is not None else 0) | (0x40 if broker.password is not None else 0)
    five = broker.protocol == "5"
    # Keep-alive 0, none: a client at a set low rate need not ping. MQTT 5 has its properties, none, after it.
    body = _text("MQTT") + bytes((5 if five else 4, flags, 0, 0)) + (b"\0" if five else b"") + _text(client_id)
    body += b"".join(_text(part) for part in (broker.username, broker.password) if part is not None)
    return b"\x10" + _length(len(body)) + body


class _Client(asyncio.Protocol):
    """One connection: sends for its devices in turn, as many at a time as the broker's Receive Maximum allows."""

    def __init__(self, broker: Broker, client_id: str, devices: list[DeviceLoad], metrics: tuple[str, ...]) -> None:
        self._hello = _connect_packet(broker, client_id)
        self._properties = b"\0" if broker.protocol == "5" else b""  # of a publish: none
        self._devices = devices
        self._topics = [_text(f"{PREFIX}/{d.gateway}/{d.device}/readings") for d in devices]
        self._tails = [
            b',"readings":{' + b",".join(b'"%s":%.1f' % (m.encode(), value(n)) for m in metrics) + b"}}"
            for n in range(500)
        ]
        self._pending: deque[tuple[int, DeviceLoad, int]] = deque()  # packet id, device, n; in order
        self._packet_id = 0
        self._turn = 0
        self._buffer = b""
        self._transport: asyncio.Transport | None = None
        self._writable = True
        self.window = _WINDOW
        self.allowance = 0  # how many more may be sent
        self.connected: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.gone = asyncio.Event()
        self.idle = asyncio.Event()
        self.idle.set()
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but name
        self._transport.write(self._hello)

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone.set()
        self.lost = True
        self.idle.set()
        if not self.connected.done():
            self.connected.set_exception(Unreachable(f"the broker closed the connection: {exc or 'no reason given'}"))

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        self.pump()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        at = 0
        while True:
            head = self._buffer[at : at + 5]
            length, used = 0, 0
            for used, octet in enumerate(head[1:], start=1):  # where the length ended is needed below
                length |= (octet & 127) << 7 * (used - 1)
                if octet < 128:
                    break
            else:
                break
            start = at + 1 + used
            if len(self._buffer) < start + length:
                break
            self._packet(head[0] >> 4, self._buffer[start : start + length])
            at = start + length
        self._buffer = self._buffer[at:]
        self.pump()

    def _packet(self, kind: int, body: bytes) -> None:
        match kind:
            case 2:  # CONNACK: flags, reason code, properties
                if body[1] != 0:
                    self.connected.set_exception(Unreachable(f"the broker refused the connection: 0x{body[1]:02X}"))
                else:
                    self.window = min(_WINDOW, _receive_maximum(body)) if self._properties else _WINDOW
                    self.connected.set_result(None)
            case 4:  # PUBACK: packet id and, unless it is 0 (success), the reason code
                packet_id, device, n = self._pending.popleft()
                if packet_id != int.from_bytes(body[:2]):  # brokers acknowledge in order (MQTT 5, 4.6)
                    self._pending.appendleft((packet_id, device, n))
                    self._abort()
                    return
                if len(body) > 2 and body[2] >= 0x80:
                    device.refused += 1
                else:
                    device.acknowledge(n)
                if not self._pending:
                    self.idle.set()
            case 14:  # DISCONNECT by the broker: the connection is lost next
                self.lost = True

    def pump(self) -> None:
        """Send what the allowance, the window and the socket permit, in one write."""
        count = min(self.allowance, self.window - len(self._pending))
        if count <= 0 or not self._writable or self.lost:
            return
        assert self._transport is not None
        out = []
        for _ in range(count):
            device = self._devices[self._turn]
            topic = self._topics[self._turn]
            self._turn = (self._turn + 1) % len(self._devices)
            self._packet_id = self._packet_id % 65_535 + 1
            n = device.sent
            device.sent += 1
            self._pending.append((self._packet_id, device, n))
            payload = b'{"time":%d%s' % (device.first_ms + n, self._tails[(device.offset + n) % 500])
            size = _length(len(topic) + 2 + len(self._properties) + len(payload))
            out.append(b"\x32%b%b%b%b%b" % (size, topic, self._packet_id.to_bytes(2), self._properties, payload))
        self.allowance -= count
        self.idle.clear()
        self._transport.write(b"".join(out))

    def _abort(self) -> None:
        """The broker does not keep to the protocol: what is pending stays unacknowledged."""
        assert self._transport is not None
        self.lost = True
        self._transport.abort()

    def close(self) -> None:
        if self._transport is not None and not self.lost:
            self._transport.write(b"\xe0\x00")  # DISCONNECT, normally
            self._transport.close()

    async def closed(self) -> None:
        """Wait until the socket is closed; it is, by force, if the broker does not take what is left."""
        if self._transport is None:
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.gone.wait(), _CLOSE_S)
        if not self.gone.is_set():
            self._transport.abort()
            await self.gone.wait()


def _receive_maximum(connack: bytes) -> int:
    """The property Receive Maximum (0x21) of a CONNACK body, or its default."""
    sizes = {0x11: 4, 0x21: 2, 0x24: 1, 0x25: 1, 0x27: 4, 0x22: 2, 0x28: 1, 0x29: 1, 0x2A: 1, 0x13: 2}
    at = 3  # a length of one byte: no broker sends 128 bytes of properties in front of this one
    end = at + connack[2]
    while at < end:
        identifier = connack[at]
        if identifier == 0x21:
            return int.from_bytes(connack[at + 1 : at + 3])
        if identifier == 0x26:  # a user property: two texts
            at += 1
            for _ in range(2):
                at += 2 + int.from_bytes(connack[at : at + 2])
        elif identifier in sizes:
            at += 1 + sizes[identifier]
        else:  # a text
            at += 3 + int.from_bytes(connack[at + 1 : at + 3])
    return 65_535


async def load_mqtt(
    broker: Broker,
    *,
    devices: int = 100,
    clients: int = 4,
    rate: float | None = None,
    count: int | None = None,
    seconds: float | None = None,
    metrics: int = 1,
    first_ms: int | None = None,
    gateway: str = "load-gw",
    seed: int = 1,
    progress: Callable[[int], None] | None = None,
    stop: asyncio.Event | None = None,
) -> MqttLoad:
    """Publish readings, QoS 1, until ``count`` are sent or ``seconds`` are over; then wait for the last PUBACKs.

    Args:
        broker: where to; plain TCP.
        devices: dealt to the clients in turn; a device's readings are a millisecond apart and never repeat.
        clients: connections, each a gateway ``{gateway}-1``, ``-2``, ...
        rate: messages per second of all clients together; None for flat out.
        count: messages in all.
        seconds: how long.
        metrics: readings in a message, 1 to 8.
        first_ms: time of every device's first reading; default: a day ago, so that none is in the future.
        gateway: start of the gateways' names.
        seed: same seed, same values.
        progress: told once a second how many were sent.
        stop: set it to end early; what was sent until then is told as usual.

    Raises:
        BadConfig: neither count nor seconds, or a number out of range.
        Unreachable: the broker does not answer or refuses us.
    """
    if (count is None) == (seconds is None):
        raise BadConfig("say either how many messages to send or for how long")
    if devices < 1 or clients < 1 or not 1 <= metrics <= len(METRICS) or (rate is not None and rate <= 0):
        raise BadConfig(f"devices and clients from 1, metrics from 1 to {len(METRICS)}, rate above 0")
    if broker.tls:
        raise BadConfig("load goes over plain TCP only")
    clients = min(clients, devices)
    first = time.time_ns() // 1_000_000 - _DAY_MS if first_ms is None else first_ms
    fleet = [DeviceLoad(f"{gateway}-{i % clients + 1}", f"dev-{i + 1}", first, offset(seed)) for i in range(devices)]
    names = METRICS[:metrics]
    loop = asyncio.get_running_loop()
    connections: list[_Client] = []
    try:
        for i in range(clients):  # one by one: those opened are closed below if the next one fails
            connections.append(  # noqa: PERF401
                await _open(broker, f"{gateway}-{i + 1}", fleet[i::clients], names)
            )
        began = loop.time()
        await _pace(connections, began, rate=rate, count=count, seconds=seconds, progress=progress, stop=stop)
        for connection in connections:
            connection.allowance = 0
        idle = asyncio.gather(*(connection.idle.wait() for connection in connections))
        with contextlib.suppress(TimeoutError):  # what is not acknowledged by then is told as such
            await asyncio.wait_for(idle, _DRAIN_S)
        took = loop.time() - began
    finally:
        broken = sum(connection.lost for connection in connections)
        for connection in connections:
            connection.close()
        await asyncio.gather(*(connection.closed() for connection in connections))
    return MqttLoad(took, names, fleet, broken)


async def _open(broker: Broker, client_id: str, devices: list[DeviceLoad], metrics: tuple[str, ...]) -> _Client:
    loop = asyncio.get_running_loop()
    try:
        opening = loop.create_connection(lambda: _Client(broker, client_id, devices, metrics), broker.host, broker.port)
        _, client = await asyncio.wait_for(opening, _CONNECT_S)
        try:
            await asyncio.wait_for(client.connected, _CONNECT_S)
        except BaseException:
            client.close()
            await client.closed()
            raise
    except (OSError, TimeoutError) as error:
        why = "no answer" if isinstance(error, TimeoutError) else error.strerror or str(error)
        raise Unreachable(f"{broker}: {why}") from error
    except Unreachable as error:
        raise Unreachable(f"{broker}: {error}") from error
    return client


async def _pace(
    connections: list[_Client],
    began: float,
    *,
    rate: float | None,
    count: int | None,
    seconds: float | None,
    progress: Callable[[int], None] | None,
    stop: asyncio.Event | None,
) -> None:
    """Deal out allowances until all are used up, or the time is."""
    loop = asyncio.get_running_loop()
    granted = 0
    told = began
    while True:
        now = loop.time()
        elapsed = now - began
        due = count if rate is None else int(rate * elapsed)
        if (seconds is not None and elapsed >= seconds) or (stop is not None and stop.is_set()):
            return
        if due is None:  # flat out for a time: never let a window run dry
            due = granted + sum(max(0, 2 * c.window - c.allowance) for c in connections)
        if count is not None:
            due = min(due, count)
        for i in range(len(connections)):
            share = (due - granted) // len(connections) + (i < (due - granted) % len(connections))
            connections[(granted + i) % len(connections)].allowance += share
        granted = max(granted, due)
        for connection in connections:
            connection.pump()
        alive = [c for c in connections if not c.lost]
        if not alive or (granted == count and all(c.allowance == 0 for c in alive)):
            return
        if progress is not None and now - told >= 1.0:
            told = now
            progress(granted - sum(c.allowance for c in connections))
        await asyncio.sleep(_PULSE_S)


@dataclass(slots=True)
class AisLoad:
    """The outcome of a load of positions by MMSIs from ``first_mmsi`` on; every place was sent once."""

    sent: int
    seconds: float
    vessels: int
    first_mmsi: int

    def summary(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "sent": self.sent,
            "vessels": self.vessels,
            "first_mmsi": self.first_mmsi,
            "seconds": round(self.seconds, 3),
            "messages_per_second": round(self.sent / self.seconds, 1) if self.seconds else 0.0,
        }


def positions(numbers: range, vessels: int, first_mmsi: int, second: int) -> bytes:
    """The sentences of the load's messages ``numbers``: the k-th is vessel ``k % vessels``, at its ``k // vessels``-th
    place. Places run along rows of 20,000 steps of 1/600,000 degree and do not repeat within 4 * 10^9.
    """
    k = np.arange(numbers.start, numbers.stop, dtype=np.int64)
    step = k // vessels
    count = len(k)
    lines = ais_wire.position_lines(
        first_mmsi + k % vessels,
        107.70 + step % 20_000 / 600_000,
        16.60 + step // 20_000 / 600_000,
        np.full(count, 7.0),
        np.full(count, 90.0),
        np.full(count, second, np.int64),
    )
    return lines.tobytes()


async def load_ais(
    target: SentenceTarget,
    *,
    vessels: int = 500,
    rate: float | None = None,
    count: int | None = None,
    seconds: float | None = None,
    first_mmsi: int = 574_500_000,
    seed: int = 1,
    progress: Callable[[int], None] | None = None,
    stop: asyncio.Event | None = None,
) -> AisLoad:
    """Send position reports to an open target until ``count`` are sent or ``seconds`` are over.

    UDP gets one datagram a sentence; TCP gets as many to a write as are due. ``rate`` in messages per second; None
    is as fast as the other end takes them (UDP: as the kernel does). Same seed, same places.

    Raises:
        BadConfig: neither count nor seconds, or a number out of range.
    """
    if (count is None) == (seconds is None):
        raise BadConfig("say either how many messages to send or for how long")
    if vessels < 1 or (rate is not None and rate <= 0):
        raise BadConfig("vessels from 1, rate above 0")
    await target.ready()
    loop = asyncio.get_running_loop()
    began = told = loop.time()
    sent, before = 0, offset(seed) * vessels
    while True:
        now = loop.time()
        elapsed = now - began
        over = seconds is not None and elapsed >= seconds
        if sent == count or over or (stop is not None and stop.is_set()):
            break
        due = sent + _CHUNK if rate is None else min(int(rate * elapsed), sent + _CHUNK)
        if count is not None:
            due = min(due, count)
        if due <= sent:
            await asyncio.sleep(_PULSE_S)
            continue
        data = positions(range(before + sent, before + due), vessels, first_mmsi, int(time.time()) % 60)
        step = ais_wire.LINE_BYTES if isinstance(target, UdpSend) else len(data)
        for at in range(0, len(data), step):
            await target.write(data[at : at + step])
        if isinstance(target, TcpListen):
            await target.drained()
        sent = due
        if progress is not None and now - told >= 1.0:
            told = now
            progress(sent)
        await asyncio.sleep(0)
    return AisLoad(sent, loop.time() - began, vessels, first_mmsi)
