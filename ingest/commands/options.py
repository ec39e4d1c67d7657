"""Options that several commands share."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import click
import typer

Dsn = Annotated[
    str,
    typer.Option(
        "--dsn",
        envvar="HAIDANG__DATABASE__DSN",
        show_envvar=True,
        help="PostgreSQL connection string: postgresql://user:password@host:port/name",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable JSON lines.")]
Config = Annotated[Path, typer.Option("--config", "-c", help="The TOML file of settings.", dir_okay=False)]


class Moment(click.ParamType[datetime]):
    """An instant: ISO 8601 with an offset, or a date (midnight UTC)."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is not an ISO 8601 time such as 2026-10-05T06:00:00Z", param, ctx)
        if moment.tzinfo is None:
            if len(value) > len("2026-10-05"):
                self.fail(f"{value!r} has no offset from UTC (add Z or +07:00)", param, ctx)
            moment = moment.replace(tzinfo=UTC)
        return moment


def microseconds(moment: datetime) -> int:
    """Since the epoch, UTC."""
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
