"""After a restart, a process knows what it would have known."""

from __future__ import annotations

import json

import numpy as np
import pytest

from alerting.model import LookBack, RuleState, SubjectKind, Verdict
from decoders.block import Block
from decoders.identity import device_id, metric_id
from decoders.records import RECEPTION, table
from decoders.window import SPAN_US, ReceptionWindow
from storage.times import moment
from storage.writer import Store
from tests.storage.samples import (
    DEVICE_ID,
    METRIC_ID,
    OTHER_SOURCE,
    SECOND,
    SOURCE,
    T0,
    VMS_ID,
    batch,
    connected,
    positions,
    readings,
    record,
    statics,
)


async def test_the_latest_rows_come_back_as_they_went_in(tables: str) -> None:
    heard = positions(
        {"time": T0, "transponder": 1},
        {"time": T0 + 1, "transponder": 2, "sog": 0.0, "rot": -720.0, "heading": 359, "nav_status": 0, "accuracy": 1},
        {"time": T0 + 2, "transponder": VMS_ID, "msg_type": 0},
    )
    measured = readings((0, 1.25))
    async with Store(tables) as store:
        await store.commit(batch(positions=heard, readings=measured))
    async with Store(tables) as restarted:
        memory = await restarted.memory()
    heard["message"] = 0
    assert memory.positions is not None
    assert memory.readings is not None
    for name in heard.dtype.names or ():
        np.testing.assert_array_equal(memory.positions[name], heard[name], err_msg=name)
    assert memory.readings.tolist() == measured.tolist()
    assert memory.positions.dtype == heard.dtype


async def test_states_names_and_ship_types_come_back(tables: str) -> None:
    states = [
        RuleState("a", SubjectKind.DEVICE, DEVICE_ID, "k", {"since": T0, "value": 1e-7, "list": [1, None]}),
        RuleState("a", SubjectKind.TRANSPONDER, VMS_ID, "zone", {"big": 2**62}),
    ]
    said = statics({"ship_type": 30, "time": T0}, {"time": T0 + 5, "transponder": 2, "name": "B"})
    async with Store(tables) as store:
        await store.commit(
            batch(
                Verdict(states=states),
                statics=said,
                readings=readings((0, 1.0)),
                positions=positions({"transponder": VMS_ID}),
            )
        )
    async with Store(tables) as restarted:
        memory = await restarted.memory()
    assert memory.states == states
    assert memory.ship_types == {574_000_001: 30}
    assert memory.static_times == {574_000_001: T0, 2: T0 + 5}
    assert memory.names["device", DEVICE_ID] == "gate/river-1"
    assert memory.names["metric", METRIC_ID] == "water_level"
    assert memory.names["source", SOURCE] == "receiver"
    assert memory.names["transponder", VMS_ID] == "HUE-0012"
    assert ("transponder", 574_000_001) not in memory.names


async def test_stretches_of_readings_come_back_in_the_order_they_came(tables: str) -> None:
    """Whole days apart, of some devices only, both ends included; what came late is where it came."""
    days = 3 * 86_400
    came = [(-5, 0.5), (0, 1.0), (20, 2.0), (10, 3.0), (40, 4.0), (days, 5.0), (days + 1, 6.0), (30, 7.0), (41, 8.0)]
    measured = readings(*came)
    other = readings((0, 9.0), (20, 9.5))
    other["device"] = device_id("gate", "other")
    unasked = readings((0, 10.0))
    unasked["metric"] = metric_id("ph")
    async with Store(tables) as store:
        await store.commit(batch(readings=np.concatenate([measured, other, unasked])))
    ids = np.array([DEVICE_ID, other["device"][0]])
    wanted = LookBack(
        ids, np.full(2, METRIC_ID), np.array([T0, T0 + 5 * SECOND]), np.array([T0 + 40 * SECOND, T0 + 20 * SECOND])
    )
    async with Store(tables) as restarted:
        [found] = [rows async for rows in restarted.past(wanted)]
        mine, others = found[found["device"] == DEVICE_ID], found[found["device"] != DEVICE_ID]
        assert mine["value"].tolist() == [1.0, 2.0, 3.0, 4.0, 7.0]
        assert others["value"].tolist() == [9.5]
        far = LookBack(
            np.append(ids, ids),
            np.full(4, METRIC_ID),
            *(np.array([T0, T0, T0 + days * SECOND, T0]) + k for k in (0, 0)),
        )
        parts = [rows["value"].tolist() async for rows in restarted.past(far)]
        assert [sorted(values) for values in parts] == [[1.0, 9.0, 9.0], [5.0]]
        nothing = LookBack(*(np.zeros(0, np.int64) for _ in range(4)))
        assert [rows async for rows in restarted.past(nothing)] == []


@pytest.mark.parametrize("kind", ["window", "vn_aqi", "threshold"])
async def test_what_had_come_by_a_review_comes_back_in_the_order_it_happened(tables: str, kind: str) -> None:
    """If what the rule measures is kept of readings: that of a threshold is not."""
    metric = metric_id("pm2_5")
    measured = readings((0, 1.0), (20, 2.0), (10, 3.0), (40, 4.0), (30, 5.0))  # received one microsecond apart
    measured["metric"] = metric
    body = {"kind": kind} | ({} if kind == "vn_aqi" else {"metric": "pm2_5"})
    async with Store(tables) as store:
        await store.commit(batch(readings=measured))
    with connected(tables) as connection:
        connection.execute("INSERT INTO rules (id, version, body) VALUES ('r', 'v', %s)", (json.dumps(body),))
        connection.execute(
            "INSERT INTO rule_reviews (rule_id, subject_kind, subject_id, rule_version, until, stands)"
            " VALUES ('r', 'device', %s, 'v', %s, '{}')",
            (DEVICE_ID, moment(T0 + 2)),
        )
    one = np.array([DEVICE_ID])
    wanted = LookBack(one, np.array([metric]), np.array([T0]), np.array([T0 + 40 * SECOND]))
    async with Store(tables) as restarted:
        [found] = [rows async for rows in restarted.past(wanted)]
    in_time = [1.0, 3.0, 2.0, 4.0, 5.0]
    assert found["value"].tolist() == ([1.0, 2.0, 3.0, 4.0, 5.0] if kind == "threshold" else in_time)


async def test_an_empty_database_remembers_nothing(tables: str) -> None:
    async with Store(tables) as store:
        memory = await store.memory()
        assert (memory.states, memory.ship_types) == ([], {})
        assert memory.positions is not None
        assert len(memory.positions) == 0
        assert len(await store.recent()) == 0
        assert await store.fragments() == []


async def test_fragments_come_back_in_order_for_their_own_instance(tables: str) -> None:
    blocks = [
        Block(b"!AIVDM,2,1,3,A,\xff\0", SOURCE, "tcp:1", T0, 0, per_line=True, line=7),
        Block(b"!AIVDM,3,1,4,A", OTHER_SOURCE, "topic", T0 + 1, 0),
    ]
    async with Store(tables, instance="one") as one, Store(tables, instance="two") as two:
        await one.commit(batch(fragments=blocks))
        await two.commit(batch(fragments=blocks[:1]))
        assert await one.fragments() == blocks
        await one.commit(batch())
        assert await one.fragments() == blocks, "None leaves them as they were"
        await one.commit(batch(fragments=[]))
        assert await one.fragments() == []
        assert await two.fragments() == blocks[:1]


async def test_the_reception_window_is_rebuilt_from_the_last_span(tables: str) -> None:
    def at(seconds: int, **row: int) -> dict[str, int]:
        time = T0 + seconds * SECOND
        return {"time": time, "received_at": time, **row}

    heard = positions(at(0, digest=1), at(25, digest=2), at(50, digest=3), at(51, digest=4, msg_type=0))
    said = statics(at(55, digest=5))
    again = table(RECEPTION, [(T0, T0 + 60 * SECOND, 574_000_001, 3, OTHER_SOURCE, 0)])
    async with Store(tables) as store:
        await store.commit(batch(positions=heard, statics=said, receptions=again))
        same_process = await store.recent()
    async with Store(tables) as restarted:
        recent = await restarted.recent()
    assert recent.tolist() == same_process.tolist()
    assert recent["digest"].tolist() == [3, 5]  # 30 s before the last message of all, and AIS only
    window = ReceptionWindow()
    window.restore(recent)
    assert len(window) == 2
    assert SPAN_US == 30 * SECOND


async def test_a_replay_of_old_logs_looks_back_from_its_own_time(tables: str) -> None:
    async with Store(tables) as live:
        await live.commit(batch(positions=positions({"digest": 1})))
    async with Store(tables) as replay:
        old = T0 - 10**13
        await replay.commit(batch(positions=positions({"digest": 2, "time": old})))
        assert (await replay.recent())["digest"].tolist() == [2]


@pytest.mark.parametrize("kind", ["positions", "statics", "records"])
async def test_known_says_under_which_time_a_transmission_is_stored(tables: str, kind: str) -> None:
    async with Store(tables) as store:
        match kind:
            case "positions":
                await store.commit(batch(positions=positions({"digest": 7, "transponder": 992_000_001, "time": T0})))
            case "statics":
                await store.commit(batch(statics=statics({"digest": 7, "transponder": 992_000_001, "time": T0})))
            case _:
                await store.commit(batch(records=[record(7)]))
        who = np.array([992_000_001, 992_000_001, 1])
        what = np.array([7, 8, 7])
        absent = np.iinfo(np.int64).min
        each = [T0 - SECOND, T0, T0], [T0, T0, T0]  # bounds of each
        assert (await store.known(who, what, *map(np.array, each)))[0].tolist() == [T0, absent, absent]
        assert [c.tolist() for c in await store.known(who, what, T0 - SECOND, T0)] == [
            [T0, absent, absent],
            [SOURCE, 0, 0],
        ]
        assert (await store.known(who, what, T0 + 1, T0 + SECOND))[0].tolist() == [absent] * 3
        assert [len(column) for column in await store.known(who[:0], what[:0], T0, T0)] == [0, 0]
