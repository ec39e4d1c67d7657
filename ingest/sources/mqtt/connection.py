"""One connection to a broker, whichever client speaks on it: the seam between the source and the clients."""

from __future__ import annotations

import asyncio
import ssl
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from ingest.sources.base import SourceUnavailable
from ingest.sources.mqtt.reasons import words
from ingest.sources.mqtt.window import Window

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ingest.sources.mqtt.options import MqttOptions
    from ingest.sources.mqtt.wire import Publish


class Sink(Protocol):
    """Who takes what arrives."""

    def __call__(self, publishes: Sequence[Publish], window: Window) -> bool:
        """Take messages in, in order. False: we take no more, and the broker keeps them."""


@dataclass(slots=True, frozen=True)
class Loss:
    """Why a connection is over."""

    reason: str
    taken_over: bool = False  # by another client with our client id


@dataclass(slots=True)
class Session:
    """What a client must remember beyond a connection, for as long as the broker keeps our session (4.1)."""

    #: Packet ids of QoS 2 messages that are committed, and of which the broker has not yet said PUBREL.
    received: set[int] = field(default_factory=set)


class Connection(ABC):
    """A connection from CONNECT to its end. Every one is a new object, and nothing of it works on another."""

    def __init__(self, options: MqttOptions, session: Session, sink: Sink, stale: Callable[[], None]) -> None:
        self.options = options
        self.session = session
        self.sink = sink
        self.window = Window(
            self._send_ack, stale, max_messages=options.receive_maximum, max_bytes=options.receive_bytes
        )
        self.session_present = False
        #: Set when the connection is over.
        self.over: asyncio.Future[Loss] = asyncio.get_running_loop().create_future()
        self.warnings: list[str] = []  # what the broker granted less of than was asked

    @abstractmethod
    async def open(self) -> None:
        """Connect, up to CONNACK.

        Raises:
            SourceUnavailable: no answer, or a refusal.
        """

    @abstractmethod
    async def subscribe(self) -> None:
        """Subscribe at QoS 1 and see it granted.

        Raises:
            SourceUnavailable: a topic is refused or granted less, or the connection ended.
        """

    @abstractmethod
    def hold(self) -> None:
        """Read no more; acks still go out."""

    @abstractmethod
    async def close(self) -> None:
        """Send what is to be sent, DISCONNECT, and end. Safe at any time, and without a connection too."""

    @abstractmethod
    def _send_ack(self, packet_id: int, qos: int) -> None:
        """The message is safe: say so to the broker."""

    def _end(self, loss: Loss) -> None:
        self.window.close()
        if not self.over.done():
            self.over.set_result(loss)

    def _check_granted(self, codes: Sequence[int], detail: str = "") -> None:
        """Hold what SUBACK grants against what was asked (3.9.3)."""
        topics = self.options.topics
        if len(codes) != len(topics):
            raise SourceUnavailable(f"the broker answers {len(topics)} subscriptions with {len(codes)} results")
        for topic, code in zip(topics, codes, strict=True):
            if code >= 0x80:
                raise SourceUnavailable(f"the broker refuses the subscription to {topic!r}: {words(code, detail)}")
            if code != 1:
                raise SourceUnavailable(f"the broker grants QoS {code}, not 1, on {topic!r}")


def why(error: BaseException | None) -> str:
    """An error of sockets or TLS in one line."""
    match error:
        case None:
            return "the broker closed the connection"
        case TimeoutError():
            return "no answer in time"
        case ssl.SSLCertVerificationError():
            return f"the broker's certificate is not accepted: {error.verify_message}"
        case ssl.SSLError() if error.reason:
            return f"TLS: {error.reason.lower().replace('_', ' ')}"
        case OSError() if error.strerror:
            return error.strerror
        case _:
            return " ".join(str(error).split()) or type(error).__name__
