"""The metric catalogue in the database: what ``decoders.catalogue`` says, brought up to date by every upgrade."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from decoders.catalogue import METRICS
from decoders.identity import metric_id

if TYPE_CHECKING:
    from psycopg import Connection


def seed(connection: Connection[Any]) -> int:
    """Write what is new or changed in the catalogue; how many rows that was. Metrics outside it are left alone."""
    with connection.transaction(), connection.cursor() as cursor:
        cursor.executemany(
            """
            INSERT INTO metrics (id, name, unit, description, low, high) VALUES (%s, %s, %s, %s, %s, %s)
            ON CONFLICT (id) DO UPDATE
            SET unit = excluded.unit, description = excluded.description, low = excluded.low, high = excluded.high
            WHERE (metrics.unit, metrics.description, metrics.low, metrics.high)
                IS DISTINCT FROM (excluded.unit, excluded.description, excluded.low, excluded.high)
            """,
            [(metric_id(m.name), m.name, m.unit, m.description, m.low, m.high) for m in METRICS.values()],
        )
        return cursor.rowcount
