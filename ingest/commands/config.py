"""``haidang config check|show``."""

from __future__ import annotations

import typer

from alerting import pack
from ingest.clock import wall_clock
from ingest.commands.options import Config, Json
from ingest.output import json_line, refusals, warn
from ingest.settings import check_runnable, load, shown
from ingest.watch import rule_sources

app = typer.Typer(no_args_is_help=True)


@app.command("check")
@refusals
def check(config: Config, as_json: Json = False) -> None:
    """Read the settings, and the rules and zones they name; connect to nothing."""
    settings = load(config)
    check_runnable(settings, config)
    book = pack.load(rule_sources(settings), channels=settings.specs, now=wall_clock())
    for doubt in book.doubts:
        warn(doubt)
    counts = {
        "sources": len(settings.sources),
        "channels": len(settings.channels),
        "rules": len(book.rules),
        "zones": len(book.zones),
    }
    if as_json:
        json_line({"config": str(config), **counts})
    else:
        print(f"{config}: {', '.join(f'{count} {what}' for what, count in counts.items())}")


@app.command("show")
@refusals
def show(config: Config, as_json: Json = False) -> None:
    """The settings as they stand after the environment was applied, secrets masked."""
    settings = shown(load(config))
    if as_json:
        json_line(settings)
        return
    _tables("", settings)


def _tables(prefix: str, table: dict[str, object]) -> None:
    """As TOML-like text: what a person compares with the file."""
    for key, value in table.items():
        if not isinstance(value, dict):
            print(f"{prefix}{key} = {value!r}")
    for key, value in table.items():
        if isinstance(value, dict):
            _tables(f"{prefix}{key}.", value)
