"""A flood of made-up transponders costs bounded memory and hides no real vessel."""

from __future__ import annotations

import gc
import tracemalloc
from typing import TYPE_CHECKING

import numpy as np
import shapely

from alerting.engine import Engine
from alerting.rules import RULE
from decoders.records import POSITION, STATIC, Observations, empty
from geofence.zones import Zone

if TYPE_CHECKING:
    from uuid import UUID

MINUTE = 60_000_000
CAPACITY = 40_000
FLOOD = 1_000_000
BATCH = 20_000
REAL = np.arange(574_000_000, 574_000_100)
ZONE = Zone("bay", "Bay", "Vịnh", "test", shapely.box(107.0, 16.0, 107.1, 16.1))
_TITLE = {"title": {"en": "T", "vi": "T"}, "severity": "warning", "source": "test", "utc_offset": "+00:00"}
RULES = [
    RULE.validate_python(
        _TITLE
        | {"id": "enter", "kind": "zone", "zones": ["bay"], "condition": "entered", "scope": {"ship_types": [30]}}
    ),
    RULE.validate_python(_TITLE | {"id": "inside", "kind": "zone", "zones": ["bay"], "condition": "inside"}),
]


def heard(ids: np.ndarray, time: int, lon: float, lat: float, *, fishing: bool = False) -> Observations:
    positions, statics = empty(POSITION, len(ids)), empty(STATIC, len(ids) if fishing else 0)
    for table in (positions, statics):
        table["transponder"] = ids[: len(table)]
        table["time"] = table["received_at"] = time
        table["message"] = np.arange(len(table))
    positions["lon"], positions["lat"] = lon, lat
    statics["ship_type"] = 30
    return Observations(messages=len(ids), positions=positions, statics=statics)


def test_a_million_made_up_transponders_neither_fill_memory_nor_hide_real_vessels() -> None:
    engine = Engine(RULES, [ZONE], capacity=CAPACITY)
    time = 0
    for _ in range(2):  # at sea, heard twice
        engine.judge(heard(REAL, time, 106.9, 16.05, fishing=True), time)
        time += 2 * MINUTE
    one_inside = heard(REAL[:1] + 1_000, time, 107.05, 16.05)
    assert [t.rule_id for t in engine.judge(one_inside, time).transitions] == ["inside"]
    engine.judge(heard(REAL[:1] + 1_000, time + 2 * MINUTE, 107.05, 16.05), time + 2 * MINUTE)
    time += 2 * MINUTE

    sizes = []
    tracemalloc.start()
    try:
        for start in range(0, FLOOD, BATCH):
            time += 1
            fakes = 100_000_000 + np.arange(start, start + BATCH)
            assert not engine.judge(heard(fakes, time, 108.0, 17.0), time).transitions
            if start % (5 * BATCH) == 0:
                gc.collect()
                sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert engine.forgotten >= FLOOD - CAPACITY
    # Once full, it stays as it is; all of it is what that many transponders take, not what a million would.
    assert max(sizes[1:]) - min(sizes[1:]) < 8_000_000
    assert sizes[-1] < 400 * CAPACITY

    time += 2 * MINUTE
    told = engine.judge(heard(REAL, time, 107.05, 16.05), time).transitions
    assert sorted((t.rule_id, t.subject.id) for t in told) == [
        (rule, number) for rule in ("enter", "inside") for number in REAL.tolist()
    ]
    gone = engine.judge(heard(REAL[:1] + 1_000, time, 108.0, 17.0), time).transitions
    assert [(t.state.value, t.details["reason"]) for t in gone] == [("resolved", "left")]


def test_alerts_about_a_flood_inside_a_zone_end_when_it_is_forgotten() -> None:
    engine = Engine(RULES, [ZONE], capacity=1_000)
    opened: set[UUID] = set()
    ended: set[UUID] = set()
    for batch in range(10):
        fakes = 100_000_000 + np.arange(500 * batch, 500 * (batch + 1))
        for t in engine.judge(heard(fakes, batch * MINUTE, 107.05, 16.05), batch * MINUTE).transitions:
            (opened if t.state.value == "firing" else ended).add(t.alert_id)
            assert t.state.value == "firing" or t.details["reason"] == "forgotten"
    assert len(opened) == 5_000
    assert ended < opened
    assert len(opened - ended) <= 1_000
