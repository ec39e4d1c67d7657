"""A TCP proxy between a client and a server that a test can cut, stall and resume.

It runs in a thread with an event loop of its own, so that tests may command it from sync and async code alike.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from typing import TYPE_CHECKING, Self

from services.ports import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Coroutine

CHUNK = 65536


class TcpProxy:
    """Passes bytes both ways between clients of `port` and ``target_port``.

    * `cut`: every connection is reset, and new ones are reset at once, until `resume`.
    * `stall`: connections stay open and new ones are accepted, but no byte passes either way, until `resume`.
    * `slow`: every chunk comes late, and no more than so many bytes a second pass one way, until `resume`.
    """

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.port = 0
        self.accepted = 0  # connections ever accepted, refused ones too
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._is_cut = False
        self._latency = 0.0
        self._rate = float("inf")
        self._tasks: set[asyncio.Task[None]] = set()
        self._sides: set[asyncio.StreamWriter] = set()  # of all connections there ever were
        self._server: asyncio.Server | None = None

    def cut(self) -> None:
        """Reset all connections and refuse new ones."""
        self._do(self._cut())

    def stall(self) -> None:
        """Hold all bytes back."""
        self._do(self._stall())

    def slow(self, latency: float, bytes_per_second: float) -> None:
        """Be a long, thin line: ``latency`` in seconds, each way."""
        self._latency, self._rate = latency, bytes_per_second

    def resume(self) -> None:
        """Pass connections and bytes again; after `stall`, those held back as well."""
        self._do(self._resume())

    @property
    def connections(self) -> int:
        """Connections open now."""
        return len(self._tasks)

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._open())
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work: Coroutine[None, None, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _open(self) -> None:
        self._server = await asyncio.start_server(self._accept, LOOPBACK, 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        assert self._server is not None
        self._server.close()
        await self._end_connections()
        # Whatever has bytes left that nobody takes would outlive the loop.
        for side in self._sides:
            side.transport.abort()
        await asyncio.sleep(0)

    async def _cut(self) -> None:
        self._is_cut = True
        self._flowing.set()
        await self._end_connections()

    async def _stall(self) -> None:
        self._flowing.clear()

    async def _resume(self) -> None:
        self._is_cut = False
        self._latency, self._rate = 0.0, float("inf")
        self._flowing.set()

    async def _end_connections(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self._sides.add(writer)
        if self._is_cut:
            _reset(writer)
            return
        task = self._loop.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sides = [writer]
        self._sides.add(writer)
        both_ended = False
        try:
            await self._flowing.wait()
            answers, upstream = await asyncio.open_connection(LOOPBACK, self.target_port)
            sides.append(upstream)
            self._sides.add(upstream)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass(reader, upstream))
                group.create_task(self._pass(answers, writer))
            both_ended = True
        except* OSError:
            pass  # one side is gone: so goes the other
        finally:
            for side in sides:
                if both_ended:
                    side.close()
                else:
                    _reset(side)

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(CHUNK):
            await self._flowing.wait()
            if late := self._latency + len(data) / self._rate:
                await asyncio.sleep(late)  # the pace of the line
            sink.write(data)
            await sink.drain()
        await self._flowing.wait()
        with contextlib.suppress(OSError):
            sink.write_eof()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close without a farewell: the other side gets a reset, and not the end of a stream."""
    peer: socket.socket = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
