"""One transmission heard by several receivers, or twice by one: kept once, with who else heard it.

AIS messages carry no number, so two hearings are of one transmission if their payloads are equal and the second comes
soon after the first. The time runs from the first hearing: a station that repeats itself for ever is stored once per
span, not once.

Of most transmissions a batch brings one hearing, and the window knows none: those are remembered all together, and only
the others are looked at one after the other.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from decoders.records import RECEPTION, empty, table, take

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from numpy.typing import NDArray

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
        self._cap = cap
        # In the order of first hearings: ordered so that the oldest is at hand, however many before it are gone.
        self._heard: OrderedDict[_Key, _Heard] = OrderedDict()

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
        rows = _rows(observations)
        if not len(rows):
            return set()
        keys: list[_Key] = list(zip(rows["transponder"].tolist(), rows["digest"].tolist(), strict=True))
        before = _triples(known) if known is not None and redelivered else set()
        repeated = None if before else self._repeated(rows, keys)
        late: dict[_Key, tuple[int, _Heard]] = {}
        drop: list[int] = []
        receptions: list[tuple[int, ...]] = []
        message = -1
        # Ordinals of a message's hearings, by what was sent and by table, and what became of each hearing: type 19
        # fills a row in two tables, while an MQTT message may bring one transmission twice.
        ordinals: dict[tuple[_Key, int], int] = {}
        verdicts: dict[tuple[_Key, int], int] = {}
        look = np.arange(len(rows)) if repeated is None else np.flatnonzero(repeated)
        columns = (rows[name][look].tolist() for name in ("message", "table", "source", "time", "received_at"))
        for place, at, which, source, time, received_at in zip(look.tolist(), *columns, strict=True):
            if at != message:
                message = at
                ordinals.clear()
                verdicts.clear()
            key = keys[place]
            ordinal = ordinals.get((key, which), 0)
            ordinals[key, which] = ordinal + 1
            verdict = verdicts.get((key, ordinal))
            if verdict is None:
                if before and at in redelivered and (*key, source) in before:
                    verdict = _NOTHING
                elif repeated is None:
                    verdict = self._hear(key, source, time, received_at)
                else:
                    verdict = self._hear_late(key, source, time, received_at, late, place)
                verdicts[key, ordinal] = verdict
                if verdict == _RECEPTION:
                    first = late[key][1] if key in late else self._heard[key]
                    receptions.append((first[0], received_at, *key, source, at))
            if verdict != _KEEP:
                drop.append(place)
        if repeated is not None:
            self._hear_all(rows, keys, repeated, late)
        return _without(observations, rows[drop], receptions)

    def _repeated(self, rows: Table, keys: list[_Key]) -> NDArray[np.bool_] | None:
        """Which keys are known or come more than once: all others can be taken in as one.

        None where what is known could depend on where within the batch memory is made room: times fall, or the cap is
        reached and there is something to know.
        """
        heard = self._heard
        if (np.diff(rows["received_at"]) < 0).any():
            return None
        repeated = np.fromiter(map(heard.__contains__, keys), np.bool_, len(keys))
        if len(set(keys)) != len(keys):
            order = np.lexsort((rows["transponder"], rows["digest"]))
            transponder, digest = rows["transponder"][order], rows["digest"][order]
            same = (transponder[1:] == transponder[:-1]) & (digest[1:] == digest[:-1])
            repeated[order[1:][same]] = True
            repeated[order[:-1][same]] = True
        over = len(heard) + len(keys) - self._cap
        if over > 0 and (over > len(heard) or repeated.any()):
            return None
        return repeated

    def _hear_late(
        self, key: _Key, source: int, time: int, received_at: int, late: dict[_Key, tuple[int, _Heard]], place: int
    ) -> int:
        """As ``_hear``, but what is first heard now goes into ``late``, with its place in the batch."""
        first = late[key][1] if key in late else self._heard.get(key)
        if first is None or abs(received_at - first[1]) > self._span:
            late[key] = (place, (time, received_at, (source,)))
            return _KEEP
        if source in first[2]:
            return _NOTHING
        more = (first[0], first[1], (*first[2], source))
        if key in late:
            late[key] = (late[key][0], more)
        else:
            self._heard[key] = more
        return _RECEPTION

    def _hear_all(
        self, rows: Table, keys: list[_Key], repeated: NDArray[np.bool_], late: dict[_Key, tuple[int, _Heard]]
    ) -> None:
        """Remember everything first heard in a batch, in the order it came."""
        sources = zip(rows["source"].tolist())
        values: list[_Heard] = list(zip(rows["time"].tolist(), rows["received_at"].tolist(), sources, strict=True))
        if repeated.any():
            new = ~repeated
            for key, (place, value) in late.items():
                self._heard.pop(key, None)
                values[place] = value
                new[place] = True
            places = np.flatnonzero(new).tolist()
            keys, values = [keys[place] for place in places], [values[place] for place in places]
        if values:
            self._heard.update(zip(keys, values, strict=True))
            self._forget(values[-1][1], self._cap)

    def restore(self, heard: Table, receptions: Table | None = None) -> None:
        """Be as after having heard stored rows: those received in the last span are enough.

        Args:
            heard: rows of transmissions as first heard; any table with ``transponder``, ``digest``, ``source``,
                ``time`` and ``received_at``.
            receptions: RECEPTION rows; one whose first hearing is not in ``heard`` is passed over.
        """
        rows = heard[np.argsort(heard["received_at"], kind="stable")]
        columns = (rows[name].tolist() for name in ("transponder", "digest", "source", "time", "received_at"))
        for transponder, digest, source, time, received_at in zip(*columns, strict=True):
            self._hear((transponder, digest), source, time, received_at)
        if receptions is None:
            return
        for row in receptions:
            key = (int(row["transponder"]), int(row["digest"]))
            first = self._heard.get(key)
            source = int(row["source"])
            if first is not None and first[0] == int(row["time"]) and source not in first[2]:
                self._heard[key] = (first[0], first[1], (*first[2], source))

    def _hear(self, key: _Key, source: int, time: int, received_at: int) -> int:
        first = self._heard.get(key)
        if first is not None:
            if abs(received_at - first[1]) <= self._span:  # an older recording replayed later is not the same hearing
                if source in first[2]:
                    return _NOTHING
                self._heard[key] = (first[0], first[1], (*first[2], source))
                return _RECEPTION
            del self._heard[key]
        self._forget(received_at, self._cap - 1)
        self._heard[key] = (time, received_at, (source,))
        return _KEEP

    def _forget(self, now: int, most: int) -> None:
        """Drop what is out of the span, and what is more than ``most``."""
        heard = self._heard
        while heard:
            oldest = next(iter(heard))
            if now - heard[oldest][1] <= self._span and len(heard) <= most:
                return
            del heard[oldest]


#: Rows of all AIS observations: which table (positions, statics, records) each is of, and its index there.
_ROW: Final = np.dtype([(name, "i8") for name in ("table", "index", *_COLUMNS)])


def _rows(observations: Observations) -> Table:
    """A _ROW for each AIS observation, by message, then table, then index."""
    parts: list[Table] = []
    for which, found in enumerate((observations.positions, observations.statics)):
        (index,) = np.nonzero(found["msg_type"] > 0)
        part = empty(_ROW, len(index))
        part["table"], part["index"] = which, index
        for name in _COLUMNS:
            part[name] = found[name] if len(index) == len(found) else found[name][index]
        parts.append(part)
    records = observations.records
    part = empty(_ROW, len(records))
    part["table"], part["index"] = 2, np.arange(len(records))
    for name in _COLUMNS:
        part[name] = [getattr(record, name) for record in records]
    rows = np.concatenate([*parts, part])
    return take(rows, np.argsort(rows["message"], kind="stable"))


def _without(observations: Observations, rows: Table, receptions: list[tuple[int, ...]]) -> set[int]:
    """Take ``rows`` out of the observations and put receptions in; returns the messages of which nothing is left."""
    if not len(rows):
        return set()
    gone = [rows["index"][rows["table"] == which] for which in range(3)]
    for name, index in (("positions", gone[0]), ("statics", gone[1])):
        found = getattr(observations, name)
        if len(index):
            left = np.ones(len(found), np.bool_)
            left[index] = False
            setattr(observations, name, take(found, np.flatnonzero(left)))
    records = set(gone[2].tolist())
    if records:
        observations.records = [r for i, r in enumerate(observations.records) if i not in records]
    if receptions:
        observations.receptions = np.concatenate([observations.receptions, table(RECEPTION, receptions)])
    touched = np.unique(rows["message"])
    left_over = [np.array([r.message for r in observations.records], np.int64)]
    left_over += [t["message"] for t in (observations.positions, observations.statics, observations.readings)]
    return set(touched[~np.isin(touched, np.concatenate(left_over))].tolist())


def _triples(rows: Table) -> set[tuple[Any, ...]]:
    return set(zip(*(rows[name].tolist() for name in ("transponder", "digest", "source")), strict=True))
