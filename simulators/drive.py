"""Let a simulation run: in step with the wall clock, or as fast as it goes, to any number of targets."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Self, TextIO

from simulators.events import SECOND, Event, Truth
from simulators.scenario import ScenarioConfig, scenario_events
from simulators.wire import SentenceTarget, Target, TcpListen, Unreachable, writing

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_BREATH = 64  # events between two looks at the rest of the program when nothing else makes us wait


class TruthFile:
    """Ground truth as JSON lines, each written when its time has come. What cannot be written is ``Unreachable``."""

    def __init__(self, path: Path) -> None:
        """Raises ``Unreachable`` if the file cannot be written."""
        self._path = path
        with writing(path):
            self._file: TextIO = path.open("w", encoding="utf-8")
        self.lines = 0

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        with writing(self._path):
            self._file.close()

    def write(self, truth: Truth) -> None:
        """One line, flushed: who reads along sees it at once."""
        with writing(self._path):
            self._file.write(json.dumps(truth.fields, separators=(",", ":")) + "\n")
            self._file.flush()
        self.lines += 1


async def drive(
    events: Iterable[Event],
    targets: Sequence[Target],
    *,
    start: int,
    seconds: float | None = None,
    truth: TruthFile | None = None,
    paced: bool = True,
) -> None:
    """Send every event to the targets that take it.

    Args:
        events: in time order.
        targets: open ones.
        start: the instant, microseconds UTC, that now stands for.
        seconds: when paced and the events end before, wait until so long after ``start``.
        truth: where ground truth goes.
        paced: wait for each event's time; else send as fast as the targets take it.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    for number, event in enumerate(events):
        wait = (event.time - start) / SECOND - (loop.time() - began) if paced else 0.0
        if wait > 0 or number % _BREATH == 0:
            await asyncio.sleep(max(0.0, wait))
        if isinstance(event, Truth):
            if truth is not None:
                truth.write(event)
            continue
        for target in targets:
            if target.takes(event):
                await target.send(event)
    if paced and seconds is not None:
        await asyncio.sleep(max(0.0, seconds - (loop.time() - began)))


async def run_scenario(
    config: ScenarioConfig, targets: Sequence[Target], *, truth: TruthFile | None = None, paced: bool = True
) -> None:
    """Simulate fleet and sensors together to open targets."""
    fleet = config.fleet
    events = scenario_events(config)
    await drive(events, targets, start=fleet.start, seconds=fleet.seconds, truth=truth, paced=paced)


async def replay_log(path: Path, target: SentenceTarget, rate: float | None = None) -> int:
    """Send a recorded log, line by line as it stands; returns the number of lines.

    Waits until somebody is there to hear. ``rate`` in lines per second; None as fast as the other end takes them.

    Raises:
        Unreachable: the log cannot be read.
    """
    try:
        lines = path.read_bytes().splitlines(keepends=True)  # noqa: ASYNC240  # once, before anything is sent
    except OSError as error:
        raise Unreachable(f"{path}: {error.strerror}") from error
    if lines and not lines[-1].endswith(b"\n"):
        lines[-1] += b"\n"
    await target.ready()
    loop = asyncio.get_running_loop()
    began = loop.time()
    for number, line in enumerate(lines):
        wait = number / rate - (loop.time() - began) if rate else 0.0
        if wait > 0 or number % _BREATH == 0:
            await asyncio.sleep(max(0.0, wait))
        await target.write(line)
        if isinstance(target, TcpListen):
            await target.drained()
    return len(lines)


#: A real log of 898 AIS sentences; where it comes from and under which licence: ``simulators/data/README.md``.
DEMO_LOG = Path(__file__).parent / "data" / "nmea_data_sample.txt"
