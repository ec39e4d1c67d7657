"""What people do with alerts, and what is told and kept of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from alerting.desk.notify import ChannelSpec
from alerting.engine import Engine
from alerting.model import AlertState, Event
from alerting.model import Verdict as Judged
from alerting.rules import RULE
from decoders.records import Observations
from storage import readers
from storage.acts import Verdict
from storage.audit import audit
from storage.batch import Batch
from storage.errors import RequestRefused
from storage.readers import RuleVersion
from storage.times import moment
from storage.writer import Store
from tests.storage.samples import METRIC, NAMES, SECOND, SUBJECT, T0, ask, batch, readings, transition

NOW = datetime(2026, 11, 1, tzinfo=UTC)
ALL = frozenset(Event)
FIRED = transition()
LEVELS = [
    {"severity": "warning", "raise": 1.0, "clear": 0.5},
    {"severity": "critical", "raise": 9.0, "clear": 8.0},
]


@pytest.fixture
async def dsn(tables: str) -> str:
    async with Store(tables) as store:
        await store.commit(batch(Judged([FIRED])))
    return tables


def rule(id_: str, **fields: Any) -> Any:
    values: dict[str, Any] = {
        "id": id_,
        "kind": "threshold",
        "title": {"en": "High", "vi": "Cao"},
        "metric": METRIC,
        "unit": "m",
        "source": "a test",
    }
    level = {} if "levels" in fields else {"severity": "major", "raise": 2.0, "clear": 1.0}
    return RULE.validate_python(values | level | fields)


async def acted(dsn: str) -> list[tuple[Any, ...]]:
    history = (await readers.alert(dsn, FIRED.alert_id))["history"]
    return [(h["change"], h["from_state"], h["to_state"], h["note"]) for h in history]


async def test_each_thing_people_do_is_on_record_and_told_to_who_asked(dsn: str) -> None:
    said = readers.Said("Lan", "why", NOW, [ChannelSpec("log", events=ALL), ChannelSpec("default")])
    id_ = FIRED.alert_id
    await readers.acknowledge(dsn, id_, said)
    assert (await readers.unacknowledge(dsn, id_, said))["acknowledged_by"] is None
    assert (await readers.assign(dsn, id_, said, "Minh"))["assignee"] == "Minh"
    assert (await readers.comment(dsn, id_, readers.Said("Minh", "on my way")))["state"] == "firing"
    assert (await readers.assign(dsn, id_, said, None))["assignee"] is None
    row = await readers.close(dsn, id_, said, Verdict.FALSE)
    assert (row["state"], row["verdict"], row["closed_by"], row["closed_at"]) == ("closed", "false", "Lan", NOW)
    assert (row["resolved_by"], row["resolved_at"]) == ("Lan", NOW)
    await readers.comment(dsn, id_, readers.Said("Minh", "a buoy"))
    assert await acted(dsn) == [
        ("firing", None, "firing", None),
        ("acknowledged", "firing", "acknowledged", "why"),
        ("unacknowledged", "acknowledged", "firing", "why"),
        ("assigned", "firing", "firing", "why"),
        ("commented", "firing", "firing", "on my way"),
        ("assigned", "firing", "firing", "why"),
        ("resolved", "firing", "resolved", "why"),
        ("closed", "resolved", "closed", "why"),
        ("commented", "closed", "closed", "a buoy"),
    ]
    told = ask(dsn, "SELECT channel, event FROM notifications ORDER BY channel, event")
    events = ["acknowledged", "assigned", "closed", "resolved", "unacknowledged"]
    assert told == [("default", "resolved"), *(("log", event) for event in events)]
    assert (await audit(dsn)).faults == []


async def test_what_is_done_with_an_alert_fits_its_state(dsn: str) -> None:
    id_ = FIRED.alert_id
    with pytest.raises(RequestRefused, match="is firing already"):
        await readers.unacknowledge(dsn, id_, readers.Said("a"))
    await readers.resolve(dsn, id_, readers.Said("a"))
    await readers.assign(dsn, id_, readers.Said("a"), "b")
    await readers.close(dsn, id_, readers.Said("a"))
    for change in (readers.acknowledge, readers.unacknowledge, readers.resolve, readers.close):
        with pytest.raises(RequestRefused, match="is closed already"):
            await change(dsn, id_, readers.Said("a"))
    with pytest.raises(RequestRefused, match="is closed already"):
        await readers.assign(dsn, id_, readers.Said("a"), "c")


async def test_a_closed_alert_is_still_retracted_and_stays_closed(dsn: str) -> None:
    await readers.close(dsn, FIRED.alert_id, readers.Said("a"), Verdict.TEST)
    async with Store(dsn) as store:
        ended = transition(AlertState.RESOLVED, at=T0 + SECOND)
        assert (await store.commit(batch(Judged([ended])))).alerts_resolved == 0
        retracted = transition(AlertState.RESOLVED, at=T0 + 2 * SECOND, change=Event.RETRACTED)
        assert (await store.commit(batch(Judged([retracted])))).alerts_resolved == 1
    row = await readers.alert(dsn, FIRED.alert_id)
    assert (row["state"], row["retracted"], row["history"][-1]["to_state"]) == ("closed", True, "closed")


async def test_what_is_pending_is_listed_until_it_fires(dsn: str) -> None:
    rules = [
        rule("held", **{"for": "10m"}),
        rule("ladder", **{"for": "5m"}, levels=LEVELS),
    ]
    await readers.import_rules(dsn, [RuleVersion(rule.id, rule.version, rule.body) for rule in rules])
    engine = Engine(rules, [])
    async with Store(dsn) as store:

        async def hear(*rows: tuple[int, float]) -> list[tuple[Any, ...]]:
            seen = Observations(names=list(NAMES), readings=readings(*rows))
            seen.messages = len(rows)
            await store.commit(Batch(seen, engine.judge(seen, int(seen.readings["received_at"].max())), ()))
            return [(p["rule_id"], p["severity"], p["subject_name"], p["value"]) for p in await readers.pending(dsn)]

        held = ("held", "major", SUBJECT.name, 3.0)
        assert await hear((0, 3.0)) == [held, ("ladder", "warning", SUBJECT.name, 3.0)]
        [first, second] = await readers.pending(dsn)
        assert (first["since"], first["due"] - first["since"]) == (moment(T0), timedelta(minutes=10))
        assert second["due"] - second["since"] == timedelta(minutes=5)
        assert await readers.pending(dsn, rule="other") == []
        assert await hear((301, 3.0)) == [held]
        assert await hear((302, 9.5)) == [held, ("ladder", "critical", SUBJECT.name, 9.5)]
        assert await hear((303, 0.0)) == []
