"""What is remembered of names: bounded, and never more than was committed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from decoders.records import Reason
from storage.known import Known
from storage.quarantine import refusal_id

LEARNED = st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 5), st.none() | st.integers(0, 9)), max_size=30)


@given(LEARNED, st.integers(1, 4))
def test_no_more_than_the_limit_is_remembered_and_the_newest_always(
    names: list[tuple[str, int, int | None]], limit: int
) -> None:
    known = Known(limit)
    for name in names:
        known.learn([name])
        assert len(known) <= limit
        assert known.has(name[0], name[1])


@given(LEARNED)
def test_a_device_is_known_only_back_to_the_least_time_told(names: list[tuple[str, int, int | None]]) -> None:
    known = Known()
    known.learn(names)
    for kind in "ab":
        for id_ in range(6):
            told = [since for k, i, since in names if (k, i) == (kind, id_)]
            times = [since for since in told if since is not None]
            assert known.has(kind, id_) is bool(told)
            for since in range(10):
                assert known.has(kind, id_, since) is (bool(times) and min(times) <= since)


@given(st.binary(max_size=9), st.binary(max_size=9), st.text(max_size=4), st.text(max_size=4))
def test_refusals_share_an_id_only_if_all_of_them_is_equal(a: bytes, b: bytes, origin: str, other: str) -> None:
    first = refusal_id(1, origin, Reason.BAD_JSON, a)
    second = refusal_id(1, other, Reason.BAD_JSON, b)
    assert (first == second) is ((origin, a) == (other, b))
