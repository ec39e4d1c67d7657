"""``haidang run`` as a process between real servers: in over the wire, out to a webhook, and a clean stop."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx
import pytest
from paho.mqtt import publish
from prometheus_client.parser import text_string_to_metric_families

from alerting.channels.signature import verify
from services.ports import LOOPBACK, find_free
from tests.ingest.command import PROCESS, done, rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from services.mosquitto import Mosquitto
    from services.prometheus import Prometheus
    from tests.conftest import Make
    from tests.servers.http_target import HttpTarget

SECRET = "a lighthouse keeps its secret"
FATES = {"stored", "duplicate", "ignored", "quarantined", "dropped"}


def until(condition: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.02)


class Run:
    """The service, its log and its HTTP paths."""

    def __init__(self, config: Path, log: Path) -> None:
        self._log = log
        with log.open("wb") as stream:
            self.process = subprocess.Popen((*PROCESS, "run", "--config", str(config)), stderr=stream)
        until(lambda: self.process.poll() is not None or self._subscribed(), "the service has started and subscribed")
        assert self.process.poll() is None, log.read_text()
        self.url: str = self.told("started")[0]["http"]

    def _subscribed(self) -> bool:
        return any(line["source"] == "gateways" for line in self.told("source_connected"))

    def told(self, event: str) -> list[dict[str, Any]]:
        """The lines of the log that tell of an event."""
        whole = self._log.read_text().rpartition("\n")[0].splitlines()
        return [line for line in map(json.loads, whole) if line["event"] == event]

    def metrics(self) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
        """One scrape: metric name to labels to value."""
        out: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
        for family in text_string_to_metric_families(httpx.get(f"{self.url}/metrics").text):
            for sample in family.samples:
                out.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
        return out

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(25)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Site:
    """The configuration of one service, with names of its own on the shared broker."""

    def __init__(self, folder: Path, dsn: str, broker: Mosquitto, webhook: str) -> None:
        self.gateway = f"sim-{uuid4().hex[:8]}"
        self.nmea_port = find_free()
        self.config = folder / "haidang.toml"
        self._broker = broker
        topics = [f"haidang/v1/{self.gateway}/+/readings", f"haidang/v1/{self.gateway}/nmea"]
        self.config.write_text(f"""
[database]
dsn = "{dsn}"
[sources.gateways]
type = "mqtt"
host = "{LOOPBACK}"
port = {broker.port}
client_id = "{self.gateway}"
topics = {json.dumps(topics)}
[sources.receiver]
type = "nmea_tcp"
mode = "server"
host = "{LOOPBACK}"
port = {self.nmea_port}
[rules]
packs = ["hue"]
[channels.duty]
type = "webhook"
url = "{webhook}/alerts"
secret = "{SECRET}"
allow_networks = ["127.0.0.0/8"]
[http]
port = 0
[service]
log_format = "json"
grace_seconds = 15
""")

    def publish(self, device: str, values: list[float], *, metric: str = "water_level") -> None:
        """Readings at QoS 1, a second apart and the last one now; returns when the broker has them all."""
        last = datetime.now(UTC)
        messages = [
            {
                "topic": f"haidang/v1/{self.gateway}/{device}/readings",
                "payload": json.dumps(
                    {
                        "time": (last - timedelta(seconds=len(values) - 1 - n)).isoformat(),
                        "readings": {metric: value},
                    }
                ),
                "qos": 1,
            }
            for n, value in enumerate(values)
        ]
        publish.multiple(messages, hostname=LOOPBACK, port=self._broker.port)  # type: ignore[arg-type]

    def refused(self, count: int) -> None:
        topic = f"haidang/v1/{self.gateway}/kim-long/readings"
        publish.multiple([(topic, f"{{no json {n}", 1, False) for n in range(count)], LOOPBACK, self._broker.port)

    def receiver(self) -> socket.socket:
        """A connection as a receiver makes it: it stays, or its source counts as disconnected."""
        return socket.create_connection((LOOPBACK, self.nmea_port), timeout=10)


@pytest.fixture
def site(migrated: str, broker: Mosquitto, http_target: HttpTarget, tmp_path: Path) -> Site:
    return Site(tmp_path, migrated, broker, http_target.url)


@pytest.fixture
def start(site: Site, tmp_path: Path) -> Iterator[Callable[[], Run]]:
    made: list[Run] = []

    def starting() -> Run:
        made.append(Run(site.config, tmp_path / f"run-{len(made)}.log"))
        return made[-1]

    yield starting
    for run in made:
        run.end()


def balance(run: Run) -> dict[str, float]:
    """Received messages by source, after looking that each has one fate or none yet."""
    page = run.metrics()
    received = {dict(labels)["source"]: value for labels, value in page["haidang_received_total"].items()}
    for source, count in received.items():
        of = {dict(ls)["fate"]: v for ls, v in page["haidang_messages_total"].items() if dict(ls)["source"] == source}
        assert set(of) == FATES
        assert count == sum(of.values()) + page["haidang_in_flight"][("source", source),]
    return received


def test_readings_and_vessels_come_in_and_the_duty_room_is_told(
    start: Callable[[], Run],
    site: Site,
    migrated: str,
    http_target: HttpTarget,
    prometheus_factory: Make[Prometheus],
    tmp_path: Path,
) -> None:
    log = tmp_path / "fleet.nmea"
    done("simulate", "fleet", "--for", 60, "--start", "2026-10-05T06:00:00Z", "--seed", 5, "--out", log, "--json")
    sentences = log.read_bytes()
    lines = sentences.count(b"\n")

    run = start()
    port = run.url.rpartition(":")[2]
    prometheus = prometheus_factory(targets={"haidang": [f"{LOOPBACK}:{port}"]}, interval="1s")
    site.publish("kim-long", [0.4, 0.6, 1.3, 2.2])
    site.refused(3)
    with site.receiver() as receiver:
        receiver.sendall(sentences)

        def complete() -> bool:
            return balance(run) == {"gateways": 7, "receiver": lines}

        until(complete, "everything was received; the ledger balanced at every look")
        until(lambda: set(run.metrics()["haidang_in_flight"].values()) == {0}, "everything has its fate")
        assert rows(migrated, "SELECT value FROM readings ORDER BY time") == [(0.4,), (0.6,), (1.3,), (2.2,)]
        assert rows(migrated, "SELECT count(*) FROM quarantine WHERE reason = 'bad_json'") == [(3,)]
        ((vessels, positions),) = rows(migrated, "SELECT count(DISTINCT transponder_id), count(*) FROM positions")
        assert vessels == 12
        page = run.metrics()
        assert page["haidang_rows_total"][("table", "positions"),] == positions
        assert page["haidang_source_connected"] == {(("source", s),): 1 for s in ("gateways", "receiver")}

        river = [r for r in http_target.wait_for(2) if b"flood-kim-long" in r.body]
        until(
            lambda: len([r for r in http_target.requests if b"flood-kim-long" in r.body]) == 2,
            "the first level is told, and the step up",
        )
        river = [r for r in http_target.requests if b"flood-kim-long" in r.body]
        for request in http_target.requests:
            signature = request.headers["x-haidang-signature"]
            assert verify(SECRET.encode(), signature, request.body, time.time())
            assert not verify(b"another secret entirely", signature, request.body, time.time())
        assert len({r.headers["x-haidang-notification-id"] for r in river}) == 2
        told = {json.loads(r.body)["alert_id"] for r in river}
        listed = done("alerts", "list", "--dsn", migrated, "--state", "firing", "--json").lines
        assert told == {alert["id"] for alert in listed if alert["rule_id"].startswith("flood")}
        until(lambda: not rows(migrated, "SELECT 1 FROM notifications WHERE state <> 'sent'"), "all are marked as sent")

        assert httpx.get(f"{run.url}/healthz").status_code == 200
        ready = httpx.get(f"{run.url}/readyz")
        assert (ready.status_code, ready.json()["status"]) == (200, "ok")

    def scraped() -> dict[str, float]:
        answer = httpx.get(f"{prometheus.url}/api/v1/query", params={"query": "haidang_received_total"}).json()
        return {one["metric"]["source"]: float(one["value"][1]) for one in answer["data"]["result"]}

    until(lambda: scraped() == {"gateways": 7, "receiver": lines}, "Prometheus has it")
    assert run.stop() == 0
    assert len(run.told("stopped")) == 1


def test_a_stop_amid_traffic_loses_nothing_and_doubles_nothing(
    start: Callable[[], Run], site: Site, migrated: str
) -> None:
    """What the broker took while the service stopped, and while it was away, is there after the next start."""
    first = start()
    count = "SELECT count(*), count(DISTINCT value) FROM readings"
    levels = [round(0.1 + n / 10_000, 4) for n in range(600)]
    site.publish("kim-long", levels[:300])
    first.process.send_signal(signal.SIGTERM)
    site.publish("phu-oc", levels[300:500])
    assert first.process.wait(25) == 0
    site.publish("gauge-3", levels[500:])
    ((stored, _),) = rows(migrated, count)
    assert stored <= 500

    second = start()
    until(lambda: rows(migrated, count) == [(600, 600)], "every reading is there, once")
    until(lambda: balance(second)["gateways"] >= 600 - stored, "what came again is counted")
    assert not rows(migrated, "SELECT 1 FROM quarantine")
    assert second.stop() == 0
