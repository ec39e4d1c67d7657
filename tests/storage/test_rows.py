"""Which rows of a batch count, against loops that say it plainly."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from storage.rows import fresh, leaders, newest, spans

PAIRS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=30)


def columns(pairs: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    array = np.array(pairs, np.int64).reshape(-1, 2)
    return array[:, 0], array[:, 1]


@given(PAIRS)
def test_leaders_are_the_first_rows_of_their_keys(pairs: list[tuple[int, int]]) -> None:
    assert leaders(*columns(pairs)).tolist() == [pairs.index(pair) for pair in pairs]


@given(PAIRS)
def test_newest_is_the_latest_time_and_then_the_first_to_arrive(pairs: list[tuple[int, int]]) -> None:
    who, when = columns(pairs)
    best: dict[int, int] = {}
    for row, (subject, time) in enumerate(pairs):
        if subject not in best or time > pairs[best[subject]][1]:
            best[subject] = row
    assert np.flatnonzero(newest(when, who)).tolist() == sorted(best.values())


@given(PAIRS)
def test_fresh_rows_have_no_later_one_before_them(pairs: list[tuple[int, int]]) -> None:
    who, when = columns(pairs)
    expected = [all(t <= time for s, t in pairs[:row] if s == subject) for row, (subject, time) in enumerate(pairs)]
    assert fresh(when, who).tolist() == expected


@given(PAIRS)
def test_spans_are_the_least_and_greatest_time_of_each(pairs: list[tuple[int, int]]) -> None:
    who, when = columns(pairs)
    found = list(zip(*(part.tolist() for part in spans(who, when)), strict=True))
    times = {subject: [t for s, t in pairs if s == subject] for subject, _ in pairs}
    assert found == [(subject, min(times[subject]), max(times[subject])) for subject in sorted(times)]
