"""Redriving: what is right by now is stored once, whatever is cut off, repeated or done at the same time."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

import orjson
import psycopg
import pytest

from alerting.model import Verdict
from decoders.bounds import Bounds
from decoders.identity import source_id
from decoders.records import Name, Observations, Reason, Reject
from ingest.redrive import redrive
from storage.batch import Batch
from storage.errors import RequestRefused
from storage.redrive import Choice, Redrive
from storage.writer import Store
from tests.ingest.command import PROCESS, dump
from tests.ingest.running import until
from tests.storage.samples import ask

if TYPE_CHECKING:
    from services.postgres import Postgres

T0 = 1_790_000_000_000_000
SOURCE = source_id("gateways")
_AT_WORK = """
SELECT count(*)::int FROM pg_stat_activity WHERE application_name = 'haidang redrive' AND datname = current_database()
"""


def refused(n: int, raw: bytes, reason: Reason = Reason.BAD_JSON, topic: str = "haidang/v1/g/d/readings") -> Reject:
    return Reject(n, reason, raw, T0 + n * 1_000_000, SOURCE, topic, "as an older version said")


def reading(n: int, value: float = 1.0) -> bytes:
    return orjson.dumps({"time": (T0 // 1_000_000 + n) * 1_000, "readings": {"water_level": value}})


def mixed(count: int) -> list[Reject]:
    """As after an upgrade: of ten refused messages seven are right by now."""
    out = []
    for n in range(count):
        match n % 10:
            case 3:
                out.append(refused(n, b"{still no json %d" % n))
            case 6:
                out.append(refused(n, b"[" + reading(n) + b",%d]" % n))  # a good entry and a bad one
            case 9:
                out.append(refused(n, reading(n) + b" " * 70_000, Reason.TOO_LARGE))  # kept in part only
            case _:
                out.append(refused(n, reading(n)))
    return out


async def fill(dsn: str, rejects: list[Reject]) -> None:
    names = [Name("source", SOURCE, "gateways", "mqtt")]
    async with Store(dsn) as store:
        await store.commit(Batch(Observations(len(rejects), rejects=rejects, names=names), Verdict()))


async def redriven(dsn: str, choice: Choice, bounds: Bounds | None = None) -> list[str]:
    return [row["outcome"] async for row in redrive(dsn, choice, bounds)]


def outcomes(dsn: str) -> dict[str | None, int]:
    return dict(ask(dsn, "SELECT redrive_outcome, count(*) FROM quarantine GROUP BY 1"))


def without_tries(tables: dict[str, list[tuple[Any, ...]]], dsn: str) -> dict[str, list[Any]]:
    """A dump in which how often something was tried does not count."""
    kept = "SELECT id, reason, raw, size, redrive_outcome FROM quarantine ORDER BY id"
    return {**tables, "quarantine": ask(dsn, kept)}


async def test_what_is_right_is_stored_the_rest_stays_with_its_reason_and_count(any_migrated: str) -> None:
    await fill(any_migrated, mixed(20))
    assert len(await redriven(any_migrated, Choice(reason="bad_json"))) == 18
    assert len(await redriven(any_migrated, Choice(reason="too_large"))) == 2
    assert outcomes(any_migrated) == {
        "stored": 14,
        "refused: bad_json": 2,
        "stored in part, refused: bad_field": 2,
        "refused: only the first bytes were kept": 2,
        None: 2,  # the bad entries of the arrays, alone now
    }
    assert await redriven(any_migrated, Choice(reason="bad_json")) == []  # each was tried
    again = await redriven(any_migrated, Choice(source="gateways", again=True))
    assert sorted(again) == sorted(
        ["refused: bad_json"] * 2 + ["refused: bad_field"] * 2 + ["refused: only the first bytes were kept"] * 2
    )
    assert ask(any_migrated, "SELECT max(redrives), min(redrives) FROM quarantine") == [(2, 1)]
    assert ask(any_migrated, "SELECT count(*), count(DISTINCT time) FROM readings") == [(16, 16)]


async def test_conditions_choose_and_the_oldest_come_first(migrated: str) -> None:
    await fill(migrated, [refused(n, reading(n)) for n in range(300)])
    times = "SELECT extract(epoch FROM time)::bigint - 1790000000 FROM readings ORDER BY time"
    assert await redriven(migrated, Choice(source="other")) == []
    assert len(await redriven(migrated, Choice(reason="bad_json", limit=2))) == 2
    assert ask(migrated, times) == [(0,), (1,)]
    last = "SELECT id FROM quarantine WHERE received_at > to_timestamp(1790000290)"
    ids = [id_ for (id_,) in ask(migrated, last)]
    assert len(await redriven(migrated, Choice(ids))) == 9
    assert len(await redriven(migrated, Choice(reason="bad_json"))) == 289  # more than one page
    assert ask(migrated, times) == [(n,) for n in range(300)]
    assert set(await redriven(migrated, Choice(ids))) == {"duplicate"}
    assert outcomes(migrated) == {"stored": 300}


async def test_a_raised_limit_applies(migrated: str) -> None:
    rejects = [refused(n, reading(n), Reason.TOO_MANY_DEVICES, f"haidang/v1/g/d{n}/readings") for n in range(4)]
    await fill(migrated, rejects)
    choice = Choice(reason="too_many_devices", again=True)
    assert await redriven(migrated, choice, Bounds(devices=1)) == ["stored", *["refused: too_many_devices"] * 3]
    assert await redriven(migrated, choice, Bounds(devices=3)) == ["stored", "stored", "refused: too_many_devices"]
    assert await redriven(migrated, choice) == ["stored"]


async def test_what_conflicts_with_a_stored_value_stays(migrated: str) -> None:
    await fill(migrated, [refused(0, reading(0, 1.0)), refused(1, reading(0, 2.0))])
    assert await redriven(migrated, Choice(reason="bad_json")) == ["stored", "refused: conflicting_value"]
    assert await redriven(migrated, Choice(reason="conflicting_value")) == ["refused: another value is stored"]
    assert ask(migrated, "SELECT value FROM readings") == [(1.0,)]


async def test_a_topic_that_no_decoder_knows_is_not_read_as_lines(migrated: str) -> None:
    sentence = b"!AIVDM,1,1,,B,15M67FC000G?ufbE`FepT@3n00Sa,0*5C"
    await fill(migrated, [refused(0, sentence, Reason.BAD_TOPIC, "elsewhere")])
    assert await redriven(migrated, Choice(reason="bad_topic")) == ["refused: bad_topic"]
    assert ask(migrated, "SELECT count(*) FROM quarantine") == [(1,)]


async def test_two_at_once_are_refused_and_the_lock_ends_with_its_process(migrated: str) -> None:
    await fill(migrated, mixed(10))
    async with Redrive(migrated):
        with pytest.raises(RequestRefused, match="another redrive"):
            await redriven(migrated, Choice(reason="bad_json"))
    assert len(await redriven(migrated, Choice(reason="bad_json"))) == 9


async def test_killed_again_and_again_it_ends_as_one_that_was_not(timescale: Postgres, timescale_template: str) -> None:
    names = ("redrive_killed", "redrive_whole")
    killed, whole = (timescale.create_database(name, timescale_template) for name in names)
    try:
        for dsn in (killed, whole):
            await fill(dsn, mixed(60))
        assert len(await redriven(whole, Choice(reason="bad_json"))) == 54
        for tried in (1, 7, 20, 33):
            await killed_after(killed, tried)
        await redriven(killed, Choice(reason="bad_json"))
        for dsn in (killed, whole):  # what a kill left between commit and mark is found to be there
            with psycopg.connect(dsn, autocommit=True) as connection:
                connection.execute(
                    "UPDATE quarantine SET redrive_outcome = 'stored' WHERE redrive_outcome = 'duplicate'"
                )
        assert without_tries(dump(killed), killed) == without_tries(dump(whole), whole)
    finally:
        for name in names:
            timescale.drop_database(name)


async def killed_after(dsn: str, tried: int) -> None:
    """A redrive killed as by a power cut once so many messages have been tried."""
    process = await asyncio.create_subprocess_exec(
        *PROCESS,
        *("quarantine", "redrive", "--reason", "bad_json", "--json", "--dsn", dsn),
        stdout=asyncio.subprocess.PIPE,
        stderr=sys.stderr,
    )
    assert process.stdout is not None
    async with asyncio.timeout(60):
        while ask(dsn, "SELECT count(*) FROM quarantine WHERE redriven_at IS NOT NULL")[0][0] < tried:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    process.kill()
    await process.communicate()
    await until(lambda: ask(dsn, _AT_WORK) == [(0,)])  # the server ends a session when it finds out, and its lock
