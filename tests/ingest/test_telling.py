"""Who is told, and with which link, on every way to a notification: the pipeline, reviews, deadlines, people, time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import orjson
import pytest

from alerting.channels.settings import LogSettings
from alerting.model import Event
from ingest.settings import Alerts, Rules
from ingest.watch import install
from tests.ingest.command import PROCESS, haidang, rows
from tests.ingest.running import publish, reading, serving, settings, until

if TYPE_CHECKING:
    from pathlib import Path

    from services.mosquitto import Mosquitto

MINUTE = 60
LINK = "https://board.example/alerts/{id}"
RULE = """
[[rule]]
id = "flood"
kind = "threshold"
title = { en = "Flood", vi = "Lũ" }
severity = "major"
metric = "water_level"
unit = "m"
raise = 2.0
source = "a test"
channels = ["room"]

[[procedure]]
id = "late"
match = { rule = "flood" }
[[procedure.steps]]
after = "1s"
[[procedure.steps]]
after = "2s"
channels = ["port"]
"""
TOLD = "SELECT DISTINCT event, channel FROM notifications"
LINKS = "SELECT DISTINCT payload ->> 'link' FROM notifications"


def toml(dsn: str, rules: Path) -> str:
    events = orjson.dumps([event.value for event in Event]).decode()
    channels = "".join(f'[channels.{name}]\ntype = "log"\nevents = {events}\n' for name in ("room", "other"))
    return (
        f'[database]\ndsn = "{dsn}"\n[alerts]\nlink = "{LINK}"\n[rules]\nfiles = ["{rules}"]\n'
        f'[sources.a]\ntype = "nmea_udp"\nport = 0\n[http]\nport = 0\n{channels}'
    )


async def test_an_alert_is_told_to_whom_its_rule_names_and_with_its_link_on_every_way(
    migrated: str, broker: Mosquitto, tmp_path: Path
) -> None:
    gateway = f"gw-{uuid4().hex[:8]}"
    file, config_file = tmp_path / "rules.toml", tmp_path / "haidang.toml"
    file.write_text(RULE)
    config_file.write_text(toml(migrated, file))
    config = settings(
        migrated,
        broker,
        gateway,
        rules=Rules(review_after_seconds=0.2),
        alerts=Alerts(link=LINK, desk_seconds=0.1, close_after_days=0.001),
        channels={name: LogSettings(name=name, events=frozenset(Event)) for name in ("room", "other")},
    )

    async def told(expected: set[tuple[str, str]]) -> None:
        await until(lambda: set(rows(migrated, TOLD)) == expected)

    async def acts(*words: Any) -> None:
        arguments = [str(word) for word in ("alerts", *words, "--dsn", migrated, "--config", config_file)]
        process = await asyncio.create_subprocess_exec(*PROCESS, *arguments, stdout=asyncio.subprocess.DEVNULL)
        assert await process.wait() == 0

    async with serving(config, await install([file], migrated)):
        await publish(broker, gateway, "gauge", [reading(60 * MINUTE, 2.5)])
        expected = {("firing", "room"), ("overdue", "room"), ("overdue", "other")}
        await told(expected)
        await publish(broker, gateway, "gauge", [reading(61 * MINUTE, 2.6), reading(30 * MINUTE, 3.0)])
        await told(expected := expected | {("revised", "room")})
        [(alert,)] = rows(migrated, "SELECT id FROM alerts")
        await acts("ack", alert)
        await acts("comment", alert, "boat sent")
        await told(expected := expected | {("acknowledged", "room"), ("commented", "room")})
        await publish(broker, gateway, "gauge", [reading(70 * MINUTE, 0.5)])
        await told(expected | {("resolved", "room"), ("closed", "room")})
    assert rows(migrated, LINKS) == [(LINK.replace("{id}", str(alert)),)]
    steps = "SELECT details ->> 'step', details -> 'unreachable' FROM alert_history WHERE change = 'overdue'"
    assert sorted(rows(migrated, steps)) == [("1", None), ("2", ["port"])]


@pytest.mark.parametrize("command", ["config check", "run"])
def test_a_rule_that_names_a_channel_that_is_not_set_up_is_refused_with_file_and_line(
    migrated: str, tmp_path: Path, command: str
) -> None:
    file, config = tmp_path / "rules.toml", tmp_path / "haidang.toml"
    file.write_text(RULE.replace('"room"', '"rom"'))
    config.write_text(toml(migrated, file))
    result = haidang(*command.split(), "--config", config)
    fault = f"haidang: {file}:11: rule 'flood': unknown channel 'rom'; there are other, room\n"
    assert (result.code, result.err) == (2, fault)


def test_a_step_that_names_a_channel_that_is_not_set_up_is_said_by_the_check(migrated: str, tmp_path: Path) -> None:
    file, config = tmp_path / "rules.toml", tmp_path / "haidang.toml"
    file.write_text(RULE)
    config.write_text(toml(migrated, file))
    result = haidang("config", "check", "--config", config)
    assert (result.code, "1 sources, 2 channels" in result.out) == (0, True)
    assert result.err == (
        f"haidang: warning: {file}:20: procedure late: step 2: there is no channel 'port':"
        " all channels that are told of 'overdue' are told instead\n"
    )
