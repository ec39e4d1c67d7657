"""What a process finds again at its start: what it would know had it never stopped."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from psycopg import sql

from alerting import vn_aqi
from alerting.model import LookBack, Memory, RuleState, SubjectKind
from decoders.block import Block
from decoders.identity import metric_id
from decoders.records import POSITION, READING, RECEPTION, take
from decoders.window import SPAN_US
from storage import tables
from storage.fetch import fetch, selected
from storage.times import microseconds, moment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray
    from psycopg import AsyncConnection

    from storage.columns import Column

    Connection = AsyncConnection[tuple[Any, ...]]

#: Stretches of readings read at a time: a few hundred thousand rows, if each is of two hours with one a minute.
_TOGETHER: Final = 4_000
_DAY: Final = 86_400_000_000


async def load(connection: Connection, instance: str, transponders: int) -> Memory:
    """What the engine needs: open rule states, the latest row of every subject, ship types and names.

    Of devices and metrics everything is loaded: how many there can be is bounded where they are taken in
    (``decoders.bounds``), and what is known must go on being known.

    Args:
        connection: outside a transaction.
        instance: the ingesting process.
        transponders: how many to remember: anyone can make up an MMSI. Those heard again some time after the first
            come first, then those most recently heard (as ``geofence.tracks`` chooses).
    """
    newest = (transponders,)
    first_seen = await _numbers(connection, _FIRST_SEEN, newest)
    static_times = await _numbers(connection, _STATIC_TIMES, newest)
    return Memory(
        states=await _states(connection),
        positions=await _latest(connection, tables.POSITIONS.columns, POSITION, "latest_positions", transponders),
        readings=await _latest(connection, tables.READINGS.columns, READING, "latest_readings"),
        ship_types=await _numbers(connection, _SHIP_TYPES, newest),
        static_times={id_: microseconds(time) for id_, time in static_times.items()},
        first_seen={id_: microseconds(time) for id_, time in first_seen.items()},
        names=await names(connection),
        listened=await _listened(connection, instance),
    )


def stretches(wanted: LookBack) -> Iterator[LookBack]:
    """The same in parts that are read at a time: not too much of it, and of about the same days."""
    day = wanted.since // _DAY
    order = np.argsort(day, kind="stable")
    edges = [0, *(np.flatnonzero(np.diff(day[order])) + 1).tolist(), len(order)]
    for start, stop in pairwise(edges):
        for first in range(start, stop, _TOGETHER):
            some = order[first : min(first + _TOGETHER, stop)]
            yield LookBack(wanted.device[some], wanted.metric[some], wanted.since[some], wanted.until[some])


async def past(connection: Connection, wanted: LookBack, reviewed: Mapping[tuple[int, int], int]) -> NDArray[np.void]:
    """Stored readings of one part (``stretches``), as READING rows in arrival order.

    What was in quarantine and was stored later stands at the time of its receipt. What had come by the time of a review
    that the engine goes on from (``alerting.rejudging.review``) is in the order in which it happened.

    Args:
        connection: outside a transaction.
        wanted: which.
        reviewed: by device and metric, up to which receive time; see ``reviewed``.
    """
    columns = tables.READINGS.columns
    # The bounds of all together are said once more, so that only the chunks in question are opened.
    query = sql.SQL(
        "SELECT {columns} FROM (SELECT r.* FROM"
        " unnest({device}::bigint[], {metric}::bigint[], {since}::timestamptz[], {until}::timestamptz[])"
        " AS u (device, metric, since, until) CROSS JOIN LATERAL ("
        "SELECT * FROM readings WHERE device_id = u.device AND metric_id = u.metric"
        " AND time BETWEEN u.since AND u.until AND time BETWEEN {first} AND {last} OFFSET 0) AS r) AS again"
    ).format(
        columns=selected(columns, READING),
        device=wanted.device.tolist(),
        metric=wanted.metric.tolist(),
        since=[moment(time) for time in wanted.since.tolist()],
        until=[moment(time) for time in wanted.until.tolist()],
        first=moment(int(wanted.since.min())),
        last=moment(int(wanted.until.max())),
    )
    rows = await fetch(connection, query, columns, READING)
    came = rows["received_at"].copy()
    for (device, metric), until in reviewed.items():
        came[(rows["device"] == device) & (rows["metric"] == metric) & (came <= until)] = 0
    return take(rows, np.lexsort((rows["time"], came)))


async def reviewed(connection: Connection) -> dict[tuple[int, int], int]:
    """By device and metric, up to which receive time rules on figures go by the order in which things happened."""
    found: dict[tuple[int, int], int] = {}
    for device, metrics, until in await (await connection.execute(_REVIEWED)).fetchall():
        for metric in metrics:
            found[device, metric_id(metric)] = max(microseconds(until), found.get((device, metric_id(metric)), 0))
    return found


async def recent(connection: Connection, until: int | None, instance: str) -> NDArray[np.void]:
    """What was heard in the last span of the reception window, as RECEPTION rows, by ``received_at``.

    Args:
        connection: outside a transaction.
        until: the latest receive time, microseconds; None: that which ``instance`` committed last.
        instance: the ingesting process.
    """
    if until is None:
        until = await _listened(connection, instance)
    if until is None:
        return np.zeros(0, dtype=RECEPTION)
    columns = tables.RECEPTIONS.columns
    names = sql.SQL(", ").join(sql.Identifier(column.name) for column in columns)
    bounds = sql.SQL("received_at BETWEEN {} AND {}").format(moment(until - SPAN_US), moment(until))
    query = sql.SQL(
        "SELECT {names} FROM positions WHERE {bounds} AND msg_type > 0"
        " UNION ALL SELECT {names} FROM statics WHERE {bounds} AND msg_type > 0"
        " UNION ALL SELECT {names} FROM ais_messages WHERE {bounds}"
        " ORDER BY received_at, time, transponder_id, digest"
    ).format(names=names, bounds=bounds)
    return await fetch(connection, query, columns, RECEPTION)


async def _listened(connection: Connection, instance: str) -> int | None:
    """The latest receive time that a process has committed, microseconds."""
    cursor = await connection.execute("SELECT received_at FROM progress WHERE instance = %s", (instance,))
    row = await cursor.fetchone()
    return None if row is None or row[0] is None else microseconds(row[0])


async def fragments(connection: Connection, instance: str) -> list[Block]:
    """The unfinished multi-sentence messages of a process, to be decoded again in this order."""
    cursor = await connection.execute(
        "SELECT data, source_id, origin, received_at, per_line, line FROM fragments WHERE instance = %s ORDER BY seq",
        (instance,),
    )
    return [
        Block(data, source, origin, microseconds(received_at), first=0, per_line=per_line, line=line)
        for data, source, origin, received_at, per_line, line in await cursor.fetchall()
    ]


#: Of rules that keep what readings come to (``alerting.meters``).
_REVIEWED: Final = f"""
SELECT v.subject_id,
    CASE r.body->>'kind' WHEN 'vn_aqi' THEN '{{{",".join(vn_aqi.METRICS)}}}' ELSE ARRAY[r.body->>'metric'] END, v.until
FROM rule_reviews AS v JOIN rules AS r ON (r.id, r.version) = (v.rule_id, v.rule_version)
WHERE v.subject_kind = 'device' AND v.until IS NOT NULL AND r.body->>'kind' IN ('window', 'rate', 'stuck', 'vn_aqi')
""".encode()  # noqa: S608  # names of our own
_SHIP_TYPES: Final = b"""
SELECT id, ship_type FROM (
    SELECT id, ship_type, static_time FROM transponders WHERE ship_type IS NOT NULL
    ORDER BY coalesce(static_time >= first_seen + interval '60 s', false) DESC, static_time DESC, id DESC
    LIMIT %s) AS newest
ORDER BY static_time, id
"""
_STATIC_TIMES: Final = b"""
SELECT id, static_time FROM (
    SELECT id, static_time FROM transponders WHERE static_time IS NOT NULL
    ORDER BY static_time >= first_seen + interval '60 s' DESC, static_time DESC, id DESC LIMIT %s) AS newest
ORDER BY static_time, id
"""
_FIRST_SEEN: Final = b"""
SELECT id, first_seen FROM transponders WHERE first_seen IS NOT NULL
ORDER BY last_seen >= first_seen + interval '60 s' DESC, last_seen DESC, id DESC LIMIT %s
"""


async def _states(connection: Connection) -> list[RuleState]:
    cursor = await connection.execute(
        "SELECT rule_id, subject_kind, subject_id, key, state FROM rule_state"
        " ORDER BY rule_id, subject_kind, subject_id, key"
    )
    return [
        RuleState(rule_id, SubjectKind(kind), subject_id, key, state)
        for rule_id, kind, subject_id, key, state in await cursor.fetchall()
    ]


async def _latest(
    connection: Connection,
    columns: Sequence[Column],
    dtype: np.dtype[Any],
    table: str,
    transponders: int | None = None,
) -> NDArray[np.void]:
    """A table of latest rows, longest unheard first.

    ``transponders``: how many rows: those of transponders heard again some time after the first (``SETTLED``), then
    those most recently heard, of one instant the greatest (as ``geofence.tracks`` chooses).
    """
    source: sql.Composable = sql.Identifier(table)
    if transponders is not None:
        source = sql.SQL(
            "(SELECT l.* FROM {} AS l LEFT JOIN transponders AS t ON t.id = l.transponder_id"
            " ORDER BY coalesce(l.time >= t.first_seen + interval '60 s', false) DESC,"
            " l.received_at DESC, l.transponder_id DESC LIMIT {}) AS newest"
        ).format(source, sql.Literal(transponders))
    query = sql.SQL("SELECT {} FROM {} ORDER BY received_at, time").format(selected(columns, dtype), source)
    return await fetch(connection, query, columns, dtype)


async def _numbers(connection: Connection, query: bytes, parameters: tuple[int]) -> dict[int, Any]:
    cursor = await connection.execute(query, parameters)
    return dict(await cursor.fetchall())


async def names(connection: Connection) -> dict[tuple[str, int], str]:
    """Names as decoders tell them; an AIS transponder's is its MMSI, and not told."""
    cursor = await connection.execute(
        """
        SELECT 'device', id, gateway || '/' || name FROM devices
        UNION ALL SELECT 'metric', id, name FROM metrics
        UNION ALL SELECT 'source', id, name FROM sources
        UNION ALL SELECT 'transponder', id, identifier FROM transponders WHERE kind <> 'ais'
        """
    )
    return {(kind, id_): name for kind, id_, name in await cursor.fetchall()}
