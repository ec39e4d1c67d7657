"""``haidang alerts silence add|list|end``."""

from __future__ import annotations

import asyncio
import getpass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

import typer
from pydantic import TypeAdapter, ValidationError

from alerting.desk.matching import LABELS, Matcher
from alerting.rules.base import Duration
from ingest.commands.options import Dsn, Json, moment
from ingest.output import json_line, listing, refusals
from storage import silences

app = typer.Typer(no_args_is_help=True, help="Tell nobody of some alerts for a time.")

_MATCHER: TypeAdapter[dict[str, tuple[str, ...]]] = TypeAdapter(Matcher)
_DURATION: TypeAdapter[int] = TypeAdapter(Duration)

By = Annotated[str | None, typer.Option("--by", help="Who does it. Default: the user name.", show_default=False)]


def _lasting(text: str) -> timedelta:
    try:
        return timedelta(microseconds=_DURATION.validate_python(text))
    except ValidationError:
        raise typer.BadParameter(f"{text!r} is no duration such as 90m or 2h30m") from None


@app.command("add")
@refusals
def add(
    matchers: Annotated[
        list[str],
        typer.Argument(metavar="LABEL=GLOB...", help=f"All must match, of one label any. Labels: {', '.join(LABELS)}."),
    ],
    dsn: Dsn,
    reason: Annotated[str, typer.Option("--reason", help="Why.")],
    lasting: Annotated[
        timedelta | None, typer.Option("--for", parser=_lasting, metavar="DURATION", help="How long: 90m, 2h, 1d.")
    ] = None,
    until: Annotated[datetime | None, typer.Option(parser=moment, metavar="TIME", help="Or until when.")] = None,
    start: Annotated[
        datetime | None, typer.Option("--from", parser=moment, metavar="TIME", help="From when. Default: now.")
    ] = None,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Tell nobody of the alerts that match, for a time. What is firing at its end is told then."""
    if (lasting is None) is (until is None):
        raise typer.BadParameter("say --for DURATION or --until TIME")
    starts = start or datetime.now(UTC)
    ends = until if lasting is None else starts + lasting
    assert ends is not None  # one of the two is given
    made = silences.silence(
        dsn, _matcher(matchers), starts_at=starts, ends_at=ends, author=by or getpass.getuser(), reason=reason
    )
    _done(asyncio.run(made), as_json=as_json)


def _matcher(texts: list[str]) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for text in texts:
        label, equals, glob = text.partition("=")
        if not equals or not glob:
            raise typer.BadParameter(f"{text!r} is not LABEL=GLOB, such as rule=flood-*")
        found.setdefault(label, []).append(glob)
    try:
        return _MATCHER.validate_python(found)
    except ValidationError as exc:
        raise typer.BadParameter(exc.errors()[0]["msg"].removeprefix("Value error, ")) from None


@app.command("list")
@refusals
def list_(
    dsn: Dsn,
    over: Annotated[bool, typer.Option("--all", help="Those that have ended, too.")] = False,
    as_json: Json = False,
) -> None:
    """Silences that last or are to come."""
    rows = asyncio.run(silences.silences(dsn, over=over))
    times = ("starts_at", "ends_at")
    shown = [
        {**row, "matcher": _text(row["matcher"]), **{name: f"{row[name]:%Y-%m-%d %H:%M:%S}Z" for name in times}}
        for row in rows
    ]
    columns = {"starts_at": "from", "ends_at": "until", "matcher": "what", "author": "by", "reason": "why", "id": "id"}
    listing(rows if as_json else shown, columns, as_json=as_json, empty="no silences")


def _text(matcher: dict[str, list[str]]) -> str:
    return " ".join(f"{label}={glob}" for label, globs in matcher.items() for glob in globs)


@app.command("end")
@refusals
def end(
    silence: Annotated[UUID, typer.Argument(metavar="ID", help="The silence's id.")],
    dsn: Dsn,
    by: By = None,
    as_json: Json = False,
) -> None:
    """End a silence now."""
    _done(asyncio.run(silences.end_silence(dsn, silence, actor=by or getpass.getuser())), as_json=as_json)


def _done(row: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        json_line(row)
    else:
        print(f"{row['id']}: until {row['ends_at']:%Y-%m-%d %H:%M:%S}Z")
