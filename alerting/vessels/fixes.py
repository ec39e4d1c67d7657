"""The judged fixes of a stretch of a batch, in arrival order, each beside the one before it of its transponder."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from decoders.records import NULL_I1
from geofence.moves import Stretch
from geofence.sphere import all_metres

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from numpy.typing import NDArray

    from geofence.tracks import Advance, Forgotten

    Table = NDArray[np.void]
    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]

#: As the time before: there was no fix before.
NEVER: Final = -(2**62)


class Fix(NamedTuple):
    """One judged fix. Microseconds UTC, degrees, knots; None is not available."""

    row: int  # of the positions table
    message: int
    transponder: int
    time: int
    received: int
    source: int
    lon: float
    lat: float
    sog: float | None
    cog: float | None
    nav_status: int | None
    before: tuple[int, float, float] | None  # time, lon, lat of the one before


class Fixes:
    """Columns by arrival; ``fix`` takes one row out for a decision."""

    def __init__(self, stretch: Stretch, positions: Table) -> None:
        here = np.flatnonzero(stretch.row >= 0)
        here = here[np.argsort(stretch.row[here], kind="stable")]
        self.row: Ints = stretch.row[here]
        self.transponder: Ints = stretch.transponder[here]
        self.message: Ints = stretch.message[here]
        self.time: Ints = stretch.time[here]
        self.lon: Floats = stretch.lon[here]
        self.lat: Floats = stretch.lat[here]
        ahead = np.maximum(here - 1, 0)
        known = (here > 0) & (stretch.transponder[ahead] == self.transponder)
        self.before_time: Ints = np.where(known, stretch.time[ahead], NEVER)
        self.before_lon: Floats = np.where(known, stretch.lon[ahead], self.lon)
        self.before_lat: Floats = np.where(known, stretch.lat[ahead], self.lat)
        self._positions = positions

    def __len__(self) -> int:
        return len(self.row)

    @cached_property
    def received(self) -> Ints:
        out: Ints = self._positions["received_at"][self.row]
        return out

    @cached_property
    def source(self) -> Ints:
        out: Ints = self._positions["source"][self.row]
        return out

    @cached_property
    def nav_status(self) -> NDArray[np.int8]:
        out: NDArray[np.int8] = self._positions["nav_status"][self.row]
        return out

    @cached_property
    def sog(self) -> Floats:
        out: Floats = self._positions["sog"][self.row]
        return out

    @cached_property
    def cog(self) -> Floats:
        out: Floats = self._positions["cog"][self.row]
        return out

    @cached_property
    def metres(self) -> Floats:
        """From the fix before."""
        return all_metres(self.before_lon, self.before_lat, self.lon, self.lat)

    def about(self, *groups: Collection[int]) -> NDArray[np.bool_]:
        """Which rows are of a transponder that is in any of these groups: sets, or dictionaries by transponder."""
        mask = np.zeros(len(self), bool)
        for group in groups:
            mask |= among(self.transponder, group)
        return mask

    def fix(self, i: int) -> Fix:
        """The row in place ``i``."""
        record = self._positions[int(self.row[i])]
        sog, cog, status = float(record["sog"]), float(record["cog"]), int(record["nav_status"])
        before = int(self.before_time[i])
        return Fix(
            row=int(self.row[i]),
            message=int(self.message[i]),
            transponder=int(self.transponder[i]),
            time=int(self.time[i]),
            received=int(record["received_at"]),
            source=int(record["source"]),
            lon=float(self.lon[i]),
            lat=float(self.lat[i]),
            sog=None if sog != sog else sog,  # noqa: PLR0124  # NaN
            cog=None if cog != cog else cog,  # noqa: PLR0124
            nav_status=None if status == NULL_I1 else status,
            before=None if before == NEVER else (before, float(self.before_lon[i]), float(self.before_lat[i])),
        )

    def each(self, mask: NDArray[np.bool_]) -> Iterator[Fix]:
        """The rows of a mask, in arrival order."""
        for i in np.flatnonzero(mask).tolist():
            yield self.fix(i)


def among(transponders: Ints, group: Collection[int]) -> NDArray[np.bool_]:
    """Which of these are in a group, a set or a dictionary; as much work as the smaller of the two is large."""
    if len(group) > len(transponders):
        return np.fromiter((name in group for name in transponders.tolist()), bool, len(transponders))
    return np.isin(transponders, np.fromiter(group, np.int64, len(group)))


def entries(advance: Advance, positions: Table) -> list[Fixes | Forgotten]:
    """What came of a batch, in arrival order."""
    return [Fixes(entry, positions) if isinstance(entry, Stretch) else entry for entry in advance.log]
