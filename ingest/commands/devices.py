"""``haidang devices import|list``."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from alerting.registry_files import read_devices
from ingest.commands.options import Dsn, Json
from ingest.commands.vessels import said
from ingest.output import listing, refusals, refuse
from storage import registry

app = typer.Typer(no_args_is_help=True)


@app.command("import")
@refusals
def import_(
    file: Annotated[Path, typer.Argument(help="CSV with a header row, or JSON lines.", dir_okay=False)],
    dsn: Dsn,
    only: Annotated[bool, typer.Option("--only", help="Strike off devices that are not in the file.")] = False,
    as_json: Json = False,
) -> None:
    """Bring in where devices stand, and their groups; the last import of one stands. A bad row refuses the file."""
    try:
        data = file.read_bytes()
    except OSError as exc:
        refuse(f"{file}: {exc.strerror}")
    done = asyncio.run(registry.import_devices(dsn, read_devices(data, file=str(file)), only=only))
    said(done.new, done.changed, done.unchanged, done.retired, as_json=as_json)


@app.command("list")
@refusals
def list_(dsn: Dsn, as_json: Json = False) -> None:
    """The devices in the registry."""
    rows = asyncio.run(registry.devices(dsn))
    columns = {"gateway": "gateway", "device": "device", "lon": "lon", "lat": "lat", "groups": "groups"}
    shown = rows if as_json else [{**row, "groups": "; ".join(row["groups"]) or None} for row in rows]
    listing(shown, columns, as_json=as_json, empty="no devices: haidang devices import FILE")
