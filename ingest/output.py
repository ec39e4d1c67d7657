"""How commands speak: one clear line on standard error and an exit code, tables for people, JSON for programs.

Exit codes: 0 done, 1 failed, 2 refused (usage, configuration, an unreachable part, a bad file).
"""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TypeVar

import orjson
import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

REFUSED = 2
FAILED = 1

P = ParamSpec("P")
R = TypeVar("R")


def refuse(message: str) -> NoReturn:
    """Say why in one line a fault and leave with exit code 2."""
    for line in message.splitlines():
        sys.stderr.write(f"haidang: {line}\n")
    raise typer.Exit(REFUSED)


def fail(message: str) -> NoReturn:
    """Say why in one line a fault and leave with exit code 1."""
    for line in message.splitlines():
        sys.stderr.write(f"haidang: {line}\n")
    raise typer.Exit(FAILED)


def note(message: str) -> None:
    """Say what a user should know beside the answer, in one line of standard error."""
    sys.stderr.write(f"haidang: note: {message}\n")


def warn(message: str) -> None:
    """Say in one line what may not be meant so, and go on."""
    sys.stderr.write(f"haidang: warning: {message}\n")


def refusals(command: Callable[P, R]) -> Callable[P, R]:
    """Turn what a user can put right into one line and exit code 2."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except BaseExceptionGroup as group:
            known, unknown = group.split(_refusals())
            if unknown is not None or known is None:
                raise
            refuse("\n".join(dict.fromkeys(str(exc) for exc in _leaves(known))))
        except Exception as exc:
            if not isinstance(exc, _refusals()):
                raise
            refuse(str(exc))

    return wrapped


def _refusals() -> tuple[type[Exception], ...]:
    """What a user can put right. Loaded when something is wrong: most commands have no need of most of these rooms."""
    from ingest.refusals import REFUSALS  # noqa: PLC0415

    return REFUSALS


def _leaves(group: BaseExceptionGroup[Any]) -> Iterable[BaseException]:
    for exc in group.exceptions:
        if isinstance(exc, BaseExceptionGroup):
            yield from _leaves(exc)
        else:
            yield exc


def json_line(value: Any) -> None:
    """One JSON object on one line of standard output."""
    sys.stdout.buffer.write(orjson.dumps(value, default=str, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z))
    sys.stdout.buffer.flush()


def listing(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str], *, as_json: bool, empty: str) -> None:
    """Rows as JSON lines, or as a table.

    Args:
        rows: what to list.
        columns: key of a row to heading.
        as_json: JSON lines with all keys instead.
        empty: what to say when there is nothing.
    """
    if as_json:
        for row in rows:
            json_line(row)
        return
    console = Console()
    if not rows:
        console.print(empty)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in columns.values():
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(_shown(row.get(key)) for key in columns))
    console.print(table)


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)
