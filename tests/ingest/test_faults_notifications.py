"""Who is to be told listens badly, or not at all: everything is told in the end, in order, and nobody else waits."""

from __future__ import annotations

import asyncio
import json
import signal
import ssl
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from services.ports import LOOPBACK, find_free
from tests.alerting.certificates import self_signed
from tests.alerting.target import drip, target
from tests.ingest.command import rows
from tests.ingest.running import Process, balanced, count, publish, reading, serving, settings, until, write_config
from tests.ingest.test_faults_database import flood_rules
from tests.servers.http_target import Answer, HttpTarget

if TYPE_CHECKING:
    from pathlib import Path

    from services.mosquitto import Mosquitto

#: What is told of the floods below: three begin, three end.
TOLD = 6


@pytest.fixture
def gateway() -> str:
    return f"gw-{uuid4().hex[:8]}"


def webhook(url: str, **more: Any) -> dict[str, Any]:
    """A channel that may go to this machine, and whose back-off a test can wait for."""
    return {"type": "webhook", "url": url, "allow_networks": ["127.0.0.0/8"], "max_delay_seconds": 0.2, **more}


async def flood(broker: Mosquitto, gateway: str) -> None:
    """The river rises over all levels and falls under them, three times."""
    await publish(broker, gateway, "kim-long", [reading(n, 9.9 if n % 2 else 0.1) for n in range(7)])


def states(dsn: str, channel: str) -> set[str]:
    return {state for (state,) in rows(dsn, "SELECT state FROM notifications WHERE channel = %s", channel)}


def told(dsn: str, channel: str, state: str = "sent") -> bool:
    return rows(dsn, "SELECT count(*) FROM notifications WHERE channel = %s AND state = %s", channel, state) == [
        (TOLD,)
    ]


def in_order(bodies: list[dict[str, Any]]) -> bool:
    """Each alert begins before it ends."""
    first: dict[str, str] = {}
    for body in bodies:
        first.setdefault(body["alert_id"], body["event"])
    return set(first.values()) == {"firing"}


async def test_one_that_fails_holds_up_no_other_and_is_told_in_the_end_in_order(
    migrated: str, broker: Mosquitto, gateway: str, http_target: HttpTarget
) -> None:
    closed = find_free()
    with HttpTarget() as errors, HttpTarget() as hanging, HttpTarget() as moved:
        errors.answer(*[Answer(500), Answer(503), Answer(429), Answer(hang_up=True)] * 3)
        hanging.answer(*[Answer(delay=3600)] * 4)
        moved.default = Answer(302, headers={"Location": f"{http_target.url}/elsewhere"})
        async with target() as dripping:
            dripping.steps.extend([drip(b"HTTP/1.1 200 OK\r\nX-Slow: ", b"x")] * 4)
            channels = {
                "good": webhook(http_target.url),
                "errors": webhook(errors.url),
                "hanging": webhook(hanging.url, timeout_seconds=0.5),
                "dripping": webhook(dripping.url, timeout_seconds=0.5),
                "moved": webhook(moved.url),
                "refused": webhook(f"http://{LOOPBACK}:{closed}"),
            }
            async with serving(settings(migrated, broker, gateway, channels=channels), flood_rules()) as service:
                await flood(broker, gateway)
                await until(lambda: told(migrated, "good"))
                # Nobody listens there, so it cannot have been told; and the good one did not wait for it.
                assert states(migrated, "refused") == {"queued"}
                assert "refused" in service.readiness()["channels_failing"]
                for name in ("errors", "hanging", "dripping"):
                    await until(lambda name=name: told(migrated, name))  # type: ignore[misc]
                await until(lambda: told(migrated, "moved", "abandoned"))
                assert balanced(service)
            assert len({s.headers["X-Haidang-Notification-Id"] for s in dripping.seen}) == TOLD
        for one in (errors, hanging, http_target):
            requests = one.requests
            assert len({request.headers["x-haidang-notification-id"] for request in requests}) == TOLD
            assert in_order([json.loads(request.body) for request in requests])
        # A redirect is not followed: whoever can answer for a target does not choose where alerts go.
        assert len(http_target.requests) == TOLD
        (why,) = rows(migrated, "SELECT DISTINCT last_error FROM notifications WHERE channel = 'moved'")
        assert "302" in why[0]
        tries = rows(migrated, "SELECT sum(attempts) FROM notifications WHERE channel = 'errors'")
        assert tries == [(len(errors.requests),)]
        assert len(errors.requests) == TOLD + 12


async def test_a_certificate_that_cannot_be_verified_is_no_way_out_and_the_right_one_is(
    migrated: str, broker: Mosquitto, gateway: str, tmp_path: Path
) -> None:
    certificate, key = self_signed(tmp_path, LOOPBACK)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    async with target(tls=tls) as listening:
        url = listening.url.replace("http://", "https://")
        distrusted = settings(migrated, broker, gateway, channels={"duty": webhook(url)})
        async with serving(distrusted, flood_rules()):
            await flood(broker, gateway)
            failed = "SELECT count(*) FROM notifications WHERE last_error ILIKE '%%certificate%%' AND state = 'queued'"
            await until(lambda: count(migrated, failed) == TOLD // 2)
        assert listening.seen == []
        trusted = settings(migrated, broker, gateway, channels={"duty": webhook(url, ca_file=str(certificate))})
        async with serving(trusted, flood_rules()):
            await until(lambda: told(migrated, "duty"))
        assert in_order([json.loads(seen.body) for seen in listening.seen])


async def test_the_queue_survives_a_kill_while_nobody_listens(
    migrated: str, broker: Mosquitto, gateway: str, http_target: HttpTarget, tmp_path: Path
) -> None:
    closed = find_free()
    more = f"""
        grace_seconds = 5
        [rules]
        packs = ["hue"]
        [channels.duty]
        type = "webhook"
        url = "http://{LOOPBACK}:{closed}"
        allow_networks = ["127.0.0.0/8"]
        max_delay_seconds = 0.2
        rules = ["flood-kim-long*"]
        """
    config = write_config(tmp_path / "haidang.toml", migrated, broker, gateway, more)
    process = Process(config, log=tmp_path / "log")
    for number in (signal.SIGKILL, signal.SIGTERM):
        await process.start()
        try:
            await process.started()
            if number == signal.SIGKILL:
                await flood(broker, gateway)
            await until(lambda: count(migrated, "SELECT count(*) FROM notifications WHERE attempts > 0") == TOLD // 2)
            process.signal(number)
            await process.ended()
        finally:
            await process.end()
        (tmp_path / "log").unlink()
        assert states(migrated, "duty") == {"queued"}
    channels = {"duty": webhook(http_target.url)}
    async with serving(settings(migrated, broker, gateway, channels=channels), flood_rules()):
        await until(lambda: told(migrated, "duty"))
    requests = await asyncio.to_thread(http_target.wait_for, TOLD)
    assert len(requests) == TOLD
    assert in_order([json.loads(request.body) for request in requests])
