"""Mail, handed to a server that speaks SMTP and behaves as servers do."""

from __future__ import annotations

import asyncio
import email
import email.policy
import email.utils
import re
import ssl
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import aiosmtplib
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerting.channels import mail
from alerting.channels.base import ChannelError, PermanentFailure, TemporaryFailure, foreign_errors
from alerting.channels.settings import SmtpSettings
from alerting.channels.smtp import Smtp
from alerting.model import AlertState, Event, Severity, Subject, SubjectKind
from tests.alerting.certificates import self_signed
from tests.alerting.mail_server import PASSWORD, USER, answer, drip, drop, drop_amid_the_mail, hang, mail_server
from tests.alerting.samples import queued, transition
from tests.alerting.target import target

if TYPE_CHECKING:
    from pathlib import Path

    from alerting.desk.outbox import QueuedNotification
    from tests.alerting.mail_server import MailServer, Step

TO = ["Trực ban <duty@example.org>", "chief@example.org"]


def made(port: int = 25, **more: Any) -> SmtpSettings:
    given_ = {"name": "mail", "host": "127.0.0.1", "port": port, "security": "plain", "to": TO, **more}
    return SmtpSettings.model_validate({"from": "Hải Đăng <haidang@hue.example>", **given_})


async def send(server: MailServer, notification: QueuedNotification | None = None, **more: Any) -> str | None:
    async with Smtp(made(server.port, **more)) as channel:
        return await channel.send(notification or queued(transition(), "mail"))


@pytest.fixture
def tls(tmp_path: Path) -> tuple[ssl.SSLContext, Path]:
    certificate, key = self_signed(tmp_path, "127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context, certificate


async def test_a_mail_says_it_in_both_languages_to_all_recipients() -> None:
    notification = queued(transition(), "mail")
    async with mail_server() as server:
        cc, back = ["archive@example.org"], "Bộ chỉ huy <command@example.org>"
        assert await send(server, notification, cc=cc, reply_to=back, html=True) is None
    [got] = server.mails
    assert got.sender == "haidang@hue.example"
    assert got.recipients == ["duty@example.org", "chief@example.org", "archive@example.org"]
    message = got.message
    assert message["From"] == "Hải Đăng <haidang@hue.example>"
    assert message["To"] == "Trực ban <duty@example.org>, chief@example.org"
    assert (message["Cc"], message["Reply-To"]) == ("archive@example.org", back)
    assert message["Subject"] == (
        "[nghiêm trọng] Cảnh báo: Mất tín hiệu 6,5 giờ / [major] Alert: No position for 6.5 h"
    )
    assert message["Message-ID"] == f"<{notification.id}@hue.example>"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Content-Language"] == "vi, en"
    assert message["Importance"] is None
    assert abs(message["Date"].datetime - datetime.now(UTC)).total_seconds() < 600
    assert got.raw.isascii()
    assert b"Subject: =?utf-8?" in got.raw
    assert "Vị trí: 16.55000, 107.64000\n" in got.text
    assert "Since: 18:06 on 18 Nov (UTC+7)\n" in got.text
    assert "Lý do" not in got.text  # there is none
    page = message.get_body(("html",))
    assert page is not None
    link = notification.payload["link"]
    assert f'<a href="{link}">{link}</a>' in page.get_content()


async def test_all_of_one_alert_is_one_thread() -> None:
    firing = transition()
    told = [
        firing,
        replace(firing, at=firing.at + 1, severity=Severity.CRITICAL, change=Event.ESCALATED),
        replace(firing, at=firing.at + 2, severity=Severity.MAJOR, change=Event.ESCALATED),
        replace(firing, at=firing.at + 3, state=AlertState.RESOLVED),
    ]
    async with mail_server() as server:
        for moved in told:
            await send(server, queued(moved, "mail"))
        await send(server, queued(transition(start=1_795_000_000_000_001), "mail"))
    *thread, other = [got.message for got in server.mails]
    first = thread[0]["Message-ID"]
    assert thread[0]["References"] is None
    assert [one["References"] for one in thread[1:]] == [one["In-Reply-To"] for one in thread[1:]] == [first] * 3
    assert len({one["Message-ID"] for one in thread}) == 4
    assert other["Message-ID"] != first
    assert thread[1]["Importance"] == "high"


async def test_an_answer_that_was_lost_makes_the_same_mail_go_out_again() -> None:
    notification = queued(transition(), "mail")
    async with mail_server() as server:
        server.data.append("lost")
        async with Smtp(made(server.port)) as channel:
            with pytest.raises(TemporaryFailure):
                await channel.send(notification)
            await channel.send(notification)
    first, second = (got.message for got in server.mails)
    assert first["Message-ID"] == second["Message-ID"] == f"<{notification.id}@hue.example>"


@pytest.mark.parametrize("implicit", [False, True])
async def test_it_is_encrypted_and_logged_in(tls: tuple[ssl.SSLContext, Path], implicit: bool) -> None:
    context, certificate = tls
    how: dict[str, Any] = {"security": "tls" if implicit else "starttls", "username": USER, "password": PASSWORD}
    async with mail_server(tls=context, implicit=implicit, login=True) as server:
        await send(server, ca_file=certificate, **how)
        with pytest.raises(TemporaryFailure, match="CERTIFICATE_VERIFY_FAILED"):
            await send(server, **how)
        with pytest.raises(TemporaryFailure, match="the login was refused: 535") as caught:
            await send(server, ca_file=certificate, **{**how, "password": "another password"})
        assert "another" not in str(caught.value)
        with pytest.raises(TemporaryFailure, match="530"):
            await send(server, ca_file=certificate, security=how["security"])
    [got] = server.mails
    assert got.user == USER
    assert got.encrypted


@pytest.mark.parametrize("refusal", [None, "454 not now", "500 never"])
async def test_where_there_is_no_encryption_nothing_is_said(
    tls: tuple[ssl.SSLContext, Path], refusal: str | None
) -> None:
    """A line cut in two by somebody who leaves out STARTTLS, or answers it with no."""
    async with mail_server(tls=tls[0] if refusal else None) as server:
        if refusal:
            server.steps["STARTTLS"].append(answer(refusal))
        with pytest.raises(TemporaryFailure):
            await send(server, security="starttls", ca_file=tls[1], username=USER, password=PASSWORD)
    assert server.mails == []


@pytest.mark.parametrize(
    ("command", "said", "kind"),
    [
        ("EHLO", "421 closing", TemporaryFailure),
        ("EHLO", "550 who are you", TemporaryFailure),
        ("MAIL", "451 not now", TemporaryFailure),
        ("MAIL", "550 no such sender", PermanentFailure),
        ("MAIL", "530 authentication required", TemporaryFailure),
        ("RCPT", "421 closing", TemporaryFailure),
        ("DATA", "451 not now", TemporaryFailure),
        ("DATA", "554 no valid recipients", PermanentFailure),
    ],
)
async def test_4xx_is_temporary_and_5xx_is_for_good(command: str, said: str, kind: type[ChannelError]) -> None:
    async with mail_server() as server:
        server.steps[command].extend([answer(said)] * 2)
        server.steps["HELO"].append(answer(said))
        with pytest.raises(kind, match=None if command == "EHLO" else said):
            await send(server)
    assert server.mails == []


@pytest.mark.parametrize(
    ("said", "kind"), [("452 disk full", TemporaryFailure), ("554 looks like spam", PermanentFailure)]
)
async def test_a_verdict_over_the_whole_mail_is_heeded(said: str, kind: type[ChannelError]) -> None:
    async with mail_server() as server:
        server.data.append(said)
        with pytest.raises(kind, match=said):
            await send(server)
    assert server.mails == []


async def test_a_recipient_refused_for_good_keeps_it_from_nobody_else_and_is_told() -> None:
    async with mail_server() as server:
        server.refuse["duty@example.org"].append("550 5.1.1 no such user")
        remark = await send(server)
    assert remark == "refused: duty@example.org: 550 5.1.1 no such user"
    assert [got.recipients for got in server.mails] == [["chief@example.org"]]


async def test_a_recipient_refused_for_now_is_tried_again_alone() -> None:
    notification = queued(transition(), "mail")
    async with mail_server() as server:
        server.refuse["duty@example.org"].append("450 4.2.0 greylisted")
        server.refuse["third@example.org"].append("550 5.1.1 no such user")
        async with Smtp(made(server.port, to=[*TO, "third@example.org"])) as channel:
            with pytest.raises(TemporaryFailure, match=r"duty@example.org: 450 4.2.0 greylisted"):
                await channel.send(notification)
            assert await channel.send(notification) == "refused: third@example.org: 550 5.1.1 no such user"
            await channel.send(queued(transition(start=1_795_000_000_000_001), "mail"))
    all_ = ["duty@example.org", "chief@example.org", "third@example.org"]
    assert [got.recipients for got in server.mails] == [["chief@example.org"], ["duty@example.org"], all_]
    assert len({got.message["Message-ID"] for got in server.mails}) == 2


async def test_where_all_recipients_are_refused_for_good_so_is_the_mail() -> None:
    async with mail_server() as server:
        for one in ("duty@example.org", "chief@example.org"):
            server.refuse[one].append("550 5.1.1 no such user")
        with pytest.raises(PermanentFailure, match=r"duty@example.org: 550 .*chief@example.org: 550"):
            await send(server)
    assert server.mails == []


@pytest.mark.parametrize("command", ["EHLO", "STARTTLS", "MAIL", "RCPT", "DATA"])
@pytest.mark.parametrize(
    "step", [hang, drop, drip(b"250-more\r\n"), drip(b"2"), answer("nonsense"), answer("999 what")]
)
async def test_a_server_that_hangs_drips_drops_or_babbles_is_left_in_time(
    tls: tuple[ssl.SSLContext, Path], command: str, step: Step
) -> None:
    async with mail_server(tls=tls[0]) as server, asyncio.timeout(20):
        server.steps[command].extend([step] * 3)
        with pytest.raises(TemporaryFailure):
            await send(server, security="starttls", ca_file=tls[1], timeout_seconds=0.5)
        server.steps.clear()
        await send(server, security="starttls", ca_file=tls[1])
    assert len(server.mails) == 1


async def test_a_connection_lost_amid_the_mail_is_temporary() -> None:
    async with mail_server() as server:
        server.steps["DATA"].append(drop_amid_the_mail)
        with pytest.raises(TemporaryFailure):
            await send(server)
    assert server.mails == []


async def test_a_server_that_says_nothing_is_left_in_time() -> None:
    async with target() as silent, asyncio.timeout(20):
        silent.silent = True
        for security in ("plain", "tls"):
            with pytest.raises(TemporaryFailure, match="TimeoutError"):
                await Smtp(made(silent.port, security=security, timeout_seconds=0.2)).send(queued(transition(), "mail"))


@pytest.mark.parametrize("step", [hang, drop, answer("500 never")])
async def test_a_bad_farewell_changes_nothing(step: Step) -> None:
    async with mail_server() as server, asyncio.timeout(20):
        server.steps["QUIT"].append(step)
        assert await send(server) is None
    assert len(server.mails) == 1


async def test_nobody_there_is_temporary() -> None:
    with pytest.raises(TemporaryFailure, match=r"127\.0\.0\.1:1: "):
        await Smtp(made(1)).send(queued(transition(), "mail"))


@settings(max_examples=200)
@given(name=st.text(max_size=60), summary=st.text(max_size=300), note=st.text(max_size=100), event=st.text(max_size=30))
def test_no_text_from_outside_makes_a_header_or_another_mail(name: str, summary: str, note: str, event: str) -> None:
    moved = replace(
        transition(subject=Subject(SubjectKind.TRANSPONDER, 1, name)),
        summary_en=summary,
        summary_vi=summary,
        details={"note": note},
    )
    notification = replace(queued(moved, "mail"), event=event)
    settings_ = made(subject={"en": "{subject} {summary} {details.note}"}, html=True)
    message = mail.compose(settings_, notification, datetime.now(UTC))
    plain = mail.compose(made(html=True), queued(transition(), "mail"), datetime.now(UTC))
    raw = message.as_bytes()
    head, _, _ = raw.partition(b"\r\n\r\n")
    names = [line.split(b":")[0] for line in head.split(b"\r\n") if not line.startswith((b" ", b"\t"))]
    assert {one.decode() for one in names} == {*plain.keys()}
    assert raw.isascii()
    assert b"\n" not in raw.replace(b"\r\n", b"")
    assert b"\r" not in raw.replace(b"\r\n", b"")
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    parsed = email.message_from_bytes(raw, policy=email.policy.default)
    assert not parsed.defects
    assert email.utils.parseaddr(str(parsed["From"]))[1] == "haidang@hue.example"
    page = message.get_body(("html",))
    assert page is not None
    markup = re.findall(r"</?(\w+)", page.get_content().partition("<body>")[2])
    assert set(markup) <= {"p", "br", "a", "body", "html"}


def subclasses(kind: type[BaseException]) -> set[type[BaseException]]:
    return {kind}.union(*(subclasses(child) for child in kind.__subclasses__()))


def test_every_error_of_the_library_has_one_of_ours() -> None:
    for kind in subclasses(aiosmtplib.SMTPException):
        assert issubclass(kind, Exception)
        with pytest.raises(TemporaryFailure), foreign_errors("host:25"):
            raise kind.__new__(kind)
