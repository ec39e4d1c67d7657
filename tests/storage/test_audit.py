"""The record of alerts cannot be rewritten, and where it was all the same, that is found and named."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alerting.model import AlertState, Event, Notification, Severity, Verdict, notification_id
from storage.audit import audit
from storage.chain import link
from storage.migrate import upgrade
from storage.outbox import DatabaseOutbox
from storage.readers import Said, acknowledge
from storage.script import packaged
from storage.seals import Seal, seal
from storage.silences import end_silence, expire, silence
from storage.writer import Store
from tests.storage.samples import SECOND, T0, ask, batch, connected, transition

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg import Connection

RECORD = ("alert_history", "alert_deliveries", "silence_history", "seals", "seal_heads")
ALERTS = [transition(started_at=T0 + n * SECOND, at=T0 + n * SECOND) for n in range(2)]


def note(n: int, event: str = "firing") -> Notification:
    id_ = ALERTS[n].alert_id
    return Notification(notification_id(id_, event, "log"), id_, "log", event, T0, {"text": "Lũ"})


@contextmanager
def intruder(dsn: str) -> Iterator[Connection[tuple[Any, ...]]]:
    """Somebody whom neither rights nor triggers stop."""
    with connected(dsn) as connection:
        connection.execute("SET session_replication_role = replica")
        yield connection


@pytest.fixture
async def record(tables: str) -> str:
    """Two alerts with three rows of history each and deliveries, sealed twice, and a little that is not sealed."""
    async with Store(tables) as store, DatabaseOutbox(tables) as outbox:
        await store.commit(batch(Verdict(ALERTS), [note(0), note(1)]))
        await outbox.sent(note(0).id)
        assert (await seal(tables, everything=True)) is not None
        worse = [
            transition(started_at=of.started_at, at=of.at + 5, change=Event.ESCALATED, severity=Severity.CRITICAL)
            for of in ALERTS
        ]
        over = transition(AlertState.RESOLVED, started_at=T0, at=T0 + 9 * SECOND)
        await store.commit(batch(Verdict([*worse, over])))
        await outbox.abandon(note(1).id, "410 gone")
        assert (await seal(tables)) is not None
        await acknowledge(tables, ALERTS[1].alert_id, Said("trực ban", "đã gọi, chờ"))
    return tables


async def test_an_untouched_record_is_whole_and_what_is_sealed_is_not_sealed_again(record: str) -> None:
    found = await audit(record)
    assert (found.faults, found.alerts, found.rows, found.seals, found.unsealed) == ([], 2, 8, 2, 1)
    last = await seal(record)
    assert last is not None
    assert (last.seq, last.heads) == (3, 1)
    assert await seal(record) is None
    assert await seal(record, everything=True) is None
    found = await audit(record, expected=[last])
    assert (found.faults, found.unsealed, str(found.last)) == ([], 0, str(last))


@pytest.mark.parametrize("table", RECORD)
@pytest.mark.parametrize("command", ["UPDATE {} SET hash = hash", "DELETE FROM {}", "TRUNCATE {} CASCADE"])
def test_nobody_changes_a_row_of_the_record_not_even_the_owner(any_migrated: str, table: str, command: str) -> None:
    with connected(any_migrated) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege, match="record"):
        connection.execute(command.format(table).encode())


async def test_equal_input_gives_equal_chains_however_it_is_cut_and_whenever_it_is_written(tables: str) -> None:
    changes = [
        *ALERTS,
        transition(change=Event.ESCALATED, at=T0 + 5, severity=Severity.CRITICAL),
        transition(AlertState.RESOLVED, at=T0 + 9),
    ]
    chains = []
    for cuts in ([changes], [[one] for one in changes], [changes[:2], changes[:2], changes]):
        async with Store(tables) as store:
            for cut in cuts:
                await store.commit(batch(Verdict(cut)))
        chains.append(ask(tables, "SELECT alert_id, seq, hash FROM alert_history ORDER BY 1, 2"))
        with intruder(tables) as connection:
            connection.execute("TRUNCATE alerts, alert_history CASCADE")
    assert len(chains[0]) == 4
    assert chains[0] == chains[1] == chains[2]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ("UPDATE alert_history SET actor = 'nobody' WHERE {0} AND seq = 1", "{0}, history: row 1 is not"),
        ("UPDATE alert_history SET details = details - 'unit' WHERE {0} AND seq = 2", "{0}, history: row 2 is not"),
        ("UPDATE alert_history SET at = at + interval '1 us' WHERE {0} AND seq = 3", "{0}, history: row 3 is not"),
        ("UPDATE alert_history SET note = '' WHERE {0} AND seq = 2", "{0}, history: row 2 is not"),
        ("UPDATE alert_history SET hash = sha256('') WHERE {0} AND seq = 2", "{0}, history: row 2 is not"),
        ("DELETE FROM alert_history WHERE {0} AND seq = 1", "{0}, history: row 1 is missing"),
        ("DELETE FROM alert_history WHERE {0} AND seq = 2", "{0}, history: row 2 is missing"),
        ("DELETE FROM alert_history WHERE {0} AND seq = 3", "{0}, history: row 3 is missing, which seal 2 holds"),
        ("DELETE FROM alert_history WHERE {0}", "{0}, history: all of it is gone, which seal 1 holds"),
        ("UPDATE alert_history SET recorded_at = now() - interval '1 day' WHERE {0} AND seq = 2", "rows 2 to 3 were"),
        ("UPDATE alert_deliveries SET outcome = 'abandoned' WHERE {0}", "{0}, deliveries: row 1 is not"),
        ("DELETE FROM alert_deliveries WHERE {0}", "{0}, deliveries: all of it is gone, which seal 1 holds"),
        ("UPDATE alerts SET state = 'firing' WHERE {1}", "is firing, its history ends with resolved"),
        ("UPDATE alerts SET revision = 9 WHERE {1}", "row 9 should be the last, row 3 is"),
        ("DELETE FROM alerts WHERE {1}", "is gone, its history is not"),
        ("UPDATE seals SET at = at + interval '1 us' WHERE seq = 1", "seal 1 is not what was sealed"),
        ("DELETE FROM seals WHERE seq = 1", "seal 1 is missing"),
        ("DELETE FROM seal_heads WHERE seal = 2 AND {0}", "seal 2 is not what was sealed"),
        ("UPDATE seal_heads SET seq = 2 WHERE seal = 2 AND {0} AND chain = 'history'", "seal 2 is not what was sealed"),
    ],
)
async def test_what_was_rewritten_is_found_and_the_first_broken_row_named(record: str, change: str, fault: str) -> None:
    id_ = ALERTS[0].alert_id
    with intruder(record) as connection:
        done = connection.execute(change.format(f"alert_id = '{id_}'", f"id = '{id_}'").encode())
        assert done.rowcount > 0
    found = await audit(record)
    assert any(fault.format(f"alert {id_}") in line for line in found.faults), found.faults
    assert not any(str(ALERTS[1].alert_id) in line for line in found.faults)


async def test_all_that_was_told_is_in_the_chains_and_who_silenced_what_until_when(record: str) -> None:
    [(severity, text)] = ask(
        record,
        "SELECT details ->> 'severity', details ->> 'summary_vi' FROM alert_history WHERE change = 'firing'"
        " AND alert_id = %s",
        ALERTS[1].alert_id,
    )
    assert (severity, text) == (ALERTS[1].severity.value, ALERTS[1].summary_vi)
    start, what = datetime.now(UTC), {"rule": ("flood",)}
    made = [
        await silence(record, what, starts_at=start, ends_at=start + timedelta(hours=1), author="Lan", reason=reason)
        for reason in ("r", "s")
    ]
    await end_silence(record, made[1]["id"], actor="Minh")
    assert await expire(record) == 0
    with intruder(record) as connection:  # rather than wait for its time to be up
        connection.execute("UPDATE silences SET ends_at = now() WHERE id = %s", (made[0]["id"],))
    assert [await expire(record), await expire(record)] == [1, 0]
    query = "SELECT silence_id, actor, change FROM silence_history ORDER BY at"
    assert ask(record, query) == [
        *((one["id"], "Lan", "made") for one in made),
        (made[1]["id"], "Minh", "ended"),
        (made[0]["id"], "desk", "expired"),
    ]
    assert (await seal(record)) is not None
    assert (await audit(record)).faults == []
    id_, silent = ALERTS[0].alert_id, made[1]["id"]
    with intruder(record) as connection:
        connection.execute("UPDATE silence_history SET actor = 'nobody' WHERE change = 'ended'")
        connection.execute("UPDATE notifications SET payload = '{}' WHERE alert_id = %s", (id_,))
    faults = (await audit(record)).faults
    assert f"alert {id_}, deliveries: row 1 tells of a notification that says something else now" in faults
    assert any(fault.startswith(f"silence {silent}: row 2 is not what was written") for fault in faults)
    assert len(faults) == 2


async def test_a_chain_and_its_seals_made_anew_do_not_pass_for_what_the_log_has(record: str) -> None:
    noted = (await audit(record)).last
    assert noted is not None
    with intruder(record) as connection:
        connection.execute("DELETE FROM seal_heads WHERE seal = 2")
        connection.execute("DELETE FROM seals WHERE seq = 2")
        connection.execute("DELETE FROM alert_history WHERE seq = 3")
        connection.execute("UPDATE alerts SET state = 'firing', revision = 2")
    assert (await audit(record)).faults == []  # within the database nothing is wrong
    assert (await audit(record, expected=[noted])).faults == ["seal 2, which was noted, is missing"]
    again = await seal(record, everything=True)
    assert again is not None
    assert (await audit(record)).faults == []
    assert (await audit(record, expected=[noted])).faults == ["seal 2 is not the one that was noted"]


async def test_a_history_that_lost_its_end_goes_on_being_written_and_stays_broken(record: str) -> None:
    with intruder(record) as connection:
        connection.execute("DELETE FROM alert_history WHERE seq = 2")
    async with Store(record) as store:
        await store.commit(batch(Verdict([transition(AlertState.RESOLVED, at=T0 + 60, started_at=T0 + SECOND)])))
    found = await audit(record)
    assert found.faults == [f"alert {id_}, history: row 2 is missing" for id_ in sorted(a.alert_id for a in ALERTS)]


async def test_only_what_was_written_since_a_time_is_looked_at_if_so_asked(record: str) -> None:
    [(later,)] = ask(record, "SELECT now()")
    found = await audit(record, since=later)
    assert (found.alerts, found.rows, found.seals) == (0, 0, 2)
    async with Store(record) as store:
        over = transition(AlertState.RESOLVED, at=T0 + 60, started_at=T0 + SECOND)
        await store.commit(batch(Verdict([over])))
    found = await audit(record, since=later)
    assert (found.faults, found.alerts, found.rows) == ([], 1, 5)
    await seal(record)
    assert (await audit(record, since=later)).faults == []


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.none() | st.binary(max_size=40),
    st.lists(st.none() | st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"])), min_size=1),
)
def test_the_database_and_the_audit_compute_the_same_hash(
    tables: str, previous: bytes | None, fields: list[str | None]
) -> None:
    assert ask(tables, "SELECT haidang_link(%s, VARIADIC %s::text[])", previous, fields) == [(link(previous, *fields),)]
    written = ",".join("-" if f is None else f"{len(f.encode())}:{f}" for f in fields)
    assert link(previous, *fields) == hashlib.sha256((previous or b"") + written.encode()).digest()


async def test_a_migrated_history_is_chained_from_its_first_row(any_database: str) -> None:
    number = next(m.version for m in packaged() if m.name == "audit")
    upgrade(any_database, [m for m in packaged() if m.version < number])
    with connected(any_database) as connection:
        for n in range(3):
            connection.execute(
                "INSERT INTO alerts (id, rule_id, rule_version, subject_kind, subject_id, subject_name, key, state,"
                " severity, started_at, fired_at, last_at, summary_en, summary_vi, revision) VALUES (%s, 'r', 'v',"
                " 'device', 1, 's', 'k', 'firing', 'info', now(), now(), now(), 'e', 'v', 3)",
                (ALERTS[0].alert_id.hex[:-1] + str(n),),
            )
        connection.execute(
            "INSERT INTO alert_history (alert_id, seq, at, actor, to_state, change, details)"
            " SELECT id, n, now(), 'engine', 'firing', 'revised', jsonb_build_object('n', n * 1.50)"
            " FROM alerts, generate_series(1, 3) AS n ORDER BY random()"
        )
        connection.execute(
            "INSERT INTO notifications (id, alert_id, channel, event, at, payload, state, attempts)"
            " SELECT id, id, 'log', 'firing', now(), '{}', 'sent', 1 FROM alerts"
        )
    upgrade(any_database)

    await seal(any_database)
    found = await audit(any_database)
    assert (found.faults, found.alerts, found.rows, found.unsealed) == ([], 3, 12, 0)


def test_a_seal_reads_as_the_log_writes_it() -> None:
    assert str(Seal(7, b"\x01\xff", 3)) == "7:01ff"
