"""Rate limits and quiet hours put off, and lose nothing: the dispatcher, its clock in the test's hand."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from alerting.channels.base import Policy, TemporaryFailure
from alerting.desk.notify import ChannelSpec, notifications
from alerting.desk.outbox import QueuedNotification, urgency
from alerting.desk.pace import QuietHours
from alerting.dispatch import Dispatcher
from alerting.model import AlertState, Event, Severity
from tests.alerting.memory_outbox import MemoryOutbox
from tests.alerting.samples import ALL_EVENTS, START, transition

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    from alerting.model import Transition

HOUR = 3600.0
STATES = (AlertState.FIRING, AlertState.ACKNOWLEDGED, AlertState.RESOLVED)
NIGHT = QuietHours(22 * HOUR, 6 * HOUR, 0.0, Severity.CRITICAL)


@dataclass
class World:
    """One channel that fails as often as told, its outbox, and what came of it."""

    policy: Policy
    now: float
    failures: dict[tuple[UUID, str], int] = field(default_factory=dict)
    tried: list[tuple[float, QueuedNotification]] = field(default_factory=list)
    taken: list[tuple[float, QueuedNotification]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.outbox = MemoryOutbox(clock=self.clock)

    def clock(self) -> float:
        return self.now

    async def send(self, notification: QueuedNotification) -> None:
        self.tried.append((self.now, notification))
        key = notification.alert_id, notification.event
        if self.failures.get(key, 0):
            self.failures[key] -= 1
            raise TemporaryFailure("not now")
        self.taken.append((self.now, notification))

    def queue(self, *moved: Transition, failures: int = 0) -> None:
        for row in notifications(moved, [ChannelSpec("a", events=ALL_EVENTS)]):
            self.failures[row.alert_id, row.event] = failures
            self.outbox.put(row)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Dispatcher]:
        dispatcher = Dispatcher(
            self.outbox,
            {"a": self},
            policies={"a": self.policy},
            poll_seconds=3600,
            rng=random.Random(1),
            clock=self.clock,
            monotonic=self.clock,
        )
        async with asyncio.TaskGroup() as group:
            group.create_task(dispatcher.run())
            try:
                yield dispatcher
            finally:
                dispatcher.stop()

    async def settle(self, dispatcher: Dispatcher) -> None:
        """All that may be done at this time is done: several rounds of the loop without a change."""
        quiet, seen = 0, -1
        while quiet < 15:
            dispatcher.notify()
            await asyncio.sleep(0)
            quiet = quiet + 1 if len(self.tried) == seen else 0
            seen = len(self.tried)

    @property
    def told(self) -> list[str]:
        return [one.event for _, one in self.taken]


def life(number: int, severity: Severity) -> list[Transition]:
    return [transition(state, start=START + number, after=n, severity=severity) for n, state in enumerate(STATES)]


#: Alerts, each with how often it fails, and seconds until the next.
Step = tuple[list[tuple[Severity, int]], float]
ALERTS = st.lists(st.tuples(st.sampled_from(list(Severity)), st.integers(0, 2)), max_size=4)
STEPS = st.lists(st.tuples(ALERTS, st.sampled_from([0.5, 10.0, 59.5, 61.0, 400.0])), max_size=10)


def held_to(per_minute: int, at: list[float]) -> bool:
    return all(sum(1 for other in at if one <= other < one + 60) <= per_minute for one in at)


@settings(max_examples=60)
@given(
    per_minute=st.integers(1, 5),
    burst=st.none() | st.integers(1, 5),
    below=st.sampled_from([Severity.MAJOR, Severity.CRITICAL]),
    steps=STEPS,
)
async def test_nothing_is_lost_every_alert_keeps_its_order_and_both_limits_hold(
    per_minute: int, burst: int | None, below: Severity, steps: list[Step]
) -> None:
    """Alerts of every severity, sends that fail and are tried again, restarts; an hour of the day is quiet."""
    policy = Policy(
        first_delay_seconds=0,
        max_delay_seconds=0,
        rate_per_minute=per_minute,
        burst=burst,
        quiet=(QuietHours(HOUR, 2 * HOUR, 0.0, below),),
    )
    world = World(policy, now=0.8 * HOUR)
    number = 0
    for alerts, pause in [*steps, ([], 0.0)]:
        async with world.running() as dispatcher:  # a restart at every step
            for severity, failures in alerts:
                number += 1
                world.queue(*life(number, severity), failures=failures)
            await world.settle(dispatcher)
            world.now += pause
            await world.settle(dispatcher)
    async with world.running() as dispatcher:
        for _ in range(2000):
            if len(world.taken) == len(world.outbox.rows):
                break
            world.now += 60.0
            await world.settle(dispatcher)

    assert {one.id for _, one in world.taken} == set(world.outbox.rows)
    assert len(world.taken) == len(world.outbox.rows) == 3 * number
    assert held_to(per_minute, [at for at, _ in world.taken])
    for at, one in world.tried:
        assert not HOUR <= at < 2 * HOUR or urgency(one.payload) >= below.rank
    order: dict[UUID, list[str]] = defaultdict(list)
    for _, one in world.taken:
        order[one.alert_id].append(one.event)
    assert all(events == [state.value for state in STATES] for events in order.values())


@settings(max_examples=40)
@given(per_minute=st.integers(1, 6), steps=STEPS)
async def test_within_one_run_tries_that_fail_count_as_well(per_minute: int, steps: list[Step]) -> None:
    policy = Policy(first_delay_seconds=0, max_delay_seconds=0, rate_per_minute=per_minute)
    world = World(policy, now=0.0)
    async with world.running() as dispatcher:
        for number, (alerts, pause) in enumerate(steps):
            for order, (severity, failures) in enumerate(alerts):
                world.queue(*life(100 * number + order, severity), failures=failures)
            await world.settle(dispatcher)
            world.now += pause
            await world.settle(dispatcher)
    assert held_to(per_minute, [at for at, _ in world.tried])


async def test_the_most_severe_go_first_when_not_all_may() -> None:
    world = World(Policy(rate_per_minute=1), now=0.0)
    for number, severity in enumerate([Severity.INFO, Severity.CRITICAL, Severity.WARNING]):
        world.queue(transition(start=START + number, severity=severity))
    async with world.running() as dispatcher:
        for _ in range(3):
            await world.settle(dispatcher)
            world.now += 60.0
    assert [one.payload["severity"] for _, one in world.taken] == ["critical", "warning", "info"]
    assert [at for at, _ in world.taken] == [0.0, 60.0, 120.0]


async def test_in_quiet_hours_what_becomes_critical_is_told_with_all_before_it_and_to_its_end() -> None:
    world = World(Policy(quiet=(NIGHT,)), now=23 * HOUR)
    firing = transition(severity=Severity.WARNING)
    worse = replace(firing, at=firing.at + 1, severity=Severity.CRITICAL, change=Event.ESCALATED)
    over = replace(
        firing,
        at=firing.at + 2,
        state=AlertState.RESOLVED,
        severity=Severity.INFO,
        details={"worst_severity": "critical"},
    )
    async with world.running() as dispatcher:
        for moved, told in ((firing, 0), (worse, 2), (over, 3)):
            world.queue(moved)
            await world.settle(dispatcher)
            assert len(world.taken) == told
    assert world.told == ["firing", "escalated", "resolved"]


async def test_what_began_and_ended_in_quiet_hours_is_told_in_order_at_their_end() -> None:
    world = World(Policy(quiet=(NIGHT,)), now=23 * HOUR)
    async with world.running() as dispatcher:
        world.queue(*life(0, Severity.MAJOR))
        world.now = 30 * HOUR - 1
        await world.settle(dispatcher)
        assert world.tried == []
        world.now = 30 * HOUR
        await world.settle(dispatcher)
    assert world.told == ["firing", "acknowledged", "resolved"]


async def test_quiet_hours_do_not_age_what_waits_in_them() -> None:
    policy = Policy(quiet=(NIGHT,), max_age_seconds=HOUR, first_delay_seconds=0, max_delay_seconds=0)
    world = World(policy, now=22 * HOUR)
    world.queue(transition(), failures=1)
    async with world.running() as dispatcher:
        world.now = 30 * HOUR
        await world.settle(dispatcher)
    assert world.told == ["firing"]
    assert len(world.tried) == 2


async def test_the_remark_of_a_channel_stays_with_what_it_took() -> None:
    class Remarking(World):
        async def send(self, notification: QueuedNotification) -> str:  # type: ignore[override]
            await super().send(notification)
            return "not to everybody"

    world = Remarking(Policy(), now=0.0)
    world.queue(transition())
    with capture_logs() as logs:
        async with world.running() as dispatcher:
            await world.settle(dispatcher)
    assert [(log["event"], log["remark"]) for log in logs] == [("notification.sent_in_part", "not to everybody")]
    [row] = world.outbox.rows.values()
    assert (row.status, row.error) == ("sent", "not to everybody")
