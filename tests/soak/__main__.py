"""``python -m tests.soak [--for SECONDS] [--seed N]``: exit code 0 if nothing was lost, doubled or leaked, else 1."""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import aiomqtt
import orjson
from rich.console import Console

from alerting import pack
from bench.places import Places
from ingest.telemetry import configure_logging
from services.ports import find_free
from tests.ingest.running import TOPIC, dump, publish, reading, serving, settings, times
from tests.ingest.test_delivery import flood
from tests.servers.tcp_proxy import TcpProxy
from tests.soak import ais
from tests.soak.faults import Faults
from tests.soak.subject import Life, Subject, slope

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

GATEWAY = "soak"
DEVICES = ("kim-long", "a", "b", "c")
#: One message in so many is no JSON, and belongs in quarantine.
POISON = 97
CHUNK = 40
#: Seconds of event time between two readings of a device: where something comes late, two days of it are looked at
#: again, and with too many rows in them the memory that this takes would pass for a leak.
STEP = 60
#: Batches are this large at most. What the largest takes is kept by the allocator (20,000 messages: 120 MiB, once), and
#: the first one after an outage would pass for a leak.
BATCH = 500
#: Resident memory may wander; a leak worth the name grows steadily, in lives that are long enough together to tell.
LEAK_BYTES_A_MINUTE = 4 * 2**20
LONG_ENOUGH_MINUTES = 2.0
#: Open files and tasks that a calm service may have more of at the end of a life than when it was warm.
LEAK_OF_FEW = 3
#: Fates, in the order of the invariant.
ACCOUNT = ("received", "stored", "duplicate", "ignored", "quarantined", "dropped", "in_flight")
#: What must be as in a run that nothing happened to: all that is about devices. Of vessels some reports are lost.
COMPARED = {
    "readings": """SELECT r.time, d.name, r.metric_id, r.value FROM readings r JOIN devices d ON d.id = r.device_id
        ORDER BY 1, 2, 3""",
    "alerts": """SELECT rule_id, split_part(subject_name, '/', 2), key, state, severity, started_at, resolved_at, value
        FROM alerts WHERE subject_kind = 'device' ORDER BY 1, 2, 3, 6""",
    "alert history": """SELECT a.rule_id, a.started_at, h.seq, h.at, h.from_state, h.to_state
        FROM alert_history h JOIN alerts a ON a.id = h.alert_id WHERE subject_kind = 'device' ORDER BY 1, 2, 3""",
    "notifications": """SELECT n.channel, n.event, n.at FROM notifications n JOIN alerts a ON a.id = n.alert_id
        WHERE a.subject_kind = 'device' ORDER BY 1, 2, 3""",
    "rule state": """SELECT rule_id, key FROM rule_state WHERE subject_kind = 'device' AND rule_id NOT LIKE '(%'
        ORDER BY 1, 2""",
}

console = Console(highlight=False)


def payload(device: str, n: int) -> bytes:
    """The n-th message of a device; Kim Long rises and falls through its alarm levels, the others stand still."""
    if n % POISON == POISON - 1:
        return f"{{not JSON {device} {n}".encode()
    value = orjson.loads(flood(n, n + 1)[0])["readings"]["water_level"] if device == "kim-long" else 0.5 + n % 7 / 10
    return reading(STEP * n, value)


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
            # The last one, too: what was not confirmed may be stored.
            while not await self._confirmed(device, chunk):  # noqa: ASYNC110  # the broker may be down
                await asyncio.sleep(0.2)
            self.sent[device] = first + CHUNK
            await asyncio.sleep(self._chance.uniform(0, 0.3))

    async def _confirmed(self, device: str, chunk: Sequence[bytes]) -> bool:
        try:
            async with aiomqtt.Client("127.0.0.1", self._port, timeout=10) as client:
                for one in chunk:
                    await client.publish(TOPIC.format(gateway=GATEWAY, device=device), one, qos=1)
        except aiomqtt.MqttError:
            return False
        return True


async def soak(seconds: float, seed: int) -> list[str]:
    """Run; what went wrong, line by line."""
    chance = random.Random(seed)
    with Places() as places, ExitStack() as held, places.migrated() as dsn, places.migrated() as calm_dsn:
        to_database = held.enter_context(TcpProxy(places.postgres.port))
        to_broker = held.enter_context(TcpProxy(places.broker.port))
        head, _, name = dsn.rpartition("/")
        proxied = f"{head.rpartition(':')[0]}:{to_database.port}/{name}"
        port, tcp_port, udp_port = (find_free() for _ in range(3))
        config = _config(
            places.folder, proxied, to_broker.port, port, (tcp_port, udp_port), spool=chance.random() < 0.7
        )
        tcp, udp = ais.Receiver("coast", tcp_port, chance), ais.Receiver("island", udp_port, chance)
        subject = Subject(config, port, places.folder / "log")
        faults = Faults(chance, subject, places.postgres, places.broker, to_database, to_broker)
        load = Load(places.broker.port, chance)
        try:
            await subject.start()
            await _until_ready(subject)
            publishing = [asyncio.create_task(load.run(device)) for device in DEVICES]
            publishing += [asyncio.create_task(tcp.over_tcp()), asyncio.create_task(udp.over_udp())]
            watching = asyncio.create_task(_watch(subject))
            await _harm(faults, chance, seconds)
            async with asyncio.timeout(60):  # for a last connection that nobody cuts off
                while tcp.begun < subject.started:  # noqa: ASYNC110  # a fact of the receiver, with no event
                    await asyncio.sleep(0.1)
            load.stopping = tcp.stopping = udp.stopping = True
            await asyncio.gather(*publishing)
            wrong = await _drained(subject, dsn, load, tcp)
            watching.cancel()
            await subject.stop()
        finally:
            await subject.end()
        wrong += subject.failures
        wrong += _oracle(dsn, load)
        wrong += ais.wrong(dsn, tcp, udp)
        wrong += await _compared(places, dsn, calm_dsn, load)
        _tell(subject, faults, load)
        console.print("AIS:", ais.told(dsn, (tcp, udp)))
        wrong += _ledgers(subject.lives)
        wrong += _leaks(subject.lives)
        if wrong:
            console.print("last lines of its log:", (places.folder / "log").read_text()[-3000:], sep="\n")
    return wrong


def _config(
    folder: Path, dsn: str, broker_port: int, http_port: int, ais_ports: tuple[int, int], *, spool: bool
) -> Path:
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
[sources.coast]
type = "nmea_tcp"
mode = "server"
host = "127.0.0.1"
port = {ais_ports[0]}
[sources.island]
type = "nmea_udp"
port = {ais_ports[1]}
[limits]
batch_messages = {BATCH}
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
    """The service dies in the first half only: whether memory grows is seen in a long life."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        await asyncio.sleep(min(chance.uniform(1, 12), left))
        await faults.draw(deaths=left > seconds / 2)()


async def _watch(subject: Subject) -> None:
    while True:
        await subject.sample(time.monotonic())
        await asyncio.sleep(1)


async def _until_ready(subject: Subject) -> None:
    async with asyncio.timeout(60):
        while not ((now := await subject.ready()) and now["ready"]):  # noqa: ASYNC110  # over HTTP
            await asyncio.sleep(0.1)


async def _drained(subject: Subject, dsn: str, load: Load, tcp: ais.Receiver) -> list[str]:
    """Wait until everything has its fate."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        now = await subject.ready()
        settled = now and now["ready"] and not any(account["in_flight"] for account in now["ledger"].values())
        stored = all(len(times(dsn, device)) == len(load.good(device)) for device in DEVICES)
        if settled and stored and ais.complete(dsn, tcp):
            return []
        await asyncio.sleep(0.2)
    return [f"not everything came to its fate within two minutes: {await subject.ready()}"]


def _oracle(dsn: str, load: Load) -> list[str]:
    """Everything the broker confirmed is stored once, or in quarantine as it was."""
    wrong = []
    for device in DEVICES:
        good = [STEP * n for n in load.good(device)]
        found = times(dsn, device)
        if found != good:
            lost, more = sorted(set(good) - set(found))[:10], sorted(set(found) - set(good))[:10]
            wrong.append(f"{device}: {len(good)} sent, {len(found)} stored; lost {lost}, beyond {more}")
    poison = {payload(device, n) for device in DEVICES for n in range(load.sent[device]) if n % POISON == POISON - 1}
    (rows,) = dump(dsn, "SELECT q.raw FROM quarantine q JOIN sources s ON s.id = q.source_id WHERE s.name = 'gateways'")
    refused = [bytes(raw) for (raw,) in rows]
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
    wrong = []
    for name, query in COMPARED.items():
        (ours,), (calm,) = dump(dsn, query), dump(calm_dsn, query)
        if ours != calm:
            wrong.append(f"{name}: {len(ours)} rows, {len(calm)} in a run that nothing happened to")
    return wrong


def _ledgers(lives: Sequence[Life]) -> list[str]:
    """Add up what all lives have counted. What one had in flight when it died, the next counts as received again."""
    wrong = []
    for source in ("gateways", "coast", "island"):
        total = dict.fromkeys(ACCOUNT, 0)
        for number, life in enumerate(lives, 1):
            account = life.ledger.get(source, {})
            for name in ACCOUNT:
                total[name] += account.get(name, 0)
            received, *fates = (account.get(name, 0) for name in ACCOUNT)
            if received != sum(fates):
                wrong.append(f"process {number}: the ledger of {source} does not balance: {account}")
        said = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in total.items())
        console.print(f"ledger of {source} over {len(lives)} lives, each as it was last seen: {said}")
    return wrong


def _leaks(lives: Sequence[Life]) -> list[str]:
    wrong = []
    if (found := slope(lives)) is not None:
        growth, minutes = found
        console.print(f"resident memory: {growth / 2**20:+.2f} MiB a minute, over {minutes:.1f} minutes of warm lives")
        if minutes >= LONG_ENOUGH_MINUTES and growth > LEAK_BYTES_A_MINUTE:
            wrong.append(f"resident memory grew by {growth / 2**20:.1f} MiB a minute of age")
    for number, life in enumerate(lives, 1):
        for of in ("files", "tasks"):
            more = life.grown(of)
            if more is not None and more > LEAK_OF_FEW:
                wrong.append(f"process {number} ended with {more:g} {of} more than it had when it was warm")
    young = [life.warm[0].resident for life in lives if life.warm]
    if young:
        console.print("resident when warm, by life:", ", ".join(f"{one / 2**20:.0f}" for one in young), "MiB")
        if young[-1] > 2 * young[0]:
            wrong.append(f"a new process took {young[-1] / 2**20:.0f} MiB, the first one {young[0] / 2**20:.0f}")
    return wrong


def _tell(subject: Subject, faults: Faults, load: Load) -> None:
    console.print("faults:", ", ".join(f"{count} x {name}" for name, count in sorted(faults.done.items())))
    console.print("published and confirmed:", load.sent)
    for number, life in enumerate(subject.lives, 1):
        if not life.samples:
            continue
        resident, files, tasks = life.most()
        grown = [f"{of} {more:+g}" for of in ("files", "tasks") if (more := life.grown(of)) is not None]
        console.print(
            f"process {number}: {life.seconds:.0f} s, at most {resident / 2**20:.0f} MiB resident, {files} open files,"
            f" {tasks} tasks; calm, at its end: {', '.join(grown) or 'too short to tell'}"
        )


def main() -> int:
    parser = argparse.ArgumentParser(prog="make soak ARGS=...", description="The service under random faults.")
    parser.add_argument("--for", dest="seconds", type=float, default=600.0, help="seconds of faults")
    parser.add_argument("--seed", type=int, default=None, help="repeats a run's chances")
    asked = parser.parse_args()
    seed = asked.seed if asked.seed is not None else random.randrange(2**32)
    console.print(f"seed {seed}: repeat with ARGS='--seed {seed} --for {asked.seconds:g}'")
    configure_logging(level="error")
    for noisy in ("mqtt", "asyncio"):  # that brokers die under those who publish is what this is about
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    wrong = asyncio.run(soak(asked.seconds, seed))
    for line in wrong:
        console.print("[red]WRONG[/red]", line)
    console.print(f"seed {seed}:", "nothing lost, nothing doubled, nothing leaked" if not wrong else "failed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
