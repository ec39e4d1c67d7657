"""The order of arrival is to be had back from what rows say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from decoders.arrival import KEYS, before, in_order, joined, numbered, spread
from decoders.records import POSITION, READING, STATIC, AisRecord, Observations, empty

if TYPE_CHECKING:
    import random

DTYPES = {"positions": POSITION, "readings": READING, "statics": STATIC}
small = st.integers(0, 2)


@st.composite
def batches(draw: st.DrawFn) -> tuple[Observations, list[int], int]:
    """Deliveries of some messages each, a message of some rows; with the first message of each one's delivery."""
    first: list[int] = []
    received: list[int] = []
    now = 1_000
    for _ in range(draw(st.integers(1, 4))):
        count = draw(st.integers(1, 3))
        first += [len(first)] * count
        received += [now] * count
        now += count + draw(st.integers(0, 5))
    out = Observations(messages=len(first))
    for name, keys in KEYS.items():
        where = sorted(draw(st.lists(st.integers(0, len(first) - 1), max_size=8)))
        told = draw(st.lists(st.tuples(small, small, small), min_size=len(where), max_size=len(where)))
        rows = sorted(set(zip(where, told, strict=True)), key=lambda row: row[0])  # keys are unique
        table = empty(DTYPES[name], len(rows))
        for n, (message, said) in enumerate(rows):
            table["message"][n], table["received_at"][n] = message, received[message]
            for key, value in zip(keys, said, strict=True):
                table[key][n] = value
        setattr(out, name, table)
    out.records = [AisRecord(0, received[0], 1, 2, 3, 4, "base_station", {}, 0)]
    return out, first, now


@given(batches(), st.randoms(use_true_random=False))
def test_rows_told_apart_by_receive_time_and_key_come_back_in_the_order_they_were_judged(
    drawn: tuple[Observations, list[int], int], chance: random.Random
) -> None:
    judged, first, end = drawn
    spread(judged, np.array(first, np.int64))
    in_order(judged)
    everything = np.concatenate([getattr(judged, name)["received_at"] for name in KEYS])
    assert (everything < end).all()  # the instants of one delivery do not run into the next

    stored = Observations(records=list(judged.records))
    for name in KEYS:
        table = getattr(judged, name)
        shuffled = table[chance.sample(range(len(table)), len(table))]
        setattr(stored, name, shuffled[np.argsort(shuffled["received_at"], kind="stable")])
    numbered(stored)
    for name, keys in KEYS.items():
        again, was = getattr(stored, name), getattr(judged, name)
        assert again[["received_at", *keys]].tolist() == was[["received_at", *keys]].tolist()
        assert (np.diff(again["message"]) >= 0).all()
    # Rows of one message, and no others, are of one message again.
    before = np.concatenate([getattr(judged, name)["message"] for name in KEYS])
    after = np.concatenate([getattr(stored, name)["message"] for name in KEYS])
    assert len(set(zip(before.tolist(), after.tolist(), strict=True))) == len(set(before.tolist()))


@given(batches())
def test_rows_of_one_message_come_by_time_and_key_and_none_is_lost(
    drawn: tuple[Observations, list[int], int],
) -> None:
    judged, _, _ = drawn

    def told(name: str) -> list[tuple[int, ...]]:
        return [tuple(row) for row in getattr(judged, name)[["message", *KEYS[name]]].tolist()]

    before = {name: told(name) for name in KEYS}
    in_order(judged)
    for name in KEYS:
        assert told(name) == sorted(before[name])


@given(batches(), st.lists(st.integers(990, 1_060), max_size=3, unique=True))
def test_observations_cut_by_time_and_joined_are_as_before(
    drawn: tuple[Observations, list[int], int], cuts: list[int]
) -> None:
    whole, first, _ = drawn
    spread(whole, np.array(first, np.int64))
    numbered(whole)
    rest, parts = whole, []
    for cut in sorted(cuts):
        part, rest = before(rest, cut)
        assert all((getattr(part, name)["received_at"] < cut).all() for name in KEYS)
        parts.append(part)
    for part in (*parts, rest):
        numbered(part)
    again = joined((*parts, rest))
    assert again.messages == whole.messages
    assert again.records == whole.records
    for name in KEYS:
        assert getattr(again, name).tolist() == getattr(whole, name).tolist()
