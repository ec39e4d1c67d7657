"""Everything that goes wrong in this package.

ServicesError
├── ServicesUnavailable   this machine cannot run them: no root, no Debian, no archive, a wheel not installed
└── ServerFailed          one server did not start, did not become ready, or did not stop
"""

from __future__ import annotations


class ServicesError(Exception):
    """Base of all errors of this package. The message is one line for a person."""


class ServicesUnavailable(ServicesError):  # noqa: N818  # the name says what the caller is told, as httpx's errors do
    """This machine cannot run the real parts; the message ends with what to do instead."""

    ADVICE = (
        "start them with Docker instead (docker compose -f docker/compose.yaml up) "
        "or give your own database and broker (--dsn postgresql://..., an mqtt:// URL in the configuration)"
    )

    def __init__(self, why: str) -> None:
        super().__init__(f"the local services are unavailable here: {why}; {self.ADVICE}")
        self.why = why


class ServerFailed(ServicesError):  # noqa: N818  # as above
    """A server did not start, become ready, or stop. The message ends with the last line of its log."""
