"""What every source is to the service, and what it tells about itself."""

from __future__ import annotations

import asyncio
import random
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Protocol

import structlog

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest.inbox import Inbox

log = structlog.get_logger()


class SourceWatcher(Protocol):
    """Who is told what a source sees (``ingest.telemetry`` in the service)."""

    def received(self, source: str, messages: int) -> None: ...

    def dropped(self, source: str, reason: str, messages: int) -> None: ...

    def connected(self, source: str, up: bool, detail: str = "") -> None: ...

    def session(self, source: str, resumed: bool) -> None: ...

    def stale_ack(self, source: str) -> None: ...


class SourceUnavailable(Exception):  # noqa: N818  # named for what is known, not for its class
    """The other end cannot be reached, or refuses us; one line says why."""


class Source(ABC):
    """Reads one wire and hands deliveries to the inbox.

    Life: ``check`` may be called once before; ``run`` reads until ``stop`` was called or the input ends;
    after ``stop`` returns no further delivery is made, but acks still reach the wire until ``release``.
    """

    #: "nmea" for lines of NMEA sentences, "mqtt" for topics that choose their own format.
    format: str = "nmea"

    def __init__(self, name: str, watcher: SourceWatcher) -> None:
        self.name = name
        self.watcher = watcher
        self._stopping = asyncio.Event()
        self._released = asyncio.Event()

    async def check(self) -> None:  # noqa: B027  # a wire without another end has nothing to check
        """Say at start, before anything depends on it, whether the other end answers.

        Raises:
            SourceUnavailable: it does not.
        """

    @abstractmethod
    async def run(self, inbox: Inbox) -> None:
        """Read until stopped, or until the input ends."""

    def stop(self) -> None:
        """Read no more."""
        self._stopping.set()

    def release(self) -> None:
        """Everything delivered has been committed and acked: the connection may go."""
        self._released.set()

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()


def backoff(first: float = 0.2, longest: float = 15.0) -> Iterator[float]:
    """Seconds to wait before each next attempt: exponential, with full jitter so that clients do not march in step."""
    ceiling = first
    while True:
        yield random.uniform(0, ceiling)  # noqa: S311  # jitter, not a secret
        ceiling = min(ceiling * 2, longest)


async def pause(event: asyncio.Event, seconds: float) -> None:
    """Wait ``seconds``, or until ``event`` is set."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
