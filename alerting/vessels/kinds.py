"""Who a rule is about, by what was known when something was judged, whatever else the batch says of it later."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decoders.records import NULL_I2
from geofence.apart import owner

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from alerting.registry.register import Registry
    from alerting.registry.ships import ShipTypes
    from alerting.rules.scope import Scope
    from alerting.rules.vessels import DistressRule


#: A change of ship type: message, row of the statics table, receive time, transponder.
Change = tuple[int, int, int, int]


class Kinds:
    """Ship types before a batch, and what its statics change, in arrival order; and the registry.

    To be asked before the batch is learnt by the ``ShipTypes`` it looks things up in.
    """

    def __init__(self, ships: ShipTypes, statics: NDArray[np.void], registry: Registry) -> None:
        self._ships, self._registry = ships, registry
        self._told: dict[int, list[tuple[int, int, int]]] = {}  # transponder -> (message, received, ship type)
        #: In arrival order.
        self.changes: list[Change] = []
        newest: dict[int, tuple[int, int]] = {}
        columns = (statics[name].tolist() for name in ("transponder", "time", "ship_type", "message", "received_at"))
        for row, (transponder, time, said, message, received) in enumerate(zip(*columns, strict=True)):
            last, known = newest.get(transponder) or ships.get(transponder) or (time, 0)
            if time < last:
                continue
            newest[transponder] = time, known if said == NULL_I2 else said
            if said not in (NULL_I2, known):
                self._told.setdefault(transponder, []).append((message, received, said))
                self.changes.append((message, row, received, transponder))

    def matches(
        self, scope: Scope, transponder: int, began: int, *, message: int | None = None, received: int = 0
    ) -> bool | None:
        """Whether a scope matches as known before a message, or by a receive time; None while that is not known.

        The registry is asked for an event time, ``began``: when what is told of began.
        """
        transponder = owner(transponder)
        vessel = self._registry.vessel(transponder, began) if scope.asks_registry else None
        return scope.matches(transponder, self._type(transponder, message, received), vessel, began)

    def spoke_after(self, transponder: int, time: int) -> bool:
        """Whether the newest statics before the batch are of after an event time."""
        known = self._ships.get(owner(transponder))
        return known is not None and known[0] > time

    def watches(self, rule: DistressRule, transponder: int, began: int, *, message: int) -> bool | None:
        """The same of a rule on distress."""
        vessel = self._registry.vessel(transponder, began) if rule.scope.asks_registry else None
        return rule.watches(transponder, self._type(transponder, message, 0), vessel, began)

    def one_hull(self, a: int, b: int, time: int) -> bool | None:
        """Whether one vessel carries two transponders at an event time, by the registry; None: it does not say."""
        first, second = (self._registry.vessel(owner(name), time) for name in (a, b))
        return None if first is None or second is None else first.id == second.id

    def _type(self, transponder: int, message: int | None, received: int) -> int | None:
        kind = 0
        if known := self._ships.get(transponder):
            kind = known[1]
        for m, r, told in self._told.get(transponder, ()):
            if (m < message) if message is not None else (r <= received):
                kind = told
        return kind or None
