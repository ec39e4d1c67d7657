"""Packs load whole or are refused with file, line and reason; the pack that ships can fire every one of its rules."""

from __future__ import annotations

import json
from math import nan
from typing import TYPE_CHECKING, Any

import pytest
import shapely

from alerting import pack
from alerting.desk.notify import ChannelSpec
from alerting.engine import Engine
from alerting.model import AlertState, Event, Severity
from alerting.registry.register import BEGINNING, END, Carried, Registry, Site, Vessel
from alerting.rules import (
    KINDS,
    AqiRule,
    CombinedRule,
    Condition,
    Direction,
    FeedSilentRule,
    GapRule,
    LinkRule,
    NoDataRule,
    Rule,
    ScopedRule,
    ThresholdRule,
    WindowRule,
    ZoneRule,
)
from alerting.rules.vessels import DistressRule
from decoders.identity import device_id, metric_id, transponder_id
from decoders.records import POSITION, READING, STATIC, Name, Observations, empty
from geofence.zones import Zone, to_feature

if TYPE_CHECKING:
    from pathlib import Path

    from alerting.model import Transition

RULE = """\
utc_offset = "+07:00"

[[rule]]
id = "level"
kind = "threshold"
severity = "major"
metric = "water_level"
unit = "m"
raise = 2.0
source = "s"
[rule.title]
en = "Level"
vi = "Mực nước"

[[rule]]
id = "zone"
kind = "zone"
condition = "entered"
severity = "major"
note = '''[[rule]] id = "not this one"'''
zones = [
  "square",
]
scope = { ship_types = [30] }
title = { en = "Zone", vi = "Vùng" }
source = "s"
"""
NOBODY = "rules.toml:24: rule 'zone': scope: it is about nobody"
SQUARE = Zone("square", "Square", "Vuông", "t", shapely.box(107.0, 16.0, 107.1, 16.1))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "rules.toml").write_text(RULE)
    (tmp_path / "zones.geojson").write_text(json.dumps(to_feature(SQUARE)))
    (tmp_path / "README.md").write_text("not read")
    return tmp_path


def problems(folder: Path, old: str, new: str) -> list[str]:
    assert old in RULE
    (folder / "rules.toml").write_text(RULE.replace(old, new))
    with pytest.raises(pack.PackError) as caught:
        pack.load([folder])
    assert str(caught.value).splitlines() == list(caught.value.problems)
    return [p.removeprefix(f"{folder}/") for p in caught.value.problems]


def test_a_folder_loads_with_rules_in_order_and_its_zones(folder: Path) -> None:
    book = pack.load([folder])
    assert [rule.id for rule in book.rules] == ["level", "zone"]
    assert book.zones == (SQUARE,)
    assert pack.load([folder / "rules.toml"], zones=[SQUARE]) == book


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('metric = "water_level"', 'metric = "water"', "rules.toml:7: rule 'level': unknown metric 'water'"),
        ('unit = "m"', 'unit = "cm"', "rules.toml:8: rule 'level': water_level is in m, not in cm"),
        ('"square"', '"circle"', "rules.toml:21: rule 'zone': unknown zone 'circle'"),
        ('id = "zone"', 'id = "level"', "the id is already that of the rule at"),
        ("raise = 2.0", "raises = 2.0", "rules.toml:9: rule 'level': unknown key 'raises'"),
        ("raise = 2.0", "", "rules.toml:3: rule 'level': 'raise' is missing"),
        ('vi = "Mực nước"', 'fr = "Niveau"', "rules.toml:13: rule 'level': unknown key 'title.fr'"),
        ("[30]", "[300]", "rules.toml:24: rule 'zone': scope.ship_types: ship types are 1 to 255, found 300"),
        (
            'kind = "zone"',
            "",
            f"rules.toml:15: rule 'zone': 'kind' is missing: {', '.join(KINDS[:-1])} or {KINDS[-1]}",
        ),
        ('kind = "zone"', 'kind = "line"', "rules.toml:17: rule 'zone': unknown kind 'line'"),
        ('utc_offset = "+07:00"', "offset = 7", "rules.toml:1: unknown key 'offset'; rules are [[rule]] tables"),
        ("raise = 2.0", "raise = ", "rules.toml:9: not TOML: Invalid value"),
        ("raise = 2.0", "raise = 2.0\nraise = 3.0", "rules.toml:10: not TOML"),
        ("raise = 2.0", "raise = " + "[" * 5_000 + "]" * 5_000, "rules.toml: nested too deep"),
        ("raise = 2.0", "raise = 2.0\nclear = 3.0", "rules.toml:3: rule 'level': clear 3 must be below raise 2"),
        (
            "raise = 2.0",
            "raise = 9001.0",
            "rules.toml:9: rule 'level': raise 9001 is never reached: water_level is from -10 to 9000 m",
        ),
        ("raise = 2.0", "raise = 2.0\nmonths = [13]", "rules.toml:10: rule 'level': months.0: Input should be less"),
        (
            "raise = 2.0",
            "raise = 2.0\nmonths = []",
            "rules.toml:10: rule 'level': months: Tuple should have at least 1",
        ),
        ("raise = 2.0", "raise = 2.0\nclear = -11.0", "rules.toml:10: rule 'level': clear -11 is never reached"),
        ("raise = 2.0", "raise = 2.0\ngateways = []", "rules.toml:10: rule 'level': gateways: "),
        (
            "raise = 2.0",
            'raise = 2.0\nmonths = [1]\nseason = { from = "02-01", to = "03-01" }',
            "rules.toml:3: rule 'level': it is never in force",
        ),
        (
            "raise = 2.0",
            "raise = 2.0\nmonths = [1]\nvalid_from = 2026-02-01\nvalid_to = 2026-12-31",
            "rules.toml:3: rule 'level': it is never in force",
        ),
        ("[30] }", "[30], exclude = {} }", "rules.toml:24: rule 'zone': scope: it is about nobody"),
        (
            "[30] }",
            '[30], exclude = { ship_types = ["30-39"] } }',
            "rules.toml:24: rule 'zone': scope: it is about nobody",
        ),
        (
            "[30] }",
            "[30], mmsi = [574000001], flags = [412] }",
            "rules.toml:24: rule 'zone': scope: it is about nobody",
        ),
    ],
)
def test_what_is_wrong_is_told_with_file_line_and_reason(folder: Path, old: str, new: str, expected: str) -> None:
    told = problems(folder, old, new)
    assert any(expected in line for line in told), told
    assert all("\n" not in line for line in told)


def test_a_list_of_nothing_but_wrong_items_is_not_told_to_be_empty(folder: Path) -> None:
    [told] = problems(folder, "raise = 2.0", "raise = 2.0\nmonths = [13]")
    assert "months.0" in told


_LADDER = """
[[rule]]
id = "ladder"
kind = "{kind}"
title = {{ en = "Level", vi = "Mức" }}
source = "s"
{more}

[[rule.{tables}]]
{first}

[[rule.{tables}]]
{second}
"""


@pytest.mark.parametrize(
    ("kind", "more", "tables", "first", "second", "expected"),
    [
        (
            *("threshold", 'metric = "ph"\nunit = "1"', "levels"),
            *('severity = "warning"\nraise = 9.0', 'severity = "major"\nraise = 80.0'),
            "rules.toml:16: rule 'ladder': raise 80 is never reached: ph is from 0 to 14",
        ),
        (
            *("threshold", 'metric = "ph"\nunit = "1"', "levels"),
            *('severity = "warning"\nraise = 9.0', 'severity = "info"\nraise = 10.0'),
            "rules.toml:14: rule 'ladder': levels: level 2: info must be more severe than warning before it",
        ),
        (
            *("gap", 'severity = "warning"\nafter = "6h"', "steps"),
            *('after = "8h"\nseverity = "major"', 'after = "7h"\nseverity = "major"'),
            "rules.toml:14: rule 'ladder': step 2: steps must come after `after`, each after the one before",
        ),
        (
            *("gap", 'severity = "warning"\nafter = "6h"', "steps"),
            *('after = "8h"\nseverity = "major"', 'after = "9h"\nseverity = "grave"'),
            "rules.toml:16: rule 'ladder': steps.1.severity: ",
        ),
    ],
)
def test_what_is_wrong_with_one_of_several_tables_is_told_with_its_line(
    tmp_path: Path, kind: str, more: str, tables: str, first: str, second: str, expected: str
) -> None:
    file = tmp_path / "rules.toml"
    file.write_text(_LADDER.format(kind=kind, more=more, tables=tables, first=first, second=second))
    with pytest.raises(pack.PackError) as caught:
        pack.load([file])
    (told,) = caught.value.problems
    assert told.removeprefix(f"{tmp_path}/").startswith(expected)


def test_a_rule_whose_time_is_over_is_doubted_and_not_refused(folder: Path) -> None:
    (folder / "rules.toml").write_text(RULE.replace("raise = 2.0", "raise = 2.0\nvalid_to = 2026-01-31"))
    over = 1_769_878_800_000_000  # 2026-01-31T17:00:00Z
    assert pack.load([folder], now=over - 1).doubts == ()
    (doubt,) = pack.load([folder], now=over).doubts
    assert doubt.startswith(f"{folder}/rules.toml:10: rule 'level': valid_to 2026-01-31 is over")


def test_all_problems_are_told_at_once(folder: Path) -> None:
    assert len(problems(folder, 'severity = "major"', 'severity = "grave"')) == 2


def test_a_channel_that_is_not_set_up_is_told_where_channels_are_known(folder: Path) -> None:
    channels = [ChannelSpec("room"), ChannelSpec("border")]

    def named(names: str) -> None:
        (folder / "rules.toml").write_text(RULE.replace('source = "s"\n[', f'source = "s"\nchannels = {names}\n['))

    named('["room"]')
    assert pack.load([folder], channels=channels).rules[0].channels == ("room",)
    named('["rom"]')
    pack.load([folder])
    with pytest.raises(pack.PackError) as caught:
        pack.load([folder], channels=channels)
    reason = "rule 'level': unknown channel 'rom'; there are border, room"
    assert caught.value.problems == (f"{folder}/rules.toml:11: {reason}",)
    named("[]")
    with pytest.raises(pack.PackError, match=r"rules\.toml:11: rule 'level': channels: "):
        pack.load([folder])


def test_lines_within_multi_line_text_are_not_taken_for_rules() -> None:
    head = 'a = """\n[[rule]]\nid = 1\n"""\n'
    text = head + "[[rule]]\nid = 2\nb = '''x\n[rule.c]\n'''\n[rule.scope]\nd.e = 3\n[other]\nf = 4"
    lines = pack.Lines(text)
    assert [lines.of(0, place) for place in ((), ("id",), ("c",), ("scope",), ("scope", "d", "e"), ("scope", 0))] == [
        5,
        6,
        5,
        10,
        11,
        10,
    ]
    assert [lines.top(key) for key in ("a", "other", "f", "nowhere")] == [1, 12, 13, 1]
    assert lines.of(1, ()) == 1


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("pack:atlantis", "no such pack; there are: hue"),
        ("no-such-file.toml", "No such file or directory"),
        ("rules.txt", "expected a folder, a .toml file of rules or a .geojson file of zones"),
        (".", "no .toml or .geojson file in it"),
    ],
)
def test_sources_that_are_not_there_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, reason: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(pack.PackError, match=reason):
        pack.load([source])


def test_files_that_are_no_text_and_bad_zones_are_told(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_bytes(b"\xff")
    (tmp_path / "b.geojson").write_text("{}")
    (tmp_path / "c.toml").write_text("rule = 3")
    with pytest.raises(pack.PackError) as caught:
        pack.load([tmp_path], zones=[SQUARE, SQUARE])
    assert [p.removeprefix(f"{tmp_path}/") for p in caught.value.problems] == [
        "b.geojson: expected a FeatureCollection or Feature, found null",
        "a.toml: not UTF-8: byte 0",
        "c.toml:1: rules are [[rule]] tables",
        "zone 'square' is there twice",
    ]


# --- the pack for Huế ----------------------------------------------------------------------------------------------

BOOK = pack.load(["pack:hue"])
REGISTRY = Registry(sites={"hue-gw-1/wind-1": Site(107.65, 16.57)})
DAY = 86_400_000_000
MINUTE = 60_000_000
VMS = transponder_id("device", "hue-gw-1/vms-1")


def a_day(rule: Rule) -> int:
    """Noon of a day on which the rule is in force."""
    start, end = rule.window
    return min(start + 30 * DAY, end - DAY) + DAY // 2


Watching = ThresholdRule | NoDataRule | WindowRule | AqiRule


def device_of(rule: Watching) -> str:
    return "hue-gw-1/" + rule.devices[0].replace("*", "1")


def readings(rule: Watching, rows: list[tuple[int, float]]) -> Observations:
    name = device_of(rule)
    table = empty(READING, len(rows))
    table["device"], table["metric"] = device_id(*name.split("/")), metric_id(rule.watched[0])
    table["time"] = table["received_at"] = [time for time, _ in rows]
    table["value"] = [value for _, value in rows]
    number = device_id(*name.split("/"))
    return Observations(messages=len(rows), readings=table, names=[Name("device", number, name)])


def registered(rule: Rule) -> Registry:
    """The vessel of the voyages, as the rule asks for one."""
    if not isinstance(rule, ScopedRule) or not rule.scope.asks_registry:
        return REGISTRY
    length = rule.scope.min_length_m or (rule.scope.below_length_m or 1.0) - 0.01
    carried = [Carried(Vessel("boat", kind="fishing", length_m=length), BEGINNING, END)]
    return Registry(dict.fromkeys((574_000_001, VMS), carried))


def voyage(places: list[tuple[float, float]], start: int, transponder: int = 574_000_001) -> Observations:
    """A fishing vessel from place to place, half an hour each."""
    table = empty(POSITION, len(places))
    table["transponder"] = transponder
    table["sog"] = table["cog"] = nan
    table["lon"], table["lat"] = zip(*places, strict=True)
    table["time"] = table["received_at"] = [start + i * 30 * MINUTE for i in range(len(places))]
    table["message"] = range(1, len(places) + 1)
    statics = empty(STATIC, 1)
    statics["transponder"], statics["ship_type"], statics["time"] = 574_000_001, 30, start
    statics["received_at"] = start
    return Observations(messages=len(places) + 1, positions=table, statics=statics)


def through(rule: ZoneRule) -> list[tuple[float, float]]:
    """Into the rule's first zone and out again, or right through it."""
    zone = next(z for z in BOOK.zones if z.id == rule.zones[0])
    _west, south, _east, north = zone.geometry.bounds
    inside = zone.geometry.representative_point()
    out, beyond = (inside.x, north + 0.005), (inside.x, south - 0.005)
    if rule.condition is Condition.CROSSED:
        return [out, beyond]
    if rule.condition is Condition.SPEED:
        return [out, *((inside.x, inside.y + 0.02 * (n % 2)) for n in range(6)), beyond]
    return [out, (inside.x, inside.y), beyond]


def judged(rule: Rule) -> list[Transition]:  # noqa: C901, PLR0911  # one for each kind
    """What the whole pack makes of input meant for one rule."""
    engine, now = Engine(BOOK.rules, BOOK.zones, registry=registered(rule)), a_day(rule)
    match rule:
        case CombinedRule():
            return windy_sea(engine, now)
        case WindowRule():
            step, high = rule.over // 24, 2 * rule.rungs[0].raise_
            rows = [(now + n * step, value) for n, value in enumerate([0.0] * 24 + [high] * 24 + [0.0] * 24)]
            return engine.judge(readings(rule, rows), rows[-1][0]).transitions
        case AqiRule():
            values = [20.0] * 6 + [120.0] * 12 + [20.0] * 12
            rows = [(now + n * 60 * MINUTE, value) for n, value in enumerate(values)]
            return engine.judge(readings(rule, rows), rows[-1][0]).transitions
        case ThresholdRule():
            bad = rule.rungs[0].raise_
            calm = 0.0 if rule.direction is Direction.ABOVE else 100.0
            if not rule.inclusive:
                bad += rule.sign * 0.01
            later = now + MINUTE + rule.for_
            rows = [(now, calm), (now + MINUTE, bad), (later, bad), (later + MINUTE, calm)]
            if not rule.for_:
                del rows[2]
            return engine.judge(readings(rule, rows), rows[-1][0]).transitions
        case NoDataRule():
            rows = [(now, 1.0), (now + rule.patience(None) + MINUTE, 1.0)]
            return engine.judge(readings(rule, rows), rows[-1][0]).transitions
        case LinkRule():
            silent = next(r for r in BOOK.rules if r.id == "silent-river")
            assert isinstance(silent, NoDataRule)
            rows = [(now, 1.0), (now + rule.patience(None) + 2 * MINUTE, 1.0)]
            return engine.judge(readings(silent, rows), rows[-1][0]).transitions
        case ZoneRule():
            return engine.judge(voyage(through(rule), now), now + DAY).transitions
        case GapRule():
            places = [(108.0 + 0.05 * n, 16.5) for n in range(5)]
            back = voyage([(108.5, 16.5)], now + DAY // 2, VMS)
            told = engine.judge(voyage(places, now, VMS), now + 2 * 60 * MINUTE).transitions
            return told + engine.judge(back, now + DAY // 2).transitions
        case DistressRule():
            sart = voyage([(108.0, 16.5)], now, 970_012_345)
            sart.positions["nav_status"] = 14
            return engine.judge(sart, now + DAY).transitions
        case FeedSilentRule():
            heard = voyage([(108.0, 16.5)] * 4, now)
            heard.positions["transponder"][:3] += range(3)
            heard.positions["time"][:3] = heard.positions["received_at"][:3] = now
            return engine.judge(heard, now + 2 * 60 * MINUTE).transitions
    raise AssertionError(f"no stream is known for {rule.kind}")


def windy_sea(engine: Engine, now: int) -> list[Transition]:
    """Force 6 for an hour and a half, with a boat that goes from the port out to sea, off the station, and back."""
    windy = next(r for r in BOOK.rules if r.id == "strong-wind")
    assert isinstance(windy, ThresholdRule)
    wind = readings(windy, [(now, 10.8), (now + 5 * MINUTE, 10.8), (now + 100 * MINUTE, 3.0)])
    boat = voyage([(107.643, 16.553), (107.72, 16.65), (107.643, 16.553)], now + MINUTE)
    wind.readings["message"], boat.statics["message"], boat.positions["message"] = [0, 3, 6], 1, [2, 4, 5]
    both = Observations(7, boat.positions, wind.readings, boat.statics, names=wind.names)
    return engine.judge(both, now + DAY).transitions


@pytest.mark.parametrize("rule", [r for r in BOOK.rules if r.mode != "condition"], ids=lambda rule: rule.id)
def test_every_rule_of_the_pack_fires_and_resolves(rule: Rule) -> None:
    mine = [t for t in judged(rule) if t.rule_id == rule.id]
    assert [t.state for t in mine] == [AlertState.FIRING, AlertState.RESOLVED]
    for t in mine:
        assert t.summary_en.startswith(rule.title.en)
        assert t.summary_vi.startswith(rule.title.vi)
        assert t.details["source"] == rule.source
        assert json.loads(json.dumps(dict(t.details))) == t.details
    assert mine[0].alert_id == mine[1].alert_id


@pytest.mark.parametrize(("device", "levels"), [("kim-long", (1.0, 2.0, 3.5)), ("phu-oc", (1.5, 3.0, 4.5))])
def test_flood_alarm_levels_are_reached_when_equalled(device: str, levels: tuple[float, ...]) -> None:
    rule = next(r for r in BOOK.rules if r.id == f"flood-{device}")
    assert isinstance(rule, ThresholdRule)
    assert tuple(rung.raise_ for rung in rule.rungs) == levels
    for level, rung in zip(levels, rule.rungs, strict=True):
        below = Engine(BOOK.rules, BOOK.zones).judge(readings(rule, [(a_day(rule), level - 0.01)]), a_day(rule))
        at = Engine(BOOK.rules, BOOK.zones).judge(readings(rule, [(a_day(rule), level)]), a_day(rule))
        less = [r.severity for r in rule.rungs if r.raise_ < level]
        assert [t.severity for t in below.transitions] == less[-1:]
        assert [t.severity for t in at.transitions] == [rung.severity]
        assert rung.name
        assert rung.name.vi in at.transitions[0].summary_vi


def test_a_storm_that_rises_and_falls_is_one_alert_a_station() -> None:
    rule = next(r for r in BOOK.rules if r.id == "strong-wind")
    assert isinstance(rule, ThresholdRule)
    speeds = [10.8, 10.8, 17.2, 17.2, 16.0, 15.4, 9.6, 9.4]
    rows = [(a_day(rule) + 5 * n * MINUTE, speed) for n, speed in enumerate(speeds)]
    told = Engine(BOOK.rules, BOOK.zones).judge(readings(rule, rows), rows[-1][0]).transitions
    assert [(t.rule_id, t.event, t.severity) for t in told] == [
        ("strong-wind", Event.FIRING, Severity.WARNING),
        ("strong-wind", Event.ESCALATED, Severity.CRITICAL),
        ("strong-wind", Event.DEESCALATED, Severity.WARNING),
        ("strong-wind", Event.RESOLVED, Severity.WARNING),
    ]
    assert len({t.alert_id for t in told}) == 1


def test_the_pm2_5_limit_falls_on_new_year_s_day_2026_at_hue() -> None:
    old, new = (next(r for r in BOOK.rules if r.id == f"air-pm2-5-{year}") for year in (2023, 2026))
    assert isinstance(old, WindowRule)
    assert isinstance(new, WindowRule)
    assert (old.aggregate, old.over, new.over) == ("mean", DAY, DAY)
    assert (old.rungs[0].raise_, new.rungs[0].raise_) == (50.0, 45.0)
    assert old.window[1] == new.window[0] == 1_767_200_400_000_000  # 2025-12-31T17:00Z


def test_every_rule_and_zone_says_where_it_comes_from() -> None:
    for rule in BOOK.rules:
        assert rule.source
        assert rule.valid_from
    for zone in BOOK.zones:
        assert zone.source
        assert "not a legal boundary" in zone.note.lower()
        assert zone.name_en != zone.name_vi


def test_the_pack_s_lagoon_cores_are_as_listed(request: pytest.FixtureRequest) -> None:
    listed = request.config.rootpath.parent / "shared" / "data" / "geo" / "fishery_protection_core_zones.geojson"
    if not listed.is_file():
        pytest.skip(f"no {listed}")
    features: list[dict[str, Any]] = json.loads(listed.read_text())["features"]
    ours = [json.loads(json.dumps(to_feature(z)["geometry"])) for z in BOOK.zones[:2]]
    assert ours == [feature["geometry"] for feature in features]
