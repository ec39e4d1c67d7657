"""Where every transponder was last: its last judged fix, as columns of some hundred bytes each.

``Tracks`` puts each row of a batch beside the fix before it, hands on those worth a decision (``geofence.moves``), in
arrival order, and keeps the last ones.

* Late rows (``geofence.order``) are counted and not judged.
* The first fix of a transponder outside every zone is handed on if something is held about it all the same
  (``expect``).
* At ``capacity`` an eighth is forgotten at once, when a transponder arrives for which there is no room: first of those
  never heard again ``SETTLED`` after their first fix, then of those in no zone, and among equals the longest unheard.
  So a flood of identities made up once each pushes out nobody but its own, and which ones go depends on arrival order
  alone. Who is forgotten is told (``Advance.forgotten``): what is held about them elsewhere must end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from geofence.moves import Fix, Move, MoveFinder, Stretch
from geofence.order import in_order
from geofence.sets import NOWHERE
from geofence.slots import Slots

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from numpy.typing import NDArray

    Table = NDArray[np.void]
    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

#: Transponders remembered, where nobody says otherwise: half as many again as send AIS at any time in the world.
CAPACITY: Final = 300_000
#: Event time between two fixes of one transponder after which it counts as one that is really there.
SETTLED: Final = 60_000_000

SLOT: Final = np.dtype(
    [
        ("transponder", "i8"),
        ("time", "i8"),
        ("lon", "f8"),
        ("lat", "f8"),
        ("first", "i8"),  # time of its first fix
        ("heard", "i8"),  # arrival number of the last judged row
        ("zones", "i4"),  # ZoneIndex set
        ("restored", "?"),  # not moved since a restart: what holds is to be looked at once more
    ]
)


@dataclass(slots=True, frozen=True)
class Forgotten:
    """Who was forgotten for want of room, just before a row was judged. ``state``: SLOT rows by transponder.

    ``one_again``: or the second of two vessels under one identity, for one of the two is not heard any more.
    """

    row: int  # of the positions table
    message: int
    state: NDArray[np.void]
    one_again: bool = False

    @property
    def reason(self) -> str:
        """As alerts say it."""
        return "one_track_left" if self.one_again else "forgotten"

    def fixes(self, of: Container[int]) -> list[tuple[int, Fix]]:
        """The last fix of each that is among these, by transponder."""
        columns = (self.state[name].tolist() for name in ("transponder", "time", "lon", "lat"))
        return [(transponder, Fix(*fix)) for transponder, *fix in zip(*columns, strict=True) if transponder in of]


class Advance:
    """What came of one batch: the moves worth a decision, and where everyone was at any point of it."""

    def __init__(self, tracks: Tracks) -> None:
        self.moves: list[Move] = []
        self.late = 0
        self._tracks = tracks
        self._log: list[Stretch | Forgotten] = []

    @property
    def stretches(self) -> list[Stretch]:
        """Every judged fix of the batch beside the one before it, in arrival order of the stretches."""
        return [entry for entry in self._log if isinstance(entry, Stretch)]

    @property
    def log(self) -> Sequence[Stretch | Forgotten]:
        """Stretches, and who was forgotten between them, in arrival order."""
        return self._log

    @property
    def forgotten(self) -> list[Forgotten]:
        return [entry for entry in self._log if isinstance(entry, Forgotten)]

    def forget(self, forgotten: Forgotten) -> None:
        self._log.append(forgotten)

    def others(self, ids: Ints, since: Ints, told: set[int]) -> list[Move]:
        """Rows not in ``told`` of these transponders (ascending) from these event times on, as moves."""
        if not len(ids):
            return []
        moves: list[Move] = []
        for stretch in self.stretches:
            at = np.searchsorted(ids, stretch.transponder).clip(max=len(ids) - 1)
            asked = (ids[at] == stretch.transponder) & (stretch.time >= since[at])
            moves += self.quiet(stretch, asked, told)
        return moves

    def quiet(self, stretch: Stretch, asked: NDArray[np.bool_], told: set[int]) -> list[Move]:
        """Rows of a stretch at which nothing changed, as moves. Rows in ``told`` are left out, and others put in."""
        first = np.r_[True, stretch.transponder[1:] != stretch.transponder[:-1]]
        moves = []
        for i in np.flatnonzero(asked & (stretch.row >= 0)).tolist():
            row = int(stretch.row[i])
            if row in told:
                continue
            told.add(row)
            now = self._tracks.index.zone_set(int(stretch.zones[i]))
            before = None if first[i] else stretch.fix(i - 1)
            moves.append(Move(row, int(stretch.transponder[i]), before, stretch.fix(i), now if before else (), now, ()))
        return moves

    def add(self, judged: Stretch, moves: list[Move], late: int) -> None:
        self._log.append(judged)
        self.moves += moves
        self.late += late

    def last(self, transponder: int) -> tuple[Fix, tuple[str, ...]] | None:
        """The last judged fix of a transponder after the batch, and its zones."""
        return self._tracks.last(transponder)

    def at(self, transponder: int, message: int) -> tuple[Fix, tuple[str, ...]] | None:
        """The last judged fix of a transponder before ``message`` arrived, and its zones; None if there was none."""
        return self._before(transponder, message, by_row=False)

    def before(self, transponder: int, row: int) -> tuple[Fix, tuple[str, ...]] | None:
        """The same, before a row of the positions table was judged: row 0 is before the batch."""
        return self._before(transponder, row, by_row=True)

    def _before(self, transponder: int, limit: int, *, by_row: bool) -> tuple[Fix, tuple[str, ...]] | None:
        known = self.last(transponder)  # as of what comes later than the entry looked at
        for entry in reversed(self._log):
            if isinstance(entry, Forgotten):
                at = int(np.searchsorted(entry.state["transponder"], transponder))
                if at < len(entry.state) and entry.state["transponder"][at] == transponder:
                    if (entry.row if by_row else entry.message) < limit:
                        return None
                    known = self._tracks.told(entry.state[at])
                continue
            low = int(entry.transponder.searchsorted(transponder))
            high = int(entry.transponder.searchsorted(transponder, "right"))
            column = entry.row if by_row else entry.message
            found = low + int(column[low:high].searchsorted(limit)) - 1
            if found >= low:
                known = entry.fix(found), self._tracks.index.zone_set(int(entry.zones[found]))
                if entry.row[found] >= 0:
                    return known
            elif high > low:
                known = None
        return known


class Tracks:
    """The last judged fix of every transponder, against one zone index.

    Args:
        finder: finds what moves do to the zones, and has their index.
        capacity: how many transponders to remember.
    """

    def __init__(self, finder: MoveFinder, *, capacity: int = CAPACITY) -> None:
        if capacity < 1:
            raise ValueError("capacity: at least 1")
        self.index = finder.index
        self.evicted = 0
        self._capacity = capacity
        self._finder = finder
        self._state = np.zeros(min(64, capacity), SLOT)
        self._slots = Slots()
        self._expected: set[int] = set()
        self._arrived = 0

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def nbytes(self) -> int:
        """Bytes of the state, the zone index apart."""
        return self._state.nbytes + self._slots.nbytes

    def restore(self, positions: Table, first: Ints | None = None) -> None:
        """Start from the latest position of each transponder (POSITION rows), those worth most if too many.

        ``first``: [n] the time of the first fix of each, where known; without it all count as heard once.
        """
        first = positions["time"] if first is None else first
        settled = positions["time"] - first >= SETTLED
        order = np.lexsort((positions["transponder"], positions["received_at"], settled))[-self._capacity :]
        order = order[np.lexsort((positions["transponder"][order], positions["received_at"][order]))]
        rows = positions[order]
        if len(np.unique(rows["transponder"])) != len(rows):
            raise ValueError("positions: more than one row for a transponder")
        self._grow(len(rows))
        self._slots.rebuild(rows["transponder"])
        state = self._state[: len(rows)]
        for name in ("transponder", "time", "lon", "lat"):
            state[name] = rows[name]
        state["zones"] = self.index.locate(rows["lon"], rows["lat"])
        state["first"] = first[order]
        state["heard"] = np.arange(len(rows))
        state["restored"] = True
        self._arrived = len(rows)

    def expect(self, transponder: int) -> None:
        """Hand on the first fix of a transponder that is not known, wherever it is."""
        if self.last(transponder) is None:
            self._expected.add(transponder)

    def last(self, transponder: int) -> tuple[Fix, tuple[str, ...]] | None:
        """The last judged fix of a transponder and its zones."""
        slot = self._slots.find_one(transponder)
        if slot < 0:
            return None
        return self.told(self._state[slot])

    def within(self, zones: Container[str]) -> list[tuple[int, Fix, tuple[str, ...]]]:
        """Who is in any of these zones, by transponder: the last judged fix, and all zones around it."""
        state = self._state[: len(self._slots)]
        numbers = [n for n in np.unique(state["zones"]).tolist() if any(z in zones for z in self.index.zone_set(n))]
        found = np.sort(state[np.isin(state["zones"], numbers)], order="transponder")
        return [(int(row["transponder"]), *self.told(row)) for row in found]

    def told(self, state: np.void) -> tuple[Fix, tuple[str, ...]]:
        """Fix and zones of a SLOT row."""
        fix = Fix(int(state["time"]), float(state["lon"]), float(state["lat"]))
        return fix, self.index.zone_set(int(state["zones"]))

    def advance(self, positions: Table) -> Advance:
        """Judge POSITION rows in arrival order."""
        out = Advance(self)
        start = 0
        while start < len(positions):
            stop = self._room(positions["transponder"], start)
            if stop > start:
                self._judge(positions, start, stop, out)
            if stop < len(positions):
                out.forget(Forgotten(stop, int(positions["message"][stop]), self._evict()))
            start = stop
        out.moves.sort(key=lambda move: move.row)
        return out

    def _room(self, ids: Ints, start: int) -> int:
        """The first row from ``start`` that brings a transponder for which there is no room, or the end."""
        free = self._capacity - len(self._slots)
        if len(ids) - start <= free:
            return len(ids)
        names, first = np.unique(ids[start:], return_index=True)
        new = np.sort(first[self._slots.find(names) < 0])
        return len(ids) if len(new) <= free else start + int(new[free])

    def _evict(self) -> NDArray[np.void]:
        """Forget an eighth of the capacity, those worth least; their rows, by transponder."""
        state = self._state[: len(self._slots)]
        settled = state["time"] - state["first"] >= SETTLED
        worth = state["heard"] + (self._arrived + 1) * (2 * settled + (state["zones"] != NOWHERE))
        order = np.argpartition(worth, (going := max(1, self._capacity // 8)) - 1)
        gone = np.sort(state[order[:going]], order="transponder")
        kept = state[np.sort(order[going:])]
        self._state[: len(kept)] = kept
        self._slots.rebuild(kept["transponder"])
        self.evicted += going
        return gone

    def _grow(self, size: int) -> None:
        if size > len(self._state):
            grown = np.zeros(min(self._capacity, max(size, 2 * len(self._state))), SLOT)
            grown[: len(self._state)] = self._state
            self._state = grown

    def _judge(self, positions: Table, start: int, stop: int, out: Advance) -> None:
        rows = positions[start:stop]
        names, which = np.unique(rows["transponder"], return_inverse=True)
        slots = self._slots.find(names)
        known, fresh = np.flatnonzero(slots >= 0), np.flatnonzero(slots < 0)
        slots[fresh] = np.arange(len(self._slots), len(self._slots) + len(fresh))
        self._slots.add(names[fresh])
        self._grow(len(self._slots))

        # The state before comes first within each transponder: every judged row has the one before it beside it.
        before = self._state[slots[known]]
        group = np.concatenate([known, which])
        order = np.argsort(group, kind="stable")
        news = in_order(group[order], np.concatenate([before["time"], rows["time"]])[order])
        order = order[news]
        group = group[order]
        row = order - len(before)
        here = np.flatnonzero(row >= 0)
        lon = np.concatenate([before["lon"], rows["lon"]])[order]
        lat = np.concatenate([before["lat"], rows["lat"]])[order]
        zones = np.concatenate([before["zones"], np.zeros(len(rows), np.int32)])[order]
        zones[here] = self.index.locate(lon[here], lat[here])
        judged = Stretch(
            transponder=names[group],
            row=np.where(row >= 0, row + start, -1),
            message=np.concatenate([np.full(len(before), -1), rows["message"]])[order],
            time=np.concatenate([before["time"], rows["time"]])[order],
            lon=lon,
            lat=lat,
            zones=zones,
            restored=np.concatenate([before["restored"], np.zeros(len(rows), bool)])[order],
        )
        begun = np.flatnonzero(np.r_[True, group[1:] != group[:-1]])
        begun = begun[row[begun] >= 0]
        self._state["first"][slots[group[begun]]] = judged.time[begun]
        out.add(judged, self.moves(judged), int(np.count_nonzero(~news)))

        last = np.flatnonzero(np.r_[group[1:] != group[:-1], True])
        last = last[row[last] >= 0]
        at = slots[group[last]]
        for name in ("transponder", "time", "lon", "lat", "zones"):
            self._state[name][at] = getattr(judged, name)[last]
        self._state["heard"][at] = self._arrived + row[last]
        self._state["restored"][at] = False
        self._arrived += stop - start

    def around(self, fix: Fix) -> tuple[str, ...]:
        """The zones around a place."""
        return self.index.zone_set(int(self.index.locate(np.array([fix.lon]), np.array([fix.lat]))[0]))

    def moves(self, judged: Stretch) -> list[Move]:
        """The rows of a stretch at which something may have changed."""
        return self._finder.find(judged, self._expected)
