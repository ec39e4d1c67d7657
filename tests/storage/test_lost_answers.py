"""The answer to a COMMIT is lost: afterwards it is known whether it happened."""

from __future__ import annotations

import asyncio
import gc
import weakref
from uuid import uuid4

import psycopg
import pytest

from storage.errors import CommitUnknown, DatabaseAway
from storage.writer import Store
from tests.storage.cutter import Cutter
from tests.storage.samples import ask, batch, positions


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("stored", [0, 2], ids=["by COMMIT", "by the statement itself"])
async def test_a_commit_cut_on_its_way_is_resolved_after_reconnecting(tables: str, when: str, stored: int) -> None:
    async with Cutter(tables) as cutter, Store(cutter.dsn) as store:
        for digest in range(stored):
            await store.commit(batch(positions=positions({"digest": digest})))
        lost = batch(positions=positions({"digest": stored}))
        assert store.prepare(lost).once is (stored > 0)
        cutter.when = when  # type: ignore[assignment]  # one of the literals
        with pytest.raises(CommitUnknown) as caught:
            await store.commit(lost)
        assert caught.value.committed.positions.tolist() == [True]
        happened = when == "after"
        assert await store.resolve(caught.value.token) is happened
        assert cutter.cuts == 1
        assert ask(tables, "SELECT count(*) FROM positions") == [(stored + happened,)]
        again = await store.commit(lost)
        assert again.positions.tolist() == [not happened]


async def test_a_commit_still_under_way_is_waited_for(tables: str) -> None:
    token = uuid4()
    async with Store(tables) as store:
        with psycopg.connect(tables) as other:
            other.execute("INSERT INTO progress (instance, token) VALUES (%s, %s)", (store.instance, token))
            asked = asyncio.create_task(store.resolve(token))
            waiting = (
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )
            while ask(tables, waiting) != [(1,)]:  # noqa: ASYNC110  # the server tells nobody
                await asyncio.sleep(0)
            assert not asked.done()
            other.commit()
            assert await asked is True


async def test_what_another_commit_followed_or_no_commit_was_did_not_happen(tables: str) -> None:
    async with Store(tables) as store:
        assert await store.resolve(uuid4()) is False
        await store.commit(batch(positions=positions({})))
        assert await store.resolve(uuid4()) is False


async def test_no_server_at_all_is_away(tables: str) -> None:
    store = Store(psycopg.conninfo.make_conninfo(tables, port=1))
    with pytest.raises(DatabaseAway):
        await store.open()
    with pytest.raises(DatabaseAway):
        await store.commit(batch(positions=positions({})))
    with pytest.raises(DatabaseAway):
        await store.resolve(uuid4())


async def test_a_batch_that_could_not_be_written_is_gone_with_its_last_reference(tables: str) -> None:
    store = Store(psycopg.conninfo.make_conninfo(tables, port=1))
    rows = positions({})
    held = weakref.ref(rows)
    gc.disable()
    try:
        with pytest.raises(DatabaseAway):
            await store.commit(batch(positions=rows))
        del rows
        assert held() is None
    finally:
        gc.enable()
