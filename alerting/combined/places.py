"""Where subjects are, at the point of a batch that judging has come to."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from alerting.model import SubjectKind

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from alerting.judging.heard import Heard
    from alerting.registry.names import Names
    from alerting.registry.register import Registry

#: Kind and id of a subject.
Who = tuple[SubjectKind, int]
#: When something was known, and whether by a deadline: the first fields of ``alerting.judging.outcome.Order``.
Instant = tuple[int, bool]


class Place(NamedTuple):
    """Degrees, WGS 84; ``seen``: event time of the fix, None where it was not sent but entered."""

    lon: float
    lat: float
    seen: int | None


class Places:
    """Places of vessels by their last judged fix, of devices by the registry.

    Of vessels that are *followed* every fix is told as it is come to (``moved``), so that what is known of them is kept
    from batch to batch. Others are looked up in the tracks.
    """

    def __init__(self, names: Names, registry: Registry) -> None:
        self._names, self._registry = names, registry
        self._known: dict[int, Place | None] = {}  # of vessels followed
        self._followed: AbstractSet[int] = frozenset()
        self._heard: Heard | None = None
        self._known_until = 0  # receive time

    def begin(self, heard: Heard, followed: AbstractSet[int]) -> None:
        """Stand before the first row of a batch."""
        self._heard, self._known_until = heard, -(2**62)
        if followed != self._followed:
            self._known = {vessel: place for vessel, place in self._known.items() if vessel in followed}
            self._followed = followed

    def stand(self, instant: Instant) -> None:
        """Stand at an instant, after everything that was known at it."""
        self._known_until = instant[0]

    def moved(self, vessel: int, place: Place | None) -> None:
        """A vessel that is followed is there now; None: nobody remembers where it was."""
        self._known[vessel] = place

    def of(self, who: Who) -> Place | None:
        """Where a subject is; None if that is not known."""
        kind, number = who
        if kind is SubjectKind.DEVICE:
            site = self._registry.site(self._names.device_name(number))
            place = None if site is None else site.place
            return None if place is None else Place(*place, None)
        if kind is not SubjectKind.TRANSPONDER:
            return None
        if number in self._known:
            return self._known[number]
        assert self._heard is not None
        followed = number in self._followed
        # Of those followed, had there been a row up to here, it would have been told.
        last = self._heard.advance.before(number, 0 if followed else self._row())
        found = None if last is None else Place(last[0].lon, last[0].lat, last[0].time)
        if followed:
            self._known[number] = found
        return found

    def _row(self) -> int:
        """The first row of the batch's positions that is not known yet."""
        assert self._heard is not None
        return int(self._heard.observations.positions["received_at"].searchsorted(self._known_until, side="right"))
