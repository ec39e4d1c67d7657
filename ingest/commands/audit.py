"""``haidang alerts audit``: whether the record of alerts is what it was when it was written."""

from __future__ import annotations

import asyncio
import sys
from datetime import datetime
from typing import Annotated

import typer

from ingest.commands.options import Dsn, Json, moment
from ingest.output import FAILED, json_line, refusals
from storage.audit import Audit
from storage.audit import audit as verify
from storage.seals import Seal


def _seal(text: str) -> Seal:
    number, _, digest = text.partition(":")
    try:
        return Seal(int(number), bytes.fromhex(digest), 0)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a seal as the log has it: 12:9f86d081...") from None


Since = Annotated[
    datetime | None,
    typer.Option(parser=moment, metavar="TIME", help="Only alerts of which anything was written since then."),
]
Noted = Annotated[
    list[Seal] | None,
    typer.Option("--seal", parser=_seal, metavar="SEAL", help="A seal that the log has; may be given more than once."),
]


@refusals
def audit(dsn: Dsn, since: Since = None, seal: Noted = None, as_json: Json = False) -> None:
    """Verify the record: each alert's history and deliveries row by row, and the seals. Exit code 1 if it is broken."""
    found = asyncio.run(verify(dsn, since=since, expected=seal or ()))
    if as_json:
        json_line(_as_json(found))
    else:
        for fault in found.faults:
            print(fault)
        if found.more:
            print(f"and {found.more} more")
        last = f", the last is {found.last}" if found.last else ""
        whole = "broken" if found.faults else "whole"
        print(f"{found.alerts} alerts, {found.rows} rows ({found.unsealed} not sealed yet), {found.seals} seals{last}")
        print(f"the record is {whole}")
    if found.faults:
        sys.stdout.flush()
        raise typer.Exit(FAILED)


def _as_json(found: Audit) -> dict[str, object]:
    return {
        "whole": not found.faults,
        "alerts": found.alerts,
        "rows": found.rows,
        "unsealed": found.unsealed,
        "seals": found.seals,
        "seal": str(found.last) if found.last else None,
        "faults": found.faults,
        "more": found.more,
    }
