"""The registry in the database: what is imported is read as it was given, once, whoever else writes meanwhile."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.conninfo import make_conninfo

from alerting.registry.register import BEGINNING, END, Carried, DeviceEntry, Fitted, Registry, Site, Vessel, VesselEntry
from decoders.identity import device_id
from storage.errors import ConfigurationError, RequestRefused
from storage.registry import (
    NumberTaken,
    devices,
    import_devices,
    import_vessels,
    registry,
    registry_digest,
    vessel,
    vessels,
)
from storage.writer import Store
from tests.storage.samples import ask, batch, connected, positions, readings

if TYPE_CHECKING:
    from collections.abc import Sequence

MMSI = 574_000_001
#: 2026-01-01T00:00Z, and the last day of which Python knows the end.
NEW_YEAR, LAST = 1_767_225_600_000_000, 253_402_214_400_000_000

word = st.none() | st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8)
edges = st.sampled_from([BEGINNING, -1, 0, 1, NEW_YEAR, NEW_YEAR + 1, LAST, END])
spans = st.tuples(edges, edges).filter(lambda span: span[0] < span[1] and span != (END, END) and span[0] != END)


@st.composite
def fleets(draw: st.DrawFn) -> list[VesselEntry]:
    out = []
    for number in range(draw(st.integers(0, 5))):
        made = Vessel(
            id=f"S-{number}",
            name=draw(word),
            registration_no=draw(st.sampled_from([None, f"N-{number}"])),
            flag=draw(st.sampled_from([None, "VN"])),
            kind=draw(word),
            length_m=draw(st.none() | st.floats(0.1, 500)),
            gear=draw(word),
            home_port=draw(word),
            licence_no=draw(word),
            licensed=draw(st.none() | spans),
            licence_zone=draw(word),
            lists=draw(st.frozensets(st.text("aế ,;{}\"\\'", min_size=1, max_size=5), max_size=3)),
        )
        fitted = draw(
            st.lists(
                st.builds(
                    lambda what, span: Fitted(*what, *span),
                    st.sampled_from([("ais", str(MMSI)), ("ais", "574000002"), ("device", "gw/t1")]),
                    spans,
                ),
                max_size=3,
                unique=True,
            )
        )
        out.append(VesselEntry(made, tuple(fitted), draw(word)))
    return out


def expected(entries: Sequence[VesselEntry]) -> dict[int, set[Carried]]:
    out: dict[int, set[Carried]] = {}
    for entry in entries:
        for one in entry.fitted:
            out.setdefault(one.id, set()).add(Carried(entry.vessel, one.since, one.until))
    return out


def carried(found: Registry) -> dict[int, set[Carried]]:
    for some in found.carried.values():
        assert [one.since for one in some] == sorted(one.since for one in some)
    return {id_: set(some) for id_, some in found.carried.items()}


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=fleets(), second=fleets(), only=st.booleans())
def test_what_was_imported_last_is_what_is_read(
    tables: str, first: list[VesselEntry], second: list[VesselEntry], only: bool
) -> None:
    with connected(tables) as connection:
        connection.execute("TRUNCATE vessels CASCADE")
    asyncio.run(import_vessels(tables, first))
    assert carried(asyncio.run(registry(tables))) == expected(first)
    before, given_ = {e.vessel.id: e for e in first}, {e.vessel.id: e for e in second}
    done = asyncio.run(import_vessels(tables, second, only=only))
    now = (given_ if only else before | given_).values()
    assert carried(asyncio.run(registry(tables))) == expected(list(now))
    assert set(done.new) == given_.keys() - before.keys()
    assert set(done.retired) == (before.keys() - given_.keys() if only else set())
    same = {id_ for id_ in given_.keys() & before.keys() if _written(given_[id_]) == _written(before[id_])}
    assert (set(done.unchanged), set(done.changed)) == (same, given_.keys() & before.keys() - same)
    listed = asyncio.run(vessels(tables))
    assert [(row["id"], row["owner"], row["length_m"]) for row in listed] == sorted(
        (entry.vessel.id, entry.owner, entry.vessel.length_m) for entry in now
    )
    again = asyncio.run(import_vessels(tables, second, only=only))
    assert (again.new, again.changed, again.retired) == ((), (), ())


def _written(entry: VesselEntry) -> tuple[object, ...]:
    return entry.vessel, frozenset(entry.fitted), entry.owner


def boat(id_: str = "S-1", number: str | None = None, *mmsi: int) -> VesselEntry:
    return VesselEntry(Vessel(id_, registration_no=number), tuple(Fitted("ais", str(one)) for one in mmsi))


async def test_the_digest_changes_with_the_registry_and_is_the_version_that_is_read(tables: str) -> None:
    assert await registry_digest(tables) == (await registry(tables)).version == ""
    digests = {""}
    for step in range(5):
        match step:
            case 0:
                await import_vessels(tables, [boat("S-1"), boat("S-2")])
            case 1:
                await import_vessels(tables, [boat("S-1", None, MMSI)])
            case 2:
                await import_devices(tables, [DeviceEntry("gw", "a", Site())])
            case 3:
                await import_devices(tables, [DeviceEntry("gw", "a", Site(107.0, 16.0))])
            case 4:
                await import_vessels(tables, [boat("S-1")], only=True)
        digest = await registry_digest(tables)
        assert digest not in digests
        assert digest == (await registry(tables)).version
        digests.add(digest)
    await import_vessels(tables, [boat("S-1")])
    assert await registry_digest(tables) == digest


async def test_a_registration_number_is_of_one_vessel_at_a_time(tables: str) -> None:
    await import_vessels(tables, [boat("S-1", "N-1"), boat("S-2", "N-2")])
    with pytest.raises(NumberTaken) as refused:
        await import_vessels(tables, [boat("S-3", "N-3"), boat("S-4", "N-1", MMSI)])
    assert refused.value.faults == (("S-4", "registration_no 'N-1' is that of vessel 'S-1'"),)
    assert [row["id"] for row in await vessels(tables)] == ["S-1", "S-2"]
    assert (await registry(tables)).carried == {}
    # Changed round in one import; and given again once its vessel is struck off.
    await import_vessels(tables, [boat("S-1", "N-2"), boat("S-2", "N-1")])
    await import_vessels(tables, [boat("S-4", "N-1")], only=True)
    assert [(row["id"], row["registration_no"]) for row in await vessels(tables)] == [("S-4", "N-1")]
    await import_vessels(tables, [boat("S-1", "N-2")])
    assert [row["id"] for row in await vessels(tables)] == ["S-1", "S-4"]


async def test_a_vessel_is_registered_before_its_transponder_is_ever_heard(tables: str) -> None:
    await import_vessels(tables, [boat("S-1", "N-1", MMSI)])
    assert ask(tables, "SELECT count(*) FROM transponders") == [(0,)]
    async with Store(tables) as store:
        await store.commit(batch(positions=positions({"transponder": MMSI})))
    await import_vessels(tables, [replace(boat("S-1", "N-1", MMSI), owner="a cooperative")])
    query = (
        "SELECT v.registration_no FROM latest_positions AS p JOIN vessel_transponders AS f USING (transponder_id)"
        " JOIN vessels AS v ON v.id = f.vessel_id WHERE f.valid @> p.time"
    )
    assert ask(tables, query) == [("N-1",)]


async def test_a_vessel_is_found_by_whatever_it_goes_by(tables: str) -> None:
    await import_vessels(
        tables, [boat("S-1", "N-1", MMSI), VesselEntry(Vessel("S-2"), (Fitted("device", "gw/t1", 0, NEW_YEAR),))]
    )
    for key in ("S-1", "N-1", str(MMSI)):
        [found] = await vessel(tables, key)
        assert found["id"] == "S-1"
    [found] = await vessel(tables, "gw/t1")
    assert [(one["kind"], one["identifier"]) for one in found["transponders"]] == [("device", "gw/t1")]
    with pytest.raises(RequestRefused, match="'S-3'"):
        await vessel(tables, "S-3")


async def test_devices_stand_where_the_last_import_says_and_stay_when_they_are_struck_off(tables: str) -> None:
    here, there = Site(107.5, 16.5, frozenset({"river", "lũ"})), Site(108.0, 16.0)
    async with Store(tables) as store:
        await store.commit(batch(readings=readings((0, 1.0))))
    [(gateway, name)] = ask(tables, "SELECT gateway, name FROM devices")
    done = await import_devices(tables, [DeviceEntry(gateway, name, here), DeviceEntry("gw", "b", there)])
    assert set(done.new) == {f"{gateway}/{name}", "gw/b"}
    assert (await registry(tables)).sites == {f"{gateway}/{name}": here, "gw/b": there}
    assert ask(tables, "SELECT id FROM devices WHERE gateway = 'gw' AND name = 'b'") == [(device_id("gw", "b"),)]
    done = await import_devices(tables, [DeviceEntry("gw", "b", here)], only=True)
    assert (done.changed, done.retired) == (("gw/b",), (f"{gateway}/{name}",))
    assert (await registry(tables)).sites == {"gw/b": here}
    assert [(row["device"], row["first_seen"]) for row in await devices(tables)] == [("b", None)]
    assert ask(tables, "SELECT count(*), count(lon) FROM devices") == [(2, 1)]
    async with Store(tables) as store:  # ingestion adds to what is there
        await store.commit(batch(readings=readings((60, 2.0))))
    assert (await registry(tables)).sites == {"gw/b": here}


async def test_two_imports_at_a_time_take_turns(tables: str) -> None:
    fleets_ = [[boat(f"S-{n}", f"N-{n + k}") for n in range(200)] for k in (0, 1000)]
    for _ in range(3):
        await asyncio.gather(*(import_vessels(tables, some, only=True) for some in fleets_))
        numbers = {row["registration_no"] for row in await vessels(tables)}
        assert numbers in [{entry.vessel.registration_no for entry in some} for some in fleets_]


async def test_the_writer_may_import_and_the_reader_only_read(tables: str) -> None:
    writer, reader = (make_conninfo(tables, options=f"-c role=haidang_{role}") for role in ("writer", "reader"))
    await import_vessels(writer, [boat("S-1", "N-1", MMSI)])
    await import_vessels(writer, [boat("S-1", "N-1")], only=True)
    await import_devices(writer, [DeviceEntry("gw", "b", Site())])
    assert (await registry(reader)).sites == {"gw/b": Site()}
    with pytest.raises(ConfigurationError, match="permission denied"):
        await import_vessels(reader, [boat("S-2")])
