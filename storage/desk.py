"""What the desk does by the clock: tells what was held once nothing holds it, and sees to deadlines.

Each alert is seen to in a transaction of its own, under the lock of its row, and what was seen to is marked in it: a
process that is killed on the way has neither forgotten anything nor done it twice.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

from psycopg import AsyncConnection, sql
from psycopg.types.json import Jsonb

from alerting.desk.notify import ChannelSpec, notifications
from alerting.desk.outbox import EVENT_ORDER
from alerting.desk.reach import missing
from alerting.model import AlertState, Event, notification_id
from storage import ask
from storage.acts import OPEN, Said, close, transition
from storage.alerts import COLUMNS
from storage.payload import queueing

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from uuid import UUID

    from alerting.desk.book import Policy
    from alerting.model import Notification
    from storage.ask import Whom

    Row = dict[str, Any]
    Connection = AsyncConnection[Row]

ACTOR: Final = "desk"

_MOST: Final = 500  # alerts seen to at a time


async def import_policies(dsn: str, policies: Iterable[Policy], *, only: bool = False) -> None:
    """Make these the policies in force. ``only``: others are not any more.

    What mutes others by a policy that is new or another is found among the alerts that are open; deadlines of those
    that have fired stay as they are.
    """
    async with ask.connected(dsn) as connection:
        await connection.execute("LOCK TABLE desk_policies IN SHARE ROW EXCLUSIVE MODE")
        given = [(one.kind, one.id, Jsonb(one.body)) for one in policies]
        before = await (
            await connection.execute("SELECT id, body FROM desk_policies WHERE kind = 'inhibit'")
        ).fetchall()
        new = {id_: json.loads(json.dumps(body.obj)) for kind, id_, body in given if kind == "inhibit"}
        stay = [row["id"] for row in before if new.get(row["id"], None if only else row["body"]) == row["body"]]
        if only:
            await connection.execute("DELETE FROM desk_policies")
        async with connection.cursor() as cursor:
            await cursor.executemany(
                "INSERT INTO desk_policies (kind, id, body) VALUES (%s, %s, %s)"
                " ON CONFLICT (kind, id) DO UPDATE SET body = excluded.body",
                given,
            )
        await connection.execute("DELETE FROM alert_inhibitors WHERE policy <> ALL(%s)", (stay,))
        await connection.execute(
            "INSERT INTO alert_inhibitors (policy, alert_id) SELECT p.id, a.id FROM desk_policies AS p JOIN alerts AS a"
            " ON p.kind = 'inhibit' AND a.state IN ('firing', 'acknowledged') AND NOT a.shadow"
            " AND labels_match(p.body -> 'when', alert_labels(a)) AND p.id <> ALL(%s)",
            (stay,),
        )


# --- what was held

#: What holds it is over; whether something else does is looked at alert by alert. What an incident holds stays so: that
#: it is there has been told with the incident.
_FREE: Final = b"""
SELECT DISTINCT n.alert_id
FROM notifications AS n
LEFT JOIN silences AS s
    ON s.id = CASE WHEN n.held_by LIKE 'silence %%' THEN substr(n.held_by, 9)::uuid END
    AND s.ends_at > clock_timestamp()
LEFT JOIN alerts AS a
    ON a.id = CASE WHEN n.held_by LIKE 'alert %%' THEN substr(n.held_by, 7)::uuid END
    AND (a.state IN ('firing', 'acknowledged') OR NOT a.retracted AND EXISTS (
        SELECT FROM alert_inhibitors AS i JOIN desk_policies AS p ON (p.kind, p.id) = ('inhibit', i.policy)
        WHERE i.alert_id = a.id AND a.resolved_at + policy_span(p.body, 'linger') > clock_timestamp()))
LEFT JOIN desk_policies AS w
    ON (w.kind, w.id) = ('inhibit', CASE WHEN n.held_by LIKE 'wait %%' THEN substr(n.held_by, 6) END)
    AND EXISTS (
        SELECT FROM alerts AS o WHERE o.id = n.alert_id
            AND coalesce(o.known_at, o.fired_at) + policy_span(w.body, 'wait') > clock_timestamp())
WHERE n.state = 'held' AND n.held_by NOT LIKE 'incident %%' AND s.id IS NULL AND a.id IS NULL AND w.id IS NULL
ORDER BY n.alert_id LIMIT %s
"""
_HELD: Final = b"""
SELECT n.id, n.channel, n.event, n.payload, n.held_by, EXISTS (
    SELECT FROM notifications AS k
    WHERE (k.alert_id, k.channel) = (n.alert_id, n.channel) AND k.state NOT IN ('held', 'muted')) AS known
FROM notifications AS n WHERE n.alert_id = %s AND n.state = 'held' AND n.held_by NOT LIKE 'incident %%'
ORDER BY n.channel, n.at, array_position(%s::text[], n.event), n.id
"""
_FREED: Final = b"""
UPDATE notifications SET state = 'queued', payload = %s, created_at = clock_timestamp(),
    next_attempt_at = clock_timestamp()
WHERE id = %s
"""
_GROUPED: Final = b"""
SELECT notifications_grouped(jsonb_build_array(jsonb_build_object('id', %s::uuid, 'known', now())), '-infinity')
    AS held
"""
_MUTED: Final = b"""
WITH muted AS (UPDATE notifications SET state = 'muted' WHERE id = ANY(%s) RETURNING *)
INSERT INTO alert_deliveries (alert_id, notification_id, channel, event, outcome, attempts, note)
SELECT alert_id, id, channel, event, 'muted', attempts, 'held by ' || held_by FROM muted ORDER BY at, id
"""


async def release(whom: Whom) -> int:
    """Tell what was held and is held by nothing any more; how many notifications were queued.

    Of an alert that is firing each channel is told once, as it is now; of one that somebody has acknowledged meanwhile,
    or that is over, nobody is told who was not told before.
    """
    found = await ask.rows(whom, _FREE, (_MOST,))
    return sum([await _release(whom, row["alert_id"]) for row in found])


async def _release(whom: Whom, id_: UUID) -> int:
    async with ask.connected(whom) as connection:
        alert = await _locked(connection, id_)
        if alert["gate"] is not None:
            await connection.execute(
                "UPDATE notifications SET held_by = %s"
                " WHERE alert_id = %s AND state = 'held' AND held_by NOT LIKE 'incident %%'",
                (alert["gate"], id_),
            )
            return 0
        rows = await (await connection.execute(_HELD, (id_, list(EVENT_ORDER)))).fetchall()
        told = 0
        for _, some in groupby(rows, itemgetter("channel")):
            held = list(some)
            last, chosen = held[-1], chosen_of(held, AlertState(alert["state"]))
            if chosen is not None:
                payload = last["payload"] | {"event": chosen["event"], "notification_id": str(chosen["id"])}
                await connection.execute(_FREED, (Jsonb(payload), chosen["id"]))
                held_again = await (await connection.execute(_GROUPED, (chosen["id"],))).fetchone()
                told += held_again == {"held": 0}
            if muted := [row["id"] for row in held if row is not chosen]:
                await connection.execute(_MUTED, (muted,))
        if told:
            await connection.execute("SELECT pg_notify('haidang_outbox', '')")
        return told


def chosen_of(held: Sequence[Row], state: AlertState) -> Row | None:
    """Which of the held notifications of one alert and channel is to be sent after all; it says what the last says."""
    if state not in OPEN:
        return None
    if held[0]["known"]:
        return held[-1]
    if state is not AlertState.FIRING:
        return None
    return next((row for row in held if row["event"] == Event.FIRING.value), held[-1])


# --- deadlines

#: Those of alerts that nobody is to be told of now wait, and are in no other's way. Of what is told of with its
#: incident nobody is reminded by itself.
_DUE: Final = b"""
SELECT t.alert_id, t.procedure, t.step FROM alert_timers AS t JOIN alerts AS a ON a.id = t.alert_id
WHERE t.outcome IS NULL AND t.due_at <= %s
    AND (a.state NOT IN ('firing', 'acknowledged')
        OR alert_gate(a, clock_timestamp()) IS NULL
            AND NOT (t.step = 0
                AND EXISTS (
                    SELECT FROM notifications AS n
                    WHERE n.alert_id = a.id AND n.state = 'held' AND n.held_by LIKE 'incident %%')
                AND NOT EXISTS (
                    SELECT FROM notifications AS n WHERE n.alert_id = a.id AND n.state NOT IN ('held', 'muted'))))
ORDER BY t.due_at, t.alert_id, t.procedure, t.step LIMIT %s
"""
_TIMER: Final = b"""
SELECT * FROM alert_timers WHERE (alert_id, procedure, step) = (%s, %s, %s) AND outcome IS NULL FOR UPDATE
"""
_ENDED: Final = b"""
UPDATE alert_timers SET outcome = %s, ended_at = %s WHERE (alert_id, procedure, step) = (%s, %s, %s)
"""
_AGAIN: Final = b"UPDATE alert_timers SET due_at = %s WHERE (alert_id, procedure, step) = (%s, %s, %s)"


async def deadlines(whom: Whom, channels: Sequence[ChannelSpec], now: datetime, *, link: str | None = None) -> int:
    """See to the deadlines that have passed; how many were missed, so that somebody is told.

    A deadline counts as of when it passed, however late it is seen to; but what people have done by now is taken into
    account. Those of an alert that nobody is to be told of (a silence, an inhibition) wait until that is over.
    """
    found = await ask.rows(whom, _DUE, (now, _MOST))
    return sum([await _deadline(whom, (r["alert_id"], r["procedure"], r["step"]), channels, now, link) for r in found])


async def _deadline(
    whom: Whom, key: tuple[UUID, str, int], channels: Sequence[ChannelSpec], now: datetime, link: str | None
) -> bool:
    async with ask.connected(whom) as connection:
        alert = await _locked(connection, key[0])
        timer = await (await connection.execute(_TIMER, key)).fetchone()
        if timer is None or timer["due_at"] > now:  # another has seen to it
            return False
        outcome = relief(alert, timer)
        reminder = timer["step"] == 0
        if outcome is None and alert["gate"] is not None:
            return False
        if reminder and outcome != "over":
            every = timedelta(microseconds=timer["body"]["after"])
            ahead = timer["due_at"] + every * ((now - timer["due_at"]) // every + 1)
            await connection.execute(_AGAIN, (ahead, *key))
        else:
            await connection.execute(_ENDED, (outcome or "done", now, *key))
        if outcome is None:
            await _miss(connection, alert, timer, channels, link)
        return outcome is None


def relief(alert: Row, timer: Row) -> str | None:
    """Why a deadline that has passed asks for nothing; None: it does."""
    if alert["state"] not in OPEN:
        return "over"
    unless = ("acknowledged",) if timer["step"] == 0 else timer["body"]["unless"]
    if "acknowledged" in unless and alert["state"] == AlertState.ACKNOWLEDGED:
        return "acknowledged"
    return "assigned" if "assigned" in unless and alert["assignee"] is not None else None


async def _miss(
    connection: Connection, alert: Row, timer: Row, channels: Sequence[ChannelSpec], link: str | None
) -> None:
    event = Event.REMINDED if timer["step"] == 0 else Event.OVERDUE
    body: Mapping[str, Any] = timer["body"]
    details = {"procedure": timer["procedure"]}
    named: Sequence[str] = body.get("channels") or ()
    unreachable = missing(named, event, channels)
    if event is Event.OVERDUE:
        details |= {"step": timer["step"]} | {name: body[name] for name in ("who", "say", "channels") if body[name]}
        details |= {"unreachable": unreachable} if unreachable else {}
    after = await connection.execute(
        sql.SQL(
            "UPDATE alerts SET revision = revision + 1, last_at = greatest(last_at, %s) WHERE id = %s RETURNING {}"
        ).format(COLUMNS),
        (timer["due_at"], alert["id"]),
    )
    row = await after.fetchone()
    assert row is not None  # it is locked
    await connection.execute(
        "INSERT INTO alert_history (alert_id, seq, at, actor, from_state, to_state, change, details)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
        (
            *(row["id"], row["revision"], timer["due_at"], ACTOR),
            *(row["state"], row["state"], event.value, Jsonb(details)),
        ),
    )
    change = transition(row, event, timer["due_at"], {"actor": ACTOR, **details})
    told = [ChannelSpec(name, events=frozenset({event})) for name in named if name not in unreachable]
    if not named or unreachable:  # rather all than nobody
        told += [one for one in channels if one.name not in named]
    queued = [_identified(replace(one, named=bool(named)), timer) for one in notifications([change], told, link=link)]
    for statement, rows in queueing(queued):
        await connection.execute(statement, rows)


def _identified(told: Notification, timer: Row) -> Notification:
    """Two deadlines may pass at one instant: what tells of them is told apart by which they are."""
    which = f"{told.event}|{timer['procedure']}|{timer['step']}"
    id_ = notification_id(told.alert_id, which, told.channel, told.at)
    return replace(told, id=id_, payload={**told.payload, "notification_id": str(id_)})


async def _locked(connection: Connection, id_: UUID) -> Row:
    query = sql.SQL("SELECT {}, alert_gate(a, clock_timestamp()) AS gate FROM alerts AS a WHERE id = %s FOR UPDATE")
    row = await (await connection.execute(query.format(COLUMNS), (id_,))).fetchone()
    assert row is not None  # alerts stay
    return row


# --- what is over

_OVER: Final = b"""
SELECT id, resolved_at FROM alerts WHERE state = 'resolved' AND resolved_at <= %s ORDER BY resolved_at, id LIMIT %s
"""


async def close_old(
    whom: Whom, channels: Sequence[ChannelSpec], after: timedelta, now: datetime, *, link: str | None = None
) -> int:
    """Close what has been over for so long, as of the time at which it had been; how many."""
    found = await ask.rows(whom, _OVER, (now - after, _MOST))
    for row in found:
        said = Said(ACTOR, f"over for {after}", row["resolved_at"] + after, channels, link)
        await close(whom, row["id"], said)
    return len(found)
