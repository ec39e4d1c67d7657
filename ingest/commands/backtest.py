"""``haidang rules backtest``: what rules would have told of what is stored."""

from __future__ import annotations

import asyncio
import re
import time
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from alerting import pack
from alerting.rejudging.backtest import Difference, Shifts, difference, iso, summary
from alerting.rules import duration
from decoders.times import MAX_AHEAD_US, microseconds
from ingest import backtest as run
from ingest.commands.options import Dsn, Json, moment
from ingest.output import json_line, listing, refusals, warn
from storage import readers
from storage.errors import RequestRefused
from storage.registry import registry

_HOUR = 3_600_000_000
_CLOCK = r"(?:[01]\d|2[0-3]):[0-5]\d"
#: How many alerts of a kind the table for people names.
_SHOWN = 20


class Against(StrEnum):
    """What to compare with."""

    LIVE = "live"


def _shifts(text: str) -> Shifts:
    """When duty changes, such as "06:00,14:00,22:00+07:00"."""
    found = re.fullmatch(rf"({_CLOCK}(?:,{_CLOCK})*)([+-]){_CLOCK}", text)
    if found is None:
        raise typer.BadParameter(f'{text!r} is not like "06:00,14:00,22:00+07:00"')
    changes = sorted({_after_midnight(clock) for clock in found[1].split(",")})
    east = _after_midnight(text[-5:])
    return Shifts(tuple(changes), -east if found[2] == "-" else east)


def _after_midnight(clock: str) -> int:
    hours, minutes = clock.split(":")
    return int(hours) * _HOUR + int(minutes) * _HOUR // 60


def _duration(text: str) -> int:
    try:
        return duration(text)
    except ValueError as exc:
        raise typer.BadParameter(str(exc)) from None


@refusals
def backtest(
    files: Annotated[list[str], typer.Argument(help="TOML files of rules, folders of such, or pack:NAME.")],
    dsn: Dsn,
    since: Annotated[
        datetime, typer.Option("--from", parser=moment, metavar="TIME", help="What was received since then.")
    ],
    until: Annotated[
        datetime | None,
        typer.Option(
            "--to", parser=moment, metavar="TIME", help="And before that.  [default: all there is]", show_default=False
        ),
    ] = None,
    against: Annotated[
        Against | None, typer.Option(help="Say how the alerts differ from those stored.", show_default=False)
    ] = None,
    subject: Annotated[
        list[str] | None,
        typer.Option("--subject", help="Only these: a glob on device, gateway/device or MMSI.", show_default=False),
    ] = None,
    limit_subjects: Annotated[
        int | None, typer.Option(min=1, help="Only so many devices and so many vessels.", show_default=False)
    ] = None,
    warm_up: Annotated[
        int | None,
        typer.Option(
            parser=_duration,
            metavar="DURATION",
            help="How long before --from judging begins.  [default: the longest duration the rules say, and a day; "
            "two whole days where a rule learns]",
            show_default=False,
        ),
    ] = None,
    shifts: Annotated[
        Shifts,
        typer.Option(parser=_shifts, metavar="TIMES", help="When duty changes, with the offset from UTC."),
    ] = "06:00,14:00,22:00+07:00",  # type: ignore[assignment]  # parsed by typer
    as_json: Json = False,
) -> None:
    """Judge what is stored by rules that are not in force, by the same engine, and say what they would have told.

    Nothing is written and nobody is told. With --json one object: `summary`, `alerts`, and with --against `difference`.
    """
    book = pack.load(
        [file if file.startswith("pack:") else Path(file) for file in files],
        zones=asyncio.run(readers.zones(dsn)),
        registry=asyncio.run(registry(dsn)),
    )
    for doubt in book.doubts:
        warn(doubt)
    first = microseconds(since)
    last = asyncio.run(run.listened_until(dsn))
    if last is None:
        raise RequestRefused("the database holds nothing yet")
    # Rows received in centuries to come are of a clock that was wrong: none is waited for.
    last = min(last, time.time_ns() // 1000 + MAX_AHEAD_US)
    end = last + 1 if until is None else min(microseconds(until), last + 1)
    if end <= first:
        raise RequestRefused(f"nothing to judge: {iso(first)} is not before {iso(end)}")
    judged, lived = asyncio.run(_run(dsn, book, first, end, warm_up, subject or [], limit_subjects, against))
    rules = [rule for rule in book.rules if rule.enabled]
    found: dict[str, Any] = {
        "from": iso(first),
        "to": iso(end),
        "warmed_up_from": iso(first - judged.span.warm_up),
        "rows": judged.rows,
        "seconds": round(judged.seconds, 3),
        "times_real_time": round(judged.speed),
        "summary": summary(judged.alerts, first, end, rules=rules, shifts=shifts),
    }
    if as_json:
        json_line(
            found
            | {"alerts": [episode.said() for episode in judged.alerts]}
            | ({} if lived is None else {"difference": _difference(lived)})
        )
    else:
        _show(found, lived)


async def _run(
    dsn: str,
    book: pack.RuleBook,
    since: int,
    until: int,
    warm_up: int | None,
    subjects: list[str],
    most: int | None,
    against: Against | None,
) -> tuple[run.Judged, Difference | None]:
    choice = await run.choose(dsn, book.rules, subjects=subjects, most=most)
    span = run.span(book.rules, since, until, warm_up)
    judged = await run.judge(dsn, book, span, choice)
    if against is None:
        return judged, None
    return judged, difference(judged.alerts, await run.live(dsn, span, book.rules, choice))


def _difference(found: Difference) -> dict[str, Any]:
    return {
        "both": [episode.id for episode in found.both],
        "only_draft": [episode.said() for episode in found.only_draft],
        "only_live": [episode.said() for episode in found.only_live],
    }


def _show(found: dict[str, Any], lived: Difference | None) -> None:
    console = Console(highlight=False)
    told = found["summary"]
    rows = ", ".join(f"{count} {table}" for table, count in found["rows"].items())
    console.print(f"{found['from']} to {found['to']}, warmed up from {found['warmed_up_from']}")
    console.print(f"{rows} in {found['seconds']:.1f} s: {found['times_real_time']} x real time")
    console.print(f"{told['alerts']} alerts, {told['per_day']:g} a day\n")
    of_rules = [{"id": id_, **of, **(of["seconds"] or {})} for id_, of in told["rules"].items()]
    columns = {
        "id": "rule",
        "alerts": "alerts",
        "per_day": "a day",
        "subjects": "subjects",
        "open": "still open",
        "median": "median s",
        "longest": "longest s",
    }
    listing(of_rules, columns, as_json=False, empty="no rules")
    for heading in ("days", "subjects"):
        console.print()
        named = [{"name": name, "alerts": count} for name, count in told[heading].items()]
        listing(named, {"name": heading, "alerts": "alerts"}, as_json=False, empty=f"no {heading} with alerts")
    shifts = told["shifts"]
    console.print(
        f"\n{shifts['count']} shifts, {shifts['quiet']} without an alert; {shifts['mean']:g} alerts a shift,"
        f" {shifts['most']} at most"
    )
    if lived is None:
        return
    console.print(
        f"\nagainst what is stored: {len(lived.both)} in both, {len(lived.only_draft)} only now,"
        f" {len(lived.only_live)} only then"
    )
    columns = {"known_at": "known", "rule": "rule", "subject": "subject", "summary_en": "what"}
    for heading, episodes in (("only now", lived.only_draft), ("only then", lived.only_live)):
        if episodes:
            console.print(f"\n{heading}:")
            listing([episode.said() for episode in episodes[:_SHOWN]], columns, as_json=False, empty="")
