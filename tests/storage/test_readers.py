"""What people ask for and do: alerts, zones, rules, quarantine, counts."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
import shapely

from alerting.desk.notify import ChannelSpec
from alerting.model import AlertState, Event, Severity, Verdict
from geofence.zones import Zone, read_zones
from storage import readers
from storage.errors import ConfigurationError, RequestRefused
from storage.readers import RuleVersion
from storage.redrive import Redrive
from storage.times import moment
from storage.writer import Store
from storage.zones import zones_at
from tests.storage.samples import SECOND, T0, ask, batch, positions, reject, transition

if TYPE_CHECKING:
    from collections.abc import Sequence

NOW = datetime(2026, 11, 1, tzinfo=UTC)
ALL = frozenset(Event)
EARLY = transition(severity=Severity.WARNING, summary_en="early")
LATE = transition(rule_id="wind", started_at=T0 + 9 * SECOND, alert_id=UUID(int=5))


@pytest.fixture
async def dsn(tables: str) -> str:
    async with Store(tables) as store:
        await store.commit(batch(Verdict([EARLY, LATE]), rejects=[reject(), reject(b"x", received_at=T0 + SECOND)]))
    return tables


async def ids(dsn: str, **filters: object) -> Sequence[UUID]:
    return [row["id"] for row in await readers.alerts(dsn, **filters)]  # type: ignore[arg-type]  # filters as given


async def test_alerts_are_listed_newest_first_and_filtered(dsn: str) -> None:
    assert await ids(dsn) == [LATE.alert_id, EARLY.alert_id]
    assert await ids(dsn, limit=1) == [LATE.alert_id]
    assert await ids(dsn, rule="wind") == [LATE.alert_id]
    assert await ids(dsn, severity=Severity.MAJOR) == [LATE.alert_id]
    assert await ids(dsn, severity=Severity.INFO) == [LATE.alert_id, EARLY.alert_id]
    assert await ids(dsn, since=moment(T0 + 1)) == [LATE.alert_id]
    assert await ids(dsn, state=AlertState.RESOLVED) == []


async def test_an_alert_is_shown_with_its_history_and_who_was_told(dsn: str) -> None:
    await readers.acknowledge(
        dsn, EARLY.alert_id, readers.Said("Officer Lan", "boat sent", NOW, [ChannelSpec("log", events=ALL)])
    )
    shown = await readers.alert(dsn, EARLY.alert_id)
    assert (shown["state"], shown["acknowledged_by"], shown["acknowledged_at"]) == ("acknowledged", "Officer Lan", NOW)
    assert [(h["seq"], h["from_state"], h["to_state"], h["actor"], h["note"]) for h in shown["history"]] == [
        (1, None, "firing", "engine", None),
        (2, "firing", "acknowledged", "Officer Lan", "boat sent"),
    ]
    assert [(n["channel"], n["event"], n["state"]) for n in shown["notifications"]] == [
        ("log", "acknowledged", "queued")
    ]
    payload = ask(dsn, "SELECT payload FROM notifications")[0][0]
    assert (payload["details"]["actor"], payload["details"]["note"]) == ("Officer Lan", "boat sent")


async def test_only_a_firing_alert_is_acknowledged_and_only_an_open_one_resolved(dsn: str) -> None:
    await readers.acknowledge(dsn, EARLY.alert_id, readers.Said("a"))
    with pytest.raises(RequestRefused, match="is acknowledged already"):
        await readers.acknowledge(dsn, EARLY.alert_id, readers.Said("b"))
    resolved = await readers.resolve(dsn, EARLY.alert_id, readers.Said("b", at=NOW))
    assert (resolved["state"], resolved["resolved_by"], resolved["revision"]) == ("resolved", "b", 3)
    for change in (readers.acknowledge, readers.resolve):
        with pytest.raises(RequestRefused, match="is resolved already"):
            await change(dsn, EARLY.alert_id, readers.Said("c"))
    history = (await readers.alert(dsn, EARLY.alert_id))["history"]
    assert [h["from_state"] for h in history] == [None, "firing", "acknowledged"]


async def test_the_engine_says_from_which_state_it_resolved(dsn: str) -> None:
    await readers.acknowledge(dsn, EARLY.alert_id, readers.Said("a"))
    async with Store(dsn) as store:
        ended = transition(AlertState.RESOLVED, at=T0 + SECOND)
        assert (await store.commit(batch(Verdict([ended])))).alerts_resolved == 1
    history = (await readers.alert(dsn, EARLY.alert_id))["history"]
    assert [(h["seq"], h["from_state"]) for h in history] == [(1, None), (2, "firing"), (3, "acknowledged")]


async def test_nobody_is_told_who_did_not_ask(dsn: str) -> None:
    quiet = ChannelSpec("log")  # firing and resolved only
    await readers.acknowledge(dsn, EARLY.alert_id, readers.Said("a", channels=[quiet]))
    assert await readers.queued(dsn) == 0
    await readers.resolve(dsn, EARLY.alert_id, readers.Said("a", channels=[quiet]))
    assert (await readers.queued(dsn), await readers.queued(dsn, "log"), await readers.queued(dsn, "x")) == (1, 1, 0)


@pytest.mark.parametrize("call", [readers.alert, readers.refused])
async def test_what_is_not_there_is_refused_in_one_line(dsn: str, call: object) -> None:
    with pytest.raises(RequestRefused, match=str(UUID(int=77))):
        await call(dsn, UUID(int=77))  # type: ignore[operator]  # one of the functions above


def zone(id_: str, width: float = 1.0) -> Zone:
    hole = [(0.2, 0.2), (0.2, 0.4), (0.4, 0.4), (0.4, 0.2)]
    ring = [(0, 0), (width, 0), (width, 1), (0, 1)]
    return Zone(
        id=id_,
        name_en="Core",
        name_vi="Vùng lõi",
        kind="protection_core",
        geometry=shapely.Polygon(ring, [hole]),
        source="decision 1",
        valid_from=NOW.date(),
    )


async def test_zones_come_back_as_they_went_in(dsn: str) -> None:
    given = [zone("b"), zone("a", 0.523456789)]
    first = await readers.import_zones(dsn, given)
    assert (first.new, first.changed, first.unchanged) == (("b", "a"), (), ())
    found = await readers.zones(dsn)
    assert [(z.id, z.version) for z in found] == sorted((z.id, z.version) for z in given)
    assert all(z.geometry.equals(g.geometry) for z, g in zip(found, reversed(given), strict=True))
    second = await readers.import_zones(dsn, [zone("b", 2.0), zone("a", 0.523456789)])
    assert (second.new, second.changed, second.unchanged) == ((), ("b",), ("a",))


def drawn_in_all_ways() -> list[Zone]:
    """By id: a circle, a line, an area over the 180th meridian, one with a hole."""
    features: list[dict[str, Any]] = [
        {"id": "a", "geometry": {"type": "Point", "coordinates": [107.6, 16.5]}, "properties": {"radius_m": 3000}},
        {"id": "b", "geometry": {"type": "LineString", "coordinates": [[107, 16], [108, 17]]}, "properties": {}},
        {"id": "c", "geometry": {"type": "Polygon", "coordinates": [[[179, 0], [-179, 0], [-179, 1], [179, 0]]]}},
    ]
    named = [{"type": "Feature", **f, "properties": {"name": "x", **f.get("properties", {})}} for f in features]
    return [*read_zones(json.dumps({"type": "FeatureCollection", "features": named})), zone("d")]


async def test_zones_are_the_same_whether_their_shape_is_kept_or_read_from_what_was_drawn(dsn: str) -> None:
    given = drawn_in_all_ways()
    await readers.import_zones(dsn, given)
    assert ask(dsn, "SELECT id, shape IS NULL FROM zones ORDER BY id") == [
        ("a", True), ("b", True), ("c", False), ("d", False)
    ]  # fmt: skip
    from_shapes = await readers.zones(dsn)
    assert ask(dsn, "UPDATE zones SET shape = NULL WHERE shape IS NOT NULL RETURNING 1") == [(1,)] * 2
    assert await readers.zones(dsn) == from_shapes
    assert [(z.id, z.version) for z in from_shapes] == [(z.id, z.version) for z in given]
    # Imported by a version that kept none: the next import of the same makes them.
    assert (await readers.import_zones(dsn, given)).unchanged == ("a", "b", "c", "d")
    assert ask(dsn, "SELECT count(shape) FROM zones") == [(2,)]
    assert await readers.zones(dsn) == from_shapes


async def test_zones_as_they_were_are_the_same_whether_their_shape_is_kept_or_not(dsn: str) -> None:
    given = [*drawn_in_all_ways(), zone("e")]
    await readers.import_zones(dsn, given)
    await readers.import_zones(dsn, [zone("d", 2.0)])
    of = [z.id for z in given]
    versions = {"d": given[3].version}
    now = await zones_at(dsn, of, datetime.now(UTC))
    before = await zones_at(dsn, of, datetime.now(UTC), versions)
    assert [z.version for z in before.zones] == [z.version for z in given]
    assert [z.version for z in now.zones] == [zone("d", 2.0).version if z.id == "d" else z.version for z in given]
    assert (now.until is None, before.until is None) == (True, False)
    ask(dsn, "UPDATE zones SET shape = NULL RETURNING 1")
    assert await zones_at(dsn, of, datetime.now(UTC)) == now
    assert await zones_at(dsn, of, datetime.now(UTC), versions) == before


async def test_a_zone_that_was_drawn_anew_in_sql_is_as_it_was_drawn(dsn: str) -> None:
    await readers.import_zones(dsn, [zone("a"), zone("b")])
    square = '{"type": "Polygon", "coordinates": [[[5, 5], [6, 5], [6, 6], [5, 5]]]}'
    ask(dsn, f"UPDATE zones SET geometry = '{square}' WHERE id = 'a' RETURNING 1")
    ask(dsn, "UPDATE zones SET source = 'decision 2' WHERE id = 'b' RETURNING 1")
    assert ask(dsn, "SELECT id, shape IS NULL FROM zones ORDER BY id") == [("a", True), ("b", False)]
    assert (await readers.zones(dsn))[0].geometry == shapely.Polygon([(5, 5), (6, 5), (6, 6)])


async def test_importing_only_these_retires_the_others_until_they_come_again(dsn: str) -> None:
    await readers.import_zones(dsn, [zone("a"), zone("b")])
    assert (await readers.import_zones(dsn, [zone("a")], only=True)).retired == ("b",)
    assert [z.id for z in await readers.zones(dsn)] == ["a"]
    assert (await readers.import_zones(dsn, [zone("b")])).new == ("b",)
    assert [z.id for z in await readers.zones(dsn)] == ["a", "b"]


async def test_every_version_of_a_rule_is_kept_and_one_is_active(dsn: str) -> None:
    old, new = RuleVersion("flood", "v1", {"raise": 3.5}), RuleVersion("flood", "v2", {"raise": 3.0})
    other = RuleVersion("wind", "v1", {"raise": 17})
    assert (await readers.import_rules(dsn, [old, other])).new == ("flood", "wind")
    assert (await readers.import_rules(dsn, [new])).changed == ("flood",)
    assert [(r.id, r.version) for r in await readers.rules(dsn)] == [("flood", "v2"), ("wind", "v1")]
    assert (await readers.import_rules(dsn, [old], only=True)).retired == ("wind",)
    assert await readers.rules(dsn) == [old]
    everything = await readers.rules(dsn, all_versions=True)
    assert [(r.id, r.version, r.active) for r in everything] == [
        ("flood", "v1", True),
        ("flood", "v2", False),
        ("wind", "v1", False),
    ]


async def test_quarantine_is_listed_shown_and_marked(dsn: str) -> None:
    listed = await readers.quarantined(dsn)
    assert [(row["source"], row["reason"], row["size"]) for row in listed] == [
        ("receiver", "bad_checksum", 1),
        ("receiver", "bad_checksum", 14),
    ]
    assert len(await readers.quarantined(dsn, reason="bad_json")) == 0
    assert len(await readers.quarantined(dsn, source="receiver", since=moment(T0 + 1))) == 1
    shown = await readers.refused(dsn, listed[1]["id"])
    assert (shown["raw"], shown["source_kind"]) == (b"!AIVDM,rubbish", "nmea")
    async with Redrive(dsn) as redrive:
        await redrive.mark(shown["id"], "stored", NOW)
        await redrive.mark(shown["id"], "duplicate", NOW)  # what was stored once remains so
    assert [row["id"] for row in await readers.quarantined(dsn, redriven=True)] == [shown["id"]]
    assert len(await readers.quarantined(dsn, redriven=False)) == 1
    (row,) = await readers.quarantined(dsn, redriven=True)
    assert (row["redrive_outcome"], row["redrives"], row["redriven_at"]) == ("stored", 2, NOW)
    assert await readers.quarantined(dsn, after=listed[0]["id"]) == [row]
    assert await readers.quarantined(dsn, until=listed[1]["received_at"]) == []
    summary = await readers.quarantine_summary(dsn)
    assert [(s["source"], s["reason"], s["messages"], s["bytes"], s["redriven"], s["evicted"]) for s in summary] == [
        ("receiver", "bad_checksum", 2, 15, 1, 0)
    ]


async def test_counts_of_every_table(dsn: str) -> None:
    async with Store(dsn) as store:
        await store.commit(batch(positions=positions({}, {}, {})))
    exact = await readers.row_counts(dsn)
    assert (exact["positions"], exact["alerts"], exact["quarantine"], exact["sources"]) == (3, 2, 2, 2)
    assert set(await readers.row_estimates(dsn)) == set(exact)
    assert [row["name"] for row in await readers.sources(dsn)] == ["other receiver", "receiver"]


async def test_a_database_without_tables_is_refused(any_database: str) -> None:
    with pytest.raises(ConfigurationError):
        await readers.row_counts(any_database)
