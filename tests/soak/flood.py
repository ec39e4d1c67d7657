"""``python -m tests.soak.flood [--fakes N] [--transponders N] [--reports N]``: made-up MMSIs by the million.

NMEA over TCP into ``haidang run`` with every rule of the Hue pack and a zone of our own, on a real database. Each
made-up vessel is heard once, or so often; a hundred real ones go on reporting all the time, inside the zone. At the end
the service is started again, and the real ones leave. Prints what it took, and ends with exit code 1 if a real vessel
was lost sight of or told of twice, if memory went on growing, or if made-up ones left too much behind.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import psycopg
from rich.console import Console

from bench.places import Places
from ingest.telemetry import configure_logging
from services.ports import LOOPBACK, find_free
from simulators.ais_wire import Report, position_a, position_lines, sentences, tag_block
from tests.ingest.running import count
from tests.soak.subject import Subject

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]

REAL: Final = np.arange(574_900_000, 574_900_100)
FIRST_FAKE: Final = 200_000_000
#: Made-up vessels between two reports of the real ones.
BURST: Final = 10_000
#: Seconds between two reports of a made-up vessel, where it sends several: then detectors hold something of it.
APART: Final = 900
INSIDE, OUTSIDE = (108.55, 16.45), (108.95, 16.45)  # in and off the zone, east of all of the pack's
#: What memory may grow by once as many are remembered as may be: the least in the second half of that time over the
#: least in the first. In between it wanders by 70 MiB: where batches are large, and tables are rewritten.
STEADY_BYTES: Final = 48 * 2**20

_ZONE: Final = """{"type": "FeatureCollection", "features": [{"type": "Feature", "id": "flooded",
"properties": {"name": "Flooded", "kind": "test"}, "geometry": {"type": "Polygon", "coordinates":
[[[108.5, 16.4], [108.6, 16.4], [108.6, 16.5], [108.5, 16.5], [108.5, 16.4]]]}}]}"""
_RULE: Final = """
[[rule]]
id = "in-the-flood"
kind = "zone"
title = { en = "Inside", vi = "Trong" }
severity = "info"
condition = "inside"
zones = ["flooded"]
source = "a test"
"""

console = Console(highlight=False)


def real(place: tuple[float, float], at: int) -> bytes:
    """A report of each real vessel, of a time of its own."""
    out = []
    for number, mmsi in enumerate(REAL.tolist()):
        lon, lat = place[0] + number / 10_000, place[1]
        report = Report(mmsi, round(lon, 4), lat, 3.0, 90.0, None, 0, at % 60)
        (sentence,) = sentences(position_a(report), channel="A", sequence=0)
        out.append(f"{tag_block(c=at)}{sentence}\r\n")
    return "".join(out).encode()


def fakes(first: int, number: int, at: int | None) -> bytes:
    """A report of each of so many made-up vessels, strewn over the sea off the coast, none in the zone; of a time, or
    as it is received.
    """
    mmsi: Ints = FIRST_FAKE + np.arange(first, first + number)
    strewn = mmsi.astype(np.float64)
    lon, lat = 107.2 + strewn * 0.6180339887 % 1.2, 15.8 + strewn * 0.7548776662 % 1.2
    speed, course = strewn % 200 / 10, strewn % 360
    lines = position_lines(mmsi, lon, lat, speed, course, np.full(number, int(at or time.time()) % 60)).tobytes()
    return lines if at is None else lines.replace(b"!AIVDM", tag_block(c=at).encode() + b"!AIVDM")


class Flood:
    """A service, a line to it, and what it was seen to take."""

    def __init__(self, places: Places, dsn: str, transponders: int) -> None:
        self.dsn = dsn
        http, self._port = find_free(), find_free()
        folder = places.folder
        (folder / "zone.geojson").write_text(_ZONE)
        (folder / "rule.toml").write_text(_RULE)
        config = folder / "haidang.toml"
        config.write_text(
            f"""
[database]
dsn = "{dsn}"
[sources.coast]
type = "nmea_tcp"
mode = "server"
host = "{LOOPBACK}"
port = {self._port}
[rules]
packs = ["hue"]
files = ["{folder / "zone.geojson"}", "{folder / "rule.toml"}"]
[limits]
transponders = {transponders}
[http]
port = {http}
[service]
log_format = "json"
"""
        )
        self.subject = Subject(config, http, folder / "log")
        self._writer: asyncio.StreamWriter | None = None

    async def start(self) -> float:
        """Start it, connect; how long that took."""
        began = time.monotonic()
        await self.subject.start()
        async with asyncio.timeout(300):
            while not ((now := await self.subject.ready()) and now["ready"]):  # noqa: ASYNC110  # over HTTP
                await asyncio.sleep(0.1)
        _, self._writer = await asyncio.open_connection(LOOPBACK, self._port)
        return time.monotonic() - began

    async def stop(self) -> None:
        assert self._writer is not None
        self._writer.close()
        await self.subject.stop()

    async def send(self, data: bytes) -> None:
        assert self._writer is not None
        self._writer.write(data)
        await self._writer.drain()

    async def settled(self) -> dict[str, int]:
        """Wait until everything has its fate; the account, and resident bytes under ``resident``."""
        async with asyncio.timeout(300):
            while True:
                await self.subject.sample(time.monotonic())
                life = self.subject.lives[-1]
                account = life.ledger.get("coast", {})
                if account.get("received") and not account["in_flight"]:
                    return account | {"resident": life.samples[-1].resident}
                await asyncio.sleep(0.2)


def alerts(dsn: str, which: str) -> list[tuple[Any, ...]]:
    """Of real vessels: by vessel, how often each rule told of it, and in which states it is."""
    first, last = REAL[0], REAL[-1]
    query = f"SELECT {which} FROM alerts WHERE subject_id BETWEEN {first} AND {last} ORDER BY 1, 2"
    with psycopg.connect(dsn) as connection:
        return connection.execute(query.encode()).fetchall()


async def flood(number: int, transponders: int, reports: int) -> list[str]:
    """Run; what went wrong, line by line."""
    with Places(durable=False) as places, places.migrated() as dsn:
        flood = Flood(places, dsn, transponders)
        try:
            await flood.start()
            now = int(time.time())
            for ago in (600, 300):
                await flood.send(real(INSIDE, now - ago))
            first = await flood.settled()
            console.print(f"before it: {first['resident'] / 2**20:.0f} MiB resident")
            wrong = await _pour(flood, number, transponders, reports)
            wrong += _told_once(dsn, "in the flood")
            await flood.stop()
            took = await flood.start()
            await flood.send(real(INSIDE, int(time.time())))
            account = await flood.settled()
            console.print(f"started again in {took:.1f} s: {account['resident'] / 2**20:.0f} MiB resident")
            wrong += _told_once(dsn, "after a restart")
            await flood.send(real(OUTSIDE, int(time.time()) + 1))
            await flood.settled()
            if alerts(dsn, "subject_id, state") != [(mmsi, "resolved") for mmsi in REAL.tolist()]:
                wrong.append("not every real vessel was seen to leave")
            await flood.stop()
        finally:
            await flood.subject.end()
        wrong += flood.subject.failures + _left(dsn, number, transponders, reports)
        if wrong:
            console.print((places.folder / "log").read_text()[-3000:])
    return wrong


async def _pour(flood: Flood, number: int, transponders: int, reports: int) -> list[str]:
    began, full = time.monotonic(), []
    for start in range(0, number, BURST):
        now = int(time.time())
        for report in range(reports):
            at = now - APART * (reports - 1 - report)
            await flood.send(fakes(start, min(BURST, number - start), at if reports > 1 else None))
        await flood.send(real(INSIDE, now))
        heard = start + BURST
        if heard % 100_000 == 0:
            account = await flood.settled()
            rate, resident = account["received"] / (time.monotonic() - began), account["resident"]
            full += [resident] if heard > 1.5 * transponders else []
            console.print(
                f"{heard:>9,} made up: {resident / 2**20:.0f} MiB resident, {rate:,.0f} messages/s,"
                f" {count(flood.dsn, 'SELECT count(*) FROM rule_state'):,} rule states"
            )
    half = len(full) // 2
    if half and min(full[half:]) - min(full[:half]) > STEADY_BYTES:
        return [f"memory went on growing: {[resident // 2**20 for resident in full]} MiB"]
    return []


def _told_once(dsn: str, when: str) -> list[str]:
    found = alerts(dsn, "rule_id, subject_id")
    if found == [("in-the-flood", mmsi) for mmsi in REAL.tolist()]:
        return []
    return [f"{when} there are {len(found)} alerts of {len(REAL)} real vessels"]


def _left(dsn: str, number: int, transponders: int, reports: int) -> list[str]:
    """What the flood has left in the tables."""
    wrong, last = [], FIRST_FAKE + number
    stored = count(dsn, f"SELECT count(*) FROM positions WHERE transponder_id BETWEEN {FIRST_FAKE} AND {last}")
    made_up = f"subject_kind = 'transponder' AND subject_id BETWEEN {FIRST_FAKE} AND {last}"
    raised = count(dsn, f"SELECT count(*) FROM alerts WHERE {made_up}")
    left = count(dsn, f"SELECT count(*) FROM rule_state WHERE {made_up}")
    console.print(f"made up: {stored:,} reports stored, {raised:,} alerts, {left:,} rule states")
    if stored != number * reports:
        wrong.append(f"{number * reports - stored} reports of made-up vessels are not stored")
    if left > 4 * transponders:
        wrong.append(f"{left} rule states of made-up vessels, of which {transponders} are remembered")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak.flood", description="Made-up MMSIs by the million.")
    parser.add_argument("--fakes", type=int, default=1_000_000, help="made-up vessels")
    parser.add_argument("--transponders", type=int, default=300_000, help="how many the service is to remember")
    parser.add_argument("--reports", type=int, default=1, help="of each, a quarter of an hour apart")
    asked = parser.parse_args()
    configure_logging(level="error")
    wrong = asyncio.run(flood(asked.fakes, asked.transponders, asked.reports))
    for line in wrong:
        console.print("[red]WRONG[/red]", line)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
