"""NMEA 0183 over TCP: as a client of a receiver or multiplexer, or listening for receivers that connect to us.

Back-pressure is TCP's own: while the inbox is full we do not read, the window closes, and the sender waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

from decoders.line_ends import LineEnds
from ingest.delivery import Delivery, count_lines
from ingest.inbox import InboxClosed
from ingest.sources.base import Source, SourceUnavailable, SourceWatcher, backoff, log, pause

if TYPE_CHECKING:
    from ingest.inbox import Inbox

#: Read at most this much at once: some 1,300 sentences, a good batch, and small beside the inbox.
CHUNK_BYTES = 64 * 1024
#: No sentence with its TAG block is near this long; a peer that sends no line end is not speaking NMEA.
MAX_LINE_BYTES = 4 * 1024


class _Lines:
    """Cuts a byte stream into chunks of whole lines."""

    def __init__(self) -> None:
        self._rest = b""
        self._ends = LineEnds()

    def feed(self, data: bytes) -> bytes:
        data = self._rest + self._ends.feed(data)
        end = data.rfind(b"\n") + 1
        if not end and len(data) > MAX_LINE_BYTES:
            end = len(data)  # handed on as it is, to be quarantined, rather than kept for ever
        self._rest = data[end:]
        return data[:end]

    def rest(self) -> bytes:
        rest, self._rest = self._rest, b""
        return rest


class _NmeaStream(Source):
    """Reading lines off one TCP connection."""

    def __init__(self, name: str, watcher: SourceWatcher, *, idle: float) -> None:
        super().__init__(name, watcher)
        self._idle = idle

    async def _read(self, reader: asyncio.StreamReader, origin: str, inbox: Inbox) -> None:
        """Until the peer ends, falls silent for longer than ``idle`` seconds, or we stop."""
        lines = _Lines()
        stopped = asyncio.create_task(self._stopping.wait(), name=f"{self.name}: stop")
        try:
            while not self.stopping:
                read = asyncio.create_task(reader.read(CHUNK_BYTES), name=f"{self.name}: read")
                done, _ = await asyncio.wait((read, stopped), timeout=self._idle, return_when=asyncio.FIRST_COMPLETED)
                if read not in done:
                    read.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await read
                    if not done:
                        raise TimeoutError(f"nothing heard for {self._idle:g} s")
                    break
                data = read.result()
                if not data:
                    break
                await self._deliver(lines.feed(data), origin, inbox)
        finally:
            stopped.cancel()
        await self._deliver(lines.rest(), origin, inbox)

    async def _deliver(self, payload: bytes, origin: str, inbox: Inbox) -> None:
        if not payload:
            return
        messages = count_lines(payload)
        self.watcher.received(self.name, messages)
        await inbox.put(
            Delivery(payload, self.name, origin, time.time_ns() // 1000, messages=messages, per_line=True),
        )


class NmeaTcpClient(_NmeaStream):
    """Connects to a receiver and stays connected: reconnects with full-jitter back-off."""

    def __init__(
        self, name: str, watcher: SourceWatcher, *, host: str, port: int, idle: float = 600.0, timeout: float = 10.0
    ) -> None:
        super().__init__(name, watcher, idle=idle)
        self._host, self._port, self._timeout = host, port, timeout

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        async with asyncio.timeout(self._timeout):
            return await asyncio.open_connection(self._host, self._port, limit=CHUNK_BYTES)

    async def check(self) -> None:
        try:
            _, writer = await self._connect()
        except (OSError, TimeoutError) as exc:
            raise SourceUnavailable(
                f"source {self.name}: no NMEA at tcp://{self._host}:{self._port} ({str(exc) or 'timed out'})"
            ) from exc
        writer.close()

    async def run(self, inbox: Inbox) -> None:
        delays = backoff()
        while not self.stopping:
            detail = "the peer closed the connection"
            try:
                reader, writer = await self._connect()
            except (OSError, TimeoutError) as exc:
                detail = str(exc) or "timed out"
            else:
                delays = backoff()
                self.watcher.connected(self.name, up=True)
                try:
                    await self._read(reader, f"tcp://{self._host}:{self._port}", inbox)
                except InboxClosed:
                    return
                except (OSError, TimeoutError) as exc:
                    detail = str(exc)
                finally:
                    writer.close()
            if not self.stopping:
                self.watcher.connected(self.name, up=False, detail=detail)
                await pause(self._stopping, next(delays))
        self.watcher.connected(self.name, up=False, detail="stopped")


class NmeaTcpServer(_NmeaStream):
    """Listens; receivers connect to us. At most ``max_clients`` at a time, the next is turned away."""

    def __init__(
        self, name: str, watcher: SourceWatcher, *, host: str, port: int, max_clients: int = 64, idle: float = 600.0
    ) -> None:
        super().__init__(name, watcher, idle=idle)
        self._host, self.port, self._max_clients = host, port, max_clients
        self._clients: set[asyncio.Task[None]] = set()
        self.listening = asyncio.Event()

    async def check(self) -> None:
        try:
            server = await asyncio.start_server(lambda _r, w: w.close(), self._host, self.port)
        except OSError as exc:
            raise SourceUnavailable(
                f"source {self.name}: cannot listen on tcp://{self._host}:{self.port} ({exc.strerror})"
            ) from exc
        server.close()

    async def run(self, inbox: Inbox) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            if len(self._clients) >= self._max_clients:
                log.warning("receiver_turned_away", source=self.name, clients=len(self._clients))
                writer.close()
                return
            self._clients.add(task)
            host, port = writer.get_extra_info("peername")[:2]
            self.watcher.connected(self.name, up=True, detail=f"{host}:{port}")
            try:
                await self._read(reader, f"tcp://{host}", inbox)
            except InboxClosed:
                return
            except (OSError, TimeoutError) as exc:
                log.info("receiver_left", source=self.name, peer=f"{host}:{port}", reason=str(exc))
            finally:
                self._clients.discard(task)
                writer.close()
                if not self._clients:
                    self.watcher.connected(self.name, up=False, detail="no receiver is connected")

        server = await asyncio.start_server(serve, self._host, self.port, limit=CHUNK_BYTES)
        self.port = server.sockets[0].getsockname()[1]
        self.listening.set()
        try:
            await self._stopping.wait()
        finally:
            server.close()
        if self._clients:
            await asyncio.wait(set(self._clients))
