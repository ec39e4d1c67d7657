"""Who is not told, and who is told by when: decided by what alerts and policies say, never by batches or restarts."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from alerting.desk.book import Inhibition, Procedure
from alerting.desk.matching import LABELS, matches, regex
from alerting.desk.notify import ChannelSpec, notifications
from alerting.model import AlertState, Event, Severity, Subject, SubjectKind, Transition, Verdict, alert_id
from decoders.identity import device_id
from storage import desk
from storage.audit import audit
from storage.errors import DatabaseAway
from storage.readers import Said, acknowledge, alerts, assign, resolve, unacknowledge
from storage.silences import end_silence, labels, silence, silenced_by, silences
from storage.times import moment
from storage.writer import Store
from tests.storage.samples import SECOND, T0, ask, batch, connected, contents, full, transition

if TYPE_CHECKING:
    from collections.abc import Sequence

LOG = [ChannelSpec("log")]
BORDER = ChannelSpec("border-guard", Severity.CRITICAL, frozenset({Event.FIRING}), ("other",))
BOTH = [*LOG, BORDER]
HOUR = timedelta(hours=1)
START = datetime.fromtimestamp(T0 / 1e6, UTC)
TOLD = "SELECT alert_id, event, state FROM notifications ORDER BY at, event, alert_id"


def about(name: str, rule: str = "quiet", after: int = 0, **changes: Any) -> Transition:
    subject = Subject(SubjectKind.DEVICE, device_id(*name.split("/")), name)
    at = T0 + after * SECOND
    values: dict[str, Any] = {
        "alert_id": alert_id(rule, subject, "k", T0),
        "rule_id": rule,
        "subject": subject,
        "key": "k",
        "known": at,
        "details": {"kind": "no_data" if rule == "quiet" else "threshold"},
    }
    return transition(changes.pop("state", AlertState.FIRING), at=at, **(values | changes))


def over(name: str, rule: str = "quiet", after: int = 0) -> Transition:
    return about(name, rule, after, state=AlertState.RESOLVED)


async def happen(dsn: str, *moved: Transition) -> None:
    async with Store(dsn) as store:
        await store.commit(batch(Verdict(list(moved)), notifications(moved, LOG)))


def told(dsn: str) -> list[tuple[str, str]]:
    """(event, state) of every notification, oldest first."""
    return [(event, state) for _, event, state in ask(dsn, TOLD)]


async def silent(dsn: str, *, start: datetime = START - HOUR, **matcher: tuple[str, ...]) -> Any:
    ends = datetime.now(UTC) + HOUR
    return (await silence(dsn, matcher, starts_at=start, ends_at=ends, author="Lan", reason="repair"))["id"]


DEAD = Inhibition(
    id="dead-gateway",
    when={"rule": ("gateway-silent",)},
    mutes={"kind": ("no_data",)},
    same=("gateway",),
)


# --- silences


async def test_nobody_is_told_during_a_silence_and_what_still_fires_is_told_once_after_it(tables: str) -> None:
    id_ = await silent(tables, subject=("gate/*",))
    await happen(tables, about("gate/a"), about("other/a"))
    worse = about("gate/a", after=5, change=Event.ESCALATED, severity=Severity.CRITICAL, summary_en="worse")
    await happen(tables, worse)
    assert told(tables) == [("firing", "held"), ("firing", "queued"), ("escalated", "held")] or told(tables) == [
        ("firing", "queued"),
        ("firing", "held"),
        ("escalated", "held"),
    ]
    assert await desk.release(tables) == 0
    await end_silence(tables, id_, actor="Lan")
    assert await desk.release(tables) == 1
    assert await desk.release(tables) == 0
    rows = ask(
        tables,
        "SELECT event, state, payload ->> 'event', payload ->> 'summary_en', payload ->> 'notification_id' = id::text"
        " FROM notifications WHERE alert_id = %s ORDER BY at",
        about("gate/a").alert_id,
    )
    assert rows == [("firing", "queued", "firing", "worse", True), ("escalated", "muted", "escalated", "worse", True)]
    assert ask(tables, "SELECT event, outcome, note FROM alert_deliveries") == [
        ("escalated", "muted", f"held by silence {id_}")
    ]
    await happen(tables, over("gate/a", after=9))
    assert told(tables)[-1] == ("resolved", "queued")
    assert (await audit(tables)).faults == []


async def test_what_began_and_ended_in_a_silence_is_never_told(tables: str) -> None:
    id_ = await silent(tables, rule=("quiet",))
    await happen(tables, about("gate/a"))
    await happen(tables, over("gate/a", after=5))
    assert told(tables) == [("firing", "muted"), ("resolved", "muted")]
    await end_silence(tables, id_, actor="Lan")
    assert await desk.release(tables) == 0
    assert len(ask(tables, "SELECT FROM alert_deliveries")) == 2


async def test_the_end_of_what_was_told_is_told_in_a_silence_too(tables: str) -> None:
    await happen(tables, about("gate/a"))
    await silent(tables, start=START + timedelta(seconds=1), rule=("quiet",))
    await happen(tables, over("gate/a", after=5))
    assert told(tables) == [("firing", "queued"), ("resolved", "queued")]


async def test_what_somebody_acknowledged_in_a_silence_is_not_told_after_it(tables: str) -> None:
    id_ = await silent(tables, rule=("quiet",))
    await happen(tables, about("gate/a"))
    await acknowledge(tables, about("gate/a").alert_id, Said("Lan"))
    await end_silence(tables, id_, actor="Lan")
    assert await desk.release(tables) == 0
    assert told(tables) == [("firing", "muted")]
    later = round((datetime.now(UTC) - START).total_seconds()) + 60  # than the end of the silence
    await happen(tables, about("gate/a", after=later, change=Event.DEESCALATED, severity=Severity.INFO))
    await happen(tables, about("gate/a", after=later + 1, change=Event.ESCALATED, severity=Severity.CRITICAL))
    await happen(tables, over("gate/a", after=later + 2))
    assert told(tables)[1:] == [("deescalated", "muted"), ("escalated", "queued"), ("resolved", "queued")]


async def test_another_silence_goes_on_holding(tables: str) -> None:
    first, second = [await silent(tables, rule=("quiet",)), await silent(tables, gateway=("gate",))]
    await happen(tables, about("gate/a"))
    for id_, state in ((first, "held"), (second, "queued")):
        await end_silence(tables, id_, actor="Lan")
        await desk.release(tables)
        assert told(tables) == [("firing", state)]


async def test_a_silence_is_of_its_time_only(tables: str) -> None:
    await silent(tables, start=START + timedelta(seconds=10), rule=("quiet",))
    await happen(tables, about("gate/a", after=9), about("gate/b", after=10))
    assert told(tables) == [("firing", "queued"), ("firing", "held")]


async def test_a_silenced_alert_is_shown_as_such(tables: str) -> None:
    id_ = await silent(tables, severity=("major", "warning"))
    await happen(tables, about("gate/a"), about("gate/b", severity=Severity.CRITICAL))
    lasting = await silences(tables)
    shown = {row["subject_name"]: silenced_by(row, lasting) for row in await alerts(tables)}
    assert shown == {"gate/a": id_, "gate/b": None}
    await end_silence(tables, id_, actor="Lan")
    assert await silences(tables) == []
    assert [row["ended_by"] for row in await silences(tables, over=True)] == ["Lan"]


# --- inhibition


async def test_a_dead_gateway_mutes_its_sensors_until_it_is_back(tables: str) -> None:
    await desk.import_policies(tables, [DEAD])
    await happen(tables, about("gate/hub", "gateway-silent"), about("gate/a", after=1), about("other/a", after=1))
    states = dict(ask(tables, "SELECT payload -> 'subject' ->> 'name', state FROM notifications"))
    assert states == {"gate/hub": "queued", "gate/a": "held", "other/a": "queued"}
    await happen(tables, over("gate/hub", "gateway-silent", after=60))
    assert await desk.release(tables) == 1
    assert {state for _, state in told(tables)} == {"queued"}


async def test_a_gateway_and_its_sensors_that_come_back_together_were_one_alert(tables: str) -> None:
    await desk.import_policies(tables, [DEAD])
    await happen(tables, about("gate/hub", "gateway-silent"), about("gate/a", after=1), about("gate/b", after=2))
    await happen(
        tables, over("gate/a", after=60), over("gate/hub", "gateway-silent", after=60), over("gate/b", after=60)
    )
    await desk.release(tables)
    sent = ask(tables, "SELECT payload -> 'subject' ->> 'name', event FROM notifications WHERE state = 'queued'")
    assert sorted(sent) == [("gate/hub", "firing"), ("gate/hub", "resolved")]


WAITS = Inhibition.model_validate(
    {
        "id": "dead-gateway",
        "when": {"rule": "gateway-silent"},
        "mutes": {"kind": "no_data"},
        "same": ["gateway"],
        "wait": "5m",
        "linger": "10m",
    }
)


def recently(name: str, rule: str = "quiet", ago: int = 0, **changes: Any) -> Transition:
    """It happened so many seconds ago by the clock of the server."""
    since = round((datetime.now(UTC) - START).total_seconds()) - ago
    return about(name, rule, since, **changes)


async def test_a_symptom_waits_for_its_cause_and_for_a_time_after_it(tables: str) -> None:
    await desk.import_policies(tables, [WAITS])
    await happen(tables, recently("gate/a", ago=60), recently("other/a", ago=60), recently("third/a", ago=301))
    await happen(tables, recently("gate/hub", "gateway-silent", ago=30))
    await desk.release(tables)
    holders = "SELECT payload -> 'subject' ->> 'name', state, split_part(held_by, ' ', 1) FROM notifications ORDER BY 1"
    assert ask(tables, holders) == [
        ("gate/a", "held", "wait"),
        ("gate/hub", "queued", None),
        ("other/a", "held", "wait"),
        ("third/a", "queued", "wait"),  # it has waited long enough
    ]
    with connected(tables) as connection:  # five minutes later
        connection.execute("UPDATE alerts SET known_at = known_at - interval '5 minutes'")
    await desk.release(tables)
    assert [row[1:] for row in ask(tables, holders)] == [
        ("held", "alert"),
        ("queued", None),
        ("queued", "wait"),
        ("queued", "wait"),
    ]
    await happen(tables, recently("gate/hub", "gateway-silent", ago=1, state=AlertState.RESOLVED))
    assert await desk.release(tables) == 0
    await happen(tables, recently("gate/a", state=AlertState.RESOLVED))  # heard again a little later: nobody was told
    assert dict(ask(tables, "SELECT payload -> 'subject' ->> 'name', state FROM notifications"))["gate/a"] == "muted"


async def test_what_does_not_come_back_with_its_cause_is_told(tables: str) -> None:
    await desk.import_policies(tables, [WAITS])
    await happen(tables, recently("gate/hub", "gateway-silent", ago=3000), recently("gate/a", ago=2999))
    await happen(tables, recently("gate/hub", "gateway-silent", ago=601, state=AlertState.RESOLVED))
    assert await desk.release(tables) == 1


async def test_two_alerts_that_a_policy_means_on_both_sides_do_not_mute_each_other(tables: str) -> None:
    every = Inhibition(id="any", when={"kind": ("no_data",)}, mutes={"kind": ("no_data",)}, same=("gateway",))
    await desk.import_policies(tables, [every])
    await happen(tables, about("gate/a"), about("gate/b"))
    await happen(tables, about("gate/a", after=5, change=Event.ESCALATED, severity=Severity.CRITICAL))
    assert {state for _, state in told(tables)} == {"queued"}


async def test_an_alert_mutes_as_severe_as_it_has_become(tables: str) -> None:
    worse = Inhibition(id="worse", when={"severity": ("critical",)}, mutes={"severity": ("warning",)})
    await desk.import_policies(tables, [worse])
    await happen(tables, about("gate/hub", severity=Severity.MAJOR), about("gate/a", severity=Severity.WARNING))
    await happen(tables, about("gate/hub", after=1, change=Event.ESCALATED, severity=Severity.CRITICAL))
    await happen(tables, about("gate/b", after=2, severity=Severity.WARNING))
    await happen(tables, about("gate/hub", after=3, change=Event.DEESCALATED, severity=Severity.MAJOR))
    await happen(tables, about("gate/c", after=4, severity=Severity.WARNING))
    states = ask(tables, "SELECT payload -> 'subject' ->> 'name', state FROM notifications WHERE event = 'firing'")
    assert dict(states) == {"gate/hub": "queued", "gate/a": "queued", "gate/b": "held", "gate/c": "queued"}


async def test_a_change_is_held_by_what_lasts_when_it_becomes_known_however_long_ago_it_was(tables: str) -> None:
    await happen(tables, about("gate/a"))
    await silent(tables, start=START + timedelta(seconds=10), rule=("quiet",))
    known = T0 + 3600 * SECOND
    await happen(tables, about("gate/a", after=9, known=known, change=Event.ESCALATED, severity=Severity.CRITICAL))
    assert told(tables) == [("firing", "queued"), ("escalated", "held")]


STORY = [
    about("gate/a", after=0),
    about("gate/hub", "gateway-silent", after=1),
    about("gate/b", after=2),
    about("gate/b", after=3, change=Event.ESCALATED, severity=Severity.CRITICAL),
    over("gate/a", after=4),
    over("gate/hub", "gateway-silent", after=5),
    about("gate/c", after=6),
    over("gate/c", after=7),
]


@pytest.mark.parametrize("cuts", [(), (4,), (1, 2, 3, 4, 5, 6, 7), (2, 6), (3, 5)])
async def test_what_is_held_does_not_hang_on_how_changes_fell_into_batches(tables: str, cuts: Sequence[int]) -> None:
    await desk.import_policies(tables, [DEAD])
    edges = [0, *cuts, len(STORY)]
    for first, last in itertools.pairwise(edges):
        await happen(tables, *STORY[first:last])
        await happen(tables, *STORY[first:last])  # delivered twice
    assert await desk.release(tables) == 1
    found = ask(tables, "SELECT payload -> 'subject' ->> 'name', event, state FROM notifications ORDER BY at, event")
    assert found == [
        ("gate/a", "firing", "queued"),
        ("gate/hub", "firing", "queued"),
        ("gate/b", "firing", "queued"),
        ("gate/b", "escalated", "muted"),
        ("gate/a", "resolved", "queued"),
        ("gate/hub", "resolved", "queued"),
        ("gate/c", "firing", "queued"),
        ("gate/c", "resolved", "queued"),
    ]


async def test_policies_loaded_later_see_what_is_open(tables: str) -> None:
    await happen(tables, about("gate/hub", "gateway-silent"))
    await desk.import_policies(tables, [DEAD], only=True)
    await happen(tables, about("gate/a", after=1))
    assert told(tables) == [("firing", "queued"), ("firing", "held")]
    await desk.import_policies(tables, [], only=True)
    assert await desk.release(tables) == 0  # its holder is open still
    await happen(tables, over("gate/hub", "gateway-silent", after=5))
    assert await desk.release(tables) == 1


# --- procedures

LOST = Procedure.model_validate(
    {
        "id": "lost-signal",
        "match": {"rule": "quiet"},
        "steps": [
            {"after": "30m", "unless": ["acknowledged", "assigned"], "who": {"en": "the owner", "vi": "chủ tàu"}},
            {"after": "2h", "channels": ["border-guard"], "say": {"en": "call", "vi": "gọi"}},
        ],
        "repeat": "4h",
    }
)


def history(dsn: str) -> list[tuple[str, timedelta]]:
    rows = ask(dsn, "SELECT change, at FROM alert_history ORDER BY alert_id, seq")
    return [(change, at - START) for change, at in rows]


async def see(dsn: str, after: timedelta, channels: Sequence[ChannelSpec] = BOTH) -> int:
    """The desk looks, twice: the second time there is nothing left to do."""
    return sum([await desk.deadlines(dsn, channels, START + after) for _ in range(2)])


async def test_each_step_is_taken_once_at_its_deadline_however_late_it_is_seen_to(tables: str) -> None:
    await desk.import_policies(tables, [LOST])
    await happen(tables, about("gate/a"))
    await happen(tables, about("gate/a"))
    assert [await see(tables, HOUR * n / 2 - timedelta(seconds=1)) for n in (1, 2)] == [0, 1]
    assert await see(tables, HOUR * 7) == 2
    assert history(tables) == [
        ("firing", timedelta(0)),
        ("overdue", HOUR / 2),
        ("overdue", HOUR * 2),
        ("reminded", HOUR * 4),
    ]
    rows = ask(tables, "SELECT channel, event, at, payload -> 'details' ->> 'step' FROM notifications ORDER BY at")
    assert [(channel, event, at - START, step) for channel, event, at, step in rows] == [
        ("log", "firing", timedelta(0), None),
        ("log", "overdue", HOUR / 2, "1"),
        ("border-guard", "overdue", HOUR * 2, "2"),
        ("log", "reminded", HOUR * 4, None),
    ]
    assert await see(tables, HOUR * 25) == 1  # those that were missed meanwhile are one
    assert history(tables)[-1] == ("reminded", HOUR * 8)
    assert await see(tables, HOUR * 28) == 1
    assert (await audit(tables)).faults == []


CANNOT = replace(BORDER, carries=frozenset({Event.FIRING}))


@pytest.mark.parametrize(
    ("channels", "told", "unreachable"),
    [
        (BOTH, ["border-guard"], None),
        (LOG, ["log"], ["border-guard"]),
        ([*LOG, CANNOT], ["log"], ["border-guard"]),
        ([*LOG, ChannelSpec("deaf", events=frozenset({Event.FIRING}))], ["log"], ["border-guard"]),
    ],
)
async def test_a_step_whose_channel_is_not_there_is_told_to_all_and_says_so(
    tables: str, channels: list[ChannelSpec], told: list[str], unreachable: list[str] | None
) -> None:
    await desk.import_policies(tables, [LOST.model_copy(update={"steps": LOST.steps[1:]})])
    await happen(tables, about("gate/a"))
    assert await see(tables, HOUR * 3, channels) == 1
    rows = ask(
        tables, "SELECT channel, payload -> 'details' -> 'unreachable' FROM notifications WHERE event = 'overdue'"
    )
    assert rows == [(name, unreachable) for name in told]
    details = ask(tables, "SELECT details -> 'channels', details -> 'unreachable' FROM alert_history WHERE seq = 2")
    assert details == [(["border-guard"], unreachable)]


async def test_of_several_channels_those_that_are_there_are_told_beside_all_others(tables: str) -> None:
    step = LOST.steps[1].model_copy(update={"channels": ("border-guard", "port")})
    await desk.import_policies(tables, [LOST.model_copy(update={"steps": (step,)})])
    await happen(tables, about("gate/a"))
    assert await see(tables, HOUR * 3) == 1
    rows = ask(
        tables, "SELECT channel, payload -> 'details' -> 'unreachable' FROM notifications WHERE event = 'overdue'"
    )
    assert sorted(rows) == [("border-guard", ["port"]), ("log", ["port"])]


async def test_what_people_do_relieves(tables: str) -> None:
    await desk.import_policies(tables, [LOST])
    await happen(tables, about("gate/a"), about("gate/b"), about("gate/c"))
    await assign(tables, about("gate/a").alert_id, Said("Lan"), "Minh")
    await acknowledge(tables, about("gate/b").alert_id, Said("Lan"))
    await resolve(tables, about("gate/c").alert_id, Said("Lan"))
    assert await see(tables, HOUR) == 0
    assert await see(tables, HOUR * 3) == 2  # of a and b: nothing relieves of the second step but the end
    await unacknowledge(tables, about("gate/b").alert_id, Said("Lan"))
    assert await see(tables, HOUR * 5) == 2  # and both are reminded of
    found = ask(tables, "SELECT step, outcome, count(*)::int FROM alert_timers GROUP BY 1, 2 ORDER BY 1, 2")
    assert found == [
        (0, "over", 1),
        (0, None, 2),
        (1, "assigned", 1),
        (1, "over", 1),
        (1, None, 1),  # of b: nobody sees to it any more
        (2, "done", 2),
        (2, "over", 1),
    ]


async def test_an_acknowledged_alert_is_not_reminded_of_until_it_is_so_no_more(tables: str) -> None:
    await desk.import_policies(tables, [LOST.model_copy(update={"steps": ()})])
    await happen(tables, about("gate/a"))
    await acknowledge(tables, about("gate/a").alert_id, Said("Lan"))
    assert await see(tables, HOUR * 9) == 0
    await unacknowledge(tables, about("gate/a").alert_id, Said("Lan"))
    assert await see(tables, HOUR * 11) == 0
    assert await see(tables, HOUR * 12) == 1
    await happen(tables, over("gate/a", after=3600 * 13))
    assert await see(tables, HOUR * 99) == 0


@pytest.mark.parametrize("table", ["alert_history", "notifications"])
async def test_a_deadline_is_seen_to_and_told_of_or_neither(tables: str, table: str) -> None:
    await desk.import_policies(tables, [LOST])
    await happen(tables, about("gate/a"))
    before = ask(tables, "SELECT * FROM alert_timers ORDER BY step"), ask(tables, "SELECT * FROM alerts")
    with full(tables, table), pytest.raises(DatabaseAway, match="no room"):
        await see(tables, HOUR)
    assert (ask(tables, "SELECT * FROM alert_timers ORDER BY step"), ask(tables, "SELECT * FROM alerts")) == before
    assert await see(tables, HOUR) == 1
    assert history(tables) == [("firing", timedelta(0)), ("overdue", HOUR / 2)]


async def test_deadlines_wait_while_nobody_is_to_be_told(tables: str) -> None:
    await desk.import_policies(tables, [LOST])
    id_ = await silent(tables, rule=("quiet",))
    await happen(tables, about("gate/a"))
    assert await see(tables, HOUR * 3) == 0
    await end_silence(tables, id_, actor="Lan")
    assert await see(tables, HOUR * 3) == 2


async def test_deadlines_that_wait_are_in_no_others_way(tables: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk, "_MOST", 2)
    await desk.import_policies(tables, [LOST])
    await silent(tables, subject=("gate/*",))
    await happen(tables, *(about(f"gate/{n}") for n in range(5)), about("other/a", after=1))
    assert await desk.deadlines(tables, LOG, START + HOUR) == 1


async def test_deadlines_count_from_when_an_alert_became_known(tables: str) -> None:
    await desk.import_policies(tables, [LOST])
    await happen(tables, about("gate/a", known=T0 + 5 * 3600 * SECOND))
    assert await see(tables, HOUR * 5.4) == 0
    assert await see(tables, HOUR * 5.5) == 1


CRITICAL = LOST.model_copy(update={"match": {"severity": ("critical",)}, "repeat": None})


async def test_what_becomes_more_severe_has_the_deadlines_of_what_it_is_then(tables: str) -> None:
    await desk.import_policies(tables, [CRITICAL])
    await happen(tables, about("gate/a"))
    later = {"change": Event.ESCALATED, "severity": Severity.CRITICAL}
    await happen(tables, about("gate/a", after=3600, **later))
    await happen(tables, about("gate/a", after=3600, **later))
    assert await see(tables, HOUR * 1.4) == 0
    assert await see(tables, HOUR * 1.5) == 1
    assert await see(tables, HOUR * 3) == 1


async def test_a_step_that_somebody_had_seen_to_is_taken_once_it_is_worse(tables: str) -> None:
    await desk.import_policies(tables, [LOST.model_copy(update={"steps": LOST.steps[:1], "repeat": None})])
    await happen(tables, about("gate/a"))
    await acknowledge(tables, about("gate/a").alert_id, Said("Lan", at=START + HOUR / 4))
    assert await see(tables, HOUR) == 0
    await happen(tables, about("gate/a", after=7200, change=Event.ESCALATED, severity=Severity.CRITICAL))
    assert await see(tables, HOUR * 2.4) == 0
    assert await see(tables, HOUR * 2.5) == 1


async def test_a_step_seen_to_after_a_silence_of_its_time_is_told(tables: str) -> None:
    await desk.import_policies(tables, [LOST.model_copy(update={"steps": LOST.steps[1:], "repeat": None})])
    await happen(tables, about("gate/a"))
    id_ = await silent(tables, start=START + timedelta(seconds=1), rule=("quiet",))
    await acknowledge(tables, about("gate/a").alert_id, Said("Lan"))
    await end_silence(tables, id_, actor="Lan")
    assert await see(tables, HOUR * 3) == 1
    assert told(tables)[-1] == ("overdue", "queued")


async def test_nobody_is_told_of_what_a_replay_finds_until_it_becomes_worse(tables: str) -> None:
    await desk.import_policies(tables, [LOST])
    async with Store(tables, tells=False) as store:
        await store.commit(batch(Verdict([about("gate/a")])))
    assert ask(tables, "SELECT told FROM alerts") == [(False,)]
    assert await see(tables, HOUR * 9) == 0
    await happen(tables, about("gate/a", after=60, change=Event.REVISED))
    assert told(tables) == []
    await happen(tables, about("gate/a", after=3600, change=Event.ESCALATED, severity=Severity.CRITICAL))
    assert told(tables) == [("escalated", "queued")]
    assert await see(tables, HOUR * 1.5) == 1


async def test_alerts_of_rules_in_shadow_mode_have_no_deadlines_and_mute_nobody(tables: str) -> None:
    await desk.import_policies(tables, [LOST, DEAD])
    await happen(tables, about("gate/a", shadow=True), about("gate/hub", "gateway-silent", shadow=True))
    assert ask(tables, "SELECT count(*) FROM alert_timers") == [(0,)]
    await happen(tables, about("gate/b", after=1))
    assert told(tables) == [("firing", "queued")]


async def test_what_is_long_over_is_closed_by_itself_as_of_when_it_was(tables: str) -> None:
    await happen(tables, about("gate/a"), about("gate/b"), over("gate/a", after=60))
    after = timedelta(days=7)
    due = moment(T0 + 60 * SECOND) + after
    assert await desk.close_old(tables, LOG, after, due - timedelta(seconds=1)) == 0
    assert await desk.close_old(tables, LOG, after, due + HOUR) == 1
    assert await desk.close_old(tables, LOG, after, due + HOUR) == 0
    assert ask(tables, "SELECT state, closed_by, closed_at, verdict FROM alerts ORDER BY state") == [
        ("closed", "desk", due, None),
        ("firing", None, None, None),
    ]


async def test_importing_the_same_policies_again_keeps_what_mutes_of_alerts_that_are_over_too(tables: str) -> None:
    await desk.import_policies(tables, [DEAD])
    await happen(tables, about("gate/hub", "gateway-silent"), over("gate/hub", "gateway-silent", after=5))
    muting = ask(tables, "SELECT * FROM alert_inhibitors")
    assert len(muting) == 1
    for only in (False, True):
        await desk.import_policies(tables, [DEAD], only=only)
        assert ask(tables, "SELECT * FROM alert_inhibitors") == muting
    await desk.import_policies(tables, [DEAD.model_copy(update={"same": ()})], only=True)
    assert ask(tables, "SELECT * FROM alert_inhibitors") == []


async def test_equal_input_leaves_equal_tables_with_policies_too(tables: str) -> None:
    left = []
    for cuts in ([STORY], [[one] for one in STORY]):
        with connected(tables) as connection:
            connection.execute("SET session_replication_role = replica")
            connection.execute("TRUNCATE alerts, notifications, alert_history, alert_timers, progress CASCADE")
        await desk.import_policies(tables, [LOST, DEAD], only=True)
        for cut in cuts:
            await happen(tables, *cut)
        await desk.release(tables)
        found = contents(tables)
        left.append({name: found[name] for name in ("alerts", "alert_history", "notifications")})
        left[-1]["timers"] = [str(row) for row in ask(tables, "SELECT * FROM alert_timers ORDER BY 1, 2, 3")]
    assert left[0] == left[1]


# --- matching

GLOBS = st.text(st.sampled_from("ab/-.*?[]!^\\$é"), max_size=8)
VALUES = st.text(st.sampled_from("ab/-.[]!^\\$é\n"), max_size=6)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(GLOBS, VALUES)
def test_the_database_reads_a_glob_as_everybody_does(plain_tables: str, glob: str, value: str) -> None:
    found = ask(plain_tables, "SELECT %s ~ %s", value, regex(glob))
    assert found == [(fnmatchcase(value, glob),)]


async def test_the_database_tells_alerts_by_the_labels_that_commands_use(tables: str) -> None:
    vessel = Subject(SubjectKind.TRANSPONDER, 574_000_001, "574000001")
    buoy = Subject(SubjectKind.TRANSPONDER, 9, "gate/buoy-1")
    hub, feed = Subject(SubjectKind.GATEWAY, 1, "gate"), Subject(SubjectKind.SOURCE, 2, "mast")
    others: tuple[tuple[Subject, dict[str, str]], ...] = (
        (vessel, {"heard_by": "mast"}),
        (buoy, {}),
        (Subject(SubjectKind.TRANSPONDER, 9, "TTH-1/2"), {"transponder": "574000002"}),
        *((hub, {"heard_by": "mast"}), (feed, {})),
    )
    moved = [
        transition(subject=one, zone_id="eez", details=said, alert_id=alert_id("x", one, one.name, 1))
        for one, said in others
    ]
    await happen(tables, about("gate/a"), *moved)
    seen = set()
    for row in await alerts(tables):
        [(said,)] = ask(tables, "SELECT alert_labels(a) FROM alerts AS a WHERE id = %s", row["id"])
        assert said == labels(row)
        seen.add((said["subject_kind"], said["gateway"], said["source"]))
        assert set(said) == set(LABELS)
    assert seen == {
        ("device", "gate", None),
        ("transponder", None, "mast"),
        ("transponder", "gate", None),
        ("transponder", None, None),
        ("gateway", "gate", "mast"),
        ("source", None, "mast"),
    }


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(st.sampled_from(LABELS), st.lists(st.sampled_from(["a*", "b", "?", "*"]), min_size=1).map(tuple)),
    st.dictionaries(st.sampled_from(LABELS), st.none() | st.sampled_from(["a", "b", "ab", ""])),
)
def test_the_database_and_commands_match_alike(
    plain_tables: str, matcher: dict[str, tuple[str, ...]], about_: dict[str, str | None]
) -> None:
    assume(matcher)
    from psycopg.types.json import Jsonb

    from alerting.desk.matching import compiled

    found = ask(plain_tables, "SELECT labels_match(%s, %s)", Jsonb(compiled(matcher)), Jsonb(about_))
    assert found == [(matches(matcher, about_),)]
