"""What is remembered of names: bounded, and never more than was committed."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from decoders.records import Reason
from storage.known import Known
from storage.quarantine import refusal_id

NAMES = st.lists(
    st.lists(
        st.tuples(st.integers(0, 40), st.integers(0, 9), st.integers(0, 9)), max_size=30, unique_by=lambda t: t[0]
    ),
    max_size=8,
)


def column(values: list[int]) -> np.ndarray:
    return np.array(values, np.int64)


def learn(known: Known, rows: list[tuple[int, int, int]], kind: str = "device") -> None:
    known.learn(kind, *(column([row[n] for row in rows]) for n in range(3)))


def lacks(known: Known, id_: int, first: int, last: int, kind: str = "device") -> bool:
    return bool(known.lacking(kind, column([id_]), column([first]), column([last]))[0])


@given(NAMES)
def test_a_name_is_known_for_the_times_told_and_for_no_others(batches: list[list[tuple[int, int, int]]]) -> None:
    known = Known()
    told: dict[int, tuple[int, int]] = {}
    for rows in batches:
        learn(known, rows)
        for id_, first, last in rows:
            before = told.get(id_, (first, last))
            told[id_] = min(first, before[0]), max(last, before[1])
    assert len(known) == len(told)
    asked = [(id_, first, last) for id_ in range(42) for first in range(10) for last in range(10)]
    there = [id_ in told and told[id_][0] <= first and last <= told[id_][1] for id_, first, last in asked]
    columns = [column([row[n] for row in asked]) for n in range(3)]
    assert known.lacking("device", *columns).tolist() == [not one for one in there]
    assert [lacks(known, *one) for one in asked[::83]] == [not one for one in there[::83]]  # in another way
    assert known.lacking("metric", *columns).all()


def test_many_more_names_than_there_is_room_for_stay_within_it_and_none_is_made_up() -> None:
    rng = np.random.default_rng(5)
    known = Known(limit=1 << 12)
    told: set[int] = set()
    for _ in range(40):
        ids = np.unique(rng.integers(0, 1 << 40, 1000))
        known.learn("transponder", ids, ids, ids)
        told.update(ids.tolist())
        assert len(known) <= 1 << 12
        some = rng.integers(0, 1 << 40, 1000)
        assert known.lacking("transponder", some, some, some).tolist() == [id_ not in told for id_ in some.tolist()]
        kept = ~known.lacking("transponder", ids, ids, ids)
        assert kept.sum() > 600  # what was told last has the best chance to stay
    assert len(known) > 1 << 11


def test_every_name_is_kept_while_there_is_room() -> None:
    known = Known()
    ids = np.random.default_rng(6).permutation(np.arange(200_000_000, 200_100_000))
    for part in np.array_split(ids, 17):
        known.learn("transponder", part, part, part)
    lacking = known.lacking("transponder", ids, ids, ids)
    assert lacking.mean() < 0.02  # a full bucket forgets


def test_names_that_share_a_bucket_are_all_found() -> None:
    same = [id_ for id_ in range(100_000) if (id_ * 0x9E3779B97F4A7C15 % 2**64) >> 50 == 7][:9]
    known = Known()
    learn(known, [(id_, 0, 0) for id_ in same[:4]])
    assert not any(lacks(known, id_, 0, 0) for id_ in same[:4])
    learn(known, [(id_, 0, 0) for id_ in same])
    assert sum(not lacks(known, id_, 0, 0) for id_ in same) == 4


def test_all_is_forgotten_at_once_and_that_is_counted() -> None:
    known = Known()
    learn(known, [(1, 0, 0)])
    epoch = known.epoch
    known.forget()
    assert lacks(known, 1, 0, 0)
    assert known.epoch == epoch + 1
    assert len(known) == 0


@given(st.binary(max_size=9), st.binary(max_size=9), st.text(max_size=4), st.text(max_size=4))
def test_refusals_share_an_id_only_if_all_of_them_is_equal(a: bytes, b: bytes, origin: str, other: str) -> None:
    first = refusal_id(1, origin, Reason.BAD_JSON, a, len(a))
    second = refusal_id(1, other, Reason.BAD_JSON, b, len(b))
    assert (first == second) is ((origin, a) == (other, b))


def test_two_that_begin_alike_and_differ_in_length_are_two() -> None:
    assert len({refusal_id(1, "t", Reason.TOO_LARGE, b"x", size) for size in (1, 2, 3)}) == 3
