"""Zones that rules in force stand on: none goes away under them, and what they were is kept for what stood on it."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from ingest.settings import Database, Settings
from ingest.settings import Rules as RuleSettings
from ingest.watch import rule_book
from tests.geofence.drawings import collection
from tests.ingest.command import done, haidang, rows
from tests.ingest.running import EPOCH_MS

if TYPE_CHECKING:
    from pathlib import Path

_RULE = """
[[rule]]
id = "first"
kind = "zone"
title = { en = "In", vi = "Trong" }
severity = "major"
condition = "inside"
zones = ["z"]
source = "a test"
"""
_OTHER = """
[[rule]]
id = "other"
kind = "no_data"
title = { en = "Silent", vi = "Im" }
severity = "major"
metric = "water_level"
after = "1h"
source = "a test"
"""


def square(west: float) -> str:
    ring = [[west, 16.0], [west + 0.1, 16.0], [west + 0.1, 16.1], [west, 16.1], [west, 16.0]]
    return collection("Polygon", [ring])


class Site:
    def __init__(self, dsn: str, folder: Path) -> None:
        self.dsn, self.folder = dsn, folder
        self.rules, self.zones = folder / "rules.toml", folder / "zones.geojson"
        self.rules.write_text(_RULE)
        self.zones.write_text(square(107.0))

    def refused(self, *arguments: object) -> str:
        told = haidang(*arguments, "--dsn", self.dsn)
        assert told.code == 2
        (line,) = told.err.splitlines()
        return line

    def doubts(self, *files: Path) -> tuple[str, ...]:
        """Of the rules and zones of a service with these files, as it loads them."""
        settings = Settings(database=Database(dsn=SecretStr(self.dsn)), rules=RuleSettings(files=files))
        return asyncio.run(rule_book(settings)).doubts

    def done(self, *arguments: object) -> None:
        done(*arguments, "--dsn", self.dsn)

    def replay(self, name: str, *fixes: tuple[int, int, float]) -> None:
        """Fixes of a boat: minutes in which they were received and taken, and longitude."""
        file = self.folder / f"{name}.jsonl"
        said = [
            {
                "received_at": EPOCH_MS + 60_000 * received,
                "topic": "haidang/v1/gw/boat/position",
                "payload": {"time": EPOCH_MS + 60_000 * time, "lon": lon, "lat": 16.05},
            }
            for received, time, lon in fixes
        ]
        file.write_text("".join(f"{json.dumps(line)}\n" for line in said))
        self.done("replay", file)


@pytest.fixture
def site(migrated: str, tmp_path: Path) -> Site:
    return Site(migrated, tmp_path)


def test_what_a_rule_in_force_stands_on_is_neither_retired_nor_made_something_else(site: Site) -> None:
    site.done("zones", "import", site.zones)
    site.done("rules", "import", site.rules)
    assert "rule 'first' is in force: unknown zone 'z'" in site.refused("zones", "retire", "z")
    site.zones.write_text("\n\n" + collection("LineString", [[107.0, 16.0], [108.0, 16.0]]))
    said = site.refused("zones", "import", site.zones)
    assert f"{site.zones}:3: rule 'first' is in force: 'z' is a line" in said
    site.rules.write_text(_OTHER)
    site.done("rules", "import", site.rules, "--only")
    site.done("zones", "import", site.zones)
    site.done("zones", "retire", "z")
    assert done("zones", "list", "--dsn", site.dsn, "--json").lines == []
    assert "there is no zone 'z' in force" in site.refused("zones", "retire", "z")
    assert rows(site.dsn, "SELECT geometry ->> 'type', until IS NULL FROM zone_versions ORDER BY since") == [
        ("Polygon", False),
        ("LineString", False),
    ]


def test_a_zone_of_a_file_of_the_settings_and_an_imported_one_do_not_silently_replace_each_other(site: Site) -> None:
    assert site.doubts(site.rules, site.zones) == ()
    folder = site.folder / "more"
    folder.mkdir()
    other = folder / "other.geojson"
    other.write_text(square(108.0))
    site.done("zones", "import", site.zones)  # as it is there
    expected = f"{other}:1: zone 'z' is drawn in {site.zones}, which the service reads"
    assert expected in site.refused("zones", "import", other)
    assert expected in site.refused("rules", "import", folder)
    assert f"zone 'z' is drawn in {site.zones}" in site.refused("zones", "retire", "z")
    site.doubts(site.rules)
    site.done("zones", "import", other)  # the settings name that file no longer
    (doubt,) = site.doubts(site.rules, site.zones)
    assert doubt.startswith(f"{site.zones}:1: zone 'z' takes the place of one that was imported")


def test_an_alert_on_a_zone_that_was_edited_and_then_retired_verifies_and_late_data_still_revise_it(
    site: Site,
) -> None:
    site.done("zones", "import", site.zones)
    site.done("rules", "import", site.rules)
    site.replay("log", (0, 0, 106.9), (10, 10, 107.05), (30, 30, 107.05), (40, 40, 106.9))
    site.zones.write_text(square(108.0))
    site.done("zones", "import", site.zones)
    site.replay("late", (50, 50, 106.9), (51, 20, 106.9))
    changes = "SELECT change, details ->> 'zone_version' FROM alert_history ORDER BY seq"
    told = rows(site.dsn, changes)
    assert [change for change, _ in told] == ["firing", "resolved", "revised"]
    assert len({version for _, version in told}) == 1
    site.rules.write_text(_OTHER)
    site.done("rules", "import", site.rules, "--only")
    site.done("zones", "retire", "z")
    ((id_,),) = rows(site.dsn, "SELECT id::text FROM alerts")
    file = site.folder / "e.zip"
    site.done("alerts", "evidence", id_, "-o", file)
    done("alerts", "verify", file)
