"""``haidang alerts budgets``."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from ingest.commands.options import Dsn, Json
from ingest.output import listing, refusals
from storage import budgets as stored

_COLUMNS = {
    "shift_start": "shift from",
    "policy": "budget",
    "rule_id": "rule",
    "alerts": "alerts",
    "per_shift": "allowed",
    "exceeded_by": "exceeded by",
}


@refusals
def budgets(
    dsn: Dsn,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100,
    as_json: Json = False,
) -> None:
    """How many alerts each rule with a budget has told of in a shift, the latest shift first."""
    rows = asyncio.run(stored.budgets(dsn, limit=limit))
    listing(rows, _COLUMNS, as_json=as_json, empty="no alerts of rules with a budget")
