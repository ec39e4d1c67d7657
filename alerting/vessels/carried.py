"""Carried beacons: several identities that move as one body while under way. One alert for all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from alerting.messages import vessels as messages
from alerting.rules.scope import Scope
from alerting.vessels.groups import Groups
from geofence.apart import owner

if TYPE_CHECKING:
    from alerting.judging.outcome import Ruled
    from alerting.messages import Text
    from alerting.registry.names import Names
    from alerting.rules.vessels import CarriedBeaconsRule
    from alerting.vessels.fixes import Fix
    from alerting.vessels.kinds import Kinds
    from alerting.vessels.near import Near
    from alerting.vessels.pairs import Pair

_KEY: Final = "group"
_LONGER: Final = 4
_CLOSER: Final = 0.2
#: Towing, and tugs: tug and tow move as one.
_TOWING: Final = Scope.model_validate({"ship_types": [31, 32, 52]})
_TOWING_STATUS: Final = (11, 12)


class CarriedBeacons(Groups):
    """A ``carried_beacons`` rule. The alert is about the least id of the body.

    Where reports are hours apart and ways crooked, the two may be farther apart between reports (``pairs``); then more
    is asked: ``_LONGER`` times the time and the path, and to be nearer to each other than that most of the time.
    """

    gives_way = True

    def __init__(self, ruled: Ruled, names: Names, rule: CarriedBeaconsRule, ports: Near) -> None:
        super().__init__(ruled, names, rule, ports, rule.tolerance)
        self._least, self._for, self._path, self._count = rule.min_speed, rule.for_, rule.path, rule.min_fixes

    def suits(self, knots: float) -> bool:
        return knots >= self._least

    def left_out(self, fix: Fix, kinds: Kinds) -> bool:
        if fix.nav_status in _TOWING_STATUS:
            return True
        return (
            self._rule.scope.ship_types is None
            and kinds.matches(_TOWING, fix.transponder, fix.time, message=fix.message) is True
        )

    def ripe(self, pair: Pair) -> bool:
        more = 1
        if pair.slack > self._tolerance:
            more = _LONGER
            if pair.apart > pair.fixes * self._tolerance + pair.given * _CLOSER:
                return False
        far = pair.last - pair.since >= more * self._for and pair.path >= more * self._path
        return far and pair.fixes >= self._count

    def joins(self, pair: Pair) -> bool:
        return pair.fixes > 1

    def place_of(self, pair: Pair, members: set[int]) -> tuple[int, str]:  # noqa: ARG002
        return min(members, key=lambda name: (owner(name), name < 0)), _KEY

    def told(self, vessels: list[str], pair: Pair) -> Text:
        return messages.carried(self.rule, vessels, pair.since, pair.path)

    def told_over(self, vessels: list[str], pair: Pair, at: int) -> Text:  # noqa: ARG002
        return messages.carried_over(self.rule, vessels, at)

    def details(self, pair: Pair) -> dict[str, Any]:  # noqa: ARG002
        return {
            "tolerance_m": self._tolerance,
            "least_path_m": self._path,
            "for_seconds": self._for // 1_000_000,
            "min_speed_kn": self._least,
        }
