"""Seals: what the chains of all alerts and silences have come to, hashed together with the seal before.

A chain by itself shows that a row was changed, or one in its midst taken away. It does not show that its last rows are
gone, nor all of them. A seal does: it holds the last row of every chain that has grown since the seal before, and when
each of its new rows was written. The service logs every seal, so that whoever keeps the log can tell whether the seals
themselves are what they were.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from storage import ask
from storage.chain import link

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

#: Key of the advisory lock by which those who seal take turns.
_LOCK: Final = int.from_bytes(b"seals")

_LAST: Final = b"SELECT seq, hash, at FROM seals ORDER BY seq DESC LIMIT 1"
_NOW: Final = b"SELECT haidang_microseconds(t) AS micros, t AS at FROM (SELECT clock_timestamp() AS t) AS now"
#: A transaction is over long before an hour is: rows that no seal covers yet were written less than that before the
#: last one, or while nobody sealed.
_GROWN: Final = b"""
SELECT h.alert_id, 'history' AS chain, min(h.seq) AS seq_from, max(h.seq) AS seq,
    (array_agg(h.hash ORDER BY h.seq DESC))[1] AS hash,
    haidang_link(NULL, VARIADIC array_agg(haidang_microseconds(h.recorded_at) ORDER BY h.seq)) AS recorded
FROM alert_history AS h
WHERE (%(all)s OR h.recorded_at >= %(last)s::timestamptz - interval '1 hour') AND NOT EXISTS (
    SELECT FROM seal_heads AS s WHERE (s.alert_id, s.chain) = (h.alert_id, 'history') AND s.seq >= h.seq)
GROUP BY h.alert_id
UNION ALL
SELECT d.alert_id, 'deliveries', min(d.seq), max(d.seq), (array_agg(d.hash ORDER BY d.seq DESC))[1],
    haidang_link(NULL, VARIADIC array_agg(haidang_microseconds(d.at) ORDER BY d.seq))
FROM alert_deliveries AS d
WHERE (%(all)s OR d.at >= %(last)s::timestamptz - interval '1 hour') AND NOT EXISTS (
    SELECT FROM seal_heads AS s WHERE (s.alert_id, s.chain) = (d.alert_id, 'deliveries') AND s.seq >= d.seq)
GROUP BY d.alert_id
UNION ALL
SELECT s.silence_id, 'silences', min(s.seq), max(s.seq), (array_agg(s.hash ORDER BY s.seq DESC))[1],
    haidang_link(NULL, VARIADIC array_agg(haidang_microseconds(s.at) ORDER BY s.seq))
FROM silence_history AS s
WHERE (%(all)s OR s.at >= %(last)s::timestamptz - interval '1 hour') AND NOT EXISTS (
    SELECT FROM seal_heads AS h WHERE (h.alert_id, h.chain) = (s.silence_id, 'silences') AND h.seq >= s.seq)
GROUP BY s.silence_id
ORDER BY 1, 2
"""
_HEAD: Final = b"""
INSERT INTO seal_heads (seal, alert_id, chain, seq_from, seq, hash, recorded) VALUES (%s, %s, %s, %s, %s, %s, %s)
"""


@dataclass(slots=True, frozen=True)
class Head:
    """A chain that had grown when a seal was made; columns of ``seal_heads``."""

    alert_id: UUID  # of the chain "silences": a silence
    chain: str
    seq_from: int
    seq: int
    hash: bytes
    recorded: bytes


@dataclass(slots=True, frozen=True)
class Seal:
    """One seal, as it was made."""

    seq: int
    hash: bytes
    heads: int

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash.hex()}"


def seal_hash(previous: bytes | None, seq: int, at: str, heads: Sequence[Head]) -> bytes:
    """The hash of a seal: over its number, its time (microseconds), and its heads by alert and chain."""
    fields = [str(seq), at, str(len(heads))]
    for head in heads:
        fields += [str(head.alert_id), head.chain, str(head.seq_from), str(head.seq)]
        fields += [head.hash.hex(), head.recorded.hex()]
    return link(previous, *fields)


async def seal(dsn: str, *, everything: bool = False) -> Seal | None:
    """Seal what has grown since the last seal; None if nothing has.

    ``everything``: also look for rows that should have been sealed long ago; slow where there are many.

    Raises:
        DatabaseAway, ConfigurationError: see ``storage.errors``.
    """
    async with ask.connected(dsn) as connection:
        await connection.execute(b"SET LOCAL statement_timeout = '60s'")
        await connection.execute(b"SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        last = await (await connection.execute(_LAST)).fetchone()
        now = await (await connection.execute(_NOW)).fetchone()
        assert now is not None  # a SELECT of one row
        known: dict[str, Any] = {"all": everything or last is None, "last": last and last["at"]}
        grown = await connection.execute(_GROWN, known)
        heads = [Head(**row) for row in await grown.fetchall()]
        if not heads:
            return None
        seq = last["seq"] + 1 if last else 1
        made = Seal(seq, seal_hash(last["hash"] if last else None, seq, now["micros"], heads), len(heads))
        await connection.execute(b"INSERT INTO seals VALUES (%s, %s, %s)", (seq, now["at"], made.hash))
        async with connection.cursor() as cursor:
            rows = [(seq, h.alert_id, h.chain, h.seq_from, h.seq, h.hash, h.recorded) for h in heads]
            await cursor.executemany(_HEAD, rows)
        return made
