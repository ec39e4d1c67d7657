"""What subjects are called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from alerting.model import Subject, SubjectKind
from alerting.registry.register import UNREGISTERED
from geofence.apart import owner

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from alerting.registry.register import Registry
    from decoders.records import Name

_KINDS: Final = frozenset(kind.value for kind in SubjectKind)


class Names:
    """Names behind ids, as decoders tell them. An AIS transponder is called by its MMSI, and not told.

    In alerts a transponder goes by the vessel that carried it when what they tell of began, where the registry has one.

    Of transponders the last ``capacity`` told are kept at the least, and never more than twice as many: with as many
    remembered at the most, a name is not forgotten before its subject is, for a name is told whenever its subject is
    heard. How many devices there can be is bounded where they are taken in (``decoders.bounds``).
    """

    def __init__(
        self,
        known: Mapping[tuple[str, int], str] | None = None,
        *,
        registry: Registry = UNREGISTERED,
        capacity: int = 300_000,
    ) -> None:
        self._capacity = capacity
        self._registry = registry
        self._recent: dict[str, dict[int, str]] = {kind: {} for kind in _KINDS}
        self._before: dict[str, dict[int, str]] = {kind: {} for kind in _KINDS}
        self.restore(known or {})

    def __len__(self) -> int:
        return sum(len(told) for generation in (self._recent, self._before) for told in generation.values())

    def restore(self, known: Mapping[tuple[str, int], str]) -> None:
        for (kind, number), name in known.items():
            if kind in _KINDS:
                self._tell(kind, number, name)

    def learn(self, names: Iterable[Name]) -> None:
        for name in names:
            if name.kind in _KINDS:
                self._tell(name.kind, name.id, name.name)

    def _tell(self, kind: str, number: int, name: str) -> None:
        recent = self._recent[kind]
        recent[number] = name
        if kind == SubjectKind.TRANSPONDER and len(recent) >= self._capacity:
            self._before[kind], self._recent[kind] = recent, {}

    def subject(self, kind: SubjectKind, number: int, since: int | None = None) -> Subject:
        if kind is SubjectKind.TRANSPONDER:
            return self.transponder(number, since)
        return Subject(kind, number, self._name(kind.value, number))

    def device(self, number: int) -> Subject:
        return Subject(SubjectKind.DEVICE, number, self.device_name(number))

    def device_name(self, number: int) -> str:
        return self._name("device", number)

    def source_name(self, number: int) -> str:
        return self._name("source", number)

    def transponder(self, number: int, since: int | None = None) -> Subject:
        """A transponder, as it goes in what began at that event time; None: by its own name.

        The second of two vessels under one identity (``geofence.apart``) is that transponder, too, and is called so.
        """
        id_ = owner(number)
        vessel = None if since is None else self._registry.vessel(id_, since)
        name = (vessel and vessel.label) or self._name("transponder", id_)
        return Subject(SubjectKind.TRANSPONDER, id_, name if id_ == number else f"{name} (B)")

    def _name(self, kind: str, number: int) -> str:
        return self._recent[kind].get(number) or self._before[kind].get(number) or str(number)
