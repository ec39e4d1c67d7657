"""After a restart, a process knows what it would have known."""

from __future__ import annotations

import numpy as np
import pytest

from alerting.model import RuleState, SubjectKind, Verdict
from decoders.block import Block
from decoders.records import RECEPTION, table
from decoders.window import SPAN_US, ReceptionWindow
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
