"""Alerts are looked at again once what came late has settled: what was told wrong is revised or retracted, and told.

Beside the pipeline and at its own pace: it reads what is stored, puts it to the engine (``alerting.review``),
and commits what is to be said together with the end of the request (``storage.reviews``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import orjson
import structlog
from pydantic import ValidationError

from alerting.daemon import in_daemon
from alerting.model import SubjectKind
from alerting.review import ABOUT_HEARING, review
from alerting.rules import RULE
from decoders.arrival import joined
from storage import readers, reviews
from storage.history import Choice, history

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from alerting.model import Notification, Transition
    from alerting.rules import Rule
    from geofence.zones import Zone
    from storage.reviews import Review

log = structlog.get_logger()

_DAY: Final = 86_400_000_000
#: What is read before an alert: what a rule may look back, and what it takes to know where a vessel was.
_LOOK_BACK: Final = 2 * _DAY


class Reviewer:
    """Looks at alerts again.

    Args:
        dsn: of the database.
        notifier: who is to be told of a change.
        settle_seconds: how long nothing more must have come late for an alert before it is looked at.
        on_change: called with each change that was committed.
    """

    def __init__(
        self,
        dsn: str,
        notifier: Callable[[Sequence[Transition]], Sequence[Notification]],
        *,
        settle_seconds: float,
        on_change: Callable[[Transition], None] = lambda _change: None,
    ) -> None:
        self._dsn = dsn
        self._notifier = notifier
        self._settle_seconds = settle_seconds
        self._on_change = on_change

    async def all(self) -> None:
        """Look at all that is due."""
        while await self.once():
            pass

    async def once(self) -> int:
        """Look at what is due now; how many alerts that were."""
        waiting = await reviews.due(self._dsn, self._settle_seconds)
        for request in waiting:
            change = await self._look(request)
            told = self._notifier([change]) if change is not None else ()
            if await reviews.conclude(self._dsn, request, change, told) and change is not None:
                log.info("alert_reviewed", change=change.event.value, alert=str(change.alert_id), rule=change.rule_id)
                self._on_change(change)
        return len(waiting)

    async def _look(self, request: Review) -> Transition | None:
        rule = _rule(request)
        if rule is None or rule.kind in ABOUT_HEARING:
            return None
        zones = await self._zones(request)
        if zones is None:
            return None
        mine = (request.subject,)
        choice = (
            Choice(frozenset({"readings"}), devices=mine)
            if request.kind is SubjectKind.DEVICE
            else Choice(frozenset({"positions", "statics"}), transponders=mine)
        )
        since = request.started_at - _LOOK_BACK
        async with history(self._dsn, choice) as stored:
            span = await stored.span()
            if span is None:
                return None
            since = max(since, span[0])
            before = await stored.memory(since)
            came = joined([found async for found, _ in stored.slices(since, span[1] + 1)])
        at = max((int(t["received_at"].max()) for t in (came.positions, came.readings) if len(t)), default=since)
        return await in_daemon(review, request.alert, rule, zones, before, came, at)

    async def _zones(self, request: Review) -> list[Zone] | None:
        """The zones there are; None if the alert's has been edited since: it is not what was judged then."""
        zones = await readers.zones(self._dsn)
        version = request.details.get("zone_version")
        if version is None or any(zone.version == version for zone in zones):
            return zones
        return None


def _rule(request: Review) -> Rule | None:
    """The rule as it was; None if it is not kept, or not one that this version understands."""
    if request.rule is None:
        return None
    try:
        rule = RULE.validate_json(orjson.dumps(request.rule))
    except ValidationError:
        return None
    return rule if rule.version == request.rule_version else None
