"""A log into TimescaleDB: ours with statics, 1,000 zones and 20 zone rules; the peer with positions only."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from bench import inputs, processes, watch
from bench.harness import OURS, Contestant, Measure, Row, Sample, Target
from bench.peers import replay_staging
from storage import readers
from storage.readers import RuleVersion

if TYPE_CHECKING:
    from collections.abc import Sequence

_PEER = "pyais + staging"
_TARGET = {_PEER: Target(least=2.5)}


class Replay(Row):
    name = "replay"
    title = "An AIS log into TimescaleDB; ours with statics, 1,000 zones and 20 rules, the peer with positions alone"
    measures = (
        Measure("fleet: lines/s", "1/s", _TARGET),
        Measure("fleet: lines/s, process start included", "1/s"),
        Measure("real log: lines/s", "1/s", _TARGET),
        Measure("real log: lines/s, process start included", "1/s"),
    )

    def prepare(self) -> None:
        fleet = inputs.fleet_log(600, 6_000) if not self.quick else inputs.fleet_log(20, 60)
        data, _ = inputs.real_log(self.size(240_000, 2_000))
        real = self.folder / "real.nmea"
        real.write_bytes(data)
        self._logs = {"fleet": fleet, "real log": real}
        self._lines = {name: path.read_bytes().count(b"\n") for name, path in self._logs.items()}
        zones = inputs.zones(self.size(1_000, 20))
        rules = inputs.zone_rules(20, zones)

        async def fill(dsn: str) -> None:
            await readers.import_zones(dsn, zones)
            await readers.import_rules(dsn, [RuleVersion(rule.id, rule.version, rule.body) for rule in rules])

        self._template = self.places.template(lambda dsn: asyncio.run(fill(dsn)))
        self.notes.append(", ".join(f"{name}: {lines:,} lines" for name, lines in self._lines.items()))

    def contestants(self) -> Sequence[Contestant]:
        return [Contestant(OURS, self._ours), Contestant(_PEER, self._peer)]

    def _ours(self) -> Sample:
        done = {}
        for name, path in self._logs.items():
            with self.places.migrated(self._template) as dsn:
                command = [sys.executable, "-m", "ingest.cli", "replay", str(path), "--dsn", dsn, "--json"]
                done[name] = processes.run(command, self.folder)
                said = processes.as_json(done[name].output)
                if watch.rows(dsn, "positions") != said["rows"]["positions"]:
                    raise processes.Failed("the tables do not hold what the replay says it stored")
            note = f"{name}, ours: {said['rows']['positions']:,} positions, {said['rows']['statics']:,} statics"
            self._note(f"{note}, {said['alerts']:,} alerts")
        return self._sample(done)

    def _peer(self) -> Sample:
        done = {}
        for name, path in self._logs.items():
            with self.places.timescale(*replay_staging.TABLE) as dsn:
                done[name] = processes.run(
                    [sys.executable, "-m", "bench.peers.replay_staging", str(path), dsn], self.folder
                )
                self._note(f"{name}, peer: {watch.rows(dsn, 'positions'):,} positions")
        return self._sample(done)

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def _sample(self, done: dict[str, processes.Finished]) -> Sample:
        values = {}
        for name, finished in done.items():
            values[f"{name}: lines/s"] = self._lines[name] / processes.as_json(finished.output)["seconds"]
            values[f"{name}: lines/s, process start included"] = self._lines[name] / finished.wall
        return Sample(values, sum(finished.cpu for finished in done.values()))
