"""The reception window row by row: what the one that takes batches in bulk must equal.

One transmission heard by several receivers, or twice by one: kept once, with who else heard it.

AIS messages carry no number, so two hearings are of one transmission if their payloads are equal and the second comes
soon after the first, by when they were received and by the times they have. The span runs from the first hearing: a
station that repeats itself for ever is stored once per span, not once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from decoders.records import RECEPTION, table

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Set as AbstractSet

    from decoders.records import Observations, Table

SPAN_US: Final = 30_000_000
CAP: Final = 262_144

#: (transponder, digest): what was sent, by whom.
_Key = tuple[int, int]
#: (time and received_at of the first hearing, who has heard it).
_Heard = tuple[int, int, tuple[int, ...]]

_COLUMNS: Final = ("message", "transponder", "digest", "source", "time", "received_at")
#: What becomes of one hearing.
_KEEP, _RECEPTION, _NOTHING = range(3)


class ReceptionWindow:
    """The transmissions of the last ``span_us``.

    What comes out does not depend on how rows fall into batches.

    Args:
        span_us: how long after its first hearing, by ``received_at``, a transmission is known again; inclusive.
        cap: transmissions remembered; the oldest gives way.
    """

    def __init__(self, span_us: int = SPAN_US, *, cap: int = CAP) -> None:
        if span_us < 0 or cap <= 0:
            raise ValueError("the span must not be negative, and the cap must be positive")
        self._span = span_us
        self._now = -(2**62)  # the greatest ``received_at`` so far
        self._found = 0  # time of the first hearing of what was heard again
        self._cap = cap
        self._heard: dict[_Key, _Heard] = {}  # the latest first hearings, in their order
        self._earlier: list[tuple[_Key, _Heard]] = []  # first hearings before the latest, as they ceased to be that

    def __len__(self) -> int:
        return len(self._heard)

    def apply(
        self, observations: Observations, redelivered: AbstractSet[int] = frozenset(), known: Table | None = None
    ) -> set[int]:
        """Take out of ``observations``, in place, what was heard before; every new receiver leaves a RECEPTION row.

        Args:
            observations: rows of AIS messages (``msg_type`` above 0) and records are looked at.
            redelivered: messages that the wire may have brought before.
            known: what is stored of those, of whatever age: any table with ``transponder``, ``digest`` and
                ``source``. A redelivered message found there leaves nothing.

        Returns:
            The messages that have become duplicates: something was taken out, and nothing is left.
        """
        before = _firsts(known) if known is not None and redelivered else {}
        drop: tuple[list[int], list[int], list[int]] = ([], [], [])
        receptions: list[tuple[int, ...]] = []
        touched: set[int] = set()
        message = -1
        # Ordinals of a message's hearings, by what was sent and by table, and what became of each hearing: type 19
        # fills a row in two tables, while an MQTT message may bring one transmission twice.
        ordinals: dict[tuple[_Key, int], int] = {}
        verdicts: dict[tuple[_Key, int], int] = {}
        for row in _rows(observations):
            at, which, index, transponder, digest, source, time, received_at = row
            self._now = max(self._now, received_at)
            self._forget_earlier()
            if at != message:
                message = at
                ordinals.clear()
                verdicts.clear()
            key = (transponder, digest)
            ordinal = ordinals.get((key, which), 0)
            ordinals[key, which] = ordinal + 1
            verdict = verdicts.get((key, ordinal))
            if verdict is None:
                if at in redelivered and (*key, source, time) in before:
                    self._found, who = before[*key, source, time]
                    verdict = _NOTHING if who == source else _RECEPTION
                else:
                    verdict = self._hear(key, source, time, received_at)
                verdicts[key, ordinal] = verdict
                if verdict == _RECEPTION:
                    receptions.append((self._found, received_at, *key, source, at))
            if verdict != _KEEP:
                drop[which].append(index)
                touched.add(at)
        self._forget_earlier()
        if not touched:
            return set()
        observations.positions = np.delete(observations.positions, drop[0])
        observations.statics = np.delete(observations.statics, drop[1])
        gone = set(drop[2])
        observations.records = [r for i, r in enumerate(observations.records) if i not in gone]
        if receptions:
            observations.receptions = np.concatenate([observations.receptions, table(RECEPTION, receptions)])
        return touched - _messages(observations)

    def _hear(self, key: _Key, source: int, time: int, received_at: int) -> int:
        first = self._heard.get(key)
        if first is not None:
            if self._same(first, time, received_at):
                self._found = first[0]
                if source in first[2]:
                    return _NOTHING
                self._heard[key] = (first[0], first[1], (*first[2], source))
                return _RECEPTION
            near = abs(received_at - first[1]) <= self._span  # else the first might as well be forgotten
            of = [
                (abs(time - e[0]), e[0], n)
                for n, (k, e) in enumerate(self._earlier)
                if near and k == key and self._same(e, time, received_at) and self._now - e[1] <= self._span
            ]
            if of:
                *_, n = min(of)
                earlier = self._earlier[n][1]
                self._found = earlier[0]
                if source in earlier[2]:
                    return _NOTHING
                self._earlier[n] = key, (earlier[0], earlier[1], (*earlier[2], source))
                return _RECEPTION
            del self._heard[key]
            if near:
                step = self._span + 1
                self._earlier = [(k, e) for k, e in self._earlier if k != key or e[0] // step != first[0] // step]
                self._earlier = [*self._earlier, (key, first)][-self._cap :]
        self._forget(received_at)
        self._heard[key] = (time, received_at, (source,))
        return _KEEP

    def _same(self, first: _Heard, time: int, received_at: int) -> bool:
        return abs(received_at - first[1]) <= self._span and abs(time - first[0]) <= self._span

    def _forget_earlier(self) -> None:
        while self._earlier and self._now - self._earlier[0][1][1] > self._span:
            del self._earlier[0]

    def _forget(self, now: int) -> None:
        """Drop what is out of the span, and make room for one more."""
        heard = self._heard
        while heard:
            oldest = next(iter(heard))
            if now - heard[oldest][1] <= self._span and len(heard) < self._cap:
                return
            del heard[oldest]


def _rows(observations: Observations) -> Iterable[tuple[int, ...]]:
    """(message, table, index in it, transponder, digest, source, time, received_at) of all AIS rows, by message."""
    out: list[tuple[int, ...]] = []
    for which, rows in enumerate((observations.positions, observations.statics)):
        if len(rows):
            (index,) = np.nonzero(rows["msg_type"] > 0)
            message, *rest = (rows[name][index].tolist() for name in _COLUMNS)
            out.extend(zip(message, [which] * len(index), index.tolist(), *rest, strict=True))
    out.extend(
        (r.message, 2, i, r.transponder, r.digest, r.source, r.time, r.received_at)
        for i, r in enumerate(observations.records)
    )
    out.sort(key=lambda row: row[:3])
    return out


def _messages(observations: Observations) -> set[int]:
    """The messages of which a row or a record is left."""
    out: set[int] = {r.message for r in observations.records}
    for rows in (observations.positions, observations.statics, observations.readings):
        out.update(rows["message"].tolist())
    return out


def _firsts(rows: Table) -> dict[tuple[Any, ...], tuple[int, int]]:
    out = {}
    for row in rows:
        key = tuple(int(row[name]) for name in ("transponder", "digest", "source", "time"))
        out[key] = int(row["first_time"]), int(row["first_source"])
    return out
