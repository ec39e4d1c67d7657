"""Sea and environment together: boats near a buoy in strong wind, boats too far from it, and wind without boats."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from quality.scenario import MINUTE, SECOND, START, Expected, Scenario, together
from quality.scenarios.sensors import series
from quality.scenarios.stage import SEA, WIRES, Wire, played, sailed
from simulators.kinematics import rhumb, sail

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from quality.scenarios.stage import Way
    from simulators.actors import Actor
    from simulators.events import Event
    from simulators.kinematics import Place

#: The buoy that boats come to, and one that has wind and no boats.
_BUOYS: Final[dict[str, Place]] = {"gw-3/buoy-1": SEA, "gw-3/buoy-2": (108.30, 17.10)}
#: As the rule says.
_WITHIN_M: Final = 20_000.0
_HOURS: Final = 13.0


def scenarios(seed: int) -> Sequence[Scenario]:
    """Each clean and noisy, by AIS and by VMS."""
    out = []
    for noisy in (False, True):
        for wire in WIRES:
            boats = _boats(wire)
            # From when on the second of them is near, for the wind is there already.
            since = sorted(_near_from(boat.way) for boat in boats[:2])[1]
            give = wire.give + 15 * MINUTE
            out.append(
                Scenario(
                    f"boats-in-wind-{wire.name}{'-noisy' if noisy else ''}",
                    noisy,
                    partial(_events, boats, seed, noisy=noisy),
                    [Expected("combined", "gw-3/buoy-1", since, give)],
                    _BUOYS,
                )
            )
    return out


def _boats(wire: Wire) -> list[Actor]:
    """Two that come near the first buoy in turn and go on, and one that passes 14 nm off."""
    ways = [
        sailed(hour * 3600.0, 5.0, *(sail(sail(SEA, 20.0, off), 90.0, east) for east in range(-40_000, 40_001, 5000)))
        for hour, off in ((2, 3000.0), (3, 6000.0), (2, 26_000.0))
    ]
    return [wire.actor(70 + n, way) for n, way in enumerate(ways)]


def _near_from(way: Way) -> int:
    """When a way first comes within the distance of the first buoy, microseconds."""
    for (t0, a), (t1, b) in pairwise(way):
        for step in range(100):
            lon, lat = (a[axis] + (b[axis] - a[axis]) * step / 100 for axis in (0, 1))
            if rhumb((lon, lat), SEA)[1] <= _WITHIN_M:
                return START + round((t0 + (t1 - t0) * step / 100) * SECOND)
    raise ValueError("the way does not lead there")


def _wind(hours: float) -> float:
    """Strong from the third hour to the twelfth."""
    return 13.5 if 3.0 <= hours < 12.0 else 5.0


def _events(boats: Sequence[Actor], seed: int, *, noisy: bool) -> Iterator[Event]:
    of, sigma = (seed, 0.5) if noisy else (None, 0.0)
    winds = [series(name, "wind_speed", _wind, _HOURS, decimals=1, sigma=sigma, seed=of) for name in _BUOYS]
    return together(*winds, played(boats, _HOURS * 3600, seed, noisy=noisy))
