"""An HTTP target that does as it is told, byte by byte: what real servers do on bad days."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable

    Step = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass(slots=True)
class Seen:
    line: str
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class Target:
    """Plays ``steps`` in turn, then answers 200 to everything."""

    port: int = 0
    steps: deque[Step] = field(default_factory=deque)
    seen: list[Seen] = field(default_factory=list)
    connections: int = 0
    silent: bool = False  # accept connections and say nothing at all
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?site=hue"

    async def wait_for(self, requests: int) -> None:
        async with self._changed, asyncio.timeout(20):
            await self._changed.wait_for(lambda: len(self.seen) >= requests)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            if self.silent:
                await hang(reader, writer)
            while (head := await reader.readuntil(b"\r\n\r\n")) is not None:
                line, *rest = head.decode().split("\r\n")
                headers = dict(entry.split(": ", 1) for entry in rest if entry)
                body = await reader.readexactly(int(headers.get("Content-Length", "0")))
                async with self._changed:
                    self.seen.append(Seen(line, headers, body))
                    self._changed.notify_all()
                step = self.steps.popleft() if self.steps else answer(200)
                await step(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


def answer(status: int, body: bytes = b"", **headers: str) -> Step:
    """A whole answer; header names with ``_`` for ``-``."""

    async def step(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        await writer.drain()

    return step


async def hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """Say nothing until the other side goes."""
    await reader.read()


async def drop(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Close with no answer."""
    writer.close()
    await writer.wait_closed()


def drip(start: bytes, more: bytes, every: float = 0.02) -> Step:
    """``start``, then ``more`` over and over, until the other side goes."""

    async def step(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(start)
        while not writer.is_closing():
            writer.write(more)
            await writer.drain()
            await asyncio.sleep(every)  # the pace of the drip, not a wait for anything

    return step


@asynccontextmanager
async def target(*, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> AsyncIterator[Target]:
    """A running target on a free loopback port."""
    made = Target()
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(made.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(connected, host, 0, ssl=tls)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
