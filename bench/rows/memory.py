"""What the service holds in memory with 100,000 vessels and 10,000 devices of 5 metrics live, rules and zones on."""

from __future__ import annotations

import socket
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from bench import processes, watch
from bench.harness import OURS, Contestant, Measure, Row, Sample, Target
from bench.publisher import publisher
from bench.rows.mqtt import plan, settings
from services import ports
from services.processes import wait_until
from simulators import load

if TYPE_CHECKING:
    from collections.abc import Sequence

_METRICS: Final = ("pm2_5", "no2", "o3", "temperature", "humidity")
#: More devices of one gateway than ``limits.devices_per_gateway`` are not taken.
_GATEWAYS: Final = 10
_CHUNK: Final = 10_000
_PATIENCE_S: Final = 120.0
_FIRST_MMSI: Final = 574_000_000


class Memory(Row):
    name = "memory"
    title = "Memory (RSS) of the service at 100,000 live vessels and 10,000 devices of 5 metrics"
    measures = (
        Measure("RSS", "MB", {"": Target(most=600)}),
        Measure("RSS at its highest", "MB"),
        Measure("RSS just started", "MB"),
    )
    most_rounds = 1

    def prepare(self) -> None:
        self._vessels, self._devices = self.size(100_000, 500), self.size(10_000, 100)
        self.places.broker  # noqa: B018  # starts it

    def contestants(self) -> Sequence[Contestant]:
        return [Contestant(OURS, self._ours)]

    def _ours(self) -> Sample:
        port = ports.find_free()
        each = self._devices // _GATEWAYS
        given = [replace(plan(self.places.broker.port, each, each), metrics=_METRICS) for _ in range(_GATEWAYS)]
        more = f"""
[sources.coast]
type = "nmea_tcp"
mode = "server"
host = "127.0.0.1"
port = {port}
"""
        with (
            self.places.migrated() as dsn,
            processes.service(self.folder, settings(dsn, given[0], more, "haidang/v1/+/+/readings")) as service,
        ):
            started, _ = processes.memory_of(service.pid)
            before = processes.cpu_of(service.pid)
            for one in given:
                with publisher(one, self.folder) as process:
                    process.go()
                    process.result()
            with socket.create_connection(("127.0.0.1", port)) as receiver:
                for start in range(0, 2 * self._vessels, _CHUNK):  # two positions of each
                    numbers = range(start, min(start + _CHUNK, 2 * self._vessels))
                    receiver.sendall(load.positions(numbers, self._vessels, _FIRST_MMSI, int(time.time()) % 60))
                wanted = {"positions": 2 * self._vessels, "readings": self._devices * len(_METRICS)}
                if not wait_until(lambda: all(watch.rows(dsn, t) >= n for t, n in wanted.items()), _PATIENCE_S):
                    came = ", ".join(f"{watch.rows(dsn, t):,} of {n:,} {t}" for t, n in wanted.items())
                    raise processes.Failed(f"not all rows came: {came}")
            now, most = processes.memory_of(service.pid)
            cpu = processes.cpu_of(service.pid) - before
        return Sample({"RSS": now, "RSS at its highest": most, "RSS just started": started}, cpu)
