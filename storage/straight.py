"""Whether the rows of a batch may be copied straight into their table.

Copied straight they cost a third of what they cost checked one by one, but a single row that is there already undoes
the copy. Rows that come again come in swarms (a restart, a broker's redelivery, a recording replayed), so what the last
batches met is a good guess of what the next one will.
"""

from __future__ import annotations

from typing import Final

#: Clean batches waited for, at most.
_LONGEST: Final = 32


class Straight:
    """The guess for one table. Wrong only in cost."""

    def __init__(self) -> None:
        self._patience = 1
        self._left = 1  # clean batches to wait for

    def __bool__(self) -> bool:
        return self._left == 0

    def begin(self) -> None:
        """A connection is new: what was sent before it may come again."""
        self._left = max(self._left, 1)

    def believe(self) -> None:
        """Nothing is stored of the time of a batch: nor, it may be, of that of the next, which is being made ready."""
        if self._patience == 1:  # no copy was in vain of late
            self._left = 0

    def met(self, duplicates: int, *, undone: bool) -> None:
        """A batch is written.

        Args:
            duplicates: rows that were there already.
            undone: they had been copied straight, in vain.
        """
        if undone:
            self._patience = min(2 * self._patience, _LONGEST)
        if duplicates:
            self._left = self._patience
        elif self._left:
            self._left -= 1
        else:
            self._patience = max(self._patience // 2, 1)
