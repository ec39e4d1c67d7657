"""An alert has one life: it escalates, is revised, is retracted, and its history says so once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from alerting.model import AlertState, Event, Severity, Transition, Verdict
from storage.readers import Said, acknowledge, resolve
from storage.writer import Store
from tests.storage.samples import T0, ask, batch, transition

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

HISTORY = "SELECT seq, change, from_state, to_state, actor FROM alert_history ORDER BY seq"


@pytest.fixture
async def store(tables: str) -> AsyncIterator[Store]:
    async with Store(tables) as open_:
        yield open_


def change(event: Event, after: int, **changes: Any) -> Transition:
    return transition(AlertState.FIRING, at=T0 + after, change=event, **changes)


def retracted(after: int) -> Transition:
    return transition(AlertState.RESOLVED, at=T0 + after, change=Event.RETRACTED, details={"reason": "late_data"})


async def test_an_alert_escalates_and_de_escalates_and_stays_one(store: Store) -> None:
    worse = change(Event.ESCALATED, 10, severity=Severity.CRITICAL, value=4.6, details={"step": 3})
    better = change(Event.DEESCALATED, 20, severity=Severity.MAJOR, value=3.9)
    committed = await store.commit(batch(Verdict([transition(), worse, better])))
    assert (committed.alerts_fired, committed.alerts_changed, committed.alerts_resolved) == (1, 2, 0)
    assert ask(store.dsn, "SELECT state, severity, value, revision FROM alerts") == [("firing", "major", 3.9, 3)]
    assert ask(store.dsn, HISTORY) == [
        (1, "firing", None, "firing", "engine"),
        (2, "escalated", "firing", "firing", "engine"),
        (3, "deescalated", "firing", "firing", "engine"),
    ]
    [(details,)] = ask(store.dsn, "SELECT details FROM alert_history WHERE seq = 2")
    assert details["step"] == 3
    assert (details["from_severity"], details["severity"], details["value"]) == ("major", "critical", 4.6)


async def test_a_change_that_comes_again_is_made_once(store: Store) -> None:
    worse = change(Event.ESCALATED, 10, severity=Severity.CRITICAL)
    await store.commit(batch(Verdict([transition(), worse])))
    again = await store.commit(batch(Verdict([transition(), worse])))
    assert (again.alerts_fired, again.alerts_changed) == (0, 0)
    assert ask(store.dsn, "SELECT revision FROM alerts") == [(2,)]


async def test_what_was_acknowledged_wants_to_be_seen_anew_once_it_escalates(store: Store) -> None:
    fired = transition()
    await store.commit(batch(Verdict([fired])))
    await acknowledge(store.dsn, fired.alert_id, Said("duty officer"))
    await store.commit(batch(Verdict([change(Event.REVISED, 5, value=3.7)])))
    assert ask(store.dsn, "SELECT state, value FROM alerts") == [("acknowledged", 3.7)]
    await store.commit(batch(Verdict([change(Event.ESCALATED, 10, severity=Severity.CRITICAL)])))
    assert ask(store.dsn, "SELECT state FROM alerts") == [("firing",)]
    await store.commit(batch(Verdict([transition(AlertState.RESOLVED, at=T0 + 20)])))
    assert [row[1:4] for row in ask(store.dsn, HISTORY)] == [
        ("firing", None, "firing"),
        ("acknowledged", "firing", "acknowledged"),
        ("revised", "acknowledged", "acknowledged"),
        ("escalated", "acknowledged", "firing"),
        ("resolved", "firing", "resolved"),
    ]


async def test_an_alert_is_retracted_once_also_after_its_end(store: Store) -> None:
    fired = transition()
    await store.commit(batch(Verdict([fired])))
    await resolve(store.dsn, fired.alert_id, Said("duty officer"))
    for expected in (1, 0):
        committed = await store.commit(batch(Verdict([retracted(30)])))
        assert committed.alerts_resolved == expected
    assert ask(store.dsn, "SELECT state, retracted, resolved_by FROM alerts") == [("resolved", True, "duty officer")]
    assert ask(store.dsn, HISTORY)[-1] == (3, "retracted", "resolved", "resolved", "engine")


async def test_fired_changed_and_retracted_in_one_batch(store: Store) -> None:
    changes = [transition(), change(Event.REVISED, 5, value=1.0), retracted(7)]
    committed = await store.commit(batch(Verdict(changes)))
    assert (committed.alerts_fired, committed.alerts_changed, committed.alerts_resolved) == (1, 1, 1)
    assert [row[1] for row in ask(store.dsn, HISTORY)] == ["firing", "revised", "retracted"]
