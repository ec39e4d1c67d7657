"""Rate limits and quiet hours against what they say of themselves, taken by its words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting.desk.pace import Pace, QuietHours, at_least, open_seconds
from alerting.model import Severity

START = 1_795_000_000
#: Steps of time in milliseconds, exactly representable as seconds / 1024: the oracle counts without rounding.
STEPS = st.lists(st.integers(0, 40 * 1024), max_size=60)
RATES = st.tuples(st.integers(1, 12), st.none() | st.integers(1, 12)).filter(lambda two: (two[1] or 1) <= two[0])


class Oracle:
    """All that ever began; asks of each window, and fills a bucket with fractions."""

    def __init__(self, per_minute: int, burst: int | None) -> None:
        self.per_minute, self.burst = per_minute, Fraction(burst or per_minute)
        self.tokens, self.at = self.burst, Fraction(0)
        self.began: list[Fraction] = []

    def may(self, now: Fraction) -> bool:
        within = sum(1 for at in self.began if now - at < 60)
        return within < self.per_minute and self.level(now) >= 1

    def level(self, now: Fraction) -> Fraction:
        return min(self.burst, self.tokens + (now - self.at) * Fraction(self.per_minute, 60))

    def take(self, now: Fraction) -> None:
        self.tokens, self.at = self.level(now) - 1, now
        self.began.append(now)


@given(RATES, STEPS, st.data())
def test_it_lets_begin_what_both_limits_allow_and_no_more(
    rate: tuple[int, int | None], steps: list[int], data: st.DataObject
) -> None:
    pace, oracle = Pace(*rate), Oracle(*rate)
    now = 0.0
    for step in steps:
        now += step / 1024
        free = pace.free(now)
        for _ in range(data.draw(st.integers(0, free))):
            assert oracle.may(Fraction(now))
            oracle.take(Fraction(now))
            pace.took(now)
        if pace.free(now) == 0:
            # Not more cautious than the limits ask for, up to the rounding of floats.
            assert not oracle.may(Fraction(now) - Fraction(1, 10**6)) or pace.wait(now) < 1e-6
    for at in oracle.began:
        assert sum(1 for other in oracle.began if at <= other < at + 60) <= rate[0]
        assert oracle.began.count(at) <= (rate[1] or rate[0])


@given(RATES, STEPS)
def test_after_the_wait_it_told_one_may_begin_and_not_before(rate: tuple[int, int | None], steps: list[int]) -> None:
    pace = Pace(*rate)
    now = 0.0
    for step in steps:
        now += step / 1024
        while pace.free(now):
            pace.took(now)
        wait = pace.wait(now)
        assert 0 < wait <= 60
        assert pace.free(now + wait * 0.999 - 1e-6) == 0
        assert pace.free(now + wait + 1e-6) >= 1


def test_what_was_sent_before_a_restart_counts() -> None:
    pace = Pace(3)
    for age in (59.0, 30.0, 1.0):
        pace.took(1000.0 - age)
    assert pace.free(1000.0) == 0
    assert pace.free(1001.5) == 1


clocks = st.integers(0, 24 * 60 - 1).map(lambda minute: minute * 60)
quiet_hours = st.builds(
    QuietHours,
    start=clocks,
    end=clocks,
    east=st.integers(-14 * 60, 14 * 60).map(lambda minute: minute * 60),
    below=st.sampled_from([Severity.WARNING, Severity.MAJOR, Severity.CRITICAL]),
).filter(lambda one: one.start != one.end)


def waits(one: QuietHours, severity: Severity, at: float) -> bool:
    """By the calendar: the hour and minute at that place."""
    there = datetime.fromtimestamp(at, UTC).astimezone(timezone(timedelta(seconds=one.east)))
    minute = there.hour * 60 + there.minute
    start, end = one.start / 60, one.end / 60
    within = start <= minute < end if start < end else not end <= minute < start
    return within and list(Severity).index(severity) < list(Severity).index(one.below)


@given(st.lists(quiet_hours, max_size=3), st.sampled_from(list(Severity)), st.integers(0, 3 * 86_400))
def test_less_severe_ones_wait_within_the_hours_and_nothing_else_does(
    quiet: list[QuietHours], severity: Severity, after: int
) -> None:
    at = START + after
    assert (severity.rank < at_least(quiet, at).rank) == any(waits(one, severity, at) for one in quiet)


@given(
    st.lists(quiet_hours, max_size=3), st.sampled_from(list(Severity)), st.integers(0, 1440), st.integers(0, 3 * 1440)
)
def test_the_time_in_which_it_might_have_been_told_is_counted_to_the_second(
    quiet: list[QuietHours], severity: Severity, begin: int, minutes: int
) -> None:
    since = START - START % 60 + begin * 60
    counted = sum(60 for n in range(minutes) if not any(waits(one, severity, since + n * 60) for one in quiet))
    assert open_seconds(quiet, severity.rank, since, since + minutes * 60) == counted


@pytest.mark.parametrize(
    ("clock", "waits_"), [("21:59", False), ("22:00", True), ("03:00", True), ("05:59", True), ("06:00", False)]
)
def test_a_night_at_hue(clock: str, waits_: bool) -> None:
    night = QuietHours(22 * 3600, 6 * 3600, 7 * 3600, Severity.CRITICAL)
    at = datetime.fromisoformat(f"2026-11-24T{clock}:00+07:00").timestamp()
    assert night.covers(at) is waits_
