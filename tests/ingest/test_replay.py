"""``haidang replay``: the ledger balances, twice changes nothing, and batches do not matter."""

from __future__ import annotations

import gzip
import json
import os
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg
import pyais
import pytest
from psycopg import sql

from tests.decoders.support import HERE, sentence
from tests.ingest.command import done, dump, haidang, rows

if TYPE_CHECKING:
    from pathlib import Path

START = "2026-10-05T06:00:00Z"
LOGS = [
    "gpsd/ais-raw-messages.log",
    "libais/tagblock.nmea",
    "libais/test.aivdm",
    "libais/typeexamples.nmea",
    "pyais/mixed.txt",
    "pyais/nmea_data_sample.txt",
]
FATES = ("stored", "duplicate", "ignored", "quarantined", "dropped")
LINE = b"!AIVDM,1,1,,A,13HOI:0P0000VOHLCnHQKwvL05Ip,0*23"


class Recording(NamedTuple):
    path: Path
    truth: list[dict[str, Any]]


def replay(dsn: str, *arguments: object) -> dict[str, Any]:
    """The summary; that it balances holds for every replay there is."""
    summary: dict[str, Any] = done("replay", *arguments, "--dsn", dsn, "--json").only
    assert summary["received"] == sum(summary[fate] for fate in FATES)
    assert summary["dropped"] == 0
    return summary


def count(dsn: str, table: str) -> int:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))).fetchone()
    assert row is not None
    return int(row[0])


def simulated(folder: Path, *arguments: object) -> Recording:
    out, truth = folder / "recording.jsonl", folder / "truth.jsonl"
    done("simulate", *arguments, "--start", START, "--out", out, "--truth", truth, "--json")
    return Recording(out, [json.loads(line) for line in truth.read_text().splitlines()])


@pytest.fixture(scope="module")
def minute(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """A minute of vessels and sensors, with zones entered and levels passed."""
    return simulated(tmp_path_factory.mktemp("minute"), "scenario", "--demo", "--for", 60, "--seed", 7)


# --- real logs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("log", LOGS)
def test_a_log_twice_changes_nothing_the_second_time(any_migrated: str, log: str) -> None:
    path = HERE / log
    lines = len(path.read_bytes().removesuffix(b"\n").split(b"\n"))

    first = replay(any_migrated, path)
    assert first["received"] == lines
    assert first["stored"] > 0
    assert {table: count(any_migrated, table) for table in first["rows"]} == first["rows"]
    refused = rows(any_migrated, "SELECT raw FROM quarantine")
    # All lines of a message that waited in vain are one row.
    assert sum(raw.rstrip(b"\r\n").count(b"\n") + 1 for (raw,) in refused) == first["quarantined"]
    before = dump(any_migrated)

    second = replay(any_migrated, path)
    assert second["received"] == lines
    assert (second["stored"], second["quarantined"]) == (0, 0)
    assert second["duplicate"] + second["ignored"] == lines
    assert second["ignored"] == first["ignored"]
    assert (set(second["rows"].values()), second["alerts"]) == ({0}, 0)
    assert dump(any_migrated) == before


def test_every_quarantined_line_of_a_log_is_kept_with_its_bytes_and_line(migrated: str) -> None:
    path = HERE / "libais/test.aivdm"
    replay(migrated, path)
    lines = path.read_bytes().split(b"\n")
    refused = rows(migrated, "SELECT line, raw, reason, size FROM quarantine")
    assert refused
    for line, raw, reason, size in refused:
        assert len(raw) == size
        assert reason
        assert raw.split(b"\n")[0] in lines[line - 1]


def test_several_logs_are_one_account(migrated: str) -> None:
    paths = [HERE / name for name in LOGS[:3]]
    summary = replay(migrated, *paths)
    assert summary["received"] == sum(len(p.read_bytes().removesuffix(b"\n").split(b"\n")) for p in paths)
    assert summary["rows"]["positions"] == count(migrated, "positions")
    assert {name for (name,) in rows(migrated, "SELECT name FROM sources")} == {p.name for p in paths}


def test_a_file_that_cannot_be_read_is_told_of_before_any_is_stored(migrated: str, tmp_path: Path) -> None:
    for absent in (tmp_path / "nosuch", tmp_path):
        result = haidang("replay", HERE / LOGS[0], absent, "--dsn", migrated)
        assert (result.code, result.out) == (2, "")
        assert count(migrated, "positions") == count(migrated, "quarantine") == 0


def test_a_compressed_log_is_the_log(migrated: str, plain_migrated: str, tmp_path: Path) -> None:
    packed = tmp_path / "log.gz"
    packed.write_bytes(gzip.compress((HERE / LOGS[1]).read_bytes()))
    same = {**replay(migrated, packed, "--source", "a"), "seconds": 0}
    assert same == {**replay(plain_migrated, HERE / LOGS[1], "--source", "a"), "seconds": 0}
    for bad in (packed.read_bytes()[:-100], b"\x1f\x8bnonsense"):
        packed.write_bytes(bad)
        result = haidang("replay", packed, "--dsn", migrated)
        assert (result.code, result.out) == (2, "")
        assert "log.gz: gzip: " in result.err


# --- time -------------------------------------------------------------------------------------------------------------


def test_from_a_start_a_log_without_times_has_the_same_ones_in_every_database(
    migrated: str, plain_migrated: str
) -> None:
    path = HERE / "pyais/nmea_data_sample.txt"
    first = replay(migrated, path, "--start", START)
    assert first == {**replay(plain_migrated, path, "--start", START), "seconds": first["seconds"]}
    one, other = dump(migrated), dump(plain_migrated)
    assert one["positions"]
    assert one == other
    ((earliest,),) = rows(migrated, "SELECT min(time) FROM positions")
    assert earliest - datetime.fromisoformat(START) < timedelta(minutes=1)


def test_without_a_start_a_log_without_times_ends_when_the_file_was_last_written(migrated: str, tmp_path: Path) -> None:
    log = tmp_path / "receiver.nmea"
    log.write_bytes((HERE / "pyais/nmea_data_sample.txt").read_bytes())
    written = datetime(2024, 2, 29, 12, 0, 5, tzinfo=UTC)
    os.utime(log, (written.timestamp(), written.timestamp()))
    result = done("replay", log, "--dsn", migrated, "--json")
    assert f"note: {log} says no times: taken to end at 2024-02-29T12:00:05Z" in result.err
    ((first, last),) = rows(migrated, "SELECT min(time), max(time) FROM positions")
    assert timedelta(0) <= written - last <= timedelta(minutes=1)
    assert timedelta(minutes=1) < last - first < timedelta(minutes=15)
    assert "says no times" not in done("replay", log, "--dsn", migrated, "--start", START).err


def test_rows_that_the_service_would_delete_are_told_of(migrated: str, tmp_path: Path) -> None:
    log = tmp_path / "old.nmea"
    log.write_bytes(sentence(LINE.split(b",")[5], tag="c:1272412827") + b"\n")
    assert "old.nmea begins at 2010-04-28T00:00:27Z: unless [retention]" in done("replay", log, "--dsn", migrated).err
    log.write_bytes(sentence(LINE.split(b",")[5], tag=f"c:{int(datetime.now(UTC).timestamp()) - 3600}") + b"\n")
    assert done("replay", log, "--dsn", migrated).err == ""


def test_times_advance_by_the_utc_seconds_that_messages_carry(migrated: str) -> None:
    """By pyais's reading of them. Sentences out of order do not turn the clock back: 20 s at most."""
    path = HERE / "pyais/nmea_data_sample.txt"
    replay(migrated, path, "--start", START)
    said = []
    for line in path.read_bytes().splitlines():
        if re.match(rb"!AIVDM,1,1,[^,]*,[^,]*,[^,]", line):
            fields: dict[str, Any] = pyais.decode(line).asdict()
            if fields["msg_type"] in {1, 2, 3, 18} and fields["second"] < 60 and fields["lat"] <= 90:
                said.append((fields["mmsi"], fields["second"]))
    times: dict[int, list[int]] = {}
    found = rows(migrated, "SELECT transponder_id, time FROM positions WHERE msg_type IN (1, 2, 3, 18) ORDER BY time")
    for mmsi, time in found:
        times.setdefault(mmsi, []).append(time.second)
    assert len(said) > 500
    assert all(any((row - second) % 60 <= 20 for row in times[mmsi]) for mmsi, second in said)
    # A second that falls back far is the next minute, and no more than that.
    assert found[-1][1] - found[0][1] < timedelta(minutes=15)


def test_times_of_tag_blocks_are_those_of_the_rows(migrated: str, tmp_path: Path) -> None:
    log = tmp_path / "receiver.nmea"
    payload = LINE.split(b",")[5]
    moment = datetime(2026, 10, 5, 6, 0, 28, tzinfo=UTC)
    log.write_bytes(sentence(payload, tag=f"c:{int(moment.timestamp())}") + b"\n")
    replay(migrated, log, "--start", "2020-01-01")
    assert rows(migrated, "SELECT time, received_at FROM positions") == [(moment, moment)]


def test_a_tag_block_that_its_checksum_does_not_vouch_for_sets_no_time(migrated: str, tmp_path: Path) -> None:
    """In mixed.txt a time with a digit too many, of the year 2363, stands before all others."""
    log = tmp_path / "mixed.txt"
    log.write_bytes((HERE / "pyais/mixed.txt").read_bytes())
    written = datetime(2024, 2, 29, 12, 0, 5, tzinfo=UTC)
    os.utime(log, (written.timestamp(), written.timestamp()))
    replay(migrated, log)
    for table in ("positions", "statics", "quarantine"):
        ((latest,),) = rows(migrated, f"SELECT max(received_at) FROM {table}")
        assert latest < written + timedelta(minutes=1), table


def test_a_recording_of_years_to_come_is_refused(migrated: str, tmp_path: Path) -> None:
    recording = tmp_path / "day.jsonl"
    said = {"received_at": "2363-06-07T00:00:00Z", "topic": "haidang/v1/gw/d/readings", "payload": {}}
    recording.write_text(json.dumps(said) + "\n")
    result = haidang("replay", recording, "--dsn", migrated)
    assert (result.code, result.out) == (2, "")
    assert "line 1: received_at is not between" in result.err


# --- any batches ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("log", ["pyais/nmea_data_sample.txt", "libais/test.aivdm"])
def test_a_log_says_the_same_in_any_batches(migrated: str, plain_migrated: str, log: str) -> None:
    small = replay(migrated, HERE / log, "--start", START, "--batch", 7)
    large = replay(plain_migrated, HERE / log, "--start", START, "--batch", 20_000)
    assert {**small, "seconds": 0} == {**large, "seconds": 0}
    assert dump(migrated) == dump(plain_migrated)


def test_a_recording_raises_the_same_alerts_in_any_batches(
    migrated: str, plain_migrated: str, minute: Recording
) -> None:
    small = replay(migrated, minute.path, "--rules", "pack:hue", "--batch", 7)
    large = replay(plain_migrated, minute.path, "--rules", "pack:hue", "--batch", 20_000)
    assert {**small, "seconds": 0} == {**large, "seconds": 0}
    assert small["alerts"] >= 10
    one, other = dump(migrated), dump(plain_migrated)
    assert one["alerts"]
    assert one == other


# --- the truth --------------------------------------------------------------------------------------------------------


def test_a_recording_raises_what_a_perfect_observer_saw_and_nothing_else(any_migrated: str, minute: Recording) -> None:
    summary = replay(any_migrated, minute.path, "--rules", "pack:hue")
    assert summary["received"] == len(minute.path.read_text().splitlines())
    assert summary["quarantined"] == 0
    assert min(summary["rows"].values()) > 0
    before = dump(any_migrated)

    alerts = done("alerts", "list", "--dsn", any_migrated, "--json", "--limit", 1000).lines
    assert len(alerts) == summary["alerts"]
    zone, threshold = zone_alerts(alerts), threshold_steps(any_migrated)
    for kind in ("entered", "crossed"):
        told = [line for line in minute.truth if line["kind"] == f"zone_{kind}" and (kind, line["zone"]) in WATCHED]
        expected = {(t["subject"], t["zone"]): t for t in told if not t.get("at_start")}
        known = {(t["subject"], t["zone"]) for t in told} | also_crossed(minute.truth, kind)
        found = {key[1:]: time for key, time in zone.items() if key[0] == kind}
        assert set(expected) <= set(found) <= known
        for key, line in expected.items():
            # Between two reports, some ten seconds apart, nobody but the truth knows when it was.
            earliest = datetime.fromisoformat(line["time"]) - timedelta(seconds=11)
            assert earliest <= found[key] <= datetime.fromisoformat(line["reported"]) + timedelta(seconds=1), key

    levels = {
        (line["subject"], line["metric"], line["level"]): line["time"]
        for line in minute.truth
        if line["kind"] == "threshold" and line["direction"] == "rises" and line["metric"] == "water_level"
    }
    assert set(levels) == set(threshold)
    for level, time in levels.items():
        # Readings come every fraction of a second; noise may pass a level a little before or after the river does.
        assert abs(threshold[level] - datetime.fromisoformat(time)) <= timedelta(seconds=3), level

    assert replay(any_migrated, minute.path)["duplicate"] == summary["received"]
    assert dump(any_migrated) == before


#: What the pack watches: the condition of a rule, and a zone it speaks of.
WATCHED = {
    ("entered", "demo-thuan-an"),
    ("entered", "dien-hai-core"),  # told by a rule of condition "inside"
    ("entered", "vung-me-core"),
    ("crossed", "demo-line-thuan-an"),
    ("crossed", "dien-hai-core"),
    ("crossed", "vung-me-core"),
}


def also_crossed(truth: list[dict[str, Any]], kind: str) -> set[tuple[str, str]]:
    """Who went in and out of a zone: whether a report fell between, so that it was entered and left, is chance."""
    return {(t["subject"], t["zone"]) for t in truth if t["kind"].startswith("zone_")} if kind == "crossed" else set()


def zone_alerts(alerts: list[dict[str, Any]]) -> dict[tuple[str, str, str], datetime]:
    conditions = {"demo-entered": "entered", "lagoon-core-inside": "entered"}
    conditions |= {"demo-crossed": "crossed", "lagoon-core-crossed": "crossed"}
    out: dict[tuple[str, str, str], datetime] = {}
    for alert in alerts:
        if condition := conditions.get(alert["rule_id"]):
            key = (condition, alert["subject_name"], alert["zone_id"])
            time = datetime.fromisoformat(alert["started_at"])
            out[key] = min(time, out.get(key, time))
    return out


def threshold_steps(dsn: str) -> dict[tuple[str, str, float], datetime]:
    """When the water reached which alarm level: every step up of every flood alert."""
    levels = {"kim-long": (1.0, 2.0, 3.5), "phu-oc": (1.5, 3.0, 4.5)}
    found = rows(
        dsn,
        "SELECT a.subject_name, h.at, (h.details #>> '{level,number}')::int"
        " FROM alert_history h JOIN alerts a ON a.id = h.alert_id"
        " WHERE starts_with(a.rule_id, 'flood-') AND h.change IN ('firing', 'escalated')",
    )
    return {(name, "water_level", levels[name.rpartition("/")[2]][number - 1]): at for name, at, number in found}


def test_redelivered_publishes_change_nothing(migrated: str, plain_migrated: str, tmp_path: Path) -> None:
    """A fifth of the messages comes twice; but for that, it is the same day."""
    twice = simulated(tmp_path, "sensors", "--for", 3600, "--duplicates", 0.2, "--seed", 3, "--event", "flood")
    lines = twice.path.read_text().splitlines()
    seen: set[tuple[str, str]] = set()
    once = []
    for line in lines:
        record = json.loads(line)
        if (key := (record["topic"], record["payload"])) not in seen:
            seen.add(key)
            once.append(line)
    assert len(once) < len(lines)
    only = tmp_path / "once.jsonl"
    only.write_text("\n".join(once) + "\n")
    with_them = replay(migrated, twice.path, "--rules", "pack:hue", "--source", "gateways")
    without = replay(plain_migrated, only, "--rules", "pack:hue", "--source", "gateways")
    assert with_them["duplicate"] == len(lines) - len(once)
    assert with_them["stored"] == without["stored"] == len(once)
    one, other = dump(migrated), dump(plain_migrated)
    assert one == other


# --- what came late ---------------------------------------------------------------------------------------------------

HELD = """
[[rule]]
id = "held"
kind = "threshold"
title = { en = "High water", vi = "Nước cao" }
severity = "major"
metric = "water_level"
unit = "m"
raise = 2.0
clear = 1.0
for = "20m"
source = "a test"
"""


def test_what_came_late_corrects_alerts_at_the_end_of_a_file_and_nobody_is_told(migrated: str, tmp_path: Path) -> None:
    start = datetime.fromisoformat(START)
    sent = [(0, 0, 2.5), (25, 25, 2.6), (10, 30, 0.2), (35, 35, 2.7), (50, 50, 2.8)]
    lines = [
        {
            "received_at": (start + timedelta(minutes=received)).isoformat(),
            "topic": "haidang/v1/gw/gauge/readings",
            "payload": json.dumps(
                {"time": (start + timedelta(minutes=made)).isoformat(), "readings": {"water_level": level}}
            ),
        }
        for made, received, level in sent
    ]
    (tmp_path / "held.toml").write_text(HELD)
    log = tmp_path / "log.jsonl"
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    for _ in range(2):
        replay(migrated, log, "--rules", tmp_path / "held.toml")
        told = rows(migrated, "SELECT change, details->>'reason' FROM alert_history ORDER BY seq")
        assert told == [("firing", None), ("revised", "late_data")]
        [(state, now)] = rows(migrated, "SELECT state, details->'now'->0->>'since' FROM alerts")
        assert (state, datetime.fromisoformat(now)) == ("firing", start + timedelta(minutes=25))
        assert rows(migrated, "SELECT count(*) FROM notifications UNION ALL SELECT count(*) FROM alert_reviews") == [
            (0,),
            (0,),
        ]
