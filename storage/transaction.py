"""One batch, one transaction: everything but its COMMIT.

It goes to the server in one exchange where the batch is small: a pipeline of statements, each of which takes all of its
rows at once. Large tables whose rows are believed to be new, or known to be, are copied straight in, each in an
exchange of its own and behind a savepoint; if the belief was wrong, the rows are merged like all others. COMMIT is an
exchange of its own, so that it is known exactly when a lost connection leaves its outcome open. Two more look at
readings whose key was taken.

Nothing here depends on how messages fall into batches or how often they come: the first row of a key stands, the
newest event time wins in the tables of latest rows, and every row of state is overwritten by what the engine says last.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import orjson
import psycopg

from alerting.model import SubjectKind
from decoders.records import Reason, Reject
from storage import statements, tables
from storage.arrays import fixed_array
from storage.batch import Committed
from storage.part import slices
from storage.payload import json_text
from storage.quarantine import Refusal, first_of, refusal, sliced
from storage.times import iso, moment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from numpy.typing import NDArray
    from psycopg import AsyncConnection, AsyncCursor

    from storage.part import Part
    from storage.straight import Straight
    from storage.work import Work

    Connection = AsyncConnection[tuple[Any, ...]]
    Cursor = AsyncCursor[tuple[Any, ...]]


#: From so many rows on, it is asked whether anything is stored of their time.
_WORTH_ASKING: Final = 1_000

#: Where rows are that can be late, and what they are of.
_OF_KIND: Final = {SubjectKind.TRANSPONDER: ("positions", "transponder"), SubjectKind.DEVICE: ("readings", "device")}


async def write(
    connection: Connection, work: Work, straight: Mapping[str, Straight], instance: str, token: UUID
) -> Committed:
    """Do all of the work, and say what came of it if it is committed."""
    await _believe(connection, work, straight)
    believed = [part for part in work.parts.values() if part.straight]
    undone: set[str] = set()
    if believed:
        async with connection.pipeline():
            await _begin(connection, work, instance, token)
        undone = {part.table.name for part in believed if not await _copied(connection, part)}
    async with connection.pipeline():
        if not believed:
            await _begin(connection, work, instance, token)
        merges = await _merge(connection, work, undone)
        decided = [await connection.execute(statement, rows) for statement, rows in work.decisions.statements()]
        for statement, parameters in work.after:
            await connection.execute(statement, parameters)
        quarantined = [await _quarantine(connection, some) for some in sliced(work.refusals)]
    taken = {
        name: part.taken([await _one(cursor) for cursor in merges.get(name, ())]) for name, part in work.parts.items()
    }
    for name, guess in straight.items():
        if name in taken:
            guess.met(len(taken[name]), undone=name in undone)
    fates = {name: part.fate(taken[name]) for name, part in work.parts.items()}
    if late := _late(work, fates):
        await connection.execute(statements.ASK_FOR_REVIEWS, (json_text(late),))
    new_refusals = {row[0] for cursor in quarantined for row in await cursor.fetchall()}
    conflicts = await _conflicts(connection, work, taken)
    fired, changed, resolved = work.decisions.counts([await _one(cursor) for cursor in decided])
    none = np.zeros(0, dtype=np.bool_)
    return Committed(
        positions=fates.get("positions", none),
        readings=fates.get("readings", none),
        statics=fates.get("statics", none),
        receptions=fates.get("receptions", none),
        records=fates.get("ais_messages", none),
        rejects=first_of(work.refusals, new_refusals),
        conflicts=conflicts,
        alerts_fired=fired,
        alerts_changed=changed,
        alerts_resolved=resolved,
    )


async def _believe(connection: Connection, work: Work, straight: Mapping[str, Straight]) -> None:
    """Where nothing is stored of the time of many rows, none of them is there already: a recording read in, say."""
    for part in work.parts.values():
        name = part.table.name
        if not part.straight and len(part.chosen) >= _WORTH_ASKING:
            time = part.columns["time"]
            bounds = moment(int(time.min())), moment(int(time.max()))
            cursor = await connection.execute(tables.ANYTHING[name], bounds)
            if not await _one(cursor):
                part.straight = True
                straight[name].believe()
                await asyncio.to_thread(part.encode)


async def _begin(connection: Connection, work: Work, instance: str, token: UUID) -> None:
    received = None if work.received is None else moment(work.received)
    await connection.execute(statements.UPSERT_PROGRESS, (instance, received, token))
    for statement, parameters in work.before:
        await connection.execute(statement, parameters)


async def _merge(connection: Connection, work: Work, undone: set[str]) -> dict[str, list[Cursor]]:
    """Write what was not copied straight in, and what follows from what was."""
    merges: dict[str, list[Cursor]] = {}
    for name, part in work.parts.items():
        if part.straight and name not in undone:
            for arrays in part.following:
                await connection.execute(tables.FOLLOW[name], arrays)
        else:
            merges[name] = [
                await connection.execute(tables.MERGE[name], arrays, binary=True) for arrays in part.merged()
            ]
    return merges


async def _copied(connection: Connection, part: Part) -> bool:
    """Copy rows straight into their table, all or (where one is there already) none."""
    await connection.execute("SAVEPOINT straight")
    try:
        async with connection.cursor() as cursor, cursor.copy(tables.COPY[part.table.name]) as copy:
            await copy.write(part.copied)
    except psycopg.errors.UniqueViolation:
        await connection.execute("ROLLBACK TO SAVEPOINT straight")
        return False
    return True


def _late(work: Work, fates: Mapping[str, NDArray[np.bool_]]) -> list[dict[str, Any]]:
    """Of whom rows came late that were not there already: what comes again and again asks for no review."""
    observations, found = work.batch.observations, []
    for late in work.batch.verdict.late:
        table, subject = _OF_KIND[late.kind]
        rows = getattr(observations, table)
        of_it = (rows[subject] == late.subject) & (rows["time"] >= late.since) & (rows["time"] <= late.until)
        times = rows["time"][of_it & fates[table]]
        if len(times):
            said = {"kind": late.kind, "subject": late.subject}
            found.append(said | {"since": iso(int(times.min())), "until": iso(int(times.max()))})
    return found


async def _conflicts(connection: Connection, work: Work, taken: Mapping[str, NDArray[np.intp]]) -> list[int]:
    """Readings whose key is held by another value, stored or earlier in the batch: to quarantine.

    The indexes of those that were not there already.
    """
    part = work.parts.get("readings")
    if part is None:
        return []
    readings = work.batch.observations.readings
    standing = readings["value"][part.lead]
    if len(taken["readings"]):
        stored = readings["value"].copy()
        for rows in slices(taken["readings"]):
            stored[rows] = await _stored_values(connection, readings[rows])
        standing = stored[part.lead]
    conflicts: list[int] = np.flatnonzero(standing != readings["value"]).tolist()
    if not conflicts:
        return []
    names = {(name.kind, name.id): name.name for name in work.batch.observations.names}
    refusals = [refusal(_conflict(readings[n], float(standing[n]), names)) for n in conflicts]
    new: set[Any] = set()
    for some in sliced(refusals):
        new.update(id_ for (id_,) in await (await _quarantine(connection, some)).fetchall())
    return [n for n, first in zip(conflicts, first_of(refusals, new), strict=True) if first]


async def _stored_values(connection: Connection, readings: NDArray[np.void]) -> NDArray[np.float64]:
    keys = (
        fixed_array("bigint", readings["device"]),
        fixed_array("bigint", readings["metric"]),
        fixed_array("timestamptz", readings["time"]),
    )
    bounds = moment(int(readings["time"].min())), moment(int(readings["time"].max()))
    # Planned for the keys there are, with the bounds in sight: other chunks are left out once and not for each key.
    await connection.execute("SET LOCAL plan_cache_mode = force_custom_plan")
    return np.array(await _one(await connection.execute(tables.STORED_VALUES, (*keys, *bounds), binary=True)), float)


def _conflict(reading: np.void, stored: float, names: Mapping[tuple[str, int], str]) -> Reject:
    """A reading that came too late to be believed, as a refused message in our own words: its bytes are not at hand."""
    device, metric = int(reading["device"]), int(reading["metric"])
    body = {
        "device": names.get(("device", device), str(device)),
        "metric": names.get(("metric", metric), str(metric)),
        "time": iso(int(reading["time"])),
        "value": float(reading["value"]),
    }
    return Reject(
        message=int(reading["message"]),
        reason=Reason.CONFLICTING_VALUE,
        raw=orjson.dumps(body),
        received_at=int(reading["received_at"]),
        source=int(reading["source"]),
        origin=f"{body['device']}/{body['metric']}",
        detail=f"stored value {stored!r}",
    )


async def _quarantine(connection: Connection, refusals: Sequence[Refusal]) -> Cursor:
    return await connection.execute(statements.INSERT_QUARANTINE, (json_text([r.values for r in refusals]),))


async def _one(cursor: Cursor) -> Any:
    """The one value that a statement answers."""
    row = await cursor.fetchone()
    assert row is not None  # an aggregate has a row always
    return row[0]
