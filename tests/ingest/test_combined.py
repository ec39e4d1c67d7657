"""Combined rules from the wire to the database: told once, judged again by a backtest, and come to again by a file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pytest

from alerting.rejudging.evidence import check, pack, unpack
from alerting.rejudging.instants import EvidenceError
from tests.ingest.command import haidang, rows
from tests.ingest.running import EPOCH_MS

if TYPE_CHECKING:
    from pathlib import Path

_SAID: Final = 'title = {{ en = "{0}", vi = "{0}" }}\nsource = "a test"\n'


def _rule(name: str, text: str) -> str:
    return f'[[rule]]\nid = "{name}"\n{_SAID.format(name)}{text}\n'


_RULES: Final = "\n".join(
    [
        _rule(
            "strong-wind",
            'kind = "threshold"\nmode = "condition"\nseverity = "info"\nmetric = "wind_speed"\nunit = "m/s"\n'
            'devices = ["wind-*"]\nraise = 10.8\nclear = 9.5\nfor = "2m"',
        ),
        _rule("at-sea", 'kind = "zone"\nmode = "condition"\nseverity = "info"\ncondition = "inside"\nzones = ["sea"]'),
        _rule(
            "silent",
            'kind = "no_data"\nseverity = "warning"\nmetric = "wind_speed"\ndevices = ["wind-*"]\nafter = "15m"',
        ),
        _rule(
            "boats-in-wind",
            'kind = "combined"\nseverity = "warning"\nabout = "strong-wind"\nfor = "3m"\nkeep_firing_for = "5m"\n'
            "within_m = 25000\n"
            'when = { all = [{ rule = "strong-wind" }, { rule = "at-sea", at_least = 2 }] }\n'
            'levels = [{ at_least = 3, severity = "critical" }]',
        ),
        _rule(
            "together-in-wind",
            'kind = "combined"\nseverity = "major"\nabout = "at-sea"\nwithin_m = 3000\n'
            'when = { all = [{ rule = "at-sea" }, { rule = "at-sea", join = "near", at_least = 2 },'
            ' { rule = "strong-wind", join = "any" }] }',
        ),
        _rule(
            "blind",
            'kind = "combined"\nmode = "shadow"\nseverity = "major"\nabout = "boats-in-wind"\n'
            'when = { all = [{ rule = "boats-in-wind" }, { rule = "silent", join = "same" }] }',
        ),
    ]
)
_ZONE: Final = {
    "type": "Feature",
    "id": "sea",
    "properties": {"name": {"en": "Sea", "vi": "Biển"}, "kind": "test"},
    "geometry": {
        "type": "Polygon",
        "coordinates": [[[107.6, 16.6], [108.4, 16.6], [108.4, 17.2], [107.6, 17.2], [107.6, 16.6]]],
    },
}


def _recording() -> bytes:
    """Wind that rises and drops, at stations that are silent for a while; boats that put out one after the other."""
    lines: list[tuple[float, str, dict[str, Any]]] = []
    for minute in range(120):
        said: dict[str, Any] = {"time": EPOCH_MS + 60_000 * minute}
        for n in range(4):
            out = minute >= 10 * (n + 1)
            place = {"lon": 107.5 + 0.15 * out + 0.01 * n + 0.0001 * minute, "lat": 16.8}
            lines.append((minute + n / 10, f"boat-{n}/position", said | place))
        if not 50 <= minute < 75:
            wind = 14.0 if 5 <= minute < 90 else 6.0
            said |= {"readings": {"wind_speed": wind}}
            lines += [(minute + 0.4 + n / 10, f"wind-{n}/readings", said) for n in (1, 2, 3)]
    return b"".join(
        json.dumps(
            {"received_at": EPOCH_MS + round(60_000 * at), "topic": f"haidang/v1/gw/{topic}", "payload": payload}
        ).encode()
        + b"\n"
        for at, topic, payload in sorted(lines, key=lambda line: line[0])
    )


@pytest.fixture
def judged(migrated: str, tmp_path: Path) -> str:
    """The database, after a replay by these rules; of three stations in strong wind one is near the boats."""
    (tmp_path / "devices.csv").write_text("gateway,device,lon,lat\ngw,wind-1,107.75,16.8\ngw,wind-2,109.5,16.8\n")
    done = haidang("devices", "import", tmp_path / "devices.csv", "--dsn", migrated)
    assert done.code == 0, done.err
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "rules.toml").write_text(_RULES)
    (tmp_path / "rules" / "zones.geojson").write_text(json.dumps(_ZONE))
    (tmp_path / "mqtt.jsonl").write_bytes(_recording())
    done = haidang("replay", tmp_path / "mqtt.jsonl", "--dsn", migrated, "--rules", tmp_path / "rules", "--batch", 40)
    assert done.code == 0, done.err
    return migrated


def minutes(dsn: str) -> list[tuple[str, str, float, float | None, str]]:
    """Rule, subject, when it fired and was over in minutes from the start, and the severity it had last."""
    found = rows(
        dsn,
        "SELECT rule_id, subject_name, extract(epoch FROM fired_at)::float8, extract(epoch FROM resolved_at)::float8,"
        " severity FROM alerts ORDER BY fired_at, rule_id, subject_name",
    )
    start = EPOCH_MS / 1000
    return [
        (rule, name, round((fired - start) / 60, 1), over and round((over - start) / 60, 1), severity)
        for rule, name, fired, over, severity in found
    ]


def test_conditions_make_one_alert_together_and_none_by_themselves(judged: str) -> None:
    told = minutes(judged)
    assert [one for one in told if one[0] != "together-in-wind"] == [
        # Two boats are out from the 20th minute on, and the wind drops in the 90th.
        ("boats-in-wind", "gw/wind-1", 23.1, 95.5, "critical"),
        ("blind", "gw/wind-1", 64.5, 75.5, "major"),
        ("silent", "gw/wind-1", 64.5, 75.5, "warning"),
        ("silent", "gw/wind-2", 64.6, 75.6, "warning"),
        ("silent", "gw/wind-3", 64.7, 75.7, "warning"),
    ]
    # As soon as there are two of them within three kilometres of each other.
    together = [one for one in told if one[0] == "together-in-wind"]
    assert sorted((name.partition("/")[2], fired) for _, name, fired, _, _ in together) == [
        ("boat-0", 20.1),
        ("boat-1", 20.1),
        ("boat-2", 30.2),
        ("boat-3", 40.3),
    ]
    assert {over for *_, over, _ in together} == {90.7}
    changes = rows(
        judged,
        "SELECT h.change, h.details->>'members_total' FROM alert_history AS h JOIN alerts AS a ON a.id = h.alert_id"
        " WHERE a.rule_id = 'boats-in-wind' ORDER BY h.seq",
    )
    assert changes == [("firing", "2"), ("escalated", "3"), ("resolved", "4")]


def test_a_backtest_over_what_is_stored_gives_the_same_alerts(judged: str, tmp_path: Path) -> None:
    done = haidang(
        *("rules", "backtest", tmp_path / "rules", "--dsn", judged, "--from", "2026-05-31", "--json"),
        *("--against", "live"),
    )
    assert done.code == 0, done.err
    ids = [id_ for (id_,) in rows(judged, "SELECT id::text FROM alerts ORDER BY id")]
    assert sorted(done.only["difference"]["both"]) == ids
    assert done.only["difference"]["only_draft"] == done.only["difference"]["only_live"] == []
    assert done.only["summary"]["rules"].keys() >= {"boats-in-wind", "together-in-wind", "blind"}


def test_each_is_come_to_again_by_its_file_which_holds_the_rules_that_it_stands_on(judged: str, tmp_path: Path) -> None:
    stands_on = {
        "boats-in-wind": ["at-sea", "strong-wind"],
        "together-in-wind": ["at-sea", "strong-wind"],
        "blind": ["at-sea", "boats-in-wind", "silent", "strong-wind"],
    }
    for rule, conditions in stands_on.items():
        ((id_,),) = rows(judged, "SELECT id::text FROM alerts WHERE rule_id = %s ORDER BY id LIMIT 1", rule)
        out = tmp_path / f"{rule}.zip"
        done = haidang("alerts", "evidence", id_, "--dsn", judged, "-o", out, "--json")
        assert done.code == 0, done.err
        assert haidang("alerts", "verify", out).code == 0
        found = unpack(out.read_bytes())
        assert [one["id"] for one in found.conditions] == conditions
        assert {str(told.alert_id) for told in check(found)} >= {id_}
        found.conditions = [one | {"body": one["body"] | {"note": "another"}} for one in found.conditions]
        with pytest.raises(EvidenceError, match="not those of the alert, or not in their versions"):
            check(unpack(pack(found)))
