"""The operator's port: three paths, whatever else comes in, bounded."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from ingest.http import MOST_CONNECTIONS, HttpServer
from ingest.settings import Settings
from ingest.telemetry import Telemetry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@contextlib.asynccontextmanager
async def served(patience: float = 60.0) -> AsyncIterator[HttpServer]:
    server = HttpServer(Telemetry(), lambda: {"ready": True}, host="127.0.0.1", port=0, patience=patience)
    task = asyncio.create_task(server.run())
    try:
        async with asyncio.timeout(30):
            while not await answers(server):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            yield server
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def answers(server: HttpServer) -> bool:
    try:
        async with httpx.AsyncClient(trust_env=False) as client:
            return (await client.get(f"{server.url}/healthz")).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


async def send(server: HttpServer, data: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(data)
    return reader, writer


async def rest(reader: asyncio.StreamReader) -> bytes:
    """Until the server closes, however it does."""
    with contextlib.suppress(ConnectionError):
        return await reader.read()
    return b""


def test_it_listens_on_loopback_unless_told_otherwise() -> None:
    assert ipaddress.ip_address(Settings().http.host).is_loopback


@pytest.mark.parametrize(
    "drip", [b"", b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-Slow: ", b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"]
)
async def test_who_does_not_come_to_an_end_is_cut_off(drip: bytes) -> None:
    """Whether nothing comes, or a head without an end, or a second request that never gets its own."""
    async with served(patience=0.2) as server:
        reader, writer = await send(server, drip)
        if b"healthz" in drip:
            await reader.readuntil(b"}")
            writer.write(b"GET /he")
        await rest(reader)
        writer.close()
        assert await answers(server)


async def test_connections_held_open_keep_nobody_out() -> None:
    async with served() as server:
        held = [await send(server, b"GET /metrics HTTP/1.1\r\nX-Slow: ") for _ in range(3 * MOST_CONNECTIONS)]
        try:
            for _ in range(3):
                assert await answers(server)
            # The oldest gave way, in order, down to the bound.
            await asyncio.gather(*(rest(reader) for reader, _ in held[: 2 * MOST_CONNECTIONS]))
        finally:
            for _, writer in held:
                writer.close()


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-Huge: " + b"x" * 1_000_000, b"400"),
        (b"GET /" + b"x" * 1_000_000 + b" HTTP/1.1\r\n\r\n", b"400"),
        (b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n" + b"x" * 1_000_000, b"405"),
        (b"NOT HTTP\r\n\r\n", b"400"),
        (b"GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"404"),
    ],
)
async def test_what_is_huge_or_no_request_is_refused(head: bytes, status: bytes) -> None:
    async with served(patience=2.0) as server:
        reader, writer = await send(server, head)
        said: Any = await rest(reader)
        writer.close()
        # A reset may overtake the answer where we go on sending what is not wanted.
        assert not said or said.split(b" ")[1] == status
        assert await answers(server)
