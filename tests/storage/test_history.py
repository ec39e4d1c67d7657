"""What is stored comes back as it came: judged again, it comes to the same alerts."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alerting.engine import Engine
from alerting.rejudging.backtest import Tally
from decoders.records import AisRecord, Name, Observations
from storage.batch import Batch
from storage.history import Choice, history
from storage.writer import Store
from tests.alerting.oracle import Item
from tests.alerting.test_engine_stream import DEVICES, MINUTE, RULES, START, ZONES, observations, streams

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alerting.rejudging.backtest import Episode

TABLES = "positions, statics, readings, ais_messages, receptions, transponders, devices, metrics, latest_positions,"
STATE = "latest_readings, rule_state, alerts, alert_history, notifications, progress, deaf_spans"


def apart(items: Sequence[Item]) -> list[Item]:
    """The items, each with an instant of its own, as the inbox sees to it."""
    out: list[Item] = []
    for n, item in enumerate(items):
        if item.kind == "deaf":
            out.append(replace(item, time=item.time + n, received=item.received + n))
        else:
            out.append(replace(item, received=item.received + n))
    return out


def batch(items: Sequence[Item]) -> Observations:
    found = observations(list(items))
    found.names.append(Name("metric", 1, "unused"))
    for table in (found.positions, found.statics):
        # Different contents of one time: the digest tells them apart, and says nothing of which came first.
        table["digest"] = [int(time) * 7_919 % 1_000_003 for time in table["received_at"]]
        for name in table.dtype.names or ():
            if table.dtype[name].kind == "O":
                table[name] = None
    return found


async def live(dsn: str, items: Sequence[Item], cuts: Sequence[int], end: int) -> list[Episode]:
    """The stream judged and stored; the alerts it came to."""
    engine, tally = Engine(RULES, ZONES), Tally()
    deaf = {k + side for k, item in enumerate(items) if item.kind == "deaf" for side in (0, 1)}
    async with Store(dsn) as store:
        for start, stop in pairwise(sorted({0, len(items), *(cut % (len(items) + 1) for cut in cuts), *deaf})):
            part = list(items[start:stop])
            if part[0].kind == "deaf":
                engine.deaf(part[0].time, part[0].received)
                part = []
            found = batch(part)
            verdict = engine.judge(found, items[stop - 1].received)
            tally.add(verdict.transitions)
            await store.commit(Batch(found, verdict))
        verdict = engine.judge(Observations(), end)
        tally.add(verdict.transitions)
        await store.commit(Batch(Observations(), verdict, until=end))
    return tally.within(0, 2**62)


async def again(dsn: str, since: int, end: int, choice: Choice | None = None) -> list[Episode]:
    """The stored rows judged as a backtest does it."""
    engine, tally = Engine(RULES, ZONES), Tally()
    async with history(dsn, choice) as past:
        deaf = dict(await past.deaf())
        engine.restore(await past.memory(since))
        async for found, tick in past.slices(since, end, deaf):
            tally.add(engine.judge(found, tick).transitions)
            if tick in deaf:
                engine.deaf(tick, deaf[tick])
    return tally.within(0, 2**62)


@pytest.mark.parametrize("kind", ["timescale", "plain_postgres"])
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(streams(), st.lists(st.integers(0, 30), max_size=4), st.sampled_from([1, 45, 200]))
def test_stored_rows_come_to_the_alerts_that_they_came_to_when_they_were_received(
    request: pytest.FixtureRequest, kind: str, items: list[Item], cuts: list[int], rest: int
) -> None:
    dsn = request.getfixturevalue("migrated" if kind == "timescale" else "plain_migrated")
    with psycopg.connect(dsn) as connection:
        connection.execute("SET session_replication_role = replica")  # the record refuses to be emptied
        connection.execute(f"TRUNCATE {TABLES} {STATE} CASCADE")
    came = apart(items)
    end = (came[-1].received if came else START) + rest * MINUTE
    lived = asyncio.run(live(dsn, came, cuts, end))
    assert asyncio.run(again(dsn, START - MINUTE, end)) == lived


async def test_what_was_known_before_a_span_is_what_was_received_before_it(any_migrated: str) -> None:
    ship, station = 574_000_001, next(iter(DEVICES))
    at = [START + n * MINUTE for n in range(10)]
    items = [
        Item("position", at[3], at[3], ship, None, 0.0, 107.01, 16.01),
        Item("position", at[1], at[4], ship, None, 0.0, 107.02, 16.02),  # late
        Item("reading", at[3], at[3] + 1, station, "water_level", 1.0),
        Item("reading", at[2], at[5], station, "water_level", 9.0),  # late
        Item("static", at[2], at[2], ship, 30),
        Item("static", at[3], at[3] + 2, ship, None),
        Item("position", at[6], at[6], ship, None, 0.0, 107.03, 16.03),
        Item("reading", at[6], at[6] + 1, station, "water_level", 2.0),
        Item("static", at[6], at[6] + 2, ship, 70),
    ]
    items.sort(key=lambda item: item.received)
    await live(any_migrated, items, [], at[9])
    async with history(any_migrated) as past:
        before = await past.memory(at[6])
        assert before.positions is not None
        assert before.readings is not None
        assert [(int(p["time"]), float(p["lon"])) for p in before.positions] == [(at[3], 107.01)]
        assert [(int(r["time"]), float(r["value"])) for r in before.readings] == [(at[3], 1.0)]
        assert before.ship_types == {ship: 30}
        assert before.static_times == {ship: at[3]}
        assert before.first_seen == {ship: at[1]}
        assert before.names["device", station] == DEVICES[station]
        nothing = await past.memory(at[0])
        assert nothing.positions is not None
        assert not len(nothing.positions)
        assert not nothing.ship_types
    async with history(any_migrated, Choice(transponders=(), devices=(station,))) as past:
        only = await past.memory(at[9])
        assert only.positions is not None
        assert only.readings is not None
        assert (len(only.positions), len(only.readings), only.ship_types, only.first_seen) == (0, 1, {}, {})
        rows = [found async for found, _ in past.slices(at[0], at[9])]
        assert sum(len(found.positions) + len(found.statics) for found in rows) == 0
        assert sum(len(found.readings) for found in rows) == 3


async def test_everything_stored_comes_once_whatever_the_slices_with_texts_and_records(any_migrated: str) -> None:
    start = START
    whole = batch([Item("static", start + n, start + 1_000_000 * n * n, 574_000_001, 30) for n in range(60)])
    whole.statics["name"] = [None if n % 3 else f"Tàu {n}" for n in range(60)]
    whole.records = [
        AisRecord(start + n, start + 1_000_000 * n * n + 1, 2_573_000, n, 7, 4, "base_station", {"n": n}, n)
        for n in range(60)
    ]
    async with Store(any_migrated) as store:
        await store.commit(Batch(whole, Engine([], []).judge(Observations(), start)))
    cuts = [start + 5, start + 1_000_000_000, start + 1_000_000_001]
    names: list[Any] = []
    numbers: list[int] = []
    ticks: list[int] = []
    async with history(any_migrated) as past:
        async for found, tick in past.slices(start, start + 3_600_000_000, cuts):
            ticks.append(tick)
            names += found.statics["name"].tolist()
            numbers += [record.fields["n"] for record in found.records]
            assert all(int(time) < tick for time in found.statics["received_at"])
            of_record = [record.message for record in found.records]
            assert sorted({*of_record, *found.statics["message"].tolist()}) == list(range(found.messages))
            assert (np.diff(of_record) > 0).all()
    assert names == whole.statics["name"].tolist()
    assert numbers == list(range(60))
    assert set(cuts) < set(ticks)
    assert ticks == sorted(set(ticks))
    assert ticks[-1] == start + 3_600_000_000


async def test_positions_and_readings_of_an_earlier_event_time_are_left_out_where_that_is_asked(
    any_migrated: str,
) -> None:
    ship, station = 574_000_001, next(iter(DEVICES))
    at = [START + n * MINUTE for n in range(10)]
    items = [
        Item("position", at[2], at[6], ship, None, 0.0, 107.01, 16.01),
        Item("position", at[3], at[7], ship, None, 0.0, 107.02, 16.02),
        Item("reading", at[2], at[6], station, "water_level", 1.0),
        Item("reading", at[3], at[7], station, "water_level", 2.0),
        Item("static", at[2], at[6], ship, 30),
        Item("position", at[4], at[4], ship, None, 0.0, 107.03, 16.03),  # not received then
    ]
    items.sort(key=lambda item: item.received)
    await live(any_migrated, items, [], at[9])
    async with history(any_migrated) as past:
        found = [found async for found, _ in past.slices(at[5], at[9], of=at[3])]
    assert [int(row["time"]) for one in found for row in one.positions] == [at[3]]
    assert [float(row["value"]) for one in found for row in one.readings] == [2.0]
    assert [int(row["time"]) for one in found for row in one.statics] == [at[2]]


async def test_nothing_can_be_written_and_later_rows_are_not_seen(any_migrated: str) -> None:
    async with history(any_migrated) as past:
        assert [len(found.readings) async for found, _ in past.slices(START, START + 1)] == [0]
        await live(any_migrated, [Item("position", START, START, 574_000_001, None, 0.0, 107.0, 16.0)], [], START)
        assert [len(found.positions) async for found, _ in past.slices(START, START + 1)] == [0]
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            await past._connection.execute("DELETE FROM positions")
