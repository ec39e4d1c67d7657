"""``haidang replay``: recorded files through the same pipeline."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from decoders.assembler import TIMEOUT_US
from decoders.times import microseconds, to_iso
from ingest.clock import wall_clock
from ingest.commands.options import Dsn, Json, moment
from ingest.inbox import Inbox
from ingest.loop import runner
from ingest.output import json_line, note, refusals
from ingest.pipeline import Pipeline
from ingest.recall import Recall
from ingest.review import Reviewer
from ingest.settings import Retention
from ingest.sources.file import FileSource, look
from ingest.telemetry import Telemetry, configure_logging
from ingest.thought import nobody
from ingest.watch import install, stored_rule_book
from storage.writer import Store

if TYPE_CHECKING:
    from alerting.pack import RuleBook
    from ingest.review import Act

#: A log that says its own times may interleave the times of several satellites: its clock leaps.
_TIMED_LOG_US = 3_600_000_000
_SECOND = 1_000_000
_DAY = 86_400 * _SECOND


class Format(StrEnum):
    """What a file holds."""

    AUTO = "auto"
    NMEA = "nmea"
    MQTT = "mqtt"


@refusals
def replay(
    files: Annotated[list[str], typer.Argument(help="Logs to replay, in this order; - for standard input.")],
    dsn: Dsn,
    format: Annotated[Format, typer.Option(help="nmea: sentences; mqtt: JSON lines of publishes.")] = Format.AUTO,
    start: Annotated[
        datetime | None,
        typer.Option(
            parser=moment,
            metavar="TIME",
            help="Time of the first line of a log without times. Default: the first time the log says, else such that "
            "its last line is as old as the file.",
        ),
    ] = None,
    source: Annotated[str | None, typer.Option(help="Name of the source. Default: the file's name.")] = None,
    rules: Annotated[
        list[str] | None,
        typer.Option("--rules", help="Rules to judge by: a TOML file or pack:NAME. Default: those in the database."),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Most messages in one transaction.")] = 20_000,
    as_json: Json = False,
) -> None:
    """Replay recorded files into the database, and show the ledger at the end.

    Files may be compressed by gzip. The same file twice changes nothing the second time. Alerts are judged and stored,
    and those of whose time something came late are looked at again after each file; nobody is notified.
    """
    configure_logging(level="warning")
    with runner() as loop:
        summary = loop.run(_replay(files, dsn, format, start, source, rules, batch))
    if as_json:
        json_line(summary)
    else:
        _show(summary)


async def _replay(
    files: list[str],
    dsn: str,
    format: Format,
    start: datetime | None,
    source: str | None,
    rules: list[str] | None,
    batch: int,
) -> dict[str, Any]:
    began = time.monotonic()
    for file in files:  # before the first of them is stored
        if file != "-":
            look(Path(file))
    async with Store(dsn):  # says what is wrong with the database before anything else is done
        book: RuleBook = await (install(rules, dsn) if rules else stored_rule_book(dsn))
    total: dict[str, Any] = {}
    for file in files:
        # What a replay leaves unfinished is its own, not the service's.
        async with Store(dsn, instance=f"replay {file}", tells=False) as store:
            _add(total, await _file(store, book, file, format, start, source, batch))
        await _review(dsn, book)
    return {**total, "seconds": round(time.monotonic() - began, 3)}


async def _review(dsn: str, book: RuleBook) -> None:
    """Look again at alerts of whose time something came late: nothing more will."""

    async def rules() -> RuleBook:
        return book

    async def at_once(act: Act) -> None:
        await act()  # no pipeline is running: the next one goes on from what is stored

    await Reviewer(dsn, nobody, rules, at_once, settle_seconds=0.0, tells=False).all()


async def _file(
    store: Store,
    book: RuleBook,
    file: str,
    format: Format,
    start: datetime | None,
    source: str | None,
    batch: int,
) -> dict[str, Any]:
    telemetry = Telemetry()
    inbox = Inbox(max_messages=4 * batch)
    path = None if file == "-" else Path(file)
    name = source or (path.name if path else "stdin")
    reader = FileSource(name, telemetry, path=path, format=format.value, start=microseconds(start) if start else None)
    await reader.check()
    _notes(file, reader)
    formats = {name: reader.format}
    pipeline = Pipeline(
        inbox,
        store,
        telemetry,
        Recall(store, book, formats, timeout_us=_TIMED_LOG_US if reader.timed else TIMEOUT_US),
        formats=formats,
        notifier=nobody,
        batch_messages=batch,
        tick=None,
    )

    async def read() -> None:
        try:
            await reader.run(inbox)
        finally:
            inbox.close()

    async with asyncio.TaskGroup() as group:
        group.create_task(read(), name=f"read {file}")
        group.create_task(pipeline.run(), name=f"replay {file}")
    await pipeline.finish()
    ledger = telemetry.ledger.total().as_dict()
    in_flight = ledger.pop("in_flight")
    if in_flight:
        raise AssertionError(f"the ledger does not balance: {in_flight} of {ledger['received']} have no fate")
    return {**ledger, "rows": dict(pipeline.totals.rows), "alerts": pipeline.totals.alerts}


def _notes(file: str, reader: FileSource) -> None:
    """What the files do not say for themselves."""
    if reader.written is not None:
        end = "now" if file == "-" else f"at {to_iso(reader.written // _SECOND * _SECOND)}, when it was last written"
        note(f"{file} says no times: taken to end {end}; --start TIME says when it begins")
    kept = Retention()
    oldest = min(days for days in (kept.positions_days, kept.readings_days) if days is not None)
    if reader.start is not None and reader.start < wall_clock() - oldest * _DAY:
        note(
            f"{file} begins at {to_iso(reader.start // _SECOND * _SECOND)}: unless [retention] says otherwise, haidang"
            f" run deletes positions older than {kept.positions_days} days and readings older than {kept.readings_days}"
        )


def _add(total: dict[str, Any], part: dict[str, Any]) -> None:
    for key, value in part.items():
        if isinstance(value, dict):
            _add(total.setdefault(key, {}), value)
        else:
            total[key] = total.get(key, 0) + value


def _show(summary: dict[str, Any]) -> None:
    console = Console(highlight=False)
    fates = " + ".join(
        f"{summary[name]} {name}" for name in ("stored", "duplicate", "ignored", "quarantined", "dropped")
    )
    rows = ", ".join(f"{count} {table}" for table, count in summary["rows"].items())
    console.print(f"{summary['received']} received = {fates}")
    console.print(f"{rows} written, {summary['alerts']} alerts, {summary['seconds']:.1f} s")
