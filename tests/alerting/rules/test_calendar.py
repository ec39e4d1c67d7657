"""Months, seasons and hours mean what a calendar and a clock on the wall say, and edges are where that changes."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from alerting.judging.outcome import Ruled
from alerting.rules import END, RULE

BASE = {
    "id": "r",
    "title": {"en": "T", "vi": "T"},
    "severity": "major",
    "source": "s",
    "kind": "no_data",
    "metric": "ph",
    "after": "1h",
}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MINUTE = 60_000_000
DAYS = ["01-01", "02-28", "02-29", "03-01", "06-15", "09-15", "12-31"]
CLOCKS = ["00:00", "00:01", "06:00", "11:59", "18:00", "23:59"]


def ruled(**fields: Any) -> Ruled:
    rule = RULE.validate_python(BASE | fields)
    return Ruled(rule, 0, "v", *rule.window)


def us(text: str) -> int:
    return (datetime.fromisoformat(text) - EPOCH) // timedelta(microseconds=1)


@st.composite
def windows(draw: st.DrawFn) -> dict[str, Any]:
    fields: dict[str, Any] = {"utc_offset": draw(st.sampled_from(["+00:00", "+07:00", "-03:30", "+14:00"]))}
    if draw(st.booleans()):
        fields["months"] = draw(st.lists(st.integers(1, 12), min_size=1, max_size=4))
    if draw(st.booleans()):
        fields["season"] = {"from": draw(st.sampled_from(DAYS)), "to": draw(st.sampled_from(DAYS))}
    if draw(st.booleans()):
        pairs = st.tuples(st.sampled_from(CLOCKS), st.sampled_from([*CLOCKS, "24:00"])).filter(lambda p: p[0] != p[1])
        fields["hours"] = ["-".join(pair) for pair in draw(st.lists(pairs, min_size=1, max_size=3))]
    if draw(st.booleans()):
        fields["valid_from"] = date(2023, 2, 14)
    if draw(st.booleans()):
        fields["valid_to"] = date(2025, 10, 3)
    return fields


def meant(fields: dict[str, Any], time: int) -> bool:
    offset = fields["utc_offset"]
    east = timedelta(hours=int(offset[1:3]), minutes=int(offset[4:])) * (-1 if offset[0] == "-" else 1)
    there = EPOCH + timedelta(microseconds=time) + east
    if there.date() < fields.get("valid_from", date.min) or there.date() > fields.get("valid_to", date.max):
        return False
    if "months" in fields and there.month not in fields["months"]:
        return False
    if "season" in fields:
        first, last, day = fields["season"]["from"], fields["season"]["to"], there.strftime("%m-%d")
        if not (first <= day <= last if first <= last else day >= first or day <= last):
            return False
    if "hours" not in fields:
        return True
    clock = there.strftime("%H:%M")
    pairs = [text.split("-") for text in fields["hours"]]
    return any(a <= clock < b if a < b else clock >= a or clock < b for a, b in pairs)


TIMES = st.integers(us("2022-12-30T00:00Z") // MINUTE, us("2026-01-03T00:00Z") // MINUTE).map(lambda m: m * MINUTE)


@given(windows(), TIMES)
def test_a_rule_is_in_force_when_calendar_and_clock_say_so(fields: dict[str, Any], time: int) -> None:
    rule = ruled(**fields)
    assert rule.in_force(time) == meant(fields, time)


@given(windows(), TIMES, st.lists(st.floats(0, 1), max_size=20))
def test_the_next_edge_is_the_first_instant_at_which_it_changes(
    fields: dict[str, Any], time: int, shares: list[float]
) -> None:
    rule = ruled(**fields)
    edge = rule.next_edge(time)
    assert edge > time
    horizon = min(edge, time + 9 * 366 * 1440 * MINUTE)
    for share in shares:  # nothing changes before it
        assert meant(fields, time + int(share * (horizon - 1 - time))) == meant(fields, time)
    if edge < END:
        assert meant(fields, edge) != meant(fields, edge - 1) == meant(fields, time)
    calendar = rule.calendar
    if calendar is not None and edge not in {rule.start, rule.end, END}:
        assert edge % (1440 * MINUTE) in calendar.daily


def test_a_night_in_the_storm_season() -> None:
    rule = ruled(season={"from": "09-15", "to": "12-31"}, hours=["18:00-06:00"])
    assert rule.next_edge(us("2026-07-01T00:00Z")) == us("2026-09-14T17:00Z")  # midnight at Hue: the night has begun
    assert rule.next_edge(us("2026-09-14T17:00Z")) == us("2026-09-14T23:00Z")
    assert rule.in_force(us("2026-12-31T16:59Z"))
    assert not rule.in_force(us("2026-12-31T17:00Z"))
    assert rule.next_edge(us("2026-12-31T16:59Z")) == us("2026-12-31T17:00Z")


def test_a_rule_that_never_holds_has_no_edge() -> None:
    assert ruled(months=[2], season={"from": "03-01", "to": "04-01"}).next_edge(0) == END
    assert ruled(hours=["00:00-12:00", "12:00-24:00"]).next_edge(0) == END
    leap = ruled(season={"from": "02-29", "to": "02-29"}, utc_offset="+00:00")
    assert leap.next_edge(us("2096-03-01T00:00Z")) == us("2104-02-29T00:00Z")


@pytest.mark.parametrize(
    "fields",
    [
        {"months": []},
        {"months": [0]},
        {"months": [13]},
        {"months": ["9"]},
        {"season": {"from": "9-15", "to": "12-31"}},
        {"season": {"from": "02-30", "to": "12-31"}},
        {"season": {"from": "13-01", "to": "12-31"}},
        {"season": {"from": "09-15"}},
        {"season": {"from": "09-15", "to": "12-31", "year": 2026}},
        {"hours": []},
        {"hours": ["18-06"]},
        {"hours": ["06:00-06:00"]},
        {"hours": ["24:00-06:00"]},
        {"hours": ["06:00-24:30"]},
        {"hours": "06:00-18:00"},
    ],
)
def test_what_is_no_time_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        RULE.validate_python(BASE | fields)
