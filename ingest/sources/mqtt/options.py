"""How to reach the broker, and what to ask of it."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass(slots=True, frozen=True)
class Tls:
    """Files of PEM; ``certificate`` and ``key`` are ours, for mutual TLS."""

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Load the files.

        Raises:
            OSError, ssl.SSLError: a file is missing or not what it should be.
        """
        context = ssl.create_default_context(cafile=str(self.ca) if self.ca else None)
        if self.certificate:
            context.load_cert_chain(self.certificate, self.key)
        return context


@dataclass(slots=True, frozen=True)
class MqttOptions:
    """How to reach the broker, and what to ask of it. Times in seconds."""

    host: str
    port: int = 1883
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    client_id: str = "haidang"
    topics: Sequence[str] = ()
    protocol: Literal["5", "3.1.1"] = "5"
    client: Literal["native", "aiomqtt"] = "native"
    clean: bool = False  # begin without the session that the broker keeps for us
    session_expiry: int = 7 * 86_400  # how long the broker keeps our session and its queue while we are away
    receive_maximum: int = 10_000  # messages received and not yet acked: with one more, reading pauses
    receive_bytes: int = 64 * 2**20  # their payload bytes: from here on, reading pauses
    keepalive: float = 30.0
    timeout: float = 10.0  # for each step of connecting
    taken_over_pause: float = 10.0  # before coming back, at first, after another client took our client id
    settled_after: float = 10.0  # a connection that lasted as long ends a series of failures
    tls: Tls | None = None
    max_payload: int = 256 * 1024

    @property
    def url(self) -> str:
        return f"{'mqtts' if self.tls else 'mqtt'}://{self.host}:{self.port}"
