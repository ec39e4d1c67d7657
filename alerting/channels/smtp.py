"""E-mail: handed to a mail server by SMTP (RFC 5321), taken for sent when the server answers 250 to the mail's end.

What the server says of the mail or its addresses decides: 4xx is temporary, 5xx is for good. What it says of us (at the
greeting, STARTTLS or the login) says nothing of the mail: whatever the code, it is tried again, since a password that
expired must not cost an alert. Of several recipients those who are accepted get it; those who were refused for now are
tried again alone, and those refused for good are kept as a remark with the notification.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Self

from aiosmtplib import (
    SMTP,
    SMTPAuthenticationError,
    SMTPException,
    SMTPHeloError,
    SMTPRecipientRefused,
    SMTPResponseException,
    SMTPStatus,
)

from alerting.channels import mail
from alerting.channels.base import PermanentFailure, TemporaryFailure, foreign_errors
from alerting.channels.mailbox import address
from alerting.channels.parts import Parts

if TYPE_CHECKING:
    from types import TracebackType

    from alerting.channels.parts import Part
    from alerting.channels.settings import SmtpSettings
    from alerting.desk.outbox import QueuedNotification

#: RFC 4954: these are about who we are, at whatever command they come.
_ABOUT_US: Final = frozenset({530, 534, 535, 538})
#: For a farewell after the mail was taken.
_QUIT_SECONDS: Final = 1.0
_PORTS: Final = {"starttls": 587, "tls": 465, "plain": 25}


class Smtp:
    """A ``Channel``. A connection for each mail: mails are few, and servers end idle connections."""

    def __init__(self, settings: SmtpSettings) -> None:
        self._settings = settings
        self._port = settings.port or _PORTS[settings.security]
        self._target = f"{settings.host}:{self._port}"
        self._tls = ssl.create_default_context(cafile=settings.ca_file) if settings.security != "plain" else None
        self._sender = address(settings.from_).addr_spec
        recipients = (address(value).addr_spec for value in (*settings.to, *settings.cc))
        self._recipients = list(dict.fromkeys(recipients))
        self._parts = Parts()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to close: connections end with the send they are for."""

    async def send(self, notification: QueuedNotification) -> str | None:
        part = self._parts.of(notification.id)
        message = mail.compose(self._settings, notification, datetime.now(UTC)).as_bytes()
        client = SMTP(
            hostname=self._settings.host,
            port=self._port,
            local_hostname=_own_name(),
            use_tls=self._settings.security == "tls",
            start_tls=self._settings.security == "starttls",
            tls_context=self._tls,
            timeout=None,  # one deadline for the whole exchange
        )
        try:
            with foreign_errors(self._target):
                async with asyncio.timeout(self._settings.timeout_seconds):
                    await self._enter(client)
                    later = await self._hand_over(client, part, message)
            with suppress(TimeoutError, SMTPException, OSError):
                async with asyncio.timeout(_QUIT_SECONDS):
                    await client.quit()
        finally:
            client.close()
        if later:
            raise TemporaryFailure(f"{self._target}: not yet: {'; '.join(later)}")
        if not part.taken:
            raise PermanentFailure(f"{self._target}: {part.remark}")
        self._parts.forget(notification.id)
        return part.remark

    async def _enter(self, client: SMTP) -> None:
        settings = self._settings
        try:
            await client.connect()
            if settings.username is not None and settings.password is not None:
                await client.login(settings.username, settings.password.get_secret_value())
        except SMTPAuthenticationError as error:
            # Without what the server says: it may say again what it was told.
            raise TemporaryFailure(f"{self._target}: the login was refused: {error.code}") from None
        except SMTPResponseException as error:
            raise TemporaryFailure(f"{self._target}: {_said(error)}") from error

    async def _hand_over(self, client: SMTP, part: Part, message: bytes) -> list[str]:
        """Give the mail to all who will have it; who of the others may have it later, with what was said."""
        accepted, later = [], []
        try:
            await client.mail(self._sender)
            for recipient in part.open(self._recipients):
                try:
                    await client.rcpt(recipient)
                except SMTPRecipientRefused as error:
                    if error.code == SMTPStatus.domain_unavailable:
                        raise  # 421: the server ends the conversation
                    if _for_good(error):
                        part.refused[recipient] = _said(error)
                    else:
                        later.append(f"{recipient}: {_said(error)}")
                else:
                    accepted.append(recipient)
            if accepted:
                await client.data(message)
        except SMTPResponseException as error:
            failure = PermanentFailure if _for_good(error) else TemporaryFailure
            told = f" (taken for {', '.join(sorted(part.taken))})" if part.taken else ""
            raise failure(f"{self._target}: {_said(error)}{told}") from error
        part.taken.update(accepted)
        return later


def _for_good(error: SMTPResponseException) -> bool:
    return 500 <= error.code < 600 and error.code not in _ABOUT_US and not isinstance(error, SMTPHeloError)


def _said(error: SMTPResponseException) -> str:
    return " ".join(f"{error.code} {error.message}".split())[:200]


def _own_name() -> str:
    """What we call ourselves at EHLO: a full name, or else an address literal (RFC 5321, 4.1.3)."""
    name = socket.gethostname()
    return name if "." in name and name.isascii() and " " not in name else "[127.0.0.1]"
