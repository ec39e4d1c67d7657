"""The service under soak: a process that is started, killed and stopped, and watched from outside."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np

from tests.ingest.running import Process

if TYPE_CHECKING:
    from collections.abc import Sequence

_KIB = 1024
#: Memory that a young process takes is no leak: its slope is measured after this many seconds.
_WARM_UP = 20.0


@dataclass(slots=True)
class Life:
    """One process of the service: samples of (seconds, resident bytes, open files, tasks), one a second."""

    samples: list[tuple[float, int, int, int]] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return self.samples[-1][0] - self.samples[0][0] if self.samples else 0.0

    def slope(self) -> float | None:
        """Resident bytes a minute, by least squares after the warm-up; None for a life too short to say."""
        warm = [(at, rss) for at, rss, _, _ in self.samples if at - self.samples[0][0] >= _WARM_UP]
        if len(warm) < 10:
            return None
        at, rss = np.array(warm, float).T
        return float(np.polyfit(at, rss, 1)[0] * 60)

    def most(self) -> tuple[int, int, int]:
        """The greatest resident bytes, open files and tasks."""
        columns: Sequence[Any] = list(zip(*self.samples, strict=True)) or [(0,)] * 4
        return max(columns[1]), max(columns[2]), max(columns[3])


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
        self._running = False

    async def start(self) -> None:
        await self._process.start()
        self.lives.append(Life())
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
        found, tasks = _resources(self._process.pid), await self._tasks()
        if found is not None and tasks is not None:
            self.lives[-1].samples.append((at, *found, tasks))

    async def _tasks(self) -> int | None:
        try:
            async with httpx.AsyncClient(timeout=2) as client:
                text = (await client.get(f"{self._url}/metrics")).text
        except httpx.HTTPError:
            return None
        found = [line for line in text.splitlines() if line.startswith("haidang_tasks ")]
        return int(float(found[0].split()[1])) if found else None

    async def ready(self) -> dict[str, Any] | None:
        """What /readyz says; None where nobody answers."""
        try:
            async with httpx.AsyncClient(timeout=2) as client:
                answer: dict[str, Any] = (await client.get(f"{self._url}/readyz")).json()
        except httpx.HTTPError:
            return None
        return answer
