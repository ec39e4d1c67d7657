"""Which names the database has already, as far as one process remembers: bounded, and wrong on one side only.

Forgetting a name costs one statement that changes nothing; believing in one that is not there would lose it, so a name
is learnt only after the transaction that wrote it committed.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Names remembered, of all kinds together.
LIMIT: Final = 100_000


class Known:
    """Names by kind and id, the least recently used forgotten first; with each, the least event time written for it."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._seen: OrderedDict[tuple[str, int], int | None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._seen)

    def has(self, kind: str, id_: int, since: int | None = None) -> bool:
        """Whether it is there, and, if ``since`` is given, there with an event time no later than that."""
        key = (kind, id_)
        if key not in self._seen:
            return False
        self._seen.move_to_end(key)
        first = self._seen[key]
        return since is None or (first is not None and first <= since)

    def learn(self, names: Iterable[tuple[str, int, int | None]]) -> None:
        """Remember (kind, id, least event time) of rows now committed."""
        for kind, id_, since in names:
            key = (kind, id_)
            known = self._seen.pop(key, None)
            self._seen[key] = since if known is None else known if since is None else min(known, since)
        while len(self._seen) > self._limit:
            self._seen.popitem(last=False)
