"""Rows, their contestants, and the comparison of the two: rounds in which everybody has a turn, and medians."""

from __future__ import annotations

import abc
import statistics
import time
from collections import defaultdict
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from bench.places import Places

OURS: Final = "haidang"


@dataclass(slots=True, frozen=True)
class Sample:
    """One turn of one contestant: the value of each measure, and the CPU seconds of its own processes.

    Servers are not among them: what PostgreSQL or the broker spend for a contestant is not in ``cpu``.
    """

    values: Mapping[str, float]
    cpu: float


@dataclass(slots=True, frozen=True)
class Contestant:
    """Who has a turn in every round."""

    name: str
    turn: Callable[[], Sample]


@dataclass(slots=True, frozen=True)
class Target:
    """What the ratio to a peer (or, without one, our own value) is to be."""

    least: float | None = None
    most: float | None = None

    def met(self, value: float) -> bool:
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)

    def __str__(self) -> str:
        return f"≥ {self.least:g}" if self.least is not None else f"≤ {self.most:g}"


@dataclass(slots=True, frozen=True)
class Measure:
    """One figure that contestants give. ``targets``: by the peer compared with; ``""`` for our own value."""

    name: str
    unit: str
    targets: Mapping[str, Target] = field(default_factory=dict)


@dataclass(slots=True, frozen=True)
class Line:
    """One comparison: a measure, ours and one peer's. ``ratio`` is ours / peer, both medians over the rounds."""

    row: str
    measure: Measure
    against: str | None
    ours: float
    peer: float | None
    rounds: int
    cpu_ours: float
    cpu_peer: float | None

    @property
    def ratio(self) -> float | None:
        return self.ours / self.peer if self.peer else None

    @property
    def target(self) -> Target | None:
        return self.measure.targets.get(self.against or "")

    @property
    def met(self) -> bool | None:
        value = self.ours if self.against is None else self.ratio
        return None if self.target is None or value is None else self.target.met(value)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready. ``target`` bounds ``ratio`` where there is a peer, else ``ours``."""
        target = self.target and {
            key: value for key in ("least", "most") if (value := getattr(self.target, key)) is not None
        }
        return {
            "name": self.row,
            "measure": self.measure.name,
            "against": self.against,
            "ours": _short(self.ours),
            "peer": _short(self.peer),
            "unit": self.measure.unit,
            "ratio": _short(self.ratio),
            "target": target,
            "met": self.met,
            "rounds": self.rounds,
            "cpu": {"ours": _short(self.cpu_ours), "peer": _short(self.cpu_peer)},
        }


def _short(value: float | None) -> float | None:
    """Four digits: more would be noise."""
    return None if value is None else float(f"{value:.4g}")


class Row(abc.ABC):
    """One thing that is measured. Used as a context: everything it holds is let go at the end."""

    name: ClassVar[str]
    title: ClassVar[str]
    measures: ClassVar[tuple[Measure, ...]]
    #: More rounds would say the same (a size in memory), or take too long.
    most_rounds: ClassVar[int | None] = None

    def __init__(self, places: Places, *, quick: bool = False) -> None:
        self.places = places
        self.quick = quick
        self.notes: list[str] = []
        #: Measures whose target this turn cannot be held to: a note says why.
        self.unjudged: set[str] = set()
        self._held = ExitStack()

    @property
    def folder(self) -> Path:
        """For files of this row; its processes may read them."""
        folder = self.places.folder / self.name
        folder.mkdir(exist_ok=True)
        return folder

    def size(self, full: int, quick: int) -> int:
        """How much of something: the real thing, or as little as shows that everything works."""
        return quick if self.quick else full

    @abc.abstractmethod
    def prepare(self) -> None:
        """Make the input and start what is needed; not timed.

        Raises:
            NotHere: this machine cannot run the row.
        """

    @abc.abstractmethod
    def contestants(self) -> Sequence[Contestant]:
        """Ours first, then the peers that can run here; a note says which cannot."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()


def compare(row: Row, rounds: int, *, progress: Callable[[str], None] = lambda _: None) -> list[Line]:
    """Give every contestant a turn in each round, and compare the medians.

    Raises:
        NotHere: this machine cannot run the row.
    """
    progress("preparing")
    row.prepare()
    contestants = row.contestants()
    rounds = min(rounds, row.most_rounds or rounds)
    values: dict[tuple[str, str], list[float]] = defaultdict(list)
    cpu: dict[str, list[float]] = defaultdict(list)
    for number in range(1, rounds + 1):
        for contestant in contestants:
            progress(f"round {number} of {rounds}: {contestant.name}")
            sample = contestant.turn()
            cpu[contestant.name].append(sample.cpu)
            for name, value in sample.values.items():
                values[contestant.name, name].append(value)
    median = {key: statistics.median(found) for key, found in values.items()}
    spent = {name: statistics.median(found) for name, found in cpu.items()}
    lines = []
    for given in row.measures:
        measure = replace(given, targets={}) if given.name in row.unjudged else given
        peers: list[str | None] = [c.name for c in contestants[1:] if (c.name, measure.name) in median]
        for peer in peers or [None]:
            lines.append(  # noqa: PERF401  # reads better
                Line(
                    row.name,
                    measure,
                    peer,
                    median[OURS, measure.name],
                    None if peer is None else median[peer, measure.name],
                    rounds,
                    spent[OURS],
                    None if peer is None else spent[peer],
                )
            )
    return lines


@dataclass(slots=True)
class Stopwatch:
    """What `timed` saw, once its block is left."""

    wall: float = 0.0  # seconds
    cpu: float = 0.0  # seconds of this process, all threads


@contextmanager
def timed() -> Iterator[Stopwatch]:
    """Time a block of this process."""
    watch = Stopwatch()
    wall, cpu = time.perf_counter(), time.process_time()
    yield watch
    watch.wall, watch.cpu = time.perf_counter() - wall, time.process_time() - cpu
