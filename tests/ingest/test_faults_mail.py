"""Mail from end to end: the service, its outbox and a mail server, with what goes wrong between them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import psycopg
import pytest

from services.ports import LOOPBACK
from tests.alerting.mail_server import answer, drop_amid_the_mail, mail_server
from tests.ingest.command import rows
from tests.ingest.running import Process, balanced, serving, settings, until, write_config
from tests.ingest.test_faults_database import flood_rules
from tests.ingest.test_faults_notifications import TOLD, flood, told

if TYPE_CHECKING:
    from pathlib import Path

    from services.mosquitto import Mosquitto
    from tests.alerting.mail_server import MailServer


@pytest.fixture
def gateway() -> str:
    return f"gw-{uuid4().hex[:8]}"


def mail(port: int, **more: Any) -> dict[str, Any]:
    to = ["duty@example.org", "gone@example.org"]
    said = {"host": LOOPBACK, "port": port, "security": "plain", "from": "haidang@hue.example", "to": to}
    return {"type": "smtp", **said, "max_delay_seconds": 0.2, **more}


def threads(server: MailServer) -> Counter[str]:
    """How many different mails each thread has."""
    found = {
        (got.message["References"] or got.message["Message-ID"], got.message["Message-ID"]) for got in server.mails
    }
    return Counter(first for first, _ in found)


async def test_a_mail_server_on_a_bad_day_costs_no_alert_and_who_was_refused_is_on_record(
    migrated: str, broker: Mosquitto, gateway: str
) -> None:
    async with mail_server() as server:
        server.steps["MAIL"].extend([answer("451 not now"), answer("421 too busy"), drop_amid_the_mail])
        server.steps["DATA"].extend([drop_amid_the_mail, answer("452 disk full")])
        server.refuse["gone@example.org"].extend(["550 5.1.1 no such user"] * 99)
        config = settings(migrated, broker, gateway, channels={"mail": mail(server.port)})
        async with serving(config, flood_rules()) as service:
            await flood(broker, gateway)
            await until(lambda: told(migrated, "mail"))
            assert balanced(service)
        assert sorted(threads(server).values()) == [2] * (TOLD // 2)
        assert {tuple(got.recipients) for got in server.mails} == {("duty@example.org",)}
    remarks = rows(migrated, "SELECT DISTINCT last_error FROM notifications")
    assert remarks == [("refused: gone@example.org: 550 5.1.1 no such user",)]


async def test_killed_between_the_mail_and_its_mark_it_sends_the_same_mail_again(
    migrated: str, broker: Mosquitto, gateway: str, tmp_path: Path
) -> None:
    async with mail_server() as server:
        more = f"""
            grace_seconds = 5
            [rules]
            packs = ["hue"]
            [channels.mail]
            type = "smtp"
            host = "{LOOPBACK}"
            port = {server.port}
            security = "plain"
            from = "haidang@hue.example"
            to = ["duty@example.org"]
            concurrency = 1
            rules = ["flood-kim-long*"]
            """
        config = write_config(tmp_path / "haidang.toml", migrated, broker, gateway, more)
        dying = Process(config, killed=("after_send", 2), log=tmp_path / "log")
        await dying.start()
        await dying.started()
        await flood(broker, gateway)
        assert await dying.ended(60) == -9, dying.errors
        assert len(server.mails) == 2
        assert rows(migrated, "SELECT count(*) FROM notifications WHERE state = 'sent'") == [(1,)]
        with psycopg.connect(migrated, autocommit=True) as connection:
            # What the dead process had in hand is due when its lease ends: now, and not in half a minute.
            connection.execute("UPDATE notifications SET leased_until = NULL WHERE leased_until IS NOT NULL")
        (tmp_path / "log").unlink()
        living = Process(config, log=tmp_path / "log")
        await living.start()
        try:
            await until(lambda: told(migrated, "mail"))
        finally:
            await living.end()
        ids = Counter(got.message["Message-ID"] for got in server.mails)
        assert ids == Counter([*ids, server.mails[1].message["Message-ID"]])
        noted = {f"<{id_}@hue.example>" for (id_,) in rows(migrated, "SELECT id FROM notifications")}
        assert set(ids) == noted
        assert sorted(threads(server).values()) == [2] * (TOLD // 2)
