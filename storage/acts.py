"""What people do to alerts. Each is one transaction: the alert, a row of its history, and who is told of it.

Every function answers the alert as it is then, and raises ``RequestRefused`` where there is no such alert or it is not
in a state in which that can be done, and ``DatabaseAway`` or ``ConfigurationError`` where the database cannot be used.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from psycopg import sql
from psycopg.types.json import Jsonb

from alerting.desk.notify import notifications
from alerting.model import AlertState, Event, Severity, Subject, SubjectKind, Transition
from storage import ask
from storage.alerts import COLUMNS, locked
from storage.errors import RequestRefused
from storage.payload import queueing
from storage.times import microseconds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from psycopg import AsyncConnection

    from alerting.desk.notify import ChannelSpec
    from storage.ask import Whom

    Row = dict[str, Any]
    Connection = AsyncConnection[Row]

OPEN: Final = (AlertState.FIRING, AlertState.ACKNOWLEDGED)


class Verdict(StrEnum):
    """What an alert was found to be."""

    CONFIRMED = "confirmed"
    FALSE = "false"
    DUPLICATE = "duplicate"
    TEST = "test"


@dataclass(slots=True, frozen=True)
class Said:
    """Who does it, and what goes with it.

    ``at``: when; None: now. ``channels``: who is to be told, if they want to be. ``link``: see
    ``alerting.desk.notify.notifications``.
    """

    actor: str
    note: str | None = None
    at: datetime | None = None
    channels: Sequence[ChannelSpec] = ()
    link: str | None = None


async def acknowledge(dsn: str, id_: UUID, said: Said) -> Row:
    """Somebody has seen it: firing -> acknowledged."""
    async with ask.connected(dsn) as connection:
        return await acknowledging(connection, await locked(connection, id_), said)


async def acknowledging(connection: Connection, before: Row, said: Said) -> Row:
    """The same within a transaction; ``before`` is the alert as ``locked``."""
    act = _Act(Event.ACKNOWLEDGED, (AlertState.FIRING,), _signed("acknowledged"))
    return await _do(connection, before, said, act, said.at or datetime.now(UTC))


async def unacknowledge(dsn: str, id_: UUID, said: Said) -> Row:
    """Nobody sees to it after all: acknowledged -> firing."""
    columns = {"acknowledged_at": None, "acknowledged_by": None}
    return await _once(dsn, id_, said, _Act(Event.UNACKNOWLEDGED, (AlertState.ACKNOWLEDGED,), columns))


async def resolve(dsn: str, id_: UUID, said: Said) -> Row:
    """Somebody has ended it: firing or acknowledged -> resolved."""
    return await _once(dsn, id_, said, _Act(Event.RESOLVED, OPEN, _signed("resolved")))


async def assign(dsn: str, id_: UUID, said: Said, assignee: str | None) -> Row:
    """Somebody is charged with it, or (None) nobody any more. It keeps its state."""
    act = _Act(Event.ASSIGNED, (*OPEN, AlertState.RESOLVED), {"assignee": assignee}, {"assignee": assignee})
    return await _once(dsn, id_, said, act)


async def comment(dsn: str, id_: UUID, said: Said) -> Row:
    """Something is said about it, at any time."""
    return await _once(dsn, id_, said, _Act(Event.COMMENTED, tuple(AlertState), {}))


async def close(whom: Whom, id_: UUID, said: Said, verdict: Verdict | None = None) -> Row:
    """It is dealt with: any other state -> closed. One that is not over is resolved first."""
    async with ask.connected(whom) as connection:
        return await closing(connection, await locked(connection, id_), said, verdict)


async def closing(connection: Connection, before: Row, said: Said, verdict: Verdict | None = None) -> Row:
    """The same within a transaction; ``before`` is the alert as ``locked``."""
    at = said.at or datetime.now(UTC)
    if before["state"] in OPEN:
        before = await _do(connection, before, said, _Act(Event.RESOLVED, OPEN, _signed("resolved")), at)
    details = {"verdict": verdict} if verdict else {}
    columns = _signed("closed") | {"verdict": sql.Literal(verdict)}
    act = _Act(Event.CLOSED, (*OPEN, AlertState.RESOLVED), columns, details)
    return await _do(connection, before, said, act, at)


async def said_of_incident(
    connection: Connection, before: Row, said: Said, event: Event, details: Mapping[str, Any], at: datetime
) -> Row:
    """Something is said of the incident that it began (``grouped``, ``incident_over``), and put into its history alone.

    ``before`` is the alert as ``locked``.
    """
    return await _do(connection, before, replace(said, channels=()), _Act(event, tuple(AlertState), {}, details), at)


async def over_budget(connection: Connection, before: Row, said: Said, details: Mapping[str, Any], at: datetime) -> Row:
    """Its rule has told of too many: whatever its state. ``before`` is the alert as ``locked``."""
    return await _do(connection, before, said, _Act(Event.OVER_BUDGET, tuple(AlertState), {}, details), at)


#: Which state an act leads to; the others leave it as it is.
_TO: Final = {
    Event.ACKNOWLEDGED: AlertState.ACKNOWLEDGED,
    Event.UNACKNOWLEDGED: AlertState.FIRING,
    Event.RESOLVED: AlertState.RESOLVED,
    Event.CLOSED: AlertState.CLOSED,
}


@dataclass(slots=True, frozen=True)
class _Act:
    event: Event
    allowed: tuple[AlertState, ...]
    columns: Mapping[str, Any]  # of the alert, to what they are set; SQL may speak of %(at)s and %(actor)s
    details: Mapping[str, Any] = field(default_factory=dict)


def _signed(what: str) -> dict[str, Any]:
    return {f"{what}_at": sql.Placeholder("at"), f"{what}_by": sql.Placeholder("actor")}


async def _once(dsn: str, id_: UUID, said: Said, act: _Act) -> Row:
    async with ask.connected(dsn) as connection:
        return await _do(connection, await locked(connection, id_), said, act, said.at or datetime.now(UTC))


async def _do(connection: Connection, before: Row, said: Said, act: _Act, at: datetime) -> Row:
    if before["state"] not in act.allowed:
        raise RequestRefused(f"alert {before['id']} is {before['state']} already")
    state = _TO.get(act.event, AlertState(before["state"]))
    columns = {name: v if isinstance(v, sql.Composable) else sql.Literal(v) for name, v in act.columns.items()}
    sets = [sql.SQL("{} = {}").format(sql.Identifier(name), value) for name, value in columns.items()]
    update = sql.SQL(
        "UPDATE alerts SET {}, last_at = greatest(last_at, %(at)s), revision = revision + 1 WHERE id = %(id)s"
        " RETURNING {}"
    ).format(sql.SQL(", ").join([sql.SQL("state = %(state)s"), *sets]), COLUMNS)
    cursor = await connection.execute(update, {"id": before["id"], "state": state.value, "at": at, "actor": said.actor})
    after = await cursor.fetchone()
    assert after is not None  # the row is locked
    await connection.execute(
        "INSERT INTO alert_history (alert_id, seq, at, actor, from_state, to_state, change, note, details)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
        (
            *(after["id"], after["revision"], at, said.actor, before["state"], state.value, act.event.value),
            *(said.note, Jsonb(act.details)),
        ),
    )
    if state != before["state"]:
        await connection.execute(b"SELECT incidents_settle(ARRAY[%s])", (after["id"],))
    change = transition(after, act.event, at, {"actor": said.actor, "note": said.note, **act.details})
    queued = notifications([change], said.channels, link=said.link)
    for statement, rows in queueing(queued):
        await connection.execute(statement, rows)
    return after


def transition(row: Row, event: Event, at: datetime, said: Mapping[str, Any]) -> Transition:
    """What happened to a stored alert (``COLUMNS``), in the engine's words; what is None is not said."""
    return Transition(
        alert_id=row["id"],
        rule_id=row["rule_id"],
        rule_version=row["rule_version"],
        subject=Subject(SubjectKind(row["subject_kind"]), row["subject_id"], row["subject_name"]),
        key=row["key"],
        state=AlertState(row["state"]),
        severity=Severity(row["severity"]),
        at=microseconds(at),
        started_at=microseconds(row["started_at"]),
        summary_en=row["summary_en"],
        summary_vi=row["summary_vi"],
        value=row["value"],
        zone_id=row["zone_id"],
        lon=row["lon"],
        lat=row["lat"],
        details={**row["details"], **{name: of for name, of in said.items() if of is not None}},
        change=event,
        shadow=row["shadow"],
    )
