"""AIS sentences to observations, one process."""

from __future__ import annotations

import importlib.util
import resource
import shutil
import time
from typing import TYPE_CHECKING

import numpy as np

from bench import inputs
from bench.harness import OURS, Contestant, Measure, Row, Sample, Target
from bench.peers import ais
from decoders.block import Block
from decoders.identity import source_id
from decoders.nmea_decoder import NmeaDecoder
from ingest.loop import collect_seldom

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from decoders.records import Observations

#: Sentences in a batch, as a busy pipeline would take them.
BATCH = 20_000


def blocks(data: bytes, batch: int = BATCH) -> Iterator[Block]:
    """Whole lines, as sources of lines hand them on."""
    source = source_id("bench")
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n")) + 1
    begin = 0
    for number, first in enumerate(range(0, len(ends), batch)):
        end = int(ends[first : first + batch][-1])
        received_at = inputs.EPOCH_MS * 1000 + 1_000_000 * number
        yield Block(data[begin:end], source, "bench", received_at, 0, per_line=True, line=first + 1)
        begin = end


def decode(path: Path) -> list[Observations]:
    """The file as tables of observations."""
    decoder = NmeaDecoder()
    return [decoder.decode([block]) for block in blocks(path.read_bytes())]


class AisDecode(Row):
    name = "ais-decode"
    title = "AIS: a real mixed log to observations (TAG blocks, fragments, all types, checksums)"
    measures = (Measure("sentences/s", "1/s", {"pyais file reader": Target(least=12)}),)

    def prepare(self) -> None:
        collect_seldom()  # as every command of haidang does that decodes; it holds for pyais and libais, too
        data, what = inputs.real_log(self.size(60_000, 3_000))
        self._path = self.folder / "real.nmea"
        self._path.write_bytes(data)
        self._lines = data.count(b"\n")
        self.notes.append(f"{self._lines:,} lines: {what}, repeated with other MMSIs")

    def contestants(self) -> Sequence[Contestant]:
        found = [
            Contestant(OURS, lambda: self._turn(decode)),
            Contestant("pyais file reader", lambda: self._turn(ais.pyais_file)),
        ]
        if importlib.util.find_spec("ais"):
            found.append(Contestant("libais", lambda: self._turn(ais.libais_file)))
        else:
            self.notes.append("libais is not installed: left out")
        if shutil.which("gpsdecode"):
            found.append(Contestant("gpsdecode", lambda: self._turn(ais.gpsdecode_file)))
        else:
            self.notes.append("gpsdecode is not installed: left out")
        return found

    def _turn(self, work: Callable[[Path], object]) -> Sample:
        wall, cpu = time.perf_counter(), _cpu()
        work(self._path)
        return Sample({"sentences/s": self._lines / (time.perf_counter() - wall)}, _cpu() - cpu)


def _cpu() -> float:
    """Of this process and of those it waited for: gpsdecode is one."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime
