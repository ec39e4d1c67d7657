"""Counting what a run told, and how far back it must begin."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from alerting import pack
from alerting.model import AlertState, Event, Transition
from alerting.rejudging.backtest import Shifts, Tally, difference, summary, warm_up
from alerting.rules import RULE
from tests.alerting.samples import START, transition
from tests.alerting.test_engine_stream import MINUTE, RULES, level, run, streams
from tests.alerting.test_engine_stream import START as STREAM_START

if TYPE_CHECKING:
    from tests.alerting.oracle import Item

HOUR = 60 * MINUTE
DAY = 24 * HOUR
#: Duty changes at 06:00, 14:00 and 22:00, seven hours ahead of UTC.
SHIFTS = Shifts((6 * HOUR, 14 * HOUR, 22 * HOUR), 7 * HOUR)


def known(told: Transition, at: int) -> Transition:
    return replace(told, known=at)


@settings(max_examples=60)
@given(
    streams(),
    st.lists(st.tuples(st.integers(0, 30), st.floats(0, 1)), min_size=20, max_size=60),
    st.sampled_from([0, 5, 45, 200]),
)
def test_alerts_do_not_depend_on_how_often_the_clock_is_looked_at(
    items: list[Item], ticks: list[tuple[int, float]], rest: int
) -> None:
    """A live engine has a tick a second between rows; one over stored rows has one per batch."""
    end = (items[-1].received if items else STREAM_START) + rest * MINUTE
    seldom, often = Tally(), Tally()
    seldom.add(run(items, [], end, restart=False, rules=RULES).transitions)
    often.add(run(items, ticks, end, restart=False, rules=RULES).transitions)
    assert often.within(0, 2**62) == seldom.within(0, 2**62)


def test_an_alert_counts_when_it_became_known_with_the_worst_it_was_and_its_end() -> None:
    tally = Tally()
    fired, ended = transition(start=START), transition(AlertState.RESOLVED, start=START, after=600_000_000)
    tally.add([known(fired, START + DAY)])
    assert tally.within(START, START + DAY) == []
    (episode,) = tally.within(START + DAY, START + DAY + 1)
    assert (episode.severity, episode.ended_at, episode.retracted) == ("major", None, False)
    tally.add([replace(ended, change=Event.RETRACTED)])
    (episode,) = tally.within(START + DAY, START + DAY + 1)
    assert (episode.ended_at, episode.retracted) == (START + 600_000_000, True)


@given(st.integers(0, 3 * 10**9), st.integers(1, 10**7))
def test_every_instant_is_of_one_shift_and_shifts_change_at_their_hours(first: int, seconds: int) -> None:
    since, until = first * 1_000_000, (first + seconds) * 1_000_000
    edges = SHIFTS.edges(since, until)
    assert edges[0] == since
    assert edges[-1] == until
    assert edges == sorted(set(edges))
    assert max(b - a for a, b in pairwise(edges)) <= 8 * HOUR
    for edge in edges[1:-1]:
        local = datetime.fromtimestamp(edge / 1e6 + 7 * 3600, UTC)
        assert (local.hour, local.minute, local.second) in {(6, 0, 0), (14, 0, 0), (22, 0, 0)}


def test_alerts_are_counted_by_day_of_duty_subject_rule_and_shift() -> None:
    tally = Tally()
    rule = level(id="vms.gap".replace(".", "-"), **{"raise": 2.0})
    midnight = 20_000 * DAY - 7 * HOUR  # in Hue
    for n, at in enumerate((midnight, midnight + HOUR, midnight + 7 * HOUR, midnight + DAY)):
        tally.add([known(transition(rule="vms-gap", start=midnight + n), at)])
        tally.add([transition(AlertState.RESOLVED, rule="vms-gap", start=midnight + n, after=(n + 1) * 1_000_000)])
    found = summary(
        tally.within(midnight, midnight + 2 * DAY), midnight, midnight + 2 * DAY, rules=[rule], shifts=SHIFTS
    )
    assert (found["alerts"], found["per_day"]) == (4, 2.0)
    assert list(found["days"].values()) == [3, 1]
    assert found["subjects"] == {"BV-90123-TS": 4}
    assert found["rules"]["vms-gap"]["seconds"] == {"median": 2.5, "longest": 4.0}
    assert (found["shifts"]["count"], found["shifts"]["most"], found["shifts"]["quiet"]) == (7, 2, 4)


def test_sets_are_compared_by_what_ids_are_made_of() -> None:
    a, b = Tally(), Tally()
    for tally, starts in ((a, (1, 2)), (b, (2, 3))):
        tally.add([transition(start=start) for start in starts])
    found = difference(a.within(0, 1), b.within(0, 1))
    told = [[e.identity.started_at for e in of] for of in (found.both, found.only_draft, found.only_live)]
    assert told == [[2], [1], [3]]


def test_warming_up_takes_the_longest_duration_any_rule_says_and_a_day() -> None:
    assert warm_up([]) == DAY
    assert warm_up([level(id="a", **{"raise": 2.0, "for": "36h"}), level(id="b", **{"raise": 2.0})]) == DAY + 36 * HOUR
    silent = RULES[0].body | {"kind": "no_data", "after": "10d"}
    for key in ("raise", "unit"):
        silent.pop(key, None)
    assert warm_up([RULE.validate_python(silent)]) == 11 * DAY
    # As JSON every duration, and nothing else, is a number of seconds with an "s".
    rules = pack.load(["pack:hue"]).rules
    said = re.findall(r'"(\d+)s"', "".join(rule.model_dump_json() for rule in rules))
    assert warm_up(rules) == DAY + max(map(int, said)) * 1_000_000
