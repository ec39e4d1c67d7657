"""Settings: unknown keys are refused with their place, the environment wins, secrets come from files."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING

import pytest

from ingest.settings import ConfigError, load, shown

if TYPE_CHECKING:
    from pathlib import Path

GOOD = """
[database]
dsn = "postgresql://u:secret@db/haidang"

[sources.coast]
type = "mqtt"
host = "broker"
username = "haidang"

[sources.receiver]
type = "nmea_tcp"
host = "127.0.0.1"
port = 10110

[channels.duty]
type = "webhook"
url = "https://example.invalid/hook"
secret = "hmac-secret-of-sixteen"
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "haidang.toml"
    path.write_text(GOOD)
    return path


def test_a_good_file_is_read(config: Path) -> None:
    settings = load(config)
    assert settings.database.dsn.get_secret_value() == "postgresql://u:secret@db/haidang"
    assert settings.sources["coast"].type == "mqtt"
    assert settings.http.host == "127.0.0.1"


@pytest.mark.parametrize(
    ("bad", "line", "says"),
    [
        ('[sources.coast]\ntype = "mqtt"\nhost = "b"\nprot = 1', 4, "sources.coast.prot: unknown key"),
        ("[databse]\ndsn = 'x'", 1, "databse: unknown key"),
        ('[sources.coast]\ntype = "mqtt"', 1, "sources.coast.host: Field required"),
        ('[sources.coast]\ntype = "mqtt"\nhost = "b"\nport = 70000', 4, "sources.coast.port"),
        ('[sources.coast]\ntype = "carrier-pigeon"', 1, "sources.coast"),
        ('[sources."Coast!"]\ntype = "mqtt"\nhost = "b"', None, "lower-case"),
        (
            '[sources.a]\ntype = "mqtt"\nhost = "b"\n[sources.b]\ntype = "mqtt"\nhost = "b"',
            None,
            "share the client_id",
        ),
        ("[http\nport = 1", None, "line 1"),
        ('[alerts]\nlink = "https://hd.example/alerts"', 2, "alerts.link: must hold {id}"),
        ('[alerts]\nlink = "https://hd.example/{rule}/{id}"', 2, "alerts.link: must hold {id}"),
        ('[alerts]\nlink = "hd.example/{id}"', 2, "alerts.link: must be http"),
        ('[rules]\npacks = "hue"', 2, "rules.packs: should be a list"),
    ],
)
def test_a_fault_is_one_line_with_file_line_key_and_reason(
    tmp_path: Path, bad: str, line: int | None, says: str
) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(bad)
    with pytest.raises(ConfigError) as caught:
        load(path)
    (message,) = str(caught.value).splitlines()
    assert message.startswith(str(path))
    assert says in message
    if line:
        assert f"line {line}:" in message


def test_the_environment_overrides_the_file(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAIDANG__HTTP__PORT", "9999")
    monkeypatch.setenv("HAIDANG__SOURCES__COAST__HOST", "other")
    settings = load(config)
    assert settings.http.port == 9999
    coast = settings.sources["coast"]
    assert coast.type == "mqtt"
    assert (coast.host, coast.username) == ("other", "haidang")


def test_a_secret_can_come_from_a_file(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "dsn"
    secret.write_text("postgresql://from-file\n")
    monkeypatch.setenv("HAIDANG__DATABASE__DSN_FILE", str(secret))
    assert load(config).database.dsn.get_secret_value() == "postgresql://from-file"
    monkeypatch.setenv("HAIDANG__DATABASE__DSN_FILE", str(tmp_path / "absent"))
    with pytest.raises(ConfigError, match="No such file"):
        load(config)
    secret.write_bytes(b"caf\xe9")
    monkeypatch.setenv("HAIDANG__DATABASE__DSN_FILE", str(secret))
    with pytest.raises(ConfigError, match=r"HAIDANG__DATABASE__DSN_FILE: .*dsn: not UTF-8 text"):
        load(config)


def test_a_file_nested_without_end_is_refused_in_one_line(config: Path) -> None:
    config.write_text("x = " + "[" * 5_000 + "]" * 5_000)
    with pytest.raises(ConfigError, match=rf"^{config}: nested too deep$"):
        load(config)


def test_an_unknown_section_or_key_in_the_environment_is_refused(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAIDANG__HTPP__PORT", "1")
    with pytest.raises(ConfigError, match="HAIDANG__HTPP__PORT: no such section"):
        load(config)
    monkeypatch.delenv("HAIDANG__HTPP__PORT")
    monkeypatch.setenv("HAIDANG__HTTP__PROT", "1")
    with pytest.raises(ConfigError, match="environment: HAIDANG__HTTP__PROT: unknown key"):
        load(config)


def test_a_section_given_as_something_else_is_refused(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAIDANG__DATABASE", "abc")
    with pytest.raises(ConfigError, match="environment: HAIDANG__DATABASE: not JSON") as caught:
        load(config)
    assert "\n" not in str(caught.value)


def test_a_list_in_the_environment_is_json_and_one_that_is_not_is_named(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HAIDANG__RULES__PACKS", '["hue"]')
    assert load(config).rules.packs == ("hue",)
    monkeypatch.setenv("HAIDANG__RULES__PACKS", "hue")
    with pytest.raises(ConfigError, match=r'^environment: HAIDANG__RULES__PACKS: not JSON, such as \["a", "b"\]'):
        load(config)


def test_a_byte_order_mark_is_passed_over(config: Path) -> None:
    config.write_bytes(codecs.BOM_UTF8 + config.read_bytes())
    assert load(config).http.host == "127.0.0.1"


def test_what_is_shown_stands_in_one_order(config: Path) -> None:
    for channel in shown(load(config))["channels"].values():
        assert channel["events"] == sorted(channel["events"])


def test_secrets_are_never_shown(config: Path) -> None:
    text = str(shown(load(config))) + repr(load(config))
    assert "hmac-secret" not in text
    assert "u:secret" not in text
