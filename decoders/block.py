"""What a decoder is given: the bytes of one delivery and what is known about them from outside."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from decoders.records import Observations


class Block(NamedTuple):
    """The payload of one delivery.

    A stream of lines (TCP, UDP, file) counts each line as a message of its own: ``per_line`` is true and line
    ``i`` (0-based, blank lines included) is message ``first + i``. An MQTT publish is one message, however many
    sentences or readings it carries: everything in it is message ``first``.
    """

    data: bytes
    source: int  # identity.source_id
    origin: str  # topic, peer address or file name
    received_at: int  # microseconds, UTC
    first: int  # index of its first message within the batch
    per_line: bool = False
    line: int = 1  # number of its first line, where lines are numbered
    size: int = 0  # bytes received; more than len(data) where a payload was too large to be kept whole; 0: all is here

    @property
    def messages(self) -> int:
        """How many messages this block counts as: lines (a last one without a line end included), or one."""
        if not self.per_line:
            return 1
        return self.data.count(b"\n") + (not self.data.endswith(b"\n") and bool(self.data))


class Decoder(Protocol):
    """One wire format. Pure: equal blocks in equal order give equal observations."""

    def decode(self, blocks: Sequence[Block]) -> Observations:
        """Everything the blocks said, in arrival order; ``messages`` covers the blocks given."""

    def expire(self, now: int) -> Observations:
        """Rejects (``message`` -1) for messages that have waited too long for their other parts by ``now``."""

    def pending(self) -> Sequence[Block]:
        """The blocks to decode again, in order, after a restart to be in this state: unfinished messages only."""
