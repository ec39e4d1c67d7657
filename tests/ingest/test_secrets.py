"""Secrets stay secret: no output of any command, and no log line of a service whose every part fails, shows one."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.ingest.command import PROCESS, haidang

if TYPE_CHECKING:
    from pathlib import Path

    from services.mosquitto import Mosquitto
    from tests.servers.http_target import HttpTarget

#: No part of a message that is meant to be shown.
DSN, MQTT, SIGN, OLD, TOKEN, PAGER = (f"zq{word}7Kx" for word in ("dsn", "mqtt", "sign", "old", "token", "pager"))
SECRETS = (DSN, MQTT, SIGN, OLD, TOKEN, PAGER)

CONFIG = """\
[database]
dsn = "{dsn}"
connect_timeout = 2

[sources.gateways]
type = "mqtt"
host = "127.0.0.1"
port = {port}
username = "haidang"
password = "{mqtt}"

[channels.hook]
type = "webhook"
url = "{url}"
secret = "{sign}-long-enough"
previous_secret = "{old}-long-enough"
headers = {{ Authorization = "Bearer {token}" }}
allow_networks = ["127.0.0.0/8"]

[channels.board]
type = "mqtt"
url = "mqtt://127.0.0.1:{port}"
username = "officer"
password = "{pager}"

[service]
log_level = "debug"

[http]
port = 0
"""


def config(folder: Path, dsn: str, *, port: int = 1, url: str = "http://127.0.0.1:1/", more: str = "") -> Path:
    path = folder / "haidang.toml"
    names = {"mqtt": MQTT, "sign": SIGN, "old": OLD, "token": TOKEN, "pager": PAGER}
    path.write_text(CONFIG.format(dsn=dsn, port=port, url=url, **names) + more)
    return path


def silent(text: str) -> None:
    assert not [secret for secret in SECRETS if secret in text], text


MAIL = "[channels.other]\ntype = 'smtp'\nhost = 'h'\nfrom = 'a@b.c'\nto = ['a@b.c']\nusername = 'u'\n"

#: DSNs that libpq cannot read, or reads otherwise than they were meant, each in its own way.
UNREADABLE = (
    f"host=127.0.0.1 port=1 password=deep {DSN}",
    f"host=127.0.0.1 port=1 password='{DSN}",
    f"host=127.0.0.1 port=1 password=deep {DSN}=x",
    f"postgresql://u:{DSN}%zz@127.0.0.1:1/x",
    f"postgresql://u:a%00{DSN}@127.0.0.1:1/x",
    f"postgresql://u:a/{DSN}@127.0.0.1:1/x",
    f"postgresql://u:a@{DSN}@127.0.0.1:1/x",
    f"postgresql://u:a?{DSN}@127.0.0.1:1/x",
    f"postgresql://u:a#{DSN}@127.0.0.1:1/x",
    f"postgresql://u:[{DSN}@127.0.0.1:1/x",
    f"postgresql://u:x@[{DSN}",
    f"postgresql://u:x@127.0.0.1:1/x?{DSN}=1",
    f"postgresql://u:x@127.0.0.1:{DSN}/x",
)


@pytest.mark.parametrize("dsn", UNREADABLE)
def test_a_dsn_that_cannot_be_read_is_refused_in_one_line_that_does_not_repeat_it(dsn: str) -> None:
    result = haidang("alerts", "list", "--dsn", dsn)
    assert result.code == 2
    assert result.err.count("\n") == 1
    silent(result.out + result.err)


@pytest.mark.parametrize(
    "more",
    [
        "",
        "[channels.other]\ntype = 'webhook'\nurl = 'http://x/'\nsecret = 'zqsign7Kx'\n",  # too short: refused
        "[channels.other]\ntype = 'webhook'\nurl = 'http://u:zqtoken7Kx@x/'\n",  # credentials in a URL: refused
        "[channels.other]\ntype = 'mqtt'\nurl = 'mqtt://u:zqpager7Kx@x/'\n",
        "[channels.other]\ntype = 'webhook'\nurl = 'http://x/'\nheaders = { Authorization = 7, A = 'zqtoken7Kx' }\n",
        "[channels.other]\ntype = 'webhook'\nurl = 'http://x/'\nsecret = ['zqsign7Kx']\n",
        "[channels.other]\ntype = 'alertmanager'\nurl = 'http://u:zqtoken7Kx@x/'\n",
        MAIL + "password = 'zqpager7Kx'\n",
        MAIL + "password = 'zqpager7Kx'\nsecurity = 'plain'\n",
        MAIL + "password = ['zqpager7Kx']\n",
        "[channels.other]\ntype = 'apprise'\nurls = ['json://u:zqtoken7Kx@x/zqtoken7Kx']\n",
        "[channels.other]\ntype = 'apprise'\nurls = ['nobody://u:zqtoken7Kx@x/zqtoken7Kx']\n",
        "[channels.other]\ntype = 'apprise'\nurls = ['tgram://zqtoken7Kx']\n",
        "[channels.other]\ntype = 'apprise'\nurls = 'json://zqtoken7Kx'\n",
    ],
)
def test_the_configuration_is_checked_shown_and_refused_without_its_secrets(tmp_path: Path, more: str) -> None:
    path = config(tmp_path, f"postgresql://u:{DSN}@127.0.0.1:1/x", more=more)
    for arguments in (("show",), ("show", "--json"), ("check",)):
        result = haidang("config", *arguments, "--config", path)
        assert result.out + result.err
        silent(result.out + result.err)


def test_a_service_whose_every_part_refuses_it_shows_no_secret(
    migrated: str, broker: Mosquitto, http_target: HttpTarget, tmp_path: Path
) -> None:
    """Database, broker and webhook in turn, as a process with all its standard output and error."""
    _, _, place = migrated.partition("@")
    attempts = {
        "a wrong password": f"postgresql://haidang:{DSN}@{place}",
        "no server": f"postgresql://haidang:{DSN}@127.0.0.1:1/x",
        "no such user": f"postgresql://nobody:{DSN}@{place}",
        "no such host": f"postgresql://haidang:{DSN}@no-such-host.invalid/x",
    }
    for dsn in attempts.values():
        path = config(tmp_path, dsn, port=broker.port, url=http_target.url)
        done = run("run", "--config", str(path))
        assert done.returncode == 2
        silent(done.stdout + done.stderr)
    done = run("run", "--config", str(config(tmp_path, migrated, port=1)))  # no broker
    assert done.returncode == 2
    silent(done.stdout + done.stderr)


def test_a_crash_shows_no_secret(migrated: str, broker: Mosquitto, tmp_path: Path) -> None:
    """The worst output there is: the traceback of a process that ends by an error nobody foresaw."""
    path = config(tmp_path, migrated, port=broker.port)
    code = (
        "import sys, ingest.jobs as j\n"
        "async def boom(self): raise RuntimeError('unforeseen')\n"
        "j.Jobs._retain = boom\n"
        "from ingest.cli import main\n"
        f"sys.argv = ['haidang', 'run', '--config', {str(path)!r}]\n"
        "main()\n"
    )
    done = subprocess.run(  # our own command
        [PROCESS[0], "-c", code], capture_output=True, text=True, timeout=60, check=False, env=dict(os.environ)
    )
    assert done.returncode not in (0, 2)
    assert "unforeseen" in done.stderr
    password = psycopg.conninfo.conninfo_to_dict(migrated)["password"]
    assert str(password) not in done.stdout + done.stderr
    silent(done.stdout + done.stderr)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # our own command
        [*PROCESS, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
