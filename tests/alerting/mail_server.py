"""A mail server that speaks SMTP, with TLS and logins, and does as it is told: what real ones do on bad days."""

from __future__ import annotations

import asyncio
import warnings
from collections import defaultdict, deque
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.policy import default
from typing import TYPE_CHECKING, Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable
    from email.message import EmailMessage

    Step = Callable[["Conversation"], Awaitable[bool]]

USER, PASSWORD = "duty", "a password of ours"


@dataclass(slots=True)
class Mail:
    sender: str
    recipients: list[str]
    raw: bytes
    encrypted: bool
    user: str | None

    @property
    def message(self) -> EmailMessage:
        return message_from_bytes(self.raw, policy=default)

    @property
    def text(self) -> str:
        body = self.message.get_body(("plain",))
        assert body is not None
        return str(body.get_content()).replace("\r\n", "\n")


@dataclass
class MailServer:
    """Plays the steps of a command in turn, then does as the standard says. ``data`` answers the end of each mail."""

    port: int = 0
    steps: defaultdict[str, deque[Step]] = field(default_factory=lambda: defaultdict(deque))
    refuse: defaultdict[str, deque[str]] = field(default_factory=lambda: defaultdict(deque))  # answers to RCPT
    data: deque[str] = field(default_factory=deque)
    mails: list[Mail] = field(default_factory=list)
    connections: int = 0

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        answers = self.refuse[address]
        if answers:
            return answers.popleft()
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        assert isinstance(server.transport, asyncio.Transport)
        answer = self.data.popleft() if self.data else "250 2.0.0 queued"
        if answer.startswith("2") or answer == "lost":
            assert isinstance(envelope.content, bytes)
            login: Any = session.auth_data
            user = login.login.decode() if isinstance(login, LoginPassword) else None
            sender, recipients = envelope.mail_from or "", list(envelope.rcpt_tos)
            encrypted = server.transport.get_extra_info("sslcontext") is not None
            self.mails.append(Mail(sender, recipients, envelope.content, encrypted, user))
        if answer == "lost":  # the mail is taken, and nobody hears of it
            server.transport.abort()
            await asyncio.Event().wait()
        return answer


class Conversation(SMTP):
    def __init__(self, script: MailServer, **kwargs: Any) -> None:
        self.script = script
        super().__init__(script, **kwargs)

    async def _play(self, command: str, arg: str, proper: Callable[[str], Awaitable[None]]) -> None:
        steps = self.script.steps[command]
        if not steps or not await steps.popleft()(self):
            await proper(arg)

    async def smtp_EHLO(self, hostname: str) -> None:  # noqa: N802
        await self._play("EHLO", hostname, super().smtp_EHLO)

    async def smtp_HELO(self, hostname: str) -> None:  # noqa: N802
        await self._play("HELO", hostname, super().smtp_HELO)

    async def smtp_STARTTLS(self, arg: str) -> None:  # noqa: N802
        await self._play("STARTTLS", arg, super().smtp_STARTTLS)

    async def smtp_MAIL(self, arg: str | None) -> None:  # noqa: N802
        await self._play("MAIL", arg or "", super().smtp_MAIL)

    async def smtp_RCPT(self, arg: str | None) -> None:  # noqa: N802
        await self._play("RCPT", arg or "", super().smtp_RCPT)

    async def smtp_DATA(self, arg: str) -> None:  # noqa: N802
        await self._play("DATA", arg, super().smtp_DATA)

    async def smtp_QUIT(self, arg: str) -> None:  # noqa: N802
        await self._play("QUIT", arg, super().smtp_QUIT)


def answer(text: str) -> Step:
    async def step(conversation: Conversation) -> bool:
        await conversation.push(text)
        return True

    return step


async def hang(conversation: Conversation) -> bool:
    await asyncio.Event().wait()  # until the connection ends
    return True


async def drop(conversation: Conversation) -> bool:
    assert isinstance(conversation.transport, asyncio.Transport)
    conversation.transport.abort()
    return True


async def drop_amid_the_mail(conversation: Conversation) -> bool:
    await conversation.push("354 go on")
    await conversation._reader.readuntil(b"\r\n")
    return await drop(conversation)


def drip(text: bytes) -> Step:
    """Say it over and over, a little at a time."""

    async def step(conversation: Conversation) -> bool:
        while True:
            conversation._writer.write(text)
            await conversation._writer.drain()
            await asyncio.sleep(0.02)  # the pace of the drip

    return step


def _login(server: SMTP, session: Session, envelope: Envelope, mechanism: str, auth_data: Any) -> AuthResult:
    assert isinstance(auth_data, LoginPassword)
    good = (auth_data.login, auth_data.password) == (USER.encode(), PASSWORD.encode())
    # `handled`: whether the server is left to answer.
    return AuthResult(success=good, handled=False, auth_data=auth_data)


@asynccontextmanager
async def mail_server(
    *, tls: ssl.SSLContext | None = None, implicit: bool = False, login: bool = False
) -> AsyncIterator[MailServer]:
    """A running server on a free loopback port: with ``tls`` STARTTLS is offered, or it begins so (``implicit``)."""
    script = MailServer()
    loop = asyncio.get_running_loop()
    open_: list[Conversation] = []

    def conversation() -> Conversation:
        script.connections += 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it knows of no encryption but its own
            made = Conversation(
                script,
                loop=loop,
                hostname="mail.example.org",
                tls_context=None if implicit else tls,
                auth_required=login,
                auth_require_tls=not implicit,
                authenticator=_login,
                enable_SMTPUTF8=False,
            )
        open_.append(made)
        return made

    server = await loop.create_server(conversation, "127.0.0.1", 0, ssl=tls if implicit else None)
    script.port = server.sockets[0].getsockname()[1]
    try:
        yield script
    finally:
        server.close()
        for one in open_:
            # Python up to 3.11.2 cannot abort a TLS connection that is closing already.
            if isinstance(one.transport, asyncio.Transport) and not one.transport.is_closing():
                one.transport.abort()
            if one._handler_coroutine is not None:
                one._handler_coroutine.cancel()
        tasks = [one._handler_coroutine for one in open_ if one._handler_coroutine is not None]
        await asyncio.gather(*tasks, return_exceptions=True)
