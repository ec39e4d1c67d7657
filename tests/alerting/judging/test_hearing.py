"""When something has been silent for too long, in time in which it could be heard."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from alerting.judging.hearing import GRACE, Hearing, deadline

MINUTE = 60_000_000

spans = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 12), st.integers(0, 8)), max_size=4).map(
    lambda some: [(since, since + length, grace) for since, length, grace in some]
)


def counted_down(heard: int, after: int, deaf: list[tuple[int, int, int]]) -> int:
    """The same, minute by minute: a count that stands still in spans, and is topped up to the grace after them."""
    now, left, grace = heard, after, 0
    while True:
        inside = [g for since, until, g in deaf if since <= now < until and until > heard]
        if inside:
            grace = max(grace, *inside, *(g for since, until, g in deaf if since <= now <= until and until > heard))
        else:
            left = max(left, min(after, grace))
            grace = 0
            if left == 0:
                return now
            left -= 1
        now += 1


@given(st.integers(0, 30), st.integers(1, 10), spans)
def test_only_time_in_which_one_could_hear_counts(heard: int, after: int, deaf: list[tuple[int, int, int]]) -> None:
    due = deadline(heard, after, deaf)
    assert due == counted_down(heard, after, deaf)
    assert deadline(heard, after, reversed(deaf)) == due >= heard + after


def test_what_is_left_of_a_span_in_which_something_was_heard_does_not_count() -> None:
    hearing = Hearing()
    hearing.deaf(0, 60 * MINUTE)
    assert hearing.deadline(20 * MINUTE, 30 * MINUTE) == 90 * MINUTE
    assert hearing.deadline(60 * MINUTE, 30 * MINUTE) == 90 * MINUTE
    assert hearing.deadline(55 * MINUTE, GRACE // 2) == 60 * MINUTE + GRACE // 2
