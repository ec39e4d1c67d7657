"""The webhook, against targets that behave badly in every way they do."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from aiomqtt import MqttCodeError, MqttError
from aiomqtt.exceptions import MqttConnectError
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from alerting.channels import http, open_channel
from alerting.channels.base import ChannelError, PermanentFailure, TemporaryFailure, foreign_errors
from alerting.channels.settings import WebhookSettings
from alerting.channels.signature import verify
from alerting.channels.webhook import Webhook
from tests.alerting.certificates import self_signed
from tests.alerting.samples import queued, transition
from tests.alerting.target import Target, answer, drip, drop, hang, target

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

LOOPBACK = ("127.0.0.0/8", "::1/128")
NOW = 1_795_000_000.5


@pytest.fixture
async def hook() -> AsyncIterator[Target]:
    async with target() as running:
        yield running


def settings(url: str, **more: Any) -> WebhookSettings:
    return WebhookSettings.model_validate({"name": "hook", "url": url, "allow_networks": LOOPBACK, **more})


async def send(url: str, **more: Any) -> None:
    async with Webhook(settings(url, **more), clock=lambda: NOW) as channel:
        await channel.send(queued(transition()))


async def test_the_payload_arrives_with_id_and_signature(hook: Target) -> None:
    notification = queued(transition())
    secret, old = "a secret of some length", "the secret of last year"
    made = settings(
        hook.url, secret=secret, previous_secret=old, headers={"Authorization": "Bearer t0ken", "User-Agent": "mine"}
    )
    async with Webhook(made, clock=lambda: NOW) as channel:
        await channel.send(notification)
        await channel.send(notification)
    first, second = hook.seen
    assert first == second  # the same notification is the same request
    assert first.line == "POST /hook?site=hue HTTP/1.1"
    assert json.loads(first.body) == notification.payload
    assert first.headers["Host"] == f"127.0.0.1:{hook.port}"
    assert first.headers["Authorization"] == "Bearer t0ken"
    assert first.headers["Content-Type"] == "application/json"
    assert first.headers["X-Haidang-Notification-Id"] == first.headers["Idempotency-Key"] == str(notification.id)
    assert first.headers["X-Haidang-Event"] == "firing"
    for known in (secret, old):
        assert verify(known.encode(), first.headers["X-Haidang-Signature"], first.body, NOW)
    assert hook.connections == 1  # kept between sends


async def test_without_a_secret_nothing_is_signed(hook: Target) -> None:
    await send(hook.url)
    assert "X-Haidang-Signature" not in hook.seen[0].headers


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_2xx_is_taken(hook: Target, status: int) -> None:
    hook.steps.append(answer(status))
    await send(hook.url)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
async def test_what_may_pass_is_temporary(hook: Target, status: int) -> None:
    hook.steps.append(answer(status, b"come back\0 later"))
    with pytest.raises(TemporaryFailure, match=f"HTTP {status} Whatever come back later"):
        await send(hook.url)


@pytest.mark.parametrize("status", [300, 301, 302, 304, 307, 308, 400, 401, 403, 404, 410, 413, 422])
async def test_what_will_not_pass_is_permanent_and_redirects_are_not_followed(hook: Target, status: int) -> None:
    hook.steps.append(answer(status, Location=hook.url))
    with pytest.raises(PermanentFailure, match=f"HTTP {status}"):
        await send(hook.url)
    assert len(hook.seen) == 1


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        ("0", 0.0),
        (format_datetime(datetime.fromtimestamp(1_795_000_090, UTC), usegmt=True), 89.5),
        (format_datetime(datetime.fromtimestamp(NOW, UTC) - timedelta(days=1), usegmt=True), 0.0),
        ("soon", None),
        ("-5", None),
        ("9" * 400, None),
    ],
)
async def test_retry_after_is_read_in_both_its_forms(hook: Target, value: str, seconds: float | None) -> None:
    hook.steps.append(answer(429, Retry_After=value))
    with pytest.raises(TemporaryFailure) as caught:
        await send(hook.url)
    assert caught.value.retry_after == seconds


async def test_a_target_that_hangs_is_left_in_time(hook: Target) -> None:
    hook.steps.append(hang)
    async with asyncio.timeout(5):
        with pytest.raises(TemporaryFailure, match="TimeoutError"):
            await send(hook.url, timeout_seconds=0.1)


@pytest.mark.parametrize("start", [b"HTTP/1.1 200 OK\r\nX-Drip: ", b"HTTP/1.1 100 Continue\r\n\r\n", b""])
async def test_an_answer_that_drips_for_ever_is_left_in_time(hook: Target, start: bytes) -> None:
    more = start if start.endswith(b"\r\n\r\n") else b"x"
    hook.steps.append(drip(start, more))
    async with asyncio.timeout(5):
        with pytest.raises(TemporaryFailure):
            await send(hook.url, timeout_seconds=0.2)


async def test_the_status_decides_and_a_body_that_drips_or_never_ends_does_not(
    hook: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "BODY_SECONDS", 0.1)
    hook.steps.append(drip(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"x"))
    hook.steps.append(drip(b"HTTP/1.1 503 Busy\r\n\r\n", b"busy " * 100_000, every=0.0))
    async with asyncio.timeout(5):
        await send(hook.url)
        with pytest.raises(TemporaryFailure, match="HTTP 503 Busy busy busy") as caught:
            await send(hook.url)
    assert len(str(caught.value)) < 300


async def test_headers_without_end_are_refused(hook: Target) -> None:
    hook.steps.append(drip(b"HTTP/1.1 200 OK\r\n", b"X-Many: of these\r\n" * 5000, every=0.0))
    with pytest.raises(TemporaryFailure):
        await send(hook.url, timeout_seconds=5)


@pytest.mark.parametrize("body", [b"not http at all\r\n\r\n", b"HTTP/1.1 abc OK\r\n\r\n"])
async def test_an_answer_that_is_no_http_is_temporary(hook: Target, body: bytes) -> None:
    hook.steps.append(drip(body, b"", every=0.01))
    with pytest.raises(TemporaryFailure):
        await send(hook.url, timeout_seconds=2)


async def test_a_connection_closed_without_an_answer_is_temporary(hook: Target) -> None:
    hook.steps.append(drop)
    with pytest.raises(TemporaryFailure):
        await send(hook.url)


async def test_a_connection_refused_is_temporary() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(TemporaryFailure, match=f"127.0.0.1:{port}: ConnectError"):
        await send(f"http://127.0.0.1:{port}/")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254"])
async def test_a_target_that_is_not_public_is_refused_before_connecting(hook: Target, host: str) -> None:
    with pytest.raises(PermanentFailure, match="not a public address"):
        await send(f"http://{host}:{hook.port}/", allow_networks=())
    assert hook.connections == 0


async def test_it_connects_to_the_address_it_judged_whatever_the_name_says_next(
    hook: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: the first answer is fine, every later one would lead elsewhere."""
    asked = []
    loop = asyncio.get_running_loop()
    real = loop.getaddrinfo

    async def rebinding(host: Any, port: Any, **more: Any) -> Any:
        if host in {"rebind.example", b"rebind.example"}:
            asked.append(host)
            host = "127.0.0.1" if len(asked) == 1 else "127.0.0.2"
        return await real(host, port, **more)

    monkeypatch.setattr(loop, "getaddrinfo", rebinding)
    await send(f"http://rebind.example:{hook.port}/", allow_networks=["127.0.0.1/32"])
    assert len(asked) == 1
    assert hook.seen[0].headers["Host"] == f"rebind.example:{hook.port}"
    with pytest.raises(PermanentFailure, match=r"127\.0\.0\.2"):
        await send(f"http://rebind.example:{hook.port}/", allow_networks=["127.0.0.1/32"])


async def test_it_goes_on_to_the_next_address_where_one_refuses(hook: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    real = loop.getaddrinfo

    async def two(host: Any, port: Any, **more: Any) -> Any:
        if host == "two.example":
            return [*await real("127.0.0.2", port, **more), *await real("127.0.0.1", port, **more)]
        return await real(host, port, **more)

    monkeypatch.setattr(loop, "getaddrinfo", two)
    await send(f"http://two.example:{hook.port}/")
    assert len(hook.seen) == 1


async def test_proxies_of_the_environment_are_not_used(hook: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    await send(hook.url)


async def test_cookies_of_a_target_are_not_kept(hook: Target) -> None:
    hook.steps.append(answer(200, Set_Cookie="a=b; Path=/"))
    async with Webhook(settings(hook.url)) as channel:
        await channel.send(queued(transition()))
        await channel.send(queued(transition()))
    assert "Cookie" not in hook.seen[1].headers


async def test_tls_is_verified_against_the_name_although_the_address_is_dialled(tmp_path: Path) -> None:
    cert, key = self_signed(tmp_path, "localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    names: list[str | None] = []
    context.sni_callback = lambda _socket, name, _context: names.append(name)
    async with target(tls=context) as running:
        await send(f"https://localhost:{running.port}/", ca_file=cert)
        assert names == ["localhost"]
        assert running.seen[0].headers["Host"] == f"localhost:{running.port}"
        with pytest.raises(TemporaryFailure, match="CERTIFICATE_VERIFY_FAILED"):
            await send(f"https://127.0.0.1:{running.port}/", ca_file=cert)
        with pytest.raises(TemporaryFailure, match="CERTIFICATE_VERIFY_FAILED"):
            await send(f"https://localhost:{running.port}/")


async def test_five_hundred_then_two_hundred_goes_out_in_the_end(hook: Target) -> None:
    hook.steps.extend([answer(500), answer(500), answer(200)])
    async with open_channel(settings(hook.url)) as channel:
        for _ in range(2):
            with pytest.raises(TemporaryFailure):
                await channel.send(queued(transition()))
        await channel.send(queued(transition()))
    assert len({seen.headers["Idempotency-Key"] for seen in hook.seen}) == 1


def subclasses(kind: type[BaseException]) -> set[type[BaseException]]:
    return {kind}.union(*(subclasses(child) for child in kind.__subclasses__()))


def test_every_error_of_the_libraries_has_one_of_ours() -> None:
    """StreamError and CookieConflict are raised for misuse of httpx: bugs of ours, not failures of a target."""
    request = httpx.Request("POST", "http://x/")
    made: list[Exception] = [httpx.InvalidURL("x"), MqttError("x"), ssl.SSLError("x"), socket.gaierror(2, "x")]
    made += [MqttCodeError(7, "x"), MqttConnectError(ReasonCode(PacketTypes.CONNACK, identifier=0x87))]
    made += [TimeoutError(), ConnectionResetError(), BrokenPipeError()]
    for kind in subclasses(httpx.HTTPError):
        response = httpx.Response(500, request=request)
        if kind is httpx.HTTPStatusError:
            made.append(httpx.HTTPStatusError("x", request=request, response=response))
        elif kind is not httpx.HTTPError:
            error = kind("x")
            assert isinstance(error, Exception)
            made.append(error)
    assert {type(error) for error in made} >= {
        getattr(httpx, name)
        for name in httpx.__all__
        if isinstance(getattr(httpx, name), type)
        and issubclass(getattr(httpx, name), httpx.TransportError | httpx.DecodingError)
    }
    for error in made:
        with pytest.raises(ChannelError, match=r"^host:1: "), foreign_errors("host:1"):
            raise error


def test_secrets_do_not_show_in_a_printed_setting() -> None:
    made = settings("https://x/", secret="a secret of some length", headers={"Authorization": "Bearer t0ken"})
    assert "t0ken" not in repr(made)
    assert "a secret" not in repr(made)
    assert "t0ken" not in made.model_dump_json()
