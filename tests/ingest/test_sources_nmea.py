"""NMEA over TCP and UDP, on real sockets: whole lines, back-pressure, reconnection, counted shedding."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

import pytest

from ingest.inbox import Inbox
from ingest.sources.base import SourceUnavailable
from ingest.sources.nmea_tcp import MAX_LINE_BYTES, NmeaTcpClient, NmeaTcpServer
from ingest.sources.nmea_udp import NmeaUdp
from tests.ingest.watcher import Recorder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ingest.sources.base import Source

LINE = b"!AIVDM,1,1,,B,34h`9r50000HnN>NKhjLeq1`0P00,0*6C\r\n"


@contextlib.asynccontextmanager
async def running(source: Source, inbox: Inbox) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(source.run(inbox))
    try:
        yield task
    finally:
        source.stop()
        source.release()
        inbox.close()
        async with asyncio.timeout(10):
            await task


async def take(inbox: Inbox, messages: int) -> list[bytes]:
    """The payloads of at least so many messages."""
    payloads, seen = [], 0
    async with asyncio.timeout(10):
        while seen < messages:
            for delivery in await inbox.take(1_000_000):
                payloads.append(delivery.payload)
                seen += delivery.messages
    assert seen == messages
    return payloads


async def until(condition: asyncio.Event) -> None:
    async with asyncio.timeout(10):
        await condition.wait()


async def test_a_server_cuts_the_stream_into_whole_lines_and_hands_on_the_rest_at_the_end() -> None:
    watcher, inbox = Recorder(), Inbox()
    source = NmeaTcpServer("r", watcher, host="127.0.0.1", port=0)
    async with running(source, inbox):
        await until(source.listening)
        _, writer = await asyncio.open_connection("127.0.0.1", source.port)
        writer.write(LINE * 2 + LINE[:10])
        await writer.drain()
        assert b"".join(await take(inbox, 2)) == LINE * 2
        writer.write(LINE[10:] + b"$GPGGA,no line end")
        await writer.drain()
        writer.close()
        assert b"".join(await take(inbox, 2)) == LINE + b"$GPGGA,no line end"
        await until(watcher.down)
    assert watcher.counts["received"] == 4


async def test_a_receiver_that_ends_its_lines_with_a_lone_cr_is_read_line_by_line() -> None:
    watcher, inbox = Recorder(), Inbox()
    line = LINE.removesuffix(b"\n")
    source = NmeaTcpServer("r", watcher, host="127.0.0.1", port=0)
    async with running(source, inbox):
        await until(source.listening)
        _, writer = await asyncio.open_connection("127.0.0.1", source.port)
        writer.write(line)
        assert await take(inbox, 1) == [line.replace(b"\r", b"\n")]  # at once: nobody knows when more comes
        writer.write(line * 2)
        assert b"".join(await take(inbox, 2)) == line.replace(b"\r", b"\n") * 2
        writer.close()
    assert watcher.counts["received"] == 3


async def test_a_peer_that_never_ends_a_line_does_not_fill_memory() -> None:
    inbox = Inbox()
    source = NmeaTcpServer("r", Recorder(), host="127.0.0.1", port=0)
    async with running(source, inbox):
        await until(source.listening)
        _, writer = await asyncio.open_connection("127.0.0.1", source.port)
        writer.write(b"A" * (MAX_LINE_BYTES + 1))
        await writer.drain()
        async with asyncio.timeout(10):
            (delivery,) = await inbox.take(10)
        assert len(delivery.payload) > MAX_LINE_BYTES
        writer.close()


async def test_a_full_inbox_stops_the_reading_and_loses_nothing() -> None:
    inbox = Inbox(max_messages=100)
    watcher = Recorder()
    source = NmeaTcpServer("r", watcher, host="127.0.0.1", port=0)
    lines = 400_000  # 20 MB: more than the sockets buffer
    async with running(source, inbox):
        await until(source.listening)
        _, writer = await asyncio.open_connection("127.0.0.1", source.port)
        sender = asyncio.create_task(_send(writer, LINE * lines))
        async with asyncio.timeout(10):
            while not inbox.full:  # noqa: ASYNC110  # the inbox has no event for being full
                await asyncio.sleep(0)
        assert not sender.done()
        held = watcher.counts["received"]
        assert held < lines / 2
        await take(inbox, lines)
        await sender
    assert watcher.counts["received"] == lines


async def _send(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    await writer.drain()
    writer.close()


async def test_a_client_comes_back_after_the_receiver_was_away() -> None:
    inbox, watcher = Inbox(), Recorder()
    served = 0

    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        served += 1
        writer.write(LINE)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    source = NmeaTcpClient("r", watcher, host="127.0.0.1", port=port)
    async with server, running(source, inbox):
        await take(inbox, 3)
    assert served >= 3
    assert (False, "the peer closed the connection") in watcher.edges


async def test_a_silent_receiver_is_taken_for_dead() -> None:
    inbox, watcher = Inbox(), Recorder()
    quiet = asyncio.Event()

    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await quiet.wait()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    source = NmeaTcpClient("r", watcher, host="127.0.0.1", port=server.sockets[0].getsockname()[1], idle=0.05)
    async with server, running(source, inbox):
        await until(watcher.up)
        await until(watcher.down)
        assert "nothing heard for 0.05 s" in watcher.edges[-1][1]
        quiet.set()


async def test_a_receiver_that_cannot_be_reached_is_said_in_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        client = NmeaTcpClient("coast", Recorder(), host="127.0.0.1", port=port)
        with pytest.raises(SourceUnavailable, match=f"source coast: no NMEA at tcp://127.0.0.1:{port}") as caught:
            await client.check()
        assert "\n" not in str(caught.value)
        taken.listen()
        server = NmeaTcpServer("coast", Recorder(), host="127.0.0.1", port=port)
        with pytest.raises(SourceUnavailable, match="cannot listen"):
            await server.check()


async def test_each_datagram_is_a_delivery_and_overload_is_shed_and_counted() -> None:
    inbox, watcher = Inbox(max_messages=3), Recorder()
    source = NmeaUdp("u", watcher, host="127.0.0.1", port=0)
    async with running(source, inbox):
        await until(source.listening)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for _ in range(5):
                sender.sendto(LINE * 2, ("127.0.0.1", source.port))
            async with asyncio.timeout(10):
                while watcher.counts["received"] < 10:  # noqa: ASYNC110  # nor the watcher for a count
                    await asyncio.sleep(0)
        assert watcher.counts["dropped:overload"] == 6
        assert await take(inbox, 4) == [LINE * 2, LINE * 2]
