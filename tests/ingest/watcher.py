"""A watcher of sources that writes down what it is told."""

from __future__ import annotations

import asyncio
from collections import Counter


class Recorder:
    """``SourceWatcher`` for tests: counts, and events to wait for."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.sessions: list[bool] = []
        self.edges: list[tuple[bool, str]] = []
        self.up = asyncio.Event()
        self.down = asyncio.Event()

    def received(self, source: str, messages: int) -> None:
        self.counts["received"] += messages

    def dropped(self, source: str, reason: str, messages: int) -> None:
        self.counts[f"dropped:{reason}"] += messages

    def connected(self, source: str, up: bool, detail: str = "") -> None:
        self.edges.append((up, detail))
        (self.up if up else self.down).set()
        (self.down if up else self.up).clear()

    def session(self, source: str, resumed: bool) -> None:
        self.sessions.append(resumed)

    def stale_ack(self, source: str) -> None:
        self.counts["stale_ack"] += 1
