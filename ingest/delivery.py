"""What a source hands on: a payload together with its own acknowledgement.

The two travel as one, so that no code between the wire and the commit can ack what is not yet stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable


class Delivery(NamedTuple):  # and not a frozen dataclass: made for each message, in a third of the time
    """The payload of one MQTT publish, or one chunk of whole lines of a stream or datagram.

    ``messages`` is what the ledger counts: one for a publish, the number of lines for a chunk.
    """

    payload: bytes
    source: str
    origin: str  # topic, peer address or file name
    received_at: int  # microseconds since the epoch, UTC
    messages: int = 1
    per_line: bool = False
    line: int = 0  # number of the first line, where lines are numbered (files); 0 elsewhere
    size: int = 0  # bytes received; more than len(payload) where it was too large to be kept whole; 0: all is here
    redelivered: bool = False  # MQTT DUP flag: the broker may have sent it before
    damaged: bool = False  # came back from the spool with a wrong checksum: to be quarantined as it is
    #: Tells the wire that the payload is safe. None where the wire has no acknowledgement.
    ack: Callable[[], None] | None = None

    def halves(self) -> tuple[Delivery, Delivery]:
        """A delivery of several lines as two; the ack goes with the second."""
        lines = [line + b"\n" for line in self.payload.removesuffix(b"\n").split(b"\n")]
        middle = len(lines) // 2
        first, second = b"".join(lines[:middle]), b"".join(lines[middle:])
        return (
            self._replace(payload=first, messages=count_lines(first), ack=None),
            self._replace(
                payload=second,
                received_at=self.received_at + middle,
                messages=count_lines(second),
                line=self.line and self.line + middle,
            ),
        )


def count_lines(payload: bytes) -> int:
    """Lines in a chunk, a last one without a line end included."""
    return payload.count(b"\n") + (bool(payload) and not payload.endswith(b"\n"))
