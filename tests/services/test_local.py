"""``python -m services``: daemons that outlive the command, are found again, and stop; and what replaces them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest

from services import fallback, local
from services.endpoints import Endpoints
from services.processes import wait_until
from tests.servers.http_target import Answer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from services.debian_root import DebianRoot
    from tests.servers.http_target import HttpTarget

REPOSITORY = local.RULES.parents[2]


@pytest.fixture
def own_home(debian_root: DebianRoot, open_folder: Path) -> Iterator[Path]:
    """A home with a root of its own, whose files are the session's root's by hard links."""
    home = open_folder / "home"
    root = home / "root"
    root.mkdir(parents=True)
    parts = [str(path) for path in debian_root.path.iterdir() if path.name != "srv"]
    subprocess.run(["cp", "--archive", "--link", *parts, str(root)], check=True)
    (root / "srv").mkdir()
    yield home
    local.stop(home=home)
    shutil.rmtree(home)


def services(home: Path, *arguments: str) -> tuple[int, str, str]:
    """Exit code, last line of stdout, stderr of one command."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "services", *arguments],
        env={**os.environ, "HAIDANG_HOME": str(home)},
        cwd=REPOSITORY,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, (done.stdout.splitlines() or [""])[-1], done.stderr


def test_up_prints_where_they_are_and_they_stay_until_down(own_home: Path, http_target: HttpTarget) -> None:
    code, line, said = services(own_home, "up", "--metrics", f"127.0.0.1:{http_target.port}")
    assert (code, said.count("starting")) == (0, 4), said
    urls = json.loads(line)
    assert {name: urlsplit(url).scheme for name, url in urls.items()} == {
        "dsn": "postgresql",
        "mqtt": "mqtt",
        "prometheus": "http",
        "alertmanager": "http",
    }
    with psycopg.connect(urls["dsn"]) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1")
    http_target.default = Answer(body=b"up 1\n", headers={"Content-Type": "text/plain; version=0.0.4"})
    http_target.wait_for(1, 20)  # Prometheus scrapes what it was given

    assert services(own_home, "status")[:2] == (0, line)
    code, again, said = services(own_home, "up")
    assert (code, again, said.count("runs already")) == (0, line, 4)
    known = f"{urls['prometheus']}/api/v1/alertmanagers"
    manager = urlsplit(urls["alertmanager"]).netloc
    assert wait_until(lambda: manager in httpx.get(known).text, 20)

    code, nothing, said = services(own_home, "down", "prometheus")
    assert (code, nothing, said.count("stopping")) == (0, "", 1)
    assert "prometheus" not in json.loads(services(own_home, "status")[1])
    assert services(own_home, "down")[2].count("stopping") == 3
    assert services(own_home, "status")[1] == "{}"
    assert services(own_home, "down") == (0, "", "nothing was running\n")

    code, line, _ = services(own_home, "up", "postgres")
    assert (code, json.loads(line)) == (0, {"dsn": urls["dsn"]})  # same port, same password, same data
    with psycopg.connect(urls["dsn"]) as connection:
        assert connection.execute("SELECT * FROM kept").fetchall() == [(1,)]


def test_an_unknown_name_is_refused_and_nothing_is_made_to_look(tmp_path: Path) -> None:
    code, line, said = services(tmp_path, "up", "kafka")
    assert (code, line) == (2, "")
    assert said == "services: no such service: kafka (there are postgres, mosquitto, alertmanager, prometheus)\n"
    assert services(tmp_path, "status") == (0, "{}", "")
    assert services(tmp_path, "down") == (0, "", "nothing was running\n")


def test_endpoints_are_one_line_in_a_fixed_order() -> None:
    assert Endpoints(mqtt="mqtt://b", dsn="postgresql://a").as_json() == '{"dsn":"postgresql://a","mqtt":"mqtt://b"}'


def test_the_fallback_runs_without_root_or_debian(open_folder: Path) -> None:
    said: list[str] = []
    first = fallback.start(home=open_folder / "plain-home", progress=said.append)
    try:
        assert len(said) == len(first.started) == 2
        assert first.endpoints.mqtt_version == "3.1.1"
        assert first.endpoints.prometheus is first.endpoints.alertmanager is None
        assert first.endpoints.dsn is not None
        with psycopg.connect(first.endpoints.dsn) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 1")
        second = fallback.start(home=open_folder / "plain-home")
        assert (second.endpoints, second.started) == (first.endpoints, ())
        second.stop()  # it started nothing
        assert all(server.is_running for server in first.started)
        first.stop()
        assert not any(server.is_running for server in first.started)
        third = fallback.start(home=open_folder / "plain-home")
        assert third.endpoints.dsn == first.endpoints.dsn
        with psycopg.connect(first.endpoints.dsn) as connection:
            assert connection.execute("SELECT * FROM kept").fetchall() == [(1,)]
        third.stop()
    finally:
        for server in first.started:
            server.remove()
