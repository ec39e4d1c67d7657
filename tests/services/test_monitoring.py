"""Prometheus scrapes and judges, Alertmanager is told and tells."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx

from services.processes import wait_until
from tests.servers.http_target import Answer, HttpTarget

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from services.alertmanager import Alertmanager
    from services.prometheus import Prometheus

RULES = """\
groups:
  - name: g
    rules:
      - alert: HighWater
        expr: water_level > 3
"""
METRICS = {"Content-Type": "text/plain; version=0.0.4"}


def value(prometheus: Prometheus, query: str) -> float | None:
    answer = httpx.get(f"{prometheus.url}/api/v1/query", params={"query": query}).raise_for_status().json()
    result = answer["data"]["result"]
    return float(result[0]["value"][1]) if result else None


def test_a_metric_over_its_limit_reaches_the_receiver(
    prometheus_factory: Callable[..., Prometheus],
    alertmanager_factory: Callable[..., Alertmanager],
    http_target: HttpTarget,
    tmp_path: Path,
) -> None:
    (tmp_path / "rules.yml").write_text(RULES)
    with HttpTarget() as metrics:
        metrics.default = Answer(body=b"water_level 3.5\n", headers=METRICS)
        alertmanager = alertmanager_factory(webhook=f"{http_target.url}/duty", group_wait="0s")
        prometheus = prometheus_factory(
            targets={"sea": [f"127.0.0.1:{metrics.port}"]},
            rule_files=[tmp_path / "rules.yml"],
            alertmanagers=[f"127.0.0.1:{alertmanager.port}"],
            interval="1s",
        )
        assert wait_until(lambda: value(prometheus, 'water_level{job="sea"}') == 3.5, 30)
        (request, *_) = http_target.wait_for(1, 60)
    told: dict[str, Any] = json.loads(request.body)
    assert (request.method, request.path, told["status"]) == ("POST", "/duty", "firing")
    assert told["alerts"][0]["labels"]["alertname"] == "HighWater"


def test_reload_scrapes_the_new_address(prometheus_factory: Callable[..., Prometheus], http_target: HttpTarget) -> None:
    http_target.default = Answer(body=b"found 1\n", headers=METRICS)
    prometheus = prometheus_factory(targets={"x": ["127.0.0.1:1"]}, interval="1s")
    prometheus.targets["x"] = [f"127.0.0.1:{http_target.port}"]
    prometheus.reload()
    http_target.wait_for(1)


def test_an_alert_posted_is_shown(alertmanager: Alertmanager) -> None:
    url = f"{alertmanager.url}/api/v2/alerts"
    httpx.post(url, json=[{"labels": {"alertname": "posted"}}]).raise_for_status()
    shown = httpx.get(url, params={"filter": "alertname=posted"}).raise_for_status().json()
    assert [alert["labels"] for alert in shown] == [{"alertname": "posted"}]
