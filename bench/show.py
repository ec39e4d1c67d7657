"""The table for people, 100 columns wide."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from rich import box
from rich.table import Table
from rich.text import Text

from bench import facts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console
    from rich.status import Status

    from bench.harness import Line, Row

_WIDTH: Final = 100


class Shown:
    """Tables go to ``out``; progress and problems to ``err``."""

    def __init__(self, out: Console, err: Console) -> None:
        self._out = out
        self._err = err
        self._status: Status | None = None
        self._label = ""
        out.width = min(out.width, _WIDTH) if out.is_terminal else _WIDTH

    def machine(self) -> None:
        """What everything below was measured on."""
        versions = facts.versions()
        self._out.print(f"haidang {versions.pop('haidang')} on {facts.cores()} cores, {facts.processor()}")
        self._out.print(", ".join(f"{name} {number}" for name, number in versions.items()), style="dim")
        if (load := os.getloadavg()[0]) > facts.cores() / 2:
            self._out.print(f"The machine is busy (load {load:.1f}): trust ratios, not figures.", style="yellow")

    def working(self, label: str) -> None:
        """Which row is under way."""
        self._label = label
        if self._err.is_terminal:
            self.idle()
            self._status = self._err.status(label)
            self._status.start()

    def step(self, text: str) -> None:
        """What it does now."""
        if self._status is not None:
            self._status.update(f"{self._label}: {text}")

    def idle(self) -> None:
        """Nothing is under way."""
        if self._status is not None:
            self._status.stop()
            self._status = None

    def problem(self, row: str, text: str) -> None:
        """A row that gave nothing."""
        self.idle()
        self._err.print(f"{row}: {text}", style="red")

    def row(self, row: Row, lines: Sequence[Line]) -> None:
        """One row's table and notes."""
        self.idle()
        table = Table(box=box.SIMPLE_HEAD, width=self._out.width, padding=(0, 1), title_justify="left")
        table.title = Text(f"{row.name}  {row.title}", style="bold")
        table.add_column("measure", ratio=1)
        table.add_column("ours", justify="right", no_wrap=True)
        table.add_column("peer", justify="right", no_wrap=True)
        table.add_column("against", no_wrap=True, max_width=26)
        table.add_column("ratio", justify="right", no_wrap=True)
        table.add_column("target", no_wrap=True)
        last = None
        for line in lines:
            first = line.measure is not last
            last = line.measure
            table.add_row(
                f"{line.measure.name}" if first else "",
                _figure(line.ours, line.measure.unit) if first else "",
                "" if line.peer is None else _figure(line.peer, line.measure.unit),
                line.against or "",
                "" if line.ratio is None else _ratio(line.ratio),
                Text("") if row.quick else _target(line),
            )
        self._out.print()
        self._out.print(table)
        for note in row.notes:
            self._out.print(f"  {note}", style="dim")

    def end(self, seconds: float, servers: dict[str, str], *, quick: bool) -> None:
        """The last lines."""
        said = ", ".join(f"{name} {number}" for name, number in servers.items())
        self._out.print(f"\n{seconds / 60:.1f} minutes{', ' if said else ''}{said}. Ratio is ours / peer, of medians.")
        if quick:
            self._out.print("Tiny inputs (--quick): these figures mean nothing.", style="yellow")


def _figure(value: float, unit: str) -> str:
    shown = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    return f"{shown}/s" if unit == "1/s" else f"{shown} {unit}"


def _ratio(value: float) -> str:
    return f"{value:.1f} x" if value >= 10 else f"{value:.2f} x"


def _target(line: Line) -> Text:
    if line.target is None:
        return Text("")
    unit = " x" if line.against is not None else f" {line.measure.unit}"
    return Text(f"{line.target}{unit} {'met' if line.met else 'missed'}", style="green" if line.met else "red")
