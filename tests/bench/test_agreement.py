"""Ours and the peers are given the same input: they must find the same in it."""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg
import pytest
import shapely

from bench import inputs, processes, watch
from bench.harness import OURS
from bench.peers import ais, geometry, json_payloads, mqtt_to_table, readings_table, replay_staging
from bench.places import Places
from bench.publisher import publisher
from bench.rows import ais_decode, json_fields, mqtt, table_rows
from decoders.identity import metric_id
from geofence.index import ZoneIndex

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from services.debian_root import DebianRoot


@pytest.fixture(scope="module")
def places(debian_root: DebianRoot) -> Iterator[Places]:
    with Places(durable=False) as found:
        yield found


def rows(dsn: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(query.encode()).fetchall()


def test_pyais_reads_the_positions_that_we_read() -> None:
    path = inputs.fleet_log(20, 60)
    ours = Counter(
        (int(row["transponder"]), round(float(row["lon"]), 6), round(float(row["lat"]), 6))
        for observations in ais_decode.decode(path)
        for row in observations.positions
    )
    theirs = Counter(
        (int(said.mmsi), round(said.lon, 6), round(said.lat, 6))
        for said in ais.pyais_messages(path)
        if said.msg_type in {1, 3, 18, 19}
    )
    assert ours == theirs
    assert len(ours) > 20


def test_repeating_a_log_changes_mmsis_and_nothing_else(tmp_path: Path) -> None:
    lines = inputs.recordings()
    repeated = inputs.real_log(2 * len(lines))[0].splitlines(keepends=True)
    assert [line.rstrip(b"\r\n") for line in repeated[: len(lines)]] == lines
    found = []
    for name, part in (("first", repeated[: len(lines)]), ("again", repeated[len(lines) :])):
        (tmp_path / name).write_bytes(b"".join(part))
        found.append([said.asdict() for said in ais.pyais_messages(tmp_path / name)])
    mmsis = [[said.pop("mmsi") for said in messages] for messages in found]
    # Compared as text: what was cut short has None in it, and some fields are NaN.
    assert [str(said) for said in found[0]] == [str(said) for said in found[1]]
    assert sum(a != b for a, b in zip(*mmsis, strict=True)) > 0.9 * len(mmsis[0]) > 500


def test_every_library_reads_the_readings_that_we_read() -> None:
    publishes = list(inputs.publishes(300, 20))
    names = {metric_id("pm2_5"): "pm2_5"}
    ours = [
        (datetime.fromtimestamp(row["time"] / 1e6, UTC), names[int(row["metric"])], float(row["value"]))
        for observations in json_fields.decode(publishes)
        for row in observations.readings
    ]
    payloads = [payload for _, payload in publishes]
    assert {len(payload) for payload in payloads} == {200}
    for read in (
        json_payloads.with_json,
        json_payloads.with_orjson,
        json_payloads.with_pydantic,
        json_payloads.with_msgspec,
    ):
        assert read(payloads) == ours


def test_shapely_finds_the_zones_that_we_find() -> None:
    zones = inputs.zones(100)
    lon, lat = inputs.points(2_000)
    index = ZoneIndex(zones)
    numbers = {zone.id: number for number, zone in enumerate(zones)}
    ours = {
        (point, numbers[name])
        for point, found in enumerate(index.locate(lon, lat).tolist())
        for name in index.zone_set(found)
    }
    polygons = np.array([zone.geometry for zone in zones], dtype=object)
    shapely.prepare(polygons)
    tree = shapely.STRtree(polygons)
    for find in (geometry.tree_bulk, geometry.tree_per_point, geometry.boxes_and_prepared):
        point, zone = find(tree, polygons, lon, lat)
        assert set(zip(point.tolist(), zone.tolist(), strict=True)) == ours
    assert len(ours) > 1_000


READINGS = f"SELECT {readings_table.COLUMNS} FROM readings ORDER BY device_id, metric_id, time"


@pytest.fixture(scope="module")
def our_readings(places: Places) -> list[tuple[Any, ...]]:
    with places.migrated() as dsn:
        assert asyncio.run(table_rows.commit(dsn, table_rows.readings(700))) == 700
        return rows(dsn, READINGS)


@pytest.mark.parametrize(
    "write",
    [readings_table.insert_each, readings_table.executemany, readings_table.unnest, readings_table.copy_text],
    ids=lambda write: write.__name__,
)
def test_every_way_to_write_leaves_the_same_rows_and_only_once(
    places: Places, our_readings: list[tuple[Any, ...]], write: readings_table.Write
) -> None:
    with places.timescale(*readings_table.TABLE) as dsn:
        with psycopg.connect(dsn) as connection:
            write(connection, our_readings)
            write(connection, our_readings)
        assert rows(dsn, READINGS) == our_readings


def test_the_binary_file_holds_the_same_rows(
    places: Places, our_readings: list[tuple[Any, ...]], tmp_path: Path
) -> None:
    file = tmp_path / "readings.pgcopy"
    plain = [tuple(row)[:6] for row in table_rows.readings(700).tolist()]
    file.write_bytes(readings_table.binary_file(plain))
    with places.timescale(*readings_table.TABLE) as dsn:
        with (
            psycopg.connect(dsn) as connection,
            connection.cursor() as cursor,
            cursor.copy(f"COPY readings ({readings_table.COLUMNS}) FROM STDIN (FORMAT binary)".encode()) as copy,
        ):
            copy.write(file.read_bytes())
        assert rows(dsn, READINGS) == our_readings


def test_a_replay_stores_the_positions_that_the_peer_stores(places: Places, tmp_path: Path) -> None:
    log = str(inputs.fleet_log(20, 60))
    with places.migrated() as dsn:
        command = [sys.executable, "-m", "ingest.cli", "replay", log, "--dsn", dsn, "--json"]
        processes.run(command, tmp_path)
        ours = rows(dsn, "SELECT transponder_id, time, lon, lat FROM positions ORDER BY 1, 2")
    with places.timescale(*replay_staging.TABLE) as dsn:
        said = processes.run([sys.executable, "-m", "bench.peers.replay_staging", log, dsn], tmp_path).output
        assert json.loads(said)["seconds"] > 0
        theirs = rows(dsn, "SELECT mmsi, time, lon, lat FROM positions ORDER BY 1, 2")
    assert [row[:2] for row in ours] == [row[:2] for row in theirs]
    assert np.allclose([row[2:] for row in ours], [row[2:] for row in theirs], atol=1e-6)
    assert len(ours) > 20


@pytest.mark.parametrize("who", [OURS, "each", "batch"])
def test_what_is_published_is_what_is_stored(places: Places, tmp_path: Path, who: str) -> None:
    given = mqtt.plan(places.broker.port, 120, 7)
    expected = sorted(
        (
            topic.split("/")[3],
            datetime.fromisoformat(json.loads(payload)["time"]),
            json.loads(payload)["readings"]["pm2_5"],
        )
        for topic, payload in given.messages()
    )
    theirs = "SELECT device, time, value FROM readings ORDER BY 1, 2"
    ours = "SELECT d.name, r.time, r.value FROM readings r JOIN devices d ON d.id = r.device_id ORDER BY 1, 2"

    def stored(dsn: str, query: str) -> list[tuple[Any, ...]]:
        with publisher(given, tmp_path) as process:
            process.go()
            _, found = watch.settle(dsn, "readings", given.count)
            assert found == given.count
            assert process.result().seconds > 0
        return rows(dsn, query)

    if who == OURS:
        with places.migrated() as dsn, processes.service(tmp_path, mqtt.settings(dsn, given)):
            assert stored(dsn, ours) == expected
    else:
        with places.timescale(*mqtt_to_table.TABLE) as dsn, mqtt.aiomqtt_peer(given, dsn, who, tmp_path):
            assert stored(dsn, theirs) == expected


def test_zones_are_as_many_and_as_large_however_many_there_are() -> None:
    for count in (10, 1_000):
        zones = inputs.zones(count)
        assert len({zone.id for zone in zones}) == count
        assert all(zone.geometry.is_valid for zone in zones)
        vertices = [len(shapely.get_coordinates(zone.geometry)) for zone in zones]
        assert 130 < np.mean(vertices) < 190
        assert 0.8 < sum(zone.geometry.area for zone in zones) / 5.2 < 2.0
    rules = inputs.zone_rules(20, zones)
    assert sorted(itertools.chain(*(rule.zones for rule in rules))) == sorted(zone.id for zone in zones)  # type: ignore[union-attr]
