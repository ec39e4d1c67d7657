"""One rule on one zone, and what a row is to it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

from alerting.judging.outcome import Order
from alerting.rules import AHEAD, Condition, window
from alerting.zones.sides import Reading
from geofence.boundary import Boundary

if TYPE_CHECKING:
    from alerting.judging.outcome import Ruled
    from alerting.rules import ZoneRule
    from geofence.moves import Fix
    from geofence.zones import Zone

RESOLVE, FIRE = 0, 1
_ATTENTIVE: Final = frozenset({Condition.DWELL, Condition.SPEED}) | AHEAD


class Place:
    """A zone, with what is worked out once for all rules on it."""

    def __init__(self, zone: Zone) -> None:
        self.zone = zone
        self.version = zone.version

    @cached_property
    def boundary(self) -> Boundary:
        return Boundary(self.zone.geometry)


class Fence:
    """One rule on one zone."""

    def __init__(self, ruled: Ruled, rule: ZoneRule, place: Place) -> None:
        self.ruled, self.rule, self.place, self.zone = ruled, rule, place, place.zone
        start, end = window(self.zone.valid_from, self.zone.valid_to, rule.utc_offset)
        self.start, self.end = max(start, ruled.start), min(end, ruled.end)
        self.key = (rule.id, self.zone.id)
        #: Whether fixes may count though they change nothing about the zones around the vessel.
        self.attentive = rule.settles or rule.exit_buffer_m > 0 or rule.condition in _ATTENTIVE

    def in_force(self, time: int) -> bool:
        return self.start <= time < self.end and self.ruled.in_force(time)

    def __lt__(self, other: Fence) -> bool:
        return (self.ruled.number, self.zone.id) < (other.ruled.number, other.zone.id)

    def reading(self, fix: Fix, *, within: bool, sog: float | None) -> Reading:
        """What a fix says; ``sog``: its speed in knots, where known."""
        if not within:
            near = self.rule.exit_buffer_m > 0 and self.distance(fix) <= self.rule.exit_buffer_m
            return Reading.BETWEEN if near else Reading.OUT
        if self.rule.condition is not Condition.SPEED:
            return Reading.IN
        if sog is None:
            return Reading.BETWEEN
        low, high = self.rule.min_sog, self.rule.max_sog
        return Reading.IN if (low is None or sog >= low) and (high is None or sog <= high) else Reading.OUT

    def distance(self, fix: Fix) -> float:
        """Metres from a fix to the zone's boundary."""
        return self.place.boundary.distance(fix.lon, fix.lat)


@dataclass(slots=True, frozen=True)
class Cause:
    """The row that something follows from."""

    received: int
    message: int
    kind: int
    row: int

    def order(self, fence: Fence, step: int) -> Order:
        return Order(self.received, False, self.message, self.kind, self.row, fence.ruled.number, fence.zone.id, step)
