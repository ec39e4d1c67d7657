"""Which rules and zones are in force: those of the settings, brought into the database; or those the database has."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from alerting.pack import RuleBook
    from ingest.settings import Settings


async def rule_book(settings: Settings) -> RuleBook:
    """The rules of the settings with their zones, and the zones of the database, both kept in the database.

    Raises:
        PackError: a rule file is wrong.
        StorageError: the database cannot be used.
    """
    names = [*(f"pack:{name}" for name in settings.rules.packs), *(str(path) for path in settings.rules.files)]
    return await file_rule_book(names, settings.database.dsn.get_secret_value())
