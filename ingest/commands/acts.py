"""``haidang alerts ack|unack|assign|comment|resolve|close``: what people do with an alert."""

from __future__ import annotations

import asyncio
import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final
from uuid import UUID

import typer

from ingest.commands.options import Dsn, Json
from ingest.output import json_line, refusals
from ingest.settings import load
from storage import readers
from storage.acts import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

Id = Annotated[UUID, typer.Argument(metavar="ID", help="The alert's id.")]
By = Annotated[str | None, typer.Option("--by", help="Who does it. Default: the user name.", show_default=False)]
Note = Annotated[str | None, typer.Option("--note", help="A comment for the record.", show_default=False)]
Tell = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="Settings whose channels are told of it. Default: nobody is.", dir_okay=False),
]


@refusals
def ack(alert: Id, dsn: Dsn, by: By = None, note: Note = None, config: Tell = None, as_json: Json = False) -> None:
    """Say that somebody has seen it: firing becomes acknowledged."""
    _done(readers.acknowledge(dsn, alert, said_by(by, note, config)), as_json=as_json)


@refusals
def unack(alert: Id, dsn: Dsn, by: By = None, note: Note = None, config: Tell = None, as_json: Json = False) -> None:
    """Take an acknowledgement back: acknowledged becomes firing."""
    _done(readers.unacknowledge(dsn, alert, said_by(by, note, config)), as_json=as_json)


@refusals
def assign(
    alert: Id,
    dsn: Dsn,
    to: Annotated[str | None, typer.Option("--to", help="Who is charged with it.", show_default=False)] = None,
    nobody: Annotated[bool, typer.Option("--nobody", help="Nobody is any more.")] = False,
    by: By = None,
    note: Note = None,
    config: Tell = None,
    as_json: Json = False,
) -> None:
    """Charge somebody with it. It keeps its state."""
    if (to is None) is not nobody:
        raise typer.BadParameter("say --to NAME or --nobody")
    _done(readers.assign(dsn, alert, said_by(by, note, config), to), as_json=as_json)


@refusals
def comment(
    alert: Id,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What there is to say.")],
    dsn: Dsn,
    by: By = None,
    config: Tell = None,
    as_json: Json = False,
) -> None:
    """Say something about it, for the record."""
    _done(readers.comment(dsn, alert, said_by(by, text, config)), as_json=as_json)


@refusals
def resolve(alert: Id, dsn: Dsn, by: By = None, note: Note = None, config: Tell = None, as_json: Json = False) -> None:
    """End it by hand. While its condition lasts it does not fire again."""
    _done(readers.resolve(dsn, alert, said_by(by, note, config)), as_json=as_json)


@refusals
def close(
    alert: Id,
    dsn: Dsn,
    verdict: Annotated[Verdict | None, typer.Option(help="What it was found to be.", show_default=False)] = None,
    by: By = None,
    note: Note = None,
    config: Tell = None,
    as_json: Json = False,
) -> None:
    """Say that it is dealt with, and what it was. One that is not over is resolved first."""
    _done(readers.close(dsn, alert, said_by(by, note, config), verdict), as_json=as_json)


ACTS: Final[tuple[Callable[..., None], ...]] = (ack, unack, assign, comment, resolve, close)


def said_by(by: str | None, note: str | None, config: Path | None) -> readers.Said:
    """Who does it by these options, and who is told."""
    who = by or getpass.getuser()
    if config is None:
        return readers.Said(who, note)
    settings = load(config)
    return readers.Said(who, note, channels=settings.specs, link=settings.alerts.link)


def _done(change: Coroutine[Any, Any, dict[str, Any]], *, as_json: bool) -> None:
    row = asyncio.run(change)
    if as_json:
        json_line(row)
    else:
        print(f"{row['id']}: {row['state']}")
