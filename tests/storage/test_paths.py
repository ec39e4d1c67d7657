"""Rows copied straight, merged, or tried one way and then the other: the tables and the answers are the same."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.straight import Straight
from storage.tables import COPY
from storage.writer import Store
from tests.storage.samples import T0, ask, batch, connected, contents, positions, readings
from tests.storage.streams import TRUNCATE, cut, stream

if TYPE_CHECKING:
    from storage.batch import Committed


class Always(Straight):
    """Copies every batch straight, whatever the last ones met."""

    def __bool__(self) -> bool:
        return True


class Never(Straight):
    def __bool__(self) -> bool:
        return False


def plain(committed: Committed) -> dict[str, Any]:
    return {
        name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in asdict(committed).items()
    }


async def run(dsn: str, guess: type[Straight], seed: int) -> tuple[list[dict[str, Any]], dict[str, list[str]]]:
    rng = np.random.default_rng(seed)
    whole = stream(rng, 80)
    parts = cut(whole, sorted(rng.integers(0, 80, 5).tolist()))
    with connected(dsn) as connection:
        connection.execute(TRUNCATE)
    async with Store(dsn) as store:
        store._straight = {name: guess() for name in COPY}
        answers = [plain(await store.commit(part)) for part in [*parts, parts[-1], *parts[:2]]]
    return answers, contents(dsn)


@pytest.mark.parametrize("seed", range(4))
async def test_every_way_of_writing_gives_the_same_answers_and_tables(
    tables: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    merged = await run(tables, Never, seed)
    monkeypatch.setattr("storage.part.SLICE", 7)
    assert await run(tables, Never, seed) == merged
    monkeypatch.setattr("storage.work.STRAIGHT_FROM", 1)
    assert await run(tables, Always, seed) == merged
    assert await run(tables, Straight, seed) == merged
    monkeypatch.setattr("storage.work.STRAIGHT_FROM", 1_000)
    assert await run(tables, Always, seed) == merged  # in one statement, where a part fits
    monkeypatch.setattr("storage.transaction._WORTH_ASKING", 1)
    assert await run(tables, Never, seed) == merged


async def test_rows_of_a_time_of_which_nothing_is_stored_are_copied_and_others_are_not(
    tables: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.transaction._WORTH_ASKING", 2)
    async with Store(tables) as store:
        store._straight = {name: Never() for name in COPY}
        copied = []
        for times in ((5,), (0, 9), (6, 9), (10, 11)):
            work = store.prepare(batch(readings=readings(*((time, 1.0) for time in times))))
            answers = (await store.commit(work)).readings.tolist()
            copied.append((work.parts["readings"].straight, answers))
    assert copied == [(False, [True]), (False, [True, True]), (False, [True, False]), (True, [True, True])]


async def test_a_small_batch_that_brings_a_row_again_is_written_as_any_other(tables: str) -> None:
    async with Store(tables) as store:
        store._straight = {name: Always() for name in COPY}
        await store.commit(batch(readings=readings((0, 1.0))))
        work = store.prepare(batch(readings=readings((5, 5.0), (0, 2.0))))
        assert work.once
        committed = await store.commit(work)
        assert (await store.commit(batch(readings=readings((9, 9.0))))).readings.tolist() == [True]
    assert committed.readings.tolist() == [True, False]
    assert committed.conflicts == [1]
    assert ask(tables, "SELECT value FROM readings ORDER BY 1") == [(1.0,), (5.0,), (9.0,)]
    assert ask(tables, "SELECT value FROM latest_readings") == [(9.0,)]


async def test_a_small_batch_that_is_cancelled_leaves_nothing_and_the_store_usable(tables: str) -> None:
    async with Store(tables) as store:
        for time in (0, 1):
            await store.commit(batch(readings=readings((time, 1.0))))
        with connected(tables) as other:
            other.execute("BEGIN; LOCK TABLE readings IN ACCESS EXCLUSIVE MODE")
            work = store.prepare(batch(readings=readings((2, 1.0))))
            assert work.once
            task = asyncio.create_task(store.commit(work))
            while not ask(tables, "SELECT FROM pg_locks WHERE NOT granted"):  # noqa: ASYNC110  # the server sets no Event
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            other.execute("ROLLBACK")
        assert (await store.commit(batch(readings=readings((2, 1.0))))).readings.tolist() == [True]
        assert (await store.commit(batch(readings=readings((3, 1.0), (2, 1.0))))).readings.tolist() == [True, False]


async def test_rows_believed_new_that_are_not_leave_nothing_of_the_attempt(
    tables: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.work.STRAIGHT_FROM", 1)
    async with Store(tables) as store:
        store._straight = {name: Always() for name in COPY}
        await store.commit(batch(positions=positions({"digest": 1}), readings=readings((0, 1.0))))
        both = batch(
            positions=positions({"digest": 2}, {"digest": 1, "time": T0}), readings=readings((0, 2.0), (5, 5.0))
        )
        work = store.prepare(both)
        assert all(work.parts[name].straight for name in ("positions", "readings"))
        committed = await store.commit(work)
    assert committed.positions.tolist() == [True, False]
    assert committed.readings.tolist() == [False, True]
    assert committed.conflicts == [0]
    assert ask(tables, "SELECT digest FROM positions ORDER BY 1") == [(1,), (2,)]
    assert ask(tables, "SELECT value FROM readings ORDER BY 1") == [(1.0,), (5.0,)]


async def test_a_batch_made_ready_before_the_last_one_is_committed_lacks_nothing(tables: str) -> None:
    first, second = batch(readings=readings((0, 1.0))), batch(readings=readings((9, 9.0)))
    async with Store(tables) as store:
        ready = store.prepare(first), store.prepare(second)
        assert [(await store.commit(work)).readings.tolist() for work in ready] == [[True], [True]]
    assert ask(tables, "SELECT count(*) FROM devices") == [(1,)]
    assert ask(tables, "SELECT count(*) FROM readings") == [(2,)]


async def test_names_known_from_a_connection_that_is_gone_are_told_again(tables: str) -> None:
    """The server that answers next may be a stand-by without the last transactions."""
    async with Store(tables) as store:
        await store.commit(batch(positions=positions({"digest": 1}), readings=readings((0, 1.0))))
        ready = store.prepare(batch(positions=positions({"digest": 2}), readings=readings((9, 9.0))))
        await store.close()
        with connected(tables) as connection:
            connection.execute(TRUNCATE)
        await store.commit(ready)
    for table in ("devices", "transponders", "sources"):
        assert ask(tables, f"SELECT count(*) > 0 FROM {table}") == [(True,)]


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=200))
def test_copying_in_vain_stays_rare_whatever_comes(dirty: list[tuple[bool, bool]]) -> None:
    guess = Straight()
    vain = 0
    for duplicates, asked in dirty:
        tried = bool(guess)
        if asked and not duplicates:
            guess.believe()
        vain += tried and duplicates
        guess.met(int(duplicates), undone=tried and duplicates)
    assert vain <= 6 + len(dirty) / 8


def test_where_nothing_is_stored_of_a_time_the_next_goes_straight_unless_one_did_in_vain() -> None:
    guess = Straight()
    guess.believe()
    assert guess
    guess.met(0, undone=False)
    assert guess
    guess.met(5, undone=True)
    guess.believe()
    assert not guess


def test_what_is_known_is_merged_for_as_long_as_it_comes_and_what_is_new_goes_straight_again() -> None:
    guess = Straight()
    assert not guess  # the first batch may be what was sent before a restart
    guess.met(0, undone=False)
    assert guess
    guess.met(5, undone=True)
    for _ in range(100):
        assert not guess
        guess.met(5, undone=False)
    for _ in range(2):
        assert not guess
        guess.met(0, undone=False)
    assert guess
