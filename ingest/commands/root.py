"""All commands. A command's modules are loaded when it is asked for: those of all take a second."""

from __future__ import annotations

from importlib import import_module, metadata
from typing import Annotated, Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

_CONTEXT: Final = {"help_option_names": ["-h", "--help"]}
#: The commands, in the order that they are listed in, with what their help begins with. Each has a module in
#: ``ingest.commands``, with a function of its name, or with an ``app`` of commands of its own.
_COMMANDS: Final = {
    "demo": "Everything on this machine: real servers, simulated vessels and sensors, a real AIS log, alerts to a "
    "webhook.",
    "run": "Take in, judge, store and tell, until SIGTERM; then commit and ack what was received.",
    "decode": "Observations as JSON lines on standard output, refused lines as JSON lines on standard error.",
    "replay": "Replay recorded files into the database, and show the ledger at the end.",
    "db": "The database: create and upgrade its tables, show what it can do.",
    "zones": "Zones that rules watch.",
    "vessels": "The registry of vessels and the transponders they carry.",
    "devices": "The registry of devices: where they stand, and their groups.",
    "rules": "Rules: check, import, list.",
    "alerts": "Alerts: list, show, acknowledge, resolve.",
    "quarantine": "What was refused, with its raw bytes and the reason.",
    "simulate": "Fleets, sensors, scenarios and load, on the real wire.",
    "config": "The settings: check and show them.",
}


class _Commands(TyperGroup):
    """Lists and completes by what is said here; only the command that is run is loaded."""

    def __init__(self, **fields: Any) -> None:
        super().__init__(**fields)
        self.commands = {name: TyperCommand(name, help=about) for name, about in _COMMANDS.items()}

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, listed, rest = super().resolve_command(ctx, args)
        return name, None if listed is None else _load(ctx, args[0]), rest


def _load(ctx: Any, name: str) -> Any:
    module = import_module(f"ingest.commands.{name}")
    own = typer.Typer(add_completion=False, pretty_exceptions_enable=False, context_settings=_CONTEXT)
    if hasattr(module, "app"):
        own.add_typer(module.app, name=name, help=_COMMANDS[name])
    else:
        own.command(name)(getattr(module, name))
    found = typer.main.get_command(own)
    return found.get_command(ctx, name) if isinstance(found, TyperGroup) else found


app = typer.Typer(
    cls=_Commands,
    name="haidang",
    help="Hải Đăng: watching over a coast. Telemetry into TimescaleDB, zones and thresholds into alerts.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings=_CONTEXT,
)


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
