"""All commands. A command's modules are loaded when it is asked for: those of all take a second."""

from __future__ import annotations

from importlib import import_module, metadata
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

_CONTEXT: Final = {"help_option_names": ["-h", "--help"]}
#: The commands, in the order that they are listed in. Each has a module in ``ingest.commands``, with a function of its
#: name; of those that have commands of their own there is an ``app``, and here what it is for.
_COMMANDS: Final = {
    "demo": "",
    "run": "",
    "decode": "",
    "replay": "",
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
    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002  # as the base class has it
        return list(_COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in _COMMANDS:
            return None
        module = import_module(f"ingest.commands.{cmd_name}")
        own = typer.Typer(add_completion=False, pretty_exceptions_enable=False, context_settings=_CONTEXT)
        if about := _COMMANDS[cmd_name]:
            own.add_typer(module.app, name=cmd_name, help=about)
        else:
            own.command(cmd_name)(getattr(module, cmd_name))
        found = typer.main.get_command(own)
        return found.get_command(ctx, cmd_name) if isinstance(found, TyperGroup) else found


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
