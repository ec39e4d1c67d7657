"""``haidang config check|show``."""

from __future__ import annotations

from typing import Annotated

import typer

from alerting.pack import PackError
from ingest.commands.options import Config, Json
from ingest.output import json_line, refusals, warn
from ingest.settings import check_runnable, load, shown
from ingest.watch import looked_at, rule_sources

app = typer.Typer(no_args_is_help=True)


@app.command("check")
@refusals
def check(
    config: Config,
    database: Annotated[
        bool, typer.Option("--database", help="Rules may also speak of the zones of its database, and its registry.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Read the settings, and the rules and zones they name; connect to nothing, or to the database alone."""
    settings = load(config)
    check_runnable(settings, config)
    dsn = settings.database.dsn.get_secret_value() if database else None
    try:
        book = looked_at(rule_sources(settings), dsn, channels=settings.specs)
    except PackError as exc:
        if "unknown zone" in str(exc) and not database:
            warn("zones that were imported are not known here: --database reads them, as the service does")
        raise
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
