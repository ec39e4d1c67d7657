"""``haidang rules backtest``: what is stored, judged again by the engine that judged it, comes to the same alerts."""

from __future__ import annotations

import asyncio
import base64
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import orjson

from alerting import pack
from ingest.inbox import Inbox
from ingest.settings import NmeaTcpSettings
from ingest.watch import install
from services.ports import find_free
from simulators.areas import load_areas
from simulators.drive import drive
from simulators.events import Publish, Sentences
from simulators.mqtt import MqttTarget
from simulators.scenario import demonstration, scenario_events
from simulators.wire import TcpConnect
from tests.ingest.command import haidang, rows
from tests.ingest.running import EPOCH_MS, serving, settings, until

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from ingest.delivery import Delivery
    from services.mosquitto import Mosquitto
    from services.postgres import Postgres

RECEIVER = "hue-ais-1"
HUE = pack.PACKS / "hue"
SECONDS = 150.0
#: What makes an alert that alert.
SAME = "SELECT id::text, rule_id, subject_name, key, severity, started_at, fired_at FROM alerts ORDER BY id"


def record(monkeypatch: pytest.MonkeyPatch) -> list[Delivery]:
    """What the pipeline of a service is handed, from now on."""
    taken: list[Delivery] = []
    take = Inbox.take

    async def taking(inbox: Inbox, max_messages: int, wait: float | None = None) -> list[Delivery]:
        batch = await take(inbox, max_messages, wait)
        taken.extend(batch)
        return batch

    monkeypatch.setattr(Inbox, "take", taking)
    return taken


def write_recordings(folder: Path, taken: list[Delivery]) -> list[Path]:
    """Publishes with their times as one recording, the lines of the receiver as another."""
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    publishes = [
        {
            "received_at": (epoch + timedelta(microseconds=one.received_at)).isoformat(),
            "topic": one.origin,
            "payload_base64": base64.b64encode(one.payload).decode(),
        }
        for one in taken
        if one.source == "gateways"
    ]
    (folder / "mqtt.jsonl").write_bytes(b"".join(orjson.dumps(one) + b"\n" for one in publishes))
    (folder / "receiver.nmea").write_bytes(b"".join(one.payload for one in taken if one.source == "receiver"))
    return [folder / "receiver.nmea", folder / "mqtt.jsonl"]


async def live(dsn: str, broker: Mosquitto, name: str) -> None:
    """A fleet and a sensor network through the service, as fast as the wires take them."""
    scenario = demonstration(
        seed=11, start=EPOCH_MS * 1000, seconds=SECONDS, zones=load_areas(HUE / "zones.geojson"), first=5.0
    )
    book = await install(["pack:hue"], dsn)
    config = settings(dsn, broker, name)
    config.sources["receiver"] = NmeaTcpSettings(type="nmea_tcp", mode="server", host="127.0.0.1", port=find_free())
    async with serving(config, book) as service:
        port = config.sources["receiver"].port
        async with TcpConnect("127.0.0.1", port, only=RECEIVER) as receiver, MqttTarget(broker.url) as gateways:
            events = list(scenario_events(scenario))
            sent = [
                Publish(e.time, e.gateway, e.topic.replace(e.gateway, name, 1), e.payload)
                if isinstance(e, Publish)
                else e
                for e in events
            ]
            messages = sum(isinstance(e, Publish) for e in sent)
            messages += sum(e.data.count(b"\n") for e in sent if isinstance(e, Sentences) and e.receiver == RECEIVER)
            await drive(sent, [receiver, gateways], start=EPOCH_MS * 1000, paced=False)
            total = service.telemetry.ledger.total
            await until(lambda: total().received == messages and not total().in_flight, seconds=60)


def backtest(dsn: str, *more: object, rules: object = "pack:hue") -> Any:
    done = haidang("rules", "backtest", rules, "--dsn", dsn, "--from", "2026-05-31", "--json", *more)
    assert done.code == 0, done.err
    return done.only


def test_live_replay_of_its_recording_and_backtest_over_stored_rows_give_the_same_alerts(
    migrated: str,
    timescale: Postgres,
    timescale_template: str,
    broker: Mosquitto,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patched:
        taken = record(patched)
        asyncio.run(live(migrated, broker, f"bt-{uuid4().hex[:8]}"))
    lived = rows(migrated, SAME)
    assert {rule for _, rule, *_ in lived} >= {"lagoon-core-inside", "demo-entered"}
    assert any(key == "water_level" for _, _, _, key, *_ in lived)

    again = timescale.create_database("backtest_again", timescale_template)
    try:
        files = write_recordings(tmp_path, taken)
        done = haidang("replay", *files, "--dsn", again, "--rules", "pack:hue")
        assert done.code == 0, done.err
        assert rows(again, SAME) == lived

        ids = sorted(id_ for id_, *_ in lived)
        for dsn in (migrated, again):
            found = backtest(dsn, "--against", "live")
            assert sorted(alert["id"] for alert in found["alerts"]) == ids
            assert sorted(found["difference"]["both"]) == ids
            assert found["difference"]["only_draft"] == found["difference"]["only_live"] == []
            assert found["summary"]["alerts"] == len(lived)
            ended = {id_ for (id_,) in rows(dsn, "SELECT id::text FROM alerts WHERE state = 'resolved'")}
            assert {a["id"] for a in found["alerts"] if a["ended_at"]} == ended
    finally:
        timescale.drop_database("backtest_again")
