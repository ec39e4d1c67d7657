"""The outbox in the database keeps the contract of ``alerting.desk.outbox``, told by the fake that ships with it."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerting.desk.outbox import OutboxAway
from alerting.model import Notification, Severity, Verdict, notification_id
from storage.outbox import DatabaseOutbox
from storage.writer import Store
from tests.alerting.memory_outbox import MemoryOutbox
from tests.storage.samples import T0, ask, batch, connected, transition

if TYPE_CHECKING:
    from collections.abc import Sequence

FOREVER = 100_000.0
ALERTS = [transition(started_at=T0 + n) for n in range(3)]


def note(alert: int, channel: str, event: str, at: int = T0, **said: Any) -> Notification:
    id_ = ALERTS[alert].alert_id
    payload = {"alert": alert, "text": "ĐÃ", **said}
    return Notification(notification_id(id_, event, channel), id_, channel, event, at, payload)


#: What the events of each alert say of its severity, and of the worst it has had.
SEVERITIES: list[list[tuple[Any, Any]]] = [
    [("info", None), ("info", None), ("critical", None)],
    [("warning", None), ("info", "major"), ("info", "critical")],
    [(None, None), ("major", "info"), ("of another age", None)],
]
NOTES = [
    note(alert, channel, event, T0 + at, severity=SEVERITIES[alert][n][0], details={"worst_severity": worst})
    for alert, channel, (n, (event, at)) in itertools.product(
        range(3), ("log", "webhook"), enumerate((("firing", 0), ("acknowledged", 5), ("resolved", 5)))
    )
    for worst in [SEVERITIES[alert][n][1]]
]
COMMANDS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from(NOTES)),
        st.tuples(
            st.just("claim"),
            st.sampled_from(["log", "webhook"]),
            st.integers(1, 3),
            st.sampled_from([0.0, FOREVER]),
            st.sampled_from(list(Severity)),
        ),
        st.tuples(st.just("recent"), st.sampled_from(["log", "webhook"])),
        st.tuples(st.just("sent"), st.sampled_from(NOTES)),
        st.tuples(st.just("retry"), st.sampled_from(NOTES), st.sampled_from([0.0, FOREVER])),
        st.tuples(st.just("release"), st.sampled_from(NOTES)),
        st.tuples(st.just("abandon"), st.sampled_from(NOTES)),
    ),
    max_size=25,
)


async def run(command: tuple[Any, ...], outbox: DatabaseOutbox | MemoryOutbox) -> Sequence[Any] | None:
    match command:
        case ("claim", channel, limit, lease, at_least):
            claimed = await outbox.claim(channel, limit, lease, at_least)
            return [(n.id, n.alert_id, n.channel, n.event, n.payload, n.attempts) for n in claimed]
        case ("recent", channel):
            return [len(await outbox.recent(channel, 60.0))]
        case ("sent", one):
            await outbox.sent(one.id)
        case ("retry", one, delay):
            await outbox.retry(one.id, "no answer\0", delay)
        case ("release", one):
            await outbox.release(one.id)
        case ("abandon", one):
            await outbox.abandon(one.id, "refused")
    return None


def test_any_sequence_of_calls_gives_what_the_fake_gives(tables: str) -> None:
    async def play(store: Store, outbox: DatabaseOutbox, commands: list[tuple[Any, ...]]) -> None:
        ticks = itertools.count()
        fake = MemoryOutbox(clock=lambda: next(ticks) * 1e-6)
        for command in commands:
            if command[0] == "put":
                fake.put(command[1])
                await store.commit(batch(notifications=[command[1]]))
            else:
                assert await run(command, outbox) == await run(command, fake)

    with asyncio.Runner() as runner:
        store, outbox = Store(tables), DatabaseOutbox(tables)
        runner.run(outbox.open())
        runner.run(store.commit(batch(Verdict(ALERTS))))

        @settings(max_examples=30)
        @given(COMMANDS)
        def check(commands: list[tuple[Any, ...]]) -> None:
            with connected(tables) as connection:
                connection.execute("DELETE FROM notifications")
            runner.run(play(store, outbox, commands))

        try:
            check()
        finally:
            runner.run(store.close())
            runner.run(outbox.close())


@pytest.fixture
async def queued(tables: str) -> str:
    async with Store(tables) as store:
        await store.commit(batch(Verdict(ALERTS), [note(n, "log", "firing") for n in range(3)]))
    return tables


async def test_dispatchers_at_the_same_time_never_share_a_row(queued: str) -> None:
    async with DatabaseOutbox(queued) as one, DatabaseOutbox(queued) as two:
        claims = await asyncio.gather(*(outbox.claim("log", 1, FOREVER) for outbox in (one, two) * 4))
    ids = [n.id for claim in claims for n in claim]
    assert len(ids) == len(set(ids)) == 3


async def test_a_lease_that_ended_frees_the_row(queued: str) -> None:
    async with DatabaseOutbox(queued) as outbox:
        first = await outbox.claim("log", 3, FOREVER)
        assert await outbox.claim("log", 3, FOREVER) == []
        with connected(queued) as connection:
            connection.execute("UPDATE notifications SET leased_until = now() - interval '1 second'")
        assert {n.id for n in await outbox.claim("log", 3, FOREVER)} == {n.id for n in first}
        assert all(n.age_seconds >= 0 for n in first)


async def test_the_most_urgent_alert_goes_first_and_takes_what_was_before_it_along(tables: str) -> None:
    first, second = note(0, "log", "firing", severity="info"), note(1, "log", "firing", severity="warning")
    worse = note(1, "log", "escalated", T0 + 1, severity="critical", details={})
    async with Store(tables) as store, DatabaseOutbox(tables) as outbox:
        await store.commit(batch(Verdict(ALERTS), [first]))
        await store.commit(batch(notifications=[second]))
        [before] = await outbox.claim("log", 1, FOREVER)
        assert before.id == second.id  # the younger, and more severe
        await outbox.release(second.id)
        await store.commit(batch(notifications=[worse]))
        for one in (second, worse):
            [claimed] = await outbox.claim("log", 3, FOREVER, Severity.CRITICAL)
            assert claimed.id == one.id
            await outbox.sent(one.id)
        assert await outbox.claim("log", 3, FOREVER, Severity.CRITICAL) == []
        assert [n.id for n in await outbox.claim("log", 3, FOREVER)] == [first.id]


async def test_what_was_sent_lately_is_known_with_its_age(queued: str) -> None:
    async with DatabaseOutbox(queued) as outbox:
        for n in range(3):
            await outbox.sent(note(n, "log", "firing").id, "not to all" if n else None)
        with connected(queued) as connection:
            connection.execute(
                "UPDATE notifications SET sent_at = sent_at - '5 min'::interval WHERE payload->>'alert' = '1'"
            )
            connection.execute(
                "UPDATE notifications SET sent_at = sent_at - '1 h'::interval WHERE payload->>'alert' = '2'"
            )
        older, newer = await outbox.recent("log", 600.0)
        assert older - newer > 290
        assert newer >= 0
        assert await outbox.recent("webhook", 600.0) == []
    remarks = ask(queued, "SELECT state, last_error FROM notifications ORDER BY payload->'alert'")
    assert remarks == [("sent", None), ("sent", "not to all"), ("sent", "not to all")]


async def test_the_row_keeps_what_became_of_it(queued: str) -> None:
    async with DatabaseOutbox(queued) as outbox:
        await outbox.sent(note(0, "log", "firing").id)
        await outbox.retry(note(1, "log", "firing").id, "503", 60.0)
        await outbox.abandon(note(2, "log", "firing").id, "410 gone")
        await outbox.sent(UUID(int=1))  # unknown: no error
    found = ask(
        queued,
        "SELECT state, attempts, last_error, sent_at IS NOT NULL, next_attempt_at > now() FROM notifications"
        " ORDER BY payload->'alert'",
    )
    assert found == [
        ("sent", 1, None, True, False),
        ("queued", 1, "503", False, True),
        ("abandoned", 1, "410 gone", False, False),
    ]


async def test_listeners_hear_of_new_rows_once_they_are_committed(tables: str) -> None:
    async with Store(tables) as store, DatabaseOutbox(tables) as outbox:
        listening = outbox.listen()
        await anext(listening)
        await store.commit(batch(Verdict(ALERTS)))
        heard = asyncio.ensure_future(anext(listening))
        await store.commit(batch(notifications=[note(0, "log", "firing")]))
        await asyncio.wait_for(heard, 10)
        await listening.aclose()


async def test_a_database_that_is_away_is_said_so_and_comes_back(queued: str) -> None:
    async with DatabaseOutbox(psycopg.conninfo.make_conninfo(queued, port=1)) as nowhere:
        nowhere._pool.timeout = 0.5
        with pytest.raises(OutboxAway):
            await nowhere.claim("log", 1, 1.0)
    async with DatabaseOutbox(queued) as outbox:
        await outbox.claim("log", 1, 0.0)
        with connected(queued) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE application_name = 'haidang outbox' AND datname = current_database()"
            )
        assert len(await outbox.claim("log", 3, 0.0)) == 3
