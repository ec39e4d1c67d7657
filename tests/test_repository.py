"""The repository keeps its word: what the documents name exists, and what exists is in the documents.

``python -m tests.test_repository`` writes ``docs/settings.md`` anew.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import typer.main
from prometheus_client import generate_latest

from alerting.channels import options
from alerting.channels import settings as channels
from decoders.records import Reason
from ingest import settings
from ingest.commands.root import app
from ingest.telemetry import Telemetry

if TYPE_CHECKING:
    from pydantic import BaseModel

ROOT: Final = Path(__file__).resolve().parents[1]
DOCUMENTS: Final = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "docker/README.md"]
ROOMS: Final = ("alerting", "decoders", "geofence", "ingest", "services", "simulators", "storage")

#: Table of the TOML file to the model of its keys.
TABLES: Final[dict[str, type[BaseModel]]] = {
    "database": settings.Database,
    'sources.NAME, type = "mqtt"': settings.MqttSettings,
    "sources.NAME.tls": settings.TlsSettings,
    'sources.NAME, type = "nmea_tcp"': settings.NmeaTcpSettings,
    'sources.NAME, type = "nmea_udp"': settings.NmeaUdpSettings,
    "rules": settings.Rules,
    'channels.NAME, type = "webhook"': channels.WebhookSettings,
    'channels.NAME, type = "mqtt"': channels.MqttSettings,
    'channels.NAME, type = "alertmanager"': channels.AlertmanagerSettings,
    'channels.NAME, type = "smtp"': channels.SmtpSettings,
    'channels.NAME, type = "apprise"': channels.AppriseSettings,
    'channels.NAME, type = "log"': channels.LogSettings,
    "channels.NAME.quiet": options.Quiet,
    "http": settings.Http,
    "limits": settings.Limits,
    "spool": settings.Spool,
    "retention": settings.Retention,
    "alerts": settings.Alerts,
    "service": settings.Service,
}


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).is_file()]


def settings_page() -> str:
    """``docs/settings.md``, from the models."""
    out = [
        "# Settings",
        "",
        "One TOML file; `HAIDANG__SECTION__KEY` in the environment wins; `HAIDANG__SECTION__KEY_FILE`",
        "names a file that holds the value. Unknown keys are refused.",
        "Made by `python -m tests.test_repository`; a test compares.",
    ]
    for table, model in TABLES.items():
        out += ["", f"## [{table}]", "", "| key | default | meaning |", "|---|---|---|"]
        schema = model.model_json_schema()
        for key, body in schema["properties"].items():
            if table.startswith("channels") and key == "name":
                continue  # the table's name
            required = key in schema.get("required", ()) or key == "type"
            default = "required" if required else f"`{shown(body.get('default'))}`"
            out.append(f"| `{key}` | {default} | {meaning(body, key)} |")
    return "\n".join(out) + "\n"


def shown(default: Any) -> str:
    if isinstance(default, list):
        default = sorted(default)
    return "unset" if default is None else json.dumps(default, ensure_ascii=False)


def meaning(body: dict[str, Any], key: str) -> str:
    if key == "type":
        return f"`{json.dumps(body['const'])}`"
    return " ".join(str(body["description"]).split()).replace("|", "\\|")


def test_every_setting_is_in_the_documents_as_it_is() -> None:
    assert (ROOT / "docs/settings.md").read_text() == settings_page()


def test_every_table_of_the_settings_is_among_those_documented() -> None:
    assert {table.split(",")[0].split(".")[0] for table in TABLES} == set(settings.Settings.model_fields)


def test_every_reason_of_a_refusal_is_documented_once() -> None:
    named = re.findall(r"^\| `([a-z_]+)` \|", (ROOT / "docs/quarantine.md").read_text(), re.MULTILINE)
    assert sorted(named) == sorted(reason.value for reason in Reason)


def commands(group: Any, prefix: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    found = {prefix} if prefix else set()
    for name in group.list_commands(None) if hasattr(group, "list_commands") else ():
        _, command, _ = group.resolve_command(typer.Context(group), [name])
        found |= commands(command, (*prefix, name))
    return found


def test_commands_and_the_commands_of_groups_are_known() -> None:
    assert {("run",), ("alerts", "ack"), ("quarantine", "redrive")} <= KNOWN


#: Every command, as its words.
KNOWN = commands(typer.main.get_command(app))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_that_a_document_names_exists(document: Path) -> None:
    groups = {command[0] for command in KNOWN if len(command) == 2}
    for words in re.findall(r"(?:^|`|; |\s{2,})haidang ([a-z]+(?: [a-z|]+)?)", document.read_text(), re.MULTILINE):
        first, _, second = words.partition(" ")
        assert (first,) in KNOWN, words
        if first in groups and second:
            assert all((first, one) in KNOWN for one in second.split("|")), words


def test_every_module_of_alerting_is_held_to_be_pure_or_named_as_one_that_is_not() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    [pure] = [one["source_modules"] for one in contracts if "are pure" in one["name"]]
    there = [path.parent if path.name == "__init__.py" else path for path in (ROOT / "alerting").glob("*.py")]
    there += [path.parent for path in (ROOT / "alerting").glob("*/__init__.py")]
    names = {f"alerting.{path.stem}" for path in there if path.name != "alerting"}
    assert set(pure) == names - {f"alerting.{name}" for name in ("channels", "dispatch")}


def test_every_metric_that_a_document_names_exists() -> None:
    telemetry = Telemetry()
    telemetry.ledger.received("s", 1)
    exposed = generate_latest(telemetry.registry).decode()
    known = set(re.findall(r"^# HELP (haidang_[a-z_]+)", exposed, re.MULTILINE))
    for document in DOCUMENTS:
        for name in re.findall(r"`(haidang_[a-z_]+)(?:\{|`)", document.read_text()):
            if name.rpartition("_")[2] not in {"migrator", "writer", "reader"}:  # roles of the database
                assert re.sub(r"_(bucket|count|sum)$", "", name) in known, (document.name, name)


def test_the_page_of_metrics_has_every_one_with_its_type_and_labels() -> None:
    telemetry = Telemetry()
    telemetry.expect("s")
    telemetry.dropped("s", "overload", 1)
    telemetry.session("s", resumed=False)
    telemetry.stale_ack("s")
    telemetry.late("readings", 1)
    telemetry.rejected("bad_json")
    telemetry.crowded({"r": 1}, 0)
    telemetry.alert("r", "firing")
    telemetry.notification("c", "sent")
    telemetry.incidents({"storm": 1})
    telemetry.committed(seconds=0.1, wait=0.1, rows={"readings": 1}, batch_rows=1)
    exposed = {
        f"{family.name}{'_total' if family.type == 'counter' else ''}": (
            family.type,
            {label for sample in family.samples for label in sample.labels} - {"le"},
        )
        for family in telemetry.registry.collect()
        if family.name.startswith("haidang_")
    }
    rows = re.findall(
        r"^\| `(haidang_[a-z_]+)` \| ([a-z]+) \| ([^|]*)\|", (ROOT / "docs/metrics.md").read_text(), re.MULTILINE
    )
    assert {name: (kind, set(re.findall(r"`([a-z]+)`", labels))) for name, kind, labels in rows} == exposed
    assert len(rows) == len(exposed)


def test_the_tests_mirror_the_rooms() -> None:
    for room in ROOMS:
        assert (ROOT / "tests" / room / "__init__.py").is_file(), room
        assert list((ROOT / "tests" / room).glob("test_*.py")), room


def test_no_file_names_the_host_of_a_package_registry() -> None:
    """Where packages come from is the business of the machine: pip, apt and their settings."""
    hosts = re.compile(
        rb"files\.pythonhosted\.|pypi\.(?:org)/simple|registry\.npmjs\.|--(?:extra-)?index-url|--trusted-host"
    )
    here = Path(__file__).resolve()
    assert [str(p.relative_to(ROOT)) for p in tracked() if p != here and hosts.search(p.read_bytes())] == []


if __name__ == "__main__":
    (ROOT / "docs/settings.md").write_text(settings_page())
    sys.exit(0)


def test_every_promise_names_tests_that_exist() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", (ROOT / "docs" / "promises.md").read_text(encoding="utf-8"))
    assert len(named) > 50
    for file, function in named:
        text = (ROOT / file).read_text(encoding="utf-8")
        assert re.search(rf"def {function}\(", text) if function else "def test_" in text, f"{file}::{function}"
