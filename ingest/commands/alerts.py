"""``haidang alerts list|show|ack|resolve|evidence|verify|audit``."""

from __future__ import annotations

import asyncio
import getpass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer
from rich.console import Console

from alerting.evidence import EvidenceError, pack
from alerting.model import AlertState, Severity
from ingest.commands import audit
from ingest.commands.options import Dsn, Json, moment
from ingest.evidence import gather
from ingest.evidence import verify as evidence_of
from ingest.output import fail, json_line, listing, refusals, refuse
from ingest.settings import load
from storage import readers

if TYPE_CHECKING:
    from alerting.notify import ChannelSpec

app = typer.Typer(no_args_is_help=True)
app.command("audit")(audit.audit)

Id = Annotated[UUID, typer.Argument(metavar="ID", help="The alert's id.")]
By = Annotated[str | None, typer.Option("--by", help="Who does it. Default: the user name.", show_default=False)]
Note = Annotated[str | None, typer.Option("--note", help="A comment for the record.", show_default=False)]
Tell = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="Settings whose channels are told of it. Default: nobody is.", dir_okay=False),
]


@app.command("list")
@refusals
def list_(
    dsn: Dsn,
    state: Annotated[AlertState | None, typer.Option(help="Only alerts in this state.")] = None,
    rule: Annotated[str | None, typer.Option(help="Only alerts of this rule.")] = None,
    severity: Annotated[Severity | None, typer.Option(help="The least severity shown.")] = None,
    since: Annotated[datetime | None, typer.Option(parser=moment, metavar="TIME", help="Started since then.")] = None,
    shadow: Annotated[bool, typer.Option("--shadow", help="Those of rules in shadow mode instead.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=100_000)] = 100,
    as_json: Json = False,
) -> None:
    """Alerts, the newest first."""
    rows = asyncio.run(
        readers.alerts(dsn, state=state, rule=rule, severity=severity, since=since, shadow=shadow, limit=limit)
    )
    columns = {
        "started_at": "started",
        "state": "state",
        "severity": "severity",
        "rule_id": "rule",
        "subject_name": "subject",
        "summary_en": "what",
        "id": "id",
    }
    shown = rows if as_json else [{**row, "started_at": _minute(row["started_at"])} for row in rows]
    listing(shown, columns, as_json=as_json, empty="no alerts")


@app.command("show")
@refusals
def show(alert: Id, dsn: Dsn, as_json: Json = False) -> None:
    """One alert with everything that happened to it and everything that was sent."""
    row = asyncio.run(readers.alert(dsn, alert))
    if as_json:
        json_line(row)
        return
    console = Console(highlight=False)
    history, notifications = row.pop("history"), row.pop("notifications")
    details = row.pop("details")
    for key, value in {**row, **details}.items():
        if value is not None:
            console.print(f"[dim]{key:<18}[/] {value}")
    console.print()
    columns = {"at": "at", "actor": "by", "from_state": "from", "to_state": "to", "note": "note"}
    listing(history, columns, as_json=False, empty="no history")
    console.print()
    sent = {"channel": "channel", "event": "event", "state": "state", "attempts": "tries", "last_error": "error"}
    listing(notifications, sent, as_json=False, empty="nobody was told")


@app.command("ack")
@refusals
def ack(alert: Id, dsn: Dsn, by: By = None, note: Note = None, config: Tell = None, as_json: Json = False) -> None:
    """Say that somebody has seen it: firing becomes acknowledged."""
    row = asyncio.run(
        readers.acknowledge(dsn, alert, actor=by or getpass.getuser(), note=note, channels=_channels(config))
    )
    _done(row, as_json=as_json)


@app.command("resolve")
@refusals
def resolve(alert: Id, dsn: Dsn, by: By = None, note: Note = None, config: Tell = None, as_json: Json = False) -> None:
    """End it by hand. While its condition lasts it does not fire again."""
    row = asyncio.run(readers.resolve(dsn, alert, actor=by or getpass.getuser(), note=note, channels=_channels(config)))
    _done(row, as_json=as_json)


@app.command("evidence")
@refusals
def evidence(
    alert: Id,
    dsn: Dsn,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Where to.  [default: ID.evidence.zip]", show_default=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write all it takes to come to an alert again into one file, and its SHA-256, to be noted elsewhere."""
    data = pack(asyncio.run(gather(dsn, alert)))
    path = out or Path(f"{alert}.evidence.zip")
    try:
        path.write_bytes(data)
    except OSError as exc:
        refuse(f"{path}: {exc.strerror}")
    said = {"file": str(path), "bytes": len(data), "sha256": sha256(data).hexdigest()}
    if as_json:
        json_line(said)
    else:
        print(f"{path}: {len(data)} bytes, sha256 {said['sha256']}")


@app.command("verify")
@refusals
def verify(
    file: Annotated[Path, typer.Argument(help="What `haidang alerts evidence` wrote.", dir_okay=False)],
    as_json: Json = False,
) -> None:
    """Check every sum of an evidence file and come to its alert again. Needs no database. Exit code 1: does not fit."""
    try:
        data = file.read_bytes()
    except OSError as exc:
        refuse(f"{file}: {exc.strerror}")
    try:
        found = evidence_of(data)
    except EvidenceError as exc:
        fail(f"{file}: {exc}")
    row = found.facts["alert"]
    digest = sha256(data).hexdigest()
    if as_json:
        said = {name: row[name] for name in ("id", "rule_id", "rule_version", "subject_name", "severity", "started_at")}
        json_line({**said, "sha256": digest, "made_at": found.facts["made_at"], "software": found.facts["software"]})
    else:
        print(f"{row['id']}: {row['summary_en']}")
        print(f"comes out of the rows as it was told; made {found.facts['made_at']} by {found.facts['software']}")
        print(f"sha256 {digest}")


def _channels(config: Path | None) -> list[ChannelSpec]:
    return [channel.spec for channel in load(config).channels.values()] if config else []


def _done(row: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        json_line(row)
    else:
        print(f"{row['id']}: {row['state']}")


def _minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}Z"
