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
from tests.alerting.test_engine_stream import DEVICES, MINUTE, RULES, SHIPS, START, ZONES, observations


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
    out = observations([item for item in items if item.kind != "deaf"])
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
