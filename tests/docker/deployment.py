"""The files of ``docker/``, as the tests read them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
DASHBOARDS = sorted((DOCKER / "grafana/dashboards").glob("*.json"))


def compose() -> dict[str, Any]:
    text: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())
    return text


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = compose()["services"]
    return found


def dashboard(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(path.read_text())
    return loaded


def targets(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """(title of the panel, target) of a dashboard."""
    return [(panel["title"], target) for panel in dashboard(path)["panels"] for target in panel["targets"]]


def prepare(folder: Path, *arguments: str) -> str:
    """Run prepare.py as an operator does; what it said."""
    command = [sys.executable, str(DOCKER / "prepare.py"), "--secrets", str(folder), *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise AssertionError(done.stderr)
    return done.stdout


def metric_names(expression: str) -> set[str]:
    return set(re.findall(r"\bhaidang_[a-z0-9_]+", expression))
