"""Two vessels under one identity, kept apart: each of their tracks is judged by itself.

Else what is one vessel by its number goes to and fro between two places, and with every fix enters a zone, leaves it,
calls at a port. Tracks part where a fix cannot be reached from the one before. They are two once fixes have come to and
fro often enough (``TURNS``, ``LEAST`` on each): a single position that is wrong, several in a row, or a vessel that
goes on from elsewhere part nothing. From then on each fix belongs to the track that it can be reached from, the nearer
one if both; one that can be reached from neither belongs to nobody and is passed over.

One track keeps the number; the other goes by ``second(number)``, which no transponder has. It is first seen with its
first fix from then on, and forgotten when one of the two was not heard for ``OVER``: what is left keeps the number.

What there is to know is small and kept by number (``Apart.state``), so a restart changes nothing.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from decoders.identity import is_ais, is_vessel
from geofence.moves import HOUR, Fix, Stretch
from geofence.sphere import KNOT, metres
from geofence.tracks import SLOT, Advance, Forgotten

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

    from geofence.moves import Move
    from geofence.tracks import Tracks

#: Knots between two fixes above which they are not of one vessel (Global Fishing Watch filters such), unless they are
#: nearer to each other than errors of position and of clocks may be.
MAX_SPEED: Final = 50.0
MIN_DISTANCE: Final = 2000.0
#: Fixes on each track, and how often they went over from one to the other, for two tracks to be two vessels.
LEAST: Final = 3
TURNS: Final = 3
#: A vessel that sends AIS is heard again within this: until tracks are known to be two, what is not was none.
CHAIN: Final = HOUR // 2
OVER: Final = 6 * HOUR


def second(transponder: int) -> int:
    """What the second track of a transponder goes by."""
    return ~transponder


def owner(transponder: int) -> int:
    """The transponder that a track is of."""
    return transponder if transponder >= 0 else ~transponder


@dataclass(slots=True)
class _Side:
    time: int
    lon: float
    lat: float
    fixes: int

    def reach(self, fix: Fix) -> float | None:
        """Metres to a fix; None if they cannot be sailed in the time between."""
        away = metres(self.lon, self.lat, fix.lon, fix.lat)
        limit = max(MIN_DISTANCE, MAX_SPEED * KNOT * abs(fix.time - self.time) / 1e6)
        return away if away <= limit else None

    def move(self, fix: Fix) -> None:
        self.time, self.lon, self.lat, self.fixes = fix.time, fix.lon, fix.lat, self.fixes + 1

    @property
    def fix(self) -> Fix:
        return Fix(self.time, self.lon, self.lat)


@dataclass(slots=True)
class _Parting:
    """Two tracks, the old one and that begun when they parted. ``two``: they are two vessels, and *a* has the number.

    ``seen``: so was *b* since.
    """

    a: _Side
    b: _Side
    on_a: bool = False
    turns: int = 0
    two: bool = False
    seen: bool = False

    def over(self, time: int, after: int) -> bool:
        """Whether one of the two was not heard for too long."""
        return time - min(self.a.time, self.b.time) > after

    def take(self, fix: Fix) -> _Side | None:
        """Put a fix to its track, and say which that is."""
        side = self._side(fix)
        if side is None and not self.two and self.b.fixes <= 1:
            self.b = _Side(fix.time, fix.lon, fix.lat, 1)
        if side is not None:
            self.turns += self.on_a is not (side is self.a)
            self.on_a = side is self.a
            side.move(fix)
        return side

    def _side(self, fix: Fix) -> _Side | None:
        to_a, to_b = self.a.reach(fix), self.b.reach(fix)
        if to_a is None and to_b is None:
            return None
        return self.a if to_b is None or (to_a is not None and to_a <= to_b) else self.b


#: Stands for: two tracks are one again, with this fix. No transponder has it.
_ONE_AGAIN: Final = -(2**63)
_COLUMNS: Final = ("transponder", "row", "message", "time", "lon", "lat", "zones", "restored")


class _Told(Advance):
    """What came of a batch with tracks kept apart. ``ends``: where the tracks of a number are after it."""

    def __init__(self, tracks: Tracks, ends: Mapping[int, Fix]) -> None:
        super().__init__(tracks)
        self._ends = ends

    def last(self, transponder: int) -> tuple[Fix, tuple[str, ...]] | None:
        if (fix := self._ends.get(transponder)) is not None:
            return fix, self._tracks.around(fix)
        return super().last(transponder) if transponder >= 0 else None


class Apart:
    """Of all numbers those whose tracks have parted."""

    def __init__(self, tracks: Tracks) -> None:
        self._tracks = tracks
        self._parted: dict[int, _Parting] = {}
        self._changed: set[int] = set()
        self._gone: dict[int, _Side] = {}  # where second tracks ended, of the stretch that is looked at

    # --- what is kept

    def state(self) -> list[tuple[int, dict[str, Any] | None]]:
        """Numbers and what to keep of each, of those for which that has changed since; None: nothing. JSON-ready."""
        found = [(name, self._parted.get(name)) for name in sorted(self._changed)]
        self._changed.clear()
        return [(name, None if parted is None else asdict(parted)) for name, parted in found]

    def restore(self, transponder: int, state: Mapping[str, Any]) -> None:
        """Take up what ``state`` said."""
        said = {**state, "a": _Side(**state["a"]), "b": _Side(**state["b"])}
        self._parted[transponder] = _Parting(**said)

    def _ends(self) -> dict[int, Fix]:
        ends = {}
        for name, parted in self._parted.items():
            if parted.two:
                ends[name] = parted.a.fix
                if parted.seen:
                    ends[second(name)] = parted.b.fix
        return ends

    def last(self, transponder: int) -> tuple[Fix, tuple[str, ...]] | None:
        """The last fix of a track, and the zones around it."""
        return _Told(self._tracks, self._ends()).last(transponder)

    def within(self, zones: Container[str]) -> list[tuple[int, Fix, tuple[str, ...]]]:
        """Which tracks are in any of these zones, by transponder: the last fix, and all zones around it."""
        ends = self._ends()
        found = [one for one in self._tracks.within(zones) if one[0] not in ends]
        apart = [(name, fix, self._tracks.around(fix)) for name, fix in ends.items()]
        return sorted(
            [*found, *(one for one in apart if any(zone in zones for zone in one[2]))], key=lambda one: one[0]
        )

    # --- rows

    def advance(self, told: Advance) -> Advance:
        """What came of a batch, with tracks kept apart."""
        log: list[Stretch | Forgotten] = []
        moves: list[Move] = list(told.moves)
        touched = False
        for entry in told.log:
            if isinstance(entry, Forgotten):
                log.append(self._forget(entry))
                continue
            asked = self._asked(entry)
            if not asked:
                log.append(entry)
                continue
            touched = True
            stretch, forgotten = self._divide(entry, asked)
            gone = set(entry.row[np.isin(entry.transponder, asked)].tolist())
            moves = [move for move in moves if move.row not in gone]
            moves += self._tracks.moves(_of(stretch, [*asked, *map(second, asked)]))
            log += [stretch, *forgotten]
        if not touched and not self._parted:
            return told
        out = _Told(self._tracks, self._ends())
        for entry in log:
            if isinstance(entry, Stretch):
                out.add(entry, [], 0)
            else:
                out.forget(entry)
        out.moves, out.late = sorted(moves, key=lambda move: move.row), told.late
        return out

    def _asked(self, stretch: Stretch) -> list[int]:
        """Whose rows are to be looked at one by one, ascending."""
        same = np.flatnonzero((stretch.transponder[1:] == stretch.transponder[:-1]) & (stretch.row[1:] >= 0)) + 1
        before = same - 1
        north = (stretch.lat[same] - stretch.lat[before]) * 111_000.0
        east = ((stretch.lon[same] - stretch.lon[before] + 540.0) % 360.0 - 180.0) * 111_000.0
        east *= np.cos(np.radians(stretch.lat[same]))
        taken = (stretch.time[same] - stretch.time[before]) / 1e6
        limit = np.maximum(MIN_DISTANCE, MAX_SPEED * KNOT * taken) * 0.98  # the plane is not the sphere
        far = same[north * north + east * east > limit * limit]
        found = {name for name in stretch.transponder[far].tolist() if is_vessel(name)}
        if self._parted:
            heard = np.array(sorted(self._parted), np.int64)
            found |= set(heard[np.isin(heard, stretch.transponder)].tolist())
        return sorted(found)

    def _divide(self, stretch: Stretch, asked: Sequence[int]) -> tuple[Stretch, list[Forgotten]]:
        """The stretch with the rows of some numbers by track; and who was forgotten in it, which takes effect there."""
        names, keep = stretch.transponder.copy(), np.ones(len(stretch.row), bool)
        time, lon, lat = stretch.time.copy(), stretch.lon.copy(), stretch.lat.copy()
        ends: list[tuple[int, Fix]] = []  # second tracks as they were before
        forgotten: list[Forgotten] = []
        self._gone.clear()
        for name in asked:
            low, high = np.searchsorted(stretch.transponder, (name, name + 1)).tolist()
            parted = self._parted.get(name)
            if parted is not None and parted.two:
                if parted.seen:
                    ends.append((second(name), parted.b.fix))
                if stretch.row[low] < 0:
                    time[low], lon[low], lat[low] = parted.a.time, parted.a.lon, parted.a.lat
                else:
                    ends.append((name, parted.a.fix))
            for i in range(low, high):
                if stretch.row[i] < 0:
                    continue
                track = self._follow(name, stretch.fix(i), stretch.fix(i - 1) if i > low else None)
                if track is None:
                    keep[i] = False
                elif track == _ONE_AGAIN:
                    state = np.zeros(1, SLOT)
                    other = self._gone[name]
                    state["transponder"], state["time"] = second(name), other.time
                    state["lon"], state["lat"] = other.lon, other.lat
                    forgotten.append(Forgotten(int(stretch.row[i]), int(stretch.message[i]), state, one_again=True))
                else:
                    names[i] = track
        parts = {key: getattr(stretch, key)[keep] for key in _COLUMNS}
        parts |= {"transponder": names[keep], "time": time[keep], "lon": lon[keep], "lat": lat[keep]}
        more = {
            "transponder": [name for name, _ in ends],
            "row": [-1] * len(ends),
            "message": [-1] * len(ends),
            "time": [fix.time for _, fix in ends],
            "lon": [fix.lon for _, fix in ends],
            "lat": [fix.lat for _, fix in ends],
        }
        none = [0] * len(ends)
        joined = {
            key: np.concatenate([np.array(more.get(key, none), column.dtype), column]) for key, column in parts.items()
        }
        order = np.argsort(joined["transponder"], kind="stable")
        joined = {key: column[order] for key, column in joined.items()}
        ahead = joined["row"] < 0
        joined["zones"][ahead] = self._tracks.index.locate(joined["lon"][ahead], joined["lat"][ahead])
        return Stretch(**joined), forgotten

    def _follow(self, name: int, fix: Fix, before: Fix | None) -> int | None:
        """What a fix goes by; None: nothing, it is nobody's. ``before``: the fix before it of the same number."""
        parted = self._parted.get(name)
        if parted is not None and not parted.two and parted.over(fix.time, CHAIN if is_ais(name) else OVER):
            del self._parted[name]  # one was wrong, or the vessel has gone on from the other
            self._changed.add(name)
            parted = None
        if parted is None:
            if before is not None:
                a = _Side(before.time, before.lon, before.lat, 0)
                if a.reach(fix) is None:
                    self._parted[name] = _Parting(a, _Side(fix.time, fix.lon, fix.lat, 1))
                    self._changed.add(name)
            return name
        self._changed.add(name)
        side = parted.take(fix)
        if parted.two and parted.over(fix.time, OVER):
            del self._parted[name]
            self._gone[name] = parted.b
            return _ONE_AGAIN if parted.seen else name
        if not parted.two:
            if min(parted.a.fixes, parted.b.fixes) < LEAST or parted.turns < TURNS:
                return name
            parted.two = True
        if side is None:
            return None
        if side is parted.a:
            return name
        parted.seen = True
        return second(name)

    def _forget(self, forgotten: Forgotten) -> Forgotten:
        """Second tracks are forgotten with the first."""
        gone = sorted(set(self._parted) & set(forgotten.state["transponder"].tolist()))
        if not gone:
            return forgotten
        more = np.zeros(len(gone), SLOT)
        for n, name in enumerate(gone):
            other = self._parted.pop(name).b
            more[n]["transponder"], more[n]["time"] = second(name), other.time
            more[n]["lon"], more[n]["lat"] = other.lon, other.lat
            self._changed.add(name)
        return replace(forgotten, state=np.sort(np.concatenate([more, forgotten.state]), order="transponder"))


def _of(stretch: Stretch, transponders: Sequence[int]) -> Stretch:
    """The part of a stretch that is of some transponders."""
    mine = np.isin(stretch.transponder, np.array(transponders, np.int64))
    return Stretch(**{key: getattr(stretch, key)[mine] for key in _COLUMNS})
