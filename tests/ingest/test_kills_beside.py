"""Killed amid what it does beside the pipeline (the desk, reviews, an edit taken over), it ends as one never killed.

Every run begins with a copy of one database, in which all of that is to be done: deadlines have passed, a silence and a
budget are over, alerts are long resolved, readings came late, and rules and a zone were edited. What may differ, and is
left out, is what is of the wall clock: when rows were written, when the engine said what an edit changed, and so the
ids of what was told of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from ingest.settings import load
from ingest.watch import rule_book
from storage.audit import audit
from storage.silences import silence
from tests.ingest import traffic
from tests.ingest.running import (
    EPOCH_MS,
    TOPIC,
    Process,
    balanced,
    count,
    draw_seed,
    publish_all,
    reading,
    serving,
    until,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from services.mosquitto import Mosquitto
    from services.postgres import Postgres

#: What is done, to the boundaries at which its lives end, with the greatest number of the time at which they do.
DEATHS: Final = {
    "desk": {"in_desk": 6, "after_desk": 5},
    "review": {"in_review": 1, "after_review": 1},
    "reload": {"in_reload": 3, "after_reload": 3},
}
_TABLES: Final = (
    *("alerts", "alert_history", "alert_deliveries", "notifications", "rule_state", "alert_timers", "alert_budgets"),
    *("alert_inhibitors", "alert_reviews", "rule_reviews", "desk_policies", "zones", "rules", "silences"),
)
_LEFT_OUT: Final = {
    "alerts": {"known_at"},
    "alert_history": {"recorded_at", "hash"},
    "alert_deliveries": {"notification_id", "at", "recorded_at", "seq", "hash", "attempts", "payload_sha256"},
    "notifications": {"id", "next_attempt_at", "created_at", "sent_at", "leased_until", "attempts", "last_error"},
}
_ROUNDS: Final = 60
#: What is later than the traffic is of the wall clock.
_NOW: Final = datetime.fromtimestamp(EPOCH_MS / 1000, UTC) + timedelta(days=1)
_ISO: Final = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+(Z|\+00:00)")

#: What was resolved in January is to be closed, and nothing of the traffic, which is of June: whenever this runs.
_CLOSE_AFTER_DAYS: Final = (datetime.now(UTC) - datetime(2026, 3, 1, tzinfo=UTC)).days

#: What is to be done, and what is left of it: nothing.
_LEFT: Final = {
    "deadlines": "alert_timers WHERE outcome IS NULL AND step > 0 AND due_at < now()",
    "to tell": "notifications WHERE state IN ('queued', 'held')",
    "budgets": "alert_budgets WHERE exceeded_by IS NOT NULL AND warned_at IS NULL",
    "to close": "alerts WHERE state = 'resolved' AND resolved_at < '2026-02-01'",
    "reviews": "alert_reviews",
    "withdrawn": "alerts WHERE rule_id = 'distress' AND state = 'firing'",
}
#: All of it: deadlines that have passed, a silence that is over, two alerts long resolved, more alerts than a budget
#: has room for, and one review, for each takes its time.
_TO_DO: Final = b"""
UPDATE alert_timers SET due_at = '2026-06-01 12:00Z';
UPDATE silences SET ends_at = greatest(now(), starts_at);
UPDATE alerts SET resolved_at = '2026-01-01Z' WHERE id IN (
    SELECT id FROM alerts WHERE rule_id = 'port' AND state = 'resolved' ORDER BY id LIMIT 2);
INSERT INTO alert_budgets (policy, rule_id, shift_start, alerts, per_shift, exceeded_by)
    SELECT 'few', rule_id, '2026-06-01Z', 9, 1, id FROM alerts WHERE rule_id = 'carried' ORDER BY id LIMIT 1;
DELETE FROM alert_reviews WHERE alert_id <> (
    SELECT r.alert_id FROM alert_reviews AS r JOIN alerts AS a ON a.id = r.alert_id
    WHERE a.rule_id = 'high-for-long' ORDER BY a.subject_name, a.started_at LIMIT 1);
"""


Tables = dict[str, list[tuple[Any, ...]]]


@dataclass(frozen=True, slots=True)
class Work:
    """A database in which there is much to do, and how a service is set up that does it."""

    seed: int
    template: str
    folder: Path
    gateway: str
    port: int

    def config(self, dsn: str, name: str, *, review_after: float) -> Path:
        path = self.folder / f"{name}.toml"
        path.write_text(
            f"""
            [database]
            dsn = "{dsn}"
            [sources.gateways]
            type = "mqtt"
            host = "127.0.0.1"
            port = {self.port}
            client_id = "haidang-{self.gateway}-{name}"
            topics = {json.dumps([f"haidang/v1/{self.gateway}{of}" for of in ("/+/readings", "/nmea", "-2/nmea")])}
            [rules]
            files = {json.dumps([str(self.folder / name) for name in ("zones.geojson", "rules.toml")])}
            review_after_seconds = {review_after}
            [alerts]
            desk_seconds = 0.05
            close_after_days = {_CLOSE_AFTER_DAYS}
            [channels.desk]
            type = "log"
            [http]
            port = 0
            [service]
            log_format = "json"
            """
        )
        return path


@pytest.fixture(scope="module")
def work(
    broker: Mosquitto, timescale: Postgres, timescale_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Work]:
    made = Work(
        draw_seed(), f"work_{uuid4().hex[:8]}", tmp_path_factory.mktemp("work"), f"gw-{uuid4().hex[:8]}", broker.port
    )
    traffic.rules(made.folder)
    dsn = timescale.create_database(made.template, timescale_template)
    asyncio.run(_prepare(made, dsn, broker))
    timescale.seal_database(made.template)
    yield made
    timescale.drop_database(made.template)


async def _prepare(work: Work, dsn: str, broker: Mosquitto) -> None:
    now = datetime.now(UTC)
    await silence(
        dsn, {"rule": ("loitering",)}, starts_at=now, ends_at=now + timedelta(days=1), author="Lan", reason="a test"
    )
    settings = load(work.config(dsn, "before", review_after=3600.0))
    async with serving(settings, await rule_book(settings)) as service:
        account = service.telemetry.ledger.account("gateways")
        made = traffic.make(work.seed, work.gateway, rounds=_ROUNDS)
        # Late readings that say another thing than was judged: not so high after all.
        late = [
            (TOPIC.format(gateway=work.gateway, device=f"gauge-{n}"), reading(at, 0.1))
            for n in range(traffic.GAUGES)
            for at in range(85, 125, 10)
        ]
        await publish_all(broker, [*made.messages, *late])
        total = len(made.messages) + len(late)
        await until(lambda: account.received == total and not account.in_flight, 60)
        await until(lambda: not count(dsn, "SELECT count(*) FROM notifications WHERE state = 'queued'"), 60)
    with psycopg.connect(dsn) as connection:
        connection.execute(_TO_DO)
    zones = work.folder / "zones.geojson"
    zones.write_text(zones.read_text().replace("107.62", "107.605"))
    rules = work.folder / "rules.toml"
    rules.write_text(rules.read_text().replace('id = "distress"', 'id = "other"'))


async def finish(config: Path) -> None:
    """Run the service, in this process and unhurt, until nothing is left to do."""
    settings = load(config)
    dsn = settings.database.dsn.get_secret_value()
    async with serving(settings, await rule_book(settings)) as service:
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("UPDATE notifications SET leased_until = now() WHERE leased_until > now()")
            with contextlib.suppress(TimeoutError):
                await until(lambda: not left(connection), 60)
            assert left(connection) == {}
        assert balanced(service)


def left(connection: psycopg.Connection) -> dict[str, int]:
    """What is still to be done, and how much of it."""
    query = ", ".join(f"(SELECT count(*) FROM {what})" for what in _LEFT.values())
    counts = connection.execute(f"SELECT {query}".encode()).fetchone()
    assert counts is not None
    return {name: n for name, n in zip(_LEFT, counts, strict=True) if n}


def tables(dsn: str) -> Tables:
    """The rows of every table, sorted, without what is of the wall clock."""
    out = {}
    with psycopg.connect(dsn) as connection:
        for table in _TABLES:
            cursor = connection.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(table)))
            assert cursor.description is not None
            left_out = _LEFT_OUT.get(table, set())
            keep = [n for n, column in enumerate(cursor.description) if column.name not in left_out]
            kept = (row for row in cursor if row[0] != "(deaf)")  # how long nobody listened
            out[table] = sorted((tuple(_timeless(row[n]) for n in keep) for row in kept), key=repr)
    return out


def _timeless(value: Any) -> Any:
    match value:
        case dict():
            return {key: _timeless(of) for key, of in value.items() if key != "notification_id"}
        case list():
            return [_timeless(of) for of in value]
        case datetime():
            return "now" if value > _NOW else value
        case int():
            return "now" if value > _NOW.timestamp() * 1_000_000 else value
        case str() if _ISO.fullmatch(value):
            return _timeless(datetime.fromisoformat(value)) if datetime.fromisoformat(value) > _NOW else value
    return value


@pytest.fixture(scope="module")
def calm(work: Work, timescale: Postgres) -> Iterator[Tables]:
    """The tables of the run that was never killed."""
    name = f"calm_{uuid4().hex[:8]}"
    dsn = timescale.create_database(name, work.template)
    asyncio.run(finish(work.config(dsn, "calm", review_after=0.01)))
    yield tables(dsn)
    timescale.drop_database(name)


def test_a_run_never_killed_has_done_something_of_everything(calm: Tables) -> None:
    changes = [(row[3], row[-1], row[-2].get("reason")) for row in calm["alert_history"]]
    assert {(actor, change) for actor, change, _ in changes} >= {
        ("desk", "overdue"),
        ("desk", "over_budget"),
        ("desk", "closed"),
        ("engine", "revised"),
    }
    assert {reason for _, change, reason in changes if change == "resolved"} >= {"edited", "withdrawn"}
    assert {row[5] for row in calm["notifications"]} == {"sent"}
    assert {row[5] for row in calm["alert_timers"]} == {"done", "over"}


@pytest.mark.parametrize("what", DEATHS)
async def test_killed_beside_the_pipeline_and_started_again_it_ends_as_one_never_killed(
    what: str, work: Work, calm: Tables, timescale: Postgres, tmp_path: Path
) -> None:
    chance = random.Random(f"{work.seed} {what}")
    deaths = [(boundary, chance.randint(1, most)) for boundary, most in DEATHS[what].items()]
    how = f"killed {deaths}: HAIDANG_TEST_SEED={work.seed}"
    name = f"{what}_{uuid4().hex[:8]}"
    dsn = timescale.create_database(name, work.template)
    config = work.config(dsn, what, review_after=0.01)
    for death in deaths:
        with psycopg.connect(dsn) as connection:
            assert left(connection), f"{how}: it died too late to prove anything"
        process = Process(config, killed=death, log=tmp_path / "log")
        await process.start()
        assert await process.ended(60) == -9, f"{how}: {process.errors}"

    await finish(config)

    found = tables(dsn)
    for table in _TABLES:
        assert found[table] == calm[table], f"{table}, {how}"
    record = await audit(dsn)
    assert (record.faults, record.unsealed) == ([], 0), how
    timescale.drop_database(name)
