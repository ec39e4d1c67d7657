"""The reception window: one row per transmission, whoever heard it, however rows fall into batches."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from decoders.records import POSITION, RECEPTION, STATIC, AisRecord, Observations, concatenate, empty, table
from decoders.window import ReceptionWindow
from tests.decoders import window_oracle
from tests.decoders.support import NOW

if TYPE_CHECKING:
    from collections.abc import Sequence

    from decoders.records import Table

SECOND = 1_000_000


def rows(dtype: np.dtype[Any], heard: Sequence[tuple[int, ...]], msg_type: int = 1) -> Table:
    """Rows of (message, digest, source, seconds after NOW, and seconds before that of the event, where not 0)."""
    out = empty(dtype, len(heard))
    for row, (message, digest, source, seconds, *ago) in zip(out, heard, strict=True):
        row["message"], row["digest"], row["source"] = message, digest, source
        row["received_at"] = NOW + seconds * SECOND
        row["time"] = row["received_at"] + source - sum(ago) * SECOND
        row["transponder"] = 574123456
        if "msg_type" in (dtype.names or ()):
            row["msg_type"] = msg_type
    return out


def positions(*heard: tuple[int, ...], msg_type: int = 1) -> Observations:
    return Observations(messages=100, positions=rows(POSITION, heard, msg_type))


def stored(*heard: tuple[int, ...]) -> Table:
    """Of rows of these transmissions there is one from source 1, 2 s older."""
    sent = rows(RECEPTION, heard)
    names = ("transponder", "digest", "source", "time")
    out = empty(np.dtype([(name, "i8") for name in (*names, "first_time", "first_source")]), len(sent))
    for name in names:
        out[name] = sent[name]
    out["first_time"], out["first_source"] = sent["time"] - 2 * SECOND, 1
    return out


def test_another_receiver_leaves_a_reception_the_same_one_nothing() -> None:
    found = positions((0, 7, 1, 0), (1, 7, 2, 1), (2, 7, 1, 2), (3, 7, 2, 3), (4, 7, 3, 4), (5, 8, 1, 4))
    assert ReceptionWindow().apply(found) == {1, 2, 3, 4}
    assert found.positions["message"].tolist() == [0, 5]
    assert found.receptions["message"].tolist() == [1, 4]
    assert found.receptions["source"].tolist() == [2, 3]
    assert set(found.receptions["time"].tolist()) == {NOW + 1}
    assert found.receptions["received_at"].tolist() == [NOW + SECOND, NOW + 4 * SECOND]


def test_the_span_runs_from_the_first_hearing() -> None:
    found = positions((0, 7, 1, 0), (1, 7, 1, 20), (2, 7, 1, 30), (3, 7, 1, 31), (4, 7, 1, 61))
    assert ReceptionWindow().apply(found) == {1, 2, 4}
    assert found.positions["message"].tolist() == [0, 3]


def test_a_burst_of_old_reports_that_are_alike_is_stored_whole_and_each_folded_with_its_own_other_hearings() -> None:
    burst = [(n, 7, 1, 900, 720 - 180 * n) for n in range(5)]
    other = [(5 + n, 7, 2, 901, 719 - 180 * n) for n in range(5)]  # two seconds later, by its own clock
    live = [(10, 7, 3, 902), (11, 7, 1, 903, 722)]
    found = positions(*burst, *other, *live)
    window = ReceptionWindow()
    assert window.apply(found) == set(range(5, 12))
    assert found.positions["message"].tolist() == list(range(5))
    receptions = found.receptions
    assert receptions["message"].tolist() == [*range(5, 10), 10]
    assert receptions["time"].tolist() == [*found.positions["time"].tolist(), found.positions["time"][4]]
    again = ReceptionWindow()
    again.restore(found.positions)
    of_firsts = [(key, (time, received_at, (1,))) for key, (time, received_at, _) in window.remembered()]
    assert again.remembered() == of_firsts


def test_another_transponder_is_another_transmission() -> None:
    found = positions((0, 7, 1, 0), (1, 7, 2, 0))
    found.positions["transponder"][1] = 1
    assert ReceptionWindow().apply(found) == set()
    assert len(found.positions) == 2


def test_positions_that_are_not_ais_are_left_alone() -> None:
    found = positions((0, 7, 1, 0), (1, 7, 1, 0), msg_type=0)
    assert ReceptionWindow().apply(found) == set()
    assert len(found.positions) == 2


def _record(message: int, digest: int, source: int) -> AisRecord:
    return AisRecord(NOW, NOW, 1, digest, source, 8, "binary", {}, message)


def test_records_are_looked_at_too() -> None:
    found = Observations(messages=3, records=[_record(0, 7, 1), _record(1, 7, 2), _record(2, 9, 2)])
    assert ReceptionWindow().apply(found) == {1}
    assert [r.message for r in found.records] == [0, 2]
    assert len(found.receptions) == 1


def test_a_type_19_is_one_transmission_in_two_tables() -> None:
    heard = [(0, 7, 1, 0), (1, 7, 2, 1)]
    found = Observations(messages=2, positions=rows(POSITION, heard, 19), statics=rows(STATIC, heard, 19))
    assert ReceptionWindow().apply(found) == {1}
    assert found.positions["message"].tolist() == found.statics["message"].tolist() == [0]
    assert found.receptions["message"].tolist() == [1]


def test_a_message_that_brings_one_transmission_twice_keeps_it_once_and_is_no_duplicate() -> None:
    heard = [(0, 7, 1, 0), (0, 7, 1, 0)]
    found = Observations(messages=1, positions=rows(POSITION, heard, 19), statics=rows(STATIC, heard, 19))
    assert ReceptionWindow().apply(found) == set()
    assert len(found.positions) == len(found.statics) == 1


def test_a_message_of_which_something_is_left_is_no_duplicate() -> None:
    found = positions((0, 7, 1, 0), (1, 7, 1, 0), (1, 8, 1, 0))
    assert ReceptionWindow().apply(found) == set()
    assert found.positions["message"].tolist() == [0, 1]


def test_what_is_stored_of_redelivered_messages_leaves_nothing_whatever_its_age() -> None:
    known = stored((0, 7, 1, 0))
    found = positions((0, 7, 1, 0), (1, 7, 1, 1), (2, 8, 1, 1), (3, 7, 2, 2))
    # Message 1 is no redelivery, and the first hearing of its own; 2 was never stored.
    assert ReceptionWindow().apply(found, {0, 2}, known) == {0, 3}
    assert found.positions["message"].tolist() == [1, 2]
    assert found.receptions["message"].tolist() == [3]


def test_of_redelivered_messages_that_are_alike_only_those_stored_are_left_out() -> None:
    found = positions((0, 7, 1, 0, 360), (1, 7, 1, 0, 180), (2, 7, 1, 0))
    known = stored((0, 7, 1, 0, 360))
    assert ReceptionWindow().apply(found, {0, 1, 2}, known) == {0}
    assert found.positions["message"].tolist() == [1, 2]


def test_a_redelivered_hearing_of_what_another_source_has_stored_is_a_reception() -> None:
    found = positions((0, 7, 2, 0))
    first = int(found.positions["time"][0]) - 2 * SECOND
    assert ReceptionWindow().apply(found, {0}, stored((0, 7, 2, 0))) == {0}
    assert found.receptions[["time", "source"]].tolist() == [(first, 2)]


def test_memory_is_bounded_by_time_and_by_the_cap() -> None:
    window = ReceptionWindow(cap=10)
    window.apply(positions(*((i, i, 1, 0) for i in range(100))))
    assert len(window) == 10
    window.apply(positions((0, 1000, 1, 31)))
    assert len(window) == 1
    window.apply(positions(*((i, 7, 1, 31, 60 * i) for i in range(100))))
    assert len(window) == 12
    window.apply(positions((0, 1000, 1, 62)))
    assert len(window) == 1
    with pytest.raises(ValueError, match="cap"):
        ReceptionWindow(cap=0)


_HEARD = st.lists(
    st.tuples(
        st.integers(0, 3), st.integers(1, 3), st.sampled_from([0, 0, 1, 9, 31]), st.sampled_from([0, 0, 1, 31, 62, 90])
    ),
    min_size=1,
    max_size=30,
)


def _stream(heard: list[tuple[int, int, int, int]], kinds: list[int]) -> list[Observations]:
    """One message each: a position, static data, both, or a record."""
    seconds = 0
    out = []
    for message, (digest, source, step, ago) in enumerate(heard):
        seconds += step
        one = [(message, digest, source, seconds, ago)]
        kind = kinds[digest]
        found = Observations(messages=message + 1)
        if kind in (0, 2):
            found.positions = rows(POSITION, one)
        if kind in (1, 2):
            found.statics = rows(STATIC, one)
        if kind == 3:
            at = NOW + seconds * SECOND
            found.records = [
                AisRecord(at + source - ago * SECOND, at, 574123456, digest, source, 8, "binary", {}, message)
            ]
        out.append(found)
    return out


def _oracle(heard: list[tuple[int, int, int, int]]) -> tuple[list[int], list[tuple[int, int]]]:
    """Messages kept, and (message, message first heard) of receptions: by looking back at everything."""
    kept: list[int] = []
    receptions: list[tuple[int, int]] = []
    at = np.cumsum([step for _, _, step, _ in heard]).tolist()
    time = [(at[i] - ago) * SECOND + source for i, (_, source, _, ago) in enumerate(heard)]
    for i, (digest, source, *_) in enumerate(heard):
        before = [k for k in kept if heard[k][0] == digest]
        firsts = [k for k in before if at[i] - at[k] <= 30 and abs(time[i] - time[k]) <= 30 * SECOND]
        if not firsts:
            kept.append(i)
            continue
        # The latest of all if it is that one; else that which is nearest by time.
        first = before[-1] if firsts[-1] == before[-1] else min(firsts, key=lambda k: (abs(time[i] - time[k]), time[k]))
        others = {heard[first][1], *(heard[m][1] for m, k in receptions if k == first)}
        if source not in others:
            receptions.append((i, first))
    return kept, receptions


@given(_HEARD, st.lists(st.integers(0, 3), min_size=4, max_size=4), st.data())
def test_any_batches_and_restarts_give_what_the_oracle_says(
    heard: list[tuple[int, int, int, int]], kinds: list[int], data: st.DataObject
) -> None:
    stream = _stream(heard, kinds)
    expected_kept, expected_receptions = _oracle(heard)
    window = ReceptionWindow()
    kept: set[int] = set()
    receptions: list[tuple[int, int, int, int]] = []
    duplicates: set[int] = set()
    stored: list[Table] = []
    at = 0
    while at < len(stream):
        size = data.draw(st.integers(1, 10))
        batch = concatenate([replace(one) for one in stream[at : at + size]])
        at += size
        duplicates |= window.apply(batch)
        for rest in (batch.positions, batch.statics):
            kept |= set(rest["message"].tolist())
            stored.append(_as_receptions(rest))
        kept |= {r.message for r in batch.records}
        recorded = [(r.time, r.received_at, r.transponder, r.digest, r.source, r.message) for r in batch.records]
        stored.append(table(RECEPTION, recorded))
        receptions += batch.receptions[["message", "digest", "time", "source"]].tolist()
        if data.draw(st.booleans()):
            window = ReceptionWindow()
            now = NOW + sum(step for _, _, step, _ in heard[:at]) * SECOND
            window.restore(np.concatenate([t[t["received_at"] >= now - 30 * SECOND] for t in stored]))
    seconds = (np.cumsum([step for _, _, step, _ in heard]) - [ago for *_, ago in heard]).tolist()
    assert sorted(kept) == expected_kept
    expected = [(m, heard[m][0], NOW + seconds[k] * SECOND + heard[k][1], heard[m][1]) for m, k in expected_receptions]
    assert _kept(receptions) == _kept(expected)
    assert duplicates == set(range(len(heard))) - kept


def _kept(receptions: list[tuple[int, int, int, int]]) -> dict[tuple[int, ...], int]:
    """As their table keeps them: of one transmission and receiver the first."""
    kept: dict[tuple[int, ...], int] = {}
    for message, *key in receptions:
        kept.setdefault(tuple(key), message)
    return kept


def _as_receptions(found: Table) -> Table:
    out = empty(RECEPTION, len(found))
    for name in RECEPTION.names or ():
        out[name] = found[name]
    return out


@settings(max_examples=300)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 30),
            st.integers(1, 3),
            st.sampled_from([0, 0, 0, 1, 1, 9, 31, -1, -40]),
            st.sampled_from([0, 0, 1, 31, 62, 90]),
            st.booleans(),
        ),
        min_size=1,
        max_size=60,
    ),
    st.lists(st.integers(0, 3), min_size=31, max_size=31),
    st.sampled_from([1, 2, 5, 20, 10_000]),
    st.booleans(),
    st.data(),
)
def test_batches_taken_in_bulk_leave_what_they_leave_row_by_row(
    heard: list[tuple[int, int, int, int, bool]], kinds: list[int], cap: int, falling: bool, data: st.DataObject
) -> None:
    bulk, one_by_one = ReceptionWindow(cap=cap), window_oracle.ReceptionWindow(cap=cap)
    seconds = message = at = 0
    singles = []
    for digest, source, step, ago, again in heard:
        seconds += step if falling else max(step, 0)
        message += not again  # else one more of the same message
        singles.append((message, digest, source, seconds, ago, kinds[digest]))
    while at < len(singles):
        part = singles[at : at + data.draw(st.integers(1, 30))]
        at += len(part)
        batches = [_mixed(part), _mixed(part)]
        known, redelivered = None, set()
        if data.draw(st.integers(0, 5)) == 0:
            known = stored(*((0, digest, who, s) for digest in range(4) for who in (1, 2) for s in range(3)))
            redelivered = {m for m, *_ in part if m % 2}
        assert bulk.apply(batches[0], redelivered, known) == one_by_one.apply(batches[1], redelivered, known)
        for name in ("positions", "statics", "receptions"):
            assert getattr(batches[0], name).tolist() == getattr(batches[1], name).tolist()
        assert batches[0].records == batches[1].records
        assert _remembered(bulk) == [*one_by_one._heard.items(), *one_by_one._earlier]


@pytest.mark.parametrize(
    ("cap", "parts"),
    [
        # At the cap the oldest gives way, and what it kept from being forgotten goes with it.
        (
            2,
            [[(1, 4, 1, 40, 0, 0), (2, 0, 1, 0, 0, 0), (2, 19, 1, 40, 0, 1), (3, 0, 1, 0, 0, 0)], [(4, 0, 1, 0, 0, 0)]],
        ),
        # What is out of the span behind one that is not stays when all are put in order.
        (
            20,
            [[(1, 3, 2, 40, 0, 0), (2, 6, 2, 0, 0, 0), (3, 4, 2, 1, 0, 0)], [(4, 8, 1, 32, 0, 3), (5, 4, 3, 41, 0, 1)]],
        ),
        # An earlier transmission counts only beside the latest: that may be forgotten, or not yet.
        (20, [[(1, 2, 2, 39, 0, 0), (2, 2, 1, 30, 90, 0)], [(3, 5, 2, 61, 0, 0), (4, 2, 2, 62, 0, 0)]]),
    ],
)
def test_what_a_clock_that_went_back_left_is_forgotten_in_bulk_as_row_by_row(
    cap: int, parts: list[list[tuple[int, ...]]]
) -> None:
    bulk, one_by_one = ReceptionWindow(cap=cap), window_oracle.ReceptionWindow(cap=cap)
    for part in parts:
        assert bulk.apply(_mixed(part)) == one_by_one.apply(_mixed(part))
        assert _remembered(bulk) == [*one_by_one._heard.items(), *one_by_one._earlier]


@settings(max_examples=300)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 8),
            st.integers(1, 3),
            st.sampled_from([0, 0, 1, 5, 9, 31, -1, -5, -40]),
            st.sampled_from([0, 0, 1, 31, 62, 90]),
            st.integers(0, 3),
        ),
        min_size=1,
        max_size=40,
    ),
    st.sampled_from([1, 2, 3, 20]),
    st.sets(st.integers(1, 39)),
)
@example([(0, 1, 265, 60, 0), (0, 1, 15, 0, 0), (0, 1, 20, 0, 0), (0, 1, -5, 90, 0)], 20, {1, 2, 3})
def test_what_comes_out_does_not_depend_on_batches_though_clocks_go_back(
    heard: list[tuple[int, int, int, int, int]], cap: int, cuts: set[int]
) -> None:
    seconds = np.cumsum([step for _, _, step, *_ in heard]).tolist()
    sent = [
        (message, digest, source, at, ago, kind)
        for message, ((digest, source, _, ago, kind), at) in enumerate(zip(heard, seconds, strict=True))
    ]
    told = []
    for ends in ([len(sent)], sorted({end for end in cuts if end < len(sent)} | {len(sent)})):
        window, duplicates, batches, start = ReceptionWindow(cap=cap), set(), [], 0
        for end in ends:
            batch = _mixed(sent[start:end])
            duplicates |= window.apply(batch)
            batches.append(batch)
            start = end
        out = concatenate(batches)
        told.append(
            (
                duplicates,
                [getattr(out, name).tolist() for name in ("positions", "statics", "receptions")],
                out.records,
                window.remembered(),
            )
        )
    assert told[0] == told[1]


def _remembered(window: ReceptionWindow) -> list[tuple[Any, ...]]:
    return [(tuple(np.frombuffer(key, np.int64).tolist()), heard) for key, heard in window.remembered()]


def _mixed(part: Sequence[tuple[int, ...]]) -> Observations:
    """Of kind 0 a position, 1 static data, 2 both, 3 a record; in arrival order."""
    found = Observations(messages=1000)
    by_kind = {kind: [one[:5] for one in part if one[5] in kinds] for kind, kinds in ((0, (0, 2)), (1, (1, 2)))}
    found.positions, found.statics = rows(POSITION, by_kind[0]), rows(STATIC, by_kind[1])
    for message, digest, source, seconds, ago, kind in part:
        if kind == 3:
            at = NOW + seconds * SECOND
            time = at + source - ago * SECOND
            found.records.append(AisRecord(time, at, 574123456, digest, source, 8, "binary", {}, message))
    return found
