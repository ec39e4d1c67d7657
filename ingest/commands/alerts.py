"""``haidang alerts``: what there is, what became of it, and what people do with it."""

from __future__ import annotations

import asyncio
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from alerting.model import AlertState, Severity
from alerting.rejudging.instants import EvidenceError
from ingest.commands import acts, audit, budgets, incidents, silences
from ingest.commands.acts import Id
from ingest.commands.options import Dsn, Json, moment
from ingest.evidence import make
from ingest.evidence import verify as evidence_of
from ingest.output import fail, json_line, listing, refusals, refuse
from storage import readers
from storage.silences import silenced_by
from storage.silences import silences as silences_of

if TYPE_CHECKING:
    from collections.abc import Mapping

app = typer.Typer(no_args_is_help=True)
for _act in acts.ACTS:
    app.command(_act.__name__)(_act)
app.command("audit")(audit.audit)
app.command("budgets")(budgets.budgets)
app.add_typer(silences.app, name="silence")
app.add_typer(incidents.app, name="incident")


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
    """Alerts, the newest first; with --state pending, what holds but not for as long as its rule asks yet."""
    if state is AlertState.PENDING:
        _pending(dsn, rule, limit, as_json=as_json)
        return
    rows = asyncio.run(
        readers.alerts(dsn, state=state, rule=rule, severity=severity, since=since, shadow=shadow, limit=limit)
    )
    lasting = asyncio.run(silences_of(dsn))
    rows = [{**row, "silenced_by": silenced_by(row, lasting)} for row in rows]
    columns = {
        "started_at": "started",
        "state": "state",
        "severity": "severity",
        "rule_id": "rule",
        "subject_name": "subject",
        "assignee": "assignee",
        "silenced": "silenced",
        "summary_en": "what",
        "id": "id",
    }
    shown = (
        rows
        if as_json
        else [
            {**row, "started_at": _minute(row["started_at"]), "silenced": "yes" if row["silenced_by"] else None}
            for row in rows
        ]
    )
    listing(shown, columns, as_json=as_json, empty="no alerts")


def _pending(dsn: str, rule: str | None, limit: int, *, as_json: bool) -> None:
    rows = asyncio.run(readers.pending(dsn, rule=rule, limit=limit))
    times = ("since", "due")
    shown = rows if as_json else [{**row, **{name: _minute(row[name]) for name in times}} for row in rows]
    columns = {
        "since": "since",
        "due": "fires at",
        "severity": "severity",
        "rule_id": "rule",
        "subject_name": "subject",
    }
    listing(shown, {**columns, "key": "what", "value": "value"}, as_json=as_json, empty="nothing is pending")


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
    vessel = details.pop("vessel", None)
    for key, value in {**row, "vessel": vessel and named(vessel), **details}.items():
        if value is not None:
            console.print(f"[dim]{key:<18}[/] {value}")
    console.print()
    columns = {"at": "at", "actor": "by", "change": "what", "from_state": "from", "to_state": "to", "note": "note"}
    listing(history, columns, as_json=False, empty="no history")
    console.print()
    sent = {"channel": "channel", "event": "event", "state": "state", "attempts": "tries", "last_error": "error"}
    listing(notifications, sent, as_json=False, empty="nobody was told")


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
    data = asyncio.run(make(dsn, alert))
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


def named(vessel: Mapping[str, Any]) -> str:
    """A vessel as an alert tells of it: name, registration number, length and what else the registry said."""
    length = f"{vessel['length_m']:g} m" if "length_m" in vessel else None
    said = [vessel.get("name"), vessel.get("registration_no"), length]
    said += [vessel.get(key) for key in ("kind", "gear", "flag", "home_port")]
    return ", ".join(filter(None, said)) + f" ({vessel['id']})"


def _minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}Z"
