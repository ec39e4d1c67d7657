"""How long from publish until another session sees the row, at 200 messages a second.

Publisher and watcher take their instants from CLOCK_MONOTONIC, which is one for all processes of the machine. The
watcher asks for rows newer than the last it saw, again and again (`bench.watch.arrivals`). That counts what a reader
of the tables would wait for: pg_xact_commit_timestamp would leave out the flush of the write-ahead log.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Final

from bench import processes, watch
from bench.harness import OURS, Contestant, Measure, Row, Sample, Target
from bench.peers import mqtt_to_table
from bench.publisher import publisher
from bench.rows.mqtt import aiomqtt_peer, plan, settings
from decoders.identity import device_id, metric_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.publisher import Plan

_PEER: Final = "INSERT per message"
_RATE: Final = 200.0
_WITHIN: Final = {_PEER: Target(most=3)}
_MS: Final = "(extract(epoch FROM time) * 1000)::bigint"
_OURS: Final = (
    f"SELECT {_MS} FROM readings WHERE device_id = %s AND metric_id = %s"  # noqa: S608  # of our own making
    " AND time > to_timestamp(%s / 1000.0) ORDER BY time"
)
_THEIRS: Final = (
    f"SELECT {_MS} FROM readings WHERE device = %s AND metric = %s"  # noqa: S608
    " AND time > to_timestamp(%s / 1000.0) ORDER BY time"
)


class Latency(Row):
    name = "latency"
    title = "MQTT publish to row visible, 200 messages/s"
    measures = (Measure("p50", "ms", _WITHIN), Measure("p99", "ms", _WITHIN))

    def prepare(self) -> None:
        self._count = self.size(1_000, 60)
        self.places.broker  # noqa: B018  # starts it

    def contestants(self) -> Sequence[Contestant]:
        return [
            Contestant(OURS, self._ours),
            Contestant(_PEER, lambda: self._peer("each")),
            Contestant("executemany, 100 ms", lambda: self._peer("batch")),
        ]

    def _plan(self) -> Plan:
        return plan(self.places.broker.port, self._count, 1, step_ms=10, rate=_RATE)

    def _ours(self) -> Sample:
        given = self._plan()
        key = device_id(given.gateway, given.last[0]), metric_id("pm2_5")
        with self.places.migrated() as dsn, processes.service(self.folder, settings(dsn, given)) as service:
            return self._measure(given, dsn, _OURS, key, service.pid)

    def _peer(self, how: str) -> Sample:
        given = self._plan()
        with self.places.timescale(*mqtt_to_table.TABLE) as dsn, aiomqtt_peer(given, dsn, how, self.folder) as pid:
            return self._measure(given, dsn, _THEIRS, (given.last[0], "pm2_5"), pid)

    def _measure(self, given: Plan, dsn: str, query: str, key: tuple[object, ...], pid: int) -> Sample:
        with publisher(given, self.folder) as process:
            before = processes.cpu_of(pid)
            process.go()
            seen, between = watch.arrivals(dsn, query, key, given.count)
            cpu = processes.cpu_of(pid) - before
            sent_at = process.result().sent_at
        if not self.notes:
            self.notes.append(f"rows are looked for every {between * 1e3:.1f} ms")
        took = [seen[given.first_ms + n * given.step_ms] - at for n, at in enumerate(sent_at)]
        p50, p99 = percentiles(took)
        return Sample({"p50": p50, "p99": p99}, cpu)


def percentiles(seconds: Sequence[float]) -> tuple[float, float]:
    """p50 and p99, milliseconds."""
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    return cuts[49] * 1e3, cuts[98] * 1e3
