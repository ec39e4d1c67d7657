"""Which transponders are on one hull, by the registry."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from alerting.registry.register import Carried, Registry


class Hulls:
    """The transponders of every registered vessel that carries more than one, if not at one time."""

    def __init__(self, registry: Registry) -> None:
        fitted: dict[str, list[tuple[int, Carried]]] = {}
        for transponder, some in sorted(registry.carried.items()):
            for carried in some:
                fitted.setdefault(carried.vessel.id, []).append((transponder, carried))
        self._registry = registry
        self._fitted = {id_: found for id_, found in fitted.items() if len({name for name, _ in found}) > 1}

    def __bool__(self) -> bool:
        return bool(self._fitted)

    def beside(self, transponder: int, time: int) -> list[int]:
        """The other transponders of the vessel that carries one at an event time, ascending."""
        if not self._fitted:
            return []
        vessel = self._registry.vessel(transponder, time)
        fitted = () if vessel is None else self._fitted.get(vessel.id, ())
        return sorted(
            {name for name, carried in fitted if name != transponder and carried.since <= time < carried.until}
        )
