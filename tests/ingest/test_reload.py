"""Rules and zones are edited under a running service: a good edit is taken over, a bad one refused with its place."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import TYPE_CHECKING, Any

import httpx
import orjson
import pytest
from pydantic import SecretStr

from alerting.registry.register import Fitted, Vessel, VesselEntry
from geofence.zones import read_zones
from ingest.reload import Rules, Seen
from ingest.settings import Database, Settings
from ingest.settings import Rules as RuleSettings
from storage import readers
from storage.registry import import_vessels
from tests.geofence.drawings import collection
from tests.ingest.command import rows
from tests.ingest.running import Process, publish_all, until, write_config

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from services.mosquitto import Mosquitto

_RULE = """
[[rule]]
id = "{}"
kind = "zone"
title = {{ en = "In", vi = "Trong" }}
severity = "major"
condition = "{}"
zones = ["z"]
source = "a test"
"""
#: Boats near a station in strong wind.
_NEAR = """
[[rule]]
id = "windy"
kind = "threshold"
mode = "condition"
title = { en = "Windy", vi = "Gió" }
severity = "info"
metric = "wind_speed"
unit = "m/s"
raise = 10.8
source = "a test"

[[rule]]
id = "near"
kind = "combined"
title = { en = "Near", vi = "Gần" }
severity = "major"
about = "windy"
within_m = 1000
when = { all = [{ rule = "windy" }, { rule = "first" }] }
source = "a test"
"""
_ALERTS = "SELECT rule_id, subject_name, state FROM alerts ORDER BY started_at, rule_id"
_HISTORY = "SELECT change, h.details->>'reason', h.details->>'zone_version' FROM alert_history AS h ORDER BY h.seq"
#: Not a fix is older than six hours: of those, nobody is called inside who is not heard again.
START = time.time_ns() // 1_000_000 - 600_000


def square(west: float) -> str:
    ring = [[west, 16.0], [west + 0.1, 16.0], [west + 0.1, 16.1], [west, 16.1], [west, 16.0]]
    return collection("Polygon", [ring])


def version(west: float) -> str:
    [zone] = read_zones(square(west))
    return zone.version


class Coast:
    """A service as a process, its rule and zone files, and boats that report their positions."""

    def __init__(self, folder: Path, dsn: str, broker: Mosquitto, gateway: str) -> None:
        self.dsn, self.gateway, self._broker, self._sent = dsn, gateway, broker, 0
        self.rules, self.zones, self._log = folder / "rules.toml", folder / "zones.geojson", folder / "log"
        self.rules.write_text(_RULE.format("first", "inside"))
        self.zones.write_text(square(107.0))
        self._config, self._folder = folder / "haidang.toml", folder
        self.process = Process(self._config, log=self._log)

    async def start(self, seconds: float) -> None:
        files = orjson.dumps([str(self.rules), str(self.zones)]).decode()
        more = f"[rules]\nfiles = {files}\nreload_seconds = {seconds}"
        write_config(self._config, self.dsn, self._broker, self.gateway, more)
        topic = f'"haidang/v1/{self.gateway}/+/position", '
        self._config.write_text(self._config.read_text().replace("topics = [", f"topics = [{topic}"))
        await self.process.start()
        self.url = await self.process.started()

    async def boat(self, name: str, lon: float) -> None:
        self._sent += 1
        payload = orjson.dumps({"time": START + 1000 * self._sent, "lon": lon, "lat": 16.05})
        await publish_all(self._broker, [(f"haidang/v1/{self.gateway}/{name}/position", payload)])

    async def wind(self, name: str, value: float) -> None:
        payload = orjson.dumps({"time": START, "readings": {"wind_speed": value}})
        await publish_all(self._broker, [(f"haidang/v1/{self.gateway}/{name}/readings", payload)])

    async def alerts(self, *expected: tuple[str, str, str]) -> None:
        told = [(rule, f"{self.gateway}/{boat}", state) for rule, boat, state in expected]
        await until(lambda: rows(self.dsn, _ALERTS) == told)

    def says(self, what: str) -> list[str]:
        told: list[str] = httpx.get(f"{self.url}/readyz").json()[what]
        return told

    def refused(self) -> list[str]:
        return self.says("rules_refused")


@pytest.fixture
async def coast(migrated: str, broker: Mosquitto, gateway: str, tmp_path: Path) -> AsyncIterator[Coast]:
    made = Coast(tmp_path, migrated, broker, gateway)
    yield made
    await made.process.stop()


@pytest.mark.parametrize("down", [False, True])
async def test_an_edited_zone_is_judged_at_once_by_who_was_last_seen_where(coast: Coast, down: bool) -> None:
    await coast.start(0.2)
    await coast.boat("a", 107.05)
    await coast.boat("b", 108.05)
    await coast.alerts(("first", "a", "firing"))
    await until(lambda: rows(coast.dsn, "SELECT count(*) FROM latest_positions") == [(2,)])
    if down:
        await coast.process.stop()
    coast.zones.write_text(square(108.0))
    if down:
        await coast.process.start()
    await coast.alerts(("first", "a", "resolved"), ("first", "b", "firing"))
    told = rows(coast.dsn, _HISTORY)
    assert sorted(told, key=str) == sorted(
        [("firing", None, version(107.0)), ("resolved", "edited", version(107.0)), ("firing", None, version(108.0))],
        key=str,
    )
    changed = [(line["new"], line["gone"], line["changed"]) for line in coast.process.told("rules_changed")]
    assert changed == ([] if down else [([], [], ["zone z"])])


async def test_a_bad_edit_is_refused_with_file_line_and_reason_and_what_was_in_force_stays(coast: Coast) -> None:
    await coast.start(0.2)
    good = coast.rules.read_text()
    coast.rules.write_text(good.replace('"z"', '"nowhere"'))
    fault = f"{coast.rules}:8: rule 'first': unknown zone 'nowhere'"
    await until(lambda: coast.refused() == [fault])
    assert [line["problem"] for line in coast.process.told("rules_refused")] == [fault]
    await coast.boat("a", 107.05)
    await coast.alerts(("first", "a", "firing"))
    coast.zones.write_text("{")
    await until(lambda: len(coast.refused()) == 2)
    coast.zones.write_text(square(107.0))
    coast.rules.write_text(good + _RULE.format("second", "inside"))
    await until(lambda: coast.refused() == [])
    await coast.alerts(("first", "a", "firing"), ("second", "a", "firing"))


async def test_alerts_of_a_rule_that_is_gone_are_closed(coast: Coast) -> None:
    await coast.start(0.2)
    await coast.boat("a", 107.05)
    await coast.alerts(("first", "a", "firing"))
    coast.rules.write_text(_RULE.format("second", "left"))
    await coast.alerts(("first", "a", "resolved"))
    await coast.boat("a", 107.5)
    await coast.alerts(("first", "a", "resolved"), ("second", "a", "firing"))


async def test_a_zone_brought_into_the_database_is_taken_over_and_a_signal_has_all_looked_at_now(coast: Coast) -> None:
    await coast.start(3600)
    coast.zones.unlink()
    coast.rules.write_text(_RULE.format("first", "inside") + _RULE.format("second", "inside").replace('"z"', '"y"'))
    coast.process.signal(signal.SIGHUP)
    await until(lambda: len(coast.refused()) == 2)  # the file is missing, and so is the zone
    coast.zones.write_text(square(107.0))
    drawn = square(108.0).replace('"id": "z"', '"id": "y"')
    await readers.import_zones(coast.dsn, read_zones(drawn))
    coast.process.signal(signal.SIGHUP)
    await until(lambda: coast.refused() == [])
    await coast.boat("a", 108.05)
    await coast.alerts(("second", "a", "firing"))


async def test_zones_of_the_database_are_looked_at_without_being_told(coast: Coast) -> None:
    await coast.start(0.2)
    zone: list[Any] = read_zones(square(107.0).replace('"id": "z"', '"id": "y"'))
    await readers.import_zones(coast.dsn, zone)
    await until(lambda: bool(coast.process.told("rules_changed")))
    assert coast.process.told("rules_changed")[0]["new"] == ["zone y"]


async def test_a_station_that_a_rule_asks_who_is_near_is_named_if_nobody_knows_where_it_is(coast: Coast) -> None:
    await coast.start(0.2)
    await coast.wind("wind-1", 3.0)
    await until(lambda: rows(coast.dsn, "SELECT count(*) FROM readings") == [(1,)])
    assert coast.says("devices_without_place") == []
    coast.rules.write_text(coast.rules.read_text() + _NEAR)
    station = f"{coast.gateway}/wind-1"
    await until(lambda: coast.says("devices_without_place") == [station])
    [told] = coast.process.told("devices_without_place")
    assert (told["devices"], told["count"]) == ([station], 1)


async def test_a_signal_before_the_first_rules_are_loaded_is_not_minded_again_and_again(
    migrated: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Settings(database=Database(dsn=SecretStr(migrated)), rules=RuleSettings(reload_seconds=3600))
    rules = Rules(config, lambda: None)
    looked = 0
    look = rules._look

    async def counting() -> Seen:
        nonlocal looked
        looked += 1
        return await look()

    monkeypatch.setattr(rules, "_look", counting)
    rules.look_now()
    watching = asyncio.create_task(rules.watch())
    await until(lambda: looked > 0 and not rules._asked.is_set())
    # What the watch waits for does not come: it looks once more when it is asked to, and not before.
    for number in (2, 3):
        rules.look_now()
        await until(lambda: not rules._asked.is_set())
        assert looked == number
    watching.cancel()
    await asyncio.wait([watching])


async def test_steps_that_would_not_reach_whom_they_name_are_logged_when_they_are_taken_over(coast: Coast) -> None:
    step = (
        '[[procedure]]\nid = "p"\nmatch = { rule = "first" }\n[[procedure.steps]]\nafter = "1h"\nchannels = ["port"]\n'
    )
    await coast.start(0.2)
    assert coast.process.told("rules_doubtful") == []
    coast.rules.write_text(_RULE.format("first", "inside") + step)
    await until(lambda: bool(coast.process.told("rules_doubtful")))
    doubt = "procedure p: step 1: there is no channel 'port': nobody is told instead"
    assert [line["problem"] for line in coast.process.told("rules_doubtful")] == [f"{coast.rules}:15: {doubt}"]
    coast.rules.write_text(_RULE.format("first", "inside").replace("source", 'channels = ["room"]\nsource'))
    fault = f"{coast.rules}:9: rule 'first': unknown channel 'room'; there are none"
    await until(lambda: coast.refused() == [fault])


async def test_a_vessel_registered_while_it_is_inside_is_told_of_at_once_and_one_registered_otherwise_is_over(
    coast: Coast,
) -> None:
    coast.rules.write_text(_RULE.format("first", "inside") + "scope = { below_length_m = 12 }\n")
    await coast.start(0.2)
    await coast.boat("a", 107.05)
    await coast.boat("b", 107.06)
    await until(lambda: rows(coast.dsn, "SELECT count(*) FROM latest_positions") == [(2,)])

    def entry(length: float) -> VesselEntry:
        vessel = Vessel("S-1", registration_no="HUE-90001-TS", length_m=length)
        return VesselEntry(vessel, (Fitted("device", f"{coast.gateway}/a"),))

    await import_vessels(coast.dsn, [entry(8.0)])
    await until(lambda: rows(coast.dsn, _ALERTS) == [("first", "HUE-90001-TS", "firing")])
    await import_vessels(coast.dsn, [entry(16.0)])
    await until(lambda: rows(coast.dsn, _ALERTS) == [("first", "HUE-90001-TS", "resolved")])
    assert rows(coast.dsn, _HISTORY)[-1][:2] == ("resolved", "withdrawn")
    assert all(line["changed"] == ["registry"] for line in coast.process.told("rules_changed"))
