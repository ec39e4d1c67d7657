"""A broker that does what a test tells it, also what no broker should: real TCP, MQTT bytes written by hand."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING, Self

from services.ports import LOOPBACK
from tests.servers import mqtt_packets as mqtt

if TYPE_CHECKING:
    from collections.abc import Sequence

_NOBODYS = 65_535  # a packet id


class Peer:
    """One connection of a client, seen from the broker."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self.pings = 0
        self.answering = True  # PINGREQs
        self._packets: asyncio.Queue[mqtt.Packet | None] = asyncio.Queue()
        self._reading = asyncio.create_task(self._read(reader))

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                packet = await mqtt.read_packet(reader)
                if packet.kind == mqtt.PINGREQ:
                    self.pings += 1
                    if self.answering:
                        self.send(mqtt.pingresp())
                else:
                    self._packets.put_nowait(packet)
        except (asyncio.IncompleteReadError, ConnectionError):
            self._packets.put_nowait(None)

    def send(self, *packets: bytes) -> None:
        """Write, without waiting for anyone to read it."""
        if not self._writer.is_closing():
            self._writer.write(b"".join(packets))

    async def drain(self) -> None:
        """Wait until nearly all of what was sent is on its way."""
        await self._writer.drain()

    async def next(self) -> mqtt.Packet | None:
        """What the client sends next, pings aside; None: it is gone."""
        async with asyncio.timeout(15):
            return await self._packets.get()

    async def expect(self, kind: int) -> mqtt.Packet:
        packet = await self.next()
        assert packet is not None, "the client is gone"
        assert packet.kind == kind, packet
        return packet

    async def ids(self, kind: int, count: int) -> list[int]:
        """The packet ids of the next ``count`` packets, which must be of one kind."""
        return [(await self.expect(kind)).packet_id for _ in range(count)]

    async def round_trip(self) -> None:
        """Fail if the client had anything to say, pings aside, to what it was sent before this.

        PUBREL of a packet id that no message had: the client answers at once, behind whatever it has said.
        """
        self.send(mqtt.pubrel(_NOBODYS))
        assert await self.ids(mqtt.PUBCOMP, 1) == [_NOBODYS]

    @property
    def unsent(self) -> int:
        """Bytes for which TCP has no room: the client does not read."""
        return self._writer.transport.get_write_buffer_size()

    async def welcome(self, *properties: bytes, present: bool = False, granted: Sequence[int] | None = None) -> None:
        """CONNACK and SUBACK, of the version that the client speaks."""
        hello = await self.expect(mqtt.CONNECT)
        five = hello.body[6] == 5
        self.send(mqtt.connack(0, *properties, present=present, five=five))
        subscribe = await self.expect(mqtt.SUBSCRIBE)
        codes = [1] * count_topics(subscribe.body, five=five) if granted is None else granted
        self.send(mqtt.suback(subscribe.packet_id, codes, five=five))

    def reset(self) -> None:
        """Cut the line without a farewell."""
        raw: socket.socket = self._writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def close(self) -> None:
        self._writer.transport.abort()
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)


def count_topics(body: bytes, *, five: bool) -> int:
    """Topic filters of a SUBSCRIBE that carries no properties."""
    at, topics = 3 if five else 2, 0
    while at < len(body):
        at += 2 + int.from_bytes(body[at : at + 2], "big") + 1
        topics += 1
    return topics


class ScriptedBroker:
    """Listens on loopback; the test takes each connection as it comes, and plays the broker on it."""

    def __init__(self) -> None:
        self.port = 0
        self._server: asyncio.Server | None = None
        self._waiting: asyncio.Queue[Peer] = asyncio.Queue()
        self._peers: list[Peer] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._arrive, LOOPBACK, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for peer in self._peers:
            await peer.close()

    def _arrive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer)
        self._peers.append(peer)
        self._waiting.put_nowait(peer)

    async def accept(self) -> Peer:
        """The next connection."""
        async with asyncio.timeout(15):
            return await self._waiting.get()
