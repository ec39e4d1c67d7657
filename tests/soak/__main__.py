"""``python -m tests.soak [--for SECONDS] [--seed N]``: exit code 0 if nothing was lost, doubled or leaked, else 1."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import aiomqtt
from rich.console import Console

from alerting import pack
from bench.places import Places
from ingest.telemetry import configure_logging
from services.ports import find_free
from tests.ingest.running import TOPIC, dump, publish, reading, serving, settings, times
from tests.ingest.test_delivery import COMPARED, flood
from tests.servers.tcp_proxy import TcpProxy
from tests.soak.faults import Faults
from tests.soak.subject import Life, Subject

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

GATEWAY = "soak"
DEVICES = ("kim-long", "a", "b", "c")
#: One message in so many is no JSON, and belongs in quarantine.
POISON = 97
CHUNK = 40
#: Resident memory may wander; a leak worth the name grows steadily, in a life long enough to tell.
LEAK_BYTES_A_MINUTE = 4 * 2**20
LONG_LIFE = 120.0

console = Console(highlight=False)


def payload(device: str, n: int) -> bytes:
    """The n-th message of a device."""
    if n % POISON == POISON - 1:
        return f"{{not JSON {device} {n}".encode()
    return flood(n, n + 1)[0] if device == "kim-long" else reading(n)


class Load:
    """Publishes at QoS 1, in order, until told to stop; a chunk that was not confirmed is sent again."""

    def __init__(self, broker_port: int, chance: random.Random) -> None:
        self._port = broker_port
        self._chance = chance
        self.sent = dict.fromkeys(DEVICES, 0)
        self.stopping = False

    def good(self, device: str) -> list[int]:
        """The numbers of what was confirmed and is to be stored."""
        return [n for n in range(self.sent[device]) if n % POISON != POISON - 1]

    async def run(self, device: str) -> None:
        while not self.stopping:
            first = self.sent[device]
            chunk = [payload(device, n) for n in range(first, first + CHUNK)]
            if self._chance.random() < 0.1:
                chunk += chunk[: CHUNK // 4]  # a gateway that is not sure repeats itself
            try:
                async with aiomqtt.Client("127.0.0.1", self._port, timeout=10) as client:
                    for one in chunk:
                        await client.publish(TOPIC.format(gateway=GATEWAY, device=device), one, qos=1)
            except aiomqtt.MqttError:
                await asyncio.sleep(0.2)
                continue
            self.sent[device] = first + CHUNK
            await asyncio.sleep(self._chance.uniform(0, 0.3))


async def soak(seconds: float, seed: int) -> list[str]:
    """Run; what went wrong, line by line."""
    chance = random.Random(seed)
    with Places() as places, ExitStack() as held, places.migrated() as dsn, places.migrated() as calm_dsn:
        to_database = held.enter_context(TcpProxy(places.postgres.port))
        to_broker = held.enter_context(TcpProxy(places.broker.port))
        head, _, name = dsn.rpartition("/")
        proxied = f"{head.rpartition(':')[0]}:{to_database.port}/{name}"
        port = find_free()
        config = _config(places.folder, proxied, to_broker.port, port, spool=chance.random() < 0.7)
        subject = Subject(config, port, places.folder / "log")
        faults = Faults(chance, subject, places.postgres, places.broker, to_database, to_broker)
        load = Load(places.broker.port, chance)
        try:
            await subject.start()
            await _until_ready(subject)
            publishing = [asyncio.create_task(load.run(device)) for device in DEVICES]
            watching = asyncio.create_task(_watch(subject))
            await _harm(faults, chance, seconds)
            load.stopping = True
            await asyncio.gather(*publishing)
            wrong = await _drained(subject, dsn, load)
            watching.cancel()
            await subject.stop()
        finally:
            await subject.end()
        wrong += subject.failures
        wrong += _oracle(dsn, load)
        wrong += await _compared(places, dsn, calm_dsn, load)
        _tell(subject, faults, load)
        wrong += _leaks(subject.lives)
        if wrong:
            console.print("last lines of its log:", (places.folder / "log").read_text()[-3000:], sep="\n")
    return wrong


def _config(folder: Path, dsn: str, broker_port: int, http_port: int, *, spool: bool) -> Path:
    path = folder / "haidang.toml"
    spooling = f'[spool]\npath = "{folder / "spool"}"\nafter_seconds = 0.5\n' if spool else ""
    path.write_text(
        f"""
[database]
dsn = "{dsn}"
connect_timeout = 2
statement_timeout = 5
[sources.gateways]
type = "mqtt"
host = "127.0.0.1"
port = {broker_port}
client_id = "haidang-soak"
topics = ["haidang/v1/{GATEWAY}/+/readings"]
keepalive = 5
[rules]
packs = ["hue"]
[http]
port = {http_port}
[service]
log_format = "json"
{spooling}"""
    )
    console.print(f"spool: {'on' if spool else 'off'}")
    return path


async def _harm(faults: Faults, chance: random.Random, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        await asyncio.sleep(min(chance.uniform(1, 12), max(0.0, end - time.monotonic())))
        await faults.draw()()


async def _watch(subject: Subject) -> None:
    while True:
        await subject.sample(time.monotonic())
        await asyncio.sleep(1)


async def _until_ready(subject: Subject) -> None:
    async with asyncio.timeout(60):
        while not ((now := await subject.ready()) and now["ready"]):  # noqa: ASYNC110  # over HTTP
            await asyncio.sleep(0.1)


async def _drained(subject: Subject, dsn: str, load: Load) -> list[str]:
    """Wait until everything has its fate."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        now = await subject.ready()
        settled = now and now["ready"] and not any(account["in_flight"] for account in now["ledger"].values())
        if now and settled and all(len(times(dsn, device)) == len(load.good(device)) for device in DEVICES):
            console.print("ledger of the last process:", now["ledger"])
            return []
        await asyncio.sleep(0.2)
    return [f"not everything came to its fate within two minutes: {await subject.ready()}"]


def _oracle(dsn: str, load: Load) -> list[str]:
    """Everything the broker confirmed is stored once, or in quarantine as it was."""
    wrong = []
    for device in DEVICES:
        good = load.good(device)
        found = times(dsn, device)
        if found != good:
            lost, more = sorted(set(good) - set(found))[:10], sorted(set(found) - set(good))[:10]
            wrong.append(f"{device}: {len(good)} sent, {len(found)} stored; lost {lost}, beyond {more}")
    poison = {payload(device, n) for device in DEVICES for n in range(load.sent[device]) if n % POISON == POISON - 1}
    ((rows),) = [dump(dsn, "SELECT raw, reason FROM quarantine")[0]]
    refused = [bytes(raw) for raw, _ in rows]
    if set(refused) != poison or len(refused) != len(poison):
        wrong.append(f"quarantine: {len(poison)} refused messages sent, {len(refused)} kept")
    return wrong


async def _compared(places: Places, dsn: str, calm_dsn: str, load: Load) -> list[str]:
    """The alerts are those of a service that nothing happened to."""
    book = pack.load(["pack:hue"])
    async with serving(settings(calm_dsn, places.broker, f"{GATEWAY}-calm"), book) as service:
        account = service.telemetry.ledger.account("gateways")
        for device in DEVICES:
            sent = (payload(device, n) for n in range(load.sent[device]))
            await publish(places.broker, f"{GATEWAY}-calm", device, sent)
        total = sum(load.sent.values())
        async with asyncio.timeout(300):
            while account.received < total or account.in_flight:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
    names = ("readings", "alerts", "alert history", "notifications", "rule state")
    wrong = []
    for name, ours, calm in zip(names, dump(dsn, *COMPARED), dump(calm_dsn, *COMPARED), strict=False):
        if ours != calm:
            wrong.append(f"{name}: {len(ours)} rows, {len(calm)} in a run that nothing happened to")
    return wrong


def _leaks(lives: Sequence[Life]) -> list[str]:
    return [
        f"resident memory grew by {slope / 2**20:.1f} MiB a minute for {life.seconds:.0f} s"
        for life in lives
        if life.seconds >= LONG_LIFE and (slope := life.slope()) is not None and slope > LEAK_BYTES_A_MINUTE
    ]


def _tell(subject: Subject, faults: Faults, load: Load) -> None:
    console.print("faults:", ", ".join(f"{count} x {name}" for name, count in sorted(faults.done.items())))
    console.print("published and confirmed:", load.sent)
    for number, life in enumerate(subject.lives, 1):
        if not life.samples:
            continue
        resident, files, tasks = life.most()
        slope = life.slope()
        growth = "too short to tell" if slope is None else f"{slope / 2**20:+.2f} MiB a minute"
        console.print(
            f"process {number}: {life.seconds:.0f} s, at most {resident / 2**20:.0f} MiB resident ({growth}),"
            f" {files} open files, {tasks} tasks"
        )


def main() -> int:
    parser = argparse.ArgumentParser(prog="make soak ARGS=...", description="The service under random faults.")
    parser.add_argument("--for", dest="seconds", type=float, default=600.0, help="seconds of faults")
    parser.add_argument("--seed", type=int, default=None, help="repeats a run's chances")
    asked = parser.parse_args()
    seed = asked.seed if asked.seed is not None else random.randrange(2**32)
    console.print(f"seed {seed}: repeat with ARGS='--seed {seed} --for {asked.seconds:g}'")
    configure_logging(level="error")
    wrong = asyncio.run(soak(asked.seconds, seed))
    for line in wrong:
        console.print("[red]WRONG[/red]", line)
    console.print(f"seed {seed}:", "nothing lost, nothing doubled, nothing leaked" if not wrong else "failed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
