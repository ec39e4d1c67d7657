"""One notification for several targets: who has taken it already, so that another try is for the others alone."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from uuid import UUID

#: Notifications remembered. It is a courtesy: of one forgotten, or after a restart, all targets get it again.
_MOST: Final = 1024


@dataclass(slots=True)
class Part:
    """How far one notification has come."""

    taken: set[str] = field(default_factory=set)
    refused: dict[str, str] = field(default_factory=dict)  # for good, with what was said

    def open(self, targets: list[str]) -> list[str]:
        """Those that neither took nor refused it."""
        return [one for one in targets if one not in self.taken and one not in self.refused]

    @property
    def remark(self) -> str | None:
        """Who refused it, in one line."""
        if not self.refused:
            return None
        return "refused: " + "; ".join(f"{target}: {said}" for target, said in self.refused.items())


class Parts:
    """Of each notification that was not taken by all at the first try."""

    def __init__(self) -> None:
        self._parts: OrderedDict[UUID, Part] = OrderedDict()

    def of(self, notification: UUID) -> Part:
        """What is known of it; at first, nothing."""
        part = self._parts.setdefault(notification, Part())
        self._parts.move_to_end(notification)
        while len(self._parts) > _MOST:
            self._parts.popitem(last=False)
        return part

    def forget(self, notification: UUID) -> None:
        """It has come to an end."""
        self._parts.pop(notification, None)
