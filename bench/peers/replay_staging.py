"""pyais + batched staging: a log into a hypertable of positions, idempotent, no rules. ``FILE DSN``; says JSON.

The pattern: decode with pyais's file reader; every 10,000 positions COPY them as text into a temporary table and
INSERT ... ON CONFLICT DO NOTHING from there.
"""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psycopg
from pyais.exceptions import AISBaseException
from pyais.stream import FileReaderStream

if TYPE_CHECKING:
    from collections.abc import Iterator

BATCH: Final = 10_000

TABLE: Final = (
    (
        "CREATE TABLE positions (time timestamptz NOT NULL, mmsi integer NOT NULL, lon double precision NOT NULL,"
        " lat double precision NOT NULL, sog real, cog real, heading smallint, nav_status smallint, rot real,"
        " PRIMARY KEY (mmsi, time))"
    ),
    "SELECT create_hypertable('positions', 'time', create_default_indexes => false)",
)

_POSITIONS: Final = {1, 2, 3, 9, 18, 19, 27}


def positions(path: Path) -> Iterator[tuple[Any, ...]]:
    """Rows of the table; the time is the TAG block's, or else a millisecond after the one before."""
    at = 1_780_272_000.0
    with FileReaderStream(path) as stream:
        for sentence in stream:
            at += 0.001
            try:
                if sentence.tag_block is not None:
                    sentence.tag_block.init()
                    if sentence.tag_block.receiver_timestamp:
                        at = float(sentence.tag_block.receiver_timestamp)
                said: Any = sentence.decode()
            except (AISBaseException, ValueError):
                continue
            # A payload cut short decodes with None in its fields.
            if said.msg_type in _POSITIONS and said.mmsi and (said.lon or 181) < 181 and (said.lat or 91) < 91:
                moment = datetime.fromtimestamp(at, UTC)
                heading = getattr(said, "heading", None)
                status, turn = getattr(said, "status", None), getattr(said, "turn", None)
                yield (
                    moment,
                    said.mmsi,
                    said.lon,
                    said.lat,
                    said.speed,
                    said.course,
                    heading,
                    status if status is None else int(status),
                    turn if turn is None else float(turn),
                )


def main(path: Path, dsn: str) -> None:
    began = time.perf_counter()
    batch: list[tuple[Any, ...]] = []
    with psycopg.connect(dsn) as connection:
        connection.execute("CREATE TEMP TABLE staging (LIKE positions) ON COMMIT DELETE ROWS")
        connection.commit()
        for row in positions(path):
            batch.append(row)
            if len(batch) == BATCH:
                write(connection, batch)
                batch.clear()
        write(connection, batch)
    sys.stdout.write(f"{json.dumps({'seconds': time.perf_counter() - began})}\n")


def write(connection: psycopg.Connection[Any], batch: list[tuple[Any, ...]]) -> None:
    """One batch, one transaction."""
    with connection.cursor() as cursor, cursor.copy("COPY staging FROM STDIN") as copy:
        for row in batch:
            copy.write_row(row)
    connection.execute("INSERT INTO positions SELECT * FROM staging ON CONFLICT DO NOTHING")
    connection.commit()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
