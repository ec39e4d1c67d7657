"""``haidang quarantine list|summary|show|redrive``."""

from __future__ import annotations

import asyncio
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer
from rich.console import Console

from decoders.lines import text
from decoders.records import Reason
from ingest.commands.options import Dsn, Json, moment
from ingest.output import json_line, listing, refusals
from ingest.redrive import redrive
from ingest.settings import load
from storage import readers
from storage.redrive import Choice

app = typer.Typer(no_args_is_help=True)

OfReason = Annotated[Reason | None, typer.Option(help="Only this reason.")]
OfSource = Annotated[str | None, typer.Option(help="Only this source, by name.")]
Since = Annotated[datetime | None, typer.Option(parser=moment, metavar="TIME", help="Received since then.")]
Until = Annotated[datetime | None, typer.Option(parser=moment, metavar="TIME", help="Received before then.")]


@app.command("list")
@refusals
def list_(
    dsn: Dsn,
    reason: OfReason = None,
    source: OfSource = None,
    since: Since = None,
    until: Until = None,
    redriven: Annotated[bool | None, typer.Option("--redriven/--waiting", help="Only tried again, or not yet.")] = None,
    after: Annotated[UUID | None, typer.Option(metavar="ID", help="Go on after this one: the last of a page.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000)] = 100,
    as_json: Json = False,
) -> None:
    """Refused messages, the latest first."""
    rows = asyncio.run(
        readers.quarantined(
            dsn, reason=reason, source=source, since=since, until=until, redriven=redriven, after=after, limit=limit
        )
    )
    columns = {
        "received_at": "received",
        "source": "source",
        "origin": "origin",
        "line": "line",
        "reason": "reason",
        "detail": "detail",
        "redrive_outcome": "redriven",
        "id": "id",
    }
    listing(rows, columns, as_json=as_json, empty="nothing is quarantined")


@app.command("summary")
@refusals
def summary(dsn: Dsn, as_json: Json = False) -> None:
    """How much is refused, by source and reason."""
    rows = asyncio.run(readers.quarantine_summary(dsn))
    columns = {name: name for name in ("source", "reason", "messages", "bytes", "first", "last", "redriven", "evicted")}
    listing(rows, columns, as_json=as_json, empty="nothing is quarantined")


@app.command("show")
@refusals
def show(
    message: Annotated[UUID, typer.Argument(metavar="ID")],
    dsn: Dsn,
    raw: Annotated[bool, typer.Option("--raw", help="The bytes alone, as they were received.")] = False,
    as_json: Json = False,
) -> None:
    """One refused message with its bytes."""
    row: dict[str, Any] = asyncio.run(readers.refused(dsn, message))
    if raw:
        sys.stdout.buffer.write(row["raw"])
        return
    row["raw"] = text(bytes(row["raw"]))
    row["sha256"] = bytes(row["sha256"]).hex()
    if as_json:
        json_line(row)
        return
    console = Console(highlight=False, markup=False)
    for key, value in row.items():
        if value is not None:
            console.print(f"{key:<16} {value}")


@app.command("redrive")
@refusals
def redrive_(
    dsn: Dsn,
    messages: Annotated[list[UUID] | None, typer.Argument(metavar="ID", help="Which; or say by options.")] = None,
    reason: OfReason = None,
    source: OfSource = None,
    since: Since = None,
    until: Until = None,
    again: Annotated[bool, typer.Option("--again", help="Those too that were refused again before.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many, the oldest first.")] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="The TOML file whose [limits] apply.", dir_okay=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Send refused messages through the pipeline again, for instance after an upgrade. What is stored by then stays."""
    choice = Choice((), reason, source, since, until, again, limit)
    if messages:
        choice = Choice(messages)
    elif choice == Choice(again=again, limit=limit):
        raise typer.BadParameter("say which: IDs, --reason, --source, --since or --until")
    bounds = load(config).limits.bounds() if config is not None else None

    async def run() -> list[dict[str, Any]]:
        outcomes = []
        async for outcome in redrive(dsn, choice, bounds):
            if as_json:
                json_line(outcome)
            else:
                outcomes.append(outcome)
        return outcomes

    outcomes = asyncio.run(run())
    columns = {"id": "id", "reason": "reason", "outcome": "outcome"}
    if not as_json:
        listing(outcomes, columns, as_json=False, empty="nothing to redrive")
