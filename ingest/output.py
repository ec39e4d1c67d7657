"""How commands speak: one clear line on standard error and an exit code, tables for people, JSON for programs.

Exit codes: 0 done, 1 failed, 2 refused (usage, configuration, an unreachable part, a bad file).
"""

from __future__ import annotations

import functools
import os
import sys
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TypeVar

import orjson
import typer
from rich.cells import cell_len
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
    """One JSON object on one line of standard output. Integers beyond 2^53 are text, as not every reader holds them
    exactly (RFC 7493, 2.2).
    """
    option = orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z
    try:
        data = orjson.dumps(value, default=str, option=option | orjson.OPT_STRICT_INTEGER)
    except orjson.JSONEncodeError:
        data = orjson.dumps(_held_exactly(value), default=str, option=option)
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def _held_exactly(value: Any) -> Any:
    match value:
        case bool():
            return value
        case int() if abs(value) >= 2**53:
            return str(value)
        case dict():
            return {key: _held_exactly(one) for key, one in value.items()}
        case list() | tuple():
            return [_held_exactly(one) for one in value]
    return value


def listing(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str], *, as_json: bool, empty: str) -> None:
    """Rows as JSON lines, or as a table without the columns that are empty in all of them.

    Args:
        rows: what to list.
        columns: key of a row to heading.
        as_json: JSON lines with all keys instead.
        empty: what to say when there is nothing.
    """
    if as_json:
        for one in rows:
            json_line(one)
        return
    if not rows:
        Console().print(empty)
        return
    shown = {key: [_shown(row.get(key)) for row in rows] for key in columns}
    shown = {key: cells for key, cells in shown.items() if any(cell != _NOTHING for cell in cells)}
    table = Table(box=None, pad_edge=False, header_style="bold")
    width = 0
    for key, cells in shown.items():
        longest = max(map(cell_len, (columns[key], *cells)))
        text = any(" " in cell for cell in cells) and longest > _TEXT_WIDTH
        width += 2 + (_TEXT_WIDTH if text else longest)
        table.add_column(columns[key], overflow="fold", no_wrap=not text)
    for row in zip(*shown.values(), strict=True):
        table.add_row(*row)
    console = Console()
    # Wider than the screen, or for a program: a line a row, which a screen may fold, and no id is broken by us.
    if width > console.width or not (console.is_terminal or "COLUMNS" in os.environ):
        console.width = _NO_SCREEN
    console.print(table)


#: What a cell of none says, the least width of a column of texts, and the width where nobody looks.
_NOTHING = "-"
_TEXT_WIDTH = 30
_NO_SCREEN = 10_000


def _shown(value: Any) -> str:
    if value is None:
        return _NOTHING
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)
