"""The registry in the database: vessels with the transponders they carry, and where devices stand.

Every function raises ``DatabaseAway`` or ``ConfigurationError`` where the database cannot be used.
"""

from __future__ import annotations

import asyncio
import json
from hashlib import md5, sha256
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg.types.json import Jsonb

from alerting.registry.register import BEGINNING, END, Carried, DeviceEntry, Registry, Site, Vessel, VesselEntry
from decoders.identity import device_id
from storage import ask
from storage.errors import RequestRefused, translated
from storage.imports import Imported

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from psycopg import AsyncConnection

    Row = dict[str, Any]
    Connection = AsyncConnection[Row]

#: Entries written by one statement: some megabytes of JSON.
_MANY: Final = 5_000


class NumberTaken(RequestRefused):
    """Two vessels of the registry would have one registration number. ``faults``: by id of the vessel given."""

    def __init__(self, faults: Sequence[tuple[str, str]]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(f"vessel {id_}: {fault}" for id_, fault in faults))


# --- vessels

_VESSELS: Final = b"""
INSERT INTO vessels (id, registration_no, name, flag, class, length_m, gear, home_port, owner, licence_no,
    licence_valid, licence_zone, lists, version)
SELECT id, registration_no, name, flag, class, length_m, gear, home_port, owner, licence_no,
    CASE WHEN licensed THEN tstzrange(haidang_moment(since), haidang_moment(until)) END, licence_zone, lists, version
FROM jsonb_to_recordset(%s) AS t (id text, registration_no text, name text, flag text, class text,
    length_m double precision, gear text, home_port text, owner text, licence_no text, licensed boolean, since bigint,
    until bigint, licence_zone text, lists text[], version text)
ON CONFLICT (id) DO UPDATE SET registration_no = excluded.registration_no, name = excluded.name, flag = excluded.flag,
    class = excluded.class, length_m = excluded.length_m, gear = excluded.gear, home_port = excluded.home_port,
    owner = excluded.owner, licence_no = excluded.licence_no, licence_valid = excluded.licence_valid,
    licence_zone = excluded.licence_zone, lists = excluded.lists, version = excluded.version, active = true
"""
_FITTED: Final = b"""
INSERT INTO vessel_transponders (vessel_id, transponder_id, valid, kind, identifier)
SELECT vessel_id, id, tstzrange(haidang_moment(since), haidang_moment(until)), kind, identifier
FROM jsonb_to_recordset(%s) AS t (vessel_id text, id bigint, since bigint, until bigint, kind text, identifier text)
"""
_TAKEN: Final = b"""
SELECT a.id, a.registration_no AS number, b.id AS other
FROM vessels AS a JOIN vessels AS b ON b.registration_no = a.registration_no AND b.id <> a.id AND b.active
WHERE a.active AND a.id = ANY(%s) ORDER BY a.id, b.id
"""


async def import_vessels(dsn: str, entries: Iterable[VesselEntry], *, only: bool = False) -> Imported:
    """Write vessels with their transponders, by id; the last import of an id stands. ``only``: others are retired.

    Raises:
        NumberTaken: a registration number is that of another vessel in the registry.
    """
    given = {entry.vessel.id: entry for entry in entries}
    versions = {id_: _version(_vessel(entry)) for id_, entry in given.items()}
    async with ask.connected(dsn) as connection:
        await connection.execute("LOCK TABLE vessels IN SHARE ROW EXCLUSIVE MODE")
        cursor = await connection.execute("SELECT id, version FROM vessels WHERE active")
        before = {row["id"]: row["version"] for row in await cursor.fetchall()}
        changed = [id_ for id_ in given if before.get(id_) != versions[id_]]
        retired = sorted(before.keys() - given.keys()) if only else []
        await connection.execute("UPDATE vessels SET active = false WHERE id = ANY(%s)", (retired,))
        await connection.execute("DELETE FROM vessel_transponders WHERE vessel_id = ANY(%s)", (changed,))
        for some in _portions(changed):
            rows = [_vessel(given[id_]) | {"version": versions[id_]} for id_ in some]
            await connection.execute(_VESSELS, (Jsonb(rows),))
            await connection.execute(_FITTED, (Jsonb([fitted for row in rows for fitted in row["fitted"]]),))
        taken = await (await connection.execute(_TAKEN, (changed,))).fetchall()
        if taken:
            raise NumberTaken(
                [(row["id"], f"registration_no {row['number']!r} is that of vessel {row['other']!r}") for row in taken]
            )
    return Imported.of(versions, before, retired)


def _vessel(entry: VesselEntry) -> Row:
    vessel = entry.vessel
    since, until = vessel.licensed or (BEGINNING, END)
    return {
        **{name: getattr(vessel, name) for name in ("id", "registration_no", "name", "flag", "length_m", "gear")},
        "class": vessel.kind,
        "home_port": vessel.home_port,
        "owner": entry.owner,
        "licence_no": vessel.licence_no,
        "licence_zone": vessel.licence_zone,
        "licensed": vessel.licensed is not None,
        "since": _bound(since),
        "until": _bound(until),
        "lists": sorted(vessel.lists),
        "fitted": [
            {
                "vessel_id": vessel.id,
                "id": one.id,
                "kind": one.kind,
                "identifier": one.identifier,
                "since": _bound(one.since),
                "until": _bound(one.until),
            }
            for one in sorted(set(entry.fitted), key=lambda one: (one.kind, one.identifier, one.since, one.until))
        ],
    }


def _bound(edge: int) -> int | None:
    return None if edge in (BEGINNING, END) else edge


def _version(said: Mapping[str, Any]) -> str:
    text = json.dumps(said, sort_keys=True, separators=(",", ":"))
    return sha256(text.encode()).hexdigest()[:12]


def _portions(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    return (ids[start : start + _MANY] for start in range(0, len(ids), _MANY))


# --- devices

_DEVICES: Final = b"""
INSERT INTO devices (id, gateway, name, lon, lat, groups, version)
SELECT * FROM jsonb_to_recordset(%s) AS t (id bigint, gateway text, name text, lon double precision,
    lat double precision, groups text[], version text)
ON CONFLICT (id) DO UPDATE SET lon = excluded.lon, lat = excluded.lat, groups = excluded.groups,
    version = excluded.version
"""
_RETIRE_DEVICES: Final = b"""
UPDATE devices SET lon = NULL, lat = NULL, groups = '{}', version = NULL WHERE gateway || '/' || name = ANY(%s)
"""


async def import_devices(dsn: str, entries: Iterable[DeviceEntry], *, only: bool = False) -> Imported:
    """Write where devices stand and their groups, by "gateway/device"; the last import of one stands.

    ``only``: of others it is no longer said.
    """
    given = {f"{entry.gateway}/{entry.device}": entry for entry in entries}
    versions = {name: _version(entry.site.told()) for name, entry in given.items()}
    async with ask.connected(dsn) as connection:
        # Ingesting processes, which add devices, wait so long: row by row the two could wait for each other.
        await connection.execute("LOCK TABLE devices IN SHARE ROW EXCLUSIVE MODE")
        cursor = await connection.execute(
            "SELECT gateway || '/' || name AS name, version FROM devices WHERE version IS NOT NULL"
        )
        before = {row["name"]: row["version"] for row in await cursor.fetchall()}
        changed = [name for name in given if before.get(name) != versions[name]]
        retired = sorted(before.keys() - given.keys()) if only else []
        await connection.execute(_RETIRE_DEVICES, (retired,))
        for some in _portions(changed):
            rows = [_device(given[name]) | {"version": versions[name]} for name in some]
            await connection.execute(_DEVICES, (Jsonb(rows),))
    return Imported.of(versions, before, retired)


def _device(entry: DeviceEntry) -> Row:
    id_ = device_id(entry.gateway, entry.device)
    return {"id": id_, "gateway": entry.gateway, "name": entry.device, **entry.site.told()}


# --- the whole of it, for an engine

#: Digests of all that is in force; what ``registry`` has as its version.
_DIGESTS: Final = b"""
SELECT coalesce((SELECT md5(string_agg(id || ' ' || version, ',' ORDER BY id COLLATE "C")) FROM vessels WHERE active),
        '') AS vessels,
    coalesce((SELECT md5(string_agg(gateway || '/' || name || ' ' || version, ',' ORDER BY gateway COLLATE "C",
        name COLLATE "C")) FROM devices WHERE version IS NOT NULL), '') AS devices
"""
_ALL_VESSELS: Final = """
SELECT id, name, registration_no, flag, class, length_m, gear, home_port, licence_no,
    licence_valid IS NOT NULL, haidang_microseconds(lower(licence_valid))::bigint,
    haidang_microseconds(upper(licence_valid))::bigint, licence_zone, lists
FROM vessels WHERE active
"""
_ALL_FITTED: Final = """
SELECT f.transponder_id, f.vessel_id, haidang_microseconds(lower(f.valid))::bigint,
    haidang_microseconds(upper(f.valid))::bigint
FROM vessel_transponders AS f JOIN vessels AS v ON v.id = f.vessel_id AND v.active
ORDER BY f.transponder_id, f.valid, f.vessel_id COLLATE "C"
"""
_ALL_SITES: Final = "SELECT gateway || '/' || name, lon, lat, groups FROM devices WHERE version IS NOT NULL"


async def registry_digest(dsn: str) -> str:
    """Changes when anything in the registry does."""
    (row,) = await ask.rows(dsn, _DIGESTS)
    return _digest(row["vessels"], row["devices"])


async def registry(dsn: str) -> Registry:
    """All that is registered. In a thread: there may be many."""
    return await asyncio.to_thread(_read, dsn)


def _read(dsn: str) -> Registry:
    with translated(), psycopg.connect(dsn, connect_timeout=5, application_name="haidang reader") as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        digests = connection.execute(_DIGESTS).fetchone()
        assert digests is not None  # a SELECT without FROM has one row
        same: dict[Any, Any] = {}  # so that what many vessels share is kept once
        vessels = {row[0]: _read_vessel(row, same) for row in connection.execute(_ALL_VESSELS)}
        carried: dict[int, list[Carried]] = {}
        for transponder, vessel, since, until in connection.execute(_ALL_FITTED):
            carried.setdefault(transponder, []).append(Carried(vessels[vessel], *_from(since, until)))
        sites = {}
        for name, lon, lat, said in connection.execute(_ALL_SITES):
            groups = frozenset(said)
            sites[name] = Site(lon, lat, same.setdefault(groups, groups))
    return Registry(carried, sites, _digest(*digests))


def _read_vessel(row: tuple[Any, ...], same: dict[Any, Any]) -> Vessel:
    id_, name, number, flag, kind, length, gear, port, licence_no, licensed, since, until, zone, lists = row
    flag, kind, gear, port, zone = (same.setdefault(word, word) for word in (flag, kind, gear, port, zone))
    lists = frozenset(lists)
    span = _from(since, until) if licensed else None
    return Vessel(
        *(id_, name, number, flag, kind, length, gear, port, licence_no),
        *(same.setdefault(span, span), zone, same.setdefault(lists, lists)),
    )


def _from(since: int | None, until: int | None) -> tuple[int, int]:
    return BEGINNING if since is None else since, END if until is None else until


def _digest(vessels: str, devices: str) -> str:
    return md5(f"{vessels} {devices}".encode(), usedforsecurity=False).hexdigest() if vessels or devices else ""


# --- for people

_LIST_VESSELS: Final = b"""
SELECT v.id, v.registration_no, v.name, v.flag, v.class, v.length_m, v.gear, v.home_port, v.owner, v.licence_no,
    lower(v.licence_valid) AS licence_from, upper(v.licence_valid) AS licence_until, v.licence_zone, v.lists, v.version,
    coalesce((SELECT jsonb_agg(jsonb_build_object('kind', f.kind, 'identifier', f.identifier,
        'from', lower(f.valid), 'until', upper(f.valid)) ORDER BY f.valid, f.kind, f.identifier)
        FROM vessel_transponders AS f WHERE f.vessel_id = v.id), '[]') AS transponders
FROM vessels AS v
WHERE v.active AND (%(key)s::text IS NULL OR %(key)s IN (v.id, v.registration_no) OR EXISTS (
    SELECT FROM vessel_transponders AS f WHERE f.vessel_id = v.id AND f.identifier = %(key)s))
ORDER BY v.id
"""


async def vessels(dsn: str) -> list[Row]:
    """The vessels in the registry, by id, each with its ``transponders``."""
    return await ask.rows(dsn, _LIST_VESSELS, {"key": None})


async def vessel(dsn: str, key: str) -> list[Row]:
    """Those with this id or registration number, or that carry or carried this MMSI or "gateway/device".

    Raises:
        RequestRefused: there is none.
    """
    found = await ask.rows(dsn, _LIST_VESSELS, {"key": key})
    if not found:
        raise RequestRefused(f"no vessel of the registry has the id, registration number or transponder {key!r}")
    return found


async def devices(dsn: str) -> list[Row]:
    """The devices in the registry, by name: ``gateway``, ``device``, ``lon``, ``lat``, ``groups``, ``first_seen``."""
    query = (
        b"SELECT gateway, name AS device, lon, lat, groups, first_seen, version FROM devices"
        b" WHERE version IS NOT NULL ORDER BY gateway, name"
    )
    return await ask.rows(dsn, query)
