"""Options that several commands share."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer

_DSN: Final = "HAIDANG__DATABASE__DSN"


def _dsn() -> str:
    """As the settings of a service have it, where the environment says so."""
    from ingest.settings import ConfigError, environment  # noqa: PLC0415  # half a second, for few

    if (file := os.environ.get(f"{_DSN}_FILE")) is None:
        raise typer.BadParameter(f"missing: give it, or set {_DSN} or {_DSN}_FILE", param_hint="'--dsn'")
    try:
        return environment({f"{_DSN}_FILE": file})[_DSN]
    except ConfigError as exc:
        raise typer.BadParameter(str(exc), param_hint="'--dsn'") from None


Dsn = Annotated[
    str,
    typer.Option(
        "--dsn",
        envvar=_DSN,
        show_envvar=True,
        default_factory=_dsn,
        show_default=False,
        help="PostgreSQL connection string: postgresql://user:password@host:port/name",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable JSON lines.")]
Config = Annotated[Path, typer.Option("--config", "-c", help="The TOML file of settings.", dir_okay=False)]


def moment(text: str) -> datetime:
    """An instant: ISO 8601 with an offset, or a date (midnight UTC).

    Raises:
        typer.BadParameter: it is neither.
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not an ISO 8601 time such as 2026-10-05T06:00:00Z") from None
    if found.tzinfo is None:
        if len(text) > len("2026-10-05"):
            raise typer.BadParameter(f"{text!r} has no offset from UTC (add Z or +07:00)")
        found = found.replace(tzinfo=UTC)
    return found
