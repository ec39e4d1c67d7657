"""Prometheus, Alertmanager and the operations dashboard, by the real programs."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import httpx
import pytest
import yaml
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from ingest.telemetry import Telemetry
from services.prometheus import Prometheus
from services.server import own
from tests.docker.deployment import DASHBOARDS, DOCKER, ROOT, dashboard, metric_names, services, targets

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from services.debian_root import DebianRoot

PROMQL = [
    pytest.param(target["expr"], id=f"{path.stem}: {title}")
    for path in DASHBOARDS
    for title, target in targets(path)
    if target["datasource"]["uid"] == "prometheus"
]
RULES = [
    rule for group in yaml.safe_load((DOCKER / "prometheus/rules.yml").read_text())["groups"] for rule in group["rules"]
]


@pytest.fixture(scope="module")
def folder(debian_root: DebianRoot, root_folder: Path) -> Iterator[Path]:
    """A folder that programs of the private Debian can read, with our files in it."""
    made = root_folder / "files-deployed"
    made.mkdir()
    user = debian_root.user("prometheus")
    own(made, user.uid, user.gid, 0o755)
    files = [*(DOCKER / "prometheus").iterdir(), DOCKER / "alertmanager/alertmanager.yml"]
    for file in [*files, ROOT / "tests/docker/rules_test.yml"]:
        shutil.copyfile(file, made / file.name)
    yield made
    shutil.rmtree(made)


def run(root: DebianRoot, *command: str) -> str:
    done = subprocess.run(
        root.command(root.user("prometheus"), *command), capture_output=True, text=True, check=False, cwd="/"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_promtool_takes_configuration_and_rules(debian_root: DebianRoot, folder: Path) -> None:
    said = run(debian_root, "/usr/bin/promtool", "check", "config", f"{debian_root.inside(folder)}/prometheus.yml")
    assert f"SUCCESS: {len(RULES)} rules found" in said
    run(debian_root, "/usr/bin/promtool", "check", "rules", "--lint-fatal", f"{debian_root.inside(folder)}/rules.yml")


def test_each_rule_fires_when_it_should_and_not_before(debian_root: DebianRoot, folder: Path) -> None:
    run(debian_root, "/usr/bin/promtool", "test", "rules", f"{debian_root.inside(folder)}/rules_test.yml")
    tested = (folder / "rules_test.yml").read_text()
    assert [rule["alert"] for rule in RULES if f"alertname: {rule['alert']}\n" not in tested] == []


def test_amtool_takes_the_configuration(debian_root: DebianRoot, folder: Path) -> None:
    said = run(debian_root, "/usr/bin/amtool", "check-config", f"{debian_root.inside(folder)}/alertmanager.yml")
    assert "SUCCESS" in said


def test_every_rule_says_how_bad_it_is_and_what_it_means() -> None:
    for rule in RULES:
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert rule["annotations"]["summary"]


def test_every_target_is_a_service_of_compose() -> None:
    config = yaml.safe_load((DOCKER / "prometheus/prometheus.yml").read_text())
    jobs = [*config["scrape_configs"], *config["alerting"]["alertmanagers"]]
    hosts = {target.split(":")[0] for job in jobs for entry in job["static_configs"] for target in entry["targets"]}
    assert hosts - {"localhost"} <= set(services())


def exported() -> set[str]:
    """Every series name that the service can export."""
    telemetry = Telemetry()
    telemetry.received("source", 1)
    telemetry.dropped("source", "reason", 1)
    telemetry.connected("source", True)
    telemetry.committed(seconds=0.1, wait=0.1, rows={"positions": 1}, batch_rows=1)
    telemetry.alert("rule", "firing")
    telemetry.notification("channel", "sent")
    page = generate_latest(telemetry.registry).decode()
    return {sample.name for family in text_string_to_metric_families(page) for sample in family.samples}


def test_every_metric_in_rules_and_dashboards_is_one_we_export() -> None:
    asked = [rule["expr"] for rule in RULES] + [str(expression.values[0]) for expression in PROMQL]
    used = {name for expression in asked for name in metric_names(expression)}
    assert used <= exported()
    assert {name.removesuffix("_bucket") for name in used} >= {
        "haidang_messages_total",
        "haidang_received_total",
        "haidang_in_flight",
        "haidang_commit_seconds",
        "haidang_batch_rows",
        "haidang_event_to_commit_seconds",
        "haidang_alerts_total",
        "haidang_notifications_total",
        "haidang_oldest_unacked_seconds",
        "haidang_source_connected",
        "haidang_rows_total",
    }


@pytest.fixture(scope="module")
def prometheus(debian_root: DebianRoot, root_folder: Path) -> Iterator[Prometheus]:
    made = Prometheus(debian_root, root_folder / "prometheus-deployed")
    try:
        with made:
            yield made
    finally:
        made.remove()


@pytest.mark.parametrize("expression", PROMQL)
def test_prometheus_understands_every_query_of_the_dashboards(prometheus: Prometheus, expression: str) -> None:
    query = expression.replace("$__rate_interval", "1m").replace("$__interval", "1m")
    answer = httpx.get(f"{prometheus.url}/api/v1/query", params={"query": query})
    assert answer.json()["status"] == "success", answer.text


def test_dashboards_are_told_apart_and_use_data_sources_that_are_provisioned() -> None:
    provisioned = yaml.safe_load((DOCKER / "grafana/provisioning/datasources/datasources.yml").read_text())
    sources = {(source["uid"], source["type"]) for source in provisioned["datasources"]}
    assert len({dashboard(path)["uid"] for path in DASHBOARDS}) == len(DASHBOARDS) == 2
    for path in DASHBOARDS:
        board = dashboard(path)
        assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
        for panel in board["panels"]:
            for entry in [panel, *panel["targets"]]:
                assert (entry["datasource"]["uid"], entry["datasource"]["type"]) in sources


def test_panels_do_not_lie_upon_each_other() -> None:
    for path in DASHBOARDS:
        taken: set[tuple[int, int]] = set()
        for panel in dashboard(path)["panels"]:
            at = panel["gridPos"]
            cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
            assert max(x for x, _ in cells) < 24
            assert not cells & taken, panel["title"]
            taken |= cells
