"""NMEA 0183 over UDP: a datagram is one or several lines.

UDP cannot be held back, so under overload datagrams are shed, counted by reason, and said once in the log.
"""

from __future__ import annotations

import asyncio
import socket
import time
from typing import TYPE_CHECKING

from decoders.line_ends import LineEnds
from ingest.delivery import Delivery, count_lines
from ingest.inbox import InboxClosed
from ingest.sources.base import Source, SourceUnavailable, SourceWatcher, log

if TYPE_CHECKING:
    from ingest.inbox import Inbox

#: Asked of the kernel, which may give less: room for a burst while a large batch commits.
RECEIVE_BUFFER_BYTES = 4 * 2**20


class _Protocol(asyncio.DatagramProtocol):
    def __init__(self, source: NmeaUdp, inbox: Inbox) -> None:
        self._source = source
        self._inbox = inbox
        self._shedding = False

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        source = self._source
        if source.stopping or not data:
            return
        data = LineEnds().feed(data)
        messages = count_lines(data)
        source.watcher.received(source.name, messages)
        delivery = Delivery(
            data, source.name, f"udp://{addr[0]}", time.time_ns() // 1000, messages=messages, per_line=True
        )
        try:
            taken = self._inbox.offer(delivery)
        except InboxClosed:
            source.watcher.dropped(source.name, "stopping", messages)
            return
        if not taken:
            source.watcher.dropped(source.name, "overload", messages)
        if taken == self._shedding:  # the edge, not the state
            self._shedding = not taken
            log.warning("shedding_began" if self._shedding else "shedding_ended", source=source.name)

    def error_received(self, exc: Exception) -> None:
        log.warning("udp_error", source=self._source.name, error=str(exc))


class NmeaUdp(Source):
    """Listens on a UDP port."""

    def __init__(self, name: str, watcher: SourceWatcher, *, host: str, port: int) -> None:
        super().__init__(name, watcher)
        self._host, self.port = host, port
        self.listening = asyncio.Event()

    def _bind(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_DGRAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
            sock.setblocking(False)
            sock.bind((self._host, self.port))
        except OSError:
            sock.close()
            raise
        return sock

    async def check(self) -> None:
        try:
            self._bind().close()
        except OSError as exc:
            raise SourceUnavailable(
                f"source {self.name}: cannot listen on udp://{self._host}:{self.port} ({exc.strerror})"
            ) from exc

    async def run(self, inbox: Inbox) -> None:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: _Protocol(self, inbox), sock=self._bind())
        self.port = transport.get_extra_info("sockname")[1]
        self.watcher.connected(self.name, up=True)
        self.listening.set()
        try:
            await self._stopping.wait()
        finally:
            transport.close()
            self.watcher.connected(self.name, up=False, detail="stopped")
