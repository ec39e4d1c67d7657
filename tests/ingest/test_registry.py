"""The registry from the command line: imported, shown, judged by, and held in evidence."""

from __future__ import annotations

import asyncio
import json
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from alerting import pack
from ingest.watch import stored_rule_book
from simulators.ais_wire import Report, position_a, sentences, tag_block
from tests.ingest.command import done, haidang, rows
from tests.ingest.running import EPOCH_MS

if TYPE_CHECKING:
    from pathlib import Path

BOATS = (574_000_001, 574_000_002, 574_000_003)
FLEET = """\
id,registration_no,name,class,length_m,licence_no,mmsi,carried_until
S-1,HUE-90001-TS,Sóng Biển,fishing,11.5,L-1,574000001,
S-2,HUE-90002-TS,,fishing,12,,574000002,
S-3,,,fishing,,,574000003,
"""
_RULES = """
[[rule]]
id = "small-inside"
kind = "zone"
title = { en = "Small vessel inside", vi = "Tàu nhỏ ở trong" }
condition = "inside"
severity = "warning"
zones = ["square"]
scope = { classes = ["FISHING"], below_length_m = 12 }
source = "a test"

[[rule]]
id = "high"
kind = "threshold"
title = { en = "High water", vi = "Nước cao" }
severity = "warning"
metric = "water_level"
unit = "m"
raise = 1.0
groups = ["river"]
near = { lon = 107.57, lat = 16.46, within_m = 500 }
source = "a test"
"""
_SQUARE = {
    "type": "Feature",
    "id": "square",
    "properties": {"name": {"en": "square", "vi": "ô vuông"}, "kind": "test"},
    "geometry": {
        "type": "Polygon",
        "coordinates": [[[107.6, 16.5], [107.62, 16.5], [107.62, 16.52], [107.6, 16.52], [107.6, 16.5]]],
    },
}


def _log() -> bytes:
    """Three boats that go through the square and out again."""
    lines = []
    for minute in range(40):
        at = EPOCH_MS // 1000 + 60 * minute
        for n, mmsi in enumerate(BOATS):
            report = Report(mmsi, 107.59 + 0.001 * minute, 16.505 + 0.005 * n, 3.0, 90.0, 90, 0, at % 60)
            lines += [tag_block(c=at) + line for line in sentences(position_a(report), channel="A", sequence=1)]
    return "".join(f"{line}\r\n" for line in lines).encode()


def _readings() -> bytes:
    lines = []
    for minute, value in enumerate([0.5, 1.5, 1.6, 0.5]):
        for device in ("kim-long", "elsewhere"):
            at = EPOCH_MS + 60_000 * minute
            payload = {"time": at, "readings": {"water_level": value}}
            topic = f"haidang/v1/gw/{device}/readings"
            lines.append(json.dumps({"received_at": at, "topic": topic, "payload": payload}))
    return "\n".join(lines).encode()


class Coast:
    """Files, and a database into which the registry was brought before anything was heard."""

    def __init__(self, dsn: str, folder: Path) -> None:
        self.dsn, self.folder = dsn, folder
        (folder / "rules").mkdir()
        (folder / "rules" / "rules.toml").write_text(_RULES)
        (folder / "rules" / "zones.geojson").write_text(json.dumps(_SQUARE))
        (folder / "log.nmea").write_bytes(_log())
        (folder / "mqtt.jsonl").write_bytes(_readings())
        self.vessels(FLEET)
        devices = folder / "devices.jsonl"
        sites = [("kim-long", 107.5695, 16.4577), ("elsewhere", 107.8, 16.46)]
        devices.write_text(
            "\n".join(
                json.dumps({"gateway": "gw", "device": name, "lon": lon, "lat": lat, "groups": ["River"]})
                for name, lon, lat in sites
            )
        )
        done("devices", "import", devices, "--dsn", dsn)

    def vessels(self, text: str, *options: str) -> Any:
        file = self.folder / "fleet.csv"
        file.write_text(text)
        return done("vessels", "import", file, "--dsn", self.dsn, "--json", *options).only

    def replay(self) -> None:
        files = (self.folder / "log.nmea", self.folder / "mqtt.jsonl")
        done("replay", *files, "--dsn", self.dsn, "--rules", self.folder / "rules")

    def alerts(self) -> dict[tuple[str, str], str]:
        told = rows(self.dsn, "SELECT rule_id, subject_name, id::text FROM alerts ORDER BY 1, 2")
        return {(rule, name): id_ for rule, name, id_ in told}


@pytest.fixture
def coast(migrated: str, tmp_path: Path) -> Coast:
    return Coast(migrated, tmp_path)


def test_vessels_are_imported_listed_and_shown(any_migrated: str, tmp_path: Path) -> None:
    coast = Coast(any_migrated, tmp_path)
    again = coast.vessels(FLEET)
    assert again == {"new": [], "changed": [], "unchanged": ["S-1", "S-2", "S-3"], "retired": []}
    listed = done("vessels", "list", "--dsn", coast.dsn, "--json").lines
    assert [(row["id"], row["length_m"]) for row in listed] == [("S-1", 11.5), ("S-2", 12.0), ("S-3", None)]
    for key in ("S-1", "HUE-90001-TS", "574000001"):
        shown = done("vessels", "show", key, "--dsn", coast.dsn).out
        assert "Sóng Biển" in shown
        assert "574000001" in shown
    assert done("vessels", "show", "S-2", "--dsn", coast.dsn, "--json").only["registration_no"] == "HUE-90002-TS"
    missing = haidang("vessels", "show", "S-9", "--dsn", coast.dsn)
    assert (missing.code, len(missing.err.splitlines())) == (2, 1)
    only = coast.vessels("id\nS-2\n", "--only")
    assert only == {"new": [], "changed": ["S-2"], "unchanged": [], "retired": ["S-1", "S-3"]}
    assert [row["device"] for row in done("devices", "list", "--dsn", coast.dsn, "--json").lines] == [
        "elsewhere",
        "kim-long",
    ]


def test_a_bad_file_is_refused_whole_with_every_fault(coast: Coast) -> None:
    file = coast.folder / "bad.csv"
    file.write_text("id,length_m,registration_no\nS-7,long,\nS-8,11,HUE-90001-TS\n,1,\n")
    refused = haidang("vessels", "import", file, "--dsn", coast.dsn)
    assert refused.code == 2
    assert refused.err.splitlines() == [
        f"haidang: {file}:2: length_m: expected a number, found 'long'",
        f"haidang: {file}:4: 'id' is missing",
    ]
    file.write_text("id,registration_no\nS-7,\nS-8,HUE-90001-TS\n")
    refused = haidang("vessels", "import", file, "--dsn", coast.dsn)
    assert refused.err == f"haidang: {file}:3: registration_no 'HUE-90001-TS' is that of vessel 'S-1'\n"
    assert len(done("vessels", "list", "--dsn", coast.dsn, "--json").lines) == 3
    file.write_bytes(b"gateway,device,lon\ngw,a,200\n\xff")
    refused = haidang("devices", "import", file, "--dsn", coast.dsn)
    assert (refused.code, refused.err) == (2, f"haidang: {file}:3: not UTF-8: byte 28\n")
    missing = haidang("devices", "import", coast.folder / "nothing.csv", "--dsn", coast.dsn)
    assert (missing.code, missing.err) == (2, f"haidang: {coast.folder / 'nothing.csv'}: No such file or directory\n")


def test_alerts_are_about_registered_vessels_and_go_by_their_numbers(coast: Coast) -> None:
    coast.replay()
    alerts = coast.alerts()
    assert alerts.keys() == {("small-inside", "HUE-90001-TS"), ("high", "gw/kim-long")}
    id_ = alerts["small-inside", "HUE-90001-TS"]
    row = done("alerts", "show", id_, "--dsn", coast.dsn, "--json").only
    assert "HUE-90001-TS" in row["summary_en"]
    assert "HUE-90001-TS" in row["summary_vi"]
    assert row["details"]["transponder"] == "574000001"
    assert row["details"]["vessel"]["length_m"] == 11.5
    shown = done("alerts", "show", id_, "--dsn", coast.dsn).out
    assert "Sóng Biển, HUE-90001-TS, 11.5 m, fishing (S-1)" in " ".join(shown.split())
    high = done("alerts", "show", alerts["high", "gw/kim-long"], "--dsn", coast.dsn, "--json").only
    assert (high["lon"], high["lat"]) == (107.5695, 16.4577)


def test_a_backtest_comes_to_the_same_ids_and_warns_of_what_nobody_has(coast: Coast) -> None:
    coast.replay()
    start = "2026-05-31T00:00:00Z"
    rules = coast.folder / "rules"
    command = ("rules", "backtest", rules, "--dsn", coast.dsn, "--from", start, "--against", "live", "--json")
    found = done(*command).only
    assert {alert["id"] for alert in found["alerts"]} == set(coast.alerts().values())
    assert (found["difference"]["only_draft"], found["difference"]["only_live"]) == ([], [])
    file = coast.folder / "rules" / "rules.toml"
    file.write_text(_RULES.replace('"FISHING"', '"FISHING", "research"').replace('"river"', '"lake"'))
    checked = haidang("rules", "check", rules, "--dsn", coast.dsn)
    assert checked.code == 0
    assert checked.err.splitlines() == [
        f"haidang: warning: {file}:9: rule 'small-inside': classes: nobody in the registry has 'research'",
        f"haidang: warning: {file}:20: rule 'high': groups: nobody in the registry has 'lake'",
    ]
    assert haidang("rules", "check", rules).err == ""


def test_evidence_holds_what_the_registry_said_and_is_come_to_after_it_says_something_else(coast: Coast) -> None:
    coast.replay()
    alerts = coast.alerts()
    coast.vessels("id,length_m,mmsi\nS-1,24,574000001\n", "--only")
    empty = coast.folder / "none.csv"
    empty.write_text("gateway,device\n")
    done("devices", "import", empty, "--only", "--dsn", coast.dsn)
    for id_ in alerts.values():
        out = coast.folder / f"{id_}.zip"
        done("alerts", "evidence", id_, "--dsn", coast.dsn, "-o", out)
        assert done("alerts", "verify", out, "--json").only["id"] == id_
        held = pack_of(out)
        assert held["vessels"] or held["devices"]
        assert "24" not in str(held["vessels"])


def pack_of(file: Path) -> Any:
    with zipfile.ZipFile(file) as archive:
        return json.loads(archive.read("registry.json"))


def test_the_rules_of_a_database_are_judged_with_its_registry(coast: Coast) -> None:
    done("rules", "import", coast.folder / "rules", "--dsn", coast.dsn)
    book = asyncio.run(stored_rule_book(coast.dsn))
    vessel = book.registry.vessel(BOATS[0], EPOCH_MS * 1000)
    assert vessel is not None
    assert vessel.registration_no == "HUE-90001-TS"
    assert book.registry.site("gw/kim-long") is not None


def test_the_fleet_that_comes_with_the_pack_can_be_imported(migrated: str) -> None:
    file = pack.PACKS / "hue" / "simulated_vessels.csv"
    assert len(done("vessels", "import", file, "--dsn", migrated, "--json").only["new"]) == 6
