"""``haidang vessels import|list|show``."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from alerting.registry_files import read_vessels
from ingest.commands.options import Dsn, Json
from ingest.output import json_line, listing, refusals, refuse
from storage import registry
from storage.registry import NumberTaken

if TYPE_CHECKING:
    from collections.abc import Mapping

app = typer.Typer(no_args_is_help=True)


def offset(text: str) -> str:
    """An offset from UTC such as "+07:00"."""
    if not re.fullmatch(r"[+-](0\d|1[0-4]):[0-5]\d", text):
        raise typer.BadParameter(f'{text!r} is not like "+07:00"')
    return text


@app.command("import")
@refusals
def import_(
    file: Annotated[Path, typer.Argument(help="CSV with a header row, or JSON lines.", dir_okay=False)],
    dsn: Dsn,
    only: Annotated[bool, typer.Option("--only", help="Strike off vessels that are not in the file.")] = False,
    utc_offset: Annotated[
        str, typer.Option(parser=offset, metavar="OFFSET", help="What the days of the file are meant at.")
    ] = "+07:00",
    as_json: Json = False,
) -> None:
    """Bring vessels into the registry, by id; the last import of an id stands. A bad row refuses the whole file."""
    try:
        data = file.read_bytes()
    except OSError as exc:
        refuse(f"{file}: {exc.strerror}")
    entries, lines = read_vessels(data, file=str(file), utc_offset=utc_offset)
    try:
        done = asyncio.run(registry.import_vessels(dsn, entries, only=only))
    except NumberTaken as exc:
        refuse("\n".join(f"{file}:{lines[id_]}: {fault}" for id_, fault in exc.faults))
    said(done.new, done.changed, done.unchanged, done.retired, as_json=as_json)


def said(
    new: tuple[str, ...],
    changed: tuple[str, ...],
    unchanged: tuple[str, ...],
    retired: tuple[str, ...],
    *,
    as_json: bool,
) -> None:
    """What an import came to."""
    if as_json:
        json_line({"new": new, "changed": changed, "unchanged": unchanged, "retired": retired})
    else:
        print(f"{len(new)} new, {len(changed)} changed, {len(unchanged)} unchanged, {len(retired)} struck off")


@app.command("list")
@refusals
def list_(dsn: Dsn, as_json: Json = False) -> None:
    """The vessels in the registry."""
    rows = asyncio.run(registry.vessels(dsn))
    columns = {
        "id": "id",
        "registration_no": "number",
        "name": "name",
        "class": "class",
        "length_m": "length m",
        "gear": "gear",
        "home_port": "home port",
        "lists": "lists",
        "transponders": "transponders",
    }
    shown = rows if as_json else [{**row, **_plain(row)} for row in rows]
    listing(shown, columns, as_json=as_json, empty="no vessels: haidang vessels import FILE")


@app.command("show")
@refusals
def show(
    vessel: Annotated[str, typer.Argument(help="Its id, registration number, MMSI or VMS device (gateway/device).")],
    dsn: Dsn,
    as_json: Json = False,
) -> None:
    """All that the registry says of a vessel, and of what it carries when."""
    rows = asyncio.run(registry.vessel(dsn, vessel))
    if as_json:
        for row in rows:
            json_line(row)
        return
    console = Console(highlight=False)
    for number, row in enumerate(rows):
        if number:
            console.print()
        carried = row.pop("transponders")
        for key, value in {**row, "lists": _plain(row)["lists"]}.items():
            if value is not None:
                console.print(f"[dim]{key:<18}[/] {value}")
        columns = {"kind": "carries", "identifier": "transponder", "from": "from", "until": "until"}
        listing(carried, columns, as_json=False, empty="carries no transponder")


def _plain(row: Mapping[str, Any]) -> dict[str, str | None]:
    transponders = ", ".join(one["identifier"] for one in row.get("transponders", ()))
    return {"lists": "; ".join(row["lists"]) or None, "transponders": transponders or None}
