"""An engine restored from the database goes on as one that was never stopped."""

from __future__ import annotations

import random
from typing import Any

import pytest

from alerting.engine import Engine
from decoders.records import NULL_I2, NULL_I4, Name, Observations
from storage.batch import Batch
from storage.writer import Store
from tests.alerting.oracle import Item
from tests.alerting.readings.test_figures import UNEVEN, fans
from tests.alerting.test_engine_stream import DEVICES, MINUTE, RULES, SHIPS, START, ZONES, observations, rule
from tests.alerting.vessels import streams


def stream(seed: int) -> list[list[Item]]:
    """Batches of rows in arrival order: late ones, long silences, our own among them, levels that come and go."""
    draw = random.Random(seed)
    received, batches = START, list[list[Item]]()
    for _ in range(25):
        if draw.random() < 0.1:
            since, received = received, received + draw.choice([2, 20, 120]) * MINUTE
            batches.append([Item("deaf", since, received, 0)])
        items = []
        for _ in range(draw.randrange(6)):
            received += draw.choice([0, 0, 1, 5, 10, 31]) * MINUTE
            time = received - draw.choice([0, 0, 0, 1, 7, 35]) * MINUTE
            match draw.choice(["reading", "reading", "reading", "position", "static"]):
                case "reading":
                    value = draw.choice([0.5, 1.0, 2.0, 2.5, 3.0, 4.0])
                    items.append(Item("reading", time, received, draw.choice(list(DEVICES)), "water_level", value))
                case "position":
                    lon, lat = draw.choice([106.95, 107.02, 107.07, 107.19, 107.21]), draw.choice([16.02, 16.07, 16.2])
                    items.append(Item("position", time, received, draw.choice(SHIPS), None, 0.0, lon, lat))
                case _:
                    items.append(Item("static", time, received, draw.choice(SHIPS[:2]), draw.choice([None, 30, 70])))
        batches.append(items)
    return batches


def rows(items: list[Item]) -> Observations:
    """The items as they come from a decoder: every transmission with a digest of its own."""
    return complete(observations([item for item in items if item.kind != "deaf"]))


def complete(out: Observations) -> Observations:
    """With what rows have beside what rules look at."""
    for table in (out.positions, out.statics):
        table["digest"] = table["received_at"] * 10 + table["message"]
    statics: Any = out.statics
    for name in ("to_bow", "to_stern", "to_port", "to_starboard"):
        statics[name] = NULL_I2
    statics["imo"], statics["draught"] = NULL_I4, float("nan")
    for name in ("name", "callsign", "destination", "eta"):
        statics[name] = None
    statics["msg_type"], out.positions["msg_type"] = 5, 1
    out.names += [Name("transponder", SHIPS[2], "HUE-1", "vms"), Name("source", 0, "test", "mqtt")]
    return out


@pytest.mark.parametrize("seed", range(4))
async def test_an_engine_restored_between_any_two_batches_goes_on_as_one_never_stopped(tables: str, seed: int) -> None:
    """Levels held for some time, silences, deadlines under way, zones, and time in which nothing could be heard."""
    never_stopped = Engine(RULES, ZONES)
    rules_heard_of = set()
    for items in stream(seed):
        async with Store(tables) as store:
            restored = Engine(RULES, ZONES)
            restored.restore(await store.memory())
            for item in items:
                if item.kind == "deaf":
                    restored.deaf(item.time, item.received)
                    never_stopped.deaf(item.time, item.received)
            now = items[-1].received if items else 0
            verdict, expected = restored.judge(rows(items), now), never_stopped.judge(rows(items), now)
            assert verdict == expected, f"seed {seed}"
            await store.commit(Batch(rows(items), verdict))
            rules_heard_of |= {t.rule_id for t in verdict.transitions}
    assert {"plain", "held", "silent"} <= rules_heard_of, "the stream is to be worth judging"


#: Every kind that follows vessels, with bounds that a few fixes ten minutes apart reach.
DETECTORS = [
    rule(id="encounter", kind="encounter", min_fixes=2, distance=1000.0, max_speed=30.0, **{"for": "20m"}),
    rule(
        id="carried", kind="carried_beacons", min_fixes=2, min_speed=0.5, tolerance=1000.0, path=500.0, **{"for": "20m"}
    ),
    rule(id="loitering", kind="loitering", block="10m", max_speed=30.0, **{"for": "20m"}),
    rule(id="fishing", kind="fishing", min_fixes=2, min_turning=0.0, max_speed=30.0, max_mean_speed=30.0),
    rule(id="port", kind="port_visit", ports=["a"], enter=10.0, exit=500.0, stop_speed=2.0, start_speed=5.0),
    rule(id="jump", kind="jump", min_distance=500.0, settle="5m"),
    rule(id="clash", kind="identity_clash", min_distance=500.0),
    rule(id="distress", kind="distress"),
    rule(id="silent", kind="gap", after="40m", known_for="0s", min_probability=0.0),
]
VESSELS = (574_000_001, 574_000_002, 416_000_002)


def sailing(seed: int) -> list[list[streams.Row]]:
    """Batches of fixes: two together, in and out of a port, and a third that jumps, calls, is silent, and is two."""
    draw = random.Random(seed)
    rows, received = [], START
    for n in range(30):
        received += 10 * MINUTE
        lon = 107.02 + 0.004 * (n % 15) if n % 15 < 8 else 107.13
        for vessel in VESSELS:
            received += 1_000
            third = vessel == VESSELS[2]
            if third and 8 <= n < 16:
                continue
            elsewhere = n == 3 or 18 <= n < 22 or (n >= 22 and n % 2)
            here = lon + (0.3 + 0.5 * elsewhere if third else 0.001 * draw.random())
            status = 14 if third and n in {4, 5, 25} else 0
            sog = draw.choice([0.2, 1.0, 6.0]) if third else 0.2 if 5 <= n % 15 < 8 else 6.0
            rows.append(streams.Row("position", received, received, vessel, here, 16.02, sog, 90.0, status))
    batches = []
    while rows:
        size = draw.randrange(2, 9)
        batches.append(rows[:size])
        del rows[:size]
    return batches


@pytest.mark.parametrize("seed", range(2))
async def test_detectors_of_vessels_restored_from_the_database_go_on_as_if_never_stopped(
    tables: str, seed: int
) -> None:
    never_stopped = Engine(DETECTORS, ZONES)
    told, kept = set(), set()
    for items in sailing(seed):
        async with Store(tables) as store:
            restored = Engine(DETECTORS, ZONES)
            restored.restore(await store.memory())
            now = items[-1].received
            batch = complete(streams.observations(items))
            verdict, expected = restored.judge(batch, now), never_stopped.judge(batch, now)
            assert verdict == expected, f"seed {seed}"
            await store.commit(Batch(batch, verdict))
            told |= {t.rule_id for t in verdict.transitions}
            kept |= {state.rule_id for state in verdict.states if state.state is not None}
    assert told >= {rule.id for rule in DETECTORS}, "the stream is to be worth judging"
    assert kept >= {rule.id for rule in DETECTORS}


@pytest.mark.parametrize("seed", range(2))
async def test_figures_of_readings_go_on_from_what_is_stored(tables: str, seed: int) -> None:
    """Killed between any two batches: what meters looked back on is read again, and is the same to the last bit."""
    draw, rules = random.Random(seed), fans(3)
    never_stopped, received, fired = Engine(rules, []), START, set()
    for _ in range(30):
        items = []
        for _ in range(draw.randrange(1, 12)):
            received += draw.choice([1, 5, 10]) * MINUTE + 1
            time = received - draw.choice([0, 0, 0, 1, 35]) * MINUTE
            items.append(
                Item("reading", time, received, draw.choice(list(DEVICES)), "water_level", draw.choice(UNEVEN))
            )
        async with Store(tables) as store:
            restored = Engine(rules, [])
            restored.restore(await store.memory())
            async for again in store.past(restored.looks_back()):
                restored.recall(again)
            verdict, expected = (engine.judge(rows(items), received) for engine in (restored, never_stopped))
            assert verdict == expected, f"seed {seed}"
            await store.commit(Batch(rows(items), verdict))
            fired |= {t.rule_id for t in verdict.transitions}
    assert len(fired) > len(rules) / 2, "the stream is to be worth judging"
