"""Zones in the database: those in force, and what they were before they were edited or retired.

Every function raises ``DatabaseAway`` or ``ConfigurationError`` where the database cannot be used.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

import orjson
from psycopg.types.json import Jsonb

from geofence.zones import of_shapes, read_zones, shape, to_feature
from storage import ask
from storage.imports import Imported

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from geofence.zones import Zone
    from storage.ask import Whom

_WRITE: Final = b"""
INSERT INTO zones (id, name, name_vi, kind, geometry, shape, properties, version, valid_from, valid_to, source)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (id) DO UPDATE SET name = excluded.name, name_vi = excluded.name_vi, kind = excluded.kind,
    geometry = excluded.geometry, shape = excluded.shape, properties = excluded.properties, version = excluded.version,
    valid_from = excluded.valid_from, valid_to = excluded.valid_to, source = excluded.source, active = true
"""
_BEFORE: Final = b"""
SELECT id, version, active, shape IS NULL AND geometry ->> 'type' IN ('Polygon', 'MultiPolygon') AS shapeless FROM zones
"""
#: A zone by its shape, where that is kept, else by its feature.
_DRAWN: Final = b"""
id, version, shape, properties::text AS properties, CASE WHEN shape IS NULL THEN jsonb_build_object(
    'type', 'Feature', 'id', id, 'geometry', geometry, 'properties', properties)::text END AS feature
"""
_ACTIVE: Final = b"SELECT " + _DRAWN + b" FROM zones WHERE active ORDER BY id"
_FILES: Final = b"""
UPDATE zones AS z SET file = d.file
FROM zones AS o LEFT JOIN unnest(%s::text[], %s::text[]) AS d (id, file) USING (id)
WHERE z.id = o.id AND z.file IS DISTINCT FROM d.file
"""
#: Of each id the version that is asked for; where none is, that in force at a time, or else the one nearest to it.
_AS_THEY_WERE: Final = (
    b"SELECT until, "
    + _DRAWN
    + b"""
FROM (
    SELECT DISTINCT ON (v.id) v.*, z.shape FROM zone_versions AS v
    LEFT JOIN zones AS z ON (z.id, z.version) = (v.id, v.version)
    LEFT JOIN unnest(%(ids)s::text[], %(versions)s::text[]) AS w (id, version) ON w.id = v.id
    WHERE v.id = ANY(%(of)s) AND (w.version IS NULL OR w.version = v.version)
    ORDER BY v.id, v.since <= %(at)s AND (v.until IS NULL OR v.until > %(at)s) DESC,
        abs(extract(epoch FROM v.since - %(at)s))
) AS found ORDER BY id
"""
)


@dataclass(slots=True, frozen=True)
class Past:
    """Zones as they were, and when the first of them went out of force since; None: all are in force."""

    zones: Sequence[Zone]
    until: datetime | None


async def import_zones(
    dsn: str, zones: Iterable[Zone], *, only: bool = False, files: Mapping[str, str] | None = None
) -> Imported:
    """Write zones, by id; the last import of an id stands.

    Args:
        dsn: the database.
        zones: what is to be in force.
        only: whether zones not among them are retired.
        files: of all zones, which are drawn in a file of the settings, and in which; None: it is left as it is.
    """
    given = {zone.id: zone for zone in zones}
    async with ask.connected(dsn) as connection:
        # Two imports at a time would find each other's zones new, and retire each other's.
        await connection.execute("LOCK TABLE zones IN SHARE ROW EXCLUSIVE MODE")
        rows = await (await connection.execute(_BEFORE)).fetchall()
        before = {row["id"]: (row["version"], row["active"]) for row in rows}
        shapeless = {row["id"] for row in rows if row["shapeless"]}  # imported by an earlier version of ours
        for zone in given.values():
            if before.get(zone.id) != (zone.version, True) or zone.id in shapeless:
                await connection.execute(_WRITE, _row(zone))
        retired = sorted(id_ for id_, (_, active) in before.items() if only and active and id_ not in given)
        await connection.execute("UPDATE zones SET active = false WHERE id = ANY(%s)", (retired,))
        if files is not None:
            await connection.execute(_FILES, (list(files), list(files.values())))
    old = {id_: version for id_, (version, active) in before.items() if active}
    return Imported.of({zone.id: zone.version for zone in given.values()}, old, retired)


def _row(zone: Zone) -> tuple[Any, ...]:
    feature = to_feature(zone)
    drawn = (Jsonb(feature["geometry"]), shape(zone), Jsonb(feature["properties"]))
    said = (zone.version, zone.valid_from, zone.valid_to, zone.source)
    return (zone.id, zone.name_en, zone.name_vi, zone.kind, *drawn, *said)


async def retire_zones(dsn: str, ids: Sequence[str]) -> None:
    """Put zones out of force. What they were stays: alerts name them."""
    async with ask.connected(dsn) as connection:
        await connection.execute("UPDATE zones SET active = false WHERE id = ANY(%s)", (list(ids),))


async def zones(dsn: str) -> list[Zone]:
    """The active zones, by id."""
    return _read(await ask.rows(dsn, _ACTIVE))


async def zones_digest(dsn: str) -> str:
    """Changes when any active zone does."""
    query = b"SELECT md5(string_agg(id || ' ' || version, ',' ORDER BY id)) AS digest FROM zones WHERE active"
    (row,) = await ask.rows(dsn, query)
    return row["digest"] or ""


async def zone_versions(whom: Whom) -> dict[str, str]:
    """Of each active zone its version, by id."""
    rows = await ask.rows(whom, b"SELECT id, version FROM zones WHERE active ORDER BY id")
    return {row["id"]: row["version"] for row in rows}


async def zone_files(dsn: str) -> dict[str, str | None]:
    """By id of an active zone, the file of the service's settings that it is drawn in; None: it was imported."""
    rows = await ask.rows(dsn, b"SELECT id, file FROM zones WHERE active ORDER BY id")
    return {row["id"]: row["file"] for row in rows}


async def zones_at(whom: Whom, ids: Iterable[str], at: datetime, versions: Mapping[str, str] | None = None) -> Past:
    """Zones of these ids as they were at an instant of the server's clock, or in the versions given for some.

    What is not kept, or not in the version given, is not among them.
    """
    wanted = versions or {}
    values = {"of": list(ids), "at": at, "ids": list(wanted), "versions": list(wanted.values())}
    rows = await ask.rows(whom, _AS_THEY_WERE, values)
    return Past(_read(rows), min((row["until"] for row in rows if row["until"] is not None), default=None))


def _read(rows: Sequence[Mapping[str, Any]]) -> list[Zone]:
    """The zones of rows with _DRAWN, by id."""
    found = of_shapes(
        (row["id"], row["version"], orjson.loads(row["properties"]), row["shape"])
        for row in rows
        if row["shape"] is not None
    )
    if features := ", ".join(row["feature"] for row in rows if row["shape"] is None):
        found += read_zones(f'{{"type": "FeatureCollection", "features": [{features}]}}', file="zones of the database")
    return sorted(found, key=attrgetter("id"))
