"""AIS beside MQTT in a soak: NMEA over TCP and UDP, which nobody acknowledges, and what must come of it.

Over TCP what was sent on one connection is stored from its first report on, without a hole: what a dead service had
received and not stored is the end of it, and nothing else. Over UDP anything may be lost while nobody listens. Of
neither is a report stored that was not sent, or twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Final

from services.ports import LOOPBACK
from simulators.ais_wire import Report, position_a, sentences, tag_block
from tests.ingest.running import EPOCH_MS, dump

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

#: Reports at a time, and the first MMSI of the vessels of each source.
_BURST: Final = 20
FIRST_MMSI: Final = {"coast": 574_100_000, "island": 574_200_000}
_VESSELS: Final = 50
_STEP: Final = 10  # seconds between two reports of a vessel

Sent = tuple[int, int]  # MMSI, seconds since the epoch


def line(source: str, n: int) -> tuple[Sent, bytes]:
    """The n-th report that a receiver hears."""
    mmsi, seconds = FIRST_MMSI[source] + n % _VESSELS, EPOCH_MS // 1000 + n // _VESSELS * _STEP
    lon = 108.2 + n % _VESSELS / 100 + n // _VESSELS % 1000 / 100_000
    report = Report(mmsi, round(lon, 5), 16.9, 6.0, 90.0, None, 0, seconds % 60)
    (sentence,) = sentences(position_a(report), channel="A", sequence=0)
    return (mmsi, seconds), f"{tag_block(c=seconds)}{sentence}\r\n".encode()


class Receiver:
    """Reports of one source, burst after burst, until told to stop."""

    def __init__(self, source: str, port: int, chance: random.Random) -> None:
        self.source = source
        self._port = port
        self._chance = chance
        self._n = 0
        self.sent: list[list[Sent]] = []  # by connection
        self.begun = 0.0  # the last of them, on the clock of ``time.monotonic``
        self.lines: set[bytes] = set()
        self.stopping = False

    def _burst(self) -> tuple[list[Sent], list[bytes]]:
        found = [line(self.source, n) for n in range(self._n, self._n + _BURST)]
        self._n += _BURST
        lines = [one for _, one in found]
        self.lines.update(lines)
        return [key for key, _ in found], lines

    async def _pause(self) -> None:
        await asyncio.sleep(self._chance.uniform(0.02, 0.3))

    async def over_tcp(self) -> None:
        """Connect to a service that listens, again whenever it is gone."""
        while not self.stopping:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection(LOOPBACK, self._port)
                sent: list[Sent] = []
                self.sent.append(sent)
                self.begun = time.monotonic()
                try:
                    while not self.stopping:
                        keys, lines = self._burst()
                        sent += keys
                        writer.write(b"".join(lines))
                        await writer.drain()
                        await self._pause()
                finally:
                    writer.close()
                await writer.wait_closed()
            await self._pause()

    async def over_udp(self) -> None:
        """To a port, whether or not anybody listens."""
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=(LOOPBACK, self._port))
        try:
            while not self.stopping:
                keys, lines = self._burst()
                self.sent.append(keys)
                transport.sendto(b"".join(lines))
                await self._pause()
        finally:
            transport.close()


def wrong(dsn: str, tcp: Receiver, udp: Receiver) -> list[str]:
    """What is not as it must be, line by line."""
    found = []
    for receiver in (tcp, udp):
        stored = _stored(dsn, receiver.source)
        every = {key for connection in receiver.sent for key in connection}
        if len(stored) != len(set(stored)):
            found.append(f"{receiver.source}: {len(stored) - len(set(stored))} reports stored twice")
        if beyond := set(stored) - every:
            found.append(f"{receiver.source}: {len(beyond)} reports stored that were never sent: {sorted(beyond)[:5]}")
        raw = [bytes(one) for (one,) in _quarantined(dsn, receiver.source)]
        if foreign := [one for one in raw if not any(whole.startswith(one) for whole in receiver.lines)]:
            found.append(f"{receiver.source}: {len(foreign)} lines refused that were not cut off: {foreign[:3]}")
    for number, connection in enumerate(_arrived(dsn, tcp), 1):
        if connection != sorted(connection, reverse=True):
            found.append(f"{tcp.source}: of connection {number} a report is missing before one that is stored")
    if not complete(dsn, tcp):
        found.append(f"{tcp.source}: of the last connection, which nobody cut off, a report is missing")
    return found


def complete(dsn: str, tcp: Receiver) -> bool:
    """Whether everything of the last connection is stored."""
    return all(_arrived(dsn, tcp)[-1])


def _arrived(dsn: str, receiver: Receiver) -> list[list[bool]]:
    """By connection, of each report whether it is stored."""
    known = set(_stored(dsn, receiver.source))
    return [[key in known for key in sent] for sent in receiver.sent]


def told(dsn: str, receivers: Sequence[Receiver]) -> str:
    """How much of it was lost, for people."""
    parts = []
    for receiver in receivers:
        sent = sum(map(len, receiver.sent))
        parts.append(f"{receiver.source}: {sent} sent, {sent - len(_stored(dsn, receiver.source))} lost")
    return "; ".join(parts)


def _stored(dsn: str, source: str) -> list[Sent]:
    first = FIRST_MMSI[source]
    (rows,) = dump(
        dsn,
        "SELECT transponder_id, extract(epoch FROM time)::bigint FROM positions"
        f" WHERE transponder_id BETWEEN {first} AND {first + _VESSELS} ORDER BY 2, 1",
    )
    return [(mmsi, seconds) for mmsi, seconds in rows]


def _quarantined(dsn: str, source: str) -> list[tuple[bytes]]:
    query = f"SELECT q.raw FROM quarantine AS q JOIN sources AS s ON s.id = q.source_id WHERE s.name = '{source}'"
    (rows,) = dump(dsn, query)
    return [(raw,) for (raw,) in rows]
