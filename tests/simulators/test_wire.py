"""What is sent arrives: over real sockets and in files."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import TYPE_CHECKING

import pytest

from simulators.drive import DEMO_LOG, TruthFile, drive, replay_log
from simulators.events import SECOND, Event, Publish, Sentences, Truth
from simulators.fleet import FleetConfig, fleet_events
from simulators.load import load_ais
from simulators.wire import NmeaLog, Recording, TcpConnect, TcpListen, UdpSend, Unreachable
from tests.simulators.samples import START, ZONES, decode, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from simulators.wire import Target

CONFIG = FleetConfig(seed=2, start=START, seconds=300.0, zones=ZONES, first_entry=10.0)
EVENTS: list[Event] = list(fleet_events(CONFIG))
ALL = b"".join(event.data for event in EVENTS if isinstance(event, Sentences))


class Consumer:
    """A TCP server that keeps what it hears."""

    def __init__(self) -> None:
        self.heard = b""
        self.changed = asyncio.Condition()
        self.writers: list[asyncio.StreamWriter] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        try:
            while data := await reader.read(65_536):
                self.heard += data
                async with self.changed:
                    self.changed.notify_all()
        except ConnectionResetError:
            return
        finally:
            writer.close()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(10), self.changed:
            await self.changed.wait_for(lambda: len(self.heard) >= count)


@pytest.fixture
async def consumer() -> AsyncIterator[Consumer]:
    consumer = Consumer()
    server = await asyncio.start_server(consumer.serve, "127.0.0.1", 0)
    consumer.port = server.sockets[0].getsockname()[1]
    async with server:
        yield consumer
        for writer in consumer.writers:
            writer.close()


async def test_a_tcp_client_delivers_every_byte(consumer: Consumer) -> None:
    async with TcpConnect("127.0.0.1", consumer.port) as target:
        await drive(EVENTS, [target], start=START, paced=False)
    await consumer.until(len(ALL))
    assert consumer.heard == ALL
    assert (target.bytes, target.lost) == (len(ALL), 0)


async def test_a_tcp_client_comes_back_after_a_broken_line(consumer: Consumer) -> None:
    async with TcpConnect("127.0.0.1", consumer.port) as target:
        await target.write(b"one\r\n")
        await consumer.until(5)
        consumer.writers[0].transport.abort()
        async with asyncio.timeout(10):
            while not (target.lost and b"again" in consumer.heard):
                await target.write(b"again\r\n")
                await asyncio.sleep(0.01)
    assert len(consumer.writers) == 2


async def test_every_client_of_a_listener_gets_everything_from_when_it_came() -> None:
    async with TcpListen("127.0.0.1", 0) as target:
        connections = [await asyncio.open_connection("127.0.0.1", target.port) for _ in range(2)]
        await until(lambda: target.clients == 2)
        await drive(EVENTS, [target], start=START, paced=False)
        for reader, _ in connections:
            assert await asyncio.wait_for(reader.readexactly(len(ALL)), 10) == ALL
        for _, writer in connections:
            writer.close()


async def test_a_listener_for_one_receiver_carries_that_receiver_only() -> None:
    own = b"".join(e.data for e in EVENTS if isinstance(e, Sentences) and e.receiver == "hue-ais-2")
    assert 0 < len(own) < len(ALL)
    async with TcpListen("127.0.0.1", 0, only="hue-ais-2") as target:
        reader, writer = await asyncio.open_connection("127.0.0.1", target.port)
        await asyncio.wait_for(target.ready(), 10)
        await drive(EVENTS, [target], start=START, paced=False)
        assert await asyncio.wait_for(reader.readexactly(len(own)), 10) == own
        writer.close()


async def test_a_client_that_does_not_read_is_cut_off() -> None:
    async with TcpListen("127.0.0.1", 0) as target:
        _, writer = await asyncio.open_connection("127.0.0.1", target.port, limit=1024)
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # a read transport, which the type does not say
        await asyncio.wait_for(target.ready(), 10)
        async with asyncio.timeout(20):
            while target.clients:
                await target.write(b"x" * 1_000_000)
                await asyncio.sleep(0)
        writer.close()


async def test_udp_delivers_one_datagram_for_each_event() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(10)
        sent = [e.data for e in EVENTS if isinstance(e, Sentences)][:200]
        async with UdpSend("127.0.0.1", receiver.getsockname()[1]) as target:
            for data in sent:
                await target.write(data)
        assert [receiver.recv(2048) for _ in sent] == sent


async def test_files_hold_what_the_wire_would_carry(tmp_path: Path) -> None:
    publish = Publish(START, "hue-gw-1", "haidang/v1/hue-gw-1/kim-long/readings", b'{"time":1,"readings":{}}')
    async with NmeaLog(tmp_path / "fleet.nmea") as log, Recording(tmp_path / "all.jsonl") as recording:
        await drive([publish, *EVENTS], [log, recording], start=START, paced=False)
    assert (tmp_path / "fleet.nmea").read_bytes() == ALL
    records = [json.loads(line) for line in (tmp_path / "all.jsonl").read_text().splitlines()]
    assert records[0] == {
        "received_at": "2026-09-21T14:13:20.000Z",
        "topic": publish.topic,
        "payload": publish.payload.decode(),
    }
    assert b"".join(record["payload"].encode() for record in records[1:]) == ALL
    assert {record["topic"] for record in records[1:]} == {"haidang/v1/hue-ais-1/nmea", "haidang/v1/hue-ais-2/nmea"}


async def test_truth_is_written_as_json_lines(tmp_path: Path) -> None:
    with TruthFile(tmp_path / "truth.jsonl") as truth:
        await drive(fleet_events(CONFIG), [], start=CONFIG.start, truth=truth, paced=False)
    told = [json.loads(line) for line in (tmp_path / "truth.jsonl").read_text().splitlines()]
    assert told == [dict(event.fields) for event in EVENTS if isinstance(event, Truth)]
    assert len(told) == truth.lines > 3


async def test_in_step_with_the_clock_nothing_is_sent_before_its_time() -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    seen: list[tuple[float, bytes]] = []

    class Watch(NmeaLog):
        async def send(self, event: Sentences | Publish) -> None:
            assert isinstance(event, Sentences)
            seen.append((loop.time() - began, event.data))

    events = [Sentences(START + i * SECOND // 20, "r", b"%d" % i) for i in range(6)]
    await drive(events, [Watch(None)], start=START, seconds=0.3)
    assert all(at >= i / 20 - 0.005 for i, (at, _) in enumerate(seen))
    assert len(seen) == 6
    assert loop.time() - began >= 0.295


@pytest.mark.parametrize("make", [lambda p: TcpConnect("127.0.0.1", p), lambda p: TcpListen("127.0.0.1", p)])
async def test_a_target_that_cannot_be_opened_is_told_in_one_line(make: Callable[[int], Target]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refuses, and is not free either
        port = taken.getsockname()[1]
        with pytest.raises(Unreachable) as error:
            async with make(port):
                pass
    assert str(port) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_cannot_be_written_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="No such file"):
        TruthFile(tmp_path / "none" / "truth.jsonl")


async def test_the_recorded_log_arrives_as_it_stands(consumer: Consumer) -> None:
    log = DEMO_LOG.read_bytes()
    async with TcpConnect("127.0.0.1", consumer.port) as target:
        lines = await replay_log(DEMO_LOG, target)
    await consumer.until(len(log))
    assert consumer.heard.rstrip(b"\n") == log.rstrip(b"\n")
    assert lines == log.rstrip(b"\n").count(b"\n") + 1 == 898


async def test_a_replay_keeps_to_its_rate(tmp_path: Path, consumer: Consumer) -> None:
    path = tmp_path / "short.nmea"
    path.write_bytes(b"a\nb\nc\nd\ne")
    loop = asyncio.get_running_loop()
    async with TcpConnect("127.0.0.1", consumer.port) as target:
        began = loop.time()
        assert await replay_log(path, target, rate=20.0) == 5
        assert loop.time() - began >= 4 / 20 - 0.01
    await consumer.until(10)
    assert consumer.heard == b"a\nb\nc\nd\ne\n"


async def test_a_load_of_positions_arrives_whole_and_never_repeats(consumer: Consumer) -> None:
    async with TcpConnect("127.0.0.1", consumer.port) as target:
        outcome = await load_ais(target, vessels=50, count=7001)
    await consumer.until(7001 * 49)
    lines = consumer.heard.splitlines()
    assert outcome.sent == len(lines) == len(set(lines)) == 7001
    fields = [decode([line]) for line in lines[:: 7001 // 50]]
    assert {f["msg_type"] for f in fields} == {1}
    assert all(574_500_000 <= f["mmsi"] < 574_500_050 for f in fields)


async def test_a_load_of_positions_keeps_to_its_rate_and_its_time() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(10)
        async with UdpSend("127.0.0.1", receiver.getsockname()[1]) as target:
            outcome = await load_ais(target, rate=1000.0, seconds=0.5)
        assert 400 <= outcome.sent <= 500
        assert len({receiver.recv(2048) for _ in range(outcome.sent)}) == outcome.sent


async def test_a_load_can_be_stopped() -> None:
    stop = asyncio.Event()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        async with UdpSend("127.0.0.1", receiver.getsockname()[1]) as target:
            asyncio.get_running_loop().call_later(0.05, stop.set)
            outcome = await asyncio.wait_for(load_ais(target, rate=100.0, seconds=60.0, stop=stop), 10)
    assert outcome.seconds < 5
