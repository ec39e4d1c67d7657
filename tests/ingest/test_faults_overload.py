"""More than can be stored: QoS 1 and TCP are held back, QoS 0 and UDP are shed and counted; memory stays as it is."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import aiomqtt
import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from psycopg.conninfo import make_conninfo
from structlog.testing import capture_logs

from ingest.settings import Limits, NmeaTcpSettings, NmeaUdpSettings, Settings
from services.ports import LOOPBACK, find_free
from simulators.ais_wire import Report, position_a, sentences, tag_block
from tests.ingest.running import (
    EPOCH_MS,
    TOPIC,
    Process,
    balanced,
    count,
    publish,
    reading,
    serving,
    settings,
    times,
    until,
    write_config,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ingest.service import Service
    from services.mosquitto import Mosquitto
    from services.postgres import Postgres
    from tests.servers.tcp_proxy import TcpProxy

INBOX_BYTES = 256 * 1024
PADDING = b"# " + b"x" * 1000 + b"\r\n"  # a comment: received, ignored, and of some weight
POSITIONS = 2_000


@pytest.fixture
def gateway() -> str:
    return f"gw-{uuid4().hex[:8]}"


def position(n: int, mmsi: int = 574_000_001) -> bytes:
    seconds = EPOCH_MS // 1000 + n
    report = Report(mmsi, 107.6 + n / 100_000, 16.5, 6.0, 90.0, None, 0, n % 60)
    (line,) = sentences(position_a(report), channel="A", sequence=0)
    return f"{tag_block(c=seconds)}{line}\r\n".encode()


class Sender(asyncio.Task[None]):
    """Pushes bytes into a TCP connection as fast as it takes them."""

    def __init__(self, port: int, data: bytes) -> None:
        self.total, self.sent = len(data), 0
        super().__init__(self._push(port, data))

    async def _push(self, port: int, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        with socket.socket() as end:
            end.setblocking(False)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
            await loop.sock_connect(end, (LOOPBACK, port))
            view = memoryview(data)
            while self.sent < self.total:
                chunk = view[self.sent : self.sent + 65_536]
                await loop.sock_sendall(end, chunk)
                self.sent += len(chunk)

    async def blocked(self) -> None:
        """Wait until it has not got rid of a byte for half a second."""
        still, before = 0, -1
        async with asyncio.timeout(30):
            while still < 50:
                still = still + 1 if self.sent == before else 0
                before = self.sent
                await asyncio.sleep(0.01)


def overloaded(dsn: str, broker: Mosquitto, gateway: str) -> Settings:
    config = settings(dsn, broker, gateway, receive_maximum=500, limits=Limits(inbox_bytes=INBOX_BYTES))
    more = {
        "receiver": NmeaTcpSettings(type="nmea_tcp", mode="server", host=LOOPBACK, port=find_free()),
        "radio": NmeaUdpSettings(type="nmea_udp", host=LOOPBACK, port=find_free()),
    }
    return config.model_copy(update={"sources": {**config.sources, **more}})


async def send_udp(service: Service, datagrams: list[bytes]) -> None:
    """One after the other, each once the one before was received: what the kernel sheds is not ours to count."""
    account = service.telemetry.ledger.account("radio")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.connect((LOOPBACK, service.sources["radio"].port))  # type: ignore[attr-defined]  # a UDP source
        for data in datagrams:
            before = account.received
            end.send(data)
            await until(lambda before=before: account.received > before)  # type: ignore[misc]


async def test_tcp_and_qos_1_are_held_back_and_udp_and_qos_0_are_shed_and_counted(
    migrated: str, timescale: Postgres, broker: Mosquitto, gateway: str, tcp_proxy: Callable[[int], TcpProxy]
) -> None:
    proxy = tcp_proxy(timescale.port)
    config = overloaded(make_conninfo(migrated, port=proxy.port), broker, gateway)
    lines = b"".join(position(n) + 3 * PADDING for n in range(POSITIONS))
    with capture_logs() as log:
        async with serving(config) as service:
            accounts = {name: service.telemetry.ledger.account(name) for name in service.sources}
            proxy.cut()
            sender = Sender(service.sources["receiver"].port, lines)  # type: ignore[attr-defined]  # a TCP source
            await until(lambda: service.inbox.full)
            await sender.blocked()
            # TCP: the window is closed, the sender holds what we do not take.
            assert sender.sent < sender.total / 2
            assert service.inbox.bytes < 2 * INBOX_BYTES

            # QoS 1: taken up to Receive Maximum, acked not at all, and the broker keeps the rest.
            await publish(broker, gateway, "a", map(reading, range(POSITIONS)))
            await until(lambda: accounts["gateways"].received == 500)
            # QoS 0 and UDP cannot be held: shed.
            async with aiomqtt.Client(LOOPBACK, broker.port) as client:
                for n in range(100):
                    await client.publish(TOPIC.format(gateway=gateway, device="zero"), reading(n), qos=0)
            await send_udp(service, [position(n, 574_000_002) for n in range(100)])
            await until(lambda: accounts["gateways"].dropped == 100)
            assert accounts["radio"].as_dict() == dict.fromkeys(accounts["radio"].as_dict(), 0) | {
                "received": 100,
                "dropped": 100,
            }
            assert accounts["gateways"].in_flight == 500
            assert service.inbox.bytes < 2 * INBOX_BYTES

            proxy.resume()
            await sender
            await until(lambda: accounts["receiver"].received == 4 * POSITIONS)
            await until(lambda: accounts["gateways"].stored == POSITIONS, 60)
            # What follows is taken again only once the inbox has room.
            await until(lambda: service.telemetry.ledger.total().in_flight == 0)
            await send_udp(service, [position(1_000, 574_000_002)])
            async with aiomqtt.Client(LOOPBACK, broker.port) as client:
                await client.publish(TOPIC.format(gateway=gateway, device="zero"), reading(1_000), qos=0)
            await until(lambda: service.telemetry.ledger.total().in_flight == 0)
            await until(lambda: accounts["gateways"].stored == POSITIONS + 1)
            assert balanced(service)
            assert accounts["receiver"].dropped == 0
            assert (accounts["receiver"].stored, accounts["receiver"].ignored) == (POSITIONS, 3 * POSITIONS)
    assert times(migrated, "a") == list(range(POSITIONS))
    assert times(migrated, "zero") == [1_000]
    stored = "SELECT count(*), count(DISTINCT time) FROM positions WHERE transponder_id = 574000001"
    assert count(migrated, stored.replace("count(*), ", "")) == count(migrated, stored) == POSITIONS
    assert count(migrated, "SELECT count(*) FROM positions WHERE transponder_id = 574000002") == 1
    # Said when it began and when it ended, not two hundred times.
    for source in ("gateways", "radio"):
        said = [e["event"] for e in log if e.get("source") == source and e["event"].startswith("shedding")]
        assert said == ["shedding_began", "shedding_ended"]


async def test_memory_stays_flat_while_nothing_can_be_stored(
    migrated: str,
    timescale: Postgres,
    broker: Mosquitto,
    gateway: str,
    tcp_proxy: Callable[[int], TcpProxy],
    tmp_path: Path,
) -> None:
    """Some 200 MB are offered to a process that may keep 8 of them."""
    proxy = tcp_proxy(timescale.port)
    tcp, udp = find_free(), find_free()
    more = f"""
        [limits]
        inbox_bytes = {8 * 2**20}
        [sources.receiver]
        type = "nmea_tcp"
        mode = "server"
        host = "{LOOPBACK}"
        port = {tcp}
        [sources.radio]
        type = "nmea_udp"
        port = {udp}
        """
    config = write_config(
        tmp_path / "haidang.toml", make_conninfo(migrated, port=proxy.port), broker, gateway, f"grace_seconds = 1{more}"
    )
    process = Process(config, log=tmp_path / "log")
    await process.start()
    try:
        url = await process.started()
        async with httpx.AsyncClient() as client:
            before = (await metrics(client, url))["process_resident_memory_bytes"]
            proxy.cut()
            sender = Sender(tcp, 60_000 * PADDING)
            heavy = json.dumps({"time": EPOCH_MS, "readings": {"water_level": 1.0}, "x": "y" * 20_000}).encode()
            async with asyncio.TaskGroup() as group:
                group.create_task(publish(broker, gateway, "a", (heavy for _ in range(3_000))))
                group.create_task(sender.blocked())
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
                end.connect((LOOPBACK, udp))
                for _ in range(100):
                    for _ in range(800):
                        end.send(PADDING)
                    await asyncio.sleep(0)
            page = await metrics(client, url)
            received = {
                source: page[f"haidang_received_total {source}"] for source in ("gateways", "radio", "receiver")
            }
            grown = page["process_resident_memory_bytes"] - before
        assert received["gateways"] == 500
        assert received["radio"] > 1_000
        assert sender.sent < sender.total
        assert grown < 60 * 2**20, f"{grown / 2**20:.0f} MB more, having received {received}"
        sender.cancel()
        await asyncio.gather(sender, return_exceptions=True)
    finally:
        await process.end()


async def metrics(client: httpx.AsyncClient, url: str) -> dict[str, Any]:
    """Samples by name, and by name and source."""
    text = (await client.get(f"{url}/metrics", timeout=30)).text
    out = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            out[sample.name] = sample.value
            if "source" in sample.labels:
                out[f"{sample.name} {sample.labels['source']}"] = sample.value
    return out
