"""One table's part of a batch: its distinct rows, ready to be written in either of two ways."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from storage.arrays import column_array
from storage.columns import encode

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from storage.arrays import Array
    from storage.columns import Column
    from storage.tables import Table

#: Rows merged by one statement. The server's hash of their keys (50 bytes a row) stays well within its default
#: ``work_mem``, and the parameters within the bounds of the protocol.
SLICE: Final = 20_000


@dataclass(slots=True)
class Part:
    """Rows for one table.

    Args:
        table: where they go.
        lead: for each row of the batch, the first row with its key.
        chosen: the indexes, in the batch, of those that are sent.
        columns: what is sent, by field, the table's flag included.
        straight: to be copied straight into the table.
    """

    table: Table
    lead: NDArray[np.intp]
    chosen: NDArray[np.intp]
    columns: Mapping[str, NDArray[Any]]
    straight: bool = False
    copied: bytes = field(default=b"", repr=False)  # what COPY reads
    following: list[list[Array]] = field(default_factory=list, repr=False)  # and those flagged, for what follows
    _merged: list[list[Array]] = field(default_factory=list, repr=False)

    def encode(self) -> None:
        """Do now what the way they will be written asks for.

        Raises:
            UnicodeEncodeError: a text holds a lone surrogate.
        """
        if not self.straight:
            self._merged = self.merged()
            return
        self.copied = encode(self.table.columns, self.columns, len(self.chosen))
        if self.table.flag is not None:
            rows = np.flatnonzero(self.columns[self.table.flag.field])
            self.following = [self._arrays(self.table.columns, some) for some in slices(rows)]

    def merged(self) -> list[list[Array]]:
        """The parameters of each merging statement."""
        return self._merged or [
            self._arrays(self.table.merged, slice(start, start + SLICE)) for start in range(0, len(self.chosen), SLICE)
        ]

    def _arrays(self, columns: Sequence[Column], rows: slice | NDArray[np.intp]) -> list[Array]:
        return [column_array(column, self.columns[column.field][rows]) for column in columns]

    @property
    def distinct(self) -> bool:
        """Whether each row of the batch has a key of its own."""
        return len(self.chosen) == len(self.lead)

    def taken(self, answers: Sequence[Sequence[int] | None]) -> NDArray[np.intp]:
        """The indexes in the batch of rows that were there already, from the answers to the merging statements."""
        places = [np.array(answer or (), dtype=np.intp) - 1 + n * SLICE for n, answer in enumerate(answers)]
        return np.sort(self.chosen[np.concatenate(places)]) if places else np.zeros(0, dtype=np.intp)

    def fate(self, taken: NDArray[np.intp]) -> NDArray[np.bool_]:
        """For each row of the batch, whether it is new."""
        new: NDArray[np.bool_] = self.lead == np.arange(len(self.lead))
        new[taken] = False
        return new


def slices(rows: NDArray[np.intp]) -> Iterator[NDArray[np.intp]]:
    """Indexes of rows in parts of a size for one statement."""
    for start in range(0, len(rows), SLICE):
        yield rows[start : start + SLICE]
