"""``haidang alerts evidence`` and ``verify``: a file by which anybody comes to the alert again, or sees a change."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerting.rejudging.evidence import check, pack, unpack
from alerting.rejudging.instants import EvidenceError
from alerting.rejudging.wire import check_messages
from simulators.ais_wire import Hull, Payload, Report, position_a, sentences, static_a, tag_block
from tests.ingest.command import haidang, rows
from tests.ingest.running import EPOCH_MS

if TYPE_CHECKING:
    from pathlib import Path

BOAT: Final = 574_000_001
OTHERS: Final = 20
_RULES: Final = """
[[rule]]
id = "high"
kind = "threshold"
title = { en = "High water <now>", vi = "Nước cao" }
metric = "water_level"
unit = "m"
devices = ["kim-long", "other"]
source = "a test"
for = "3m"
levels = [{ severity = "warning", raise = 1.0 }, { severity = "critical", raise = 2.0 }]

[[rule]]
id = "silent"
kind = "no_data"
title = { en = "Silent", vi = "Mất tín hiệu" }
severity = "major"
devices = ["kim-long"]
metric = "water_level"
after = "20m"
source = "a test"

[[rule]]
id = "kept"
kind = "threshold"
title = { en = "High water kept", vi = "Nước cao kéo dài" }
severity = "major"
metric = "water_level"
unit = "m"
source = "a test"
devices = ["upstream"]
raise = 2.0
clear = 1.0
for = "20m"

[[rule]]
id = "hub"
kind = "gateway_silent"
title = { en = "Gateway silent", vi = "Cổng im lặng" }
severity = "major"
after = "20m"
source = "a test"

[[rule]]
id = "feed"
kind = "feed_silent"
title = { en = "Receiver silent", vi = "Trạm thu im lặng" }
severity = "major"
sources = ["log*"]
after = "10m"
source = "a test"

[[rule]]
id = "inside"
kind = "zone"
title = { en = "Fishing vessel in the square", vi = "Tàu cá trong ô vuông" }
condition = "inside"
severity = "warning"
zones = ["square"]
scope = { ship_types = [30] }
source = "a test"

[[rule]]
id = "tried"
kind = "zone"
mode = "shadow"
title = { en = "Vessel left the square", vi = "Tàu rời ô vuông" }
condition = "left"
severity = "info"
zones = ["square", "elsewhere"]
source = "a test"
"""
_ZONES: Final = {
    "type": "FeatureCollection",
    "features": [
        {
            "type": "Feature",
            "id": name,
            "properties": {"name": {"en": name, "vi": name}, "kind": "test"},
            "geometry": {
                "type": "Polygon",
                "coordinates": [[[x, 16.5], [x + 0.02, 16.5], [x + 0.02, 16.52], [x, 16.52], [x, 16.5]]],
            },
        }
        for name, x in (("square", 107.60), ("elsewhere", 109.0))
    ],
}


def _sent(at: int, payload: Payload) -> list[str]:
    return [tag_block(c=at) + line for line in sentences(payload, channel="A", sequence=1)]


def _log() -> bytes:
    """A boat that goes into the square and out again, and says what it is when it is inside; others pass by."""
    lines = []
    for minute in range(40):
        at = EPOCH_MS // 1000 + 60 * minute
        for n in range(OTHERS):
            mmsi = BOAT + n
            lon = 107.59 + 0.001 * minute if not n else 108.0 + 0.01 * n
            report = Report(mmsi, lon, 16.51, 3.0, 90.0, 90, 0, at % 60)
            lines += _sent(at, position_a(report))
        if minute == 15:
            lines += _sent(at, static_a(Hull(BOAT, "HUE 1", "XV", 9, 3, 2, 2, 1.5, "HUE")))
    return "".join(f"{line}\r\n" for line in lines).encode()


#: Minutes in which they were received and taken, and values.
_UPSTREAM: Final = ((0, 0, 2.5), (25, 25, 2.6), (30, 30, 0.5), (55, 55, 1.5), (58, 33, 2.7), (58, 54, 2.6))


def _recording() -> bytes:
    """A gauge whose water rises, falls and rises; which is then silent, while another goes on; one value comes late.

    Of another gauge what came late shows that the level was held and is held still.
    """
    lines = []
    for minute, value in [*enumerate([0.5, 0.7, 1.2, 1.3, 1.4, 1.6, 2.1, 2.2, 2.4, 2.5, 2.6, 1.5, 0.8, 0.5])]:
        lines.append((minute, minute, "kim-long", value))
    lines += [(minute, minute, "other", 0.1) for minute in range(60)]
    lines += [(20, 4, "other", 9.9), *((minute, minute, "hub/solo", 0.1) for minute in range(5))]
    lines += [(received, time, "upstream", value) for received, time, value in _UPSTREAM]
    return b"".join(
        json.dumps(
            {
                "received_at": EPOCH_MS + 60_000 * received,
                "topic": f"haidang/v1/{device if '/' in device else f'gw/{device}'}/readings",
                "payload": {"time": EPOCH_MS + 60_000 * time, "readings": {"water_level": value, "temperature": 20.0}},
            }
        ).encode()
        + b"\n"
        for received, time, device, value in sorted(lines, key=lambda line: line[0])
    )


@dataclass
class Site:
    dsn: str
    folder: Path

    def alerts(self) -> dict[str, str]:
        """Rule and subject, and whether it was told by a review, to id."""
        return {
            " ".join(filter(None, (rule, name, reason))): id_
            for rule, name, reason, id_ in rows(
                self.dsn, "SELECT rule_id, subject_name, details ->> 'reason', id::text FROM alerts"
            )
        }

    def evidence(self, id_: str) -> bytes:
        out = self.folder / f"{id_}.zip"
        done = haidang("alerts", "evidence", id_, "--dsn", self.dsn, "-o", out, "--json")
        assert done.code == 0, done.err
        data = out.read_bytes()
        assert done.only == {"file": str(out), "bytes": len(data), "sha256": sha256(data).hexdigest()}
        return data

    def verify(self, data: bytes) -> Any:
        file = self.folder / "handed-over.zip"
        file.write_bytes(data)
        return haidang("alerts", "verify", file, "--json")


@pytest.fixture
def site(migrated: str, tmp_path: Path) -> Site:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "rules.toml").write_text(_RULES)
    (tmp_path / "rules" / "zones.geojson").write_text(json.dumps(_ZONES))
    (tmp_path / "log.nmea").write_bytes(_log())
    (tmp_path / "mqtt.jsonl").write_bytes(_recording())
    files = (tmp_path / "log.nmea", tmp_path / "mqtt.jsonl")
    done = haidang("replay", *files, "--dsn", migrated, "--rules", tmp_path / "rules")
    assert done.code == 0, done.err
    return Site(migrated, tmp_path)


def test_every_alert_is_come_to_again_by_its_file_alone(site: Site) -> None:
    alerts = site.alerts()
    assert alerts.keys() == {
        *("high gw/kim-long", "silent gw/kim-long", f"inside {BOAT}", f"tried {BOAT}"),
        *("kept gw/upstream", "kept gw/upstream late_data", "feed log.nmea", "hub hub"),
    }
    done = haidang(
        "alerts", "ack", alerts["silent gw/kim-long"], "--dsn", site.dsn, "--by", "officer", "--note", "<seen>"
    )
    assert done.code == 0, done.err
    for what, id_ in alerts.items():
        data = site.evidence(id_)
        assert site.evidence(id_) != b""
        done = site.verify(data)
        assert done.code == 0, f"{what}: {done.err}"
        assert done.only["id"] == id_
        assert done.only["sha256"] == sha256(data).hexdigest()
        found = unpack(data)
        assert {str(told.alert_id) for told in check(found)} >= {id_}
        # Every change that a message decided has that message's bytes with it.
        decided = {h["details"]["row"]["time"] for h in found.facts["history"] if "row" in h["details"]}
        assert len(found.facts["messages"]) == len(decided)
        assert check_messages(found.facts["messages"], found.rows, found.until) == len(decided)
        if what.startswith(("feed", "hub")):  # it is about everybody who is heard by it
            continue
        # No more than it takes: the rows of its subject, and none of the sort that its rule does not look at.
        about = {*found.rows.positions["transponder"].tolist(), *found.rows.statics["transponder"].tolist()}
        devices = set(found.rows.readings["device"].tolist())
        assert (about, len(devices)) == (({BOAT}, 0) if str(BOAT) in what else (set(), 1))
        assert {feature["id"] for feature in found.zones["features"]} == (
            {"square", "elsewhere"} if what.startswith("tried") else {"square"} if what.startswith("inside") else set()
        )
    found = unpack(site.evidence(alerts["high gw/kim-long"]))
    assert [h["change"] for h in found.facts["history"]] == ["firing", "escalated", "deescalated", "resolved"]
    assert "&lt;now&gt;" in found.page
    assert "<now>" not in found.page
    assert "Nước cao" in found.page


@pytest.fixture
def made(site: Site) -> bytes:
    return site.evidence(site.alerts()["high gw/kim-long"])


def test_a_file_of_which_any_byte_was_changed_is_refused(made: bytes, site: Site) -> None:
    @settings(max_examples=400)
    @given(st.integers(0, len(made) - 1), st.integers(1, 255))
    def changed(where: int, by: int) -> None:
        data = bytearray(made)
        data[where] ^= by
        with pytest.raises(EvidenceError) as refused:
            unpack(bytes(data))
        assert "\n" not in str(refused.value)

    changed()

    @settings(max_examples=50)
    @given(st.integers(0, len(made) - 1))
    def cut(length: int) -> None:
        with pytest.raises(EvidenceError):
            unpack(made[:length])

    cut()
    half = len(made) // 2
    done = site.verify(made[:half] + bytes([made[half] ^ 1]) + made[half + 1 :])
    assert done.code == 1
    assert len(done.err.splitlines()) == 1


def _forged(data: bytes, name: str, old: bytes, new: bytes) -> bytes:
    """The file with one member changed and every sum computed anew."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {one: archive.read(one) for one in archive.namelist()}
    assert old in members[name], members[name]
    members[name] = members[name].replace(old, new, 1)
    manifest = json.loads(members["manifest.json"])
    for one in manifest["members"]:
        manifest["members"][one] = {"sha256": sha256(members[one]).hexdigest(), "bytes": len(members[one])}
    members["manifest.json"] = json.dumps(manifest).encode()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for one, content in members.items():
            archive.writestr(one, content)
        archive.comment = b"0" * 64
    body = out.getvalue()[:-64]
    return body + sha256(body).hexdigest().encode()


@pytest.mark.parametrize(
    ("member", "old", "new", "told"),
    [
        ("rows/readings.jsonl", b'"value":1.2', b'"value":0.2', "does not come to this alert"),
        ("rows/readings.jsonl", b'"value":2.1', b'"value":1.1', "another change (escalated)"),
        ("rule.json", b'"raise": 1.0', b'"raise": 1.1', "the rule is high"),
        ("alert.json", b'"severity": "', b'"severity": "x', "another severity"),
        ("alert.json", b'"subject_id": ', b'"subject_id": 1', "id is not that of"),
        ("alert.json", b'"fired_at": "2026-06-01T00:0', b'"fired_at": "2026-06-01T00:1', "another time"),
        ("history.json", b'"change": "escalated"', b'"change": "deescalated"', "another change (deescalated)"),
        ("history.json", b'"actor": "engine"', b'"actor": "nobody"', "history: row 1 was changed"),
        ("history.json", b'"metric": "water_level",', b'"metric": "water",', "other details than its hash is of"),
        ("messages.json", b'"received_at": "2026-06-01T00:05', b'"received_at": "2026-06-01T00:06', "does not say"),
        ("before.json", b'"readings": [', b'"readings": [{', "the file does not hold what it should"),
    ],
)
def test_who_computes_the_sums_anew_has_to_come_to_the_alert_all_the_same(
    made: bytes, site: Site, member: str, old: bytes, new: bytes, told: str
) -> None:
    done = site.verify(_forged(made, member, old, new))
    assert done.code == 1
    (line,) = done.err.splitlines()
    assert told in line
    assert (
        site.verify(_forged(made, "page.html", b"<h1>", b"<h1>")).code == 0
    )  # the forging itself is not what is found


def test_what_cannot_be_shown_is_said(site: Site) -> None:
    id_ = site.alerts()[f"inside {BOAT}"]
    with psycopg.connect(site.dsn) as connection:
        connection.execute("DELETE FROM positions WHERE transponder_id = %s", (BOAT,))
    done = haidang("alerts", "evidence", id_, "--dsn", site.dsn)
    assert done.code == 2
    assert "does not come out of what is stored" in done.err
    done = haidang("alerts", "evidence", "00000000-0000-0000-0000-000000000000", "--dsn", site.dsn)
    assert (done.code, "there is no alert" in done.err) == (2, True)
    done = haidang("alerts", "verify", site.folder / "nothing.zip")
    assert done.code == 2
    assert pack(unpack(site.evidence(site.alerts()["high gw/kim-long"])))
