"""The observation tables: which column is filled from which field, and the statements that write them.

Writing goes by way of staging: rows are copied into a temporary table of the connection and inserted from there with
``ON CONFLICT DO NOTHING``, for COPY itself cannot pass over a row that is there already. The same statement tells which
rows were *not* inserted, by joining what was against what was staged, so no second look at the stored table is needed
and no race with another writer is possible.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from psycopg import sql

from storage.columns import Column

if TYPE_CHECKING:
    from collections.abc import Sequence

#: The staged row's index in the batch.
ROW: Final = Column("n", "integer", "n")
#: Positions and readings: the newest row of its subject within the batch.
LATEST: Final = Column("latest", "boolean", "latest")
#: Statics: no row before it in the batch is newer.
FRESH: Final = Column("fresh", "boolean", "fresh")


def _names(columns: Sequence[Column], prefix: str = "") -> sql.Composed:
    parts = [sql.Identifier(prefix, c.name) if prefix else sql.Identifier(c.name) for c in columns]
    return sql.SQL(", ").join(parts)


@dataclass(slots=True, frozen=True)
class Table:
    """One observation table."""

    name: str
    columns: tuple[Column, ...]  # fixed width first
    key: tuple[str, ...]  # its unique key
    flag: Column | None = None  # one more staged column

    @property
    def staged(self) -> tuple[Column, ...]:
        """What is copied: the row's index, the flag, and the columns."""
        return (ROW, self.flag, *self.columns) if self.flag else (ROW, *self.columns)

    @property
    def stage(self) -> sql.Identifier:
        return sql.Identifier(f"stage_{self.name}")

    @property
    def create_stage(self) -> bytes:
        columns = sql.SQL(", ").join(
            sql.SQL("{} {}").format(sql.Identifier(c.name), sql.SQL(c.type)) for c in self.staged
        )
        statement = sql.SQL("CREATE TEMPORARY TABLE {} ({}) ON COMMIT DELETE ROWS").format(self.stage, columns)
        return statement.as_bytes()

    @property
    def copy(self) -> bytes:
        statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(self.stage, _names(self.staged))
        return statement.as_bytes()

    def insert(self, then: sql.SQL | None = None) -> bytes:
        """Insert what is staged; the rows of the answer are the indexes that were there already.

        ``then`` is one more common table expression, which may use ``inserted``.
        """
        key = sql.SQL(", ").join(map(sql.Identifier, self.key))
        same = sql.SQL(" AND ").join(
            sql.SQL("inserted.{0} = s.{0}").format(sql.Identifier(column)) for column in self.key
        )
        statement = sql.SQL(
            "WITH inserted AS (INSERT INTO {table} ({columns}) SELECT {columns} FROM {stage} ON CONFLICT DO NOTHING"
            " RETURNING {key}){then}"
            " SELECT s.n FROM {stage} AS s WHERE NOT EXISTS (SELECT FROM inserted WHERE {same})"
        ).format(
            table=sql.Identifier(self.name),
            columns=_names(self.columns),
            stage=self.stage,
            key=key,
            same=same,
            then=sql.SQL(", ") + then if then else sql.SQL(""),
        )
        return statement.as_bytes()

    def upsert_latest(self, table: str, subject: tuple[str, ...]) -> bytes:
        """Bring the table of latest rows up to date from the staged rows flagged ``latest``; a newer time wins."""
        rest = [c for c in self.columns if c.name not in subject]
        statement = sql.SQL(
            "INSERT INTO {table} AS l ({columns}) SELECT {columns} FROM {stage} WHERE latest ORDER BY {subject}"
            " ON CONFLICT ({subject}) DO UPDATE SET ({rest}) = ROW({excluded}) WHERE excluded.time > l.time"
        ).format(
            table=sql.Identifier(table),
            columns=_names(self.columns),
            stage=self.stage,
            subject=sql.SQL(", ").join(map(sql.Identifier, subject)),
            rest=_names(rest),
            excluded=_names(rest, "excluded"),
        )
        return statement.as_bytes()


_HEARD: Final = (
    Column("time", "timestamptz", "time"),
    Column("received_at", "timestamptz", "received_at"),
    Column("transponder_id", "bigint", "transponder"),
    Column("digest", "bigint", "digest"),
    Column("source_id", "bigint", "source"),
)
_HEARD_KEY: Final = ("transponder_id", "time", "digest")

POSITIONS: Final = Table(
    "positions",
    (
        *_HEARD,
        Column("lon", "double precision", "lon"),
        Column("lat", "double precision", "lat"),
        Column("sog", "double precision", "sog", nullable=True),
        Column("cog", "double precision", "cog", nullable=True),
        Column("altitude", "double precision", "altitude", nullable=True),
        Column("rot", "real", "rot", nullable=True),
        Column("heading", "smallint", "heading", nullable=True),
        Column("nav_status", "smallint", "nav_status", nullable=True),
        Column("accuracy", "smallint", "accuracy", nullable=True),
        Column("msg_type", "smallint", "msg_type"),
    ),
    _HEARD_KEY,
    LATEST,
)
READINGS: Final = Table(
    "readings",
    (
        Column("time", "timestamptz", "time"),
        Column("received_at", "timestamptz", "received_at"),
        Column("device_id", "bigint", "device"),
        Column("metric_id", "bigint", "metric"),
        Column("source_id", "bigint", "source"),
        Column("value", "double precision", "value"),
    ),
    ("device_id", "metric_id", "time"),
    LATEST,
)
STATICS: Final = Table(
    "statics",
    (
        *_HEARD,
        Column("imo", "integer", "imo", nullable=True),
        Column("draught", "real", "draught", nullable=True),
        Column("ship_type", "smallint", "ship_type", nullable=True),
        Column("to_bow", "smallint", "to_bow", nullable=True),
        Column("to_stern", "smallint", "to_stern", nullable=True),
        Column("to_port", "smallint", "to_port", nullable=True),
        Column("to_starboard", "smallint", "to_starboard", nullable=True),
        Column("msg_type", "smallint", "msg_type"),
        Column("name", "text", "name", nullable=True),
        Column("callsign", "text", "callsign", nullable=True),
        Column("destination", "text", "destination", nullable=True),
        Column("eta", "text", "eta", nullable=True),
    ),
    _HEARD_KEY,
    FRESH,
)
AIS_MESSAGES: Final = Table(
    "ais_messages",
    (
        *_HEARD,
        Column("msg_type", "smallint", "msg_type"),
        Column("kind", "text", "kind"),
        Column("fields", "jsonb", "fields"),
    ),
    _HEARD_KEY,
)
RECEPTIONS: Final = Table("receptions", _HEARD, (*_HEARD_KEY, "source_id"))

ALL: Final = (POSITIONS, READINGS, STATICS, AIS_MESSAGES, RECEPTIONS)

#: What a static report may say of its transponder.
_SAID: Final = (
    "imo",
    "draught",
    "ship_type",
    "to_bow",
    "to_stern",
    "to_port",
    "to_starboard",
    "name",
    "callsign",
    "destination",
    "eta",
)


def _newest_statics() -> sql.SQL:
    """A common table expression that gives transponders the newest value of each field the new rows say.

    Only rows inserted now count, and of those only such as are no older than anything known before (``fresh`` within
    the batch, ``static_time`` before it): so the outcome does not depend on how rows fall into batches, nor on a row
    coming twice.
    """
    folded = ", ".join(
        f"(array_agg(s.{f} ORDER BY s.n DESC) FILTER (WHERE s.{f} IS NOT NULL))[1] AS {f}" for f in _SAID
    )
    assigned = ", ".join(f"{field} = coalesce(said.{field}, t.{field})" for field in _SAID)
    text = (
        "said AS ("  # noqa: S608  # put together from the constants above
        f"SELECT s.transponder_id, max(s.time) AS time, {folded} FROM stage_statics AS s"
        " JOIN inserted USING (transponder_id, time, digest)"
        " JOIN transponders AS t ON t.id = s.transponder_id"
        " WHERE s.fresh AND (t.static_time IS NULL OR s.time >= t.static_time)"
        " GROUP BY s.transponder_id), updated AS ("
        f"UPDATE transponders AS t SET static_time = said.time, {assigned} FROM said WHERE t.id = said.transponder_id)"
    )
    return sql.SQL(text)


INSERT_POSITIONS: Final = POSITIONS.insert()
INSERT_READINGS: Final = READINGS.insert()
INSERT_STATICS: Final = STATICS.insert(_newest_statics())
INSERT_AIS_MESSAGES: Final = AIS_MESSAGES.insert()
INSERT_RECEPTIONS: Final = RECEPTIONS.insert()
UPSERT_LATEST_POSITIONS: Final = POSITIONS.upsert_latest("latest_positions", ("transponder_id",))
UPSERT_LATEST_READINGS: Final = READINGS.upsert_latest("latest_readings", ("device_id", "metric_id"))

#: The values stored for staged readings, by index, where another row had the key before. The bounds on time are said
#: once more, as parameters, so that only the chunks in question are opened; the sub-select keeps it to index look-ups.
STORED_VALUES: Final = b"""
SELECT s.n, (
    SELECT r.value FROM readings AS r
    WHERE r.device_id = s.device_id AND r.metric_id = s.metric_id AND r.time = s.time AND r.time BETWEEN %s AND %s
)
FROM unnest(%s::bigint[]) AS u (n) JOIN stage_readings AS s USING (n)
"""
