"""When is a row there? Seen as any reader sees it: by asking, on a connection of its own."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import psycopg

from bench.processes import Failed

if TYPE_CHECKING:
    from collections.abc import Sequence

_PAUSE_S: Final = 0.002
_LOOK_PAUSE_S: Final = 0.0003
_PATIENCE_S: Final = 120.0
_STALLED_S: Final = 3.0


def wait_for(dsn: str, query: str, values: Sequence[Any]) -> float:
    """The instant (CLOCK_MONOTONIC, seconds) at which the query, of one row by its key, first finds it.

    Raises:
        Failed: it did not for two minutes.
    """
    with psycopg.connect(dsn, autocommit=True, prepare_threshold=0) as connection:
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            found = connection.execute(query.encode(), values).fetchone()
            now = time.monotonic()
            if found:
                return now
            if now > deadline:
                raise Failed("the last row did not come")
            time.sleep(_PAUSE_S)


def settle(dsn: str, table: str, wanted: int) -> tuple[float, int]:
    """The instant at which a table had ``wanted`` rows, or at which it last grew; and the rows it had then."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        seen, at = 0, time.monotonic()
        while seen < wanted and time.monotonic() - at < _STALLED_S:
            now_seen = count(connection, table)
            if now_seen != seen:
                seen, at = now_seen, time.monotonic()
            time.sleep(10 * _PAUSE_S)
        return at, seen


def count(connection: psycopg.Connection[Any], table: str) -> int:
    row = connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()  # noqa: S608  # a name of ours
    assert row is not None
    return int(row[0])


def rows(dsn: str, table: str) -> int:
    """How many rows a table has."""
    with psycopg.connect(dsn) as connection:
        return count(connection, table)


def arrivals(dsn: str, query: str, values: Sequence[Any], wanted: int) -> tuple[dict[int, float], float]:
    """When each of ``wanted`` rows was first visible to another session, and how closely that was looked at.

    Asked again and again with hardly a pause (a busy reader would take the CPU from who is measured); the query takes
    the last of its values as the number from which on to look, and gives the numbers of the rows, in order. The
    answer's time counts, so a row is never seen too early, and at most a pause and a round trip too late.

    Returns:
        Number to instant (CLOCK_MONOTONIC, seconds), and the mean time between two looks, seconds.

    Raises:
        Failed: they did not come within two minutes.
    """
    seen: dict[int, float] = {}
    after = -1
    looks = 0
    with psycopg.connect(dsn, autocommit=True, prepare_threshold=0) as connection:
        began = time.monotonic()
        while len(seen) < wanted:
            found = connection.execute(query.encode(), (*values, after)).fetchall()
            now = time.monotonic()
            looks += 1
            for (number,) in found:
                seen[int(number)] = now
            if found:
                after = int(found[-1][0])
            time.sleep(_LOOK_PAUSE_S)
            if now - began > _PATIENCE_S:
                raise Failed(f"{len(seen)} of {wanted} rows came")
        return seen, (time.monotonic() - began) / looks
