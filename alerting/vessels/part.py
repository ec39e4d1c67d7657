"""The detectors of what vessels do, as one part of the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alerting.vessels.fixes import entries
from alerting.vessels.gaps import Gaps
from alerting.vessels.kinds import Kinds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from alerting.heard import Heard
    from alerting.hearing import Hearing
    from alerting.model import RuleState
    from alerting.names import Names
    from alerting.outcome import Outcome, Ruled
    from alerting.ships import ShipTypes
    from geofence.zones import Zone


class Vessels:
    """All rules on vessels but those on zones. To be judged before the batch's ship types are learnt.

    Raises:
        ValueError: a rule speaks of a zone that is not there.
    """

    def __init__(
        self, ruled: Sequence[Ruled], zones: Sequence[Zone], names: Names, hearing: Hearing, ships: ShipTypes
    ) -> None:
        self._ships = ships
        self._gaps = Gaps(ruled, zones, names, hearing)

    def restore(self, positions: NDArray[np.void], first_seen: Mapping[int, int]) -> None:
        """Take up where everyone was (POSITION rows, one each)."""
        self._gaps.restore(positions, first_seen)

    def take_up(self, state: RuleState) -> bool:
        """Go on with what was under way; False if no detector knows it."""
        return self._gaps.take_up(state)

    def judge(self, heard: Heard, out: Outcome) -> None:
        """Judge rows in arrival order, then what is due."""
        if not self._gaps:
            return
        positions = heard.observations.positions
        found = entries(heard.advance, positions)
        kinds = Kinds(self._ships, heard.observations.statics)
        self._gaps.judge(found, positions, kinds, heard.now, out)
