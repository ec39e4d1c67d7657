"""``haidang quarantine list|show|redrive``."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import typer
from rich.console import Console

from decoders.lines import text
from decoders.records import Reason
from ingest.commands.options import Dsn, Json, moment
from ingest.output import json_line, listing, refusals
from ingest.redrive import redrive
from storage import readers

app = typer.Typer(no_args_is_help=True)


@app.command("list")
@refusals
def list_(
    dsn: Dsn,
    reason: Annotated[Reason | None, typer.Option(help="Only this reason.")] = None,
    source: Annotated[str | None, typer.Option(help="Only this source, by name.")] = None,
    since: Annotated[datetime | None, typer.Option(parser=moment, metavar="TIME", help="Received since then.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000)] = 100,
    as_json: Json = False,
) -> None:
    """Refused messages, the latest first."""
    rows = asyncio.run(readers.quarantined(dsn, reason=reason, source=source, since=since, limit=limit))
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


@app.command("show")
@refusals
def show(message: Annotated[UUID, typer.Argument(metavar="ID")], dsn: Dsn, as_json: Json = False) -> None:
    """One refused message with its bytes."""
    row: dict[str, Any] = asyncio.run(readers.refused(dsn, message))
    row["raw"] = text(bytes(row["raw"]))
    if "sha256" in row:
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
    messages: Annotated[list[UUID] | None, typer.Argument(metavar="[ID]...", help="Which; none: see --reason.")] = None,
    reason: Annotated[Reason | None, typer.Option(help="All with this reason that were not redriven yet.")] = None,
    as_json: Json = False,
) -> None:
    """Send refused messages through the pipeline again, for instance after an upgrade. What is stored by then stays."""
    if not messages and reason is None:
        raise typer.BadParameter("say which: IDs, or --reason")
    outcomes = asyncio.run(redrive(dsn, messages or [], reason))
    columns = {"id": "id", "reason": "reason", "outcome": "outcome"}
    listing(outcomes, columns, as_json=as_json, empty="nothing to redrive")
