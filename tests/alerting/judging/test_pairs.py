"""The slots of pairs are those that a dictionary would give."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from alerting.judging.pairs import Pairs

# Few values, so that pairs come again; the ends of the range, where the mixing wraps.
NUMBERS = st.one_of(st.integers(-3, 12), st.sampled_from([-(2**63), 2**63 - 1, 2**62, 2**32]))


@given(st.lists(st.lists(st.tuples(NUMBERS, NUMBERS), max_size=40), max_size=8))
def test_every_pair_keeps_its_slot_however_many_come_after(batches: list[list[tuple[int, int]]]) -> None:
    pairs, oracle = Pairs(), dict[tuple[int, int], int]()
    for number, batch in enumerate(batches):
        table = np.array(batch, np.int64).reshape(-1, 2)
        found = pairs.find(table[:, 0], table[:, 1])
        assert found.tolist() == [oracle.get(pair, -1) for pair in batch]
        new = list(dict.fromkeys(pair for pair in batch if pair not in oracle))
        if number % 2:
            slots = [pairs.add(*pair) for pair in new]
        else:
            columns = np.array(new, np.int64).reshape(-1, 2)
            slots = pairs.extend(columns[:, 0], columns[:, 1]).tolist()
        oracle |= dict(zip(new, slots, strict=True))
    assert sorted(oracle.values()) == list(range(len(pairs)))
    for pair, slot in oracle.items():
        assert pairs.one(*pair) == slot
        assert tuple(pairs.keys[slot].tolist()) == pair


def test_a_hundred_thousand_pairs_are_found_among_as_many_that_are_not_there() -> None:
    rng = np.random.default_rng(7)
    known = np.unique(rng.integers(1, 2**40, (200_000, 2)), axis=0)
    pairs = Pairs()
    half = len(known) // 2
    slots = pairs.extend(known[:half, 0], known[:half, 1])
    found = pairs.find(known[:, 0], known[:, 1])
    assert (found[:half] == slots).all()
    assert (found[half:] == -1).all()
