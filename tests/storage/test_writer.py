"""One batch, one transaction; and writing anything twice, or in other pieces, changes nothing."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg
import pytest

from alerting.model import AlertState, Notification, RuleState, SubjectKind, Verdict, notification_id
from decoders.block import Block
from decoders.records import RECEPTION, Name, Observations, Reason, table
from storage.batch import Batch
from storage.errors import CommitUnknown, DatabaseAway, RowRefused
from storage.quarantine import RAW_LIMIT
from storage.writer import Store
from tests.storage.samples import (
    DEVICE_ID,
    OTHER_SOURCE,
    SECOND,
    SOURCE,
    SUBJECT,
    T0,
    VMS_ID,
    ask,
    batch,
    connected,
    contents,
    positions,
    readings,
    record,
    reject,
    statics,
    transition,
)
from tests.storage.streams import TRUNCATE, cut, stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def store(tables: str) -> AsyncIterator[Store]:
    async with Store(tables) as opened:
        yield opened


def whole_batch() -> Batch:
    """Something for every table."""
    fired = transition()
    note = Notification(notification_id(fired.alert_id, "firing", "log"), fired.alert_id, "log", "firing", T0, {"a": 1})
    return batch(
        Verdict([fired], [RuleState("flood", SubjectKind.DEVICE, DEVICE_ID, "k", {"since": T0})]),
        [note],
        [Block(b"!AIVDM,2,1", SOURCE, "log.nmea", T0, 4, per_line=True, line=9)],
        positions=positions({}, {"transponder": VMS_ID, "msg_type": 0}),
        readings=readings((0, 1.0), (60, 1.5)),
        statics=statics({"name": "THUAN AN 1", "ship_type": 30}),
        receptions=table(RECEPTION, [(T0, T0 + 600, 574_000_001, 0, OTHER_SOURCE, 0)]),
        records=[record()],
        rejects=[reject()],
    )


async def test_everything_of_a_batch_is_written_together(store: Store) -> None:
    committed = await store.commit(whole_batch())
    for part in ("positions", "readings", "statics", "receptions", "records", "rejects"):
        assert getattr(committed, part).all(), part
    assert (committed.alerts_fired, committed.alerts_resolved, committed.conflicts) == (1, 0, [])
    assert all(contents(store.dsn).values())


async def test_the_same_batch_twice_changes_nothing(store: Store) -> None:
    await store.commit(whole_batch())
    before = contents(store.dsn)
    again = await store.commit(whole_batch())
    for part in ("positions", "readings", "statics", "receptions", "records", "rejects"):
        assert not getattr(again, part).any(), part
    assert (again.alerts_fired, again.alerts_resolved, again.conflicts) == (0, 0, [])
    assert contents(store.dsn) == before


async def test_an_empty_batch_is_no_trouble(store: Store) -> None:
    committed = await store.commit(Batch(Observations(), Verdict()))
    assert not len(committed.positions)
    assert committed.rejects.tolist() == []


async def test_repeats_within_a_batch_are_written_once_and_the_first_stands(store: Store) -> None:
    rows = positions(
        {"time": T0, "digest": 1, "sog": 1.0}, {"time": T0, "digest": 1, "sog": 2.0}, {"time": T0, "digest": 2}
    )
    committed = await store.commit(batch(positions=rows, records=[record(), record()], rejects=[reject(), reject()]))
    assert committed.positions.tolist() == [True, False, True]
    assert committed.records.tolist() == committed.rejects.tolist() == [True, False]
    assert ask(store.dsn, "SELECT sog FROM positions ORDER BY digest") == [(1.0,), (None,)]


async def test_nulls_of_the_vocabulary_are_null_and_everything_else_is_itself(store: Store) -> None:
    full = {"sog": 0.0, "cog": 359.9, "altitude": 4094.0, "rot": -720.0, "heading": 0, "nav_status": 0, "accuracy": 0}
    await store.commit(
        batch(
            positions=positions({}, full),
            statics=statics({}, {"imo": 9074729, "draught": 25.5, "to_bow": 511, "name": "ĐẦM PHÁ", "eta": "--"}),
        )
    )
    columns = "sog, cog, altitude, rot, heading, nav_status, accuracy"
    found = ask(store.dsn, f"SELECT {columns} FROM positions ORDER BY digest")
    assert found == [(None,) * 7, tuple(full.values())]
    columns = "imo, draught, ship_type, to_bow, to_stern, name, callsign, destination, eta"
    found = ask(store.dsn, f"SELECT {columns} FROM statics ORDER BY digest")
    assert found == [(None,) * 9, (9074729, 25.5, None, 511, None, "ĐẦM PHÁ", None, None, "--")]


async def test_records_keep_their_fields(store: Store) -> None:
    fields: dict[str, Any] = {"text": "CỨU HỘ", "list": [1, None, 2.5], "big": 2**62}
    await store.commit(batch(records=[record(**fields)]))
    assert ask(store.dsn, "SELECT kind, msg_type, fields FROM ais_messages") == [
        ("aton", 21, {"name": "BUOY", **fields})
    ]


# --- readings that contradict


async def test_another_value_for_the_same_time_goes_to_quarantine(store: Store) -> None:
    await store.commit(batch(readings=readings((0, 1.0))))
    committed = await store.commit(batch(readings=readings((0, 2.0), (0, 1.0), (60, 3.0), (60, 4.0), (60, 3.0))))
    assert committed.readings.tolist() == [False, False, True, False, False]
    assert committed.conflicts == [0, 3]
    assert ask(store.dsn, "SELECT value FROM readings ORDER BY time") == [(1.0,), (3.0,)]
    found = ask(store.dsn, "SELECT reason, origin, detail, convert_from(raw, 'UTF8') FROM quarantine ORDER BY detail")
    assert [row[:3] for row in found] == [
        ("conflicting_value", "gate/river-1/water_level", "stored value 1.0"),
        ("conflicting_value", "gate/river-1/water_level", "stored value 3.0"),
    ]
    assert '"value":2.0' in found[0][3]


async def test_a_contradiction_delivered_again_is_a_duplicate(store: Store) -> None:
    rows = readings((0, 1.0), (0, 2.0))
    assert (await store.commit(batch(readings=rows))).conflicts == [1]
    assert (await store.commit(batch(readings=rows))).conflicts == []
    assert ask(store.dsn, "SELECT count(*) FROM quarantine") == [(1,)]


# --- latest


async def test_latest_rows_follow_event_time_and_not_arrival(store: Store) -> None:
    late = {"time": T0 + 10 * SECOND, "digest": 1}, {"time": T0 + 20 * SECOND, "digest": 2}, {"time": T0, "digest": 3}
    await store.commit(batch(positions=positions(*late), readings=readings((60, 6.0), (30, 3.0))))
    assert ask(store.dsn, "SELECT digest FROM latest_positions") == [(2,)]
    assert ask(store.dsn, "SELECT value FROM latest_readings") == [(6.0,)]
    await store.commit(
        batch(positions=positions({"time": T0 + 15 * SECOND, "digest": 4}), readings=readings((45, 4.0)))
    )
    assert ask(store.dsn, "SELECT digest FROM latest_positions") == [(2,)]
    assert ask(store.dsn, "SELECT value FROM latest_readings") == [(6.0,)]
    await store.commit(
        batch(positions=positions({"time": T0 + 30 * SECOND, "digest": 5}), readings=readings((90, 9.0)))
    )
    assert ask(store.dsn, "SELECT digest FROM latest_positions") == [(5,)]
    assert ask(store.dsn, "SELECT value FROM latest_readings") == [(9.0,)]


async def test_of_two_positions_at_one_time_the_first_to_arrive_is_the_latest(store: Store) -> None:
    await store.commit(batch(positions=positions({"time": T0, "digest": 9}, {"time": T0, "digest": 1})))
    await store.commit(batch(positions=positions({"time": T0, "digest": 5})))
    assert ask(store.dsn, "SELECT digest FROM latest_positions") == [(9,)]


# --- transponders and names


async def test_transponders_say_who_they_are_and_when_they_were_heard(store: Store) -> None:
    await store.commit(
        batch(
            positions=positions({"time": T0}, {"time": T0 - SECOND, "digest": 8}, {"transponder": VMS_ID}),
            records=[record()],
        )
    )
    columns = "id, kind, identifier, mmsi, mmsi_class, (extract(epoch FROM last_seen - first_seen))::int"
    assert ask(store.dsn, f"SELECT {columns} FROM transponders ORDER BY id") == [
        (574_000_001, "ais", "574000001", 574_000_001, "ship", 0),
        (992_000_001, "ais", "992000001", 992_000_001, "aton", 0),
        (VMS_ID, "vms", "HUE-0012", None, None, 0),
    ]


@pytest.mark.parametrize("seed", range(4))
async def test_a_transponder_was_last_seen_at_the_first_time_of_its_last_hour_however_it_is_told(
    store: Store, seed: int
) -> None:
    hour = 3600 * SECOND
    times = (T0 - T0 % hour + np.random.default_rng(seed).integers(0, 4 * hour, 12)).tolist()
    for n, time in enumerate(times):
        await store.commit(batch(positions=positions({"time": time, "digest": n})))
        told = times[: n + 1]
        last = min(t for t in told if t // hour == max(told) // hour)
        columns = (
            "(extract(epoch FROM first_seen) * 1000000)::bigint, (extract(epoch FROM last_seen) * 1000000)::bigint"
        )
        assert ask(store.dsn, f"SELECT {columns} FROM transponders") == [(min(told), last)]


async def test_static_data_is_the_newest_that_was_said_field_by_field(store: Store) -> None:
    await store.commit(
        batch(
            statics=statics(
                {"time": T0, "digest": 1, "name": "OLD", "ship_type": 30},
                {"time": T0 + SECOND, "digest": 2, "callsign": "XV1"},  # part B, of the same second as part A
                {"time": T0 + SECOND, "digest": 3, "name": "NEW"},
                {"time": T0 - SECOND, "digest": 4, "name": "LATE", "destination": "LATE"},
            )
        )
    )
    columns = "name, ship_type, callsign, destination"
    assert ask(store.dsn, f"SELECT {columns} FROM transponders") == [("NEW", 30, "XV1", None)]
    await store.commit(batch(statics=statics({"time": T0, "digest": 5, "name": "LATER STILL"})))
    assert ask(store.dsn, f"SELECT {columns} FROM transponders") == [("NEW", 30, "XV1", None)]
    await store.commit(batch(statics=statics({"time": T0 + SECOND, "digest": 2, "callsign": "XV1"})))
    await store.commit(batch(statics=statics({"time": T0 + 2 * SECOND, "digest": 6, "ship_type": 31})))
    assert ask(store.dsn, f"SELECT {columns} FROM transponders") == [("NEW", 31, "XV1", None)]


async def test_names_are_written_once_and_known_afterwards(store: Store) -> None:
    await store.commit(batch(readings=readings((60, 1.0))))
    assert ask(store.dsn, "SELECT name, kind FROM sources ORDER BY name") == [
        ("other receiver", "nmea"),
        ("receiver", "nmea"),
    ]
    assert ask(store.dsn, "SELECT id, gateway, name FROM devices") == [(DEVICE_ID, "gate", "river-1")]
    await store.commit(batch(readings=readings((30, 1.0))))
    assert ask(store.dsn, "SELECT first_seen = to_timestamp(%s) FROM devices", T0 // SECOND + 30) == [(True,)]


async def test_a_metric_outside_the_catalogue_is_kept_without_unit(store: Store) -> None:
    await store.commit(Batch(Observations(1, names=[Name("metric", 42, "own_metric")]), Verdict()))
    assert ask(store.dsn, "SELECT name, unit FROM metrics WHERE id = 42") == [("own_metric", None)]


async def test_a_name_of_a_batch_that_failed_is_told_again(store: Store) -> None:
    poison = positions({"lat": 91.0})
    with pytest.raises(RowRefused):
        await store.commit(batch(positions=poison, readings=readings((0, 1.0))))
    await store.commit(batch(readings=readings((0, 1.0))))
    assert ask(store.dsn, "SELECT count(*) FROM devices") == [(1,)]


# --- cuts: the same rows in any pieces leave the same tables


KINDS = ("positions", "readings", "statics", "receptions", "records")


@pytest.mark.parametrize("seed", range(3))
async def test_the_cut_into_batches_and_redelivery_do_not_show_in_the_tables(tables: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    whole = stream(rng, 60)
    outcomes = []
    for attempt in range(3):
        edges = sorted(rng.integers(0, whole.messages, [0, 1, 12][attempt]).tolist())
        with connected(tables) as connection:
            connection.execute(TRUNCATE)
        new = 0
        parts = cut(whole, edges)
        for number, part in enumerate(parts):
            async with Store(tables) as fresh_process:
                committed = await fresh_process.commit(part)
                new += sum(int(getattr(committed, kind).sum()) for kind in KINDS) + len(committed.conflicts)
                if attempt == 2 and number % 3 == 2:  # killed before the ack: the last two batches come again
                    for again in parts[number - 1 : number + 1]:
                        repeated = await fresh_process.commit(again)
                        assert not any(getattr(repeated, kind).any() for kind in KINDS)
                        assert repeated.conflicts == []
        outcomes.append((new, contents(tables)))
    assert outcomes[0] == outcomes[1] == outcomes[2]


# --- alerts


async def test_an_alert_fires_resolves_and_keeps_its_history(store: Store) -> None:
    await store.commit(batch(Verdict([transition()])))
    ended = transition(AlertState.RESOLVED, at=T0 + 60 * SECOND, value=3.1)
    committed = await store.commit(batch(Verdict([ended])))
    assert (committed.alerts_fired, committed.alerts_resolved) == (0, 1)
    columns = "state, severity, value, resolved_by, revision, (extract(epoch FROM resolved_at - started_at))::int"
    assert ask(store.dsn, f"SELECT {columns} FROM alerts") == [("resolved", "major", 3.6, "engine", 2, 60)]
    history = ask(store.dsn, "SELECT seq, actor, from_state, to_state, details FROM alert_history ORDER BY seq")
    assert [row[:4] for row in history] == [(1, "engine", None, "firing"), (2, "engine", "firing", "resolved")]
    assert history[1][4]["value"] == 3.1
    again = await store.commit(batch(Verdict([transition(), ended])))
    assert (again.alerts_fired, again.alerts_resolved) == (0, 0)
    assert len(ask(store.dsn, "SELECT FROM alert_history")) == 2


async def test_an_alert_may_fire_and_resolve_in_one_batch(store: Store) -> None:
    both = [transition(), transition(AlertState.RESOLVED, at=T0 + 1)]
    committed = await store.commit(batch(Verdict(both)))
    assert (committed.alerts_fired, committed.alerts_resolved) == (1, 1)
    assert ask(store.dsn, "SELECT state FROM alerts") == [("resolved",)]


async def test_what_a_person_resolved_the_engine_does_not_resolve_again(store: Store) -> None:
    from storage.readers import Said, resolve

    fired = transition()
    await store.commit(batch(Verdict([fired])))
    await resolve(store.dsn, fired.alert_id, Said("duty officer"))
    committed = await store.commit(batch(Verdict([transition(AlertState.RESOLVED, at=T0 + 1)])))
    assert committed.alerts_resolved == 0
    assert ask(store.dsn, "SELECT resolved_by FROM alerts") == [("duty officer",)]


async def test_a_resolution_without_its_alert_changes_nothing(store: Store) -> None:
    committed = await store.commit(batch(Verdict([transition(AlertState.RESOLVED)])))
    assert committed.alerts_resolved == 0
    assert ask(store.dsn, "SELECT count(*) FROM alert_history") == [(0,)]


async def test_rule_state_is_what_was_said_last_and_none_forgets_it(store: Store) -> None:
    def state(value: dict[str, Any] | None, key: str = "k") -> RuleState:
        return RuleState("flood", SubjectKind.DEVICE, SUBJECT.id, key, value)

    await store.commit(batch(Verdict(states=[state({"n": 1}), state({"n": 2}), state({"n": 9}, "other")])))
    assert ask(store.dsn, "SELECT key, state FROM rule_state ORDER BY key") == [("k", {"n": 2}), ("other", {"n": 9})]
    await store.commit(batch(Verdict(states=[state({"n": 3}), state(None)])))
    assert ask(store.dsn, "SELECT key FROM rule_state") == [("other",)]


# --- quarantine


async def test_quarantine_keeps_the_bytes_and_never_refuses_a_row(store: Store) -> None:
    odd = reject(b"\0\xff" * 10, origin="a\0b\ud800", detail="c\0", reason=Reason.BAD_TEXT, message=-1)
    committed = await store.commit(batch(rejects=[odd]))
    assert committed.rejects.tolist() == [True]
    assert ask(store.dsn, "SELECT raw, size, origin, detail FROM quarantine") == [
        (odd.raw, 20, "a\ufffdb\ufffd", "c\ufffd")
    ]


async def test_quarantine_caps_the_bytes_but_not_their_size_and_hash(store: Store) -> None:
    from hashlib import sha256

    raw = bytes(range(256)) * 1000
    await store.commit(batch(rejects=[reject(raw)]))
    assert ask(store.dsn, "SELECT raw, size, sha256 FROM quarantine") == [
        (raw[:RAW_LIMIT], 256_000, sha256(raw).digest())
    ]


async def test_many_large_rejects_go_in_several_statements(store: Store) -> None:
    rejects = [reject(bytes([n]) * RAW_LIMIT) for n in range(150)]
    committed = await store.commit(batch(rejects=rejects))
    assert committed.rejects.all()
    assert ask(store.dsn, "SELECT count(*), sum(length(raw)) FROM quarantine") == [(150, 150 * RAW_LIMIT)]


@pytest.mark.parametrize(
    "change", [{"source": OTHER_SOURCE}, {"origin": "elsewhere"}, {"reason": Reason.BAD_SENTENCE}, {"raw": b"x"}]
)
async def test_another_refusal_is_another_row(store: Store, change: dict[str, Any]) -> None:
    committed = await store.commit(batch(rejects=[reject(), reject(line=99, detail="same"), reject(**change)]))
    assert committed.rejects.tolist() == [True, False, True]


# --- poison

POISON = {
    "latitude": lambda: batch(positions=positions({"lat": 91.0})),
    "longitude is NaN": lambda: batch(positions=positions({"lon": math.nan})),
    "NaN": lambda: batch(readings=readings((0, math.nan))),
    "infinite": lambda: batch(readings=readings((0, math.inf))),
    "NUL in text": lambda: batch(statics=statics({"name": "A\0B"})),
    "lone surrogate": lambda: batch(statics=statics({"name": "A\ud800B"})),
    "NUL in JSON": lambda: batch(records=[record(text="\0")]),
    "surrogate in JSON": lambda: batch(records=[record(text="\ud800")]),
    "a year PostgreSQL has not": lambda: batch(positions=positions({"time": 2**63 - 10**9})),
    "a device name with NUL": lambda: Batch(Observations(1, names=[Name("device", 7, "a/b\0")]), Verdict()),
    "an integer beyond 64 bits": lambda: batch(records=[record(n=2**70)]),
    "a notification without alert": lambda: batch(
        notifications=[
            Notification(notification_id(transition().alert_id, "x", "y"), transition().alert_id, "y", "x", T0, {})
        ]
    ),
}


@pytest.mark.parametrize("name", POISON)
async def test_one_bad_row_refuses_the_batch_whole_and_leaves_the_store_well(store: Store, name: str) -> None:
    before = contents(store.dsn)
    with pytest.raises(RowRefused):
        await store.commit(POISON[name]())
    assert contents(store.dsn) == before
    assert (await store.commit(batch(positions=positions({})))).positions.all()


# --- other writers, other failures


async def test_two_writers_of_the_same_rows_write_them_once(tables: str) -> None:
    rows = positions(*({"transponder": 574_000_000 + n % 7, "digest": n} for n in range(500)))
    stores = [Store(tables, instance=f"i{n}") for n in range(4)]

    async def write(one: Store) -> int:
        for attempt in range(20):
            try:
                return int((await one.commit(batch(positions=rows if attempt % 2 else rows[::-1]))).positions.sum())
            except DatabaseAway:  # a deadlock: nothing was written
                continue
        raise AssertionError("still in each other's way")

    written = await asyncio.gather(*map(write, stores))
    for one in stores:
        await one.close()
    assert sum(written) == 500
    assert ask(tables, "SELECT count(*) FROM positions") == [(500,)]


async def test_a_connection_ended_by_the_server_counts_as_away_and_heals(store: Store) -> None:
    await store.commit(batch(positions=positions({})))
    with connected(store.dsn) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE application_name = 'haidang writer' AND datname = current_database()"
        )
    with pytest.raises((DatabaseAway, CommitUnknown)):  # the latter of a batch that is one statement
        await store.commit(batch(positions=positions({"digest": 2})))
    assert (await store.commit(batch(positions=positions({"digest": 2})))).positions.all()


async def test_a_statement_that_takes_too_long_counts_as_away(tables: str) -> None:
    store = Store(tables, statement_timeout=2.0)
    with psycopg.connect(tables) as other:
        other.execute("LOCK TABLE positions IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(DatabaseAway):
            await store.commit(batch(positions=positions({})))
    assert (await store.commit(batch(positions=positions({})))).positions.all()
    await store.close()


async def test_a_cancelled_commit_leaves_nothing_and_the_store_usable(store: Store) -> None:
    with psycopg.connect(store.dsn) as other:
        other.execute("LOCK TABLE positions IN ACCESS EXCLUSIVE MODE")
        task = asyncio.create_task(store.commit(batch(positions=positions({}))))
        while not ask(store.dsn, "SELECT FROM pg_locks WHERE NOT granted"):  # noqa: ASYNC110  # the server sets no Event
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert (await store.commit(batch(positions=positions({})))).positions.all()


async def test_a_large_batch_keeps_every_row_and_every_null(store: Store) -> None:
    rng = np.random.default_rng(1)
    rows = positions(*({"digest": n, "transponder": int(t)} for n, t in enumerate(rng.integers(1, 900, 5000))))
    rows["sog"][::3] = 5.0
    rows["nav_status"][::2] = 1
    committed = await store.commit(batch(positions=rows))
    assert committed.positions.all()
    assert ask(store.dsn, "SELECT count(*), count(sog), count(nav_status) FROM positions") == [(5000, 1667, 2500)]
