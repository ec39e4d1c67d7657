"""Where simulated bytes go: TCP both ways round, UDP, files. (MQTT: ``simulators.mqtt``.)

A target is an asynchronous context manager. Opening it fails with ``Unreachable``; once open, a TCP client comes
back after a broken line as a receiver would, and what is said meanwhile is lost and counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Self

import structlog

from simulators.events import Publish, Sentences, iso
from simulators.scenario import as_publish

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType

log = structlog.get_logger(__name__)

_SLOW_CLIENT_BYTES: Final = 4 << 20  # a listener's client that is this far behind is cut off
_RETRY_S: Final = 1.0
_CONNECT_S: Final = 5.0


class Unreachable(Exception):  # noqa: N818  # a state of the world, not a fault of the program
    """A target that cannot be opened; the message is one line for a person."""


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raises ``Unreachable`` with the path if the file cannot be opened or written."""
    try:
        yield
    except OSError as error:
        raise Unreachable(f"{path}: {error.strerror}") from error


class Target(ABC):
    """Somewhere to send. ``messages`` and ``bytes`` count what was handed over, ``lost`` what could not be."""

    paced = True  # whether the other end lives in real time

    def __init__(self) -> None:
        """Counters at nought."""
        self.messages = 0
        self.bytes = 0
        self.lost = 0

    async def __aenter__(self) -> Self:
        """Open it."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Send what is buffered and close."""
        return

    @abstractmethod
    def takes(self, event: Sentences | Publish) -> bool:
        """Whether this kind of event belongs on this wire."""

    @abstractmethod
    async def send(self, event: Sentences | Publish) -> None:
        """Send one event; waits while the other end is slower than we are."""

    def summary(self) -> dict[str, Any]:
        """The counters, JSON-ready."""
        return {"messages": self.messages, "bytes": self.bytes, "lost": self.lost}


class SentenceTarget(Target):
    """A wire that carries NMEA sentences and nothing else; with ``only``, those of one receiver."""

    def __init__(self, only: str | None = None) -> None:
        """``only``: the receiver this wire belongs to; None: all of them share it."""
        super().__init__()
        self._only = only

    def takes(self, event: Sentences | Publish) -> bool:
        return isinstance(event, Sentences) and self._only in (None, event.receiver)

    async def send(self, event: Sentences | Publish) -> None:
        assert isinstance(event, Sentences)
        await self.write(event.data)

    async def ready(self) -> None:
        """Wait until somebody is there to hear."""

    async def write(self, data: bytes) -> None:
        """Send whole lines."""
        if await self._write(data):
            self.messages += 1
            self.bytes += len(data)
        else:
            self.lost += 1

    @abstractmethod
    async def _write(self, data: bytes) -> bool:
        """Send, or say that nobody was there."""


class TcpConnect(SentenceTarget):
    """Connects to a listening consumer, as receivers that push do."""

    def __init__(self, host: str, port: int, only: str | None = None) -> None:
        """``host`` and ``port`` of the consumer."""
        super().__init__(only)
        self._host = host
        self._port = port
        self._writer: asyncio.StreamWriter | None = None
        self._retry_at = 0.0

    async def __aenter__(self) -> Self:
        try:
            await self._connect()
        except (OSError, TimeoutError) as error:
            raise Unreachable(f"tcp {self._host}:{self._port}: {_why(error)}") from error
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            await _close(self._writer)

    async def _connect(self) -> None:
        connecting = asyncio.open_connection(self._host, self._port)
        _, self._writer = await asyncio.wait_for(connecting, _CONNECT_S)

    async def _write(self, data: bytes) -> bool:
        loop = asyncio.get_running_loop()
        if self._writer is None:
            if loop.time() < self._retry_at:
                return False
            self._retry_at = loop.time() + _RETRY_S
            try:
                await self._connect()
            except (OSError, TimeoutError):
                return False
            log.info("simulator.tcp.back", host=self._host, port=self._port)
        assert self._writer is not None
        try:
            # A peer that closed is seen at the transport before a write to it fails.
            if self._writer.is_closing():
                raise ConnectionResetError
            self._writer.write(data)
            await self._writer.drain()
        except OSError as error:
            log.warning("simulator.tcp.broken", host=self._host, port=self._port, error=str(error))
            await _close(self._writer)
            self._writer = None
            return False
        return True


class TcpListen(SentenceTarget):
    """Listens, as receivers that serve do; every client gets everything from when it connected."""

    def __init__(self, host: str, port: int, only: str | None = None) -> None:
        """Port 0 takes a free one, told by ``port`` once open."""
        super().__init__(only)
        self._host = host
        self.port = port
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.StreamWriter] = set()
        self._someone = asyncio.Event()

    async def __aenter__(self) -> Self:
        try:
            self._server = await asyncio.start_server(self._serve, self._host, self.port)
        except OSError as error:
            raise Unreachable(f"listen {self._host}:{self.port}: {error}") from error
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        await asyncio.gather(*(_close(writer) for writer in self._clients))
        await self._server.wait_closed()

    @property
    def clients(self) -> int:
        """How many are connected."""
        return len(self._clients)

    async def ready(self) -> None:
        await self._someone.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients.add(writer)
        self._someone.set()
        try:
            while await reader.read(4096):  # clients have nothing to say to us
                pass
        except ConnectionError:
            log.info("simulator.listen.reset", port=self.port)
        finally:
            self._drop(writer)
            writer.close()

    def _drop(self, writer: asyncio.StreamWriter) -> None:
        self._clients.discard(writer)
        if not self._clients:
            self._someone.clear()

    async def _write(self, data: bytes) -> bool:
        for writer in list(self._clients):
            if writer.transport.get_write_buffer_size() > _SLOW_CLIENT_BYTES:
                log.warning("simulator.listen.slow_client", port=self.port)
                self._drop(writer)
                writer.transport.abort()
            else:
                writer.write(data)
        return bool(self._clients)

    async def drained(self) -> None:
        """Wait until the clients have taken what was written: for those who send as fast as the other end takes."""
        for writer in list(self._clients):
            try:
                await writer.drain()
            except ConnectionError:
                self._drop(writer)


class UdpSend(SentenceTarget, asyncio.DatagramProtocol):
    """Sends one datagram for each event, as receivers do; nobody says whether it arrived."""

    def __init__(self, host: str, port: int, only: str | None = None) -> None:
        """``host`` and ``port`` of the consumer."""
        super().__init__(only)
        self._host = host
        self._port = port
        self._transport: asyncio.DatagramTransport | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self.unreachable = 0  # port-unreachable answers, which only a host nearby sends

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        try:
            self._transport, _ = await loop.create_datagram_endpoint(lambda: self, remote_addr=(self._host, self._port))
        except OSError as error:
            raise Unreachable(f"udp {self._host}:{self._port}: {error}") from error
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._transport is not None
        self._transport.close()

    async def _write(self, data: bytes) -> bool:
        assert self._transport is not None
        await self._writable.wait()
        self._transport.sendto(data)
        return True

    def error_received(self, exc: Exception) -> None:
        """A datagram before this one found nobody listening."""
        del exc
        self.unreachable += 1

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()


class _File(Target):
    paced = False

    def __init__(self, path: Path | None) -> None:
        """None is standard output."""
        super().__init__()
        self._path = path
        self._file: BinaryIO = sys.stdout.buffer

    async def __aenter__(self) -> Self:
        if self._path is not None:
            with writing(self._path):
                self._file = self._path.open("wb")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._path is None:
            self._file.flush()
        else:
            with writing(self._path):
                self._file.close()

    def _put(self, data: bytes) -> None:
        if self._path is None:
            self._file.write(data)
            self._file.flush()  # whoever reads our output wants it now
        else:
            with writing(self._path):
                self._file.write(data)
        self.messages += 1
        self.bytes += len(data)


class NmeaLog(_File):
    """A file of sentences, as a receiver would log them."""

    def takes(self, event: Sentences | Publish) -> bool:
        return isinstance(event, Sentences)

    async def send(self, event: Sentences | Publish) -> None:
        assert isinstance(event, Sentences)
        self._put(event.data)


class Recording(_File):
    """A recording of MQTT traffic as JSON lines; sentences go in as their receiver would publish them."""

    def takes(self, event: Sentences | Publish) -> bool:  # noqa: ARG002  # everything can be recorded
        return True

    async def send(self, event: Sentences | Publish) -> None:
        publish = as_publish(event) if isinstance(event, Sentences) else event
        record = {"received_at": iso(event.time), "topic": publish.topic, "payload": publish.payload.decode()}
        self._put(json.dumps(record, separators=(",", ":")).encode() + b"\n")


def _why(error: OSError | TimeoutError) -> str:
    return "no answer" if isinstance(error, TimeoutError) else error.strerror or str(error)


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    try:
        await asyncio.wait_for(writer.wait_closed(), _CONNECT_S)
    except (OSError, TimeoutError):
        writer.transport.abort()
