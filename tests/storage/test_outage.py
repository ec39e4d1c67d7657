"""The server dies under the writer, at any moment: what was committed is there, once, and the rest is written later."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from alerting.desk.outbox import OutboxAway
from alerting.model import AlertState, RuleState, SubjectKind, Verdict
from storage.errors import CommitUnknown, DatabaseAway
from storage.migrate import upgrade
from storage.outbox import DatabaseOutbox
from storage.writer import Store
from tests.servers.frozen import frozen
from tests.storage.samples import SECOND, T0, batch, contents, positions, readings, transition

if TYPE_CHECKING:
    from services.postgres import Postgres
    from storage.batch import Batch, Committed
    from tests.conftest import Make

BATCHES = 60


def batches() -> list[Batch]:
    made = []
    for n in range(BATCHES):
        states = [AlertState.FIRING, AlertState.RESOLVED]
        verdict = Verdict(
            [transition(states[n % 2], at=T0 + n, started_at=T0 + n // 2)],
            [RuleState("flood", SubjectKind.DEVICE, 1, "k", {"n": n} if n % 5 else None)],
        )
        rows = positions({"time": T0 + n * SECOND, "digest": n}, {"time": T0 - n, "digest": n, "transponder": n + 1})
        made.append(batch(verdict, positions=rows, readings=readings((n, float(n)), (n // 2, float(n % 3)))))
    return made


async def commit_at_last(store: Store, one: Batch) -> tuple[Committed, int]:
    """As the pipeline does: hold the batch until the database has it. Also how often it was away."""
    away, unknown = 0, None
    while True:
        try:
            if unknown is not None and await store.resolve(unknown.token):
                return unknown.committed, away
            unknown = None
            return await store.commit(one), away
        except CommitUnknown as error:
            unknown = error
        except DatabaseAway:
            away += 1
            await asyncio.sleep(0.02)


async def test_a_server_killed_twice_leaves_what_one_never_killed_does(
    postgres_factory: Make[Postgres], migrated: str
) -> None:
    async with Store(migrated) as undisturbed:
        expected = [(await undisturbed.commit(one)) for one in batches()]
    server = postgres_factory()
    dsn = server.create_database("outage")
    upgrade(dsn)
    away = 0

    async def kill_at(event: asyncio.Event) -> None:
        await event.wait()
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)

    async with Store(dsn) as store, DatabaseOutbox(dsn) as outbox, asyncio.TaskGroup() as group:
        deaths = {15: asyncio.Event(), 40: asyncio.Event()}
        dying = {n: group.create_task(kill_at(event)) for n, event in deaths.items()}
        for n, one in enumerate(batches()):
            committed, times = await commit_at_last(store, one)
            away += times
            for part in ("positions", "readings"):
                assert getattr(committed, part).tolist() == getattr(expected[n], part).tolist()
            assert (committed.alerts_fired, committed.alerts_resolved, len(committed.conflicts)) == (
                expected[n].alerts_fired,
                expected[n].alerts_resolved,
                len(expected[n].conflicts),
            )
            if n in deaths:
                deaths[n].set()
            if n == 20:
                await dying[15]
        await dying[40]
        assert await outbox.claim("log", 1, 0.0) == []
    assert away > 0
    assert contents(dsn) == contents(migrated)


async def test_a_server_that_stands_still_is_given_up_when_its_time_is_over_and_found_again(
    postgres_factory: Make[Postgres],
) -> None:
    server = postgres_factory()
    dsn = server.create_database("still")
    upgrade(dsn)
    first, second = batch(positions=positions({})), batch(positions=positions({"digest": 2}))
    async with Store(dsn, statement_timeout=1.0) as store, DatabaseOutbox(dsn) as outbox:
        await store.commit(first)
        assert await outbox.claim("log", 1, 0.0) == []
        with frozen(server):
            async with asyncio.timeout(30):
                with pytest.raises((DatabaseAway, CommitUnknown)) as given_up:
                    await store.commit(second)
                with pytest.raises(OutboxAway):
                    await outbox.claim("log", 1, 0.0)
        unknown = given_up.value if isinstance(given_up.value, CommitUnknown) else None
        if unknown is None or not await store.resolve(unknown.token):
            assert (await store.commit(second)).positions.all()
        assert await outbox.claim("log", 1, 0.0) == []
    assert len(contents(dsn)["positions"]) == 2
