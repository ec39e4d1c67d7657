"""One transmission heard by several receivers, or twice by one: kept once, with who else heard it.

AIS messages carry no number, so two hearings are of one transmission if their payloads are equal and the second comes
soon after the first: by when they were received, and by the times they have (``time``; that of the reception, where
nobody says better). A vessel at anchor says the same every three minutes, and a gateway that was offline hands on hours
of that at once. The span runs from the first hearing: a station that repeats itself for ever is stored once per span,
not once.

Of most transmissions a batch brings one hearing, and the window knows none: those are remembered all together, and only
the others are looked at one after the other.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import islice
from typing import TYPE_CHECKING, Final

import numpy as np

from decoders.records import RECEPTION, empty, table, take

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Set as AbstractSet

    from numpy.typing import NDArray

    from decoders.records import Observations, Table

    Ints = NDArray[np.int64]

SPAN_US: Final = 30_000_000
CAP: Final = 262_144

#: What was sent, by whom: the bytes of transponder and digest, which are made and compared faster than a tuple.
_Key = bytes

_COLUMNS: Final = ("message", "transponder", "digest", "source", "time", "received_at")
#: What becomes of one hearing.
_KEEP, _RECEPTION, _NOTHING = range(3)
#: Time and ``received_at`` of a first hearing, and who has heard it.
_Known = tuple[int, int, tuple[int, ...]]
#: What becomes of a hearing, and the time of the first hearing.
_Verdict = tuple[int, int]
#: First hearings, by number.
_FIRST: Final = np.dtype([("time", "i8"), ("received_at", "i8"), ("source", "i8")])
#: So few are forgotten one by one.
_FEW: Final = 8
#: So many may be out of the span before that is looked at; afterwards, as many as there are.
_UNTIDY: Final = 16_384


class ReceptionWindow:
    """The transmissions of the last ``span_us``.

    What comes out does not depend on how rows fall into batches.

    Args:
        span_us: how long after its first hearing, by ``received_at``, and how far from it, by ``time``, a transmission
            is known again; inclusive.
        cap: payloads remembered, and as many earlier transmissions of the same ones; the oldest gives way.
    """

    def __init__(self, span_us: int = SPAN_US, *, cap: int = CAP) -> None:
        if span_us < 0 or cap <= 0:
            raise ValueError("the span must not be negative, and the cap must be positive")
        self._span = span_us
        self._step = span_us + 1
        self._cap = cap
        self._tidy_at = min(cap, _UNTIDY)
        #: What was sent to the number of its latest first hearing, in the order of these: so numbers rise. What is out
        #: of the span may still be in it: it counts for nothing, and is forgotten a lot at a time. Ordered, so that the
        #: oldest is at hand, however many before it are gone.
        self._heard: OrderedDict[_Key, int] = OrderedDict()
        #: First hearings before the latest one, of the same, by what was sent and by ``time`` in steps that are wider
        #: than the span: of one step only the latest can be in the span.
        self._earlier: OrderedDict[tuple[_Key, int], _Known] = OrderedDict()
        self._first = np.zeros(1024, _FIRST)
        self._base = self._next = 0  # the number of the first of these rows, and of the next first hearing
        self._also: dict[int, tuple[int, ...]] = {}  # number to who has heard it, where that is more than one
        self._now = -(2**62)  # the greatest ``received_at`` so far: by it earlier transmissions are out of the span
        self._last = -(2**62)  # ``received_at`` of the latest first hearing
        self._renewed = False  # what was known came again after its span, within the batch

    def __len__(self) -> int:
        self._tidy(self._last)
        self._tidy_earlier()
        return len(self._heard) + len(self._earlier)

    def remembered(self) -> list[tuple[_Key, _Known]]:
        """What was sent, time and ``received_at`` of the first hearing, and who has heard it: the latest first hearings
        of each, then the earlier ones, the oldest first.
        """
        self._tidy(self._last)
        self._tidy_earlier()
        latest = [(key, self._known(number)) for key, number in self._heard.items()]
        return latest + [(key, known) for (key, _), known in self._earlier.items()]

    def apply(
        self, observations: Observations, redelivered: AbstractSet[int] = frozenset(), known: Table | None = None
    ) -> set[int]:
        """Take out of ``observations``, in place, what was heard before; every new receiver leaves a RECEPTION row.

        Args:
            observations: rows of AIS messages (``msg_type`` above 0) and records are looked at.
            redelivered: messages that the wire may have brought before.
            known: those of their rows of whose transmission something is stored, of whatever age: any table with
                ``transponder``, ``digest``, ``source`` and ``time``, and with ``first_time`` and ``first_source`` of
                its first hearing. Of the same source it leaves nothing, of another one a RECEPTION row.

        Returns:
            The messages that have become duplicates: something was taken out, and nothing is left.
        """
        rows = _rows(observations)
        if not len(rows):
            return set()
        keys = _keys(rows)
        before = _firsts(known) if known is not None and redelivered else {}
        self._tidy_earlier()
        look = None if before else self._take_in(rows, keys)
        taken = self._next - len(rows)
        if look is None:
            self._tidy(self._last)
        hear, places = (self._hear, np.arange(len(rows))) if look is None else (self._hear_again, look)
        drop: list[int] = []
        receptions: list[tuple[int, ...]] = []
        message = -1
        # Ordinals of a message's hearings, by what was sent and by table, and what became of each hearing: type 19
        # fills a row in two tables, while an MQTT message may bring one transmission twice.
        ordinals: dict[tuple[_Key, int], int] = {}
        verdicts: dict[tuple[_Key, int], _Verdict] = {}
        columns = (rows[name][places].tolist() for name in ("message", "table", "source", "time", "received_at"))
        for place, at, which, source, time, received_at in zip(places.tolist(), *columns, strict=True):
            if at != message:
                message = at
                ordinals.clear()
                verdicts.clear()
            self._now = max(self._now, received_at)
            key = keys[place]
            ordinal = ordinals.get((key, which), 0)
            ordinals[key, which] = ordinal + 1
            verdict = verdicts.get((key, ordinal))
            if verdict is None:
                stored = before.get((*_read(key), source, time)) if before and at in redelivered else None
                if stored is not None:
                    verdict = (_NOTHING if stored[1] == source else _RECEPTION), stored[0]
                else:
                    verdict = hear(key, source, time, received_at, taken + place)
                verdicts[key, ordinal] = verdict
                if verdict[0] == _RECEPTION:
                    receptions.append((verdict[1], received_at, *_read(key), source, at))
            if verdict[0] != _KEEP:
                drop.append(place)
        self._now = max(self._now, int(rows["received_at"].max()))
        if look is not None:
            self._settle(rows, keys, taken, drop)
        return _without(observations, rows[drop], receptions)

    def restore(self, heard: Table) -> None:
        """Be as after having heard stored rows: those received in the last span are enough.

        Who else has heard them is not asked: whoever hears one again leaves a RECEPTION row that is there already.

        Args:
            heard: rows of transmissions as first heard; any table with ``transponder``, ``digest``, ``source``,
                ``time`` and ``received_at``.
        """
        rows = heard[np.argsort(heard["received_at"], kind="stable")]
        columns = (rows[name].tolist() for name in ("source", "time", "received_at"))
        for key, source, time, received_at in zip(_keys(rows), *columns, strict=True):
            self._now = max(self._now, received_at)
            self._hear(key, source, time, received_at)

    # --- many at once

    def _take_in(self, rows: Table, keys: list[_Key]) -> Ints | None:
        """Take all rows in as first hearings that are; the places of those to look at, which have company.

        The number of a row, first hearing or not, is its place on from what was the next one. None, and nothing is
        taken in, where what is known could depend on where within the batch memory is made room.
        """
        received_at = rows["received_at"]
        if received_at[0] < self._last or (np.diff(received_at) < 0).any():
            return None
        if len(self._heard) + len(keys) > self._tidy_at:
            self._tidy(self._last)
            self._tidy_at = min(self._cap, max(_UNTIDY, 2 * (len(self._heard) + len(keys))))
        number = self._next
        found = np.fromiter(
            map(self._heard.setdefault, keys, range(number, number + len(keys))), np.int64, count=len(keys)
        )
        own = found == np.arange(number, number + len(keys))
        again = np.flatnonzero(~own)
        over = len(self._heard) - self._cap
        if over > 0 and (len(again) or over >= len(self._heard) - len(keys)):
            for place in np.flatnonzero(own).tolist():
                del self._heard[keys[place]]
            return None
        self._store(rows)
        self._forget_first(over)
        companions = np.unique(found[again])
        return np.union1d(again, companions[companions >= number] - number)

    def _settle(self, rows: Table, keys: list[_Key], number: int, drop: list[int]) -> None:
        """Put what was taken in from this number on in order, given the places of what was no first hearing."""
        kept = np.ones(len(rows), np.bool_)
        kept[drop] = False
        places = np.flatnonzero(kept)
        if len(places):
            self._last = int(rows["received_at"][places[-1]])
        if self._renewed:
            if len(keys) < len(self._heard) // 2:
                for place in places.tolist():
                    if self._heard.get(keys[place]) == number + place:
                        self._heard.move_to_end(keys[place])
            else:
                self._rearrange()
            self._renewed = False

    def _rearrange(self) -> None:
        """Order all by their numbers, and tidy."""
        keys = list(self._heard)
        numbers = np.fromiter(self._heard.values(), np.int64, count=len(keys))
        order = np.argsort(numbers)
        known = self._last - self._first["received_at"][numbers[order] - self._base] <= self._span
        order = order[known.argmax() if known.any() else len(known) :]
        self._heard = OrderedDict(zip((keys[at] for at in order.tolist()), numbers[order].tolist(), strict=True))
        self._forget_who_else()

    def _hear_again(self, key: _Key, source: int, time: int, received_at: int, number: int) -> _Verdict:
        """What becomes of a row that was taken in with this number."""
        first = self._heard[key]
        if first == number:
            return _KEEP, time
        verdict = self._heard_before(key, first, source, time, received_at)
        if verdict is not None:
            return verdict
        self._heard[key] = number
        self._renewed = True
        return _KEEP, time

    # --- one by one

    # The number is that of a row that was taken in, and here of none.
    def _hear(self, key: _Key, source: int, time: int, received_at: int, number: int = 0) -> _Verdict:  # noqa: ARG002
        first = self._heard.get(key)
        if first is not None:
            verdict = self._heard_before(key, first, source, time, received_at)
            if verdict is not None:
                return verdict
            del self._heard[key]
        self._tidy(received_at)
        if len(self._heard) >= self._cap:
            self._forget_first(len(self._heard) + 1 - self._cap)
            self._tidy(received_at)  # a clock that went back left older ones behind the oldest
        self._heard[key] = self._next
        self._store(np.array([(time, received_at, source)], _FIRST))
        self._last = received_at
        return _KEEP, time

    def _heard_before(self, key: _Key, first: int, source: int, time: int, received_at: int) -> _Verdict | None:
        """What becomes of a hearing if it is not of a transmission of its own; else the latest first one is not that
        any more.
        """
        latest, at, _ = known = self._known(first)
        # An older recording replayed later is not the same hearing.
        near = abs(received_at - at) <= self._span
        if near and abs(time - latest) <= self._span:
            return (_RECEPTION if self._add(first, source) else _NOTHING), latest
        if near and self._earlier:  # where the latest is out of the span, it may be forgotten already: as if it were
            step = time // self._step
            found = []
            for place in ((key, step - 1), (key, step), (key, step + 1)):
                earlier = self._earlier.get(place)
                if earlier is not None and max(abs(received_at - earlier[1]), self._now - earlier[1]) <= self._span:
                    found.append((abs(time - earlier[0]), earlier[0], place))
            if found and min(found)[0] <= self._span:
                _, same, place = min(found)
                return (_RECEPTION if self._add_earlier(place, source) else _NOTHING), same
        self._also.pop(first, None)
        if near:
            self._tidy_earlier()
            self._earlier.pop((key, latest // self._step), None)
            self._earlier[key, latest // self._step] = known
            if len(self._earlier) > self._cap:
                self._earlier.popitem(last=False)
        return None

    # --- what is kept

    def _known(self, number: int) -> _Known:
        time, received_at, source = self._first[number - self._base].tolist()
        return time, received_at, self._also.get(number, (source,))

    def _add(self, number: int, source: int) -> bool:
        """Note who has heard it; False if that was known."""
        heard = self._known(number)[2]
        if source in heard:
            return False
        self._also[number] = (*heard, source)
        return True

    def _add_earlier(self, place: tuple[_Key, int], source: int) -> bool:
        time, received_at, heard = self._earlier[place]
        if source in heard:
            return False
        self._earlier[place] = time, received_at, (*heard, source)
        return True

    def _store(self, rows: Table) -> None:
        """Keep what is to be known of first hearings, from the next number on."""
        at = self._next - self._base
        if at + len(rows) > len(self._first):
            oldest = next(iter(self._heard.values()), self._next)
            self._first = self._first[min(oldest, self._next) - self._base : at].copy()
            self._base, at = self._next - len(self._first), len(self._first)
            self._first.resize(max(1024, 2 * (at + len(rows))), refcheck=False)
        for name in _FIRST.names or ():
            self._first[name][at : at + len(rows)] = rows[name]
        self._next += len(rows)

    def _tidy(self, now: int) -> None:
        """Forget what is out of the span, from the oldest on to the first that is not."""
        received_at = self._first["received_at"]
        for _ in range(_FEW):
            number = next(iter(self._heard.values()), None)
            if number is None or now - int(received_at[number - self._base]) <= self._span:
                return
            self._forget_first(1)
        numbers = np.fromiter(self._heard.values(), np.int64, count=len(self._heard))
        known = now - received_at[numbers - self._base] <= self._span
        self._forget_first(int(known.argmax()) if known.any() else len(known))

    def _tidy_earlier(self) -> None:
        while self._earlier and self._now - next(iter(self._earlier.values()))[1] > self._span:
            self._earlier.popitem(last=False)

    def _forget_first(self, count: int) -> None:
        if count <= len(self._heard) // 2:
            for _ in range(count):
                self._also.pop(self._heard.popitem(last=False)[1], None)
        else:  # what is left is fewer
            self._heard = OrderedDict(islice(self._heard.items(), count, None))
            self._forget_who_else()

    def _forget_who_else(self) -> None:
        """Forget who has heard what is forgotten."""
        oldest = next(iter(self._heard.values()), self._next)
        for number in [number for number in self._also if number < oldest]:
            del self._also[number]


def _keys(rows: Table) -> list[_Key]:
    pair = np.empty((len(rows), 2), np.int64)
    pair[:, 0], pair[:, 1] = rows["transponder"], rows["digest"]
    keys: list[_Key] = pair.view("V16").ravel().tolist()
    return keys


def _read(key: _Key) -> Iterator[int]:
    """Transponder and digest."""
    return map(int, np.frombuffer(key, np.int64))


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


def _firsts(known: Table) -> dict[tuple[int, ...], tuple[int, int]]:
    """Time and source of the first hearing, by what a row says of itself."""
    said, first = ("transponder", "digest", "source", "time"), ("first_time", "first_source")
    keys, values = (zip(*(known[name].tolist() for name in names), strict=True) for names in (said, first))
    return dict(zip(keys, values, strict=True))
