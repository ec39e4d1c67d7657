"""``haidang db upgrade|status``."""

from __future__ import annotations

import typer
from rich.console import Console

from ingest.commands.options import Dsn, Json
from ingest.output import json_line, listing, refusals
from storage import migrate
from storage.migrate import Report

app = typer.Typer(no_args_is_help=True)


@app.command("upgrade")
@refusals
def upgrade(dsn: Dsn, as_json: Json = False) -> None:
    """Create or upgrade the tables. Safe to repeat, and to run from several processes at once."""
    _show(migrate.upgrade(dsn), as_json=as_json)


@app.command("status")
@refusals
def status(dsn: Dsn, as_json: Json = False) -> None:
    """What the server can do, and which migrations are applied. Exit code 1 if some are missing."""
    report = migrate.status(dsn)
    _show(report, as_json=as_json)
    if not report.current:
        raise typer.Exit(1)


def _show(report: Report, *, as_json: bool) -> None:
    steps = [{"version": step.version, "name": step.name, "state": step.state} for step in report.steps]
    capability = report.capability
    server = f"{capability.server_version // 10_000}.{capability.server_version % 10_000}"
    if as_json:
        json_line(
            {
                "edition": capability.edition,
                "timescaledb": capability.extension_version,
                "postgresql": server,
                "current": report.current,
                "migrations": steps,
                "notes": report.notes,
            }
        )
        return
    listing(steps, {"version": "#", "name": "migration", "state": "state"}, as_json=False, empty="no migrations")
    console = Console(highlight=False)
    console.print(
        f"{capability.edition}: PostgreSQL {server}, TimescaleDB {capability.extension_version or 'not installed'}"
    )
    for note in report.notes:
        console.print(f"note: {note}")
