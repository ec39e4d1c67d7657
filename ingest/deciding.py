"""The messages of a batch that decided what became of alerts, as they were received."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from decoders.identity import source_id
from storage.batch import Deciding

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from alerting.model import Transition
    from decoders.block import Block
    from decoders.records import Observations
    from ingest.delivery import Delivery

#: Bytes kept of one, as in quarantine.
MOST: Final = 1 << 16
#: Lines before the one that decided that may belong to it: parts of its message, or an announced receive time.
_BEFORE: Final = 16
_ANNOUNCES: Final = b"$PGHP"


def deciding(
    deliveries: Sequence[Delivery],
    observations: Observations,
    transitions: Iterable[Transition],
    waited: Sequence[Block],
    formats: Mapping[str, str],
) -> list[Deciding]:
    """What there is to keep; of changes that no message decided but time, nothing.

    Args:
        deliveries: of the batch.
        observations: what they said.
        transitions: what came of it, with the messages that decided.
        waited: parts of messages that waited before the batch.
        formats: source name to the key of its decoder.
    """
    received = _Received(deliveries, observations.joined, waited)
    kept: dict[tuple[str, int], Deciding] = {}
    for told in transitions:
        if 0 <= told.message < received.messages:
            delivery, place = received.place(told.message)
            raw = received.raw(told.message)
            kept[str(told.alert_id), told.message] = Deciding(
                alert=told.alert_id,
                received_at=delivery.received_at,
                message=place,
                source=source_id(delivery.source),
                origin=delivery.origin,
                format=formats[delivery.source],
                per_line=delivery.per_line,
                raw=raw[:MOST],
                size=max(len(raw), delivery.size),
            )
    return list(kept.values())


class _Received:
    """The messages of a batch by number."""

    def __init__(
        self, deliveries: Sequence[Delivery], joined: Iterable[tuple[int, int]], waited: Sequence[Block]
    ) -> None:
        self._deliveries, self._waited = deliveries, waited
        self._ends = list(accumulate(delivery.messages for delivery in deliveries))
        self._earlier: dict[int, list[int]] = {}  # messages of the batch that are parts of another
        for part, whole in joined:
            self._earlier.setdefault(whole, []).append(part)
        self._lines: dict[int, list[bytes]] = {}  # by delivery

    @property
    def messages(self) -> int:
        return self._ends[-1] if self._ends else 0

    def place(self, message: int) -> tuple[Delivery, int]:
        """The delivery that brought a message, and which of it that is."""
        at = bisect_right(self._ends, message)
        return self._deliveries[at], message - (self._ends[at] - self._deliveries[at].messages)

    def raw(self, message: int) -> bytes:
        """A whole payload; of a stream the line, after those that belong to it."""
        delivery, place = self.place(message)
        if not delivery.per_line:
            return delivery.payload
        line = self._line(message)
        parts = [self._line(part) for part in sorted(self._earlier.get(message, ()))]
        before = [self._line(message - 1)] if place else []
        announced = [one for one in before if one.startswith(_ANNOUNCES)]
        missing = _total(line) - 1 - len(parts)
        stream = (source_id(delivery.source), delivery.origin)
        waited = [block.data for block in self._waited if (block.source, block.origin) == stream] if missing > 0 else []
        return b"\n".join([*[*waited, *announced, *parts][-_BEFORE:], line])

    def _line(self, message: int) -> bytes:
        at = bisect_right(self._ends, message)
        if at not in self._lines:
            self._lines[at] = self._deliveries[at].payload.split(b"\n")
        return self._lines[at][self.place(message)[1]]


def _total(line: bytes) -> int:
    """Of how many sentences the message of a line is."""
    fields = line.rpartition(b"!")[2].split(b",", 2)
    return int(fields[1]) if len(fields) > 2 and fields[1].isdigit() else 1
