"""One POST, bounded in every direction: no redirects, no proxies or cookies, a total time, a size, a verdict."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from email.utils import parsedate_to_datetime
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, Final

import httpx

from alerting.channels.base import PermanentFailure, TemporaryFailure, foreign_errors

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

#: Read of an answer's body at most; what it says beyond is nothing we act on.
MAX_BODY_BYTES: Final = 64 * 1024
#: The status line decides; the body is read this long, for the error text and to keep the connection.
BODY_SECONDS: Final = 2.0

_EXCERPT: Final = 200
#: Beside 5xx: 408 Request Timeout, 425 Too Early, 429 Too Many Requests.
_TRY_AGAIN: Final = frozenset({408, 425, 429})


def client(*, connections: int, ca_file: Path | None = None) -> httpx.AsyncClient:
    """A client that does what it is told: environment, redirects and cookies are ignored, time-outs are ``post``'s."""
    made = httpx.AsyncClient(
        verify=ssl.create_default_context(cafile=ca_file),
        follow_redirects=False,
        trust_env=False,
        timeout=None,  # noqa: S113  # one deadline for the whole exchange, see post()
        limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
    )
    made.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    return made


async def post(
    through: httpx.AsyncClient,
    url: httpx.URL,
    *,
    content: bytes,
    headers: Mapping[str, str],
    now: float,
    deadline: float,
    extensions: Mapping[str, Any] | None = None,
) -> None:
    """Return if the answer is 2xx. ``now`` is unix time; ``deadline``, by the loop's clock, is when it must have come.

    Raises:
        TimeoutError: the status line and headers had not come by the deadline, however they dripped.
        TemporaryFailure: 408, 425, 429, 5xx, with the seconds that Retry-After asks for.
        PermanentFailure: every other answer, redirects included.
        httpx.HTTPError: no answer.
    """
    request = through.build_request("POST", url, content=content, headers=headers, extensions=dict(extensions or {}))
    async with asyncio.timeout_at(deadline):
        response = await through.send(request, stream=True)
    try:
        status = response.status_code
        body = await _read(response)
    finally:
        await response.aclose()
    if 200 <= status < 300:
        return
    text = f"HTTP {status} {response.reason_phrase} {_excerpt(body)}".strip()
    if status >= 500 or status in _TRY_AGAIN:
        raise TemporaryFailure(text, retry_after=retry_after(response.headers.get("Retry-After"), now))
    raise PermanentFailure(text)


async def get_json(through: httpx.AsyncClient, url: httpx.URL, headers: Mapping[str, str]) -> Any:
    """What a GET answers, parsed, or ``TemporaryFailure``: for asking a server that we trust with its size."""
    with foreign_errors(url.netloc.decode()):
        response = await through.get(url, headers=dict(headers))
    if response.status_code != httpx.codes.OK:
        raise TemporaryFailure(f"HTTP {response.status_code} from GET {url.path}")
    try:
        return response.json()
    except ValueError as error:
        raise TemporaryFailure(f"GET {url.path} did not answer JSON: {error}") from error


def retry_after(value: str | None, now: float) -> float | None:
    """Seconds to wait by a Retry-After header (RFC 9110, 10.2.3), or None where there is none that can be read."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit() and len(text) <= 9:
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, OverflowError):
        return None


async def _read(response: httpx.Response) -> bytes:
    """The body, or its start if it is too large, too slow or breaks off; raw, so that nothing is unpacked."""
    body = bytearray()
    with suppress(TimeoutError, httpx.HTTPError):
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) >= MAX_BODY_BYTES:
                    break
    return bytes(body)


def _excerpt(body: bytes) -> str:
    text = body[: 4 * _EXCERPT].decode("utf-8", "replace")
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())[:_EXCERPT]
