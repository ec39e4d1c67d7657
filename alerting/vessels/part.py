"""The detectors of what vessels do, as one part of the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alerting.judging.apart import of_track
from alerting.judging.outcome import POSITIONS
from alerting.model import SubjectKind
from alerting.rules.vessels import (
    CarriedBeaconsRule,
    DistressRule,
    EncounterRule,
    FishingRule,
    IdentityClashRule,
    JumpRule,
    LoiteringRule,
    PortVisitRule,
)
from alerting.vessels.carried import CarriedBeacons
from alerting.vessels.distress import Distress
from alerting.vessels.encounters import Encounters
from alerting.vessels.fishing import Fishing
from alerting.vessels.fixes import Fixes, entries
from alerting.vessels.gaps import Gaps
from alerting.vessels.kinds import Kinds
from alerting.vessels.loitering import Loitering
from alerting.vessels.near import within
from alerting.vessels.partings import Clashes, Jumps
from alerting.vessels.port_visits import PortVisits
from alerting.vessels.teller import When

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from alerting.judging.heard import Heard
    from alerting.judging.hearing import Hearing
    from alerting.judging.outcome import Outcome, Ruled
    from alerting.model import RuleState
    from alerting.registry.names import Names
    from alerting.registry.register import Registry
    from alerting.registry.ships import ShipTypes
    from alerting.rules.vessels import PortRule
    from alerting.vessels.detector import Detector
    from alerting.vessels.near import Near
    from geofence.tracks import Forgotten
    from geofence.zones import Zone


class Vessels:
    """All rules on vessels but those on zones. To be judged before the batch's ship types are learnt.

    Raises:
        ValueError: a rule speaks of a zone that is not there.
    """

    def __init__(
        self,
        ruled: Sequence[Ruled],
        zones: Sequence[Zone],
        names: Names,
        registry: Registry,
        hearing: Hearing,
        ships: ShipTypes,
    ) -> None:
        self._ships, self._registry = ships, registry
        self._gaps = Gaps(ruled, zones, names, registry, hearing)
        self._detectors: dict[str, Detector] = {}
        for r in ruled:
            if (found := _detector(r, zones, names)) is not None:
                self._detectors[r.rule.id] = found

    def restore(self, positions: NDArray[np.void], first_seen: Mapping[int, int]) -> None:
        """Take up where everyone was (POSITION rows, one each)."""
        self._gaps.restore(positions, first_seen)

    def take_up(self, state: RuleState) -> bool:
        """Go on with what was under way; False if no detector knows it."""
        state = of_track(state)
        detector = self._detectors.get(state.rule_id)
        if detector is None:
            return self._gaps.take_up(state)
        return state.subject_kind is SubjectKind.TRANSPONDER and detector.take_up(state)

    def judge(self, heard: Heard, out: Outcome) -> None:
        """Judge rows in arrival order, then what is due."""
        if not self._gaps and not self._detectors:
            return
        observations = heard.observations
        merged = entries(heard.merged, observations.positions)
        apart = merged if heard.advance is heard.merged else entries(heard.advance, observations.positions)
        kinds = Kinds(self._ships, observations.statics, self._registry)
        if self._gaps:
            self._gaps.judge(merged, observations, kinds, heard.now, out)
        for detector in self._detectors.values():
            detector.observations(observations, heard.advance, kinds, out)
            for entry in merged if detector.by_number else apart:
                if isinstance(entry, Fixes):
                    detector.rows(entry, kinds, out)
                else:
                    _forget(detector, entry, int(observations.positions["received_at"][entry.row]), out)
            detector.expire(heard.now, out)


def _detector(  # noqa: PLR0911  # one for each kind
    ruled: Ruled, zones: Sequence[Zone], names: Names
) -> Detector | None:
    """The detector of a rule; None if it is not one for a detector by itself."""
    match ruled.rule:
        case JumpRule():
            return Jumps(ruled, names, ruled.rule)
        case IdentityClashRule():
            return Clashes(ruled, names, ruled.rule)
        case EncounterRule():
            return Encounters(ruled, names, ruled.rule, _ports(ruled.rule, zones))
        case CarriedBeaconsRule():
            return CarriedBeacons(ruled, names, ruled.rule, _ports(ruled.rule, zones))
        case LoiteringRule():
            return Loitering(ruled, names, ruled.rule, within(zones, ruled.rule.away_from, ruled.rule.distance))
        case PortVisitRule():
            ports = within(zones, ruled.rule.ports, ruled.rule.exit)
            return PortVisits(ruled, names, ruled.rule, ports, {zone.id: zone for zone in zones})
        case FishingRule():
            return Fishing(ruled, names, ruled.rule, _ports(ruled.rule, zones))
        case DistressRule():
            return Distress(ruled, names, ruled.rule)
    return None


def _ports(rule: PortRule, zones: Sequence[Zone]) -> Near:
    return within(zones, rule.ports, rule.port_distance)


def _forget(detector: Detector, forgotten: Forgotten, received: int, out: Outcome) -> None:
    held = detector.held()
    if not held:
        return
    gone = forgotten.state["transponder"]
    for transponder in sorted(held & set(gone.tolist())):
        when = When(received, False, forgotten.message, POSITIONS, forgotten.row)
        detector.forget(transponder, when, forgotten.reason, out)
