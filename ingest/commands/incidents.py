"""``haidang alerts incident list|show|ack|close``."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer
from rich.console import Console

from ingest.commands.acts import By, Note, Tell, said_by
from ingest.commands.options import Dsn, Json
from ingest.output import json_line, listing, refusals
from storage import incidents
from storage.acts import Verdict

if TYPE_CHECKING:
    from collections.abc import Coroutine

app = typer.Typer(no_args_is_help=True, help="Alerts that have one cause, as one.")

Id = Annotated[UUID, typer.Argument(metavar="ID", help="The incident's id.")]


@app.command("list")
@refusals
def list_(
    dsn: Dsn,
    over: Annotated[bool, typer.Option("--all", help="Those that are over, too.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=100_000)] = 100,
    as_json: Json = False,
) -> None:
    """Incidents that last, the newest first."""
    rows = asyncio.run(incidents.incidents(dsn, over=over, limit=limit))
    columns = {"opened_at": "since", "state": "state", "severity": "severity", "alerts": "alerts", "policy": "group"}
    shown = [{**row, "opened_at": f"{row['opened_at']:%Y-%m-%d %H:%M:%S}Z", "what": _what(row)} for row in rows]
    columns |= {"what": "what", "id": "id"}
    listing(rows if as_json else shown, columns, as_json=as_json, empty="no incidents")


def _what(row: dict[str, Any]) -> str:
    return " ".join(f"{label}={value}" for label, value in row["labels"].items())


@app.command("show")
@refusals
def show(incident: Id, dsn: Dsn, as_json: Json = False) -> None:
    """One incident with its alerts, and what was said of it."""
    row = asyncio.run(incidents.incident(dsn, incident))
    if as_json:
        json_line(row)
        return
    console = Console(highlight=False)
    members, news = row.pop("members"), row.pop("news")
    for key, value in row.items():
        if value is not None:
            console.print(f"[dim]{key:<18}[/] {value}")
    console.print()
    columns = {"joined_at": "joined", "state": "state", "severity": "severity", "summary_en": "what", "id": "alert"}
    listing(members, columns, as_json=False, empty="no alerts")
    console.print()
    listing(news, {"at": "at", "event": "said", "alerts": "alerts"}, as_json=False, empty="nothing was said of it")


@app.command("ack")
@refusals
def ack(incident: Id, dsn: Dsn, by: By = None, note: Note = None, config: Tell = None, as_json: Json = False) -> None:
    """Say that somebody has seen it: those of its alerts that are firing become acknowledged."""
    _done(incidents.acknowledge(dsn, incident, said_by(by, note, config)), as_json=as_json)


@app.command("close")
@refusals
def close(
    incident: Id,
    dsn: Dsn,
    verdict: Annotated[Verdict | None, typer.Option(help="What it was found to be.", show_default=False)] = None,
    by: By = None,
    note: Note = None,
    config: Tell = None,
    as_json: Json = False,
) -> None:
    """Say that it is dealt with, and what it was: each of its alerts is closed, and resolved first if it lasts."""
    _done(incidents.close(dsn, incident, said_by(by, note, config), verdict), as_json=as_json)


def _done(change: Coroutine[Any, Any, dict[str, Any]], *, as_json: bool) -> None:
    row = asyncio.run(change)
    if as_json:
        json_line(row)
    else:
        print(f"{row['id']}: {row['state']}, {row['alerts']} alerts")
