"""The observation tables: which column is filled from which field, and the statements that write them.

Rows go one of two ways. *Merged*: one array a column, ``INSERT ... SELECT FROM unnest(...) ON CONFLICT DO NOTHING``;
the same statement answers which rows were there already, by looking for the keys of those sent among those inserted, so
no second look at the table is needed and no race with another writer is possible. *Copied*: straight into the table,
three times as fast, but COPY cannot pass over a row that is there already.

The planner knows nothing of an array's length, so nothing here may depend on its guess: ``NOT IN (SELECT ...)`` is
never made a join, and is answered from a hash.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from psycopg import sql

from storage.columns import Column

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Positions and readings: the newest row of its subject within the batch.
LATEST: Final = Column("latest", "boolean", "latest")
#: Statics: no row before it in the batch is newer.
FRESH: Final = Column("fresh", "boolean", "fresh")

#: What a merging statement answers: which rows were there already.
WHICH_TAKEN: Final = b"array_agg(n)"
#: Or none: it fails if any was (22012, division by zero).
NONE_TAKEN: Final = b"1 / (count(*) = 0)::integer AS none_taken"


def _names(columns: Sequence[Column], prefix: str = "") -> sql.Composed:
    parts = [sql.Identifier(prefix, c.name) if prefix else sql.Identifier(c.name) for c in columns]
    return sql.SQL(", ").join(parts)


def _unnest(columns: Sequence[Column]) -> sql.Composed:
    return sql.SQL("unnest({})").format(sql.SQL(", ").join(sql.SQL(f"%s::{c.type}[]") for c in columns))


@dataclass(slots=True, frozen=True)
class Table:
    """One observation table."""

    name: str
    columns: tuple[Column, ...]  # fixed width first
    key: tuple[str, ...]  # its unique key
    flag: Column | None = None  # what else the merging statement is told
    latest: str = ""  # the table of latest rows
    subject: tuple[str, ...] = ()  # its unique key

    @property
    def merged(self) -> tuple[Column, ...]:
        """The parameters of the merging statement."""
        return (*self.columns, self.flag) if self.flag else self.columns

    @property
    def copy(self) -> bytes:
        statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(
            sql.Identifier(self.name), _names(self.columns)
        )
        return statement.as_bytes()

    def merge(self, then: sql.Composable | None = None, *, before: bytes = b"", answer: bytes = WHICH_TAKEN) -> bytes:
        """Insert what is new; the answer is one array: which rows, counted from 1, were there already (or NULL).

        ``then`` is one more common table expression, which may use ``given`` and ``taken``; without it, those flagged
        ``latest`` go to the table of latest rows. ``before`` are others whose parameters come first, each with its
        comma; ``answer`` is another one from ``taken``.
        """
        if then is None and self.latest:
            given = sql.SQL("SELECT {} FROM given WHERE latest").format(_names(self.columns))
            then = sql.SQL("upserted AS ({})").format(self._upsert(given))
        statement = sql.SQL(
            "WITH {before}given AS MATERIALIZED (SELECT * FROM {unnest} WITH ORDINALITY AS u ({merged}, n)),"
            " inserted AS (INSERT INTO {table} ({columns}) SELECT {columns} FROM given ON CONFLICT DO NOTHING"
            " RETURNING {key}),"
            " taken AS MATERIALIZED (SELECT n FROM given WHERE ({key}) NOT IN (SELECT {key} FROM inserted)){then}"
            " SELECT {answer} FROM taken"
        ).format(
            before=sql.SQL(before.decode()),
            answer=sql.SQL(answer.decode()),
            unnest=_unnest(self.merged),
            merged=_names(self.merged),
            table=sql.Identifier(self.name),
            columns=_names(self.columns),
            key=sql.SQL(", ").join(map(sql.Identifier, self.key)),
            then=sql.SQL(", ") + then if then else sql.SQL(""),
        )
        return statement.as_bytes()

    @property
    def upsert_latest(self) -> bytes:
        """Bring the table of latest rows up to date, given the newest row of each subject."""
        return self._upsert(sql.SQL("SELECT * FROM {}").format(_unnest(self.columns))).as_bytes()

    def _upsert(self, rows: sql.Composed) -> sql.Composed:
        """A newer time wins."""
        rest = [c for c in self.columns if c.name not in self.subject]
        return sql.SQL(
            "INSERT INTO {table} AS l ({columns}) {rows}"
            " ON CONFLICT ({subject}) DO UPDATE SET ({rest}) = ROW({excluded}) WHERE excluded.time > l.time"
        ).format(
            table=sql.Identifier(self.latest),
            columns=_names(self.columns),
            rows=rows,
            subject=sql.SQL(", ").join(map(sql.Identifier, self.subject)),
            rest=_names(rest),
            excluded=_names(rest, "excluded"),
        )


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
    "latest_positions",
    ("transponder_id",),
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
    "latest_readings",
    ("device_id", "metric_id"),
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


def _newest_statics(new: str) -> sql.SQL:
    """Common table expressions that give transponders the newest value of each field the new rows of ``given`` say.

    Only rows inserted now count (``new`` is true of them), and of those only such as are no older than anything known
    before (``fresh`` within the batch, ``static_time`` before it): so the outcome does not depend on how rows fall into
    batches, nor on a row coming twice.
    """
    folded = ", ".join(
        f"(array_agg(s.{f} ORDER BY s.n DESC) FILTER (WHERE s.{f} IS NOT NULL))[1] AS {f}" for f in _SAID
    )
    assigned = ", ".join(f"{field} = coalesce(said.{field}, t.{field})" for field in _SAID)
    text = (
        "said AS ("  # noqa: S608  # put together from the constants above
        f"SELECT s.transponder_id, max(s.time) AS time, {folded} FROM given AS s"
        " JOIN transponders AS t ON t.id = s.transponder_id"
        f" WHERE (t.static_time IS NULL OR s.time >= t.static_time) AND {new}"
        " GROUP BY s.transponder_id), updated AS ("
        f"UPDATE transponders AS t SET static_time = said.time, {assigned} FROM said WHERE t.id = said.transponder_id)"
    )
    return sql.SQL(text)


def _copied_statics() -> bytes:
    """The same, given the fresh ones of rows that were copied straight."""
    statement = sql.SQL("WITH given AS (SELECT * FROM {} WITH ORDINALITY AS u ({}, n)), {} SELECT").format(
        _unnest(STATICS.columns), _names(STATICS.columns), _newest_statics("true")
    )
    return statement.as_bytes()


_ALL: Final = (POSITIONS, READINGS, STATICS, AIS_MESSAGES, RECEPTIONS)
MERGE: Final = {
    table.name: table.merge(
        _newest_statics("s.fresh AND s.n NOT IN (SELECT n FROM taken)") if table is STATICS else None
    )
    for table in _ALL
}
COPY: Final = {table.name: table.copy for table in _ALL}
#: Whether anything is stored of a time.
ANYTHING: Final = {
    name: sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE time BETWEEN %s AND %s)").format(sql.Identifier(name)).as_bytes()
    for name in COPY
}
#: What else is done with the flagged ones of rows copied straight.
FOLLOW: Final = {table.name: table.upsert_latest for table in (POSITIONS, READINGS)} | {STATICS.name: _copied_statics()}

#: The values stored for keys of readings, as one array in their order. The bounds on time are said once more, as
#: parameters, so that only the chunks in question are opened.
STORED_VALUES: Final = b"""
SELECT array_agg(r.value ORDER BY u.n)
FROM unnest(%s::bigint[], %s::bigint[], %s::timestamptz[]) WITH ORDINALITY AS u (device_id, metric_id, time, n)
LEFT JOIN readings AS r ON r.device_id = u.device_id AND r.metric_id = u.metric_id AND r.time = u.time
    AND r.time BETWEEN %s AND %s
"""
