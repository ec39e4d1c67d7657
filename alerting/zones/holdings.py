"""What is held of vessels and fences, and what comes of it: kept, fired, ended, and written so."""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING

from alerting.judging.apart import key_of
from alerting.judging.outcome import POSITIONS, Order
from alerting.zones.fence import FIRE, RESOLVE
from alerting.zones.visits import Held
from geofence.apart import owner

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping

    from alerting.judging.outcome import Outcome
    from alerting.model import Event
    from alerting.registry.names import Names
    from alerting.registry.register import Registry
    from alerting.registry.ships import ShipTypes
    from alerting.rules import Condition
    from alerting.zones.alerts import ZoneAlerts
    from alerting.zones.attention import Attention
    from alerting.zones.fence import Cause, Fence
    from alerting.zones.sides import Turn
    from alerting.zones.visits import Visit
    from geofence.moves import Fix

    Key = tuple[str, str]  # (rule id, zone id)


class Holdings:
    """By transponder and fence."""

    def __init__(
        self,
        fences: Mapping[Key, Fence],
        names: Names,
        ships: ShipTypes,
        registry: Registry,
        alerts: ZoneAlerts,
        attention: Attention,
    ) -> None:
        self._fences = fences
        self._at: dict[str, list[Fence]] = {}  # zone id -> its fences
        for fence in fences.values():
            self._at.setdefault(fence.zone.id, []).append(fence)
        self._names, self._ships, self._alerts, self._attention = names, ships, alerts, attention
        self._registry = registry
        self._held: dict[int, dict[Key, Held]] = {}  # by transponder
        #: Those that end by time: before that receive time they do not. And the same in its order, with what is stale.
        self._expiring: dict[tuple[int, str, str], int] = {}
        self._queue: list[tuple[int, tuple[int, str, str]]] = []

    def __contains__(self, transponder: object) -> bool:
        return transponder in self._held

    def type(self, transponder: int) -> int | None:
        """The ship type, where known."""
        told = self._ships.get(owner(transponder))
        return told[1] or None if told else None

    def matches(self, fence: Fence, transponder: int, began: int) -> bool | None:
        """Whether the rule is about the vessel; None: not known yet. The registry is asked for when it began."""
        scope = fence.rule.scope
        vessel = self._registry.vessel(owner(transponder), began) if scope.asks_registry else None
        return scope.matches(owner(transponder), self.type(transponder), vessel, began)

    def all(self, transponder: int) -> list[tuple[Fence, Held]]:
        """What is held of a transponder, by fence."""
        held = self._held.get(transponder, {})
        return sorted(((self._fences[key], each) for key, each in held.items()), key=lambda pair: pair[0])

    def relevant(self, transponder: int, zones: Iterable[str], *, only: Condition | None = None) -> Iterator[Fence]:
        """The fences that something is held of, and those of zones (``only`` of a condition)."""
        held = self._held.get(transponder, ())
        fences = [self._fences[key] for key in held]
        for zone in dict.fromkeys(zones):
            fences += [
                fence
                for fence in self._at.get(zone, ())
                if fence.key not in held and (only is None or fence.rule.condition is only)
            ]
        yield from fences

    def of_fences(self, keys: Container[Key]) -> list[tuple[int, Fence, Held]]:
        """Everything held of these fences, by transponder."""
        return [
            (transponder, self._fences[key], held)
            for transponder, episodes in sorted(self._held.items())
            for key, held in sorted(episodes.items())
            if key in keys
        ]

    def expire_all(self, tick: int, out: Outcome) -> None:
        """Resolve all that are due before a tick."""
        over: list[tuple[int, str, str]] = []
        while self._queue and self._queue[0][0] < tick:
            due, place = heappop(self._queue)
            if self._expiring.get(place) != due:
                continue  # it has ended, or waits in another place of the queue
            transponder, *key = place
            fence = self._fences[key[0], key[1]]
            visit = self.of(transponder, fence).visit
            assert visit is not None  # or it would not be among them
            if (due := visit.received + fence.rule.resolve_after) < tick:
                over.append(place)
            else:  # it has happened again meanwhile
                self._expire_at(due, place)
        for transponder, *key in sorted(over):
            self.expire(transponder, self._fences[key[0], key[1]], tick, out)

    def _expire_at(self, due: int, place: tuple[int, str, str]) -> None:
        self._expiring[place] = due
        heappush(self._queue, (due, place))

    def of(self, transponder: int, fence: Fence) -> Held:
        return self._held.get(transponder, {}).get(fence.key) or Held()

    def hold(self, transponder: int, fence: Fence, held: Held) -> None:
        self._held.setdefault(transponder, {})[fence.key] = held
        place = (transponder, *fence.key)
        if not fence.rule.lasting and held.visit is not None and place not in self._expiring:
            self._expire_at(held.visit.received + fence.rule.resolve_after, place)
        self._attention.watch(transponder, self._held[transponder], self._fences)

    def keep(self, transponder: int, fence: Fence, held: Held, out: Outcome) -> None:
        """Hold it from now on, or nothing any more; and write so."""
        if held:
            self.hold(transponder, fence, held)
        elif fence.key in self._held.get(transponder, ()):
            episodes = self._held[transponder]
            del episodes[fence.key]
            if not episodes:
                del self._held[transponder]
            self._attention.watch(transponder, episodes, self._fences)
        else:
            return
        if held.visit is None:
            self._expiring.pop((transponder, *fence.key), None)
        said, key = held.state(fence.ruled), key_of(transponder, fence.zone.id)
        if said is not None and key != fence.zone.id:
            said["zone"] = fence.zone.id
        out.remember(fence.rule.id, self._names.transponder(transponder), key, said)

    def turn(self, transponder: int, fence: Fence, held: Held, turn: Turn | None, out: Outcome) -> None:
        if turn != held.turn:
            held.turn = turn
            self.keep(transponder, fence, held, out)

    def drop(self, transponder: int, fence: Fence, out: Outcome) -> Visit | None:
        """Hold nothing any more; what was."""
        held = self.of(transponder, fence)
        visit, held.visit, held.turn, held.touch = held.visit, None, None, None
        self.keep(transponder, fence, held, out)
        return visit

    def fire(
        self, transponder: int, fence: Fence, held: Held, at: int, cause: Cause, out: Outcome, fix: Fix | None = None
    ) -> None:
        """``fix``: where it was known, if not where it began."""
        found = self._alerts.fire(transponder, fence, held, at, self.type(transponder), fix)
        self.keep(transponder, fence, held, out)
        out.add(cause.order(fence, FIRE), found)

    def end(self, transponder: int, fence: Fence, fix: Fix, reason: str, order: Order, out: Outcome) -> None:
        """Over, at a fix. What was only waiting is forgotten."""
        visit = self.drop(transponder, fence, out)
        if visit is not None and visit.alert is not None:
            out.add(order, self._alerts.resolve(transponder, fence, visit, max(fix.time, visit.at), fix, reason))

    def expire(self, transponder: int, fence: Fence, tick: int, out: Outcome) -> None:
        """Resolve what happened long enough before ``tick`` and has not happened again."""
        held = self.of(transponder, fence)
        visit = held.visit
        if visit is None or visit.received + fence.rule.resolve_after >= tick:
            return
        held.visit = None
        self.keep(transponder, fence, held, out)
        due = visit.received + fence.rule.resolve_after
        order = Order(due, True, 0, POSITIONS, transponder, fence.ruled.number, fence.zone.id, RESOLVE)
        visit.said["count"] = visit.count
        out.add(
            order,
            self._alerts.resolve(transponder, fence, visit, visit.last + fence.rule.resolve_after, None, "quiet"),
        )

    def change(
        self, transponder: int, fence: Fence, held: Held, event: Event, fix: Fix, cause: Cause, out: Outcome
    ) -> None:
        """Its alert has become more or less severe."""
        assert held.visit is not None
        out.add(cause.order(fence, FIRE), self._alerts.change(transponder, fence, held.visit, event, fix))
