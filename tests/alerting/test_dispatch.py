"""At least once, in order, and nobody waits for somebody else's channel."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from alerting import dispatch
from alerting.channels import open_channels
from alerting.channels.base import PermanentFailure, Policy, TemporaryFailure
from alerting.channels.settings import WebhookSettings
from alerting.desk.notify import ChannelSpec, notifications
from alerting.desk.outbox import OutboxAway, QueuedNotification
from alerting.dispatch import Dispatcher, Outcome
from alerting.model import AlertState, Notification
from tests.alerting.memory_outbox import MemoryOutbox
from tests.alerting.samples import ALL_EVENTS, START, transition
from tests.alerting.target import answer, drop, target

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from uuid import UUID

    from alerting.channels.base import Channel

Act = Literal["ok", "later", "never", "hang"]

AT_ONCE = Policy(first_delay_seconds=0.0, max_delay_seconds=0.0)


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Scripted:
    """A channel that does what the script of each (alert, event) says, then succeeds."""

    script: dict[tuple[UUID, str], list[Act]] = field(default_factory=dict)
    tried: list[QueuedNotification] = field(default_factory=list)
    taken: list[QueuedNotification] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    retry_after: float | None = None

    async def send(self, notification: QueuedNotification) -> None:
        self.tried.append(notification)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(0)
            acts = self.script.get((notification.alert_id, notification.event), [])
            act = acts.pop(0) if acts else "ok"
            if act == "later":
                raise TemporaryFailure("not\0 now", retry_after=self.retry_after)
            if act == "never":
                raise PermanentFailure("go away")
            if act == "hang":
                await asyncio.Event().wait()
            self.taken.append(notification)
        finally:
            self.at_once -= 1


@dataclass
class Watch:
    """Counts outcomes, and lets a test wait for one."""

    counts: Counter[tuple[str, Outcome]] = field(default_factory=Counter)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __call__(self, channel: str, outcome: Outcome) -> None:
        self.counts[channel, outcome] += 1
        self.changed.set()

    async def until(self, channel: str, outcome: Outcome, count: int = 1) -> None:
        async with asyncio.timeout(20):
            while self.counts[channel, outcome] < count:
                self.changed.clear()
                await self.changed.wait()


def rows(*channels: str, alerts: int = 1, events: Sequence[AlertState] = (AlertState.FIRING,)) -> list[Notification]:
    specs = [ChannelSpec(name, events=ALL_EVENTS) for name in channels]
    moved = [
        transition(state, start=START + number, after=order)
        for number in range(alerts)
        for order, state in enumerate(events)
    ]
    return notifications(moved, specs)


def filled(*notifications_: Notification, clock: Callable[[], float] | None = None) -> MemoryOutbox:
    outbox = MemoryOutbox(clock=clock or Clock())
    for row in notifications_:
        outbox.put(row)
    return outbox


async def reached(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  # what is looked at sets no event
            await asyncio.sleep(0)


@asynccontextmanager
async def running(
    outbox: MemoryOutbox,
    channels: Mapping[str, Channel],
    *,
    policy: Policy = AT_ONCE,
    poll_seconds: float = 0.005,
    grace_seconds: float = 5.0,
) -> AsyncIterator[tuple[Dispatcher, Watch]]:
    watch = Watch()
    dispatcher = Dispatcher(
        outbox,
        channels,
        policies=dict.fromkeys(channels, policy),
        poll_seconds=poll_seconds,
        grace_seconds=grace_seconds,
        rng=random.Random(1),
        on_outcome=watch,
    )
    async with asyncio.TaskGroup() as group:
        group.create_task(dispatcher.run())
        try:
            yield dispatcher, watch
        finally:
            dispatcher.stop()


async def test_it_marks_sent_only_after_the_channel_took_it() -> None:
    outbox = filled(*rows("a"))
    statuses = []

    class Looking(Scripted):
        async def send(self, notification: QueuedNotification) -> None:
            await super().send(notification)
            statuses.append(outbox.rows[notification.id].status)

    async with running(outbox, {"a": Looking()}) as (_, watch):
        await watch.until("a", Outcome.SENT)
    assert statuses == ["pending"]
    assert [(row.status, row.attempts, row.error) for row in outbox.rows.values()] == [("sent", 1, None)]


async def test_killed_between_send_and_mark_it_sends_again_with_the_same_id() -> None:
    clock = Clock()

    class Stuck(MemoryOutbox):
        async def sent(self, id: UUID, remark: str | None = None) -> None:  # noqa: A002
            await asyncio.Event().wait()

    outbox = Stuck(clock=clock)
    for row in rows("a"):
        outbox.put(row)
    channel = Scripted()
    task = asyncio.create_task(Dispatcher(outbox, {"a": channel}).run())
    await reached(lambda: bool(channel.taken))
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task

    clock.now += 3600  # the lease has ended
    again = MemoryOutbox(clock=clock, rows=outbox.rows)
    async with running(again, {"a": channel}) as (_, watch):
        await watch.until("a", Outcome.SENT)
    assert len(channel.taken) == 2
    assert len({one.id for one in channel.taken}) == 1


async def test_a_channel_that_hangs_holds_no_other() -> None:
    queued = rows("slow", "fast", alerts=50)
    slow = Scripted({(row.alert_id, row.event): ["hang"] for row in queued})
    async with running(filled(*queued), {"slow": slow, "fast": Scripted()}, grace_seconds=0.01) as (_, watch):
        await watch.until("fast", Outcome.SENT, 50)
        assert len(slow.tried) == slow.at_once == AT_ONCE.concurrency


async def test_sends_on_their_way_are_bounded_and_used() -> None:
    channel = Scripted()
    async with running(filled(*rows("a", alerts=40)), {"a": channel}, policy=Policy(concurrency=3)) as (_, watch):
        await watch.until("a", Outcome.SENT, 40)
    assert channel.most_at_once == 3


async def test_resolved_waits_for_firing_although_that_is_due_later() -> None:
    clock = Clock()
    firing, resolved = rows("a", events=[AlertState.FIRING, AlertState.RESOLVED])
    channel = Scripted({(firing.alert_id, "firing"): ["later"]}, retry_after=30.0)
    outbox = filled(resolved, firing, clock=clock)
    async with running(outbox, {"a": channel}) as (dispatcher, watch):
        await watch.until("a", Outcome.RETRIED)
        for _ in range(20):
            dispatcher.notify()
            await asyncio.sleep(0)
        assert [one.event for one in channel.tried] == ["firing"]
        clock.now += 31
        await watch.until("a", Outcome.SENT, 2)
    assert [one.event for one in channel.tried] == ["firing", "firing", "resolved"]


async def test_what_is_refused_for_good_is_kept_with_its_error_and_lets_the_next_pass() -> None:
    firing, resolved = rows("a", events=[AlertState.FIRING, AlertState.RESOLVED])
    channel = Scripted({(firing.alert_id, "firing"): ["never"]})
    outbox = filled(firing, resolved)
    with capture_logs() as logs:
        async with running(outbox, {"a": channel}) as (_, watch):
            await watch.until("a", Outcome.SENT)
    row = outbox.rows[firing.id]
    assert (row.status, row.attempts, row.error) == ("abandoned", 1, "go away")
    assert watch.counts == {("a", Outcome.REFUSED): 1, ("a", Outcome.SENT): 1}
    assert [log["event"] for log in logs] == ["notification.abandoned"]


async def test_it_gives_up_after_so_many_attempts() -> None:
    [row] = rows("a")
    channel = Scripted({(row.alert_id, row.event): ["later"] * 99})
    outbox = filled(row)
    policy = Policy(first_delay_seconds=0, max_delay_seconds=0, max_attempts=3)
    async with running(outbox, {"a": channel}, policy=policy) as (_, watch):
        await watch.until("a", Outcome.ABANDONED)
    assert len(channel.tried) == 3
    assert outbox.rows[row.id].attempts == 3
    assert outbox.rows[row.id].error == "not  now"  # printable: PostgreSQL takes no NUL
    assert watch.counts["a", Outcome.RETRIED] == 2


async def test_it_tries_once_however_old_and_then_gives_up() -> None:
    clock = Clock()
    old, fresh = rows("a", alerts=2)
    outbox = filled(old, fresh, clock=clock)
    clock.now += 7200
    channel = Scripted({(old.alert_id, old.event): ["later"]})
    async with running(outbox, {"a": channel}, policy=Policy(max_age_seconds=3600)) as (_, watch):
        await watch.until("a", Outcome.ABANDONED)
        await watch.until("a", Outcome.SENT)
    assert len(channel.tried) == 2


@pytest.mark.parametrize(("asked", "waits"), [(120.0, 120.0), (1e9, 3600.0), (None, 0.0)])
async def test_it_waits_as_long_as_the_target_asked_within_reason(asked: float | None, waits: float) -> None:
    [row] = rows("a")
    channel = Scripted({(row.alert_id, row.event): ["later"]}, retry_after=asked)
    clock = Clock()
    outbox = filled(row, clock=clock)
    async with running(outbox, {"a": channel}, poll_seconds=3600) as (_, watch):
        await watch.until("a", Outcome.RETRIED)
        assert outbox.rows[row.id].due_at - clock.now == waits


@given(st.integers(1, 10_000), st.floats(0.001, 100), st.floats(0.001, 1e5), st.integers())
def test_back_off_is_full_jitter_below_a_doubling_bound(failures: int, first: float, most: float, seed: int) -> None:
    policy = Policy(first_delay_seconds=first, max_delay_seconds=most)
    delay = policy.delay(failures, random.Random(seed))
    doubled = first
    for _ in range(min(failures - 1, 40)):
        doubled *= 2
    assert 0 <= delay <= min(most, doubled)


def test_back_off_uses_the_whole_range() -> None:
    rng = random.Random(3)
    delays = [Policy().delay(4, rng) for _ in range(1000)]
    assert min(delays) < 0.5
    assert 7.5 < max(delays) <= 8.0


async def test_a_poke_is_enough() -> None:
    outbox = filled()
    async with running(outbox, {"a": Scripted()}, poll_seconds=3600) as (dispatcher, watch):
        for _ in range(5):
            await asyncio.sleep(0)
        for row in rows("a", alerts=9):
            outbox.put(row)
        dispatcher.notify()
        await watch.until("a", Outcome.SENT, 9)


async def test_without_a_poke_the_poll_finds_it() -> None:
    outbox = filled()
    async with running(outbox, {"a": Scripted()}) as (_, watch):
        for row in rows("a"):
            outbox.put(row)
        await watch.until("a", Outcome.SENT)


async def test_an_outbox_away_is_waited_out_and_told_once() -> None:
    calls = 0

    class Flaky(MemoryOutbox):
        def _reach(self) -> None:
            nonlocal calls
            calls += 1
            if 2 <= calls <= 4:
                raise OutboxAway("gone")

    outbox = Flaky(clock=Clock())
    for row in rows("a"):
        outbox.put(row)
    channel = Scripted()
    with capture_logs() as logs:
        async with running(outbox, {"a": channel}, poll_seconds=3600) as (_, watch):
            await watch.until("a", Outcome.SENT)
    assert len(channel.tried) == 1
    assert [log["event"] for log in logs] == ["outbox.away", "outbox.back"]


async def test_stop_lets_what_is_on_its_way_end_and_be_marked() -> None:
    go = asyncio.Event()

    class Waiting(Scripted):
        async def send(self, notification: QueuedNotification) -> None:
            self.tried.append(notification)
            await go.wait()

    outbox = filled(*rows("a", alerts=4))
    channel = Waiting()
    async with running(outbox, {"a": channel}, policy=Policy(concurrency=2)) as (dispatcher, _):
        await reached(lambda: len(channel.tried) == 2)
        dispatcher.stop()
        await asyncio.sleep(0)
        go.set()
    assert Counter(row.status for row in outbox.rows.values()) == {"sent": 2, "pending": 2}


async def test_stop_gives_back_what_does_not_end_in_time() -> None:
    [row] = rows("a")
    outbox = filled(row)
    channel = Scripted({(row.alert_id, row.event): ["hang"]})
    async with running(outbox, {"a": channel}, grace_seconds=0.01):
        await reached(lambda: bool(channel.tried))
    kept = outbox.rows[row.id]
    assert (kept.status, kept.attempts) == ("pending", 0)
    [again] = await outbox.claim("a", 1, 10.0)  # due at once, no lease in the way
    assert again.id == row.id


async def test_stop_ends_although_the_outbox_is_away() -> None:
    outbox = filled(*rows("a"))
    outbox.away = True
    async with running(outbox, {"a": Scripted()}, grace_seconds=0.05), asyncio.timeout(20):
        await asyncio.sleep(0)


async def test_a_channel_that_does_not_bound_itself_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "_BACKSTOP_SECONDS", 0.0)
    [row] = rows("a")
    channel = Scripted({(row.alert_id, row.event): ["hang"]})
    outbox = filled(row)
    policy = Policy(timeout_seconds=0.01, first_delay_seconds=0, max_delay_seconds=0)
    async with running(outbox, {"a": channel}, policy=policy) as (dispatcher, watch):
        await watch.until("a", Outcome.RETRIED)
        assert dispatcher.failing == {"a"} or watch.counts["a", Outcome.SENT]
        await watch.until("a", Outcome.SENT)
        assert dispatcher.failing == frozenset()


async def test_a_bug_in_a_channel_is_not_swallowed() -> None:
    class Broken(Scripted):
        async def send(self, notification: QueuedNotification) -> None:
            raise ZeroDivisionError

    with pytest.RaisesGroup(pytest.RaisesGroup(ZeroDivisionError)):
        await Dispatcher(filled(*rows("a")), {"a": Broken()}).run()


async def test_rows_of_a_channel_not_configured_stay() -> None:
    outbox = filled(*rows("a", "gone"))
    async with running(outbox, {"a": Scripted()}) as (_, watch):
        await watch.until("a", Outcome.SENT)
    assert {row.notification.channel: row.status for row in outbox.rows.values()} == {"a": "sent", "gone": "pending"}


acts: st.SearchStrategy[list[Act]] = st.lists(st.sampled_from(["ok", "later", "never"]), max_size=4)


@settings(max_examples=60)
@given(data=st.data())
async def test_any_interleaving_sends_each_at_least_once_or_keeps_the_error_firing_before_resolved(
    data: st.DataObject,
) -> None:
    """Failures, an outbox that comes and goes, and kills at any instant with a restart after the leases."""
    clock = Clock()
    queued = rows("a", "b", alerts=data.draw(st.integers(1, 3)), events=[AlertState.FIRING, AlertState.RESOLVED])
    outbox = filled(*data.draw(st.permutations(queued)), clock=clock)
    script = {(row.channel, row.alert_id, row.event): data.draw(acts) for row in queued}
    channels: dict[str, Scripted] = {
        name: Scripted({key[1:]: steps for key, steps in script.items() if key[0] == name}) for name in "ab"
    }
    policy = Policy(first_delay_seconds=0, max_delay_seconds=0, max_attempts=3, concurrency=2)

    def restart() -> asyncio.Task[None]:
        made = Dispatcher(outbox, channels, policies={"a": policy, "b": policy}, poll_seconds=0.001)
        return asyncio.create_task(made.run())

    task = restart()
    for what in data.draw(st.lists(st.sampled_from(["run", "kill", "away", "back"]), max_size=8)):
        for _ in range(data.draw(st.integers(0, 5))):
            await asyncio.sleep(0)
        if what == "kill":
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            clock.now += 1000
            task = restart()
        elif what != "run":
            outbox.away = what == "away"
    outbox.away = False
    await reached(lambda: all(row.status != "pending" for row in outbox.rows.values()))
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task

    for id_, row in outbox.rows.items():
        taken = [one for one in channels[row.notification.channel].taken if one.id == id_]
        assert bool(row.status == "abandoned" and row.error) != bool(row.status == "sent" and taken)
    for channel in channels.values():
        order: dict[UUID, list[str]] = defaultdict(list)
        for one in channel.tried:
            order[one.alert_id].append(one.event)
        for events in order.values():
            assert events == sorted(events), "firing sorts before resolved"
            assert events[0] == "firing"
            assert events[-1] == "resolved"


async def test_through_a_real_webhook_that_fails_and_recovers_in_order() -> None:
    firing, resolved = rows("hook", events=[AlertState.FIRING, AlertState.RESOLVED])
    async with target() as hook:
        hook.steps.extend([answer(500), drop, answer(429, Retry_After="0"), answer(200), answer(503)])
        made = WebhookSettings.model_validate(
            {"name": "hook", "url": hook.url, "allow_networks": ["127.0.0.0/8"], "max_delay_seconds": 0.01}
        )
        outbox = filled(resolved, firing, clock=asyncio.get_running_loop().time)
        async with (
            open_channels([made]) as channels,
            running(outbox, channels, policy=made.policy) as (_, watch),
        ):
            await watch.until("hook", Outcome.SENT, 2)
    events = [seen.headers["X-Haidang-Event"] for seen in hook.seen]
    assert events == ["firing"] * 4 + ["resolved"] * 2
    assert len({seen.headers["Idempotency-Key"] for seen in hook.seen}) == 2
    assert watch.counts == {("hook", Outcome.RETRIED): 4, ("hook", Outcome.SENT): 2}
