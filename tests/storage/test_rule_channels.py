"""A rule that names its channels: no other is told of its alerts, of nothing that becomes of them."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from alerting.desk.book import Procedure
from alerting.desk.notify import ChannelSpec, notifications
from alerting.model import AlertState, Event, Severity, Verdict
from storage import desk
from storage.acts import Said, acknowledge, close
from storage.silences import end_silence
from storage.writer import Store
from tests.storage.samples import ask, batch
from tests.storage.test_desk import HOUR, START, about, silent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alerting.model import Transition

EVERYBODY = [ChannelSpec(name, events=frozenset(Event)) for name in ("border", "owner", "room")]
TOLD = "SELECT event, channel FROM notifications ORDER BY at, event, channel"


async def happen(dsn: str, *moved: Transition, cuts: Sequence[int] = ()) -> None:
    edges = [0, *cuts, len(moved)]
    async with Store(dsn) as store:
        for first, last in itertools.pairwise(edges):
            some = moved[first:last]
            for _ in range(2):  # delivered twice
                await store.commit(batch(Verdict(list(some)), notifications(some, EVERYBODY)))


def story(channels: tuple[str, ...] | None) -> list[Transition]:
    """An alert whose rule says other channels by the time it becomes more severe."""
    worse: dict[str, Any] = {"change": Event.ESCALATED, "severity": Severity.CRITICAL, "channels": ("room",)}
    return [
        about("gate/a", channels=channels),
        about("gate/a", after=5, **worse),
        about("gate/a", after=9, state=AlertState.RESOLVED, channels=("room",)),
        about("gate/a", after=12, state=AlertState.RESOLVED, change=Event.RETRACTED),
    ]


async def test_those_it_named_when_it_fired_are_told_of_all_that_becomes_of_it(tables: str) -> None:
    await happen(tables, *story(("border", "room")), cuts=(3,))  # a review withdraws it, in a transaction of its own
    events = ("firing", "escalated", "resolved", "retracted")
    assert ask(tables, TOLD) == [(event, channel) for event in events for channel in ("border", "room")]
    assert ask(tables, "SELECT channels FROM alerts") == [(["border", "room"],)]


async def test_it_makes_no_difference_how_it_fell_into_batches(tables: str) -> None:
    await happen(tables, *story(("border",)), cuts=(1, 2, 3))
    assert {channel for _, channel in ask(tables, TOLD)} == {"border"}
    assert len(ask(tables, TOLD)) == 4


async def test_without_any_all_are_told_that_want_to_be(tables: str) -> None:
    await happen(tables, story(None)[0])
    assert ask(tables, TOLD) == [("firing", "border"), ("firing", "owner"), ("firing", "room")]


async def test_so_it_is_with_what_people_do_and_with_what_was_held(tables: str) -> None:
    id_ = await silent(tables, subject=("gate/*",))
    await happen(tables, story(("border",))[0])
    await end_silence(tables, id_, actor="Lan")
    assert await desk.release(tables) == 1
    alert = about("gate/a").alert_id
    await acknowledge(tables, alert, Said("Lan", channels=EVERYBODY))
    await close(tables, alert, Said("Lan", channels=EVERYBODY))
    assert sorted(ask(tables, TOLD)) == [
        (event, "border") for event in ("acknowledged", "closed", "firing", "resolved")
    ]


async def test_a_step_of_a_procedure_may_name_others(tables: str) -> None:
    steps = [{"after": "1h", "channels": ["owner"]}, {"after": "2h"}]
    told = Procedure.model_validate({"id": "p", "match": {"rule": "quiet"}, "steps": steps})
    await desk.import_policies(tables, [told])
    await happen(tables, story(("border",))[0])
    assert await desk.deadlines(tables, EVERYBODY, START + 3 * HOUR) == 2
    rows = ask(tables, "SELECT at, event, channel FROM notifications ORDER BY at")
    assert [(at - START, event, channel) for at, event, channel in rows] == [
        (timedelta(0), "firing", "border"),
        (HOUR, "overdue", "owner"),
        (2 * HOUR, "overdue", "border"),
    ]
