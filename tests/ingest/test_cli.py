"""The command line: what is refused is refused in one line with exit code 2; what is listed is JSON when asked for."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import psycopg
import pytest

from ingest.commands import root
from services.ports import LOOPBACK
from tests.decoders.support import HERE
from tests.ingest.command import PROCESS, Result, done, dump, haidang, rows

if TYPE_CHECKING:
    from pathlib import Path

    from services.mosquitto import Mosquitto

#: Nothing listens on the TCP port service multiplexer's port.
CLOSED = f"postgresql://nobody@{LOOPBACK}:1/nothing"

BOW_TIE = {
    "type": "Feature",
    "id": "bow-tie",
    "properties": {"name": "Bow tie", "kind": "restricted"},
    "geometry": {"type": "Polygon", "coordinates": [[[107, 16], [108, 17], [108, 16], [107, 17], [107, 16]]]},
}

RULE = """
[[rule]]
id = "high"
kind = "threshold"
title = {{ en = "High water", vi = "Nước cao" }}
severity = "major"
metric = "{metric}"
unit = "{unit}"
raise = 2.0
clear = 1.5
source = "a test"
valid_from = 2020-01-01
{more}
"""


def rule(metric: str = "water_level", unit: str = "m", more: str = "") -> str:
    return RULE.format(metric=metric, unit=unit, more=more)


def refused(result: Result, *says: str) -> None:
    """One line, exit code 2, nothing on standard output."""
    assert (result.code, result.out) == (2, ""), result
    (line,) = result.err.splitlines()
    assert line.startswith("haidang: ")
    for one in says:
        assert one in line


def usage(result: Result, *says: str) -> None:
    """Typer's own box, exit code 2."""
    assert (result.code, result.out) == (2, "")
    assert "Traceback" not in result.err
    text = " ".join(result.err.replace("│", " ").split())
    for one in says:
        assert one in text


def table(*arguments: object) -> str:
    """A listing for people, on a wide screen."""
    result = haidang(*arguments, env={"COLUMNS": "400"})
    assert (result.code, result.err) == (0, "")
    return result.out


def started(*arguments: object) -> Result:
    """The command as a process of its own."""
    command = (*PROCESS, *(str(one) for one in arguments))
    process = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    return Result(process.returncode, process.stdout, process.stderr)


def config(tmp_path: Path, dsn: str, more: str = "") -> Path:
    path = tmp_path / "haidang.toml"
    path.write_text(
        f"[database]\ndsn = {json.dumps(dsn)}\nconnect_timeout = 2\n[http]\nport = 0\n"
        f'[sources.coast]\ntype = "nmea_tcp"\nmode = "server"\nhost = "{LOOPBACK}"\nport = 0\n{more}\n'
    )
    return path


# --- the ends of a command --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["--help", "decode {log}", "rules check pack:hue", "simulate fleet --for 20"])
@pytest.mark.parametrize(
    ("ending", "says"), [(">/dev/full", "No space left on device"), (">&-", "Bad file descriptor")]
)
def test_an_output_that_takes_nothing_fails_the_command_in_one_line(command: str, ending: str, says: str) -> None:
    log = HERE / "pyais/nmea_data_sample.txt"
    line = f"exec {' '.join(PROCESS)} {command.format(log=log)} {ending}"
    process = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False, timeout=60)
    assert "Traceback" not in process.stderr
    assert (process.returncode, process.stderr.splitlines()[-1]) == (1, f"haidang: standard output: {says}")


def test_without_standard_error_a_refusal_is_still_one() -> None:
    line = f"exec {' '.join(PROCESS)} decode /no/such/log 2>&-"
    process = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False, timeout=60)
    assert (process.returncode, process.stdout) == (2, "")


def test_an_interrupt_while_modules_are_loaded_is_an_interrupt() -> None:
    code = (
        "import sys\n"
        "class Interrupt:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'typer': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupt())\n"
        "from ingest.cli import main\n"
        "main()\n"
    )
    process = subprocess.run([PROCESS[0], "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert (process.returncode, process.stdout, process.stderr) == (130, "", "")


# --- the configuration ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["run", "config check", "config show"])
def test_an_unknown_key_is_refused_with_file_and_line(tmp_path: Path, command: str) -> None:
    path = config(tmp_path, CLOSED, '[service]\nlog_formt = "json"')
    number = path.read_text().splitlines().index('log_formt = "json"') + 1
    refused(haidang(*command.split(), "--config", path), str(path), f"line {number}", "service.log_formt", "unknown")


def test_every_fault_of_a_configuration_is_a_line_of_its_own(tmp_path: Path) -> None:
    path = config(tmp_path, CLOSED, "[service]\ngrace_seconds = -1\n[limits]\nbatch_messages = 0")
    result = haidang("config", "check", "--config", path)
    assert result.code == 2
    assert [line.split(": ")[3] for line in result.err.splitlines()] == [
        "limits.batch_messages",
        "service.grace_seconds",
    ]


def test_a_configuration_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    refused(haidang("run", "--config", tmp_path / "absent.toml"), "absent.toml", "No such file")
    usage(haidang("run", "--config", tmp_path), "is a directory")
    (tmp_path / "bad.toml").write_text("[http\n")
    refused(haidang("run", "--config", tmp_path / "bad.toml"), "bad.toml", "line 1")
    (tmp_path / "bad.toml").write_bytes(b"\xff\xfe")
    refused(haidang("run", "--config", tmp_path / "bad.toml"), "UTF-8")


@pytest.mark.parametrize("command", ["run", "config check"])
def test_a_service_without_sources_or_database_is_refused_before_it_starts(tmp_path: Path, command: str) -> None:
    path = tmp_path / "haidang.toml"
    path.write_text(f'[database]\ndsn = "{CLOSED}"\n')
    refused(haidang(*command.split(), "--config", path), "no sources")
    refused(haidang(*command.split(), "--config", config(tmp_path, "")), "no database")


def test_rules_may_speak_of_zones_of_the_database_that_is_looked_at(migrated: str, tmp_path: Path) -> None:
    zone = {
        **BOW_TIE,
        "id": "box",
        "geometry": {"type": "Polygon", "coordinates": [[[107, 16], [108, 16], [108, 17], [107, 16]]]},
    }
    (tmp_path / "box.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [zone]}))
    (tmp_path / "rules.toml").write_text(
        """
        [[rule]]
        id = "in-box"
        kind = "zone"
        title = { en = "In the box", vi = "Trong ô" }
        severity = "warning"
        condition = "inside"
        zones = ["box"]
        source = "a test"
        valid_from = 2020-01-01
        """
    )
    path = config(tmp_path, migrated, f'[rules]\nfiles = ["{tmp_path / "rules.toml"}"]')
    result = haidang("config", "check", "--config", path)
    assert result.code == 2
    hint, fault = result.err.splitlines()
    assert "--database" in hint
    assert "rules.toml:8: rule 'in-box': unknown zone 'box'" in fault
    done("zones", "import", tmp_path / "box.geojson", "--dsn", migrated)
    assert done("config", "check", "--config", path, "--database", "--json").only["rules"] == 1


def test_an_unknown_pack_is_refused(tmp_path: Path) -> None:
    path = config(tmp_path, CLOSED, '[rules]\npacks = ["hanoi"]')
    refused(haidang("config", "check", "--config", path), "hanoi")
    refused(haidang("rules", "check", "pack:hanoi"), "hanoi")


def test_secrets_are_masked_when_the_settings_are_shown(tmp_path: Path) -> None:
    path = config(
        tmp_path,
        "postgresql://u:wave@db/haidang",
        '[sources.gateways]\ntype = "mqtt"\nhost = "b"\nusername = "u"\npassword = "lagoon-secret"\n'
        '[channels.duty]\ntype = "webhook"\nurl = "https://duty.example.org/"\nsecret = "sixteen-characters"\n'
        'headers = { Authorization = "Bearer lantern" }',
    )
    told = done("config", "show", "--config", path, "--json")
    plain = done("config", "show", "--config", path)
    for text in (told.out, plain.out):
        for secret in ("wave", "lagoon-secret", "sixteen-characters", "lantern"):
            assert secret not in text
    assert told.only["sources"]["gateways"]["host"] == "b"
    assert "sources.gateways.host = 'b'" in plain.out
    assert "2 sources, 1 channels" in done("config", "check", "--config", path).out
    assert done("config", "check", "--config", path, "--json").only == {
        "config": str(path),
        "sources": 2,
        "channels": 1,
        "rules": 0,
        "zones": 0,
    }


# --- parts that do not answer -----------------------------------------------------------------------------------------


def test_an_unreachable_database_is_refused(tmp_path: Path) -> None:
    log = tmp_path / "log.nmea"
    log.write_bytes(b"\n")
    for arguments in (
        ("run", "--config", config(tmp_path, CLOSED)),
        ("replay", log, "--dsn", CLOSED),
        ("db", "status", "--dsn", CLOSED),
        ("db", "upgrade", "--dsn", CLOSED),
        ("alerts", "list", "--dsn", CLOSED),
        ("alerts", "ack", uuid4(), "--dsn", CLOSED),
        ("quarantine", "redrive", "--reason", "bad_json", "--dsn", CLOSED),
        ("zones", "list", "--dsn", CLOSED),
        ("rules", "import", "pack:hue", "--dsn", CLOSED),
    ):
        refused(haidang(*arguments), f"{LOOPBACK}", "refused")


@pytest.mark.parametrize("dsn", ["not a dsn", "postgresql://[::1", "host=127.0.0.1 port=abc", "", "mysql://db/x"])
def test_a_wrong_dsn_is_refused_and_its_password_not_shown(dsn: str) -> None:
    refused(haidang("db", "status", "--dsn", dsn))
    refused(haidang("alerts", "list", "--dsn", dsn))


def test_a_wrong_password_or_database_is_refused_without_showing_the_password(migrated: str) -> None:
    head, _, tail = migrated.partition("@")
    user = head.removeprefix("postgresql://").split(":")[0]
    for dsn in (f"postgresql://{user}:storm-surge@{tail}", migrated.rsplit("/", 1)[0] + "/no_such_database"):
        result = haidang("alerts", "list", "--dsn", dsn)
        refused(result)
        assert "storm-surge" not in result.err


def test_an_unreachable_broker_is_refused(migrated: str, tmp_path: Path) -> None:
    path = config(tmp_path, migrated, f'[sources.gateways]\ntype = "mqtt"\nhost = "{LOOPBACK}"\nport = 1')
    refused(started("run", "--config", path), "gateways", f"{LOOPBACK}:1", "refused")


def test_a_refusing_broker_is_refused(migrated: str, broker: Mosquitto, tmp_path: Path) -> None:
    more = f'[sources.gateways]\ntype = "mqtt"\nhost = "{LOOPBACK}"\nport = {broker.port}\ntls = {{}}'
    refused(started("run", "--config", config(tmp_path, migrated, more)), "gateways")


def test_a_taken_http_port_is_refused(migrated: str, broker: Mosquitto, tmp_path: Path) -> None:
    path = config(tmp_path, migrated)
    path.write_text(path.read_text().replace("[http]\nport = 0", f"[http]\nport = {broker.port}"))
    refused(started("run", "--config", path), f"{LOOPBACK}:{broker.port}", "in use")


def test_a_database_without_tables_is_refused_with_what_to_do(database: str, tmp_path: Path) -> None:
    log = tmp_path / "log.nmea"
    log.write_bytes(b"\n")
    for arguments in (
        ("run", "--config", config(tmp_path, database)),
        ("replay", log, "--dsn", database),
        ("alerts", "list", "--dsn", database),
        ("quarantine", "list", "--dsn", database),
        ("rules", "list", "--dsn", database),
    ):
        refused(haidang(*arguments), "haidang db upgrade")


def test_a_refusal_of_the_real_command_is_one_line_without_a_traceback(tmp_path: Path) -> None:
    refused(started("run", "--config", config(tmp_path, CLOSED)), "refused")


# --- files that are wrong ---------------------------------------------------------------------------------------------


def test_a_zone_that_crosses_itself_is_refused_and_nothing_is_imported(migrated: str, tmp_path: Path) -> None:
    path = tmp_path / "zones.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [BOW_TIE]}))
    refused(haidang("zones", "import", path, "--dsn", migrated), "zones.geojson", "Bow tie", "intersection")
    assert done("zones", "list", "--dsn", migrated, "--json").out == ""
    path.write_text("{")
    refused(haidang("zones", "import", path, "--dsn", migrated), "zones.geojson")
    refused(haidang("zones", "import", tmp_path / "absent.geojson", "--dsn", migrated), "No such file")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (rule(more="rais = 1"), "rais"),
        (rule(metric="water_levle"), "water_levle"),
        (rule(unit="ft"), "ft"),
        (rule(more="clear = 1.0"), ":13: "),
        (rule() + rule(), "high"),
        ('[[rule]]\nid = "x"\nkind = "tea"', "tea"),
        ("[[rule]", ":1: "),
    ],
)
def test_a_rule_that_is_wrong_is_refused_with_its_file(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    refused(haidang("rules", "check", path), str(path), says)


def test_a_rule_without_a_source_has_its_other_faults_told_too(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(rule(metric="water_levle").replace('source = "a test"\n', ""))
    result = haidang("rules", "check", path)
    assert result.code == 2
    assert [any(says in line for line in result.err.splitlines()) for says in ("'source'", "water_levle")] == [True] * 2


def test_a_wrong_rule_stops_the_service_and_the_replay_and_is_not_kept(migrated: str, tmp_path: Path) -> None:
    path, log = tmp_path / "mine.toml", tmp_path / "log.nmea"
    path.write_text(rule(metric="water_levle"))
    log.write_bytes(b"\n")
    refused(haidang("run", "--config", config(tmp_path, migrated, f'[rules]\nfiles = ["{path}"]')), "water_levle")
    refused(haidang("replay", log, "--rules", path, "--dsn", migrated), "water_levle")
    refused(haidang("rules", "import", path, "--dsn", migrated), "water_levle")
    assert done("rules", "list", "--dsn", migrated, "--json").out == ""
    path.write_text(rule())
    assert "1 rules" in done("rules", "check", path).out
    assert done("rules", "check", path, "--json").only == {"rules": 1, "zones": 0}
    assert done("rules", "import", path, "--dsn", migrated, "--json").only == {"rules": 1, "zones": 0}


def test_a_replay_of_no_file_or_half_a_recording_is_refused(migrated: str, tmp_path: Path) -> None:
    refused(haidang("replay", tmp_path / "absent.nmea", "--dsn", migrated), "absent.nmea", "No such file")
    path = tmp_path / "half.jsonl"
    path.write_text('{"received_at": "2026-10-05T06:00:00Z", "topic": "a", "pay')
    refused(haidang("replay", path, "--dsn", migrated), "half.jsonl", "line 1")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("alerts list --state asleep", "asleep"),
        ("alerts list --since yesterday", "ISO 8601"),
        ("alerts list --since 2026-10-05T06:00:00", "offset"),
        ("alerts list --limit 0", "--limit"),
        ("alerts show 17", "valid UUID"),
        ("replay log --format xml", "xml"),
        ("replay log --batch 0", "--batch"),
        ("replay log --start noon", "ISO 8601"),
        ("quarantine redrive", "--reason"),
        ("quarantine list --reason boredom", "boredom"),
        ("sail away", "sail"),
        ("alerts list --loud", "--loud"),
    ],
)
def test_a_wrong_option_is_refused(arguments: str, says: str) -> None:
    own = [] if arguments.startswith("sail") else ["--dsn", CLOSED]
    usage(haidang(*arguments.split(), *own), says)


def test_a_dsn_can_come_from_a_file_as_for_the_service(migrated: str, tmp_path: Path) -> None:
    file = tmp_path / "dsn"
    file.write_text(f"{migrated}\n")
    env = {"HAIDANG__DATABASE__DSN_FILE": str(file)}
    assert haidang("zones", "list", env=env).code == 0
    assert haidang("zones", "list", "--dsn", CLOSED, env=env).code == 2
    file.unlink()
    absent = haidang("zones", "list", env=env)
    assert absent.code == 2
    assert "No such file" in " ".join(absent.err.replace("│", " ").split())
    assert "Traceback" not in absent.err


def test_without_a_dsn_the_option_and_its_variable_are_named() -> None:
    env = {"HAIDANG__DATABASE__DSN": ""}
    result = haidang("alerts", "list", env=env)
    assert result.code == 2
    assert "Traceback" not in result.err


def test_help_and_version_answer() -> None:
    assert done("--version").out.startswith("haidang 0.")
    assert "replay" in done("--help").out
    assert "--batch" in done("replay", "-h").out


def test_the_list_of_commands_says_what_the_help_of_each_says() -> None:
    listed = " ".join(done("--help").out.replace("│", " ").split())
    for name, about in root._COMMANDS.items():
        assert f"{name} {about}" in listed
        assert about in " ".join(done(name, "--help").out.split())


def test_a_mistyped_command_is_told_what_was_meant() -> None:
    result = haidang("repaly")
    assert result.code == 2
    assert "Did you mean 'replay'?" in result.err


# --- what is listed ---------------------------------------------------------------------------------------------------


@pytest.fixture
def alarmed(migrated: str, tmp_path: Path) -> str:
    """A database in which two rivers have passed alarm levels, and where two messages were refused."""
    moments = [f"2026-10-05T06:{minute:02d}:00Z" for minute in range(6)]
    levels = [0.5, 1.2, 2.4, 2.6, 2.2, 1.95]
    topic = "haidang/v1/gw/kim-long/readings"
    records: list[dict[str, Any]] = [
        {"received_at": at, "topic": topic, "payload": {"time": at, "readings": {"water_level": level}}}
        for at, level in zip(moments, levels, strict=True)
    ]
    other = {"time": moments[0], "readings": {"water_level": 1.6}}
    records.insert(0, {"received_at": moments[0], "topic": "haidang/v1/gw/phu-oc/readings", "payload": other})
    records += [
        {"received_at": moments[-1], "topic": topic, "payload": "{no json"},
        {"received_at": moments[-1], "topic": "haidang/v1/gw/nmea", "payload": "!AIVDM,1,1,,A,13HOI:0P,0*00"},
    ]
    path = tmp_path / "river.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    summary = done("replay", path, "--rules", "pack:hue", "--source", "gateways", "--dsn", migrated, "--json").only
    assert (summary["received"], summary["quarantined"], summary["alerts"]) == (9, 2, 2)
    return migrated


def test_alerts_are_listed_filtered_and_shown(alarmed: str) -> None:
    alerts = done("alerts", "list", "--dsn", alarmed, "--json").lines
    assert [alert["rule_id"] for alert in alerts] == ["flood-kim-long", "flood-phu-oc"]
    assert {alert["state"] for alert in alerts} == {"firing"}
    major = done("alerts", "list", "--dsn", alarmed, "--severity", "major", "--json").lines
    assert major == alerts[:1]
    assert done("alerts", "list", "--dsn", alarmed, "--rule", "flood-phu-oc", "--json").lines == alerts[1:]
    assert done("alerts", "list", "--dsn", alarmed, "--state", "resolved", "--json").lines == []
    assert done("alerts", "list", "--dsn", alarmed, "--since", "2026-10-05T06:01:00Z", "--json").lines == alerts[:1]
    assert done("alerts", "list", "--dsn", alarmed, "--limit", 1, "--json").lines == alerts[:1]

    shown = done("alerts", "show", alerts[0]["id"], "--dsn", alarmed, "--json").only
    assert shown["subject_name"] == "gw/kim-long"
    assert shown["value"] == 2.4
    assert [(h["from_state"], h["to_state"], h["change"], h["actor"]) for h in shown["history"]] == [
        (None, "firing", "firing", "engine"),
        ("firing", "firing", "grouped", "desk"),  # with the other river
        ("firing", "firing", "escalated", "engine"),
    ]
    assert shown["notifications"] == []  # a replay tells nobody
    assert "gw/kim-long" in done("alerts", "show", alerts[0]["id"], "--dsn", alarmed).out
    assert "Flood at Kim Long: up to alarm II" in table("alerts", "list", "--dsn", alarmed)
    refused(haidang("alerts", "show", uuid4(), "--dsn", alarmed), "no alert")


def test_an_alert_is_acknowledged_then_resolved_and_the_record_stands(alarmed: str) -> None:
    id_ = done("alerts", "list", "--dsn", alarmed, "--json").lines[1]["id"]
    by = ("--by", "Lan", "--dsn", alarmed)
    assert done("alerts", "ack", id_, *by, "--note", "seen", "--json").only["state"] == "acknowledged"
    (row,) = done("alerts", "list", "--state", "acknowledged", "--dsn", alarmed, "--json").lines
    assert (row["id"], row["acknowledged_by"]) == (id_, "Lan")
    refused(haidang("alerts", "ack", id_, *by), id_, "acknowledged already")

    assert "resolved" in done("alerts", "resolve", id_, *by, "--note", "over").out
    for command in ("ack", "resolve"):
        refused(haidang("alerts", command, id_, *by), id_, "resolved already")
    history = done("alerts", "show", id_, "--dsn", alarmed, "--json").only["history"]
    assert [(h["seq"], h["from_state"], h["to_state"], h["actor"], h["note"]) for h in history[1:]] == [
        (2, "firing", "acknowledged", "Lan", "seen"),
        (3, "acknowledged", "resolved", "Lan", "over"),
    ]
    assert rows(alarmed, "SELECT state, revision FROM alerts WHERE id = %s", id_) == [("resolved", 3)]
    refused(haidang("alerts", "ack", uuid4(), *by), "no alert")


def test_channels_of_the_settings_are_told_of_an_acknowledgement(alarmed: str, tmp_path: Path) -> None:
    path = config(tmp_path, alarmed, '[channels.duty]\ntype = "log"\nevents = ["acknowledged"]')
    id_ = done("alerts", "list", "--dsn", alarmed, "--json").lines[0]["id"]
    done("alerts", "ack", id_, "--by", "Lan", "--config", path, "--dsn", alarmed)
    assert rows(alarmed, "SELECT alert_id, channel, event, state FROM notifications") == [
        (UUID(id_), "duty", "acknowledged", "queued")
    ]


def test_zones_and_rules_are_listed(alarmed: str) -> None:
    zones = done("zones", "list", "--dsn", alarmed, "--json").lines
    assert {zone["type"] for zone in zones} == {"Feature"}
    assert "dien-hai-core" in {zone["id"] for zone in zones}
    rules = done("rules", "list", "--dsn", alarmed, "--json").lines
    assert {"flood-kim-long", "lagoon-core-inside"} <= {one["id"] for one in rules}
    assert all(one["version"] and one["kind"] for one in rules)
    assert "flood-kim-long" in table("rules", "list", "--dsn", alarmed)
    assert "dien-hai-core" in table("zones", "list", "--dsn", alarmed)
    again = done("zones", "import", "pack:hue", "--dsn", alarmed, "--json").only
    assert (again["new"], again["changed"], len(again["unchanged"])) == ([], [], len(zones))


def test_what_was_listed_as_zones_can_be_imported(alarmed: str, tmp_path: Path) -> None:
    features = done("zones", "list", "--dsn", alarmed, "--json").lines
    path = tmp_path / "zones.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    again = done("zones", "import", path, "--dsn", alarmed, "--json").only
    assert (again["new"], again["changed"]) == ([], [])


def test_importing_only_some_rules_retires_the_others(alarmed: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(rule())
    done("rules", "import", path, "--only", "--dsn", alarmed)
    assert [one["id"] for one in done("rules", "list", "--dsn", alarmed, "--json").lines] == ["high"]
    assert rows(alarmed, "SELECT count(*) FROM rules WHERE id = 'flood-kim-long'") == [(1,)]


def test_quarantine_is_listed_and_shown_with_its_bytes(alarmed: str) -> None:
    listed = done("quarantine", "list", "--dsn", alarmed, "--json").lines
    assert {row["reason"] for row in listed} == {"bad_json", "bad_checksum"}
    assert {row["source"] for row in listed} == {"gateways"}
    (one,) = done("quarantine", "list", "--reason", "bad_json", "--dsn", alarmed, "--json").lines
    assert one["origin"] == "haidang/v1/gw/kim-long/readings"
    shown = done("quarantine", "show", one["id"], "--dsn", alarmed, "--json").only
    assert (shown["raw"], shown["size"]) == ("{no json", 8)
    assert "{no json" in done("quarantine", "show", one["id"], "--dsn", alarmed).out
    assert done("quarantine", "show", one["id"], "--raw", "--dsn", alarmed).out == "{no json"
    assert "bad_checksum" in table("quarantine", "list", "--dsn", alarmed)
    assert "bad_checksum" in table("quarantine", "summary", "--dsn", alarmed)
    (first,) = done("quarantine", "list", "--limit", 1, "--dsn", alarmed, "--json").lines
    assert [first, *done("quarantine", "list", "--after", first["id"], "--dsn", alarmed, "--json").lines] == listed
    assert done("quarantine", "list", "--redriven", "--dsn", alarmed, "--json").lines == []
    refused(haidang("quarantine", "show", uuid4(), "--dsn", alarmed), "no quarantined message")
    refused(haidang("quarantine", "redrive", uuid4(), "--dsn", alarmed), "no quarantined message")


def test_what_is_still_wrong_is_redriven_to_no_effect_however_often(alarmed: str) -> None:
    before = dump(alarmed)
    listed = done("quarantine", "list", "--dsn", alarmed, "--json").lines
    ids = [row["id"] for row in listed]
    first = done("quarantine", "redrive", *ids, "--dsn", alarmed, "--json").lines
    assert {(row["id"], row["outcome"]) for row in first} == {
        (row["id"], f"refused: {row['reason']}") for row in listed
    }
    again = done("quarantine", "redrive", *ids, "--dsn", alarmed, "--json").lines
    assert again == first
    after = dump(alarmed)
    assert {k: v for k, v in after.items() if k != "quarantine"} == {
        k: v for k, v in before.items() if k != "quarantine"
    }
    assert len(after["quarantine"]) == 2
    assert done("quarantine", "redrive", "--reason", "bad_json", "--dsn", alarmed, "--json").lines == []
    third = done("quarantine", "redrive", "--source", "gateways", "--again", "--dsn", alarmed, "--json").lines
    assert third == first
    assert {row["redrives"] for row in done("quarantine", "list", "--dsn", alarmed, "--json").lines} == {3}


def test_what_is_right_by_now_is_stored_once(alarmed: str) -> None:
    """As after an upgrade: the bytes in quarantine are such that this version takes them."""
    payload = b'{"time":"2026-10-05T06:10:00Z","readings":{"water_level":0.4}}'
    with psycopg.connect(alarmed) as connection:
        connection.execute(
            "UPDATE quarantine SET raw = %s, size = %s WHERE reason = 'bad_json'", (payload, len(payload))
        )
    (first,) = done("quarantine", "redrive", "--reason", "bad_json", "--dsn", alarmed, "--json").lines
    assert first["outcome"] == "stored"
    readings = "SELECT value FROM readings WHERE time = '2026-10-05T06:10:00Z'"
    assert rows(alarmed, readings) == [(0.4,)]
    stored = dump(alarmed)
    (again,) = done("quarantine", "redrive", first["id"], "--dsn", alarmed, "--json").lines
    assert again["outcome"] == "duplicate"
    assert {k: v for k, v in dump(alarmed).items() if k != "quarantine"} == {
        k: v for k, v in stored.items() if k != "quarantine"
    }


def test_the_database_is_upgraded_and_its_status_told(any_database: str) -> None:
    before = haidang("db", "status", "--dsn", any_database, "--json")
    assert (before.code, before.only["current"]) == (1, False)
    first = done("db", "upgrade", "--dsn", any_database, "--json").only
    again = done("db", "upgrade", "--dsn", any_database, "--json").only
    status = done("db", "status", "--dsn", any_database, "--json").only
    assert first["current"] is again["current"] is status["current"] is True
    assert status["edition"] in done("db", "status", "--dsn", any_database).out
    assert len(status["migrations"]) >= 5


def test_the_dsn_can_come_from_the_environment(migrated: str) -> None:
    result = haidang("alerts", "list", "--json", env={**os.environ, "HAIDANG__DATABASE__DSN": migrated})
    assert (result.code, result.out, result.err) == (0, "", "")
