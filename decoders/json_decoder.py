"""The one loop over JSON payloads of our own topics; a format adds what it makes of an entry.

What is good in a payload is taken; what is bad is refused with its own JSON, so that it can be sent again: the bytes as
they came, or, of a payload of which another part was good, that part written anew.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from decoders.bounds import Bounds
from decoders.json_entries import BadEntry, claims, entries, event_time, fragment, reject
from decoders.records import Observations, Reason
from decoders.refused import Refused
from decoders.register import Register
from decoders.times import MAX_FUTURE_US
from decoders.topics import Format, Route, route

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from decoders.block import Block
    from decoders.records import Reject
    from decoders.register import Device

Rows = TypeVar("Rows")
#: Why something is refused, and which part of the payload it is.
Bad = tuple[Refused, Any]


class JsonDecoder(ABC, Generic[Rows]):
    """A ``block.Decoder`` of one format; ``Rows`` is what it collects a batch in.

    Args:
        register: the names known, and how many more there may be; two decoders may share one.
        bounds: of a payload.
        max_future_us: how far a time may lie ahead of the reception; None where that is no real clock.
    """

    format: Format

    def __init__(
        self,
        *,
        register: Register | None = None,
        bounds: Bounds | None = None,
        max_future_us: int | None = MAX_FUTURE_US,
    ) -> None:
        self._bounds = bounds or Bounds()
        self._register = register or Register(self._bounds)
        self._max_future = max_future_us

    def decode(self, blocks: Sequence[Block]) -> Observations:
        """Everything the blocks said, in arrival order."""
        out = Observations(messages=max((b.first + b.messages for b in blocks), default=0))
        rows = self._rows()
        for block in blocks:
            if not self._quick(block, rows):
                out.rejects.extend(self._payload(block, rows))
        self._finish(rows, out)
        return out

    def expire(self, now: int) -> Observations:  # noqa: ARG002  # nothing waits here
        """Nothing: no payload waits for another."""
        return Observations()

    def pending(self) -> Sequence[Block]:
        """Nothing: no payload waits for another."""
        return ()

    @abstractmethod
    def _rows(self) -> Rows:
        """An empty collection."""

    def _quick(self, block: Block, rows: Rows) -> bool:  # noqa: ARG002  # for formats that have one
        """Take an ordinary payload by a shorter way than ``_payload``, to the same end; False: it is not ordinary."""
        return False

    def _whole(self, fields: dict[str, Any]) -> Refused | None:  # noqa: ARG002  # for formats that ask
        """What is wrong with an entry as a whole, beside its time."""
        return None

    @abstractmethod
    def _entry(self, block: Block, device: Device, time: int, fields: dict[str, Any], rows: Rows) -> Iterable[Bad]:
        """Collect an entry's rows; what of it is refused. A device that gets a row is kept."""

    @abstractmethod
    def _finish(self, rows: Rows, out: Observations) -> None:
        """Make tables and names of what was collected."""

    def _payload(self, block: Block, rows: Rows) -> Iterator[Reject]:
        where = route(block.origin)
        if isinstance(where, Route) and where.format is not self.format:
            where = Refused(Reason.BAD_TOPIC, f"not a topic of {self.format}")
        device = where if isinstance(where, Refused) else self._register.device(where)
        found = device if isinstance(device, Refused) else entries(block.data, self._bounds)
        if isinstance(where, Refused) or isinstance(device, Refused) or isinstance(found, Refused):
            assert isinstance(found, Refused)  # whichever came first was handed on
            yield reject(block, found, block.data)
            return
        alone = block.data.lstrip().startswith(b"{")
        for entry in found:
            if isinstance(entry, BadEntry):
                yield reject(block, entry.refused, entry.raw, entry.index)
                continue
            fields = entry.fields
            time = (
                claims(fields, where) or self._whole(fields) or event_time(fields, block.received_at, self._max_future)
            )
            bad = [(time, fields)] if isinstance(time, Refused) else self._entry(block, device, time, fields, rows)
            for refused, part in bad:
                # The bytes themselves where they hold nothing else: a number has many spellings, and some are lost.
                exact = part is fields and alone
                yield reject(block, refused, block.data if exact else fragment(part, block.data), entry.index)
