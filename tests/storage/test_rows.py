"""Which rows of a batch count, against loops that say it plainly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from storage.rows import fresh, leaders, newest, spans

if TYPE_CHECKING:
    from random import Random

PAIRS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=30)


def columns(pairs: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    array = np.array(pairs, np.int64).reshape(-1, 2)
    return array[:, 0], array[:, 1]


@given(PAIRS)
def test_leaders_are_the_first_rows_of_their_keys(pairs: list[tuple[int, int]]) -> None:
    lead, chosen = leaders(*columns(pairs))
    assert lead.tolist() == [pairs.index(pair) for pair in pairs]
    assert chosen.tolist() == [pairs.index(pair) for pair in sorted(set(pairs))]


@given(PAIRS, st.randoms(use_true_random=False))
def test_newest_is_the_latest_time_and_then_the_first_to_arrive(pairs: list[tuple[int, int]], rng: Random) -> None:
    pairs = sorted(pairs)
    arrival = rng.sample(range(100), len(pairs))
    who, when = columns(pairs)
    expected = [
        (-time, arrived) == min((-t, a) for (s, t), a in zip(pairs, arrival, strict=True) if s == subject)
        for (subject, time), arrived in zip(pairs, arrival, strict=True)
    ]
    assert newest(when, np.array(arrival, np.intp), who).tolist() == expected


@given(PAIRS)
def test_fresh_rows_have_no_later_one_before_them(pairs: list[tuple[int, int]]) -> None:
    who, when = columns(pairs)
    expected = [all(t <= time for s, t in pairs[:row] if s == subject) for row, (subject, time) in enumerate(pairs)]
    assert fresh(when, who).tolist() == expected


@given(PAIRS, st.integers(1, 4))
def test_spans_are_the_least_time_of_each_and_the_least_within_its_last_unit(
    pairs: list[tuple[int, int]], unit: int
) -> None:
    who, when = columns(pairs)
    found = list(zip(*(part.tolist() for part in spans(who, when, unit)), strict=True))
    times = {subject: [t for s, t in pairs if s == subject] for subject, _ in pairs}
    last = {subject: max(t // unit for t in times[subject]) for subject in times}
    expected = [(s, min(times[s]), min(t for t in times[s] if t // unit == last[s])) for s in sorted(times)]
    assert found == expected
