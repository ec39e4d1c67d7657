"""The service under soak: a process that is started, killed and stopped, and watched from outside."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import httpx
import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from tests.ingest.running import Process

if TYPE_CHECKING:
    from collections.abc import Sequence

_KIB = 1024
#: Memory that a young process takes is no leak (windows that fill, the first reviews of late data): under these faults
#: it has what it needs after two minutes, and wanders about that for the next ten.
_WARM_UP = 120.0
#: Nor is what is taken and given back: a look at late data takes memory for some seconds, the more the more is stored.
#: The least of so many seconds is judged, which a leak lifts too.
_LOW = 30.0
#: Samples that say what is usual.
_SOME = 10


class Sample(NamedTuple):
    """The service at one moment. ``calm``: the database is there, and every source is connected."""

    at: float  # seconds
    resident: int  # bytes
    files: int
    tasks: int
    calm: bool


@dataclass(slots=True)
class Life:
    """One process of the service: a sample a second, and its ledger by source as it was last seen."""

    samples: list[Sample] = field(default_factory=list)
    ledger: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        return self.samples[-1].at - self.samples[0].at if self.samples else 0.0

    @property
    def warm(self) -> list[Sample]:
        """Without the time in which a young process takes memory that it keeps."""
        return [sample for sample in self.samples if sample.at - self.samples[0].at >= _WARM_UP]

    def most(self) -> tuple[int, int, int]:
        """The greatest resident bytes, open files and tasks."""
        columns: Sequence[Any] = list(zip(*self.samples, strict=True)) or [(0,)] * 5
        return max(columns[1]), max(columns[2]), max(columns[3])

    def grown(self, of: Literal["files", "tasks"]) -> float | None:
        """By how much the number usual in calm moments is greater at the end than when warm; None: too short."""
        calm = [getattr(sample, of) for sample in self.warm if sample.calm]
        if len(calm) < 2 * _SOME:
            return None
        return float(np.median(calm[-_SOME:]) - np.median(calm[:_SOME]))


def slope(lives: Sequence[Life]) -> tuple[float, float] | None:
    """Resident bytes a minute of age: the median of what any two moments of one warm life say (Theil and Sen), each by
    the least resident about then; and over how many minutes. A leak shows in most of them; a step, as when a first
    large batch came after an outage, in few. None: they were too short to say.
    """
    found, seconds = [], 0.0
    for warm in (life.warm for life in lives):
        if len(warm) < _SOME or warm[-1].at - warm[0].at < 2 * _LOW:
            continue
        at, resident = np.array([(sample.at, sample.resident) for sample in warm], float).T
        since = np.searchsorted(at, at - _LOW)
        lows = np.array([resident[first : last + 1].min() for last, first in enumerate(since)])
        whole = at - at[0] >= _LOW
        at, lows = at[whole], lows[whole]
        one, two = np.triu_indices(len(at), _SOME // 2)
        found.append((lows[two] - lows[one]) / (at[two] - at[one]))
        seconds += float(at[-1] - at[0])
    return (float(np.median(np.concatenate(found))) * 60, seconds / 60) if found else None


def _resources(pid: int) -> tuple[int, int] | None:
    """Resident bytes and open files of a process; None if it has just ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    except OSError:
        return None
    resident = [line for line in status.splitlines() if line.startswith("VmRSS")]
    return (int(resident[0].split()[1]) * _KIB, files) if resident else None


class Subject:
    """``haidang run``, again and again."""

    def __init__(self, config: Path, http_port: int, log: Path) -> None:
        self._url = f"http://127.0.0.1:{http_port}"
        self._process = Process(config, log=log, options=("--wait", "60"))
        self.lives: list[Life] = []
        self.failures: list[str] = []
        self.started = 0.0  # the last of them, on the clock of ``time.monotonic``
        self._running = False

    async def start(self) -> None:
        await self._process.start()
        self.lives.append(Life())
        self.started = time.monotonic()
        self._running = True

    async def kill(self) -> None:
        self._running = False
        await self._process.kill()

    async def stop(self) -> None:
        """SIGTERM; it must end well, within its grace period."""
        self._running = False
        code = await self._process.stop()
        if code != 0:
            self.failures.append(f"a stop ended with exit code {code}")

    async def end(self) -> None:
        self._running = False
        await self._process.end()

    async def sample(self, at: float) -> None:
        """Look at it once."""
        if not self._running:
            return
        if self._process.has_ended:
            self.failures.append(f"it ended by itself:\n{self._process.errors[-2000:]}")
            await self.start()
        life, found, told = self.lives[-1], _resources(self._process.pid), await self._metrics()
        if found is None or told is None or life is not self.lives[-1]:
            return
        ledger: dict[str, dict[str, int]] = {}
        calm = tasks = 1
        for name, labels, value in told:
            match name:
                case "haidang_received_total" | "haidang_in_flight":
                    ledger.setdefault(labels["source"], {})[name.split("_", 1)[1].removesuffix("_total")] = value
                case "haidang_messages_total":
                    ledger.setdefault(labels["source"], {})[labels["fate"]] = value
                case "haidang_tasks":
                    tasks = value
                case "haidang_database_up" | "haidang_source_connected":
                    calm = min(calm, value)
        life.samples.append(Sample(at, *found, tasks, bool(calm)))
        life.ledger = ledger

    async def _metrics(self) -> list[tuple[str, dict[str, str], int]] | None:
        try:
            async with httpx.AsyncClient(timeout=2) as client:
                text = (await client.get(f"{self._url}/metrics")).text
        except httpx.HTTPError:
            return None
        families = text_string_to_metric_families(text)
        return [
            (sample.name, sample.labels, int(sample.value))
            for family in families
            for sample in family.samples
            if family.name.startswith("haidang_") and not math.isinf(sample.value)
        ]

    async def ready(self) -> dict[str, Any] | None:
        """What /readyz says; None where nobody answers."""
        try:
            async with httpx.AsyncClient(timeout=2) as client:
                answer: dict[str, Any] = (await client.get(f"{self._url}/readyz")).json()
        except httpx.HTTPError:
            return None
        return answer
