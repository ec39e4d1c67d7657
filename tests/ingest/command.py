"""The command line as tests call it: in this process where that will do, as a process of its own where it must."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import psycopg
import structlog
from psycopg import sql
from typer.testing import CliRunner

from ingest.commands.root import app

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The command as a process: the same entry point as the console script's.
PROCESS: Final = (sys.executable, "-m", "ingest.cli")

#: What differs between two runs that said the same: when the server wrote a row, and how often it was sent.
_WALL_CLOCK: Final = {
    "alert_history": {"recorded_at"},
    "notifications": {"next_attempt_at", "created_at", "sent_at", "leased_until"},
    "quarantine": {"redriven_at"},
}
TABLES: Final = (
    *("positions", "readings", "statics", "ais_messages", "receptions", "quarantine"),
    *("alerts", "alert_history", "notifications", "rule_state", "latest_positions", "latest_readings"),
    *("devices", "transponders"),
)


@dataclass(frozen=True, slots=True)
class Result:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[Any]:
        """Standard output as JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def only(self) -> Any:
        """Standard output as the one JSON line it is."""
        (line,) = self.lines
        return line


def haidang(*arguments: object, stdin: bytes | None = None, env: Mapping[str, str] | None = None) -> Result:
    """Run a command in this process. Whatever it does not turn into an exit code is raised."""
    try:
        result = CliRunner().invoke(app, [str(one) for one in arguments], input=stdin, env=env)
    finally:
        structlog.reset_defaults()  # what the command configured writes to a stream that is gone
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Result(result.exit_code, result.stdout, result.stderr)


def done(*arguments: object, stdin: bytes | None = None) -> Result:
    """Run a command that succeeds and has nothing to complain of; notes are no complaints."""
    result = haidang(*arguments, stdin=stdin)
    complaints = [line for line in result.err.splitlines() if not line.startswith("haidang: note: ")]
    assert (result.code, complaints) == (0, []), result.err
    return result


def dump(dsn: str) -> dict[str, list[tuple[Any, ...]]]:
    """The rows of every table that a run writes, sorted, without what only the wall clock says."""
    out = {}
    with psycopg.connect(dsn) as connection:
        for table in TABLES:
            cursor = connection.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(table)))
            assert cursor.description is not None
            keep = [n for n, c in enumerate(cursor.description) if c.name not in _WALL_CLOCK.get(table, ())]
            out[table] = sorted((tuple(row[n] for n in keep) for row in cursor), key=repr)
    return out


def rows(dsn: str, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
    """What a query answers."""
    with psycopg.connect(dsn) as connection:
        return connection.execute(query.encode(), parameters).fetchall()
