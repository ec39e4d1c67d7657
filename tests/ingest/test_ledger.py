"""Every message has exactly one fate, and the sum balances, whatever came of its parts."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from decoders.identity import source_id
from decoders.records import READING, Observations, Reason, Reject, empty
from ingest.ledger import FATES, Fate, Ledger, fates, settle
from storage.batch import Committed

NONE = np.zeros(0, np.bool_)
S = source_id("s")
NAMES = {S: "s"}


def committed(readings: list[bool], rejects: list[bool]) -> Committed:
    return Committed(NONE, np.array(readings, np.bool_), NONE, NONE, NONE, np.array(rejects, np.bool_))


def observations(
    messages: int,
    readings: list[int],
    rejects: list[int],
    pending: list[int] | None = None,
    **more: object,
) -> Observations:
    table = empty(READING, len(readings))
    table["message"] = readings
    out = Observations(messages=messages, readings=table, pending=pending or [])
    out.rejects = [Reject(m, Reason.BAD_JSON, b"", 0, S, "t") for m in rejects]
    for name, value in more.items():
        setattr(out, name, value)
    return out


def test_the_gravest_part_of_a_message_is_its_fate() -> None:
    obs = observations(5, readings=[0, 0, 1, 2, 2], rejects=[2])
    found = fates(obs, committed([True, False, False, True, True], [True]), duplicates=[4])
    assert [Fate(f) for f in found] == [
        Fate.STORED,
        Fate.DUPLICATE,
        Fate.QUARANTINED,
        Fate.IGNORED,
        Fate.DUPLICATE,
    ]


def test_a_refused_message_seen_again_is_a_duplicate() -> None:
    obs = observations(1, [], [0])
    assert fates(obs, committed([], [False]), [])[0] == Fate.DUPLICATE


def test_parts_of_one_message_share_its_fate_across_batches() -> None:
    ledger = Ledger()
    ledger.received("s", 3)
    first = observations(2, [], [], pending=[0, 1])
    settle(ledger, first, fates(first, committed([], []), []), [("s", 0, 2)], NAMES, [])
    assert ledger.account("s").in_flight == 3
    second = observations(1, [0], [], released=[(0, S, 2)])
    settle(ledger, second, fates(second, committed([True], []), []), [("s", 0, 1)], NAMES, [])
    assert ledger.account("s").stored == 3
    assert ledger.account("s").in_flight == 0


def test_fragments_that_waited_in_vain_end_in_quarantine() -> None:
    ledger = Ledger()
    ledger.received("s", 1)
    first = observations(1, [], [], pending=[0])
    settle(ledger, first, fates(first, committed([], []), []), [("s", 0, 1)], NAMES, [])
    expired = observations(0, [], [-1])
    settle(ledger, expired, fates(expired, committed([], [True]), []), [], NAMES, [True])
    assert ledger.account("s").quarantined == 1
    assert ledger.account("s").in_flight == 0


@given(
    st.integers(1, 12).flatmap(
        lambda n: st.tuples(
            st.just(n),
            st.lists(st.tuples(st.integers(0, n - 1), st.booleans()), max_size=20),
            st.lists(st.tuples(st.integers(0, n - 1), st.booleans()), max_size=8),
            st.lists(st.integers(0, n - 1), max_size=8),
            st.sets(st.integers(0, n - 1)),
        )
    )
)
def test_the_ledger_balances_once_all_that_was_pending_is_released(
    case: tuple[int, list[tuple[int, bool]], list[tuple[int, bool]], list[int], set[int]],
) -> None:
    messages, rows, refused, pending, duplicates = case
    ledger = Ledger()
    ledger.received("s", messages)
    rows.sort(key=lambda r: r[0])
    obs = observations(messages, [m for m, _ in rows], [m for m, _ in refused], pending)
    done = committed([new for _, new in rows], [new for _, new in refused])
    flags = [new for _, new in refused]
    settle(ledger, obs, fates(obs, done, duplicates), [("s", 0, messages)], NAMES, flags)
    account = ledger.account("s")
    assert 0 <= account.in_flight <= len(set(pending))
    for _ in pending:
        expired = observations(0, [], [-1])
        settle(ledger, expired, fates(expired, committed([], [True]), []), [], NAMES, [True])
    assert account.in_flight == 0
    assert account.received == sum(getattr(account, f) for f in FATES) == messages
