"""The command line: ``haidang``."""

from __future__ import annotations

import sys
from importlib import metadata
from typing import Annotated

import typer

from ingest.commands import alerts, config, db, decode, demo, quarantine, replay, rules, run, simulate, zones

app = typer.Typer(
    name="haidang",
    help="Hải Đăng: watching over a coast. Telemetry into TimescaleDB, zones and thresholds into alerts.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("demo")(demo.demo)
app.command("run")(run.run)
app.command("decode")(decode.decode)
app.command("replay")(replay.replay)
app.add_typer(db.app, name="db", help="The database: create and upgrade its tables, show what it can do.")
app.add_typer(zones.app, name="zones", help="Zones that rules watch.")
app.add_typer(rules.app, name="rules", help="Rules: check, import, list.")
app.add_typer(alerts.app, name="alerts", help="Alerts: list, show, acknowledge, resolve.")
app.add_typer(quarantine.app, name="quarantine", help="What was refused, with its raw bytes and the reason.")
app.add_typer(simulate.app, name="simulate", help="Fleets, sensors, scenarios and load, on the real wire.")
app.add_typer(config.app, name="config", help="The settings: check and show them.")


def _version(asked: bool) -> None:
    if asked:
        print(f"haidang {metadata.version('haidang')}")
        raise typer.Exit


@app.callback()
def _root(
    _version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Entry point of the console script."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
