"""Nothing acked is lost, nothing is doubled: a real broker, a real database, a proxy to cut, a process to kill."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import aiomqtt
import psycopg
import pytest

from alerting import pack
from alerting.pack import RuleBook
from ingest.inbox import Inbox
from ingest.watch import install
from tests.ingest.running import (
    Process,
    balanced,
    count,
    draw_seed,
    dump,
    publish,
    reading,
    serving,
    settings,
    times,
    until,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ingest.delivery import Delivery
    from services.mosquitto import Mosquitto
    from services.postgres import Postgres
    from tests.servers.tcp_proxy import TcpProxy

MANY = 2_000


def proxied(dsn: str, port: int) -> str:
    """The same database, by way of a proxy."""
    head, _, rest = dsn.rpartition(":")
    return f"{head}:{port}/{rest.split('/', 1)[1]}"


async def test_what_is_published_is_stored_once_and_the_ledger_balances(
    any_migrated: str, broker: Mosquitto, gateway: str
) -> None:
    async with serving(settings(any_migrated, broker, gateway)) as service:
        await publish(broker, gateway, "a", map(reading, range(MANY)))
        account = service.telemetry.ledger.account("gateways")
        await until(lambda: account.stored == MANY)
        assert balanced(service)
    assert times(any_migrated, "a") == list(range(MANY))
    assert service.telemetry.ledger.account("gateways").in_flight == 0


async def test_a_message_sent_twice_changes_nothing_and_counts_as_a_duplicate(
    migrated: str, broker: Mosquitto, gateway: str
) -> None:
    async with serving(settings(migrated, broker, gateway)) as service:
        for _ in range(2):
            await publish(broker, gateway, "a", [*map(reading, range(50)), b"{not json"])
        account = service.telemetry.ledger.account("gateways")
        await until(lambda: account.received == 102 and account.in_flight == 0)
        assert account.as_dict() == {
            "received": 102,
            "stored": 50,
            "duplicate": 51,
            "ignored": 0,
            "quarantined": 1,
            "dropped": 0,
            "in_flight": 0,
        }
    assert times(migrated, "a") == list(range(50))
    assert count(migrated, "SELECT count(*) FROM quarantine") == 1


def acks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The topic of each message that is acked from now on."""
    acked: list[str] = []
    took = Inbox._took

    def noted(delivery: Delivery) -> Delivery:
        def ack() -> None:
            acked.append(delivery.origin)
            if delivery.ack is not None:
                delivery.ack()

        return delivery._replace(ack=ack)

    monkeypatch.setattr(Inbox, "_took", lambda self, deliveries, *rest: took(self, list(map(noted, deliveries)), *rest))
    return acked


async def test_nothing_is_acked_while_the_database_is_away_and_all_is_stored_when_it_is_back(
    migrated: str,
    timescale: Postgres,
    broker: Mosquitto,
    gateway: str,
    tcp_proxy: Callable[[int], TcpProxy],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    acked = acks(monkeypatch)
    proxy = tcp_proxy(timescale.port)
    config = settings(proxied(migrated, proxy.port), broker, gateway)
    async with serving(config) as service:
        account = service.telemetry.ledger.account("gateways")
        await publish(broker, gateway, "a", map(reading, range(10)))
        await until(lambda: account.stored == 10)
        proxy.cut()
        await publish(broker, gateway, "a", map(reading, range(10, MANY)))
        await until(lambda: not service.telemetry.database_up and account.received == MANY)
        assert not service.readiness()["ready"]
        assert service.readiness()["status"] == "degraded"
        assert account.stored == 10
        assert account.in_flight == MANY - 10
        assert len(acked) == 10
        proxy.resume()
        await until(lambda: account.stored == MANY)
        assert len(acked) == MANY
        assert service.readiness()["ready"]
        assert balanced(service)
    assert times(migrated, "a") == list(range(MANY))


async def test_a_stop_while_the_database_is_away_leaves_everything_to_the_broker(
    migrated: str, timescale: Postgres, broker: Mosquitto, gateway: str, tcp_proxy: Callable[[int], TcpProxy]
) -> None:
    proxy = tcp_proxy(timescale.port)
    config = settings(proxied(migrated, proxy.port), broker, gateway)
    short = config.model_copy(update={"service": config.service.model_copy(update={"grace_seconds": 0.2})})
    async with serving(short) as service:
        proxy.cut()
        await publish(broker, gateway, "a", map(reading, range(100)))
        await until(lambda: service.telemetry.ledger.account("gateways").received == 100)
    assert times(migrated, "a") == []
    proxy.resume()
    async with serving(config) as service:
        account = service.telemetry.ledger.account("gateways")
        await until(lambda: account.stored == 100)
        assert service.telemetry.ledger.account("gateways").duplicate == 0
    assert times(migrated, "a") == list(range(100))


@pytest.mark.parametrize("seed", [1, 2])
async def test_cutting_the_database_off_at_any_moment_neither_loses_nor_doubles(
    migrated: str, timescale: Postgres, broker: Mosquitto, gateway: str, tcp_proxy: Callable[[int], TcpProxy], seed: int
) -> None:
    rng = random.Random(seed)
    proxy = tcp_proxy(timescale.port)
    config = settings(proxied(migrated, proxy.port), broker, gateway)
    async with serving(config) as service:
        account = service.telemetry.ledger.account("gateways")
        publishing = asyncio.create_task(publish(broker, gateway, "a", map(reading, range(3 * MANY)), at_once=20))
        for _ in range(12):
            goal = account.stored + account.duplicate + rng.randrange(1, 200)
            await until(lambda goal=goal: account.stored + account.duplicate >= goal or publishing.done())  # type: ignore[misc]
            proxy.cut()
            proxy.resume()
        await publishing
        await until(lambda: account.received >= 3 * MANY and account.in_flight == 0)
        assert account.stored + account.duplicate == account.received
        assert balanced(service)
    assert times(migrated, "a") == list(range(3 * MANY)), f"seed {seed}"


async def test_one_row_the_database_refuses_is_quarantined_alone_and_the_rest_is_stored(
    migrated: str, broker: Mosquitto, gateway: str
) -> None:
    with psycopg.connect(migrated) as connection:
        connection.execute("ALTER TABLE readings ADD CONSTRAINT poison CHECK (value <> 6.66)")
    async with serving(settings(migrated, broker, gateway)) as service:
        account = service.telemetry.ledger.account("gateways")
        payloads = [reading(n, 6.66 if n in {137, 138, 700} else None) for n in range(1_000)]
        await publish(broker, gateway, "a", payloads)
        await until(lambda: account.received == 1_000 and account.in_flight == 0)
        assert (account.stored, account.quarantined) == (997, 3)
    assert times(migrated, "a") == [n for n in range(1_000) if n not in {137, 138, 700}]
    (rows,) = dump(migrated, "SELECT reason, convert_from(raw, 'UTF8') FROM quarantine ORDER BY raw")
    assert [reason for reason, _ in rows] == ["database_refused"] * 3
    assert {raw.encode() for _, raw in rows} == {payloads[n] for n in (137, 138, 700)}
    # They were acked: a new process is not given them again.
    async with serving(settings(migrated, broker, gateway)) as service:
        await publish(broker, gateway, "a", [reading(5_000)])
        again = service.telemetry.ledger.account("gateways")
        await until(lambda: again.stored == 1)
        assert again.received == 1


async def test_another_value_for_the_same_reading_is_quarantined_not_dropped(
    migrated: str, broker: Mosquitto, gateway: str
) -> None:
    async with serving(settings(migrated, broker, gateway)) as service:
        account = service.telemetry.ledger.account("gateways")
        await publish(broker, gateway, "a", [reading(1, 1.0)])
        await until(lambda: account.stored == 1)
        await publish(broker, gateway, "a", [reading(1, 2.0)])
        await until(lambda: account.quarantined == 1)
        assert account.in_flight == 0
        told = service.telemetry.registry.get_sample_value("haidang_rejects_total", {"reason": "conflicting_value"})
        assert told == 1
    (rows,) = dump(migrated, "SELECT reason FROM quarantine")
    assert rows == [("conflicting_value",)]


def flood(start: int, stop: int) -> list[bytes]:
    """Rises and falls through every alarm level of Kim Long, again and again."""
    return [reading(n, round(2.5 + 2.4 * _triangle(n / 300), 3)) for n in range(start, stop)]


def _triangle(x: float) -> float:
    return 4 * abs((x + 0.25) % 1.0 - 0.5) - 1.0


_READINGS = """
    SELECT r.time, d.name, r.metric_id, r.value FROM readings r JOIN devices d ON d.id = r.device_id ORDER BY 1, 2, 3"""
_ALERTS = """
    SELECT rule_id, split_part(subject_name, '/', 2), key, state, severity, started_at, resolved_at, value
    FROM alerts ORDER BY 1, 2, 3, 6"""
_HISTORY = """
    SELECT a.rule_id, a.started_at, h.seq, h.at, h.from_state, h.to_state
    FROM alert_history h JOIN alerts a ON a.id = h.alert_id ORDER BY 1, 2, 3"""
COMPARED = (
    _READINGS,
    _ALERTS,
    _HISTORY,
    "SELECT channel, event, at FROM notifications ORDER BY 1, 2, 3",
    # A process that was killed could not hear for a while, and says so; and it has all rules, which the other has not.
    "SELECT rule_id, key FROM rule_state WHERE rule_id NOT IN ('(deaf)', '(fences)', '(links)') ORDER BY 1, 2",
    "SELECT reason, origin FROM quarantine ORDER BY 1, 2",
)


@pytest.mark.timeout(180)
async def test_a_process_killed_again_and_again_ends_with_the_tables_of_one_never_killed(
    migrated: str, plain_migrated: str, broker: Mosquitto, gateway: str, tmp_path: Path
) -> None:
    seed = draw_seed()
    rng = random.Random(seed)
    total = 6_000
    messages = flood(0, total)
    calm = f"{gateway}-calm"
    book = pack.load(["pack:hue"])
    flood_rules = RuleBook(tuple(rule for rule in book.rules if rule.id.startswith("flood-kim-long")), ())
    assert flood_rules.rules
    async with serving(settings(plain_migrated, broker, calm), flood_rules) as service:
        await publish(broker, calm, "kim-long", messages)
        await until(lambda: service.telemetry.ledger.account("gateways").stored == total)

    await install(["pack:hue"], migrated)
    config = tmp_path / "haidang.toml"
    config.write_text(
        f"""
        [database]
        dsn = "{migrated}"
        [sources.gateways]
        type = "mqtt"
        host = "127.0.0.1"
        port = {broker.port}
        client_id = "haidang-{gateway}"
        topics = ["haidang/v1/{gateway}/+/readings"]
        [rules]
        packs = ["hue"]
        [http]
        port = 0
        """
    )
    # The session must exist before anything is published, for the broker to keep what comes meanwhile.
    async with serving(settings(migrated, broker, gateway)):
        pass
    process = Process(config)
    publishing = asyncio.create_task(publish(broker, gateway, "kim-long", messages, at_once=20))
    for _ in range(4):
        await process.start()
        goal = min(total, len(times(migrated, "kim-long")) + rng.randrange(1, total // 4))
        await until(lambda goal=goal: len(times(migrated, "kim-long")) >= goal, 60)  # type: ignore[misc]
        await process.kill()
    await publishing
    await process.start()
    await until(lambda: len(times(migrated, "kim-long")) == total, 60)
    assert await process.stop() == 0
    assert times(migrated, "kim-long") == list(range(total)), f"seed {seed}"
    assert dump(migrated, *COMPARED) == dump(plain_migrated, *COMPARED), f"seed {seed}"
    assert count(migrated, "SELECT count(*) FROM alerts") > 3


async def test_half_an_ais_message_survives_a_restart(migrated: str, broker: Mosquitto, gateway: str) -> None:
    first = b"!AIVDM,2,1,3,B,55P5TL01VIaAL@7WKO@mBplU@<PDhh000000001S;AJ::4A80?4i@E53,0*3E"
    second = b"!AIVDM,2,2,3,B,1@0000000000000,2*55"
    topic: dict[str, Any] = {"port": broker.port, "hostname": "127.0.0.1"}

    async def send(line: bytes) -> None:
        async with aiomqtt.Client(**topic) as client:
            await client.publish(f"haidang/v1/{gateway}/nmea", line, qos=1)

    async with serving(settings(migrated, broker, gateway)) as service:
        await send(first)
        await until(lambda: service.pipeline.waiting() == 1)
        assert service.telemetry.ledger.account("gateways").in_flight == 1
    assert count(migrated, "SELECT count(*) FROM statics") == 0
    async with serving(settings(migrated, broker, gateway)) as service:
        assert service.pipeline.waiting() == 1
        await send(second)
        account = service.telemetry.ledger.account("gateways")
        await until(lambda: account.stored == 2)
        assert account.in_flight == 0
    assert count(migrated, "SELECT count(*) FROM statics") == 1
    assert count(migrated, "SELECT count(*) FROM fragments") == 0


async def test_a_transmission_heard_again_after_a_restart_by_another_receiver_is_stored_once(
    migrated: str, broker: Mosquitto, gateway: str
) -> None:
    config = settings(migrated, broker, gateway)
    topics = tuple(f"haidang/v1/{gateway}{receiver}/nmea" for receiver in ("", "-2"))
    source = config.sources["gateways"].model_copy(update={"topics": topics})
    config = config.model_copy(update={"sources": {"gateways": source}})
    for receiver, topic in enumerate(topics):
        async with serving(config) as service:
            account = service.telemetry.ledger.account("gateways")
            async with aiomqtt.Client("127.0.0.1", broker.port) as client:
                await client.publish(topic, b"!AIVDM,1,1,,A,13HOI:0P0000VOHLCnHQKwvL05Ip,0*23", qos=1)
            await until(lambda: account.received == 1 and account.in_flight == 0)  # noqa: B023
            assert (account.stored, account.duplicate) == (1 - receiver, receiver)
    assert count(migrated, "SELECT count(*) FROM positions") == 1
    assert count(migrated, "SELECT count(*) FROM receptions") == 1
