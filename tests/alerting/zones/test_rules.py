"""Single promises of rules about vessels and zones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import shapely
from pydantic import ValidationError

from alerting.engine import Engine
from alerting.model import Memory, RuleState
from alerting.rules import RULE, Rule, ZoneRule
from decoders.records import POSITION, Observations, empty
from geofence.zones import Zone

MINUTE = 60_000_000
T0 = 1_763_766_600_000_000
SQUARE = Zone("core", "the core", "vùng lõi", "t", shapely.box(107.0, 16.0, 107.1, 16.1))
BORDER = Zone("border", "the border", "biên giới", "t", shapely.LineString([(108.0, 15.0), (108.0, 18.0)]))


def rule(**fields: Any) -> Rule:
    base = {"id": "r", "kind": "zone", "title": {"en": "T", "vi": "T"}, "severity": "major", "source": "s"}
    return RULE.validate_python(base | {"zones": ["core"]} | fields)


def fixes(*rows: tuple[float, float, float] | tuple[float, float, float, float]) -> Observations:
    """(minutes, lon, lat[, sog])."""
    table = empty(POSITION, len(rows))
    table["transponder"] = 574_000_001
    table["time"] = table["received_at"] = [T0 + round(row[0] * MINUTE) for row in rows]
    table["lon"], table["lat"] = [row[1] for row in rows], [row[2] for row in rows]
    table["sog"] = [row[3] if len(row) > 3 else np.nan for row in rows]
    table["cog"] = np.nan
    table["message"] = range(len(rows))
    return Observations(messages=len(rows), positions=table)


def told(rules: list[Rule], observations: Observations) -> list[tuple[str, str, float, float]]:
    """(rule, what, at, since), times in minutes."""
    engine = Engine(rules, [SQUARE, BORDER])
    verdict = engine.judge(observations, int(observations.positions["received_at"][-1]))
    return [(t.rule_id, t.event.value, (t.at - T0) / MINUTE, (t.started_at - T0) / MINUTE) for t in verdict.transitions]


@pytest.mark.parametrize("hysteresis", [{"exit_buffer_m": 100}, {"settle": "2m"}, {"settle_fixes": 8}])
@pytest.mark.parametrize("condition", ["entered", "inside", "left"])
def test_gps_jitter_on_a_boundary_gives_one_alert(condition: str, hysteresis: dict[str, Any]) -> None:
    """In from the south, ten minutes at anchor on the boundary with 15 m of noise, in, then away."""
    rng = np.random.default_rng(5)
    way: list[tuple[float, float, float]] = [(m, 107.05, 15.97 + 0.003 * m) for m in range(10)]
    moored = [(10 + k / 6, 107.05 + x, 16.0 + y) for k, (x, y) in enumerate(rng.normal(0, 1.4e-4, (60, 2)))]
    inside = [(20.5 + k / 6, 107.05, 16.003) for k in range(20)]
    way += [*moored, *inside, *((25.0 + m, 107.05, 16.003 - 0.003 * m) for m in range(11))]
    plain = told([rule(condition=condition)], fixes(*way))
    assert len([t for t in plain if t[1] == "firing"]) > (5 if condition != "left" else 0)
    found = told([rule(condition=condition, **hysteresis)], fixes(*way))
    assert [t[1] for t in found] == (["firing"] if condition == "left" else ["firing", "resolved"])


def test_an_entry_that_settles_is_dated_to_its_first_fix_and_told_when_it_has_settled() -> None:
    found = told(
        [rule(condition="entered", settle="5m")],
        fixes((0, 106.9, 16.05), (10, 107.01, 16.05), (13, 107.02, 16.05), (16, 107.03, 16.05), (30, 106.9, 16.05)),
    )
    assert found == [("r", "firing", 16, 10)]


def test_first_seen_inside_is_inside_and_no_entry_however_long_it_takes_to_settle() -> None:
    rules = [rule(id=c, condition=c, settle="5m", exit_buffer_m=50) for c in ("entered", "inside", "left")]
    seen = fixes((0, 107.05, 16.05), (6, 107.05, 16.05), (10, 106.9, 16.05), (16, 106.9, 16.05))
    assert told(rules, seen) == [("inside", "firing", 6, 0), ("inside", "resolved", 16, 0), ("left", "firing", 16, 10)]


def test_dwell_counts_from_the_entry_and_fires_at_the_instant_the_time_was_up() -> None:
    way = fixes((0, 106.9, 16.05), (60, 107.05, 16.05), (80, 107.06, 16.05), (100, 107.05, 16.05), (120, 106.9, 16.05))
    assert told([rule(condition="dwell", **{"for": "30m"})], way) == [
        ("r", "firing", 90, 60),
        ("r", "resolved", 120, 60),
    ]


def test_a_vessel_that_is_not_heard_again_does_not_dwell() -> None:
    engine = Engine([rule(condition="dwell", **{"for": "30m"})], [SQUARE])
    assert engine.judge(fixes((0, 107.05, 16.05)), T0 + 600 * MINUTE).transitions == []


def test_speed_is_the_reported_one_or_else_what_the_way_took() -> None:
    knots = 0.05 * 60 * np.cos(np.radians(16.05))  # 0.05 degrees of longitude in an hour
    reported = fixes((0, 107.02, 16.05, 12.0), (60, 107.07, 16.05, 3.0))
    implied = fixes((0, 107.02, 16.05), (60, 107.07, 16.05))
    fast, slow = rule(id="fast", condition="speed", min_sog=8), rule(id="slow", condition="speed", max_sog=5)
    assert told([fast, slow], reported) == [
        ("fast", "firing", 0, 0),
        ("fast", "resolved", 60, 0),
        ("slow", "firing", 60, 60),
    ]
    assert told([fast, slow], implied) == [("slow", "firing", 60, 60)]
    near = rule(condition="speed", min_sog=float(knots) - 0.01, max_sog=float(knots) + 0.01)
    assert told([near], implied) == [("r", "firing", 60, 60)]


@pytest.mark.parametrize(("direction", "minute"), [("right", 30), ("left", 90), ("either", 30)])
def test_a_line_is_crossed_in_its_direction(direction: str, minute: float) -> None:
    """Drawn to the north: what comes from the west goes to its right."""
    way = fixes((0, 107.9, 16.0), (60, 108.1, 16.0), (120, 107.9, 16.0))
    engine = Engine([rule(condition="crossed", zones=["border"], direction=direction)], [BORDER])
    [alert] = engine.judge(way, T0 + 120 * MINUTE).transitions
    assert (alert.at - T0) / MINUTE == pytest.approx(minute)
    assert alert.details["direction"] == ("left" if minute == 90 else "right")
    assert alert.lon == pytest.approx(108.0)
    assert alert.lat == 16.0


def test_touching_a_line_or_running_along_it_is_no_crossing_until_it_is_left_on_the_other_side() -> None:
    on = [(60, 108.0, 16.0), (70, 108.0, 16.1), (80, 108.0, 16.1)]
    crossing = [rule(condition="crossed", zones=["border"])]
    assert told(crossing, fixes((0, 107.9, 16.0), *on, (140, 107.9, 16.1))) == []
    assert told(crossing, fixes((0, 107.9, 16.0), *on, (140, 108.1, 16.1))) == [("r", "firing", 60, 60)]
    assert told(crossing, fixes(*on, (140, 108.1, 16.1))) == []  # where it came from is not known


def test_an_alert_says_how_far_from_the_boundary_the_vessel_was() -> None:
    engine = Engine([rule(condition="inside")], [SQUARE])
    [alert] = engine.judge(fixes((0, 107.05, 16.01)), T0).transitions
    assert alert.details["distance_to_boundary_m"] == pytest.approx(0.01 * 111_195, rel=1e-3)


def approaching(**fields: Any) -> Rule:
    return rule(**{"condition": "approaching", "severity": "info", "within": "20m", "imminent": "5m"} | fields)


def heading_east(*rows: tuple[float, float], sog: float = 12.0, cog: float = 90.0) -> Observations:
    """(minutes, longitude), towards the square's west side at 107.0, on its own parallel."""
    batch = fixes(*((minute, lon, 16.05, sog) for minute, lon in rows))
    batch.positions["cog"] = cog
    return batch


def ladder(found: list[Any]) -> list[tuple[str, str, float]]:
    return [(t.event.value, t.severity.value, (t.at - T0) / MINUTE) for t in found]


#: Degrees of longitude that 12 knots make in a minute there.
PACE = 12 / 60 / 60 / np.cos(np.radians(16.05))


def test_approaching_imminent_crossed_returned_is_one_alert_with_its_lead_time() -> None:
    way = [(m, 107.0 + PACE * (m - 30.5)) for m in range(36)]  # in half a minute after the 30th
    back = [(40.0, 107.01), (50.0, 106.9)]
    found = Engine([approaching()], [SQUARE]).judge(heading_east(*way, *back), T0 + 50 * MINUTE).transitions
    assert ladder(found) == [
        ("firing", "info", 11),
        ("escalated", "warning", 26),
        ("escalated", "major", 31),
        ("resolved", "major", 50),
    ]
    assert len({t.alert_id for t in found}) == 1
    assert found[2].details["lead_seconds"] == 20 * 60
    assert found[3].details["reason"] == "returned"
    assert [t.details["step"] for t in found] == ["approaching", "imminent", "crossed", "crossed"]


def towards(lon: float, *more: tuple[float, float]) -> list[tuple[float, float]]:
    """Eastwards over a meridian, half a minute after the 30th; minutes and longitudes."""
    return [*((m, lon + PACE * (m - 30.5)) for m in range(5, 36)), *more]


STEPS = [("firing", "info", 11), ("escalated", "warning", 26), ("escalated", "major", 31)]


@pytest.mark.parametrize(
    ("fields", "meridian", "more", "end"),
    [
        ({"zones": ["border"]}, 108.0, [(40, 107.99)], (40, "returned")),
        ({"zones": ["border"], "direction": "right"}, 108.0, [(40, 107.99)], (40, "returned")),
        ({"zones": ["border"]}, 108.0, [(60, 108.1), (91, 108.2)], (91, "quiet")),
        ({"zones": ["border"], "settle": "5m"}, 108.0, [(40, 107.99), (41, 107.99), (46, 107.98)], (46, "returned")),
        ({"condition": "leaving"}, 107.1, [(40, 107.09)], (40, "returned")),
        ({"condition": "leaving", "resolve_after": "30m"}, 107.1, [(60, 107.2), (61, 107.3)], (61, "quiet")),
    ],
)
@pytest.mark.parametrize("restarted", [False, True])
def test_lines_are_approached_and_areas_left_by_the_same_steps_restarted_or_not(
    fields: dict[str, Any], meridian: float, more: list[tuple[float, float]], end: tuple[float, str], restarted: bool
) -> None:
    rules, zones, batch = [approaching(**fields)], [SQUARE, BORDER], heading_east(*towards(meridian, *more))
    engine, found, states = Engine(rules, zones), [], dict[Any, RuleState]()
    for n, row in enumerate(batch.positions):
        if restarted:
            engine = Engine(rules, zones)
            engine.restore(Memory(states=list(states.values()), positions=batch.positions[max(n - 1, 0) : n]))
        one = Observations(messages=1, positions=batch.positions[n : n + 1].copy())
        one.positions["message"] = 0
        verdict = engine.judge(one, int(row["received_at"]))
        found += verdict.transitions
        states |= {(s.rule_id, s.key): s for s in verdict.states}
        states = {place: s for place, s in states.items() if s.state is not None}
    assert ladder(found) == [*STEPS, ("resolved", "major", end[0])]
    assert len({t.alert_id for t in found}) == 1
    assert found[2].details["lead_seconds"] == 20 * 60
    assert (found[3].details["reason"], found[0].details["step"]) == (end[1], fields.get("condition", "approaching"))


def test_a_line_is_not_approached_in_the_other_direction_nor_an_area_left_by_who_stays_in_it() -> None:
    over = heading_east(*towards(108.0, (40, 108.1)))
    left = approaching(zones=["border"], direction="left")
    assert Engine([left], [BORDER]).judge(over, T0 + 40 * MINUTE).transitions == []
    across = heading_east((0, 107.01), (1, 107.012), sog=2.0)  # a day from the other side
    assert Engine([approaching(condition="leaving")], [SQUARE]).judge(across, T0 + MINUTE).transitions == []


def test_who_turns_round_within_an_area_is_no_longer_leaving_it() -> None:
    batch = heading_east((0, 107.08), (1, 107.083), (2, 107.08))
    batch.positions["cog"] = [90.0, 90.0, 270.0]
    found = Engine([approaching(condition="leaving", within="6m", imminent="5m")], [SQUARE]).judge(
        batch, T0 + 2 * MINUTE
    )
    assert [(t.event.value, t.details.get("reason")) for t in found.transitions][-1] == ("resolved", "turned_away")


def test_who_turns_away_is_no_longer_approaching_and_who_slows_down_less_so() -> None:
    near = [(0.0, 107.0 - 4 * PACE), (1.0, 107.0 - 4 * PACE), (2.0, 107.0 - 4 * PACE), (3.0, 107.0 - 4 * PACE)]
    batch = heading_east(*near)
    batch.positions["sog"] = [12, 4, 12, 12]
    batch.positions["cog"] = [90, 90, 90, 270]
    found = Engine([approaching()], [SQUARE]).judge(batch, T0 + 3 * MINUTE).transitions
    assert ladder(found) == [
        ("firing", "warning", 0),
        ("deescalated", "info", 1),
        ("escalated", "warning", 2),
        ("resolved", "warning", 3),
    ]
    assert found[-1].details["reason"] == "turned_away"


def test_a_course_that_swings_does_not_end_an_approach_that_is_to_settle() -> None:
    batch = heading_east(*((m, 107.0 - 9 * PACE) for m in range(8)))
    batch.positions["cog"] = [90, 0, 90, 180, 90, 270, 270, 270]
    plain = Engine([approaching()], [SQUARE]).judge(batch, T0 + 8 * MINUTE).transitions
    settled = Engine([approaching(settle="2m")], [SQUARE]).judge(batch, T0 + 8 * MINUTE).transitions
    assert len(plain) == 6
    assert [(t.event.value, (t.at - T0) / MINUTE) for t in settled] == [("firing", 0), ("resolved", 7)]


def test_two_fixes_say_the_way_of_a_vessel_that_does_not_and_who_came_in_unseen_has_crossed() -> None:
    silent = fixes((0, 106.9, 16.05), (60, 106.98, 16.05))
    [alert] = Engine([approaching()], [SQUARE]).judge(silent, T0 + 60 * MINUTE).transitions
    assert alert.details["step"] == "approaching"
    unseen = fixes((0, 106.5, 16.05), (120, 107.05, 16.05))
    [alert] = Engine([approaching()], [SQUARE]).judge(unseen, T0 + 120 * MINUTE).transitions
    assert (alert.details["step"], alert.details["lead_seconds"], alert.severity.value) == ("crossed", 0, "major")
    seen_first_inside = fixes((0, 107.05, 16.05, 5.0), (10, 107.06, 16.05, 5.0))
    assert Engine([approaching()], [SQUARE]).judge(seen_first_inside, T0 + 10 * MINUTE).transitions == []


def test_who_lies_still_or_passes_by_approaches_nothing() -> None:
    still = heading_east((0.0, 106.999), (1.0, 106.999), sog=0.4)
    passing = heading_east((0.0, 106.999), (1.0, 106.999), cog=0.0)
    for batch in (still, passing):
        assert Engine([approaching()], [SQUARE]).judge(batch, T0 + MINUTE).transitions == []


def test_what_is_edited_is_judged_by_last_fixes_but_not_by_old_ones_and_nobody_enters_by_a_pen() -> None:
    rules = [
        rule(id=c, condition=c, **({"for": "30m"} if c == "dwell" else {})) for c in ("inside", "entered", "dwell")
    ]
    before = Engine(rules, [SQUARE]).judge(Observations(), T0).states
    memory = Memory(positions=fixes((0, 108.05, 16.05)).positions, states=before)
    moved = Zone("core", "the core", "vùng lõi", "t", shapely.box(108.0, 16.0, 108.1, 16.1))
    for hours, fired in ((5, [("inside", "firing")]), (7, [])):
        engine = Engine(rules, [moved])
        engine.restore(memory, edited=True)
        verdict = engine.judge(Observations(), T0 + hours * 60 * MINUTE)
        assert [(t.rule_id, t.event.value) for t in verdict.transitions] == fired
        # The time in it counts from the last fix. What it was judged by is said anew.
        assert [s.rule_id for s in verdict.states] == ["(fences)", *(["dwell", "inside"] if fired else [])]


def test_a_vessel_outside_a_zone_as_it_is_drawn_now_is_no_longer_inside_and_one_still_in_it_is() -> None:
    watched = [rule(condition="inside", exit_buffer_m=100)]
    first = Engine(watched, [SQUARE])
    told = first.judge(fixes((0, 107.05, 16.05)), T0)
    memory = Memory(positions=fixes((0, 107.05, 16.05)).positions, states=told.states)
    for west, reason in ((107.2, "edited"), (107.0505, None), (107.02, None)):
        engine = Engine(watched, [Zone("core", "the core", "vùng lõi", "t", shapely.box(west, 16.0, 107.3, 16.1))])
        engine.restore(memory, edited=True)
        verdict = engine.judge(Observations(), T0 + MINUTE)
        assert [t.details["reason"] for t in verdict.transitions] == ([reason] if reason else [])
        assert all(t.details["zone_version"] == SQUARE.version for t in verdict.transitions)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"condition": "dwell"}, "dwell needs a time"),
        ({"condition": "inside", "for": "5m"}, "for is for dwell and speed, not for inside"),
        ({"condition": "speed"}, "speed needs min_sog or max_sog"),
        ({"condition": "speed", "min_sog": 5, "max_sog": 2}, "max_sog 2 is less than min_sog 5"),
        (
            {"condition": "crossed", "settle": "5m"},
            "settle is for entered, inside, left, dwell, speed, approaching and leaving",
        ),
        ({"condition": "approaching"}, "approaching needs a time"),
        ({"condition": "approaching", "within": "5m", "imminent": "5m"}, "imminent must be less than within"),
        ({"condition": "approaching", "within": "5m", "imminent_severity": "info"}, "imminent_severity needs a time"),
        (
            {"condition": "approaching", "within": "5m", "crossed_severity": "info"},
            "severities must not fall from approaching to imminent to crossed",
        ),
        ({"condition": "inside", "direction": "left"}, "direction is for crossed and approaching, not for inside"),
        ({"condition": "inside", "exit_buffer_m": -1}, "greater than or equal to 0"),
        ({"condition": "left", "settle_fixes": 1}, "greater than or equal to 2"),
    ],
)
def test_what_means_nothing_is_refused(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        rule(**fields)


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        (
            {"condition": "crossed", "direction": "left"},
            ("direction", "'core' is an area: only the crossing of a line"),
        ),
        (
            {"condition": "inside", "zones": ["border"]},
            ("zones", "'border' is a line: nothing is inside it, only cross"),
        ),
        ({"condition": "inside", "zones": ["nowhere"]}, ("zones", "unknown zone 'nowhere'")),
    ],
)
def test_what_does_not_go_with_its_zones_is_told(fields: dict[str, Any], fault: tuple[str, str]) -> None:
    asked = rule(**fields)
    assert isinstance(asked, ZoneRule)
    [((key,), reason)] = asked.faults({}, {"core": SQUARE, "border": BORDER})
    assert key == fault[0]
    assert reason.startswith(fault[1])
