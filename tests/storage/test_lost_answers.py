"""The answer to a COMMIT is lost: afterwards it is known whether it happened."""

from __future__ import annotations

import psycopg
import pytest

from storage.errors import CommitUnknown, DatabaseAway, OutcomePending
from storage.writer import Store
from tests.storage.cutter import Cutter
from tests.storage.samples import ask, batch, positions


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_commit_cut_on_its_way_is_resolved_after_reconnecting(tables: str, when: str) -> None:
    async with Cutter(tables) as cutter, Store(cutter.dsn) as store:
        await store.commit(batch(positions=positions({"digest": 1})))
        cutter.when = when  # type: ignore[assignment]  # one of the literals
        with pytest.raises(CommitUnknown) as caught:
            await store.commit(batch(positions=positions({"digest": 2})))
        assert caught.value.committed.positions.tolist() == [True]
        happened = when == "after"
        for _ in range(100):
            try:
                assert await store.resolve(caught.value.xid) is happened
            except OutcomePending:  # the server has not noticed yet that its client is gone
                continue
            break
        assert cutter.cuts == 1
        assert ask(tables, "SELECT count(*) FROM positions") == [(2 if happened else 1,)]
        again = await store.commit(batch(positions=positions({"digest": 2})))
        assert again.positions.tolist() == [not happened]


async def test_a_transaction_still_open_is_pending(tables: str) -> None:
    async with Store(tables) as store:
        with psycopg.connect(tables) as other:
            row = other.execute("SELECT pg_current_xact_id()::text::bigint").fetchone()
            assert row is not None
            with pytest.raises(OutcomePending):
                await store.resolve(row[0])
            other.rollback()
            assert await store.resolve(row[0]) is False


async def test_a_transaction_of_another_server_did_not_happen_here(tables: str) -> None:
    async with Store(tables) as store:
        assert await store.resolve(2**40) is False


async def test_no_server_at_all_is_away(tables: str) -> None:
    store = Store(psycopg.conninfo.make_conninfo(tables, port=1))
    with pytest.raises(DatabaseAway):
        await store.open()
    with pytest.raises(DatabaseAway):
        await store.commit(batch(positions=positions({})))
    with pytest.raises(DatabaseAway):
        await store.resolve(1)
