"""The Alertmanager channel, against a real Alertmanager."""

from __future__ import annotations

import asyncio
import dataclasses
import socket
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from alerting.channels.alertmanager import Alertmanager
from alerting.channels.base import PermanentFailure, TemporaryFailure
from alerting.channels.settings import AlertmanagerSettings
from alerting.model import AlertState, Event, Severity, Subject, SubjectKind, Transition
from tests.alerting.samples import queued, transition
from tests.alerting.target import answer, hang, target

if TYPE_CHECKING:
    from services.alertmanager import Alertmanager as AlertmanagerServer


@pytest.fixture
def server(alertmanager: AlertmanagerServer) -> AlertmanagerServer:
    return alertmanager


def settings(url: str, **more: Any) -> AlertmanagerSettings:
    return AlertmanagerSettings.model_validate({"name": "am", "url": url, **more})


def fresh(**more: Any) -> Transition:
    """One that fires now, of an episode nobody else has."""
    return transition(start=time.time_ns() // 1000 - 120_000_000, **more)


def then(moved: Transition, **changes: Any) -> Transition:
    return dataclasses.replace(moved, state=AlertState.RESOLVED, at=moved.at + 1_000_000, **changes)


def shown(server: AlertmanagerServer, moved: Transition) -> list[dict[str, Any]]:
    answer = httpx.get(f"{server.url}/api/v2/alerts", params={"filter": f'alert_id="{moved.alert_id}"'})
    found: list[dict[str, Any]] = answer.raise_for_status().json()
    return found


async def test_an_alert_shows_with_labels_and_texts_and_leaves_when_resolved(server: AlertmanagerServer) -> None:
    moved = fresh()
    async with Alertmanager(settings(server.url, labels={"site": "hue"})) as channel:
        await channel.send(queued(moved, "am"))
        [alert] = shown(server, moved)
        assert alert["labels"] == {
            "alertname": "vms.gap",
            "severity": "major",
            "subject_kind": "transponder",
            "subject": "BV-90123-TS",
            "subject_id": "574123456",
            "zone": "lagoon",
            "alert_id": str(moved.alert_id),
            "site": "hue",
        }
        assert alert["annotations"]["summary"] == "No position for 6.5 h"
        assert alert["annotations"]["summary_vi"] == "Mất tín hiệu 6,5 giờ"
        assert "Value: 6.5 h" in alert["annotations"]["description"]
        assert alert["generatorURL"] == f"https://hd.example/a/{moved.alert_id}"
        assert alert["status"]["state"] in {"active", "unprocessed"}
        await channel.send(queued(moved, "am"))  # sent twice, it is one
        assert len(shown(server, moved)) == 1
        await channel.send(queued(then(moved), "am"))
        assert shown(server, moved) == []
        await channel.send(queued(then(moved), "am"))
        assert shown(server, moved) == []


async def test_a_firing_alert_outlives_the_resolve_timeout_without_being_repeated(server: AlertmanagerServer) -> None:
    moved = fresh()
    now = time.time()
    async with Alertmanager(settings(server.url, hold_days=10), clock=lambda: now) as channel:
        await channel.send(queued(moved, "am"))
        [alert] = shown(server, moved)
        ends = datetime.fromisoformat(alert["endsAt"]).timestamp()
        assert ends == pytest.approx(now + 10 * 86_400, abs=2)
        await channel.send(queued(then(moved), "am"))


async def test_it_resolves_what_fired_under_another_name_or_severity(server: AlertmanagerServer) -> None:
    moved = fresh()
    renamed = Subject(SubjectKind.TRANSPONDER, moved.subject.id, "RENAMED SINCE")
    async with Alertmanager(settings(server.url)) as channel:
        await channel.send(queued(moved, "am"))
        await channel.send(queued(then(moved, subject=renamed, severity=Severity.CRITICAL), "am"))
        assert shown(server, moved) == []


@pytest.mark.parametrize("late_by", [-30, 0, 3600])
async def test_event_times_ahead_of_or_far_behind_the_clock_are_taken(server: AlertmanagerServer, late_by: int) -> None:
    now = time.time()
    moved = transition(start=int((now - late_by) * 1e6), after=0)
    async with Alertmanager(settings(server.url), clock=lambda: now) as channel:
        await channel.send(queued(moved, "am"))
        assert len(shown(server, moved)) == 1
        await channel.send(queued(dataclasses.replace(moved, state=AlertState.RESOLVED), "am"))
        assert shown(server, moved) == []


async def test_names_with_quotes_and_line_breaks_are_no_matter(server: AlertmanagerServer) -> None:
    moved = fresh(subject=Subject(SubjectKind.DEVICE, 5, 'gw/"dev"\n{}\\, Huế'))
    async with Alertmanager(settings(server.url)) as channel:
        await channel.send(queued(moved, "am"))
        [alert] = shown(server, moved)
        assert alert["labels"]["subject"] == 'gw/"dev"\n{}\\, Huế'
        await channel.send(queued(then(moved), "am"))
        assert shown(server, moved) == []


async def test_an_alert_escalates_and_is_retracted_and_stands_once_meanwhile(server: AlertmanagerServer) -> None:
    moved = fresh(severity=Severity.MAJOR)
    async with Alertmanager(settings(server.url)) as channel:
        await channel.send(queued(moved, "am"))
        worse = dataclasses.replace(moved, severity=Severity.CRITICAL, at=moved.at + 1, change=Event.ESCALATED)
        await channel.send(queued(worse, "am"))
        [alert] = shown(server, moved)
        assert alert["labels"]["severity"] == "critical"
        revised = dataclasses.replace(worse, at=moved.at + 2, summary_en="Seen anew", change=Event.REVISED)
        await channel.send(queued(revised, "am"))
        [alert] = shown(server, moved)
        assert alert["annotations"]["summary"] == "Seen anew"
        await channel.send(queued(then(worse, change=Event.RETRACTED), "am"))
        assert shown(server, moved) == []


async def test_resolving_what_it_has_forgotten_is_no_failure(server: AlertmanagerServer) -> None:
    moved = fresh()
    async with Alertmanager(settings(server.url)) as channel:
        await channel.send(queued(then(moved), "am"))
    assert shown(server, moved) == []


async def test_acknowledged_is_not_for_it(server: AlertmanagerServer) -> None:
    async with Alertmanager(settings(server.url)) as channel:
        with pytest.raises(PermanentFailure):
            await channel.send(queued(fresh(state=AlertState.ACKNOWLEDGED), "am"))


async def test_answers_of_a_sick_server_are_failures() -> None:
    async with target() as sick, Alertmanager(settings(sick.url.partition("/hook")[0], timeout_seconds=2.0)) as channel:
        sick.steps.append(answer(503))
        with pytest.raises(TemporaryFailure, match="503"):
            await channel.send(queued(fresh(), "am"))
        sick.steps.append(answer(400, b"bad label"))
        with pytest.raises(PermanentFailure, match="bad label"):
            await channel.send(queued(fresh(), "am"))
        for step in (answer(500), answer(200, b"<html>"), answer(404), hang):
            sick.steps.append(step)
            with pytest.raises(TemporaryFailure):
                await channel.send(queued(then(fresh()), "am"))
        sick.steps.append(hang)
        async with asyncio.timeout(20):
            with pytest.raises(TemporaryFailure, match="TimeoutError"):
                await channel.send(queued(fresh(), "am"))


async def test_no_server_is_temporary() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    async with Alertmanager(settings(f"http://127.0.0.1:{port}")) as channel:
        for moved in (fresh(), then(fresh())):
            with pytest.raises(TemporaryFailure, match=f"127.0.0.1:{port}"):
                await channel.send(queued(moved, "am"))
