"""What subjects are called."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alerting.model import Subject, SubjectKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from decoders.records import Name


class Names:
    """Names behind ids, as decoders tell them. An AIS transponder is called by its MMSI."""

    def __init__(self, known: Mapping[tuple[str, int], str] | None = None) -> None:
        self._known: dict[tuple[str, int], str] = {}
        self.restore(known or {})

    def restore(self, known: Mapping[tuple[str, int], str]) -> None:
        self._known |= {key: name for key, name in known.items() if key[0] in set(SubjectKind)}

    def learn(self, names: Iterable[Name]) -> None:
        for name in names:
            if name.kind in set(SubjectKind):
                self._known[name.kind, name.id] = name.name

    def subject(self, kind: SubjectKind, number: int) -> Subject:
        return Subject(kind, number, self._known.get((kind.value, number), str(number)))

    def device(self, number: int) -> Subject:
        return self.subject(SubjectKind.DEVICE, number)

    def transponder(self, number: int) -> Subject:
        return self.subject(SubjectKind.TRANSPONDER, number)
