"""What the demonstration shows while it runs: rates, the ledger, alerts and where to look."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import RenderableType

    from ingest.ledger import Ledger

_COLOURS = {"critical": "bold red", "major": "red", "warning": "yellow", "info": "cyan"}
_RATE_SECONDS = 5.0
_ALERTS_SHOWN = 8


class View:
    """Renders one frame from what it is told."""

    def __init__(self, urls: Mapping[str, str], note: str = "") -> None:
        self._urls = urls
        self._note = note
        self._began = time.monotonic()
        self._history: deque[tuple[float, dict[str, int]]] = deque()

    def frame(
        self, ledger: Ledger, rows: Mapping[str, int], alerts: Sequence[Mapping[str, Any]], delivered: int
    ) -> RenderableType:
        """The screen now.

        Args:
            ledger: of all sources.
            rows: table name to rows written.
            alerts: payloads the webhook received, oldest first.
            delivered: how many.
        """
        now = time.monotonic()
        self._history.append((now, {name: account.received for name, account in ledger.accounts.items()}))
        while now - self._history[0][0] > _RATE_SECONDS and len(self._history) > 1:
            self._history.popleft()
        return Group(
            self._heading(now, rows, delivered),
            self._ledger(now, ledger),
            self._alerts(alerts),
            *([Text(self._note, style="yellow")] if self._note else []),
        )

    def _heading(self, now: float, rows: Mapping[str, int], delivered: int) -> RenderableType:
        written = "   ".join(f"{name} [bold]{count:,}[/]" for name, count in rows.items())
        lines = [f"[bold]Hải Đăng[/]  {now - self._began:5.0f} s   rows: {written}   webhook: [bold]{delivered}[/]"]
        lines += [f"[dim]{name:<13}[/] {url}" for name, url in self._urls.items()]
        return Panel(Text.from_markup("\n".join(lines)), border_style="blue")

    def _ledger(self, now: float, ledger: Ledger) -> RenderableType:
        table = Table(title="Ledger (received = sum of the rest)", title_justify="left", box=None, pad_edge=False)
        table.add_column("source")
        for heading in ("msg/s", "received", "stored", "duplicate", "ignored", "quarantined", "dropped", "in flight"):
            table.add_column(heading, justify="right")
        then, before = self._history[0]
        seconds = max(now - then, 0.001)
        for name, account in sorted(ledger.accounts.items()):
            rate = (account.received - before.get(name, 0)) / seconds
            table.add_row(
                name,
                f"{rate:,.0f}",
                *(
                    f"{count:,}"
                    for count in (
                        account.received,
                        account.stored,
                        account.duplicate,
                        account.ignored,
                        account.quarantined,
                        account.dropped,
                        account.in_flight,
                    )
                ),
            )
        return table

    def _alerts(self, alerts: Sequence[Mapping[str, Any]]) -> RenderableType:
        table = Table(title="Delivered to the webhook", title_justify="left", box=None, pad_edge=False)
        for heading in ("time (UTC)", "event", "severity", "what"):
            table.add_column(heading, overflow="fold")
        for alert in alerts[-_ALERTS_SHOWN:]:
            severity = str(alert["severity"])
            event = str(alert["event"])
            table.add_row(
                str(alert["at"])[11:19],
                Text(event, style="bold" if event == "firing" else "green"),
                Text(severity, style=_COLOURS.get(severity, "")),
                str(alert["summary_en"]),
            )
        return table
