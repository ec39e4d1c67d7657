"""What a channel is, and the two ways it can fail.

    ChannelError
    ├── TemporaryFailure   the target may take it later: time-outs, 5xx, 429, broker away, name not resolved
    └── PermanentFailure   the target will never take it as it is: other 4xx, redirects, address not allowed, ACL

Foreign errors become one of these in ``foreign_errors`` and nowhere else.
"""

from __future__ import annotations

import ssl
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import httpx
from aiomqtt import MqttError
from aiosmtplib import SMTPException

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

    from alerting.desk.outbox import QueuedNotification
    from alerting.desk.pace import QuietHours


class ChannelError(Exception):
    """A notification did not go out."""


class TemporaryFailure(ChannelError):  # noqa: N818  # "failure" tells these from programming errors
    """It may go out later. ``retry_after``: seconds the target asked us to wait, if it did."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class PermanentFailure(ChannelError):  # noqa: N818
    """It will not go out, however often it is tried."""


@dataclass(slots=True, frozen=True)
class Policy:
    """How hard one channel is tried."""

    concurrency: int = 4  # sends on their way at once
    timeout_seconds: float = 10.0  # one send
    first_delay_seconds: float = 1.0  # bound of the first back-off; doubles with every failure
    max_delay_seconds: float = 300.0
    max_attempts: int = 1000
    max_age_seconds: float = 86_400.0  # since queued, quiet hours apart; one is tried once however old
    rate_per_minute: int | None = None  # tries that begin in any minute; None: no limit
    burst: int | None = None  # of these, at once; None: all
    quiet: tuple[QuietHours, ...] = ()

    def delay(self, failures: int, rng: random.Random) -> float:
        """Seconds until the next try after ``failures`` >= 1 failures: uniform below an exponential bound."""
        bound = min(self.max_delay_seconds, self.first_delay_seconds * 2.0 ** min(failures - 1, 60))
        return rng.uniform(0.0, bound)


class Channel(Protocol):
    """One way out. Opened as an async context manager by ``alerting.channels.open_channel``."""

    async def send(self, notification: QueuedNotification) -> str | None:
        """Return when the target has taken it: None, or a remark to keep with it, such as who of several refused it.

        Raises:
            TemporaryFailure: it may be tried again.
            PermanentFailure: it must not be tried again.
        """


#: First match wins: every error that the libraries below us raise for a reason outside this program.
FOREIGN: Final[tuple[tuple[type[Exception], type[ChannelError]], ...]] = (
    (httpx.UnsupportedProtocol, PermanentFailure),
    (httpx.LocalProtocolError, PermanentFailure),
    (httpx.InvalidURL, PermanentFailure),
    (httpx.TooManyRedirects, PermanentFailure),
    (httpx.HTTPError, TemporaryFailure),
    (MqttError, TemporaryFailure),
    (SMTPException, TemporaryFailure),  # its answers are judged where they are met
    (ssl.SSLError, TemporaryFailure),
    (OSError, TemporaryFailure),  # refused, reset, unreachable, TimeoutError, socket.gaierror
)


@contextmanager
def foreign_errors(target: str) -> Iterator[None]:
    """Turn what the libraries raise into ours; ``target`` names the other side (host and port, nothing secret)."""
    try:
        yield
    except tuple(kind for kind, _ in FOREIGN) as error:
        ours = next(ours for kind, ours in FOREIGN if isinstance(error, kind))
        raise ours(f"{target}: {_describe(error)}") from error


def _describe(error: Exception) -> str:
    name = type(error).__name__
    return f"{name}: {text}" if (text := str(error).strip()) else name
