"""A rule that loads is a rule that can fire; what a rule says has one meaning."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from alerting.rules import BEGINNING, END, RULE, NoDataRule, Scope, ThresholdRule, ZoneRule, window
from decoders.identity import transponder_id

BASE = {"id": "r", "title": {"en": "T", "vi": "T"}, "severity": "major", "source": "s"}
LEVEL = BASE | {"kind": "threshold", "metric": "water_level", "unit": "m", "raise": 2.0}
ZONE = BASE | {"kind": "zone", "condition": "entered", "zones": ["a"]}
VMS = transponder_id("vms", "HUE-1")


def threshold(**fields: Any) -> ThresholdRule:
    rule = RULE.validate_python(LEVEL | fields)
    assert isinstance(rule, ThresholdRule)
    return rule


def scope(**fields: Any) -> Scope:
    rule = RULE.validate_python(ZONE | {"scope": fields})
    assert isinstance(rule, ZoneRule)
    return rule.scope


@pytest.mark.parametrize(
    ("text", "seconds"), [("10m", 600), ("1h30m", 5400), ("90s", 90), ("2d", 172_800), ("1d1h1m1s", 90_061)]
)
def test_durations(text: str, seconds: int) -> None:
    rule = RULE.validate_python(BASE | {"kind": "no_data", "metric": "ph", "after": text})
    assert isinstance(rule, NoDataRule)
    assert rule.after == seconds * 1_000_000


@pytest.mark.parametrize("text", ["", "10", "m", "-5m", "1.5h", "5m1h", "0s", 600, None])
def test_bad_durations_are_refused(text: object) -> None:
    with pytest.raises(ValidationError):
        RULE.validate_python(BASE | {"kind": "no_data", "metric": "ph", "after": text})


@pytest.mark.parametrize(
    "fields",
    [
        {"clear": 2.0},
        {"clear": 2.5},
        {"clear": 1.0, "direction": "below"},
        {"raise": float("nan")},
        {"raise": float("inf")},
        {"raise": "2"},
        {"raise": True},
        {"direction": "up"},
        {"severity": "bad"},
        {"id": "Not a slug"},
        {"title": {"en": "only"}},
        {"title": {"en": "two\nlines", "vi": "T"}},
        {"source": ""},
        {"devices": []},
        {"devices": ["a/b/c"]},
        {"valid_from": date(2026, 2, 1), "valid_to": date(2026, 1, 1)},
        {"valid_from": "2026-02-01"},
        {"utc_offset": "+25:00"},
        {"surprise": 1},
        {"enabled": "yes"},
    ],
)
def test_what_cannot_be_meant_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        threshold(**fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"zones": []},
        {"condition": "near"},
        {"resolve_after": "1h"},
        {"scope": {"ship_types": [300]}},
        {"scope": {"ship_types": ["39-30"]}},
        {"scope": {"ship_types": ["x"]}},
        {"scope": {"ship_types": 30}},
        {"scope": {"ship_types": [True]}},
        {"scope": {"mmsi": [0]}},
        {"scope": {"flags": [1000]}},
        {"scope": {"colour": "red"}},
    ],
)
def test_what_cannot_be_meant_of_zones_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        RULE.validate_python(ZONE | fields)


def rung(severity: str, level: float, **fields: Any) -> dict[str, Any]:
    return {"severity": severity, "raise": level} | fields


LADDER = {key: value for key, value in LEVEL.items() if key not in {"raise", "severity"}}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"levels": []}, "at least 1"),
        ({"levels": [rung("warning", 1.0), rung("warning", 2.0)]}, "level 2: warning must be more severe than warning"),
        ({"levels": [rung("major", 1.0), rung("warning", 2.0)]}, "level 2: warning must be more severe than major"),
        ({"levels": [rung("warning", 2.0), rung("major", 2.0)]}, "level 2: raise 2 must be above 2"),
        (
            {"levels": [rung("warning", 2.0), rung("major", 3.0)], "direction": "below"},
            "level 2: raise 3 must be below 2",
        ),
        (
            {"levels": [rung("warning", 2.0, clear=1.5), rung("major", 3.0, clear=1.5)]},
            "level 2: clear 1.5 must be above",
        ),
        ({"levels": [rung("warning", 2.0), rung("major", 3.0, clear=1.5)]}, "level 2: clear 1.5 must be above 2"),
        ({"levels": [rung("warning", 2.0), rung("major", 3.0, clear=3.0)]}, "level 2: clear 3 must be below raise 3"),
        ({"levels": [rung("warning", 2.0)], "raise": 2.0}, "raise and clear are for one level"),
        ({"levels": [rung("warning", 2.0)], "clear": 1.0}, "raise and clear are for one level"),
        ({"levels": [rung("warning", 2.0)], "severity": "major"}, "severity major: it is that of the first level"),
        ({"levels": [rung("warning", 2.0, colour="red")]}, "extra"),
        ({"severity": "major"}, "'raise' is missing"),
        ({"raise": 2.0}, "'severity' is missing"),
    ],
)
def test_a_ladder_that_does_not_lead_upwards_is_refused(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        RULE.validate_python(LADDER | fields)


def test_a_ladder_keeps_its_severity_and_body_through_json() -> None:
    made = RULE.validate_python(LADDER | {"levels": [rung("warning", 1.0), rung("major", 2.0, clear=1.5)]})
    assert made.severity == "warning"
    again = RULE.validate_json(json.dumps(made.body))
    assert (again, again.version) == (made, made.version)


FIGURE = BASE | {"metric": "water_level", "unit": "m"}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"kind": "no_data", "after": "learned"}, "wants at_least and at_most"),
        ({"kind": "no_data", "after": "learned", "at_least": "2h", "at_most": "1h"}, "at_least is more than at_most"),
        ({"kind": "no_data", "after": "1h", "factor": 2.0}, 'factor: only for after = "learned"'),
        ({"kind": "window", "aggregate": "mean", "over": "7s", "raise": 1.0}, "rounder duration"),
        ({"kind": "window", "aggregate": "mean", "over": "1h1m1s", "raise": 1.0}, "rounder duration"),
        ({"kind": "window", "aggregate": "median", "over": "1h", "raise": 1.0}, "aggregate"),
        ({"kind": "window", "aggregate": "mean", "over": "1h", "raise": 1.0, "min_coverage": 1.5}, "min_coverage"),
        (
            {"kind": "rate", "change": "rising", "over": "1h", "raise": 1.0, "direction": "below"},
            "a rate has a `change`",
        ),
        ({"kind": "rate", "change": "up", "over": "1h", "raise": 1.0}, "change"),
        (
            {"kind": "rate", "change": "rising", "over": "1h", "raise": 1.0, "method": "difference", "min_samples": 3},
            "min_samples is for least_squares",
        ),
        ({"kind": "stuck"}, "for"),
        ({"kind": "stuck", "for": "0s"}, "for"),
        ({"kind": "stuck", "for": "1h", "tolerance": -1.0}, "tolerance"),
        ({"kind": "range"}, "'low' or 'high' is missing"),
        ({"kind": "range", "low": 2.0, "high": 1.0}, "nothing is between low 2 and high 1"),
        ({"kind": "range", "low": 1.0, "high": 2.0, "margin": 0.5}, "nothing is between"),
    ],
)
def test_what_cannot_be_meant_of_figures_is_refused(fields: dict[str, Any], reason: str) -> None:
    given_ = FIGURE | fields
    if fields["kind"] == "no_data":
        del given_["unit"]
    with pytest.raises(ValidationError, match=reason):
        RULE.validate_python(given_)


@pytest.mark.parametrize(
    ("levels", "reason"),
    [
        ([{"severity": "major", "band": "bad", "raise": 151.0}], "either raise or band"),
        ([{"severity": "major"}], "either raise or band"),
        ([{"severity": "major", "band": "good"}], "band"),
        ([{"severity": "warning", "band": "bad"}, {"severity": "major", "band": "poor"}], "level 2: raise 101 must be"),
    ],
)
def test_bands_lead_upwards_too(levels: list[dict[str, Any]], reason: str) -> None:
    base = {key: value for key, value in BASE.items() if key != "severity"}
    with pytest.raises(ValidationError, match=reason):
        RULE.validate_python(base | {"kind": "vn_aqi", "levels": levels})


def test_every_kind_is_the_same_after_json() -> None:
    for fields in (
        FIGURE | {"kind": "window", "aggregate": "sum", "over": "24h", "raise": 1.0},
        FIGURE | {"kind": "rate", "change": "either", "over": "1h", "raise": 1.0},
        FIGURE | {"kind": "stuck", "for": "6h", "except": [0.0]},
        FIGURE | {"kind": "range", "low": 1.0, "months": [1, 2], "season": {"from": "01-15", "to": "02-15"}},
        BASE | {"kind": "no_data", "metric": "ph", "after": "learned", "at_least": "1m", "at_most": "1h"},
        BASE | {"kind": "vn_aqi", "levels": [{"severity": "major", "band": "bad"}]},
    ):
        made = RULE.validate_python(fields)
        again = RULE.validate_json(json.dumps(made.body))
        assert (again, again.version) == (made, made.version)


def test_the_version_changes_with_anything_and_with_nothing_else() -> None:
    assert threshold().version == threshold().version
    versions = {
        threshold(**fields).version
        for fields in ({}, {"raise": 2.1}, {"for": "1m"}, {"note": "n"}, {"enabled": False}, {"valid_from": date.min})
    }
    assert len(versions) == 6
    assert all(len(v) == 12 and int(v, 16) >= 0 for v in versions)


def test_days_are_those_of_the_place() -> None:
    start, end = window(date(2026, 1, 1), date(2026, 1, 1), "+07:00")
    assert start == 1_767_200_400_000_000  # 2025-12-31T17:00Z
    assert end - start == 86_400_000_000
    assert window(date(2026, 1, 1), None, "-03:30") == (1_767_225_600_000_000 + 12_600_000_000, END)
    assert window(None, date.max, "+00:00") == (BEGINNING, END)


@pytest.mark.parametrize(
    ("fields", "device", "applies"),
    [
        ({}, "hue-gw-1/kim-long", True),
        ({"devices": ["kim-long"]}, "hue-gw-1/kim-long", True),
        ({"devices": ["kim-long"]}, "hue-gw-1/phu-oc", False),
        ({"devices": ["air-*"]}, "hue-gw-1/air-7", True),
        ({"devices": ["hue-gw-1/air-*"]}, "hue-gw-2/air-7", False),
        ({"devices": ["*/air-*"]}, "hue-gw-2/air-7", True),
        ({"gateways": ["hue-*"]}, "quang-tri-1/air-7", False),
        ({"gateways": ["hue-*"]}, "hue-gw-1/air-7", True),
        ({"exclude": ["air-7"]}, "hue-gw-1/air-7", False),
        ({"devices": ["AIR-*"]}, "hue-gw-1/air-7", False),
    ],
)
def test_device_globs(fields: dict[str, Any], device: str, applies: bool) -> None:
    assert threshold(**fields).applies_to(device) is applies


@pytest.mark.parametrize(
    ("fields", "transponder", "ship_type", "matches"),
    [
        ({}, 574_000_001, None, True),
        ({}, VMS, None, True),
        ({}, 2_573_001, None, False),  # 002573001 is a base station
        ({}, 995_741_234, None, False),  # an aid to navigation
        ({"mmsi": [995_741_234]}, 995_741_234, None, True),
        ({}, 111_574_001, None, False),  # a SAR aircraft
        ({"ship_types": [30]}, 574_000_001, None, None),
        ({"ship_types": [30]}, 574_000_001, 0, None),  # 0 is "not available"
        ({"ship_types": [30]}, 574_000_001, 30, True),
        ({"ship_types": ["70-79"]}, 574_000_001, 75, True),
        ({"ship_types": ["70-79"]}, 574_000_001, 80, False),
        ({"ship_types": [30]}, VMS, None, False),
        ({"ship_types": [30], "vms": True}, VMS, None, True),
        ({"flags": [574]}, 574_000_001, None, True),
        ({"flags": [574]}, 416_000_001, None, False),
        ({"flags": [574], "ship_types": [30]}, 416_000_001, None, False),
        ({"flags": [574]}, VMS, None, False),
        ({"mmsi": [574_000_001]}, 574_000_002, None, False),
        ({"exclude": {"mmsi": [574_000_001]}}, 574_000_001, None, False),
        ({"exclude": {"mmsi": [574_000_001]}}, 574_000_002, None, True),
        ({"exclude": {"mmsi": [574_000_001]}}, VMS, None, True),
        ({"exclude": {"ship_types": [35]}}, 574_000_001, None, None),
        ({"exclude": {"ship_types": [35]}}, 574_000_001, 35, False),
        ({"exclude": {"ship_types": [35]}}, 574_000_001, 30, True),
        ({"exclude": {"ship_types": [35]}}, VMS, None, True),
    ],
)
def test_scopes(fields: dict[str, Any], transponder: int, ship_type: int | None, matches: bool | None) -> None:
    assert scope(**fields).matches(transponder, ship_type) is matches


@given(st.integers(1, 999_999_999), st.integers(1, 255))
def test_a_scope_that_is_told_the_ship_type_always_decides(mmsi: int, ship_type: int) -> None:
    picky = scope(ship_types=["30-39"], exclude={"ship_types": [35]}, flags=[574, 416])
    assert picky.matches(mmsi, ship_type) in {True, False}
