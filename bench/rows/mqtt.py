"""MQTT QoS 1 to a durable row: everything between the publisher's socket and the row that another session sees."""

from __future__ import annotations

import itertools
import math
import shutil
import sys
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench import processes, watch
from bench.harness import OURS, Contestant, Measure, Row, Sample, Target
from bench.peers import mqtt_to_table
from bench.publisher import Plan, publisher
from decoders.identity import device_id, metric_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_BATCHED = "aiomqtt + executemany"
_DEVICES: Final = 100
_MEASURE: Final = "messages/s"
_COPY: Final = Path(mqtt_to_table.__file__).with_name("mosquitto_sub_copy.sh")
_NODE_RED: Final = _COPY.with_name("node_red.sh")
_RAW: Final = (
    "CREATE TABLE raw (received timestamptz NOT NULL DEFAULT now(), topic text NOT NULL, payload jsonb NOT NULL)",
    "SELECT create_hypertable('raw', 'received')",
)
OUR_ROW: Final = "SELECT 1 FROM readings WHERE device_id = %s AND metric_id = %s AND time = %s"
THEIR_ROW: Final = "SELECT 1 FROM readings WHERE device = %s AND metric = %s AND time = %s"

_numbers = itertools.count(1)


def plan(port: int, count: int, devices: int, *, step_ms: int = 1000, rate: float | None = None) -> Plan:
    """Readings that end about now, under a gateway that nobody has used: no session of the broker knows it."""
    span = math.ceil(count / devices) * step_ms
    first_ms = int(time.time()) * 1000 - span
    return Plan(port, f"gw-{time.time_ns()}-{next(_numbers)}", count, devices, first_ms, step_ms=step_ms, rate=rate)


def topic(of: Plan) -> str:
    """What to subscribe to."""
    return f"haidang/v1/{of.gateway}/+/readings"


def settings(dsn: str, of: Plan, more: str = "", topics: str = "") -> str:
    """`haidang run` with the shipped rule pack and everything else as it comes. ``topics``: of more than the plan."""
    return f"""
[database]
dsn = "{dsn}"

[sources.gateways]
type = "mqtt"
host = "127.0.0.1"
port = {of.port}
client_id = "{of.gateway}"
topics = ["{topics or topic(of)}"]

[rules]
packs = ["hue"]
{more}
"""


def moment(time_ms: int) -> datetime:
    return datetime.fromtimestamp(time_ms / 1000, UTC)


def _node_red() -> bool:
    """Whether Node-RED and node-postgres are installed, the latter beside the former."""
    program = shutil.which("node-red")
    if program is None or shutil.which("node") is None:
        return False
    return any((folder / "pg" / "package.json").is_file() for folder in Path(program).resolve().parents)


class Mqtt(Row):
    name = "mqtt"
    title = "MQTT QoS 1, JSON of 200 bytes, to a durable row; ours with rules and ack after commit, the peers without"
    measures = (Measure(_MEASURE, "1/s", {_BATCHED: Target(least=5), "Node-RED": Target(least=15)}),)

    def prepare(self) -> None:
        ceiling = max(self._ceiling() for _ in range(2))
        self.notes.append(f"the publisher alone, nobody subscribed: {ceiling:,.0f} messages/s")

    def _ceiling(self) -> float:
        alone = plan(self.places.broker.port, self.size(100_000, 1_000), _DEVICES)
        with publisher(alone, self.folder) as process:
            process.go()
            return alone.count / process.result().seconds

    def contestants(self) -> Sequence[Contestant]:
        found = [
            Contestant(OURS, self._ours),
            Contestant(_BATCHED, lambda: self._aiomqtt("batch", self.size(20_000, 200))),
            Contestant("INSERT per message", lambda: self._aiomqtt("each", self.size(4_000, 100))),
        ]
        if shutil.which("mosquitto_sub") and shutil.which("psql"):
            found.append(Contestant("mosquitto_sub | psql COPY", self._copy))
        else:
            self.notes.append("mosquitto_sub or psql is not installed: the pipe of the two is left out")
        if _node_red():
            found.append(Contestant("Node-RED", self._node_red))
        else:
            self.notes.append("Node-RED (node-red on the PATH, pg beside it) is not installed: left out")
        return found

    def _ours(self) -> Sample:
        given = plan(self.places.broker.port, self.size(100_000, 500), _DEVICES)
        device, last_ms = given.last
        row = device_id(given.gateway, device), metric_id("pm2_5"), moment(last_ms)
        with self.places.migrated() as dsn, processes.service(self.folder, settings(dsn, given)) as service:
            return self._measure(given, dsn, OUR_ROW, row, service.pid)

    def _aiomqtt(self, how: str, count: int) -> Sample:
        given = plan(self.places.broker.port, count, _DEVICES)
        device, last_ms = given.last
        with self.places.timescale(*mqtt_to_table.TABLE) as dsn, aiomqtt_peer(given, dsn, how, self.folder) as pid:
            return self._measure(given, dsn, THEIR_ROW, (device, "pm2_5", moment(last_ms)), pid)

    def _node_red(self) -> Sample:
        given = plan(self.places.broker.port, self.size(6_000, 100), _DEVICES)
        device, last_ms = given.last
        user = self.folder / given.gateway
        user.mkdir()
        with self.places.timescale(*mqtt_to_table.TABLE) as dsn:
            command = ["sh", str(_NODE_RED), str(given.port), topic(given), dsn, str(user)]
            with processes.running(command, self.folder) as process:
                return self._measure(given, dsn, THEIR_ROW, (device, "pm2_5", moment(last_ms)), process.pid)

    def _measure(self, given: Plan, dsn: str, query: str, row: tuple[object, ...], pid: int) -> Sample:
        with publisher(given, self.folder) as process:
            before = processes.cpu_of(pid)
            process.go()
            at = watch.wait_for(dsn, query, row)
            cpu = processes.cpu_of(pid) - before
            published = process.result()
        # Four connections of a pool may store the last message before the one before it.
        _, found = watch.settle(dsn, "readings", given.count)
        if found != given.count:
            raise processes.Failed(f"{given.count} messages were published, {found} rows are there")
        return Sample({_MEASURE: given.count / (at - published.began)}, cpu)

    def _copy(self) -> Sample:
        given = plan(self.places.broker.port, self.size(20_000, 2_000), _DEVICES)
        with self.places.timescale(*_RAW) as dsn:
            command = ["sh", str(_COPY), str(given.port), topic(given), dsn]
            with processes.running(command, self.folder) as process, publisher(given, self.folder) as sender:
                sender.go()
                at, found = watch.settle(dsn, "raw", given.count)
                cpu = processes.cpu_of(process.pid)
                published = sender.result()
        if found < given.count:
            self._note(f"mosquitto_sub | psql COPY lost {given.count - found} of {given.count} acknowledged messages")
        return Sample({_MEASURE: found / (at - published.began)}, cpu)

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


@contextmanager
def aiomqtt_peer(given: Plan, dsn: str, how: str, folder: Path) -> Iterator[int]:
    """`bench.peers.mqtt_to_table`, subscribed; its process id."""
    command = [sys.executable, "-m", "bench.peers.mqtt_to_table", str(given.port), topic(given), dsn, how]
    with processes.running(command, folder) as process:
        yield process.pid
