"""What compose.yaml names is there, and what it promises holds."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from typing import TYPE_CHECKING

import pytest

from alerting.channels.settings import AlertmanagerSettings
from ingest.settings import MqttSettings, load
from tests.docker.deployment import DOCKER, ROOT, compose, prepare, services

if TYPE_CHECKING:
    from pathlib import Path


def test_docker_is_no_package_that_shadows_the_sdk() -> None:
    assert not list(DOCKER.rglob("__init__.py"))


def test_every_image_is_pinned_to_a_version() -> None:
    for name, service in services().items():
        if "build" not in service:
            tag = service["image"].rpartition(":")[2]
            assert re.match(r"v?\d+\.\d+", tag), (name, service["image"])


def test_every_secret_is_a_file_that_prepare_makes(tmp_path: Path) -> None:
    prepare(tmp_path / "secrets")
    for name, secret in compose()["secrets"].items():
        made = tmp_path / secret["file"].removeprefix("./")
        assert made.stat().st_size, name
    asked = {name for service in services().values() for name in service.get("secrets", [])}
    assert asked == set(compose()["secrets"])


def test_no_password_is_in_a_file_of_the_repository() -> None:
    for name, service in services().items():
        for key, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|DSN|TOKEN", key):
                assert key.endswith("_FILE"), (name, key)
                assert value.startswith("/run/secrets/"), (name, key)
    ignored = (DOCKER / ".gitignore").read_text().split()
    assert "/secrets/" in ignored


def test_every_secret_read_is_one_the_service_was_given() -> None:
    for name, service in services().items():
        given = {f"/run/secrets/{secret}" for secret in service.get("secrets", [])}
        words = [*service.get("environment", {}).values(), *service.get("entrypoint", [])]
        read = {found for word in words for found in re.findall(r"/run/secrets/\w+", word)}
        assert read <= given, name
    for name, file in [
        ("mosquitto", "mosquitto/mosquitto.conf"),
        ("db", "postgres/users.sh"),
        ("grafana", "grafana/provisioning/datasources/datasources.yml"),
        ("haidang", "haidang.toml"),
    ]:
        given = {f"/run/secrets/{secret}" for secret in services()[name]["secrets"]}
        assert set(re.findall(r"/run/secrets/\w+", (DOCKER / file).read_text())) <= given, file


def test_every_file_mounted_exists_and_cannot_be_changed_from_within() -> None:
    for service in services().values():
        for volume in service.get("volumes", []):
            source, _, rest = volume.partition(":")
            if source.startswith("."):
                assert (DOCKER / source).exists(), volume
                assert rest.endswith(":ro"), volume
            else:
                assert source in compose()["volumes"], volume


def test_everything_that_stays_up_has_a_healthcheck_and_a_bound_on_its_logs() -> None:
    for name, service in services().items():
        assert service["logging"]["options"]["max-size"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        if service["restart"] == "no":
            continue
        assert service["healthcheck"]["test"], name
        for other, condition in service.get("depends_on", {}).items():
            if condition["condition"] == "service_healthy":
                assert "test" in services()[other]["healthcheck"], (name, other)


def test_only_the_broker_listens_beyond_this_machine_unless_told() -> None:
    for name, service in services().items():
        for port in service.get("ports", []):
            assert port.startswith(("127.0.0.1:", "${HAIDANG_NMEA_BIND:-127.0.0.1}:")) or name == "mosquitto", port


def test_the_service_has_longer_to_stop_than_it_asks_for() -> None:
    grace = tomllib.loads((DOCKER / "haidang.toml").read_text())["service"]["grace_seconds"]
    assert int(services()["haidang"]["stop_grace_period"].removesuffix("s")) > grace + 10


def test_the_service_s_settings_load_with_the_secrets_of_compose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(tmp_path / "secrets")
    for key, value in services()["haidang"]["environment"].items():
        name = value.removeprefix("/run/secrets/")
        file = compose()["secrets"][name]["file"]
        monkeypatch.setenv(key, str(tmp_path / file))
    settings = load(DOCKER / "haidang.toml")
    assert re.fullmatch(r"postgresql://ingest:[\w-]{32}@db:5432/haidang", settings.database.dsn.get_secret_value())
    broker = settings.sources["broker"]
    assert isinstance(broker, MqttSettings)
    assert broker.password is not None
    assert broker.password.get_secret_value() == (tmp_path / "secrets/mqtt_haidang").read_text()
    assert broker.host in services()
    alertmanager = settings.channels["alertmanager"]
    assert isinstance(alertmanager, AlertmanagerSettings)
    assert "alertmanager" in services()


def test_the_image_is_made_of_every_package_and_runs_as_nobody_in_particular() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
    dockerfile = (DOCKER / "Dockerfile").read_text()
    assert set(re.findall(r"^COPY (\w+) \1$", dockerfile, re.MULTILINE)) == packages
    allowed = {line[1:] for line in (DOCKER / "Dockerfile.dockerignore").read_text().split() if line.startswith("!")}
    assert allowed == packages | {"requirements.lock", "pyproject.toml", "README.md", "LICENSE"}
    stages = dockerfile.split("\nFROM ")
    assert len(stages) == 3
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", stages[-1], re.MULTILINE)
    assert "--require-hashes" in dockerfile
    assert "HEALTHCHECK" in stages[-1]


def test_docker_compose_takes_the_file() -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("docker compose is not installed")
    done = subprocess.run(
        [docker, "compose", "-f", str(DOCKER / "compose.yaml"), "config", "--quiet"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
