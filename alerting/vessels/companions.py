"""Several transponders on one hull: it is silent when all of them are, and that is over when any of them is heard."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alerting.registry.hulls import Hulls
from alerting.vessels.fixes import among

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from collections.abc import Set as AbstractSet

    import numpy as np
    from numpy.typing import NDArray

    from alerting.registry.register import Registry
    from alerting.vessels.last_heard import LastHeard

    #: Of which transponder, by which rule.
    Silence = tuple[int, int]


class Companions:
    """Who is on one hull, and whose silence waits for whom.

    Args:
        by_hull: by rule, whether it is about hulls; else each transponder is silent by itself.
    """

    def __init__(self, registry: Registry, by_hull: Sequence[bool], heard: LastHeard) -> None:
        self._hulls, self._by_hull, self._heard = Hulls(registry), by_hull, heard
        self._over: dict[int, set[Silence]] = {}
        self._waiting: dict[int, set[Silence]] = {}

    def beside(self, slot: int, number: int) -> list[int]:
        """The slots of the others on the hull of one, if the rule is about hulls; those that were heard."""
        if not self._hulls or not self._by_hull[number]:
            return []
        last = self._heard.at(slot)
        found = [self._heard.slot(other) for other in self._hulls.beside(last.transponder, last.time)]
        return [other for other in found if other >= 0]

    # --- silences that others end

    @property
    def over(self) -> Mapping[int, AbstractSet[Silence]]:
        """By transponder, the silences that are over when it is heard: those of others on its hull."""
        return self._over

    def watch(self, slot: int, number: int) -> None:
        """A silence has begun."""
        mine = self._heard.at(slot).transponder
        for other in self.beside(slot, number):
            self._over.setdefault(self._heard.at(other).transponder, set()).add((mine, number))

    def unwatch(self, transponder: int, number: int) -> None:
        """It has ended."""
        for name in [name for name, silences in self._over.items() if (transponder, number) in silences]:
            self._over[name].discard((transponder, number))
            if not self._over[name]:
                del self._over[name]

    # --- silences that are not told because of others

    def wait(self, silence: Silence, transponder: int) -> None:
        """One is not told while a transponder is silent itself, or may be."""
        self._waiting.setdefault(transponder, set()).add(silence)

    def released(self, transponders: NDArray[np.int64]) -> set[Silence]:
        """Those that need not wait for these any more."""
        if not self._waiting:
            return set()
        names = set(transponders[among(transponders, self._waiting)].tolist())
        return {silence for name in names for silence in self._waiting.pop(name)}
