"""Budgets of alerts: how many each rule has told of in a shift, and the warning where they are too many.

Every function raises ``DatabaseAway`` or ``ConfigurationError`` where the database cannot be used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from storage import acts, ask
from storage.acts import Said
from storage.alerts import locked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alerting.desk.notify import ChannelSpec
    from storage.ask import Whom

    Row = dict[str, Any]

_MOST: Final = 500  # warnings at a time
_EXCEEDED: Final = b"""
SELECT policy, rule_id, shift_start FROM alert_budgets WHERE exceeded_by IS NOT NULL AND warned_at IS NULL
ORDER BY shift_start, policy, rule_id LIMIT %s
"""
_WARNED: Final = b"""
UPDATE alert_budgets SET warned_at = clock_timestamp()
WHERE (policy, rule_id, shift_start) = (%s, %s, %s) AND warned_at IS NULL RETURNING exceeded_by, per_shift
"""


async def warn(whom: Whom, actor: str, channels: Sequence[ChannelSpec], *, link: str | None = None) -> int:
    """Say of each budget that is exceeded that it is, once, with the first alert beyond it; how many were."""
    found = await ask.rows(whom, _EXCEEDED, (_MOST,))
    return sum([await _warn(whom, row, Said(actor, channels=channels, link=link)) for row in found])


async def _warn(whom: Whom, budget: Row, said: Said) -> bool:
    async with ask.connected(whom) as connection:
        cursor = await connection.execute(_WARNED, (budget["policy"], budget["rule_id"], budget["shift_start"]))
        row = await cursor.fetchone()
        if row is None:  # another has said so
            return False
        start = budget["shift_start"].isoformat()
        details = {"budget": budget["policy"], "per_shift": row["per_shift"], "shift_start": start}
        alert = await locked(connection, row["exceeded_by"])
        await acts.over_budget(connection, alert, said, details, alert["known_at"] or alert["fired_at"])
        return True


async def budgets(dsn: str, *, limit: int = 100) -> list[Row]:
    """The rows of ``alert_budgets``, the latest shift and the fullest budget first."""
    return await ask.rows(
        dsn,
        b"SELECT policy, rule_id, shift_start, alerts, per_shift, exceeded_by, warned_at FROM alert_budgets"
        b" ORDER BY shift_start DESC, alerts::double precision / per_shift DESC, policy, rule_id LIMIT %s",
        (limit,),
    )
