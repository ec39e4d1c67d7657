"""What a duty officer does to alerts from the command line."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from alerting.desk.book import Group
from alerting.model import Verdict
from storage.desk import import_policies
from storage.seals import seal
from storage.writer import Store
from tests.ingest.command import done, haidang
from tests.storage.samples import batch, transition
from tests.storage.test_desk import about


@pytest.fixture
def fired(migrated: str) -> str:
    """A database with one alert that is firing."""

    async def fire() -> None:
        async with Store(migrated) as store:
            await store.commit(batch(Verdict([transition()])))

    asyncio.run(fire())
    return migrated


def test_an_audit_says_whether_the_record_is_whole_and_names_what_is_not(fired: str) -> None:
    made = asyncio.run(seal(fired))
    assert made is not None
    told = done("alerts", "audit", "--dsn", fired, "--seal", made, "--json").only
    assert told == {
        "whole": True,
        "alerts": 1,
        "rows": 1,
        "unsealed": 0,
        "seals": 1,
        "seal": str(made),
        "faults": [],
        "more": 0,
    }
    assert "the record is whole" in done("alerts", "audit", "--dsn", fired, "--since", "2026-01-01").out
    with psycopg.connect(fired) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("UPDATE alert_history SET actor = 'nobody'")
    result = haidang("alerts", "audit", "--dsn", fired, "--seal", f"1:{'00' * 32}")
    assert result.code == 1
    seal_fault, row_fault, *_, verdict = result.out.splitlines()
    assert seal_fault == "seal 1 is not the one that was noted"
    assert row_fault.startswith(f"alert {transition().alert_id}, history: row 1 is not what was written")
    assert verdict == "the record is broken"


def test_a_seal_that_is_none_is_refused_in_one_line(fired: str) -> None:
    result = haidang("alerts", "audit", "--dsn", fired, "--seal", "yesterday")
    assert result.code == 2
    assert "not a seal" in result.err


def test_what_people_do_with_an_alert_is_shown_with_it(fired: str) -> None:
    alert = transition().alert_id
    by = ("--dsn", fired, "--by", "Lan")
    assert done("alerts", "ack", alert, *by).out == f"{alert}: acknowledged\n"
    assert done("alerts", "unack", alert, *by, "--note", "wrong one", "--json").only["state"] == "firing"
    assert done("alerts", "assign", alert, *by, "--to", "Minh", "--json").only["assignee"] == "Minh"
    done("alerts", "comment", alert, "boat sent", *by)
    assert done("alerts", "assign", alert, *by, "--nobody", "--json").only["assignee"] is None
    assert done("alerts", "close", alert, *by, "--verdict", "false", "--json").only["verdict"] == "false"
    shown = done("alerts", "show", alert, "--dsn", fired, "--json").only
    assert [(h["change"], h["actor"], h["note"]) for h in shown["history"]] == [
        ("firing", "engine", None),
        ("acknowledged", "Lan", None),
        ("unacknowledged", "Lan", "wrong one"),
        ("assigned", "Lan", None),
        ("commented", "Lan", "boat sent"),
        ("assigned", "Lan", None),
        ("resolved", "Lan", None),
        ("closed", "Lan", None),
    ]
    assert done("alerts", "list", "--dsn", fired, "--state", "closed", "--json").only["id"] == str(alert)
    assert done("alerts", "list", "--dsn", fired, "--state", "pending").out == "nothing is pending\n"


def test_an_act_that_does_not_fit_is_refused_in_one_line(fired: str) -> None:
    alert = transition().alert_id
    refused = haidang("alerts", "assign", alert, "--dsn", fired)
    assert (refused.code, "--to NAME or --nobody" in refused.err) == (2, True)
    done("alerts", "close", alert, "--dsn", fired)
    refused = haidang("alerts", "ack", alert, "--dsn", fired)
    assert (refused.code, refused.err) == (2, f"haidang: alert {alert} is closed already\n")


def test_incidents_are_shown_with_their_alerts_and_dealt_with_as_one(migrated: str) -> None:
    storm = Group.model_validate({"id": "storm", "match": {"rule": "flood"}, "by": ["gateway"], "within": "1h"})

    async def fire() -> None:
        await import_policies(migrated, [storm])
        async with Store(migrated) as store:
            await store.commit(batch(Verdict([about(f"gate/{n}", "flood", after=n) for n in range(3)])))

    asyncio.run(fire())
    dsn = ("--dsn", migrated)
    listed = done("alerts", "incident", "list", *dsn, "--json").only
    id_ = listed["id"]
    assert (listed["policy"], listed["labels"], listed["alerts"]) == ("storm", {"gateway": "gate"}, 3)
    assert "gateway=gate" in done("alerts", "incident", "list", *dsn).out
    shown = done("alerts", "incident", "show", id_, *dsn, "--json").only
    assert [member["subject_name"] for member in shown["members"]] == ["gate/0", "gate/1", "gate/2"]
    assert "Water at 3.6 m" in done("alerts", "incident", "show", id_, *dsn).out
    assert done("alerts", "incident", "ack", id_, *dsn, "--by", "Lan").out == f"{id_}: open, 3 alerts\n"
    assert done("alerts", "incident", "close", id_, *dsn, "--verdict", "confirmed", "--json").only["state"] == "over"
    assert {one["verdict"] for one in done("alerts", "list", *dsn, "--json").lines} == {"confirmed"}
    assert done("alerts", "incident", "list", *dsn).out == "no incidents\n"
    assert done("alerts", "incident", "list", *dsn, "--all", "--json").only["id"] == id_
    refused = haidang("alerts", "incident", "ack", id_, *dsn)
    assert (refused.code, refused.err) == (2, f"haidang: no alert of incident {id_} is firing\n")


def test_silences_are_added_listed_and_ended(fired: str) -> None:
    dsn = ("--dsn", fired)
    matchers = ("rule=flood*", "rule=wind")
    said = ("--for", "2h", "--reason", "repair", "--by", "Lan")
    made = done("alerts", "silence", "add", *matchers, *dsn, *said, "--json")
    id_ = made.only["id"]
    assert made.only["matcher"] == {"rule": ["flood*", "wind"]}
    [shown] = done("alerts", "list", *dsn, "--json").lines
    assert shown["silenced_by"] == id_
    assert [one["id"] for one in done("alerts", "silence", "list", *dsn, "--json").lines] == [id_]
    assert "repair" in done("alerts", "silence", "list", *dsn).out
    done("alerts", "silence", "end", id_, *dsn)
    assert done("alerts", "silence", "list", *dsn).out == "no silences\n"
    assert done("alerts", "list", *dsn, "--json").only["silenced_by"] is None
    again = haidang("alerts", "silence", "end", id_, *dsn)
    assert (again.code, again.err) == (2, f"haidang: there is no silence {id_} that has not ended\n")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("rule",), "not LABEL=GLOB"),
        (("colour=red",), "unknown label colour"),
        (("rule=*", "--for", "2h", "--until", "2030-01-01"), "--for DURATION or --until TIME"),
        (("rule=*", "--for", "soon"), "no duration"),
        (("rule=*", "--until", "2020-01-01", "--from", "2019-01-01"), "would be over already"),
        (("rule=*", "--until", "2020-01-01"), "ends after it starts"),
    ],
)
def test_a_silence_that_makes_no_sense_is_refused(fired: str, arguments: tuple[str, ...], reason: str) -> None:
    time = () if {"--for", "--until"} & set(arguments) else ("--for", "1h")
    result = haidang("alerts", "silence", "add", *arguments, *time, "--dsn", fired, "--reason", "x")
    assert result.code == 2
    assert reason in " ".join(result.err.replace("│", " ").split())
