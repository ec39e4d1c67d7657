"""``haidang zones import|list``."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from alerting import pack
from geofence.zones import to_feature
from ingest.commands.options import Dsn, Json
from ingest.output import json_line, listing, refusals
from storage import readers

app = typer.Typer(no_args_is_help=True)


@app.command("import")
@refusals
def import_(
    files: Annotated[list[str], typer.Argument(help="GeoJSON files, or pack:NAME for the zones of a pack.")],
    dsn: Dsn,
    as_json: Json = False,
) -> None:
    """Bring zones into the database, by id; the last import of an id stands. A bad file refuses them all."""
    zones = pack.load([file if file.startswith("pack:") else Path(file) for file in files]).zones
    done = asyncio.run(readers.import_zones(dsn, zones))
    if as_json:
        json_line({"new": done.new, "changed": done.changed, "unchanged": done.unchanged})
    else:
        print(f"{len(done.new)} new, {len(done.changed)} changed, {len(done.unchanged)} unchanged")


@app.command("list")
@refusals
def list_(dsn: Dsn, as_json: Json = False) -> None:
    """The active zones. With --json, as GeoJSON features."""
    zones = asyncio.run(readers.zones(dsn))
    if as_json:
        for zone in zones:
            json_line(to_feature(zone))
        return
    rows = [
        {
            "id": zone.id,
            "name": zone.name_en,
            "kind": zone.kind,
            "version": zone.version,
            "bounds": " ".join(f"{edge:.3f}" for edge in zone.geometry.bounds),
        }
        for zone in zones
    ]
    columns = {"id": "id", "name": "name", "kind": "kind", "bounds": "west south east north", "version": "version"}
    listing(rows, columns, as_json=False, empty="no zones: haidang zones import FILE")
