"""``haidang demo``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated

import structlog
import typer
from rich.console import Console

from ingest.commands.options import Json
from ingest.demo.show import show
from ingest.loop import runner
from ingest.output import json_line, refusals
from ingest.telemetry import configure_logging
from services import fallback, local
from services.endpoints import Endpoints
from services.errors import ServicesUnavailable
from services.postgres import fresh_database
from storage import migrate
from storage.capability import Edition

_PARTS = ("postgres", "mosquitto", "prometheus", "alertmanager")
_DATABASE = "haidang_demo"
_PLAIN = (
    "No root or no Debian here: PostgreSQL from a wheel on plain tables, and a broker in Python. "
    "The same program; no hypertables, no Prometheus."
)


@refusals
def demo(
    seconds: Annotated[
        float | None,
        typer.Option(
            "--for",
            min=5,
            help="Seconds to run, and up to a minute until all was shown. Default: until Ctrl-C.",
            metavar="SECONDS",
        ),
    ] = None,
    dsn: Annotated[str | None, typer.Option(help="A database of your own instead of one made for this.")] = None,
    plain: Annotated[bool, typer.Option("--plain", help="Use what needs neither root nor Debian.")] = False,
    as_json: Json = False,
) -> None:
    """Everything on this machine: real servers, simulated vessels and sensors, a real AIS log, alerts to a webhook.

    Exits with 1 if it did not show what it should: rows from MQTT and AIS, a zone and a threshold alert delivered, a
    ledger that balances.
    """
    configure_logging(level="error")
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    console = Console(stderr=as_json)
    note = ""

    def say(text: str) -> None:
        console.print(f"[dim]{text}[/]", highlight=False)

    parts, leave = (None, None) if plain else _real(_PARTS if dsn is None else _PARTS[1:], say)
    if parts is None:
        note = _PLAIN
        running = fallback.start(progress=say)
        parts, leave = running.endpoints, running.stop
    try:
        if dsn is None:
            assert parts.dsn is not None
            say(f"making the database {_DATABASE} anew")  # what others left would be judged with ours
            dsn_of_demo = fresh_database(parts.dsn, _DATABASE)
        else:
            dsn_of_demo = dsn
        parts = replace(parts, dsn=dsn_of_demo)
        say("bringing the tables up to date")
        edition = migrate.upgrade(dsn_of_demo).capability.edition
        with runner() as loop:
            verdict = loop.run(show(parts, seconds=seconds, note=note, console=console))
    finally:
        if leave is not None:
            leave()
    faults = list(verdict.faults)
    if edition is Edition.PLAIN and dsn is None and leave is None:
        faults.append("the tables are no hypertables, though TimescaleDB was started")
    if as_json:
        json_line({"dsn": dsn_of_demo, **verdict.facts, "edition": edition, "faults": faults})
    else:
        total = verdict.facts["total"]
        console.print(
            f"{total['received']:,} messages received = "
            + " + ".join(f"{total[name]:,} {name}" for name in list(total)[1:]),
            highlight=False,
        )
        rows = ", ".join(f"{count:,} {table}" for table, count in verdict.facts["rows"].items() if count)
        console.print(f"written: {rows}; delivered to the webhook: {verdict.facts['delivered']}", highlight=False)
    if faults:
        for fault in faults:
            sys.stderr.write(f"haidang: demo: {fault}\n")
        raise typer.Exit(1)
    if not as_json:
        console.print("[green]all of it was shown[/]")


def _real(names: tuple[str, ...], say: Callable[[str], None]) -> tuple[Endpoints | None, None]:
    """The real parts, which stay up for the next time; None where this machine cannot run them."""
    try:
        return local.start(names, progress=say), None
    except ServicesUnavailable as exc:
        say(str(exc))
        return None, None
