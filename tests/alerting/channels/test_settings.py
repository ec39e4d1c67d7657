"""What an operator may say of channels, and what comes of it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import TypeAdapter, ValidationError
from structlog.testing import capture_logs

from alerting.channels import open_channels
from alerting.channels.settings import ChannelSettings, LogSettings
from alerting.desk.notify import ChannelSpec
from alerting.model import Event, Severity
from ingest.settings import ConfigError, load
from tests.alerting.samples import queued, transition

if TYPE_CHECKING:
    from pathlib import Path

ADAPTER: TypeAdapter[ChannelSettings] = TypeAdapter(ChannelSettings)

MAIL = {"type": "smtp", "name": "mail", "host": "mail.example.org", "from": "a@example.org", "to": ["b@example.org"]}
GOOD: list[dict[str, Any]] = [
    {"type": "log", "name": "log"},
    {"type": "webhook", "name": "duty", "url": "https://example.org/hook?x=1", "secret": "s" * 16},
    {"type": "webhook", "name": "lan", "url": "http://[fd00::1]:8080/", "allow_networks": ["fd00::/8", "10.0.0.0/8"]},
    {"type": "mqtt", "name": "board", "url": "mqtts://broker:8883", "username": "u", "password": "p"},
    {"type": "mqtt", "name": "board", "url": "mqtt://broker", "topic": "a/{subject_kind}/{subject_id}", "retain": True},
    {"type": "alertmanager", "name": "am", "url": "http://alertmanager:9093", "labels": {"site": "hue"}},
    {**MAIL, "to": ["Trực ban <duty@example.org>", "b@example.org"], "username": "u", "password": "p"},
    {**MAIL, "security": "plain", "port": 2525, "reply_to": "c@example.org", "html": True, "language": "vi"},
    {**MAIL, "subject": {"vi": "{subject}: {summary}"}, "template": {"en": "{{{details.reason}}}\n{link}"}},
    {"type": "apprise", "name": "chat", "urls": ["json://127.0.0.1:1/x"], "rate_per_minute": 20, "burst": 5},
    {"type": "log", "name": "log", "quiet": [{"from": "22:00", "to": "06:00", "utc_offset": "-03:30"}]},
]

BAD_QUIET: list[dict[str, Any]] = [
    {"from": "22:00"},
    {"from": "22", "to": "06:00"},
    {"from": "22:00", "to": "24:00"},
    {"from": "22:00", "to": "22:00"},
    {"from": "22:00", "to": "06:00", "below": "info"},
    {"from": "22:00", "to": "06:00", "utc_offset": "7"},
    {"from_": "22:00", "to": "06:00"},
]
BAD_MAIL: list[dict[str, Any]] = [
    {"to": []},
    {"to": ["nobody"]},
    {"to": ["a@example.org, b@example.org"]},
    {"to": ["all: a@example.org, b@example.org;"]},
    {"to": ["all: a@example.org;"]},
    {"to": ["a@example.org\r\nBcc: b@example.org"]},
    {"to": ["Trực <trực@example.org>"]},
    {"to": ["a@bờ.example"]},
    {"to": ["<>"]},
    {"from": "a@"},
    {"host": "mail example"},
    {"host": ""},
    {"port": 0},
    {"username": "u"},
    {"password": "p"},
    {"security": "plain", "username": "u", "password": "p"},
    {"security": "none"},
    {"language": "fr"},
    {"subject": {"fr": "x"}},
    {"subject": {"vi": "{nothing}"}},
    {"subject": {"vi": "{summary.__class__}"}},
    {"subject": {"vi": "{summary[0]}"}},
    {"subject": {"vi": "{summary!r}"}},
    {"subject": {"vi": "{value:.2f}"}},
    {"subject": {"vi": "{details}"}},
    {"subject": {"vi": "{details.a.b}"}},
    {"subject": {"vi": "{"}},
    {"subject": {"vi": "}"}},
    {"subject": {"vi": "{}"}},
    {"subject": {"vi": "{0}"}},
    {"template": {"en": ""}},
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
    {"type": "log", "name": "x", "rate_per_minute": 0},
    {"type": "log", "name": "x", "burst": 5},
    {"type": "log", "name": "x", "rate_per_minute": 4, "burst": 5},
    *({"type": "log", "name": "x", "quiet": [one]} for one in BAD_QUIET),
    *({**MAIL, **one} for one in BAD_MAIL),
    {"type": "apprise", "name": "x", "urls": []},
    {"type": "apprise", "name": "x", "urls": ["nobody-knows-this://x"]},
    {"type": "apprise", "name": "x", "urls": ["tgram://"]},
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


def test_a_text_that_names_what_there_is_not_is_told_where_and_what_there_is(tmp_path: Path) -> None:
    (tmp_path / "haidang.toml").write_text(
        "[channels.mail]\ntype = 'smtp'\nhost = 'h'\nfrom = 'a@b.c'\nto = ['d@e.f']\ntemplate.vi = '{vessel}'\n"
        "[channels.chat]\ntype = 'apprise'\nurls = ['nobody://zqtoken7Kx']\n"
        "[channels.log]\ntype = 'log'\nquiet = [{ from = '9pm', to = '06:00' }]\n"
    )
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "haidang.toml")
    mail, chat, log = sorted(str(caught.value).splitlines(), key=lambda line: line.index("chann"))
    lines = {line.partition("line ")[2].partition(": ")[0]: line for line in (mail, chat, log)}
    assert "channels.mail.template.vi: unknown {vessel}: a text may use summary, event" in lines["6"]
    assert lines["9"].endswith("channels.chat.urls: url 1 is none that Apprise knows, or lacks a part")
    assert "channels.log.quiet.0.from: expected a time of day" in lines["12"]


def test_without_the_library_a_chat_channel_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(ValidationError, match=r"needs the library Apprise: pip install 'haidang\[chat\]'"):
        ADAPTER.validate_python({"type": "apprise", "name": "x", "urls": ["json://127.0.0.1:1/"]})


def test_every_setting_is_described() -> None:
    for model in ADAPTER.json_schema()["$defs"].values():
        for name, field in model.get("properties", {}).items():
            if name != "type":
                assert field.get("description"), (model["title"], name)
