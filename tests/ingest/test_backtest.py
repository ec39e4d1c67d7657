"""``haidang rules backtest``: what is stored, judged again by the engine that judged it, comes to the same alerts."""

from __future__ import annotations

import asyncio
import base64
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import orjson
import psycopg

from alerting import pack
from alerting.engine import Engine
from alerting.model import Memory
from decoders.records import Observations
from ingest.inbox import Inbox
from ingest.settings import NmeaTcpSettings
from ingest.watch import install
from services.ports import find_free
from simulators.ais_wire import Report, position_a, sentences, tag_block
from simulators.areas import load_areas
from simulators.drive import drive
from simulators.events import Publish, Sentences
from simulators.mqtt import MqttTarget
from simulators.scenario import demonstration, scenario_events
from simulators.wire import TcpConnect
from storage.batch import Batch
from storage.history import history
from storage.writer import Store
from tests.ingest.command import done, haidang, rows
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
#: What makes an alert that alert. Of silent feeds there are others: where one recording ends, its source falls silent.
SAME = """
SELECT id::text, rule_id, subject_name, key, severity, started_at, fired_at FROM alerts
WHERE rule_id <> 'feed-silent' ORDER BY id
"""


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

        for dsn in (migrated, again):
            ids = [id_ for (id_,) in rows(dsn, "SELECT id::text FROM alerts ORDER BY 1")]
            found = backtest(dsn, "--against", "live")
            assert sorted(alert["id"] for alert in found["alerts"]) == ids
            assert sorted(found["difference"]["both"]) == ids
            assert found["difference"]["only_draft"] == found["difference"]["only_live"] == []
            assert found["summary"]["alerts"] == len(ids)
            ended = {id_ for (id_,) in rows(dsn, "SELECT id::text FROM alerts WHERE state = 'resolved'")}
            assert {a["id"] for a in found["alerts"] if a["ended_at"]} == ended
    finally:
        timescale.drop_database("backtest_again")


_HIGH = """
[[rule]]
id = "high"
kind = "threshold"
title = { en = "High water", vi = "Nước cao" }
severity = "major"
metric = "water_level"
unit = "m"
raise = 2.0
clear = 1.5
source = "a test"
"""


def test_lines_of_one_instant_and_readings_of_one_message_keep_an_order_that_tables_tell(
    migrated: str, tmp_path: Path
) -> None:
    (tmp_path / "rules.toml").write_text(_HIGH)
    # One instant: a burst of a receiver. Places tell which line is which.
    lines = [
        line
        for n in range(50)
        for line in sentences(
            position_a(Report(574_000_001 + n * 37 % 50, 107.0 + n / 1000, 16.0, 1.0, None, None, 0, 0)),
            channel="A",
            sequence=0,
        )
    ]
    (tmp_path / "burst.nmea").write_text(f"{tag_block(c=EPOCH_MS // 1000)}" + "\r\n".join(lines) + "\r\n")
    # One message: what a gateway has gathered, newest first. Only in order of time does the water rise and fall twice.
    gathered = [
        {"time": EPOCH_MS + 60_000 * n, "readings": {"water_level": value, "temperature": 20.0}}
        for n, value in reversed(list(enumerate([1.0, 2.5, 1.0, 2.5, 1.0])))
    ]
    said = {"received_at": EPOCH_MS + 600_000, "topic": "haidang/v1/gw/kim-long/readings", "payload": gathered}
    (tmp_path / "burst.jsonl").write_bytes(orjson.dumps(said) + b"\n")

    files = (tmp_path / "burst.nmea", tmp_path / "burst.jsonl")
    done = haidang("replay", *files, "--dsn", migrated, "--rules", tmp_path / "rules.toml")
    assert done.code == 0, done.err
    came = rows(migrated, "SELECT received_at, lon FROM positions ORDER BY received_at")
    assert len({at for at, _ in came}) == 50
    assert [round(lon, 3) for _, lon in came] == [round(107.0 + n / 1000, 3) for n in range(50)]
    lived = rows(migrated, SAME)
    assert len(lived) == 2
    found = backtest(migrated, "--against", "live", rules=tmp_path / "rules.toml")
    assert sorted(found["difference"]["both"]) == sorted(id_ for id_, *_ in lived)
    assert found["difference"]["only_draft"] == found["difference"]["only_live"] == []


def test_a_draft_is_compared_with_what_was_told_and_few_subjects_can_be_tried(migrated: str, tmp_path: Path) -> None:
    (tmp_path / "live.toml").write_text(_HIGH)
    (tmp_path / "draft.toml").write_text(_HIGH.replace("raise = 2.0", "raise = 3.0"))
    values = {"a": [1.0, 2.5, 1.0, 3.5, 1.0], "b": [1.0, 2.2, 1.0, 1.0, 1.0]}
    (tmp_path / "mqtt.jsonl").write_bytes(
        b"".join(
            orjson.dumps(
                {
                    "received_at": EPOCH_MS + 60_000 * n,
                    "topic": f"haidang/v1/gw/{device}/readings",
                    "payload": {"time": EPOCH_MS + 60_000 * n, "readings": {"water_level": of[n]}},
                }
            )
            + b"\n"
            for n in range(5)
            for device, of in values.items()
        )
    )
    done = haidang("replay", tmp_path / "mqtt.jsonl", "--dsn", migrated, "--rules", tmp_path / "live.toml")
    assert done.code == 0, done.err
    before = rows(migrated, "SELECT count(*), max(revision) FROM alerts"), rows(migrated, "SELECT * FROM rule_state")

    found = backtest(migrated, "--against", "live", rules=tmp_path / "draft.toml")
    told = {what: len(found["difference"][what]) for what in ("both", "only_draft", "only_live")}
    assert told == {"both": 1, "only_draft": 0, "only_live": 2}
    assert found["rows"] == {"readings": 10}
    only_b = backtest(migrated, "--against", "live", "--subject", "gw/b", rules=tmp_path / "live.toml")
    assert [alert["subject"] for alert in only_b["alerts"]] == ["gw/b"]
    assert len(only_b["difference"]["both"]) == 1
    one = backtest(migrated, "--limit-subjects", "1", rules=tmp_path / "live.toml")
    assert one["rows"] == {"readings": 5}
    assert (
        rows(migrated, "SELECT count(*), max(revision) FROM alerts"),
        rows(migrated, "SELECT * FROM rule_state"),
    ) == before

    shown = haidang(
        "rules", "backtest", tmp_path / "draft.toml", "--dsn", migrated, "--from", "2026-05-31", "--against", "live"
    )
    assert shown.code == 0
    assert "1 in both, 0 only now, 2 only then" in shown.out
    for wrong in (("--from", "2030-01-01"), ("--from", "2026-05-31", "--shifts", "25:00+07:00")):
        refused = haidang("rules", "backtest", tmp_path / "draft.toml", "--dsn", migrated, *wrong)
        assert refused.code == 2, refused.out


def test_rows_received_in_centuries_to_come_are_not_waited_for(migrated: str, tmp_path: Path) -> None:
    (tmp_path / "rules.toml").write_text(_HIGH)
    line = {"received_at": EPOCH_MS, "topic": "haidang/v1/gw/kim-long/readings", "payload": {}}
    (tmp_path / "mqtt.jsonl").write_bytes(orjson.dumps(line) + b"\n")
    assert haidang("replay", tmp_path / "mqtt.jsonl", "--dsn", migrated).code == 0
    with psycopg.connect(migrated) as connection:
        connection.execute("UPDATE progress SET received_at = '2363-06-07T00:00:00Z'")
    ended = datetime.fromisoformat(backtest(migrated, rules=tmp_path / "rules.toml")["to"])
    assert ended < datetime.now(UTC) + timedelta(days=367)


def test_a_shadow_rule_is_stored_and_listed_apart(migrated: str, tmp_path: Path) -> None:
    (tmp_path / "rules.toml").write_text(_HIGH.replace('kind = "threshold"', 'kind = "threshold"\nmode = "shadow"'))
    said = {"time": EPOCH_MS, "readings": {"water_level": 2.5}}
    line = {"received_at": EPOCH_MS, "topic": "haidang/v1/gw/kim-long/readings", "payload": said}
    (tmp_path / "mqtt.jsonl").write_bytes(orjson.dumps(line) + b"\n")
    done = haidang("replay", tmp_path / "mqtt.jsonl", "--dsn", migrated, "--rules", tmp_path / "rules.toml", "--json")
    assert done.code == 0, done.err
    assert done.only["alerts"] == 0
    assert haidang("alerts", "list", "--dsn", migrated, "--json").lines == []
    (alert,) = haidang("alerts", "list", "--shadow", "--dsn", migrated, "--json").lines
    assert (alert["rule_id"], alert["state"], alert["shadow"]) == ("high", "firing", True)
    assert "shadow" in haidang("rules", "list", "--dsn", migrated).out
    found = backtest(migrated, "--against", "live", rules=tmp_path / "rules.toml")
    assert found["difference"]["both"] == [alert["id"]]


LEARNED = """
[[rule]]
id = "silent"
kind = "no_data"
title = { en = "Silent", vi = "Im lặng" }
severity = "warning"
metric = "water_level"
after = "learned"
at_least = "10m"
at_most = "6h"
source = "a test"
"""


def test_what_was_learned_of_two_days_is_learned_again(migrated: str, tmp_path: Path) -> None:
    """A station that was slow in the small hours of yesterday may be silent for longer today."""
    day = datetime(2026, 6, 2, tzinfo=UTC)
    slow = [timedelta(hours=n) for n in range(6)]
    fast = [timedelta(hours=5, minutes=10 * n) for n in range(1, 6 * 34)]
    heard = [at for at in (*slow, *fast) if not timedelta(hours=36) < at < timedelta(hours=36, minutes=100)]
    log, rules = tmp_path / "log.jsonl", tmp_path / "rules.toml"
    rules.write_text(LEARNED)
    with log.open("wb") as out:
        for at in heard:
            said = {"time": (day + at).isoformat(), "readings": {"water_level": 1.0}}
            line = {"received_at": (day + at).isoformat(), "topic": "haidang/v1/gw/gauge/readings"}
            out.write(orjson.dumps(line | {"payload": orjson.dumps(said).decode()}) + b"\n")
    assert done("replay", log, "--dsn", migrated, "--rules", rules, "--json").only["alerts"] == 0
    backtest = (
        "rules",
        "backtest",
        rules,
        "--dsn",
        migrated,
        "--from",
        "2026-06-03T10:00Z",
        "--to",
        "2026-06-03T16:00Z",
    )
    assert done(*backtest, "--json").only["alerts"] == []
    [alert] = done(*backtest, "--warm-up", "3h", "--json").only["alerts"]  # of which nothing was learned but the fast
    assert alert["rule"] == "silent"
    assert done(*backtest[:6], "2000-01-01T00:00Z", *backtest[-2:], "--json").only["rows"]["readings"] == len(heard)


async def test_every_span_in_which_we_could_not_hear_is_kept(migrated: str) -> None:
    engine = Engine([], [])
    engine.restore(Memory())
    async with Store(migrated) as store:
        for n in range(40):
            engine.deaf(EPOCH_MS * 1000 + n * 10**9, EPOCH_MS * 1000 + n * 10**9 + 10**8)
            now = EPOCH_MS * 1000 + n * 10**9 + 2 * 10**8
            await store.commit(Batch(Observations(), engine.judge(Observations(), now), until=now))
    async with history(migrated) as past:
        deaf = await past.deaf()
    assert deaf == [(EPOCH_MS * 1000 + n * 10**9, EPOCH_MS * 1000 + n * 10**9 + 10**8) for n in range(40)]
