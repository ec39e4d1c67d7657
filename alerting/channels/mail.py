"""Mails: RFC 5322 messages from notifications. Pure but for the date, which is given.

``Message-ID`` is made of the notification's id: one sent twice is seen as one by whoever looks. The first notification
of an alert ("firing") has an id that all others know, and they name it in ``In-Reply-To`` and ``References``: one
alert, one thread, also where that first one was never mailed.
"""

from __future__ import annotations

import html
import re
from email.message import EmailMessage
from email.policy import SMTP
from typing import TYPE_CHECKING, Final

from alerting.channels.mailbox import address
from alerting.channels.text import write
from alerting.model import Event, Severity, notification_id

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from email.headerregistry import Address
    from uuid import UUID

    from alerting.channels.settings import SmtpSettings
    from alerting.desk.outbox import QueuedNotification

_LINK: Final = re.compile(r"https?://[^\s<>\"']+")


def compose(settings: SmtpSettings, notification: QueuedNotification, date: datetime) -> EmailMessage:
    """One notification as a mail. ``date`` is aware."""
    written = write(settings, notification.payload)
    sender = address(settings.from_)
    mail = EmailMessage(policy=SMTP)
    mail["From"] = sender
    mail["To"] = _addresses(settings.to)
    if settings.cc:
        mail["Cc"] = _addresses(settings.cc)
    if settings.reply_to:
        mail["Reply-To"] = address(settings.reply_to)
    mail["Subject"] = written.subject
    mail["Date"] = date
    own, first = _message_id(notification.id, sender), _message_id(_first(notification), sender)
    mail["Message-ID"] = own
    if own != first:
        mail["In-Reply-To"] = first
        mail["References"] = first
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no vacation notices, please
    mail["X-Auto-Response-Suppress"] = "All"
    if notification.payload.get("severity") == Severity.CRITICAL:
        mail["Importance"] = "high"
    mail["X-Haidang-Notification-Id"] = str(notification.id)
    mail["X-Haidang-Event"] = re.sub(r"[^a-z0-9_-]", "_", notification.event)[:64]
    mail.set_content(written.body, charset="utf-8", cte="quoted-printable")
    if settings.html:
        page = _page(written.subject, written.body, settings.language)
        mail.add_alternative(page, subtype="html", charset="utf-8", cte="quoted-printable")
        mail.set_boundary(f"haidang-{notification.id}")
    mail["Content-Language"] = "vi, en" if settings.language == "both" else settings.language
    return mail


def _addresses(values: Sequence[str]) -> tuple[Address, ...]:
    return tuple(address(value) for value in values)


def _first(notification: QueuedNotification) -> UUID:
    return notification_id(notification.alert_id, Event.FIRING.value, notification.channel)


def _message_id(id_: UUID, sender: Address) -> str:
    return f"<{id_}@{sender.domain}>"


def _page(subject: str, body: str, language: str) -> str:
    """The text as a page: nothing in it is markup but line ends and links."""
    parts, at = [], 0
    for link in _LINK.finditer(body):
        url = html.escape(link[0])
        parts += [html.escape(body[at : link.start()]), f'<a href="{url}">{url}</a>']
        at = link.end()
    parts.append(html.escape(body[at:]))
    lines = "".join(parts).rstrip("\n").replace("\n", "<br>\n")
    tongue = "vi" if language == "both" else language
    head = f'<meta charset="utf-8"><title>{html.escape(subject)}</title>'
    return f'<!DOCTYPE html>\n<html lang="{tongue}"><head>{head}</head>\n<body><p>\n{lines}\n</p></body></html>\n'
