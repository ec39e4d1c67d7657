"""Who of some subjects is near whom of others, kept up to date as they come, go and move."""

from __future__ import annotations

from math import floor
from typing import TYPE_CHECKING, Final

from geofence.sphere import METRES_PER_DEGREE, metres

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from alerting.combined.places import Place, Who

#: The two sides: those that a rule is about, and those that are to be near them. Somebody may be on both.
SUBJECTS, OTHERS = 0, 1
#: By how much rounding may make a distance less than its northern part.
_SLACK: Final = 1e-9


class Near:
    """Within so many metres on a sphere, that distance included. What has no place is near nothing.

    Candidates are found by bands of latitude, each as wide as the distance.
    """

    def __init__(self, within_m: float) -> None:
        self._within_m = within_m
        self._band = within_m / METRES_PER_DEGREE * (1 + _SLACK) + _SLACK  # degrees
        self._places: tuple[dict[Who, Place], ...] = ({}, {})
        self._bands: tuple[dict[int, set[Who]], ...] = ({}, {})
        self._near: tuple[dict[Who, set[Who]], ...] = ({}, {})  # by one on a side: who is near it on the other

    def to(self, subject: Who) -> AbstractSet[Who] | None:
        """Who is near a subject; None if it is not one."""
        return self._near[SUBJECTS].get(subject)

    def put(self, side: int, who: Who, place: Place | None) -> set[Who]:
        """One is there now; those on the other side to whom it became near, or is no longer."""
        mine, theirs = self._near[side], self._near[1 - side]
        self._leave(side, who)
        before = mine.get(who, set())
        now: set[Who] = set()
        if place is not None:
            band = floor(place.lat / self._band)
            there = self._places[1 - side]
            for one in (band - 1, band, band + 1):
                for other in self._bands[1 - side].get(one, ()):
                    far = metres(place.lon, place.lat, there[other].lon, there[other].lat)
                    if far <= self._within_m:
                        now.add(other)
            self._places[side][who] = place
            self._bands[side].setdefault(band, set()).add(who)
        mine[who] = now
        changed = before ^ now
        for other in changed:
            theirs[other] ^= {who}
        return changed

    def drop(self, side: int, who: Who) -> set[Who]:
        """One is no longer on a side; those on the other side to whom it was near."""
        self._leave(side, who)
        before = self._near[side].pop(who, set())
        for other in before:
            self._near[1 - side][other].discard(who)
        return before

    def _leave(self, side: int, who: Who) -> None:
        place = self._places[side].pop(who, None)
        if place is not None:
            band = floor(place.lat / self._band)
            self._bands[side][band].discard(who)
            if not self._bands[side][band]:
                del self._bands[side][band]
