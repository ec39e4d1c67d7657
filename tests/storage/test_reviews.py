"""Late rows ask for the alerts of their subject and time; what comes of it and the end of the request are one."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest

from alerting.model import AlertState, Event, Late, RuleState, Subject, SubjectKind, Verdict, alert_id
from alerting.rejudging.case import Found
from decoders.records import READING, table
from storage.acts import Said, acknowledge
from storage.errors import DatabaseAway
from storage.reviews import Request, Review, conclude, due, load
from storage.times import moment
from storage.writer import Store
from tests.storage.samples import METRIC, SECOND, SOURCE, SUBJECT, T0, ask, batch, full, positions, transition

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from storage.batch import Batch

DAY = 86_400 * SECOND
REQUEST = Request("flood", "0123456789ab", SubjectKind.DEVICE, SUBJECT.id)


@pytest.fixture
async def store(tables: str) -> AsyncIterator[Store]:
    async with Store(tables) as open_:
        yield open_


_NUMBERS = itertools.count(1)


def late(since: int, until: int, subject: int = SUBJECT.id, number: int | None = None) -> Batch:
    """Two readings of a device that came late; new ones, unless their ``number`` is that of others."""
    number = next(_NUMBERS) if number is None else number
    found = table(READING, [(time, T0, subject, number, SOURCE, 1.0, n) for n, time in enumerate((since, until))])
    return batch(Verdict(late=[Late(SubjectKind.DEVICE, subject, since, until)]), readings=found)


def late_fixes(*vessels: int) -> Batch:
    """A position of each vessel that came late."""
    found = positions(*({"transponder": vessel, "time": T0, "digest": next(_NUMBERS)} for vessel in vessels))
    return batch(Verdict(late=[Late(SubjectKind.TRANSPONDER, vessel, T0, T0) for vessel in vessels]), positions=found)


def kept(state: dict[str, Any] | None, key: str = METRIC, rule: str = "flood") -> RuleState:
    return RuleState(rule, SubjectKind.DEVICE, SUBJECT.id, key, state)


async def asked(store: Store) -> Review:
    [request] = await due(store.dsn, 0)
    review = await load(store.dsn, request, 0)
    assert review is not None
    return review


async def test_late_rows_ask_for_the_alerts_of_their_subject_and_time_alone(store: Store) -> None:
    ended = transition(AlertState.RESOLVED, at=T0 + 60 * SECOND)
    await store.commit(batch(Verdict([transition(), ended])))
    elsewhere = [late(T0 + 3 * DAY, T0 + 3 * DAY), late(T0 - 3 * DAY, T0 - 2 * DAY), late(T0, T0, SUBJECT.id + 1)]
    for rows in elsewhere:
        await store.commit(rows)
        assert await due(store.dsn, 0) == []
    await store.commit(late(T0 + 10, T0 + 20))
    assert await due(store.dsn, 0) == [REQUEST]
    review = await asked(store)
    assert review.asked == {ended.alert_id: 1}
    [alert] = review.alerts
    assert (alert.id, alert.started_at, alert.state) == (ended.alert_id, T0, AlertState.RESOLVED)
    assert await due(store.dsn, 60) == []  # more may come
    assert await load(store.dsn, REQUEST, 60) is None


@pytest.mark.parametrize(
    ("ages", "looked_at"),
    [((90, 70, 61), 3), ((119, 70, 10), 0), ((121, 70, 10), 2), ((121, 10, 10), 1), ((59, 59, 59), 0)],
)
async def test_the_alerts_of_one_rule_and_subject_are_looked_at_together_while_late_rows_go_on_coming(
    store: Store, ages: tuple[int, ...], looked_at: int
) -> None:
    starts = [T0 + n * 60 * SECOND for n in range(len(ages))]
    ids = [alert_id("flood", SUBJECT, METRIC, start) for start in starts]
    for id_, start in zip(ids, starts, strict=True):
        fired = transition(alert_id=id_, started_at=start)
        ended = transition(AlertState.RESOLVED, alert_id=id_, started_at=start, at=start + 30 * SECOND)
        await store.commit(batch(Verdict([fired, ended])))
    await store.commit(late(T0, T0 + 9 * SECOND))
    for id_, age in zip(ids, ages, strict=True):
        put = f"UPDATE alert_reviews SET asked_at = now() - interval '{age} min' WHERE alert_id = '{id_}' RETURNING 1"
        assert ask(store.dsn, put) == [(1,)]
    assert await due(store.dsn, 3600) == ([REQUEST] if looked_at else [])
    if looked_at:
        review = await load(store.dsn, REQUEST, 3600)
        assert review is not None
        assert set(review.asked) == set(ids[:looked_at])


async def test_rows_that_were_there_already_ask_for_nothing_however_often_they_come(store: Store) -> None:
    await store.commit(batch(Verdict([transition()])))
    await store.commit(late(T0 + 10, T0 + 20, number=-1))
    for _ in range(3):
        await store.commit(late(T0 + 10, T0 + 20, number=-1))
    assert ask(store.dsn, "SELECT asked FROM alert_reviews") == [(1,)]
    await store.commit(late(T0 + 10, T0 + 30, number=-1))
    assert ask(store.dsn, "SELECT asked, until FROM alert_reviews") == [(2, moment(T0 + 30))]


async def test_late_rows_of_one_vessel_ask_for_alerts_that_name_it_beside_another(store: Store) -> None:
    lesser = Subject(SubjectKind.TRANSPONDER, 574_000_001, "574000001")
    named = {"partners": ["574000001", "574000002"]}
    met = transition(alert_id=alert_id("met", lesser, "k", T0), subject=lesser, rule_id="met", key="k", details=named)
    await store.commit(batch(Verdict([transition(), met])))
    for vessel, asks in ((574_000_003, 0), (574_000_002, 1), (574_000_001, 1)):
        await store.commit(late_fixes(vessel))
        assert len(await due(store.dsn, 0)) == asks
    assert await due(store.dsn, 0) == [Request("met", "0123456789ab", SubjectKind.TRANSPONDER, lesser.id)]
    await store.commit(late_fixes(574_000_001, 574_000_002))
    assert ask(store.dsn, "SELECT asked FROM alert_reviews") == [(3,)]


async def test_what_was_asked_again_meanwhile_stays_asked_for(store: Store) -> None:
    await store.commit(batch(Verdict([transition()])))
    await store.commit(late(T0, T0))
    review = await asked(store)
    await store.commit(late(T0 + 5, T0 + 5))
    found = Found([transition(at=T0 + 9, change=Event.REVISED, value=4.0)], states=[kept({"n": 1})])
    assert not await conclude(store.dsn, review, found, T0)
    assert ask(store.dsn, "SELECT value FROM alerts") == [(3.6,)]
    again = await asked(store)
    assert list(again.asked.values()) == [2]
    assert await conclude(store.dsn, again, found, T0)
    assert not await conclude(store.dsn, again, found, T0)
    assert ask(store.dsn, "SELECT value, revision FROM alerts") == [(4.0, 2)]
    assert await due(store.dsn, 0) == []


async def test_what_people_have_done_meanwhile_is_looked_at_once_more(store: Store) -> None:
    fired = transition()
    await store.commit(batch(Verdict([fired])))
    await store.commit(late(T0, T0))
    review = await asked(store)
    await acknowledge(store.dsn, fired.alert_id, Said("Lan"))
    assert not await conclude(store.dsn, review, Found(states=[]), T0)
    again = await asked(store)
    assert again.alerts[0].state is AlertState.ACKNOWLEDGED
    assert await conclude(store.dsn, again, Found(states=[]), T0)


async def test_a_review_that_finds_nothing_ends_without_a_word(store: Store) -> None:
    await store.commit(batch(Verdict([transition()], [kept({"n": 1})])))
    await store.commit(late(T0, T0))
    assert await conclude(store.dsn, await asked(store), Found(), T0)
    assert ask(store.dsn, "SELECT change FROM alert_history") == [("firing",)]
    assert ask(store.dsn, "SELECT state FROM rule_state") == [({"n": 1},)]
    assert ask(store.dsn, "SELECT count(*) FROM rule_reviews") == [(0,)]
    assert await due(store.dsn, 0) == []


async def test_what_the_engine_goes_on_from_is_committed_with_what_is_said(store: Store) -> None:
    fired = transition()
    others = [kept({"n": 5}, rule="other"), kept({"n": 6}, key="spare")]
    await store.commit(batch(Verdict([fired], [kept({"n": 1}), *others])))
    await store.commit(late(T0, T0))
    said = [transition(AlertState.RESOLVED, at=T0 + 9, change=Event.RETRACTED)]
    found = Found(said, [kept({"n": 2})], stands={fired.alert_id: ()})
    review = await asked(store)
    for full_table in ("alert_history", "rule_state", "rule_reviews"):  # all of it, or nothing
        with full(store.dsn, full_table), pytest.raises(DatabaseAway, match="no room"):
            await conclude(store.dsn, review, found, T0 + 9)
        assert await asked(store) == review
    assert await conclude(store.dsn, await asked(store), found, T0 + 9)
    states = "SELECT rule_id, key, state FROM rule_state ORDER BY 1, 2"
    assert ask(store.dsn, states) == [("flood", METRIC, {"n": 2}), ("other", METRIC, {"n": 5})]
    await store.commit(late(T0, T0))
    review = await asked(store)  # of what was retracted too: what comes later yet may show that it was one after all
    assert (review.cut, review.stands) == (T0 + 9, {fired.alert_id: []})
    assert review.alerts[0].retracted


async def test_of_some_keys_alone_the_states_of_others_stay(store: Store) -> None:
    await store.commit(batch(Verdict([transition()], [kept({"n": 1}), kept({"n": 6}, key="spare")])))
    await store.commit(late(T0, T0))
    assert await conclude(store.dsn, await asked(store), Found(states=[], keys=frozenset({METRIC})), T0)
    assert ask(store.dsn, "SELECT key, state FROM rule_state") == [("spare", {"n": 6})]
