"""``haidang rules check|import|list|backtest``."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from ingest.commands.backtest import backtest
from ingest.commands.options import Dsn, Json
from ingest.output import json_line, listing, refusals, warn
from ingest.watch import install, looked_at
from storage import readers

app = typer.Typer(no_args_is_help=True)

app.command("backtest")(backtest)

Files = Annotated[list[str], typer.Argument(help="TOML files of rules, folders of such, or pack:NAME.")]


def _sources(files: list[str]) -> list[str | Path]:
    return [file if file.startswith("pack:") else Path(file) for file in files]


@app.command("check")
@refusals
def check(
    files: Files,
    dsn: Annotated[
        str | None,
        typer.Option(help="Rules may also speak of the zones of this database, and its registry.", show_default=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """Read rules and the zones they speak of; say what is wrong, one line a fault, with file and line."""
    book = looked_at(_sources(files), dsn)
    for doubt in book.doubts:
        warn(doubt)
    if as_json:
        json_line({"rules": len(book.rules), "zones": len(book.zones)})
    else:
        print(f"{len(book.rules)} rules and {len(book.zones)} zones are good")


@app.command("import")
@refusals
def import_(
    files: Files,
    dsn: Dsn,
    only: Annotated[bool, typer.Option("--only", help="Retire rules that are not among these.")] = False,
    as_json: Json = False,
) -> None:
    """Make these the active rules of the database; earlier versions are kept, for alerts name them."""
    book = asyncio.run(install(_sources(files), dsn, only=only))
    for doubt in book.doubts:
        warn(doubt)
    if as_json:
        json_line({"rules": len(book.rules), "zones": len(book.zones)})
    else:
        print(f"{len(book.rules)} rules are active")


@app.command("list")
@refusals
def list_(dsn: Dsn, as_json: Json = False) -> None:
    """The active rules of the database. With --json, whole."""
    rules = asyncio.run(readers.rules(dsn))
    if as_json:
        for rule in rules:
            json_line({"id": rule.id, "version": rule.version, **rule.body})
        return
    rows = [
        {
            "id": rule.id,
            "version": rule.version,
            "kind": rule.body.get("kind"),
            "severity": rule.body.get("severity"),
            "mode": rule.body.get("mode", "live"),
            "title": rule.body.get("title", {}).get("en"),
        }
        for rule in rules
    ]
    columns = {
        "id": "id",
        "kind": "kind",
        "severity": "severity",
        "mode": "mode",
        "title": "title",
        "version": "version",
    }
    listing(rows, columns, as_json=False, empty="no rules: haidang rules import FILE")
