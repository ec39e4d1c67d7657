"""Rules in the database: what is in force, and what was.

Every function raises ``DatabaseAway`` or ``ConfigurationError`` where the database cannot be used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from psycopg.types.json import Jsonb

from storage import ask

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


#: Key of the advisory lock by which imports of rules take turns.
_LOCK: Final = int.from_bytes(b"rules")


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


async def import_rules(dsn: str, rules: Iterable[RuleVersion], *, only: bool = False) -> Imported:
    """Make these the active versions. Earlier versions are kept: alerts name them. ``only``: all others are retired."""
    given = {rule.id: rule for rule in rules}
    async with ask.connected(dsn) as connection:
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))  # one import after the other
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
