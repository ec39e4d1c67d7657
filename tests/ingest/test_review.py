"""What comes late through the whole service: the alert told wrong is corrected, once, and who was told is told."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from alerting.channels.settings import LogSettings
from ingest.heap import give_back
from ingest.settings import Rules
from ingest.watch import install
from tests.ingest.command import rows
from tests.ingest.running import publish, reading, serving, settings, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from alerting.pack import RuleBook
    from ingest.service import Service
    from ingest.settings import Settings
    from services.mosquitto import Mosquitto

    Setup = tuple[Settings, RuleBook]

MINUTE = 60
_RULES = """
[[rule]]
id = "held"
kind = "threshold"
title = { en = "High water", vi = "Nước cao" }
severity = "major"
metric = "water_level"
unit = "m"
raise = 2.0
clear = 1.0
for = "20m"
source = "a test"
"""
_ALERT = "SELECT state, retracted, details->>'reason' FROM alerts"
_HISTORY = "SELECT change FROM alert_history ORDER BY seq"


@pytest.fixture
async def setup(migrated: str, broker: Mosquitto, gateway: str, tmp_path: Path) -> Setup:
    file = tmp_path / "rules.toml"
    file.write_text(_RULES)
    book = await install([file], migrated)
    rules = Rules(files=(file,), review_after_seconds=0.5)
    return settings(migrated, broker, gateway, rules=rules, channels={"desk": LogSettings(name="desk")}), book


@pytest.fixture
async def service(setup: Setup) -> AsyncIterator[Service]:
    async with serving(*setup) as running:
        yield running


def at(minute: float, value: float) -> bytes:
    return reading(round(minute * MINUTE), value)


async def told(dsn: str, query: str, expected: list[tuple[Any, ...]]) -> None:
    await until(lambda: rows(dsn, query) == expected, 30)


async def test_an_alert_that_late_readings_contradict_is_retracted_and_who_was_told_is_told(
    service: Service, migrated: str, broker: Mosquitto, gateway: str
) -> None:
    await publish(broker, gateway, "gauge", [at(0, 2.5), at(25, 2.6), at(30, 0.5)])
    await told(migrated, _HISTORY, [("firing",), ("resolved",)])
    await publish(broker, gateway, "gauge", [at(10, 0.2)])
    await told(migrated, _HISTORY, [("firing",), ("resolved",), ("retracted",)])
    assert rows(migrated, "SELECT state, retracted FROM alerts") == [("resolved", True)]
    await told(
        migrated,
        "SELECT event, state FROM notifications ORDER BY at, event",
        [("firing", "sent"), ("resolved", "sent"), ("retracted", "sent")],
    )
    assert rows(migrated, "SELECT count(*) FROM alert_reviews") == [(0,)]


async def test_an_alert_that_began_earlier_is_revised_once_however_often_the_late_rows_come(
    service: Service, migrated: str, broker: Mosquitto, gateway: str
) -> None:
    await publish(broker, gateway, "gauge", [at(0, 0.5), at(60, 2.4), at(90, 2.5)])
    await told(migrated, _HISTORY, [("firing",)])
    for _ in range(2):
        await publish(broker, gateway, "gauge", [at(30, 3.0), at(40, 3.1)])
        await told(migrated, "SELECT count(*) FROM alert_reviews", [(0,)])
        await told(migrated, _HISTORY, [("firing",), ("revised",)])
    [(state, details)] = rows(migrated, "SELECT state, details FROM alerts")
    assert state == "firing"
    assert details["was"]["since"] > details["now"][0]["since"]


async def test_an_alert_of_which_too_much_would_have_to_be_read_is_left_as_it_is_and_said_so(
    service: Service, migrated: str, broker: Mosquitto, gateway: str
) -> None:
    service._jobs._reviewer._most_rows = 3
    with capture_logs() as log:
        await publish(broker, gateway, "gauge", [at(0, 2.5), at(25, 2.6), at(30, 0.5), at(10, 0.2)])
        await until(lambda: any(line["event"] == "review_left" for line in log))
        await told(migrated, "SELECT count(*) FROM alert_reviews", [(0,)])
    [left] = [line for line in log if line["event"] == "review_left"]
    assert (left["rule"], left["subject"], left["rows"]) == ("held", f"{gateway}/gauge", 4)
    assert rows(migrated, _HISTORY) == [("firing",), ("resolved",)]


async def test_what_a_look_at_many_rows_took_is_given_back_and_what_few_took_is_not(
    service: Service, migrated: str, broker: Mosquitto, gateway: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[int] = []

    def giving_back() -> None:
        give_back()
        given.append(len(rows(migrated, _HISTORY)))

    monkeypatch.setattr("ingest.review.heap.give_back", giving_back)
    monkeypatch.setattr("ingest.review._MANY_ROWS", 8)
    retracted = [("firing",), ("resolved",), ("retracted",)]
    await publish(broker, gateway, "gauge", [at(0, 2.5), at(25, 2.6), at(30, 0.5), at(10, 0.2)])  # a look at 4 rows
    await told(migrated, _HISTORY, retracted)
    await publish(broker, gateway, "gauge", [at(60, 2.5), at(85, 2.6), at(90, 0.5), at(70, 0.2)])  # at all 8
    await told(migrated, _HISTORY, sorted(2 * retracted))
    await until(lambda: bool(given))
    assert given == [len(2 * retracted)]


async def test_late_rows_of_another_time_ask_for_nothing(
    service: Service, migrated: str, broker: Mosquitto, gateway: str
) -> None:
    await publish(broker, gateway, "gauge", [at(0, 0.5), at(60 * 48, 2.4), at(60 * 49, 2.5)])
    await told(migrated, _HISTORY, [("firing",)])
    await publish(broker, gateway, "gauge", [at(30, 3.0)])
    await until(lambda: service.telemetry.ledger.account("gateways").stored == 4)
    assert rows(migrated, "SELECT count(*) FROM alert_reviews") == [(0,)]


@pytest.mark.parametrize("restarted", [False, True])
async def test_after_a_retraction_the_next_alert_is_raised_as_if_nothing_had_come_late(
    setup: Setup, migrated: str, broker: Mosquitto, gateway: str, restarted: bool
) -> None:
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(serving(*setup))
        await publish(broker, gateway, "gauge", [at(0, 2.5), at(25, 2.6)])
        await told(migrated, _HISTORY, [("firing",)])
        await publish(broker, gateway, "gauge", [at(10, 0.2)])
        await told(migrated, _HISTORY, [("firing",), ("retracted",)])
        if restarted:
            await stack.aclose()
            await stack.enter_async_context(serving(*setup))
        await publish(broker, gateway, "gauge", [at(minute, 2.9) for minute in range(30, 60, 5)])
        minutes = "extract(epoch FROM {} - '2026-06-01Z')::integer / 60"
        alerts = f"SELECT state, retracted, {minutes.format('started_at')}, {minutes.format('fired_at')} FROM alerts"
        await told(migrated, alerts + " ORDER BY started_at", [("resolved", True, 0, 20), ("firing", False, 25, 45)])


async def test_what_lasts_now_and_was_never_told_is_told_late(
    service: Service, migrated: str, broker: Mosquitto, gateway: str
) -> None:
    del service
    await publish(broker, gateway, "gauge", [at(0, 2.5), at(25, 2.6), at(30, 0.5), at(90, 1.5)])
    await told(migrated, _HISTORY, [("firing",), ("resolved",)])
    await publish(broker, gateway, "gauge", [at(50, 2.7), at(80, 2.6)])
    await told(
        migrated,
        "SELECT state, details->>'reason' FROM alerts ORDER BY started_at",
        [("resolved", None), ("firing", "late_data")],
    )
    await publish(broker, gateway, "gauge", [at(95, 0.5)])
    await told(migrated, "SELECT state FROM alerts", [("resolved",), ("resolved",)])
    await told(
        migrated,
        "SELECT event, payload->'details'->>'reason', state FROM notifications ORDER BY at",
        [
            ("firing", None, "sent"),
            ("resolved", None, "sent"),
            ("firing", "late_data", "sent"),
            ("resolved", None, "sent"),
        ],
    )
