"""A source is alive as long as it brings anything, and what is silent is told by what it heard, first or second."""

from __future__ import annotations

from dataclasses import replace

import pytest

from alerting.engine import Engine
from alerting.model import Event
from decoders.records import RECEPTION, Observations, empty
from tests.alerting.vessels.streams import HILL, HOUR, MINUTE, START, TOWER, Row, observations, rule, run

FEED = rule(id="feed", kind="feed_silent", after="30m", min_vessels=3)
SHIPS = (574_000_001, 574_000_002, 574_000_003, 574_000_004)


def fixes(minutes: range, ships: tuple[int, ...] = SHIPS, source: int = TOWER) -> list[Row]:
    return [
        Row("position", (at := START + minute * MINUTE + n), at, ship, 108.0, 16.5, source=source)
        for minute in minutes
        for n, ship in enumerate(ships)
    ]


def events(rows: list[Row]) -> list[str]:
    rows = sorted(rows, key=lambda row: row.received)
    return [t.event.value for t in run(rows, [FEED], START + 5 * HOUR).transitions]


@pytest.mark.parametrize("kind", ["static", "text", "unplaced", "late"])
def test_a_source_that_brings_no_news_of_positions_is_alive(kind: str) -> None:
    heard = fixes(range(0, 60, 5))
    station = 5_740_001 if kind != "late" else SHIPS[0]
    signs = [
        Row(kind, (at := START + minute * MINUTE), at, station, said="x" if kind == "text" else None)
        for minute in range(60, 300, 10)
    ]
    if kind == "late":
        signs = [replace(row, kind="position", time=START + n, lon=108.0) for n, row in enumerate(signs)]
    assert events(heard) == ["firing"]
    assert events(heard + signs) == []
    assert events(heard + signs[:3] + signs[-3:]) == ["firing", "resolved"]


def test_who_is_no_vessel_is_not_counted() -> None:
    stations = (992_000_001, 5_740_001, 111_574_001, 982_574_001)
    assert events(fixes(range(0, 60, 5), (*stations, *SHIPS[:2]))) == []


def second(rows: list[Row], source: int) -> Observations:
    """The same again, by another receiver."""
    out, came = observations(rows), observations([])
    came.messages, came.receptions = out.messages, empty(RECEPTION, len(rows))
    for name in ("time", "received_at", "transponder", "message"):
        came.receptions[name] = out.positions[name]
    came.receptions["source"] = source
    return came


def test_a_receiver_that_is_always_second_is_told_when_it_falls_silent_and_not_before() -> None:
    engine, told = Engine([FEED], []), []
    for minute in range(0, 240, 5):
        rows = fixes(range(minute, minute + 1))
        told += engine.judge(observations(rows), rows[-1].received).transitions
        if minute < 120:
            told += engine.judge(second(rows, HILL), rows[-1].received).transitions
    [silent] = told
    assert (silent.event, silent.subject.id, silent.started_at) == (Event.FIRING, HILL, START + 115 * MINUTE)
