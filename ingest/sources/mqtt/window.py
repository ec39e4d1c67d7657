"""What one connection has delivered and not yet acked: its order, its bound, and that its acks are its own."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ingest.sources.mqtt.wire import Publish


class Window:
    """Messages of QoS 1 and 2 under way on one connection.

    Acks are sent in the order of arrival [MQTT-4.6.0-2, MQTT-4.6.0-3], in whatever order they are given: one given
    early waits for those before it. An ack given twice, or after the connection ended, sends nothing: a packet id is
    used again after a reconnect, and acking it there would lose another message.
    """

    def __init__(
        self,
        send: Callable[[int, int], None],
        stale: Callable[[], None],
        *,
        max_messages: int,
        max_bytes: int,
    ) -> None:
        """Begin with nothing under way.

        Args:
            send: called with packet id and QoS of each message that is to be acked, in order of arrival.
            stale: called for each ack that came after ``close``.
            max_messages: what the broker was told (Receive Maximum).
            max_bytes: of payload.
        """
        self._send = send
        self._stale = stale
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._opened = 0  # messages that ever came
        self._acked = 0  # messages whose ack was sent
        self._early: dict[int, tuple[int, int, int]] = {}
        self._bytes = 0
        self._closed = False

    @property
    def messages(self) -> int:
        """Messages not yet acked."""
        return self._opened - self._acked

    @property
    def bytes(self) -> int:
        """Payload bytes of those messages."""
        return self._bytes

    @property
    def room(self) -> int:
        """How many messages more may be taken in: the one beyond Receive Maximum shows that the broker overshoots."""
        return self._max_messages + 1 - self.messages if self._bytes < self._max_bytes else 0

    @property
    def half_empty(self) -> bool:
        """Whether to read again after a pause."""
        return self.messages <= self._max_messages // 2 and self._bytes <= self._max_bytes // 2

    @property
    def closed(self) -> bool:
        return self._closed

    def open_all(self, publishes: Sequence[Publish]) -> list[Callable[[], None]]:
        """Take messages in, in the order of arrival; what acks each."""
        first, ack = self._opened, self._ack
        sizes = [len(publish.payload) for publish in publishes]
        self._opened += len(sizes)
        self._bytes += sum(sizes)
        numbered = zip(range(first, self._opened), publishes, sizes, strict=True)
        return [partial(ack, number, publish.packet_id, publish.qos, size) for number, publish, size in numbered]

    def close(self) -> None:
        """The connection is over."""
        self._closed = True
        self._early.clear()

    def _ack(self, number: int, packet_id: int, qos: int, size: int) -> None:
        if self._closed:
            self._stale()
            return
        if number != self._acked:
            if number > self._acked:
                self._early[number] = packet_id, qos, size
            return
        while True:
            self._acked += 1
            self._bytes -= size
            self._send(packet_id, qos)
            if not self._early or self._acked not in self._early:
                return
            packet_id, qos, size = self._early.pop(self._acked)
