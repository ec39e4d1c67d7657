"""Late rows ask for the alerts of their subject and time; what comes of it and the end of the request are one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from alerting.model import AlertState, Event, Late, SubjectKind, Verdict
from storage.reviews import conclude, due
from storage.writer import Store
from tests.storage.samples import SECOND, SUBJECT, T0, ask, batch, transition

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DAY = 86_400 * SECOND


@pytest.fixture
async def store(tables: str) -> AsyncIterator[Store]:
    async with Store(tables) as open_:
        yield open_


def late(since: int, until: int, subject: int = SUBJECT.id) -> Verdict:
    return Verdict(late=[Late(SubjectKind.DEVICE, subject, since, until)])


async def test_late_rows_ask_for_the_alerts_of_their_subject_and_time_alone(store: Store) -> None:
    ended = transition(AlertState.RESOLVED, at=T0 + 60 * SECOND)
    await store.commit(batch(Verdict([transition(), ended])))
    elsewhere = [late(T0 + 3 * DAY, T0 + 3 * DAY), late(T0 - 3 * DAY, T0 - 2 * DAY), late(T0, T0, SUBJECT.id + 1)]
    for verdict in elsewhere:
        await store.commit(batch(verdict))
        assert await due(store.dsn, 0) == []
    await store.commit(batch(late(T0 + 10, T0 + 20)))
    [review] = await due(store.dsn, 0)
    assert (review.alert, review.asked, review.until) == (ended.alert_id, 1, T0 + 20)
    assert (review.kind, review.subject, review.started_at) == (SubjectKind.DEVICE, SUBJECT.id, T0)
    assert await due(store.dsn, 60) == []  # more may come


async def test_what_was_asked_again_meanwhile_stays_asked_for(store: Store) -> None:
    fired = transition()
    await store.commit(batch(Verdict([fired])))
    await store.commit(batch(late(T0, T0)))
    [review] = await due(store.dsn, 0)
    await store.commit(batch(late(T0 + 5, T0 + 5)))
    revised = transition(at=T0 + 9, change=Event.REVISED, value=4.0)
    assert not await conclude(store.dsn, review, revised)
    assert ask(store.dsn, "SELECT value FROM alerts") == [(3.6,)]
    [again] = await due(store.dsn, 0)
    assert (again.asked, again.until) == (2, T0 + 5)
    assert await conclude(store.dsn, again, revised)
    assert not await conclude(store.dsn, again, revised)
    assert ask(store.dsn, "SELECT value, revision FROM alerts") == [(4.0, 2)]
    assert await due(store.dsn, 0) == []


async def test_a_review_that_finds_nothing_ends_without_a_word(store: Store) -> None:
    await store.commit(batch(Verdict([transition()])))
    await store.commit(batch(late(T0, T0)))
    [review] = await due(store.dsn, 0)
    assert await conclude(store.dsn, review)
    assert ask(store.dsn, "SELECT change FROM alert_history") == [("firing",)]
    assert await due(store.dsn, 0) == []
