"""Alerts that have one cause are told of once, whatever batches they came in; held against a plain account of it."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alerting.desk.book import Group, Procedure
from alerting.desk.notify import ChannelSpec, notifications
from alerting.model import AlertState, Event, Severity, Transition, Verdict
from storage import desk, incidents
from storage.acts import Said, resolve
from storage.audit import audit
from storage.errors import RequestRefused
from storage.silences import end_silence
from storage.times import moment
from storage.writer import Store
from tests.storage.samples import SECOND, T0, ask, batch, connected
from tests.storage.test_desk import about, over, silent

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

MINUTE = 60
LOG = ChannelSpec("log")
#: It is told of every alert: it does not want to hear of incidents.
EACH = ChannelSpec("each", events=frozenset({Event.FIRING, Event.RESOLVED}))
STORM = Group.model_validate(
    {
        "id": "storm",
        "match": {"rule": ["quiet", "loud"]},
        "by": ["gateway"],
        "within": "30m",
        "every": "10m",
        "wait": "1m",
        "title": {"en": "Storm", "vi": "Bão"},
    }
)


def at(seconds: int) -> datetime:
    return moment(T0 + seconds * SECOND)


async def happen(dsn: str, *moved: Transition, channels: Sequence[ChannelSpec] = (LOG,)) -> None:
    async with Store(dsn) as store:
        await store.commit(batch(Verdict(list(moved)), notifications(moved, channels)))


async def see(dsn: str, after: int, channels: Sequence[ChannelSpec] = (LOG,)) -> int:
    """The desk looks, twice: the second time there is nothing left to do. Everything until then is committed."""
    ask_now(dsn, after)
    return sum([await incidents.tell(dsn, "desk", channels, at(after)) for _ in range(2)])


def ask_now(dsn: str, after: int) -> None:
    with connected(dsn) as connection:
        connection.execute("UPDATE progress SET received_at = greatest(received_at, %s)", (at(after),))


def told(dsn: str, channel: str = "log") -> list[tuple[str, str, str]]:
    rows = ask(
        dsn,
        "SELECT payload -> 'subject' ->> 'name', event, state FROM notifications WHERE channel = %s"
        " AND state <> 'muted' ORDER BY at, event, 1",
        channel,
    )
    return [(name, event, state) for name, event, state in rows]


async def test_of_one_cause_the_first_is_told_and_then_how_many_there_are(tables: str) -> None:
    await desk.import_policies(tables, [STORM])
    await happen(tables, about("gate/a"), about("gate/b", after=5), about("other/a", after=6), channels=[LOG, EACH])
    await happen(tables, about("gate/c", "loud", after=20), channels=[LOG, EACH])
    assert told(tables) == [
        ("gate/a", "firing", "queued"),
        ("gate/b", "firing", "held"),
        ("other/a", "firing", "queued"),
        ("gate/c", "firing", "held"),
    ]
    assert {state for _, _, state in told(tables, "each")} == {"queued"}
    assert await see(tables, 10 * MINUTE - 1) == 0
    assert await see(tables, 10 * MINUTE) == 1
    rows = ask(
        tables,
        "SELECT alert_id, payload ->> 'summary_en', payload -> 'details' -> 'incident' FROM notifications"
        " WHERE event = 'grouped'",
    )
    [(lead, summary, said)] = rows
    assert lead == about("gate/a").alert_id
    assert summary == ("Storm: 3 alerts since 21:13 on 21 Sep (UTC+7), 3 of them open: gate/a, gate/b, gate/c")
    assert (said["alerts"], said["open"], said["labels"]) == (3, 3, {"gateway": "gate"})
    assert [member["subject"] for member in said["members"]] == ["gate/a", "gate/b", "gate/c"]
    [one] = [row for row in await incidents.incidents(tables) if row["labels"] == {"gateway": "gate"}]
    assert (one["alerts"], one["state"], one["severity"]) == (3, "open", "major")
    assert [m["subject_name"] for m in (await incidents.incident(tables, one["id"]))["members"]] == [
        "gate/a",
        "gate/b",
        "gate/c",
    ]
    changes = ask(tables, "SELECT change, actor FROM alert_history WHERE alert_id = %s", about("gate/b").alert_id)
    assert changes == [("firing", "engine"), ("grouped", "desk")]
    assert (await audit(tables)).faults == []


async def test_when_all_are_over_those_who_were_told_are_told_once(tables: str) -> None:
    await desk.import_policies(tables, [STORM])
    await happen(tables, about("gate/a"), about("gate/b", after=5))
    await happen(tables, over("gate/a", after=60))
    assert await see(tables, 100) == 0
    await happen(tables, over("gate/b", after=120))
    assert await see(tables, 121) == 1
    assert told(tables) == [
        ("gate/a", "firing", "queued"),
        ("gate/a", "resolved", "queued"),
        ("gate/a", "incident_over", "queued"),
    ]
    assert [row["state"] for row in await incidents.incidents(tables, over=True)] == ["over"]
    assert await incidents.open_incidents(tables) == {}


async def test_one_that_is_more_severe_is_told_and_one_that_becomes_so(tables: str) -> None:
    await desk.import_policies(tables, [STORM])
    await happen(tables, about("gate/a", severity=Severity.WARNING), about("gate/b", after=1, severity=Severity.INFO))
    await happen(tables, about("gate/c", after=2, severity=Severity.MAJOR))
    await happen(tables, about("gate/d", after=3, severity=Severity.CRITICAL))
    await happen(tables, about("gate/e", after=4, severity=Severity.CRITICAL))  # as severe, and told all the same
    worse = about("gate/b", after=5, change=Event.ESCALATED, severity=Severity.CRITICAL)
    await happen(tables, worse)
    await happen(tables, about("gate/b", after=6, change=Event.DEESCALATED, severity=Severity.INFO))
    await happen(tables, over("gate/b", after=7))
    assert told(tables) == [
        ("gate/a", "firing", "queued"),
        ("gate/c", "firing", "queued"),
        ("gate/d", "firing", "queued"),
        ("gate/e", "firing", "queued"),
        ("gate/b", "escalated", "queued"),
        ("gate/b", "deescalated", "queued"),
        ("gate/b", "resolved", "queued"),
    ]


async def test_that_one_of_them_was_none_is_said_at_once_and_the_rest_go_on(tables: str) -> None:
    await desk.import_policies(tables, [STORM])
    await happen(tables, about("gate/a"), about("gate/b", after=5))
    await happen(tables, about("gate/a", after=60, state=AlertState.RESOLVED, change=Event.RETRACTED))
    assert await see(tables, 60) == 1
    [(summary,)] = ask(tables, "SELECT payload ->> 'summary_en' FROM notifications WHERE event = 'grouped'")
    assert summary == "Storm: 1 alert since 21:13 on 21 Sep (UTC+7), 1 of them open: gate/b"
    await happen(tables, about("gate/c", after=70))  # nobody knows of one as severe that was one
    assert told(tables)[-1] == ("gate/c", "firing", "queued")
    await happen(tables, about("gate/b", after=80, state=AlertState.RESOLVED, change=Event.RETRACTED))
    await happen(tables, over("gate/c", after=90))
    assert await see(tables, 90) == 2
    assert ("gate/a", "incident_over", "queued") in told(tables)


async def test_an_incident_is_acknowledged_and_closed_as_one(tables: str) -> None:
    await desk.import_policies(tables, [STORM])
    await happen(tables, about("gate/a"), about("gate/b", after=5), about("gate/c", after=6))
    await happen(tables, over("gate/c", after=7))
    [one] = await incidents.incidents(tables)
    await incidents.acknowledge(tables, one["id"], Said("Lan"))
    assert sorted(row for (row,) in ask(tables, "SELECT state FROM alerts")) == [
        "acknowledged",
        "acknowledged",
        "resolved",
    ]
    with pytest.raises(RequestRefused, match=r"no alert of incident .* is firing"):
        await incidents.acknowledge(tables, one["id"], Said("Lan"))
    closed = await incidents.close(tables, one["id"], Said("Lan", at=at(100)))
    assert (closed["state"], closed["over_at"]) == ("over", at(100))
    assert {row for (row,) in ask(tables, "SELECT state FROM alerts")} == {"closed"}
    assert (await audit(tables)).faults == []


async def test_what_opens_again_opens_its_incident(tables: str) -> None:
    await desk.import_policies(tables, [STORM])
    await happen(tables, about("gate/a"), about("gate/b", after=5))
    await happen(tables, over("gate/a", after=60), over("gate/b", after=61))
    assert await see(tables, 70) == 1
    await happen(tables, about("gate/b", after=80, change=Event.REVISED))
    assert [row["state"] for row in await incidents.incidents(tables)] == ["open"]
    assert await see(tables, 80) == 1
    await resolve(tables, about("gate/b").alert_id, Said("Lan", at=at(90)))
    assert await see(tables, 90) == 1
    events = [event for _, event, _ in told(tables)]
    assert events == ["firing", "resolved", "incident_over", "grouped", "incident_over"]


async def test_procedures_are_followed_for_each_and_reminders_sent_of_what_was_told(tables: str) -> None:
    lost = Procedure.model_validate(
        {"id": "lost", "match": {"rule": "quiet"}, "steps": [{"after": "30m"}], "repeat": "4h"}
    )
    await desk.import_policies(tables, [STORM, lost])
    await happen(tables, about("gate/a"), about("gate/b", after=5))
    for hours in (1, 5):
        await desk.deadlines(tables, [LOG], at(3600 * hours))
    events = [(name, event) for name, event, state in told(tables) if state == "queued"]
    assert events == [
        ("gate/a", "firing"),
        ("gate/a", "overdue"),
        ("gate/b", "overdue"),
        ("gate/a", "reminded"),
        ("gate/b", "reminded"),  # somebody knows of it by now
    ]


async def test_of_what_is_told_with_its_incident_nobody_is_reminded_by_itself(tables: str) -> None:
    again = Procedure.model_validate({"id": "again", "match": {"rule": "quiet"}, "repeat": "4h"})
    await desk.import_policies(tables, [STORM, again])
    await happen(tables, about("gate/a"), about("gate/b", after=5))
    await desk.deadlines(tables, [LOG], at(3600 * 5))
    assert [(name, event) for name, event, state in told(tables) if state == "queued"] == [
        ("gate/a", "firing"),
        ("gate/a", "reminded"),
    ]


async def test_after_a_silence_one_of_them_is_told_and_the_others_with_it(tables: str) -> None:
    await desk.import_policies(tables, [STORM])
    id_ = await silent(tables, gateway=("gate",))
    await happen(tables, about("gate/a"), about("gate/b", after=5))
    await end_silence(tables, id_, actor="Lan")
    assert await desk.release(tables) == 1
    assert sorted(state for _, _, state in told(tables)) == ["held", "queued"]
    assert await desk.release(tables) == 0
    assert await see(tables, 11 * MINUTE) == 1


async def test_alerts_far_from_the_first_are_of_another_incident(tables: str) -> None:
    near = STORM.model_copy(update={"by": (), "within_m": 20_000.0})
    await desk.import_policies(tables, [near])
    await happen(
        tables,
        about("gate/a", lon=107.58, lat=16.46),
        about("gate/b", after=1, lon=108.2, lat=16.07),  # Da Nang, 79 km away
        about("gate/c", after=2, lon=107.70, lat=16.46),
    )
    await happen(tables, about("gate/d", after=3))  # nobody knows where
    assert [row["alerts"] for row in await incidents.incidents(tables)] == [1, 2]
    assert told(tables)[2] == ("gate/c", "firing", "held")


# --- against a plain account of it

NAMES = ("gate/a", "gate/b", "gate/c", "gate/d", "other/a", "other/b")
SEVERITIES = list(Severity)


@dataclass
class Case:
    """An incident, by the account below."""

    opened: int
    joined: int
    said: int
    members: list[tuple[str, int]] = field(default_factory=list)  # (name, number of the episode)
    due: int | None = None
    over: int | None = None


@dataclass
class Account:
    """What is told and when, one change after the other. Times in seconds; the clock comes by with each change."""

    cases: list[tuple[str, Case]] = field(default_factory=list)
    standing: dict[str, tuple[int, Severity]] = field(default_factory=dict)  # name -> episode, severity
    told: dict[int, Severity] = field(default_factory=dict)  # id of a case -> the worst that was told of it
    known: set[tuple[str, int]] = field(default_factory=set)  # alerts of which somebody was told
    sent: list[tuple[int, str, str]] = field(default_factory=list)  # (time, event, name)

    def say(self, time: int) -> None:
        for _, case in self.cases:
            if case.due is not None and case.due <= time:
                self.sent.append((case.due, "grouped", case.members[0][0]))
                case.said, case.due = case.due, None

    def case_of(self, name: str, episode: int) -> Case:
        return next(case for _, case in self.cases if (name, episode) in case.members)

    def fire(self, time: int, name: str, episode: int, severity: Severity) -> None:
        self.say(time)
        gateway = name.partition("/")[0]
        self.standing[name] = (episode, severity)
        for key, case in self.cases:
            if key == gateway and case.over is None and case.joined >= time - 30 * MINUTE:
                case.members.append((name, episode))
                case.joined = time
                if case.due is None:
                    case.due = max(time + MINUTE, case.said + 10 * MINUTE)
                break
        else:
            case = Case(time, time, time, [(name, episode)])
            self.cases.append((gateway, case))
        self.tell(time, "firing", name, episode, severity)

    def tell(self, time: int, event: str, name: str, episode: int, severity: Severity) -> None:
        case = self.case_of(name, episode)
        worst = self.told.get(id(case))
        mine = (name, episode) in self.known
        if mine or worst is None or severity.rank > worst.rank or severity is Severity.CRITICAL:
            self.known.add((name, episode))
            self.told[id(case)] = max(severity, worst or severity, key=lambda s: s.rank)
            self.sent.append((time, event, name))

    def change(self, time: int, name: str, severity: Severity) -> None:
        self.say(time)
        episode, before = self.standing[name]
        self.standing[name] = (episode, severity)
        event = "escalated" if severity.rank > before.rank else "deescalated"
        self.tell(time, event, name, episode, severity)

    def end(self, time: int, name: str) -> None:
        self.say(time)
        episode, _ = self.standing.pop(name)
        if (name, episode) in self.known:
            self.sent.append((time, "resolved", name))
        case = self.case_of(name, episode)
        if not any(self.standing.get(other, (None,))[0] == number for other, number in case.members):
            case.over = time
            if len(case.members) > 1:
                self.sent.append((time, "incident_over", case.members[0][0]))
            case.due = None


@st.composite
def stories(draw: st.DrawFn) -> list[tuple[int, str, Severity | None]]:
    """(seconds after the one before, name, severity it has now; None: over), where that can be."""
    gaps = st.sampled_from([1, 7, 50, 60, 200, 600, 601, 1_800, 1_801, 2_500])
    return draw(
        st.lists(
            st.tuples(gaps, st.sampled_from(NAMES), st.none() | st.sampled_from(SEVERITIES)), min_size=4, max_size=14
        )
    )


def played(story: list[tuple[int, str, Severity | None]]) -> tuple[list[Transition], Account, int]:
    """The changes of a story as the engine tells them, and the account of it."""
    account, moves, time, episode = Account(), [], 0, 0
    for gap, name, severity in story:
        time += gap
        standing = account.standing.get(name)
        if standing is None and severity is not None:
            episode += 1
            account.fire(time, name, episode, severity)
            moves.append(moved(time, name, episode, severity, Event.FIRING))
        elif standing is not None and severity is None:
            moves.append(moved(time, name, standing[0], standing[1], Event.RESOLVED))
            account.end(time, name)
        elif standing is not None and severity is not None and severity is not standing[1]:
            worse = severity.rank > standing[1].rank
            moves.append(moved(time, name, standing[0], severity, Event.ESCALATED if worse else Event.DEESCALATED))
            account.change(time, name, severity)
    account.say(time + 3600)
    return moves, account, time + 3600


def moved(time: int, name: str, episode: int, severity: Severity, event: Event) -> Transition:
    state = AlertState.RESOLVED if event is Event.RESOLVED else AlertState.FIRING
    change = None if event in {Event.FIRING, Event.RESOLVED} else event
    one = about(name, after=time, state=state, severity=severity, change=change)
    return about(name, after=time, state=state, severity=severity, change=change, alert_id=_episode(one, episode))


def _episode(one: Transition, episode: int) -> UUID:
    from alerting.model import alert_id

    return alert_id(one.rule_id, one.subject, one.key, T0 + episode)


def emptied(dsn: str) -> None:
    with connected(dsn) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("TRUNCATE alerts, notifications, alert_history, alert_deliveries, progress CASCADE")
        connection.execute("TRUNCATE incidents, incident_alerts, incident_news CASCADE")


def outcome(dsn: str) -> dict[str, Any]:
    """What a story left, but for when rows were written and how the desk's rows lie among those of an alert."""
    return {
        "incidents": ask(dsn, "SELECT * FROM incidents ORDER BY id"),
        "alerts": ask(dsn, "SELECT * FROM incident_alerts ORDER BY incident_id, seq"),
        "news": ask(dsn, "SELECT incident_id, seq, at, event, alerts FROM incident_news ORDER BY 1, 2"),
        "history": ask(dsn, "SELECT alert_id, at, actor, change, details::text FROM alert_history ORDER BY 1, 2, 4"),
        "told": ask(dsn, "SELECT id, channel, event, at, payload::text, state FROM notifications ORDER BY id"),
    }


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(story=stories(), data=st.data())
async def test_incidents_are_those_of_a_plain_account_however_alerts_fall_into_batches(
    plain_tables: str, story: list[tuple[int, str, Severity | None]], data: st.DataObject
) -> None:
    moves, account, end = played(story)
    one_by_one = [(True, False, 1, False)] * len(moves)
    #: Of each change: whether a batch ends with it, the process is killed before, how often it is delivered, and
    #: whether the desk looks after it.
    plans = st.tuples(st.booleans(), st.booleans(), st.integers(1, 2), st.booleans())
    at_random = data.draw(st.lists(plans, min_size=len(moves), max_size=len(moves)))
    left = []
    for plan in (one_by_one, at_random):
        emptied(plain_tables)
        await desk.import_policies(plain_tables, [STORM], only=True)
        async with AsyncExitStack() as processes:
            store = await processes.enter_async_context(Store(plain_tables))
            await store.commit(batch())
            waiting: list[Transition] = []
            for move, (ends, killed, times, looks) in zip(moves, plan, strict=True):
                waiting.append(move)
                if not ends:
                    continue
                if killed:
                    store = await processes.enter_async_context(Store(plain_tables))
                for _ in range(times):
                    await store.commit(batch(Verdict(waiting), notifications(waiting, [LOG])))
                waiting = []
                if looks:
                    await see(plain_tables, (move.known - T0) // SECOND)
            await store.commit(batch(Verdict(waiting), notifications(waiting, [LOG])))
        await see(plain_tables, end)
        left.append(outcome(plain_tables))
    assert left[0] == left[1]
    sent = ask(
        plain_tables,
        "SELECT at, event, payload -> 'subject' ->> 'name' FROM notifications WHERE state = 'queued'",
    )
    found = sorted((round((when - at(0)) / timedelta(seconds=1)), event, name) for when, event, name in sent)
    assert found == sorted(account.sent)
    assert (await audit(plain_tables)).faults == []
