"""``haidang zones import|list|retire``."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alerting import pack
from geofence.zones import to_feature
from ingest.commands.options import Dsn, Json
from ingest.output import json_line, listing, refusals
from ingest.watch import stored_rule_book
from ingest.zones import refuse_drawn, refuse_unfit
from storage import readers
from storage.errors import RequestRefused
from storage.zones import retire_zones, zone_files

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alerting.pack import RuleBook
    from storage.imports import Imported

app = typer.Typer(no_args_is_help=True)


@app.command("import")
@refusals
def import_(
    files: Annotated[list[str], typer.Argument(help="GeoJSON files, or pack:NAME for the zones of a pack.")],
    dsn: Dsn,
    as_json: Json = False,
) -> None:
    """Bring zones into the database, by id; the last import of an id stands. A bad file refuses them all."""
    book = pack.load([file if file.startswith("pack:") else Path(file) for file in files])
    done = asyncio.run(_import(dsn, book))
    if as_json:
        json_line({"new": done.new, "changed": done.changed, "unchanged": done.unchanged})
    else:
        print(f"{len(done.new)} new, {len(done.changed)} changed, {len(done.unchanged)} unchanged")


async def _import(dsn: str, book: RuleBook) -> Imported:
    before = await readers.zones(dsn)
    known = {zone.id: zone.version for zone in before}
    new = {zone.id: str(book.drawn[zone.id]) for zone in book.zones if known.get(zone.id) != zone.version}
    refuse_drawn(new, await zone_files(dsn))
    after = {zone.id: zone for zone in (*before, *book.zones)}
    refuse_unfit((await stored_rule_book(dsn)).rules, before, after.values(), book.drawn)
    return await readers.import_zones(dsn, book.zones)


@app.command("retire")
@refusals
def retire(ids: Annotated[list[str], typer.Argument(help="Zones, by id.")], dsn: Dsn, as_json: Json = False) -> None:
    """Put zones out of force that no rule speaks of. What they were stays: alerts name their versions."""
    asyncio.run(_retire(dsn, ids))
    if as_json:
        json_line({"retired": ids})
    else:
        print(f"{', '.join(ids)}: retired")


async def _retire(dsn: str, ids: Sequence[str]) -> None:
    before, files = await readers.zones(dsn), await zone_files(dsn)
    for id_ in ids:
        if id_ not in files:
            raise RequestRefused(f"there is no zone {id_!r} in force")
        if files[id_] is not None:
            raise RequestRefused(f"zone {id_!r} is drawn in {files[id_]}, which the service reads: take it out there")
    refuse_unfit((await stored_rule_book(dsn)).rules, before, [zone for zone in before if zone.id not in ids], {})
    await retire_zones(dsn, ids)


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
