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
    async with ask.Link(tables) as link:
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
async def test_what_a_question_did_before_it_failed_is_undone_and_the_next_has_another_session(
    tables: str, fault: type[BaseException]
) -> None:
    async def fail(link: ask.Link) -> None:
        async with ask.connected(link) as connection:
            await connection.execute(_WRITE.format("a").encode())
            raise fault

    async with ask.Link(tables) as link:
        [first] = await ask.rows(link, _WHO)
        with pytest.raises(fault):
            await fail(link)
        async with asyncio.timeout(30):  # the server ends the session when it has read that
            while seen(tables, f"SELECT 1 FROM pg_stat_activity WHERE pid = {first['pid']}"):  # noqa: ASYNC110
                await asyncio.sleep(0)
        [next_one] = await ask.rows(link, _WHO)
        assert next_one == {"pid": next_one["pid"], "zone": "UTC"}
        assert next_one["pid"] != first["pid"]
    assert seen(tables, _WRITTEN) == []


async def test_a_link_that_is_lost_says_once_that_the_database_is_away(tables: str) -> None:
    async with ask.Link(tables) as link:
        [who] = await ask.rows(link, _WHO)
        assert seen(tables, f"SELECT pg_terminate_backend({who['pid']}, 5000)") == [(True,)]
        with pytest.raises(DatabaseAway):
            await ask.rows(link, _WHO)
        [next_one] = await ask.rows(link, _WHO)
        assert next_one["pid"] != who["pid"]


async def test_after_a_pause_a_link_has_another_session_for_a_server_may_end_what_is_idle(
    tables: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ask.Link(tables) as link:
        [first] = await ask.rows(link, _WHO)
        monkeypatch.setattr(ask, "KEPT_SECONDS", 0.0)
        [next_one] = await ask.rows(link, _WHO)
    assert next_one["pid"] != first["pid"]


async def test_a_link_that_nothing_was_asked_of_has_opened_nothing() -> None:
    async with ask.Link("host=/nowhere dbname=nothing") as link:
        pass
    with pytest.raises(DatabaseAway):
        await ask.rows(link, _WHO)
