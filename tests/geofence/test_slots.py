"""Slots are a dictionary of ids, asked in bulk."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from geofence.slots import Slots

ids = st.one_of(st.integers(-3, 400), st.integers(-(2**63), 2**63 - 1))


@settings(max_examples=200)
@given(st.lists(st.lists(ids, max_size=150), max_size=8), st.lists(ids, max_size=20), st.booleans())
def test_slots_number_ids_as_a_dictionary_would(batches: list[list[int]], others: list[int], rebuilt: bool) -> None:
    slots, known = Slots(), dict[int, int]()
    if rebuilt:
        slots.rebuild(np.array(others, np.int64)[:0])
    for batch in batches:
        fresh = [number for number in dict.fromkeys(batch) if number not in known]
        slots.add(np.array(fresh, np.int64))
        known |= {number: len(known) + i for i, number in enumerate(fresh)}
        asked = [*batch, *others]
        assert slots.find(np.array(asked, np.int64)).tolist() == [known.get(number, -1) for number in asked]
        assert [slots.find_one(number) for number in asked] == [known.get(number, -1) for number in asked]
        assert len(slots) == len(known)
    kept = list(known)[::2]
    slots.rebuild(np.array(kept, np.int64))
    assert slots.find(np.array(list(known), np.int64)).tolist() == [
        kept.index(number) if number in kept else -1 for number in known
    ]


def test_a_million_ids_take_at_most_48_bytes_each() -> None:
    slots = Slots()
    for start in range(0, 1_000_000, 100_000):
        slots.add(np.arange(start, start + 100_000))
    assert slots.nbytes <= 48_000_000
    assert slots.find(np.array([999_999, 1_000_000])).tolist() == [999_999, -1]
