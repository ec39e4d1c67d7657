"""What an operator may say of channels, and what comes of it."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError
from structlog.testing import capture_logs

from alerting.channels import open_channels
from alerting.channels.settings import ChannelSettings, LogSettings
from alerting.model import Event, Severity
from alerting.notify import ChannelSpec
from tests.alerting.samples import queued, transition

ADAPTER: TypeAdapter[ChannelSettings] = TypeAdapter(ChannelSettings)

GOOD: list[dict[str, Any]] = [
    {"type": "log", "name": "log"},
    {"type": "webhook", "name": "duty", "url": "https://example.org/hook?x=1", "secret": "s" * 16},
    {"type": "webhook", "name": "lan", "url": "http://[fd00::1]:8080/", "allow_networks": ["fd00::/8", "10.0.0.0/8"]},
    {"type": "mqtt", "name": "board", "url": "mqtts://broker:8883", "username": "u", "password": "p"},
    {"type": "mqtt", "name": "board", "url": "mqtt://broker", "topic": "a/{subject_kind}/{subject_id}", "retain": True},
    {"type": "alertmanager", "name": "am", "url": "http://alertmanager:9093", "labels": {"site": "hue"}},
]

BAD: list[dict[str, Any]] = [
    {"name": "no type"},
    {"type": "pigeon", "name": "x"},
    {"type": "log", "name": "Capital"},
    {"type": "log", "name": ""},
    {"type": "log", "name": "x", "unheard": 1},
    {"type": "log", "name": "x", "events": []},
    {"type": "log", "name": "x", "events": ["pending"]},
    {"type": "log", "name": "x", "rules": []},
    {"type": "log", "name": "x", "min_severity": "urgent"},
    {"type": "log", "name": "x", "concurrency": 0},
    {"type": "log", "name": "x", "timeout_seconds": 0},
    {"type": "log", "name": "x", "timeout_seconds": float("nan")},
    {"type": "webhook", "name": "x"},
    {"type": "webhook", "name": "x", "url": "ftp://example.org/"},
    {"type": "webhook", "name": "x", "url": "https:///path"},
    {"type": "webhook", "name": "x", "url": "https://user:word@example.org/"},
    {"type": "webhook", "name": "x", "url": "https://example.org:port/"},
    {"type": "webhook", "name": "x", "url": "https://example.org/", "secret": "short"},
    {"type": "webhook", "name": "x", "url": "https://example.org/", "headers": {"Host": "other"}},
    {"type": "webhook", "name": "x", "url": "https://example.org/", "headers": {"X y": "z"}},
    {"type": "webhook", "name": "x", "url": "https://example.org/", "headers": {"X": "a\r\nY: b"}},
    {"type": "webhook", "name": "x", "url": "https://example.org/", "allow_networks": ["10.0.0.1/8"]},
    {"type": "mqtt", "name": "x", "url": "http://broker"},
    {"type": "mqtt", "name": "x", "url": "mqtt://u:p@broker"},
    {"type": "mqtt", "name": "x", "url": "mqtt://broker/topic"},
    {"type": "mqtt", "name": "x", "url": "mqtt://broker", "password": "p"},
    {"type": "mqtt", "name": "x", "url": "mqtt://broker", "ca_file": "/ca.pem"},
    {"type": "mqtt", "name": "x", "url": "mqtts://broker", "cert_file": "/c.pem"},
    {"type": "mqtt", "name": "x", "url": "mqtt://broker", "protocol": "3.1"},
    {"type": "alertmanager", "name": "x", "url": "http://a", "events": ["firing"]},
    {"type": "alertmanager", "name": "x", "url": "http://a", "events": ["firing", "resolved", "acknowledged"]},
    {"type": "alertmanager", "name": "x", "url": "http://a", "labels": {"a-b": "c"}},
]


@pytest.mark.parametrize("said", GOOD, ids=str)
async def test_good_settings_open_a_channel(said: dict[str, Any]) -> None:
    made = ADAPTER.validate_python(said)
    async with open_channels([made]) as channels:
        assert list(channels) == [said["name"]]


@pytest.mark.parametrize("said", BAD, ids=str)
def test_bad_settings_are_refused(said: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ADAPTER.validate_python(said)


def test_settings_say_who_is_told_and_how_hard_it_is_tried() -> None:
    made = ADAPTER.validate_python(
        {
            "type": "log",
            "name": "x",
            "min_severity": "major",
            "events": ["acknowledged"],
            "rules": ["vms.*"],
            "concurrency": 2,
            "timeout_seconds": 3,
            "max_delay_seconds": 60,
            "max_attempts": 7,
            "max_age_seconds": 600,
        }
    )
    assert made.spec == ChannelSpec("x", Severity.MAJOR, frozenset({Event.ACKNOWLEDGED}), ("vms.*",))
    policy = made.policy
    assert (policy.concurrency, policy.timeout_seconds, policy.max_delay_seconds) == (2, 3, 60)
    assert (policy.max_attempts, policy.max_age_seconds) == (7, 600)


async def test_the_log_gets_one_structured_line() -> None:
    notification = queued(transition(), "log")
    with capture_logs() as logs:
        async with open_channels([LogSettings(name="log")]) as channels:
            await channels["log"].send(notification)
    [line] = logs
    assert line["event"] == "alert.firing"
    assert line["log_level"] == "warning"
    assert line["channel"] == "log"
    assert line["notification_id"] == str(notification.id)
    assert line["summary_vi"] == "Mất tín hiệu 6,5 giờ"


def test_every_setting_is_described() -> None:
    for model in ADAPTER.json_schema()["$defs"].values():
        for name, field in model.get("properties", {}).items():
            if name != "type":
                assert field.get("description"), (model["title"], name)
