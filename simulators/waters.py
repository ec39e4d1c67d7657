"""The waters off Huế as the simulated fleet knows them: two ports, the ways out of them, and the lagoon.

Ports are those of the official list of fishing ports; the ways between them and the sea are drawn by hand on the
1:10,000,000 shoreline to keep off the land, and are no sailing directions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from simulators.kinematics import rhumb

if TYPE_CHECKING:
    from simulators.kinematics import Place


@dataclass(slots=True, frozen=True)
class Port:
    """A fishing port: its berth, and the places to pass on the way to open water, nearest first."""

    name: str  # as AIS destination
    berth: Place
    way_out: tuple[Place, ...]


THUAN_AN: Final = Port(
    "THUAN AN",
    (107.643051, 16.552974),
    ((107.6445, 16.5600), (107.6440, 16.5720), (107.6460, 16.5850), (107.6600, 16.6100)),
)
TU_HIEN: Final = Port(
    "TU HIEN",
    (107.901712, 16.336847),
    ((107.9100, 16.3450), (107.9180, 16.3580), (107.9300, 16.3750), (107.9600, 16.4000)),
)

#: Fishing grounds off the coast: within the first 20 nm, east of the straight line of the shore.
GROUNDS: Final[tuple[Place, ...]] = (
    (107.78, 16.70),
    (107.88, 16.76),
    (107.95, 16.63),
    (108.05, 16.70),
    (107.72, 16.80),
    (108.10, 16.55),
)

#: Up the lagoon Tam Giang from Thuận An, westward.
LAGOON_WAY: Final[tuple[Place, ...]] = (
    (107.6400, 16.5660),
    (107.6200, 16.5750),
    (107.6050, 16.5840),
    (107.5950, 16.5885),
    (107.5750, 16.5925),
    (107.5300, 16.6120),
    (107.5000, 16.6260),
    (107.4850, 16.6330),
)

_NEAR_LAGOON_M: Final = 4000.0


def lagoon_reach(place: Place) -> int | None:
    """How many places of the lagoon way lead to ``place``; None where it does not lie by the lagoon.

    The first two places of the way are shared with the inlet and do not make a place one of the lagoon.
    """
    metres, nearest = min((rhumb(point, place)[1], i) for i, point in enumerate(LAGOON_WAY))
    return nearest + 1 if nearest >= 2 and metres < _NEAR_LAGOON_M else None
