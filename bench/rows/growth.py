"""Does a message cost more when more is known? The whole pipeline, database and all, with little and with much.

Every turn takes batches of 1,000 position reports, each by another vessel, through decoding, judging and commit. What
differs is how many vessels were heard before (and stand in the engine, the window and the tables), or how many zones
there are; zones shrink as they get more, so that a point is always in about as many.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from alerting.pack import RuleBook
from bench import inputs
from bench.harness import OURS, Contestant, Measure, Row, Sample, Target
from bench.processes import Failed
from geofence.tracks import CAPACITY
from ingest.delivery import Delivery
from ingest.inbox import Inbox
from ingest.loop import runner
from ingest.pipeline import Pipeline
from ingest.recall import Recall
from ingest.telemetry import Telemetry
from ingest.thought import nobody
from simulators.ais_wire import position_lines
from storage.writer import Store

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

_SOURCE: Final = "growth"
_BATCH: Final = 1_000
_FILL: Final = 20_000
_FILL_S: Final = 90.0
_FIRST_MMSI: Final = 574_000_000
#: Without "inside": a million alerts would be measured, and not a million vessels.
_CONDITIONS: Final = ("entered", "left", "crossed")
_FEW: Final = "with few"
_SUBJECTS: Final = "1,000,000 subjects, to 1,000"
_ZONES: Final = "10,000 zones, to 10"
_GROWS: Final = {_FEW: Target(most=1.5)}


@dataclass(slots=True)
class _World:
    """A pipeline that has heard of so many vessels, and goes on hearing of them."""

    running: asyncio.Task[None]
    inbox: Inbox
    telemetry: Telemetry
    heard: np.ndarray[Any, np.dtype[np.int64]]  # how often each vessel was
    vessels: int = 0
    clock: int = inputs.EPOCH_MS * 1000

    async def hear(self, vessels: np.ndarray[Any, np.dtype[np.int64]], batch: int) -> None:
        """Take in one report of each vessel, ``batch`` reports to a transaction."""
        lon, lat = places(vessels, self.heard[vessels])
        self.heard[vessels] += 1
        for start in range(0, len(vessels), batch):
            part = slice(start, start + batch)
            count = len(vessels[part])
            self.clock += 1_000_000
            second = np.full(count, self.clock // 1_000_000 % 60)
            speed, course = np.full(count, 7.0), np.full(count, 90.0)
            lines = position_lines(_FIRST_MMSI + vessels[part], lon[part], lat[part], speed, course, second)
            self.telemetry.received(_SOURCE, count)
            await self.inbox.put(Delivery(lines.tobytes(), _SOURCE, _SOURCE, self.clock, messages=count, per_line=True))
        while self.telemetry.ledger.total().in_flight:
            await asyncio.sleep(0.0005)
            if self.running.done():
                self.running.result()
                raise Failed("the pipeline came to its end before its time")


def places(
    vessels: np.ndarray[Any, np.dtype[np.int64]], reports: np.ndarray[Any, np.dtype[np.int64]]
) -> tuple[Any, Any]:
    """Where vessels are after so many reports of each: spread over `inputs.BOX`, two metres on each time."""
    west, south, east, north = inputs.BOX
    at = vessels * 0.6180339887 % 1.0, vessels * 0.7548776662 % 1.0
    return west + at[0] * (east - west) * 0.95 + reports * 2e-5, south + at[1] * (north - south)


class Growth(Row):
    name = "growth"
    title = "Cost of a message, whole pipeline: with much known, against with little"
    measures = (Measure(_SUBJECTS, "µs", _GROWS), Measure(_ZONES, "µs", _GROWS))

    def prepare(self) -> None:
        self._runner = self._held.enter_context(runner())
        few, many = 1_000, self.size(1_000_000, 2_000)
        zones = {name: inputs.zones(count) for name, count in (("few", 10), ("many", self.size(10_000, 100)))}
        books = {name: RuleBook(tuple(inputs.zone_rules(20, of, _CONDITIONS)), tuple(of)) for name, of in zones.items()}
        self._few = self._world(few, books["few"])
        self._zones = self._world(few, books["many"])
        # The last: a new database begins with a checkpoint, after which a page met for the first time costs a whole one
        # of the write-ahead log. Where every report meets another page, that would be all that is measured.
        began = time.perf_counter()
        self._subjects = self._world(many, books["few"])
        heard = self._subjects.vessels
        self.notes.append(f"{heard:,} vessels were heard before it began, in {time.perf_counter() - began:.0f} s")
        if heard < many:
            self.unjudged.add(_SUBJECTS)
            self.notes.append(
                f"{many:,} were to be heard: the time for that was over, and the first line is no verdict"
            )

    def _world(self, vessels: int, book: RuleBook) -> _World:
        dsn = self._held.enter_context(self.places.migrated())
        worlds = _worlds(dsn, book, vessels)
        world = self._runner.run(_first(worlds))
        self._held.callback(lambda: self._runner.run(_close(worlds)))
        deadline = time.monotonic() + _FILL_S
        for start in range(0, vessels, _FILL):
            world.vessels = min(start + _FILL, vessels)
            self._runner.run(world.hear(np.arange(start, world.vessels), _FILL))
            if time.monotonic() > deadline:
                break
        return world

    def contestants(self) -> Sequence[Contestant]:
        return [
            Contestant(OURS, lambda: self._turn({_SUBJECTS: self._subjects, _ZONES: self._zones})),
            Contestant(_FEW, lambda: self._turn({_SUBJECTS: self._few})),
        ]

    def _turn(self, worlds: dict[str, _World]) -> Sample:
        values, batches, spent = {}, self.size(30, 2), 0.0
        for name, world in worlds.items():
            rng = np.random.default_rng(int(world.heard.sum()))
            step = world.vessels // _BATCH
            took = []
            cpu = time.process_time()
            for _ in range(batches):
                heard = np.arange(_BATCH) * step + int(rng.integers(0, step))
                began = time.perf_counter()
                self._runner.run(world.hear(heard, _BATCH))
                took.append(time.perf_counter() - began)
            spent += time.process_time() - cpu
            values[name] = float(np.median(took)) / _BATCH * 1e6
        if _ZONES not in values:  # the little that both are compared with is the same: 1,000 vessels, 10 zones
            values[_ZONES] = values[_SUBJECTS]
        return Sample(values, spent)


async def _worlds(dsn: str, book: RuleBook, vessels: int) -> AsyncGenerator[_World, None]:
    """One `_World`, its pipeline running until this is closed."""
    telemetry, inbox = Telemetry(), Inbox(max_messages=20 * _FILL)
    formats = {_SOURCE: "nmea"}
    async with Store(dsn) as store:
        pipeline = Pipeline(
            inbox,
            store,
            telemetry,
            Recall(store, book, formats, transponders=max(CAPACITY, vessels)),  # so that all are known
            formats=formats,
            notifier=nobody,
            batch_messages=_FILL,
            tick=None,
        )
        task = asyncio.create_task(pipeline.run())
        try:
            yield _World(task, inbox, telemetry, np.zeros(vessels, np.int64))
        finally:
            task.cancel()  # what it has not committed does not matter
            await asyncio.wait([task])


async def _first(worlds: AsyncGenerator[_World, None]) -> _World:
    return await anext(worlds)


async def _close(worlds: AsyncGenerator[_World, None]) -> None:
    await worlds.aclose()
