"""Whether the record of alerts is what it was when it was written.

Everything is computed again from what is stored: the chains of each alert (``alert_history``, ``alert_deliveries``)
and silence (``silence_history``), and the seals over them. What the database says of itself is not believed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from storage import ask
from storage.chain import link
from storage.seals import Head, Seal, seal_hash

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from datetime import datetime
    from uuid import UUID

    from psycopg import AsyncConnection

    Row = dict[str, Any]
    Connection = AsyncConnection[Row]

#: Findings beyond these are counted and not named.
MOST: Final = 100

#: Alerts of which anything was written or sealed since a time; all, where none is given.
_WHICH: Final = b"""(%(since)s::timestamptz IS NULL OR alert_id IN (
    SELECT alert_id FROM alert_history WHERE recorded_at >= %(since)s
    UNION ALL SELECT alert_id FROM alert_deliveries WHERE at >= %(since)s
    UNION ALL SELECT silence_id FROM silence_history WHERE at >= %(since)s
    UNION ALL SELECT alert_id FROM seal_heads JOIN seals ON seals.seq = seal WHERE at >= %(since)s))
"""
_CHAINS: Final = {
    "history": b"""
        SELECT alert_id, seq, hash, haidang_microseconds(recorded_at) AS recorded, ARRAY[alert_id::text, seq::text,
            haidang_microseconds(at), actor, from_state, to_state, change, note, details::text] AS fields, to_state
        FROM alert_history WHERE %b ORDER BY alert_id, seq"""
    % _WHICH,
    "deliveries": b"""
        SELECT alert_id, seq, hash, haidang_microseconds(at) AS recorded, ARRAY[alert_id::text, seq::text,
            haidang_microseconds(at), notification_id::text, channel, event, outcome, attempts::text, note]
            || CASE WHEN payload_sha256 IS NOT NULL THEN ARRAY[encode(payload_sha256, 'hex')] END AS fields,
            payload_sha256 IS NULL OR payload_sha256 = (
                SELECT sha256(convert_to(n.payload::text, 'UTF8')) FROM notifications AS n WHERE n.id = notification_id
            ) IS TRUE AS stands
        FROM alert_deliveries WHERE %b ORDER BY alert_id, seq"""
    % _WHICH,
    "silences": b"""
        SELECT alert_id, seq, hash, haidang_microseconds(at) AS recorded, ARRAY[alert_id::text, seq::text,
            haidang_microseconds(at), actor, change, details::text] AS fields
        FROM (SELECT *, silence_id AS alert_id FROM silence_history) AS s WHERE %b ORDER BY alert_id, seq"""
    % _WHICH,
}
_HEADS: Final = (
    b"""
SELECT alert_id, seal, seq_from, seq, hash, recorded FROM seal_heads
WHERE chain = %%(chain)s AND %b ORDER BY alert_id, seq"""
    % _WHICH
)
_STANDING: Final = (
    b"""
SELECT alert_id, revision, state FROM (SELECT id AS alert_id, revision, state FROM alerts) AS a
WHERE %b ORDER BY alert_id"""
    % _WHICH
)
_SEALS: Final = b"SELECT seq, hash, haidang_microseconds(at) AS at FROM seals ORDER BY seq"
_SEALED: Final = b"""
SELECT seal, alert_id, chain, seq_from, seq, hash, recorded FROM seal_heads ORDER BY seal, alert_id, chain
"""


@dataclass(slots=True)
class Audit:
    """What was looked at, and what is wrong with it: one line each, in the order of the record."""

    alerts: int = 0
    rows: int = 0  # of both chains
    unsealed: int = 0  # rows that no seal covers yet
    seals: int = 0
    last: Seal | None = None
    faults: list[str] = field(default_factory=list)
    more: int = 0  # faults that are not named

    def found(self, fault: str) -> None:
        if len(self.faults) < MOST:
            self.faults.append(fault)
        else:
            self.more += 1


async def audit(dsn: str, *, since: datetime | None = None, expected: Sequence[Seal] = ()) -> Audit:
    """Verify the record: of all alerts, or of those that anything was written of ``since``. Seals are verified whole.

    ``expected``: seals that were noted elsewhere, as the log does; ``heads`` of them is not looked at.

    Raises:
        DatabaseAway, ConfigurationError: see ``storage.errors``.
    """
    found = Audit()
    async with ask.connected(dsn) as connection:
        await connection.execute(b"SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        await _seals(connection, found, {seal.seq: seal.hash for seal in expected})
        for chain in _CHAINS:
            await _chains(connection, chain, since, found)
    return found


async def _seals(connection: Connection, audit: Audit, expected: dict[int, bytes]) -> None:
    """Each follows from the one before and from its heads."""
    previous: Row | None = None
    sealed = _groups(connection, "sealed", _SEALED, {}, "seal")
    heads = await anext(sealed, None)
    async for row in _stream(connection, "seals", _SEALS, {}):
        audit.seals += 1
        due = previous["seq"] + 1 if previous else 1
        if row["seq"] != due:
            audit.found(f"seal {due} is missing")
        own: list[Head] = []
        if heads is not None and heads[0] == row["seq"]:
            own = [Head(**{name: head[name] for name in Head.__dataclass_fields__}) for head in heads[1]]
            heads = await anext(sealed, None)
        if seal_hash(previous["hash"] if previous else None, row["seq"], row["at"], own) != row["hash"]:
            audit.found(f"seal {row['seq']} is not what was sealed: it was changed, or what it holds was")
        if expected.pop(row["seq"], row["hash"]) != row["hash"]:
            audit.found(f"seal {row['seq']} is not the one that was noted")
        previous = row
        audit.last = Seal(row["seq"], row["hash"], len(own))
    for seq in sorted(expected):
        audit.found(f"seal {seq}, which was noted, is missing")


async def _chains(connection: Connection, chain: str, since: datetime | None, audit: Audit) -> None:
    """Each row follows from the one before, and the seals hold what is there."""
    values = {"since": since, "chain": chain}
    sources = [
        _groups(connection, chain, _CHAINS[chain], values),
        _groups(connection, f"{chain} heads", _HEADS, values),
    ]
    if chain == "history":
        sources.append(_groups(connection, "standing", _STANDING, values))
    async for alert, (rows, heads, *standing) in _merged(sources):
        where = f"silence {alert}" if chain == "silences" else f"alert {alert}, {chain}"
        if chain == "history":
            audit.alerts += 1
        audit.rows += len(rows)
        if fault := _broken(rows):
            audit.found(f"{where}: {fault}")
        else:
            _held(rows, heads, where, audit)
        if standing:
            _stands(rows, standing[0], alert, audit)


def _broken(rows: Sequence[Row]) -> str | None:
    """What is wrong with the first broken row of a chain; those after it hang on it."""
    previous: bytes | None = None
    for number, row in enumerate(rows, 1):
        if row["seq"] != number:
            return f"row {number} is missing"
        if link(previous, *row["fields"]) != row["hash"]:
            return f"row {number} is not what was written, or does not follow the row before"
        if not row.get("stands", True):
            return f"row {number} tells of a notification that says something else now"
        previous = row["hash"]
    return None


def _held(rows: Sequence[Row], heads: Sequence[Row], where: str, audit: Audit) -> None:
    """What seals hold of a chain is there."""
    by_seq = {row["seq"]: row for row in rows}
    covered = 0
    for head in heads:
        row = by_seq.get(head["seq"])
        seal = f"seal {head['seal']}"
        if row is None:
            rest = "all of it is gone" if not rows else f"row {head['seq']} is missing"
            audit.found(f"{where}: {rest}, which {seal} holds")
            return
        if row["hash"] != head["hash"]:
            audit.found(f"{where}: row {head['seq']} is not the one that {seal} holds")
            return
        written = [by_seq[n]["recorded"] for n in range(head["seq_from"], head["seq"] + 1) if n in by_seq]
        if link(None, *written) != head["recorded"]:
            audit.found(f"{where}: rows {head['seq_from']} to {head['seq']} were not written when {seal} says")
            return
        covered = head["seq"]
    audit.unsealed += sum(row["seq"] > covered for row in rows)


def _stands(rows: Sequence[Row], standing: Sequence[Row], alert: UUID, audit: Audit) -> None:
    """The alert is as its history left it."""
    if not standing:
        if rows:
            audit.found(f"alert {alert} is gone, its history is not")
        return
    (now,) = standing
    if not rows:
        audit.found(f"alert {alert} has no history")
    elif now["revision"] != rows[-1]["seq"]:
        audit.found(f"alert {alert}, history: row {now['revision']} should be the last, row {rows[-1]['seq']} is")
    elif now["state"] != rows[-1]["to_state"]:
        audit.found(f"alert {alert} is {now['state']}, its history ends with {rows[-1]['to_state']}")


async def _stream(connection: Connection, name: str, query: bytes, values: dict[str, Any]) -> AsyncIterator[Row]:
    async with connection.cursor(name) as cursor:
        await cursor.execute(query, values)
        async for row in cursor:
            yield row


async def _groups(
    connection: Connection, name: str, query: bytes, values: dict[str, Any], key: str = "alert_id"
) -> AsyncIterator[tuple[Any, list[Row]]]:
    """Runs of rows with an equal key."""
    rows: list[Row] = []
    async for row in _stream(connection, name, query, values):
        if rows and rows[0][key] != row[key]:
            yield rows[0][key], rows
            rows = []
        rows.append(row)
    if rows:
        yield rows[0][key], rows


async def _merged(
    sources: Sequence[AsyncIterator[tuple[UUID, list[Row]]]],
) -> AsyncIterator[tuple[UUID, list[list[Row]]]]:
    """Groups of several sources side by side, each ordered by its key; a source that lacks one gives no rows."""
    waiting = [await anext(source, None) for source in sources]
    while keys := [group[0] for group in waiting if group is not None]:
        least = min(keys)
        found: list[list[Row]] = []
        for n, group in enumerate(waiting):
            if group is not None and group[0] == least:
                found.append(group[1])
                waiting[n] = await anext(sources[n], None)
            else:
                found.append([])
        yield least, found
