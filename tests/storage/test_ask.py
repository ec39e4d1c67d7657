"""A question is one transaction; several may share a connection."""

from __future__ import annotations

import asyncio

import pytest

from storage import ask
from storage.errors import DatabaseAway
from tests.storage.samples import ask as seen

_WRITE = "INSERT INTO rules (id, version, body) VALUES ('{}', 'v', '{{}}')"
_WRITTEN = "SELECT id FROM rules ORDER BY id"
_WHO = b"SELECT pg_backend_pid() AS pid, current_setting('timezone') AS zone"


async def test_questions_over_one_link_are_transactions_of_one_session(tables: str) -> None:
    async with ask.link(tables) as link:
        [first] = await ask.rows(link, _WHO)
        async with ask.connected(link) as connection:
            await connection.execute(_WRITE.format("a").encode())
            assert seen(tables, _WRITTEN) == []
        assert seen(tables, _WRITTEN) == [("a",)]
        async with ask.connected(link) as connection:
            await connection.execute("SET TRANSACTION READ ONLY")
        async with ask.connected(link) as connection:
            await connection.execute(_WRITE.format("b").encode())
        assert await ask.rows(link, _WHO) == [first] == [{"pid": first["pid"], "zone": "UTC"}]
    assert seen(tables, _WRITTEN) == [("a",), ("b",)]
    assert seen(tables, f"SELECT 1 FROM pg_stat_activity WHERE pid = {first['pid']} AND state <> 'idle'") == []


@pytest.mark.parametrize("fault", [ZeroDivisionError, asyncio.CancelledError])
async def test_what_a_question_did_before_it_failed_is_undone_and_the_link_of_no_more_use(
    tables: str, fault: type[BaseException]
) -> None:
    async def fail(link: ask.Link) -> None:
        async with ask.connected(link) as connection:
            await connection.execute(_WRITE.format("a").encode())
            raise fault

    async with ask.link(tables) as link:
        with pytest.raises(fault):
            await fail(link)
        with pytest.raises(DatabaseAway):
            await ask.rows(link, _WHO)
    assert seen(tables, _WRITTEN) == []


async def test_a_link_that_is_lost_says_that_the_database_is_away(tables: str) -> None:
    async with ask.link(tables) as link:
        [who] = await ask.rows(link, _WHO)
        assert seen(tables, f"SELECT pg_terminate_backend({who['pid']}, 5000)") == [(True,)]
        with pytest.raises(DatabaseAway):
            await ask.rows(link, _WHO)
