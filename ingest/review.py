"""Alerts are looked at again once what came late has settled: what was told wrong is revised or retracted, and told.

Beside the pipeline and at its own pace: it reads what is stored, puts it to the engine (``alerting.rejudging.review``),
and commits what is to be said together with the end of the request (``storage.reviews``). Where the engine that judges
live is to go on from something else than it holds, the look is taken once more while the pipeline stands still
(``Pipeline.between``), and it goes on from what was committed, as after a restart.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Final

import orjson
import structlog
from pydantic import ValidationError

from alerting.channels.daemon import in_daemon
from alerting.judging.hearing import kept
from alerting.model import SubjectKind
from alerting.rejudging.backtest import warm_up
from alerting.rejudging.case import Case, Found
from alerting.rejudging.review import ABOUT_HEARING, review
from alerting.rules import RULE
from decoders.arrival import joined
from ingest import heap
from ingest.backtest import listened_until, looked_at
from ingest.zones import texts
from storage import reviews
from storage.ask import Link
from storage.history import Choice, history
from storage.zones import zone_versions, zones_at

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
    from uuid import UUID

    from alerting.model import Notification, Transition
    from alerting.pack import RuleBook
    from alerting.rejudging.case import Known
    from alerting.rules import Rule
    from decoders.records import Observations
    from storage.reviews import Request, Review

    #: Does something while no batch is under way, and says whether the engine is to go on from what it has written.
    Act = Callable[[], Awaitable[bool]]

log = structlog.get_logger()

_DAY: Final = 86_400_000_000
#: What is read before an alert, at least: what it takes to know where a vessel was.
_LOOK_BACK: Final = 2 * _DAY
#: Rows that are put to the engine at most: some hundred MB, and twenty seconds of its time. A vessel that reports every
#: ten seconds sends as many in four months.
_MOST_ROWS: Final = 1_000_000
#: After so many, the memory that it took is given back: else it would stay with the process, piece by piece.
_MANY_ROWS: Final = 10_000


class Reviewer:
    """Looks at alerts again.

    Args:
        dsn: of the database.
        notifier: who is to be told of a change.
        book: reads the rules in force.
        between: has something done between two batches; raises what that raises.
        settle_seconds: how long nothing more must have come late for an alert before it is looked at.
        tells: whether anybody is to be told; if not, only alerts are looked at of which nobody is.
        on_change: called with each change that was committed.
        most_rows: alerts for which more would have to be read are left as they are.
    """

    def __init__(
        self,
        dsn: str,
        notifier: Callable[[Sequence[Transition]], Sequence[Notification]],
        book: Callable[[], Awaitable[RuleBook]],
        between: Callable[[Act], Awaitable[None]],
        *,
        settle_seconds: float,
        tells: bool = True,
        on_change: Callable[[Transition], None] = lambda _change: None,
        most_rows: int = _MOST_ROWS,
    ) -> None:
        self._dsn = dsn
        self._notifier = notifier
        self._book = book
        self._between = between
        self._settle_seconds = settle_seconds
        self._tells = tells
        self._on_change = on_change
        self._most_rows = most_rows
        self._rows = 0  # read since memory was last given back

    async def all(self) -> None:
        """Look at all that is due."""
        async with Link(self._dsn) as database:
            while await self._once(database):
                pass
        if self._rows >= _MANY_ROWS:
            self._rows = 0
            heap.give_back()

    async def _once(self, database: Link) -> int:
        """Look at what is due now; how many rules and subjects that were."""
        waiting = await reviews.due(database, self._settle_seconds, untold=not self._tells)
        moving = [request for request in waiting if not await self._settle(database, request, still=False)]
        if moving:
            await self._between(partial(self._settle_all, database, moving))
        return len(waiting)

    async def _settle_all(self, database: Link, requests: Sequence[Request]) -> bool:
        return any([await self._settle(database, request, still=True) for request in requests])

    async def _settle(self, database: Link, request: Request, *, still: bool) -> bool:
        """Look, and commit what came of it.

        Returns:
            If the engine stands still: whether it is to go on from what was committed. Else: whether all is done that
            there is to do; if not, the engine has to stand still for it.
        """
        asked = await reviews.load(database, request, self._settle_seconds)
        if asked is None:
            return not still
        found, until = await self._look(database, asked)
        if found.states is not None and not still:
            return False
        told = self._notifier(found.transitions)
        if not await reviews.conclude(database, asked, found, until, told, tells=self._tells):
            return not still  # it is asked for still
        for change in found.transitions:
            log.info("alert_reviewed", change=change.event.value, alert=str(change.alert_id), rule=change.rule_id)
            self._on_change(change)
        return found.states is not None if still else True

    async def _look(self, database: Link, asked: Review) -> tuple[Found, int]:
        """What is found, and up to which receive time was looked."""
        rule, book = _rule(asked), await self._book()
        until = await listened_until(database)
        if rule is None or rule.kind in ABOUT_HEARING or until is None:
            return Found(stands=_unchanged(asked)), 0
        current = any((r.id, r.version) == (rule.id, rule.version) and r.enabled for r in book.rules)
        choice = _choice(asked, rule)
        started = (a.started_at for a in asked.alerts if a.open or a.id in asked.asked)
        since = min(started, default=until) - max(_LOOK_BACK, warm_up([rule]))
        async with history(self._dsn, choice) as stored:
            before = await stored.memory(since)
            before.states = [kept(span for span in await stored.deaf() if span[1] > since)]
            slices: list[Observations] = []
            count = 0
            async for found, _ in stored.slices(since, until + 1, of=since, width=_DAY):
                slices.append(found)
                self._rows += found.rows
                if (count := count + found.rows) > self._most_rows:
                    log.warning(
                        "review_left", rule=rule.id, subject=asked.subject.name, alerts=len(asked.alerts), rows=count
                    )
                    return Found(stands=_unchanged(asked)), 0
        rows = joined(slices)
        whole = Case(
            rule=rule,
            subject=asked.subject,
            zones=(await zones_at(database, texts([rule]), datetime.now(UTC))).zones,
            registry=book.registry,
            before=before,
            rows=rows,
            now=until,
            alerts=asked.alerts,
            states=asked.states if current else None,
            cut=asked.cut,
            stands=asked.stands,
        )
        versions = await zone_versions(database)
        (first, *others) = [case async for case in _by_zones(database, whole, asked, versions)]
        told = await in_daemon(review, first)
        for case in others:  # raised on zones that were others; the engine does not go on from these
            told.transitions += (await in_daemon(review, case)).transitions
        return told, until


async def _by_zones(database: Link, whole: Case, asked: Review, versions: Mapping[str, str]) -> AsyncIterator[Case]:
    """The alerts that were raised on the zones of today; then those raised on others, each with its zones."""
    past: dict[tuple[str, str], list[Known]] = {}
    for alert in whole.alerts:
        zone, version = asked.zones[alert.id], asked.details[alert.id].get("zone_version")
        if zone is not None and version is not None and versions.get(zone) != version:
            past.setdefault((zone, version), []).append(alert)
    old = {alert.id for alerts in past.values() for alert in alerts}
    yield replace(whole, alerts=[alert for alert in whole.alerts if alert.id not in old])
    for (zone, version), alerts in sorted(past.items()):
        kept_as = await zones_at(database, [zone], datetime.now(UTC), {zone: version})
        if kept_as.zones:
            others = [one for one in whole.zones if one.id != zone]
            yield replace(whole, zones=[*others, *kept_as.zones], alerts=alerts, states=None)


def _choice(asked: Review, rule: Rule) -> Choice:
    """The rows of the subject, and of those that its alerts name beside it."""
    if asked.subject.kind is SubjectKind.DEVICE:
        return Choice(frozenset({"readings"}), devices=(asked.subject.id,))
    named = {int(id_) for details in asked.details.values() for id_ in details.get("partners", ())}
    return Choice(looked_at([rule]) - {"readings", "receptions"}, transponders=tuple({asked.subject.id, *named}))


def _unchanged(asked: Review) -> dict[UUID, tuple[UUID, ...]]:
    return {alert: tuple(ids) for alert, ids in asked.stands.items()}


def _rule(asked: Review) -> Rule | None:
    """The rule as it was; None if it is not kept, or not one that this version understands."""
    if asked.rule is None:
        return None
    try:
        rule = RULE.validate_json(orjson.dumps(asked.rule))
    except ValidationError:
        return None
    return rule if rule.version == asked.request.rule_version else None
