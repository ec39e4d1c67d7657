"""Rows into a hypertable with a unique key, so that a row written twice is there once: the ways people do it.

Each takes a connection and rows of `COLUMNS` as tuples, and returns when they are committed. All but the first write
``BATCH`` rows in a transaction.
"""

from __future__ import annotations

import struct
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    import psycopg

    Connection = psycopg.Connection[Any]
    Rows = Sequence[tuple[datetime, datetime, int, int, int, float]]
    Write = Callable[[Connection, Rows], None]

BATCH: Final = 20_000
COLUMNS: Final = "time, received_at, device_id, metric_id, source_id, value"

#: As `readings` of our own schema.
TABLE: Final = (
    (
        "CREATE TABLE readings (time timestamptz NOT NULL, received_at timestamptz NOT NULL, device_id bigint NOT NULL,"
        " metric_id bigint NOT NULL, source_id bigint NOT NULL, value double precision NOT NULL,"
        " PRIMARY KEY (device_id, metric_id, time))"
    ),
    "SELECT create_hypertable('readings', 'time', create_default_indexes => false)",
)

_INSERT: Final = b"INSERT INTO readings VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING"
_STAGE: Final = b"CREATE TEMP TABLE IF NOT EXISTS staging (LIKE readings) ON COMMIT DELETE ROWS"
_MERGE: Final = b"INSERT INTO readings SELECT * FROM staging ON CONFLICT DO NOTHING"
_UNNEST: Final = (
    b"INSERT INTO readings SELECT * FROM unnest(%s::timestamptz[], %s::timestamptz[], %s::bigint[], %s::bigint[],"
    b" %s::bigint[], %s::float8[]) ON CONFLICT DO NOTHING"
)


def insert_each(connection: Connection, rows: Rows) -> None:
    """One INSERT and one commit a row."""
    for row in rows:
        connection.execute(_INSERT, row)
        connection.commit()


def executemany(connection: Connection, rows: Rows) -> None:
    """Many at once by ``executemany``, which psycopg 3 pipelines."""
    for batch in _batches(rows):
        with connection.cursor() as cursor:
            cursor.executemany(_INSERT, batch)
        connection.commit()


def unnest(connection: Connection, rows: Rows) -> None:
    """One INSERT of arrays a batch."""
    for batch in _batches(rows):
        connection.execute(_UNNEST, [list(column) for column in zip(*batch, strict=True)])
        connection.commit()


def copy_text(connection: Connection, rows: Rows) -> None:
    """COPY as text into a temporary table, then INSERT ... ON CONFLICT from it."""
    for batch in _batches(rows):
        connection.execute(_STAGE)
        with connection.cursor() as cursor, cursor.copy(f"COPY staging ({COLUMNS}) FROM STDIN".encode()) as copy:
            for row in batch:
                copy.write_row(row)
        connection.execute(_MERGE)
        connection.commit()


def _batches(rows: Rows) -> Iterator[Rows]:
    """``BATCH`` rows at a time."""
    left = iter(rows)
    while batch := list(islice(left, BATCH)):
        yield batch


_POSTGRES_EPOCH_US: Final = 946_684_800_000_000


def binary_file(rows: Sequence[tuple[int, int, int, int, int, float]]) -> bytes:
    """Rows (times as microseconds since 1970) in PostgreSQL's binary COPY format."""
    pack = struct.Struct(">hiqiqiqiqiqid").pack
    epoch = _POSTGRES_EPOCH_US
    body = b"".join(pack(6, 8, t - epoch, 8, r - epoch, 8, d, 8, m, 8, s, 8, v) for t, r, d, m, s, v in rows)
    return b"PGCOPY\n\xff\r\n\0" + bytes(8) + body + b"\xff\xff"


def psql_binary(dsn: str, file: str) -> list[str]:
    r"""The command: psql \copy of a binary file that is there already, straight into the table, all or nothing."""
    copy = rf"\copy readings ({COLUMNS}) from '{file}' with (format binary)"
    return ["psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", f"--command={copy}", dsn]
