"""Zones and rules in the database: what is in force, and what was.

Every function raises ``DatabaseAway`` or ``ConfigurationError`` where the database cannot be used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg.types.json import Jsonb

from geofence.zones import read_zones, to_feature
from storage import ask

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from geofence.zones import Zone


@dataclass(slots=True, frozen=True)
class Imported:
    """What an import changed, by id."""

    new: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    retired: tuple[str, ...] = ()  # no longer active

    @classmethod
    def of(cls, now: Mapping[str, str], before: Mapping[str, str], retired: Sequence[str]) -> Imported:
        """Of versions by id: those given, and those that were active."""
        return cls(
            new=tuple(id_ for id_ in now if id_ not in before),
            changed=tuple(id_ for id_, version in now.items() if id_ in before and before[id_] != version),
            unchanged=tuple(id_ for id_, version in now.items() if before.get(id_) == version),
            retired=tuple(retired),
        )


@dataclass(slots=True, frozen=True)
class RuleVersion:
    """One version of a rule; ``body`` is what it says, JSON-ready."""

    id: str
    version: str
    body: Mapping[str, Any]
    active: bool = True


async def import_zones(dsn: str, zones: Iterable[Zone], *, only: bool = False) -> Imported:
    """Write zones, by id; the last import of an id stands. ``only``: zones not among them are retired."""
    given = {zone.id: zone for zone in zones}
    async with ask.connected(dsn) as connection:
        # Two imports at a time would find each other's zones new, and retire each other's.
        cursor = await connection.execute("LOCK TABLE zones IN SHARE ROW EXCLUSIVE MODE")
        cursor = await connection.execute("SELECT id, version, active FROM zones")
        before = {row["id"]: (row["version"], row["active"]) for row in await cursor.fetchall()}
        for zone in given.values():
            if before.get(zone.id) == (zone.version, True):
                continue
            feature = to_feature(zone)
            await connection.execute(
                """
                INSERT INTO zones (id, name, name_vi, kind, geometry, properties, version, valid_from, valid_to, source)
                VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
                ON CONFLICT (id) DO UPDATE SET name = excluded.name, name_vi = excluded.name_vi, kind = excluded.kind,
                    geometry = excluded.geometry, properties = excluded.properties, version = excluded.version,
                    valid_from = excluded.valid_from, valid_to = excluded.valid_to, source = excluded.source,
                    active = true
                """,
                (
                    zone.id,
                    zone.name_en,
                    zone.name_vi,
                    zone.kind,
                    Jsonb(feature["geometry"]),
                    Jsonb(feature["properties"]),
                    zone.version,
                    zone.valid_from,
                    zone.valid_to,
                    zone.source,
                ),
            )
        retired = sorted(id_ for id_, (_, active) in before.items() if only and active and id_ not in given)
        await connection.execute("UPDATE zones SET active = false WHERE id = ANY(%s)", (retired,))
    old = {id_: version for id_, (version, active) in before.items() if active}
    return Imported.of({zone.id: zone.version for zone in given.values()}, old, retired)


async def zones(dsn: str) -> list[Zone]:
    """The active zones, by id."""
    query = (
        b"SELECT jsonb_build_object('type', 'Feature', 'id', id, 'geometry', geometry, 'properties', properties)::text"
        b" AS feature FROM zones WHERE active ORDER BY id"
    )
    features = [row["feature"] for row in await ask.rows(dsn, query)]
    if not features:
        return []
    text = f'{{"type": "FeatureCollection", "features": [{", ".join(features)}]}}'
    return read_zones(text, file="zones of the database")


async def zones_digest(dsn: str) -> str:
    """Changes when any active zone does."""
    query = b"SELECT md5(string_agg(id || ' ' || version, ',' ORDER BY id)) AS digest FROM zones WHERE active"
    (row,) = await ask.rows(dsn, query)
    return row["digest"] or ""


async def import_rules(dsn: str, rules: Iterable[RuleVersion], *, only: bool = False) -> Imported:
    """Make these the active versions. Earlier versions are kept: alerts name them. ``only``: all others are retired."""
    given = {rule.id: rule for rule in rules}
    async with ask.connected(dsn) as connection:
        await connection.execute("LOCK TABLE rules IN SHARE ROW EXCLUSIVE MODE")
        cursor = await connection.execute("SELECT id, version FROM rules WHERE active")
        before = {row["id"]: row["version"] for row in await cursor.fetchall()}
        retired = sorted(set(before) - set(given)) if only else []
        stale = [id_ for id_, version in before.items() if id_ in given and given[id_].version != version]
        await connection.execute("UPDATE rules SET active = false WHERE active AND id = ANY(%s)", (retired + stale,))
        for rule in given.values():
            if before.get(rule.id) == rule.version:
                continue
            await connection.execute(
                "INSERT INTO rules (id, version, body) VALUES (%s, %s, %s)"
                " ON CONFLICT (id, version) DO UPDATE SET active = true",
                (rule.id, rule.version, Jsonb(rule.body)),
            )
    return Imported.of({rule.id: rule.version for rule in given.values()}, before, retired)


async def rules(dsn: str, *, all_versions: bool = False) -> list[RuleVersion]:
    """The active rules by id, or every version there was."""
    query = b"SELECT id, version, body, active FROM rules WHERE active OR %s ORDER BY id, active DESC, version"
    return [RuleVersion(**row) for row in await ask.rows(dsn, query, (all_versions,))]
