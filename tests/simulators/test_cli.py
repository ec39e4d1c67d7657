"""``haidang simulate``: what it writes, what it refuses, and how it stops."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from ingest.commands.simulate import app
from tests.simulators.samples import checksum_is_right, sentence

if TYPE_CHECKING:
    from pathlib import Path

    from services.mosquitto import Mosquitto

START = "2026-10-05T06:00:00Z"
FLEET = ["fleet", "--for", "60", "--start", START, "--first-entry", "20"]
COMMAND = (sys.executable, "-c", "from ingest.commands.simulate import app; app()")


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def test_a_fleet_in_a_file_is_the_same_each_time_and_has_its_truth_beside_it(tmp_path: Path) -> None:
    for name in ("one", "two"):
        out, truth = str(tmp_path / f"{name}.nmea"), str(tmp_path / f"{name}.jsonl")
        assert run(*FLEET, "--out", out, "--truth", truth)[0] == 0
    assert (tmp_path / "one.nmea").read_bytes() == (tmp_path / "two.nmea").read_bytes()
    assert (tmp_path / "one.jsonl").read_bytes() == (tmp_path / "two.jsonl").read_bytes()
    lines = (tmp_path / "one.nmea").read_bytes().splitlines()
    assert len(lines) > 50
    assert all(checksum_is_right(sentence(line)) for line in lines)
    told = [json.loads(line) for line in (tmp_path / "one.jsonl").read_text().splitlines()]
    assert {"zone_entered"} <= {line["kind"] for line in told}


def test_a_scenario_in_a_file_is_a_recording_of_everything(tmp_path: Path) -> None:
    out = tmp_path / "all.jsonl"
    code, stdout, _ = run("scenario", "--demo", "--for", "30", "--start", START, "--out", str(out), "--json")
    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert code == 0
    assert json.loads(stdout.splitlines()[-1])["targets"][0]["messages"] == len(records)
    assert {record["topic"].split("/")[2] for record in records} == {
        "hue-ais-1",
        "hue-ais-2",
        "hue-gw-1",
        "hue-gw-2",
        "hue-gw-3",
    }
    assert [r["received_at"] for r in records] == sorted(r["received_at"] for r in records)


def test_without_a_target_the_wire_is_standard_output_and_the_summary_is_not_on_it() -> None:
    code, stdout, stderr = run("fleet", "--for", "20", "--start", START)
    assert code == 0
    assert all("AIVDM" in line for line in stdout.splitlines())
    assert "messages" in stderr


def test_a_load_tells_its_numbers_and_its_books(broker: Mosquitto, tmp_path: Path) -> None:
    books = tmp_path / "books.jsonl"
    code, stdout, _ = run(
        "load", "mqtt", "--mqtt", broker.url, "--count", "500", "--gateway", "cli-gw", "--json", "--truth", str(books)
    )
    assert code == 0
    summary = json.loads(stdout.splitlines()[-1])
    assert (summary["sent"], summary["acknowledged"]) == (500, 500)
    devices = [json.loads(line) for line in books.read_text().splitlines()]
    assert sum(last - first + 1 for d in devices for first, last in d["acknowledged"]) == 500


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ("fleet --tcp 127.0.0.1:1", "Connection refused"),
        ("fleet --tcp nowhere", "HOST:PORT"),
        ("fleet --udp 127.0.0.1:99999", "HOST:PORT"),
        ("fleet --zones /no/such/file", "No such file"),
        ("fleet --start yesterday", "ISO 8601"),
        ("fleet --start 2026-10-05T06:00:00", "offset"),
        ("fleet --for 1 --out /no/such/folder/x", "No such file"),
        ("fleet --for 1 --truth /no/such/folder/x", "No such file"),
        ("sensors --mqtt mqtt://127.0.0.1:1", "Connection refused"),
        ("sensors --mqtt http://127.0.0.1:1", "mqtt://"),
        ("sensors --event tsunami", "flood"),
        ("sensors --event flood@soon", "hours"),
        ("sensors --interval 0.01 --speed 100", "millisecond"),
        ("load mqtt", "--mqtt"),
        ("load ais", "--tcp"),
        ("load ais --tcp 127.0.0.1:1", "Connection refused"),
        ("load mqtt --mqtt mqtt://127.0.0.1:1", "Connection refused"),
        ("load mqtt --mqtt mqtt://127.0.0.1:1 --count 1 --for 1", "not both"),
        ("load mqtt --mqtt mqtt://127.0.0.1:1 --metrics 9", "metrics"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line_with_exit_code_2(arguments: str, reason: str) -> None:
    code, stdout, stderr = run(*arguments.split())
    assert (code, stdout) == (2, "")
    assert stderr.count("\n") == 1
    assert reason in stderr


@pytest.mark.parametrize(
    "arguments",
    [
        "fleet --for 20 --out /dev/full",
        "fleet --for 600 --first-entry 20 --speed 10 --out {folder}/out --truth /dev/full",
        "sensors --for 600 --out /dev/full",
        "load ais --udp 127.0.0.1:9 --count 1 --truth /dev/full",
        "load ais --udp 127.0.0.1:9 --count 1 --truth /no/such/folder/x",
    ],
)
def test_a_file_that_cannot_be_written_to_is_refused_in_one_line_with_its_path(arguments: str, tmp_path: Path) -> None:
    code, stdout, stderr = run(*arguments.format(folder=tmp_path).split())
    assert (code, stdout) == (2, "")
    said = stderr.splitlines()[-1]
    assert said in {
        "haidang: /dev/full: No space left on device",
        "haidang: /no/such/folder/x: No such file or directory",
    }


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_it_cleanly_and_the_truth_so_far_is_on_disk(tmp_path: Path, number: signal.Signals) -> None:
    truth = tmp_path / "truth.jsonl"
    arguments = ("fleet", "--truth", str(truth), "--json", "--first-entry", "1")
    process = await asyncio.create_subprocess_exec(
        *COMMAND, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert b"AIVDM" in await asyncio.wait_for(process.stdout.readline(), 30)
    process.send_signal(number)
    stdout, stderr = await asyncio.wait_for(process.communicate(), 30)
    assert (process.returncode, stderr) == (0, b"")
    assert json.loads(stdout.splitlines()[-1])["truth"] == len(truth.read_text().splitlines())
