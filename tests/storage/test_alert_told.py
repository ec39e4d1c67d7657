"""Who was told of an alert is told what becomes of it; and of what was not done to it nobody is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from alerting.desk.notify import ChannelSpec, notifications
from alerting.model import AlertState, Event, Severity, Transition, Verdict
from storage.acts import Said, close, resolve
from storage.writer import Store
from tests.storage.samples import T0, ask, batch, transition

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LOG, BOSS = ChannelSpec("log"), ChannelSpec("boss", min_severity=Severity.CRITICAL)
ALERT = "SELECT state, severity, retracted, resolved_at IS NULL FROM alerts"


@pytest.fixture
async def store(tables: str) -> AsyncIterator[Store]:
    async with Store(tables) as open_:
        yield open_


async def happen(store: Store, *moved: Transition) -> None:
    await store.commit(batch(Verdict(list(moved)), notifications(moved, [LOG, BOSS])))


def at(after: int, event: Event, severity: Severity = Severity.WARNING, **changes: Any) -> Transition:
    over = event in {Event.RESOLVED, Event.RETRACTED}
    state = AlertState.RESOLVED if over else AlertState.FIRING
    return transition(state, at=T0 + after, change=event, severity=severity, **changes)


def told(dsn: str, channel: str) -> list[tuple[str, str]]:
    """Events and the state that they tell of, oldest first."""
    return ask(dsn, "SELECT event, payload->>'state' FROM notifications WHERE channel = %s ORDER BY at", channel)


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("end", [Event.RETRACTED, Event.RESOLVED])
async def test_who_was_told_that_it_is_critical_is_told_what_became_of_it(
    store: Store, end: Event, at_once: bool
) -> None:
    life = [
        at(0, Event.FIRING),
        at(1, Event.ESCALATED, Severity.CRITICAL),
        at(2, Event.DEESCALATED),
        at(3, Event.REVISED),
        at(4, end),
    ]
    for some in [life] if at_once else [[one] for one in life]:
        await happen(store, *some)
    names = ["escalated", "deescalated", "revised", end.value]
    assert [event for event, _ in told(store.dsn, "boss")] == names
    assert [event for event, _ in told(store.dsn, "log")] == ["firing", *names]


async def test_who_was_told_nothing_is_not_told_that_it_is_over(store: Store) -> None:
    await happen(store, at(0, Event.FIRING), at(1, Event.REVISED))
    await happen(store, at(2, Event.RETRACTED))
    assert told(store.dsn, "boss") == []


async def test_what_people_have_ended_and_has_become_worse_is_open_again_and_its_end_is_told(store: Store) -> None:
    fired = at(0, Event.FIRING)
    await happen(store, fired)
    await resolve(store.dsn, fired.alert_id, Said("Lan", channels=[LOG, BOSS]))
    (by_hand,) = ask(store.dsn, "SELECT (extract(epoch FROM resolved_at) * 1e6)::bigint FROM alerts")[0]
    later = by_hand - T0
    await happen(store, at(later + 1, Event.ESCALATED, Severity.CRITICAL))
    assert ask(store.dsn, ALERT) == [("firing", "critical", False, True)]
    await happen(store, at(later + 2, Event.RESOLVED, Severity.CRITICAL))
    assert ask(store.dsn, ALERT) == [("resolved", "critical", False, False)]
    assert told(store.dsn, "log") == [
        ("firing", "firing"),
        ("resolved", "resolved"),
        ("escalated", "firing"),
        ("resolved", "resolved"),
    ]
    assert told(store.dsn, "boss") == [("escalated", "firing"), ("resolved", "resolved")]


async def test_what_people_have_ended_is_not_told_to_be_less_nor_to_be_over(store: Store) -> None:
    fired = at(0, Event.FIRING, Severity.CRITICAL)
    await happen(store, fired)
    await resolve(store.dsn, fired.alert_id, Said("Lan", channels=[LOG]))
    await happen(store, at(1, Event.DEESCALATED))
    await happen(store, at(2, Event.RESOLVED))
    assert told(store.dsn, "log") == [("firing", "firing"), ("resolved", "resolved")]
    assert ask(store.dsn, "SELECT change FROM alert_history ORDER BY seq") == [
        ("firing",),
        ("resolved",),
        ("deescalated",),
    ]


async def test_what_people_have_ended_stays_ended_if_it_is_revised_and_no_worse(store: Store) -> None:
    fired = at(0, Event.FIRING)
    await happen(store, fired)
    await resolve(store.dsn, fired.alert_id, Said("Lan"))
    await happen(store, at(1, Event.REVISED))
    assert ask(store.dsn, "SELECT state FROM alerts") == [("resolved",)]
    await happen(store, at(2, Event.REVISED, Severity.MAJOR))
    assert ask(store.dsn, "SELECT state FROM alerts") == [("firing",)]


async def test_of_what_is_closed_only_its_being_none_is_told(store: Store) -> None:
    fired = at(0, Event.FIRING)
    await happen(store, fired)
    await close(store.dsn, fired.alert_id, Said("Lan", channels=[LOG]))
    for one in (at(1, Event.ESCALATED, Severity.CRITICAL), at(2, Event.REVISED), at(3, Event.RESOLVED)):
        await happen(store, one)
    assert ask(store.dsn, "SELECT state FROM alerts") == [("closed",)]
    assert [event for event, _ in told(store.dsn, "log")] == ["firing", "resolved"]
    assert told(store.dsn, "boss") == []
    await happen(store, at(4, Event.RETRACTED))
    assert [event for event, _ in told(store.dsn, "log")][-1:] == ["resolved"]  # by hand, of today
    assert ("retracted", "resolved") in told(store.dsn, "log")
    assert [row for (row,) in ask(store.dsn, "SELECT change FROM alert_history ORDER BY seq")] == [
        *("firing", "resolved", "closed", "escalated", "revised", "retracted")
    ]


async def test_what_lasts_after_all_is_open_again_and_was_not_retracted(store: Store) -> None:
    await happen(store, at(0, Event.FIRING), at(1, Event.RETRACTED))
    assert ask(store.dsn, ALERT) == [("resolved", "warning", True, False)]
    await happen(store, at(2, Event.REVISED))
    assert ask(store.dsn, ALERT) == [("firing", "warning", False, True)]
    await happen(store, at(3, Event.RETRACTED))
    assert ask(store.dsn, ALERT) == [("resolved", "warning", True, False)]
    assert [event for event, _ in told(store.dsn, "log")] == ["firing", "retracted", "revised", "retracted"]


async def test_what_was_revised_and_is_over_stays_over(store: Store) -> None:
    await happen(store, at(0, Event.FIRING), at(1, Event.RESOLVED))
    over = transition(AlertState.RESOLVED, at=T0 + 2, change=Event.REVISED, value=9.0, severity=Severity.WARNING)
    await happen(store, over)
    assert ask(store.dsn, "SELECT state, value FROM alerts") == [("resolved", 9.0)]
    assert told(store.dsn, "log")[-1] == ("revised", "resolved")
