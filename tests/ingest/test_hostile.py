"""Whatever is published has its fate: what is bad is in quarantine with its bytes and its reason, the rest stored."""

from __future__ import annotations

import contextlib
import hashlib
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import uuid4

import aiomqtt
import httpx
import psycopg
from pydantic import SecretStr

from decoders.catalogue import METRICS
from ingest.settings import Database, Http, Limits, MqttSettings, Settings
from storage.quarantine import RAW_LIMIT
from tests.ingest.running import balanced, serving, until

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from services.mosquitto import Mosquitto

DAY_MS = 86_400_000
Published = tuple[str, bytes]  # the topic below "haidang/v1/GATEWAY/" and the payload


def config(dsn: str, broker: Mosquitto, gateway: str, limits: Limits | None = None, **mqtt: object) -> Settings:
    topics = (f"haidang/v1/{gateway}/+/readings", f"haidang/v1/{gateway}/+/position", f"haidang/v1/{gateway}/nmea")
    source = MqttSettings.model_validate(
        {
            "type": "mqtt",
            "host": "127.0.0.1",
            "port": broker.port,
            "client_id": f"haidang-{uuid4().hex[:8]}",
            "topics": topics,
        }
        | mqtt
    )
    return Settings(
        database=Database(dsn=SecretStr(dsn)),
        sources={"gateways": source},
        http=Http(port=0),
        limits=limits or Limits(),
    )


async def publish(broker: Mosquitto, gateway: str, messages: Sequence[Published]) -> None:
    async with aiomqtt.Client("127.0.0.1", broker.port, protocol=aiomqtt.ProtocolVersion.V5) as client:
        for topic, payload in messages:
            await client.publish(f"haidang/v1/{gateway}/{topic}", payload, qos=1)


def quarantine(dsn: str) -> list[tuple[str, str, bytes, int, bytes]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(
            "SELECT split_part(origin, '/', 4), reason, raw, size, sha256 FROM quarantine"
        ).fetchall()


def stored(dsn: str) -> dict[str, list[float]]:
    """Device name -> values, in the order of their times."""
    with psycopg.connect(dsn) as connection:
        return dict(
            connection.execute(
                "SELECT d.name, array_agg(r.value ORDER BY r.time) FROM readings AS r"
                " JOIN devices AS d ON d.id = r.device_id GROUP BY d.name"
            ).fetchall()
        )


def hostile(now_ms: int) -> list[tuple[str, bytes, str]]:
    """(device, payload, reason): each device sends one bad message, so that its rows tell which it was."""
    at = b'{"time":%d,"readings":' % now_ms

    def when(value: object) -> bytes:
        return f'{{"time":{value},"readings":{{"water_level":1}}}}'.encode()

    values = {
        "nan": (b"NaN", "bad_json"),
        "inf": (b"Infinity", "bad_json"),
        "minus-inf": (b"-Infinity", "bad_json"),
        "1e400": (b"1e400", "bad_json"),
        "1e300": (b"1e300", "bad_value"),
        "2^63": (b"9223372036854775808", "bad_value"),
        "2^64": (b"18446744073709551616", "bad_value"),
        "400-digits": (b"9" * 400, "bad_json"),
        "null": (b"null", "bad_value"),
        "true": (b"true", "bad_value"),
        "text": (b'"1"', "bad_value"),
        "array": (b"[1]", "bad_value"),
        "object": (b"{}", "bad_value"),
        "range": (b"9001", "out_of_range"),
    }
    wrong = [(name, at + b'{"water_level":%b}}' % value, reason) for name, (value, reason) in values.items()]
    wrong += [
        ("empty", b"", "bad_json"),
        ("nul", b"\0", "bad_text"),
        ("nul-escaped", at + b'{"water\\u0000level":1}}', "bad_field"),
        ("surrogate", at + b'{"\\ud800":1}}', "bad_text"),
        ("utf-8", at + b'{"\xff":1}}', "bad_text"),
        ("bom", b"\xef\xbb\xbf" + at + b'{"water_level":1}}', "bad_json"),
        ("megabyte", at + b'{"water_level":1},"note":"' + b"x" * 1_000_000 + b'"}', "too_large"),
        ("large", at + b'{"water_level":1},"note":"' + b"x" * 300_000 + b'"}', "too_large"),
        ("long-text", at + b'{"water_level":1},"note":"' + b"x" * 5_000 + b'"}', "text_too_long"),
        ("brackets", b"[" * 100_000 + b"]" * 100_000, "too_deep"),
        ("deep", at + b'{"water_level":1},"x":' + b"[" * 20 + b"]" * 20 + b"}", "too_deep"),
        ("entries", b"[" + b"1," * 10_000 + b"1]", "too_many_entries"),
        ("readings", at + b"{%b}}" % b",".join(b'"m%d":1' % n for n in range(257)), "too_many_readings"),
        ("twice", at + b'{"water_level":1,"water_level":9}}', "duplicate_name"),
        ("number", b"1", "bad_json"),
        ("no-object", b"[[]]", "bad_field"),
        ("no-readings", b'{"time":%d}' % now_ms, "bad_field"),
        ("list-of-readings", at + b"[1]}", "bad_field"),
        ("bad-metric", at + b'{"Water Level":1}}', "bad_field"),
        ("claim", at + b'{"water_level":1},"device":"somebody-else"}', "identity_mismatch"),
        ("no-time", b'{"readings":{"water_level":1}}', "bad_time"),
        ("no-offset", when('"2026-01-02T03:04:05"'), "bad_time"),
        ("leap-second", when('"2016-12-31T23:59:60Z"'), "bad_time"),
        ("list-of-times", when("[]"), "bad_time"),
        ("epoch-0", when(0), "time_too_old"),
        ("seconds", when(now_ms // 1000), "time_unit"),
        ("seconds-float", when(now_ms / 1000), "time_unit"),
        ("microseconds", when(now_ms * 1000), "time_unit"),
        ("nanoseconds", when(now_ms * 1_000_000), "time_unit"),
        ("tomorrow", when(now_ms + DAY_MS), "time_in_future"),
        ("year-10000", when(253_402_300_800_000), "time_in_future"),
        ("x" * 129, at + b'{"water_level":1}}', "bad_name"),
    ]
    return wrong


async def test_every_hostile_payload_is_quarantined_with_its_reason_and_every_good_one_stored(
    any_migrated: str, broker: Mosquitto
) -> None:
    gateway = f"gw{uuid4().hex[:8]}"
    now = time.time_ns() // 1_000_000
    bad = hostile(now)
    messages: list[Published] = []
    for n, (device, payload, _) in enumerate(bad):
        messages.append((f"{device}/readings", payload))
        messages.append(("good/readings", b'{"time":%d,"readings":{"water_level":%d}}' % (now - 1_000 + n, n)))
    iso = datetime.fromtimestamp(now / 1000, UTC).astimezone(datetime.now().astimezone().tzinfo).isoformat()
    messages += [
        ("late/readings", b'{"time":%d,"readings":{"water_level":2}}' % now),
        ("late/readings", b'{"time":%d,"readings":{"water_level":1}}' % (now - 30 * DAY_MS)),  # stored, as late
        ("iso/readings", f'{{"time":"{iso}","readings":{{"water_level":3}}}}'.encode()),
        # The good part is stored and the bad part alone refused.
        ("half/readings", b'{"time":%d,"readings":{"water_level":4,"humidity":101}}' % now),
        ("nothing/readings", b"[]"),  # says nothing: ignored
        ("ship/position", b'{"time":%d,"lon":107.6,"lat":16.5}' % now),
        ("lost/position", b'{"time":%d,"lon":16.5,"lat":107.6}' % now),
        ("nmea", b"!AIVDM,1,1,,A,rubbish,0*00"),
    ]
    async with serving(config(any_migrated, broker, gateway)) as service:
        await publish(broker, gateway, messages)
        account = service.telemetry.ledger.account("gateways")
        await until(lambda: account.received == len(messages) and account.in_flight == 0)
        assert balanced(service)
        assert (account.ignored, account.duplicate, account.dropped) == (1, 0, 0)
        assert account.quarantined == len(bad) + 3
        assert 'haidang_late_rows_total{table="readings"} 1.0' in await metrics(service.http.url)

    found = {device: (reason, raw, size, digest) for device, reason, raw, size, digest in quarantine(any_migrated)}
    assert len(found) == len(bad) + 3
    for device, payload, reason in bad:
        assert found[device][0] == reason, device
        kept, size, digest = found[device][1:]
        assert (kept, size) == (payload[:RAW_LIMIT], len(payload)), device
        if device != "megabyte":  # never held whole
            assert digest == hashlib.sha256(payload).digest()
    assert (found["half"][0], found["lost"][0]) == ("out_of_range", "bad_position")
    assert stored(any_migrated) == {
        "good": [float(n) for n in range(len(bad))],
        "late": [1.0, 2.0],
        "iso": [3.0],
        "half": [4.0],
    }
    with psycopg.connect(any_migrated) as connection:
        assert connection.execute("SELECT lon, lat FROM positions").fetchall() == [(107.6, 16.5)]


async def metrics(url: str) -> str:
    async with httpx.AsyncClient(trust_env=False) as client:
        return (await client.get(f"{url}/metrics")).text


async def test_made_up_devices_run_into_the_bound_across_a_restart_and_known_ones_go_on(
    any_migrated: str, broker: Mosquitto
) -> None:
    gateway = f"gw{uuid4().hex[:8]}"
    settings = config(
        any_migrated, broker, gateway, Limits(devices_per_gateway=20, metrics=len(METRICS) + 5, metrics_per_device=3)
    )
    sent = 0

    def flood(start: int, stop: int) -> list[Published]:
        now = time.time_ns() // 1_000_000
        fake = [(f"fake{n}/readings", b'{"time":%d,"readings":{"m%d":1}}' % (now, n % 50)) for n in range(start, stop)]
        return [*fake, ("real/readings", b'{"time":%d,"readings":{"water_level":1}}' % (now + start))]

    real = b'{"time":%d,"readings":{"water_level":1}}' % (time.time_ns() // 1_000_000 - 1_000)
    for start in (0, 200):
        async with serving(settings) as service:
            messages = [("real/readings", real), *flood(start, start + 200)]
            await publish(broker, gateway, messages)
            account = service.telemetry.ledger.account("gateways")
            await until(lambda: account.received == len(messages) and account.in_flight == 0)  # noqa: B023
            assert balanced(service)
            sent += len(messages)
    with psycopg.connect(any_migrated) as connection:
        (devices,) = connection.execute("SELECT count(*) FROM devices").fetchone() or (0,)
        (metric_count,) = connection.execute("SELECT count(*) FROM metrics").fetchone() or (0,)
        reasons: dict[str, int] = dict(
            connection.execute("SELECT reason, count(*) FROM quarantine GROUP BY reason").fetchall()
        )
    assert devices <= 20
    assert metric_count <= len(METRICS) + 5
    assert len(stored(any_migrated)["real"]) == 3
    # Every message is there: what was not stored (one was sent twice) is in quarantine.
    assert sum(reasons.values()) + sum(map(len, stored(any_migrated).values())) == sent - 1
    assert set(reasons) == {"too_many_devices", "too_many_metrics"}


ACL = """\
user haidang
topic read haidang/v1/#
pattern write haidang/v1/%u/+/readings
"""


def as_gateway(broker: Mosquitto) -> aiomqtt.Client:
    return aiomqtt.Client(
        "127.0.0.1",
        broker.port,
        username="gw-a",
        password=broker.passwords["gw-a"],
        protocol=aiomqtt.ProtocolVersion.V5,
    )


async def test_who_a_device_is_decides_the_broker_and_a_claim_to_be_another_is_quarantined(
    migrated: str, broker_factory: Callable[..., Mosquitto]
) -> None:
    broker = broker_factory(passwords={"haidang": "deep", "gw-a": "blue", "gw-b": "sea"}, acl=ACL)
    settings = config(migrated, broker, "+", username="haidang", password="deep")  # of this test's broker
    now = time.time_ns() // 1_000_000
    honest = b'{"time":%d,"gateway":"gw-a","device":"river","readings":{"water_level":1}}' % now
    claims = [
        b'{"time":%d,"gateway":"gw-b","readings":{"water_level":2}}' % now,
        b'{"time":%d,"device":"other","readings":{"water_level":3}}' % now,
        b'{"time":%d,"device":"gw-b/river","readings":{"water_level":4}}' % now,
    ]
    async with serving(settings) as service:
        # The ACL keeps it from everybody; mosquitto may end the connection over it.
        with contextlib.suppress(aiomqtt.MqttError):
            async with as_gateway(broker) as client:
                await client.publish("haidang/v1/gw-b/river/readings", honest, qos=1)
        async with as_gateway(broker) as client:
            for payload in (*claims, honest):
                await client.publish("haidang/v1/gw-a/river/readings", payload, qos=1)
        account = service.telemetry.ledger.account("gateways")
        await until(lambda: account.received == len(claims) + 1 and account.in_flight == 0)
        assert (account.stored, account.quarantined) == (1, len(claims))
    assert stored(migrated) == {"river": [1.0]}
    assert sorted((reason, bytes(raw)) for _, reason, raw, _, _ in quarantine(migrated)) == sorted(
        ("identity_mismatch", payload) for payload in claims
    )
