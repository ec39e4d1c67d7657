"""The signature on a webhook: ``X-Haidang-Signature: t=<unix seconds>,v1=<hex>``.

``v1`` is HMAC-SHA256 with the shared secret over the bytes ``<t>.<body>``. The time is signed too, so a receiver can
refuse a recorded request that is sent again later. A receiver does what ``verify`` does: over the raw body, before
parsing it, comparing in constant time, and refusing a time more than five minutes from its own clock. The header may
carry several ``v1`` while a secret is being changed, of which one must match; entries of other names are passed over.
"""

from __future__ import annotations

import hmac
from hashlib import sha256
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

HEADER: Final = "X-Haidang-Signature"
TOLERANCE_SECONDS: Final = 300


def sign(secrets: Sequence[bytes], body: bytes, at: int) -> str:
    """The header's value for ``body`` sent at ``at`` (unix seconds): one ``v1`` for each secret."""
    return ",".join([f"t={at}", *(f"v1={_digest(secret, body, at)}" for secret in secrets)])


def verify(secret: bytes, header: str, body: bytes, now: float, tolerance: float = TOLERANCE_SECONDS) -> bool:
    """Whether ``header`` was made by someone who knows ``secret``, for this ``body``, within ``tolerance`` of ``now``.

    Never raises: a header that cannot be read is a wrong one.
    """
    times: list[str] = []
    digests: list[str] = []
    for part in header.split(","):
        name, _, value = part.strip().partition("=")
        if name == "t":
            times.append(value)
        elif name == "v1":
            digests.append(value)
    if len(times) != 1 or not (times[0].isascii() and times[0].isdigit() and len(times[0]) <= 12):
        return False
    at = int(times[0])
    if abs(now - at) > tolerance:
        return False
    expected = _digest(secret, body, at).encode()
    # Every one is compared, so that the time taken does not tell which matched.
    matches = [hmac.compare_digest(expected, digest.encode()) for digest in digests]
    return any(matches)


def _digest(secret: bytes, body: bytes, at: int) -> str:
    return hmac.new(secret, str(at).encode() + b"." + body, sha256).hexdigest()
