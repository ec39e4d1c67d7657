"""``haidang decode``: every line is accounted for, under the names that the contract fixes."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from ingest.sources.file import publishes
from tests.decoders.support import HERE, logs, sentence
from tests.ingest.command import PROCESS, Result, done, haidang

if TYPE_CHECKING:
    from pathlib import Path

POSITION = {"kind", "time", "mmsi", "lon", "lat", "sog", "cog", "heading", "nav_status", "rot", "msg_type", "lines"}
STATIC = {"kind", "time", "mmsi", "imo", "callsign", "name", "ship_type", "to_bow", "to_stern", "to_port"}
STATIC |= {"to_starboard", "draught", "destination", "eta", "msg_type", "lines"}
REJECT = {"line", "reason", "raw", "detail"}
KINDS = {"position", "static", "base_station", "aton", "sar_aircraft", "safety_text", "binary"}

FIX = b"!AIVDM,1,1,,A,13HOI:0P0000VOHLCnHQKwvL05Ip,0*23"


def rejects(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.err.splitlines()]


@pytest.mark.parametrize("log", logs())
def test_every_line_of_a_log_is_in_an_observation_a_reject_or_passed_over(log: Path) -> None:
    lines = log.read_bytes().removesuffix(b"\n").split(b"\n")
    result = haidang("decode", log, "--ignored")
    assert result.code == 0
    accepted: set[int] = set()
    for observation in result.lines:
        accepted |= set(observation["lines"])
        assert observation["lines"] == sorted(set(observation["lines"]))
    refused = [reject["line"] for reject in rejects(result)]
    assert len(refused) == len(set(refused))
    assert not accepted & set(refused)
    assert accepted | set(refused) == set(range(1, len(lines) + 1))
    for reject in rejects(result):
        raw = lines[reject["line"] - 1].rstrip(b"\r").decode("utf-8", "backslashreplace")
        assert reject["raw"].rstrip("\r") == raw
        assert reject["reason"]

    without = haidang("decode", log)
    assert without.out == result.out
    assert rejects(without) == [r for r in rejects(result) if not r["reason"].startswith("ignored_")]


@pytest.mark.parametrize("log", logs())
def test_observations_have_the_names_of_the_contract(log: Path) -> None:
    result = haidang("decode", log)
    for observation in result.lines:
        kind = observation["kind"]
        if kind == "position":
            assert observation.keys() >= POSITION
            assert observation.keys() - POSITION <= {"accuracy", "transponder"}
        elif kind == "static":
            assert observation.keys() == STATIC
        else:
            assert observation.keys() >= {"kind", "time", "mmsi", "msg_type", "lines"}
        assert observation["time"] is None or observation["time"].endswith("Z")
        assert isinstance(observation["mmsi"], int)
        assert "NaN" not in json.dumps(observation)
    for reject in rejects(result):
        assert reject.keys() == REJECT


def test_the_kinds_that_the_contract_names_are_found_in_the_examples() -> None:
    assert {o["kind"] for log in logs()[:6] for o in done_or_refused(log.values[0]).lines} >= KINDS


def done_or_refused(log: Path) -> Result:
    result = haidang("decode", log)
    assert result.code == 0
    return result


def test_a_position_is_what_the_contract_shows() -> None:
    at = sentence(FIX.split(b",")[5], tag="c:1759644028")
    (line,) = done("decode", "-", stdin=at + b"\n").lines
    assert {key: line[key] for key in ("kind", "time", "mmsi", "lines", "msg_type")} == {
        "kind": "position",
        "time": "2025-10-05T06:00:28Z",
        "mmsi": 227006760,
        "lines": [1],
        "msg_type": 1,
    }
    assert (line["lon"], line["lat"]) == pytest.approx((0.13138, 49.47557), abs=1e-4)
    (line,) = done("decode", "--untrusted", "-", stdin=at + b"\n").lines
    assert line["time"] is None


@pytest.mark.parametrize("log", logs()[:6])
def test_standard_input_says_what_the_file_says(log: Path) -> None:
    from_file, from_input = haidang("decode", log), haidang("decode", "-", stdin=log.read_bytes())
    assert (from_file.out, from_file.err) == (from_input.out, from_input.err)


def test_a_compressed_log_says_what_the_log_says(tmp_path: Path) -> None:
    log = HERE / "libais/tagblock.nmea"
    packed = tmp_path / log.name
    data = log.read_bytes()
    packed.write_bytes(gzip.compress(data[:1000]) + gzip.compress(data[1000:]))  # as of files put together
    plain = haidang("decode", log)
    for found in (haidang("decode", packed), haidang("decode", "-", stdin=packed.read_bytes())):
        assert (found.out, found.err) == (plain.out, plain.err)
    packed.write_bytes(gzip.compress(data)[:-100])
    broken = haidang("decode", packed)
    assert broken.code == 2
    assert f"haidang: {packed}: gzip: " in broken.err


@pytest.mark.parametrize("data", [b"", b"\n", b"\n\n\n", b"\x00\xff\xfe", b"no line end", FIX, FIX + b"\r\n", b"{\n"])
def test_any_bytes_as_a_log_are_accounted_for(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(data)
    result = haidang("decode", tmp_path / "log", "--ignored", "--format", "nmea")
    assert result.code == 0
    lines = [n for o in result.lines for n in o["lines"]] + [r["line"] for r in rejects(result)]
    expected = data.removesuffix(b"\n").split(b"\n") if data else []
    assert sorted(lines) == list(range(1, len(expected) + 1))


# --- MQTT recordings --------------------------------------------------------------------------------------------------


def recorded(topic: str, payload: object, **more: object) -> str:
    return json.dumps({"received_at": "2026-10-05T06:00:01Z", "topic": topic, "payload": payload, **more})


def test_a_recording_is_told_publish_by_publish(tmp_path: Path) -> None:
    path = tmp_path / "day.jsonl"
    at = "2026-10-05T06:00:00Z"
    reading = {"time": at, "readings": {"water_level": 1.25, "pm2_5": 12}}
    lines = [
        recorded("haidang/v1/gw/kim-long/readings", reading),
        recorded("haidang/v1/gw/kim-long/readings", "not json"),
        recorded("haidang/v1/gw/boat-7/position", {"time": at, "lon": 107.7, "lat": 16.6, "sog": 5, "cog": 90}),
        "",
        recorded("haidang/v1/gw/nmea", FIX.decode()),
        recorded("some/where/else", "{}"),
        recorded("haidang/v1/gw/kim-long/readings", {"time": at, "readings": {"water_level": 1e9}}),
    ]
    path.write_text("\n".join(lines) + "\n")
    result = haidang("decode", path)
    assert result.code == 0
    told = [(o["kind"], o["lines"]) for o in result.lines]
    assert told == [("reading", [1]), ("reading", [1]), ("position", [3]), ("position", [5])]
    level = next(o for o in result.lines if o.get("metric") == "water_level")
    assert (level["device"], level["value"], level["time"]) == ("gw/kim-long", 1.25, at)
    assert [(r["line"], r["reason"]) for r in rejects(result)] == [
        (2, "bad_json"),
        (6, "bad_topic"),
        (7, "out_of_range"),
    ]


def test_a_simulated_day_is_decoded_whole(tmp_path: Path) -> None:
    path = tmp_path / "minute.jsonl"
    done("simulate", "scenario", "--demo", "--for", 20, "--start", "2026-10-05T06:00:00Z", "--out", path, "--json")
    result = done("decode", path)
    assert {o["kind"] for o in result.lines} >= {"reading", "position"}
    numbers = {number for number, _ in publishes(path.read_bytes(), "x", "x")}
    assert {n for o in result.lines for n in o["lines"]} == numbers


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{nonsense", "line 2"),
        ("[1, 2]", "line 2"),
        ("7", "line 2"),
        ("null", "line 2"),
        ('{"topic": "a", "payload": "b"}', "no 'received_at'"),
        ('{"received_at": "2026-10-05T06:00:00Z", "payload": "b"}', "no 'topic'"),
        ('{"received_at": "2026-10-05T06:00:00Z", "topic": "a"}', "no 'payload'"),
        ('{"received_at": "2026-10-05T06:00:00", "topic": "a", "payload": "b"}', "no offset"),
        ('{"received_at": "soon", "topic": "a", "payload": "b"}', "line 2"),
        ('{"received_at": null, "topic": "a", "payload": "b"}', "line 2"),
        ('{"received_at": 1e300, "topic": "a", "payload": "b"}', "line 2"),
        ('{"received_at": true, "topic": "a", "payload": "b"}', "line 2"),
        ('{"received_at": 0, "topic": "a", "payload": "b"}', "not between"),
        ('{"received_at": "0001-01-01T00:00:00+12:00", "topic": "a", "payload": "b"}', "line 2"),
        ('{"received_at": -1e18, "topic": "a", "payload": "b"}', "line 2"),
        ('{"received_at": 1791180000000, "topic": 5, "payload": "b"}', "topic is not text"),
        ('{"received_at": 1791180000000, "topic": "a", "payload_base64": "%%"}', "line 2"),
        ('{"received_at": 1791180000000, "topic": "a", "payload_base64": 5}', "line 2"),
    ],
)
def test_a_recording_that_is_none_is_refused_with_its_line(tmp_path: Path, line: str, reason: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(recorded("haidang/v1/gw/d/readings", "x") + "\n" + line + "\n")
    result = haidang("decode", path)
    assert result.code == 2
    *_, last = result.err.splitlines()
    assert last.startswith("haidang: ")
    assert reason in last
    assert str(path) in last


# --- what is no log ---------------------------------------------------------------------------------------------------


def test_a_file_that_cannot_be_read_is_refused_in_one_line(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "absent", "No such file"), (tmp_path, "Is a directory")):
        result = haidang("decode", path)
        assert (result.code, result.out) == (2, "")
        assert result.err.count("\n") == 1
        assert str(path) in result.err
        assert reason in result.err


def test_a_reader_that_leaves_is_no_failure_to_be_told_of() -> None:
    """``haidang decode LOG | head -1``: the pipe breaks, no traceback."""
    log = HERE / "pyais/nmea_data_sample.txt"
    read, write = os.pipe()
    with subprocess.Popen((*PROCESS, "decode", str(log)), stdout=write, stderr=subprocess.PIPE) as process:
        os.close(write)
        os.close(read)
        assert process.stderr is not None
        err = process.stderr.read()
    assert b"Traceback" not in err
    assert b"Exception ignored" not in err
    assert process.returncode == 1
