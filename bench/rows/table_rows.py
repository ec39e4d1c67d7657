"""Rows of readings into the hypertable, one connection, committed."""

from __future__ import annotations

import asyncio
import shutil
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg

from alerting.model import Verdict
from bench import inputs, processes, watch
from bench.harness import OURS, Contestant, Measure, Row, Sample, timed
from bench.peers import readings_table as peers
from decoders.identity import device_id, metric_id, source_id
from decoders.records import READING, Name, Observations
from storage.batch import Batch
from storage.writer import Store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_DEVICES = 500
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def readings(count: int) -> NDArray[np.void]:
    """Readings of 500 devices in turn, a second apart."""
    number = np.arange(count)
    table = np.zeros(count, READING)
    ids = np.array([device_id("hue-gw", inputs.device_name(i)) for i in range(_DEVICES)])
    table["time"] = (inputs.EPOCH_MS + number // _DEVICES * 1000) * 1000
    table["received_at"] = table["time"] + 250_000
    table["device"] = ids[number % _DEVICES]
    table["metric"] = metric_id("pm2_5")
    table["source"] = source_id("bench")
    table["value"] = number * 37 % 400 / 10
    return table


async def commit(dsn: str, table: NDArray[np.void]) -> int:
    """Write with our store, 20,000 rows a batch; how many were new."""
    names = [
        Name("source", source_id("bench"), "bench", "mqtt"),
        Name("metric", metric_id("pm2_5"), "pm2_5"),
        *(
            Name("device", device_id("hue-gw", name), f"hue-gw/{name}")
            for name in map(inputs.device_name, range(_DEVICES))
        ),
    ]
    new = 0
    async with Store(dsn) as store:
        for start in range(0, len(table), peers.BATCH):
            batch = table[start : start + peers.BATCH].copy()
            batch["message"] = np.arange(len(batch))
            observations = Observations(messages=len(batch), readings=batch, names=names)
            new += int((await store.commit(Batch(observations, Verdict()))).readings.sum())
    return new


class TableRows(Row):
    name = "rows"
    title = "Rows to a hypertable with a unique key, committed (ours: the latest value of each device too)"
    measures = (Measure("rows/s", "1/s"),)

    def prepare(self) -> None:
        self._readings = readings(self.size(100_000, 1_000))
        plain = [tuple(row)[:6] for row in self._readings.tolist()]
        self._rows = [(_at(time), _at(received), *rest) for time, received, *rest in plain]
        self._file = self.folder / "readings.pgcopy"
        self._file.write_bytes(peers.binary_file(plain))
        self.places.postgres  # noqa: B018  # starts it

    def contestants(self) -> Sequence[Contestant]:
        found = [
            Contestant(OURS, self._ours),
            Contestant("INSERT each", lambda: self._peer(peers.insert_each, 40)),
            Contestant("executemany", lambda: self._peer(peers.executemany, 4)),
            Contestant("unnest + ON CONFLICT", lambda: self._peer(peers.unnest, 2)),
            Contestant("COPY text + staging", lambda: self._peer(peers.copy_text, 1)),
        ]
        if shutil.which("psql"):
            found.append(Contestant("psql \\copy binary", self._psql))
        else:
            self.notes.append("psql is not installed: left out")
        return found

    def _ours(self) -> Sample:
        with self.places.migrated() as dsn:
            with timed() as stopwatch:
                new = asyncio.run(commit(dsn, self._readings))
            _expect(new, len(self._readings))
            _expect(watch.rows(dsn, "readings"), new)
        return Sample({"rows/s": new / stopwatch.wall}, stopwatch.cpu)

    def _peer(self, write: peers.Write, share: int) -> Sample:
        """``share``: a slow one gets one row of so many."""
        rows: Any = self._rows[: len(self._rows) // share]
        with self.places.timescale(*peers.TABLE) as dsn:
            with psycopg.connect(dsn) as connection, timed() as stopwatch:
                write(connection, rows)
            _expect(watch.rows(dsn, "readings"), len(rows))
        return Sample({"rows/s": len(rows) / stopwatch.wall}, stopwatch.cpu)

    def _psql(self) -> Sample:
        with self.places.timescale(*peers.TABLE) as dsn:
            done = processes.run(peers.psql_binary(dsn, str(self._file)), self.folder)
            _expect(watch.rows(dsn, "readings"), len(self._rows))
        return Sample({"rows/s": len(self._rows) / done.wall}, done.cpu)


def _at(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)


def _expect(found: int, wanted: int) -> None:
    if found != wanted:
        raise processes.Failed(f"{found} rows are there, {wanted} were written")
