"""The spool: what was appended is there after any death, in order, once; what cannot be, is said."""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.backlog import Backlog
from ingest.delivery import Delivery
from ingest.inbox import Inbox
from ingest.ledger import Ledger
from ingest.spool import Spool, SpoolFull
from ingest.spool_file import Entries, SpoolRefused
from tests.ingest.running import until

if TYPE_CHECKING:
    from pathlib import Path

ANY_TEXT = st.text(max_size=20)
DELIVERIES = st.lists(
    st.builds(
        Delivery,
        payload=st.binary(max_size=200),
        source=ANY_TEXT,
        origin=ANY_TEXT,
        received_at=st.integers(-(2**62), 2**62),
        messages=st.integers(1, 50),
        per_line=st.booleans(),
        line=st.integers(0, 2**40),
        size=st.integers(0, 2**40),
        redelivered=st.booleans(),
    ),
    min_size=1,
    max_size=20,
)


def delivery(n: int, size: int = 100) -> Delivery:
    return Delivery(bytes([n % 256]) * size, "s", f"topic/{n}", n)


async def everything(spool: Spool, at_once: int = 7) -> list[Delivery]:
    """What comes out, batch by batch, until nothing is left."""
    out: list[Delivery] = []
    while spool.entries:
        entries = await spool.first(at_once)
        assert len(entries.deliveries) == 1 or sum(d.messages for d in entries.deliveries) <= at_once
        out += entries.deliveries
        await spool.forget(entries.seq)
    return out


@settings(max_examples=30)
@given(st.lists(DELIVERIES, max_size=5), st.integers(1, 60))
async def test_what_went_in_comes_out_in_order_after_reopening(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[Delivery]], at_once: int
) -> None:
    path = tmp_path_factory.mktemp("spool") / "spool.db"
    for batch in batches:
        async with Spool(path) as spool:
            await spool.append(batch)
    async with Spool(path) as spool:
        put = [d for batch in batches for d in batch]
        assert spool.entries == len(put)
        assert spool.messages == sum(d.messages for d in put) == sum((await spool.by_source()).values())
        assert await everything(spool, at_once) == put
        assert (spool.entries, spool.messages, spool.bytes) == (0, 0, 0)


async def test_after_an_opening_that_was_cancelled_the_next_knows_what_is_there_and_closing_may_be_asked_twice(
    tmp_path: Path,
) -> None:
    async with Spool(tmp_path / "s") as spool:
        await spool.append([delivery(1)])
    spool = Spool(tmp_path / "s")
    opening = asyncio.create_task(spool.open())
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    await spool.open()
    assert (spool.entries, spool.messages) == (1, 1)
    await asyncio.gather(spool.close(), spool.close())
    await spool.close()


async def test_beyond_its_bound_nothing_is_written(tmp_path: Path) -> None:
    async with Spool(tmp_path / "s", max_bytes=1_000) as spool:
        await spool.append([delivery(1), delivery(2)])
        with pytest.raises(SpoolFull):
            await spool.append([delivery(n) for n in range(3, 20)])
        assert spool.entries == 2
        await spool.forget((await spool.first(1)).seq)
        await spool.append([delivery(3), delivery(4)])
        assert [d.received_at for d in await everything(spool)] == [2, 3, 4]


async def test_a_mark_holds_until_its_entries_are_forgotten(tmp_path: Path) -> None:
    token = uuid4()
    async with Spool(tmp_path / "s") as spool:
        await spool.append([delivery(1), delivery(2), delivery(3)])
        seq = (await spool.first(2)).seq
        await spool.mark(token, seq)
    async with Spool(tmp_path / "s") as spool:
        assert await spool.marked() == (token, seq)
        assert await spool.by_source(until=seq) == {"s": 2}
        assert await spool.by_source(after=seq) == {"s": 1}
        await spool.forget(seq)
        assert await spool.marked() is None
        # A number is never given again, so that an old mark can never mean new entries.
        assert await spool.append([delivery(4)]) > seq + 1


async def test_a_changed_entry_is_handed_out_as_damaged_and_the_others_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "s"
    async with Spool(path) as spool:
        await spool.append([delivery(n) for n in range(4)])
    with sqlite3.connect(path) as database:
        database.execute("UPDATE entries SET payload = zeroblob(100) WHERE seq = 2")
        database.execute("UPDATE entries SET received_at = 'soon', messages = -3 WHERE seq = 3")
    database.close()
    async with Spool(path) as spool:
        found = await everything(spool)
    assert [d.damaged for d in found] == [False, True, True, False]
    assert found[1].payload == bytes(100)
    assert found[2].payload == delivery(2).payload
    assert found[2].messages == 1


async def test_files_that_cannot_serve_are_refused_in_one_line(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("no database " * 1_000)
    other = tmp_path / "other"
    with sqlite3.connect(other) as database:
        database.execute("CREATE TABLE t (x)")
    database.close()
    cut = tmp_path / "cut"
    async with Spool(cut) as spool:
        await spool.append([delivery(n, 5_000) for n in range(20)])
    os.truncate(cut, cut.stat().st_size // 2)
    for path, reason in (
        (text, "not a database"),
        (other, "not a spool"),
        (cut, "malformed|short"),
        (tmp_path / "absent" / "s", "No such file"),
        (tmp_path, "directory"),
    ):
        with pytest.raises(SpoolRefused, match=reason) as refused:
            await Spool(path).open()
        assert str(path) in str(refused.value)
        assert "\n" not in str(refused.value)


async def test_two_processes_cannot_use_one_spool(tmp_path: Path) -> None:
    async with Spool(tmp_path / "s"):
        with pytest.raises(SpoolRefused, match="in use by another process"):
            await Spool(tmp_path / "s").open()


async def test_it_holds_what_others_may_not_read(tmp_path: Path) -> None:
    async with Spool(tmp_path / "s") as spool:
        await spool.append([delivery(1)])
        assert {oct(entry.stat().st_mode & 0o777) for entry in os.scandir(tmp_path)} == {"0o600"}


async def emptied(path: Path) -> list[int]:
    async with Spool(path) as spool:
        return [d.received_at for d in await everything(spool, 1_000)]


_APPENDER = """
import asyncio, sys
from pathlib import Path
from ingest.delivery import Delivery
from ingest.spool import Spool

async def main():
    async with Spool(Path(sys.argv[1])) as spool:
        n = 0
        while True:
            await spool.append([Delivery(b"x" * 500, "s", "t", n + i) for i in range(5)])
            n += 5
            print(n, flush=True)

asyncio.run(main())
"""


def test_what_append_returned_from_is_there_after_kill_9_and_in_order(tmp_path: Path) -> None:
    path = tmp_path / "s"
    for round_ in range(3):
        process = subprocess.Popen([sys.executable, "-c", _APPENDER, str(path)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        said = 0
        for line in process.stdout:
            said = int(line)
            if said >= 50 * (round_ + 1):
                break
        process.send_signal(signal.SIGKILL)
        said = max([said, *map(int, process.stdout.read().split())])
        process.wait()
        process.stdout.close()
        found = asyncio.run(emptied(path))
        assert found == list(range(len(found)))
        assert len(found) >= said


async def test_a_full_disk_is_told_as_a_full_spool_and_loses_nothing(tmp_path: Path) -> None:
    async with Spool(tmp_path / "s") as spool:
        await spool.append([delivery(1)])
        spool._file.database.execute("PRAGMA max_page_count = 12")  # SQLite's own way to say that there is no room
        with pytest.raises(SpoolFull):
            await spool.append([delivery(n, 5_000) for n in range(50)])
        assert [d.received_at for d in await everything(spool)] == [1]


async def test_what_takes_entries_out_is_held_while_it_cannot_be_written(tmp_path: Path) -> None:
    async with Spool(tmp_path / "s") as spool:
        backlog = Backlog(spool, Inbox(), Ledger(), 100)
        await spool.append([delivery(n) for n in range(10)])
        for step, left in ((backlog.committing, 10), (backlog.committed, 0)):
            entries = await spool.first(100)
            spool._file.database.execute("PRAGMA query_only = 1")
            with structlog.testing.capture_logs() as log:
                going = asyncio.create_task(step(entries))
                await until(lambda log=log: log)  # type: ignore[misc]
                assert log[0]["event"] == "spool_full"
                assert (await spool.first(100), spool.entries) == (entries, 10)
                assert not going.done()
                spool._file.database.execute("PRAGMA query_only = 0")
                await going
            assert spool.entries == left


async def test_a_mark_goes_in_with_its_entries_or_not_at_all(tmp_path: Path) -> None:
    token = uuid4()
    async with Spool(tmp_path / "s") as spool:
        await spool.append([delivery(1)])
        spool._file.database.execute(
            "CREATE TEMP TRIGGER fault BEFORE INSERT ON mark BEGIN SELECT RAISE(ABORT, 'fault'); END"
        )
        with pytest.raises(sqlite3.IntegrityError, match="fault"):
            await spool.append([delivery(2)], token)
        assert [d.received_at for d in (await spool.first(9)).deliveries] == [1]
        spool._file.database.execute("DROP TRIGGER fault")
        seq = await spool.append([delivery(2)], token)
        assert await spool.marked() == (token, seq)


async def test_what_is_written_is_on_the_disk_before_it_is_said_to_be(tmp_path: Path) -> None:
    async with Spool(tmp_path / "s") as spool:
        # FULL: in WAL mode the log is synced at every commit (SQLite, PRAGMA synchronous).
        assert spool._file.database.execute("PRAGMA synchronous").fetchone() == (2,)
        assert spool._file.database.execute("PRAGMA journal_mode").fetchone() == ("wal",)


async def test_nothing_is_acked_that_is_not_in_the_file(tmp_path: Path) -> None:
    async with Spool(tmp_path / "s") as spool:
        backlog = Backlog(spool, Inbox(), Ledger(), 100)
        acked = []

        def ack(n: int) -> None:
            (found,) = spool._file.database.execute(
                "SELECT count(*) FROM entries WHERE received_at = ?", (n,)
            ).fetchone()
            acked.append((n, found, spool._file.database.in_transaction))

        deliveries = [delivery(n)._replace(ack=functools.partial(ack, n)) for n in range(3)]
        spool._file.database.execute("PRAGMA query_only = 1")
        await backlog.take_in(deliveries, None)
        assert (acked, backlog.held) == ([], 3)
        spool._file.database.execute("PRAGMA query_only = 0")
        assert isinstance(await backlog.next(), list)  # nothing is in the spool: they may go straight into the database
        await backlog.take_in(deliveries, None)
        assert acked == [(n, 1, False) for n in range(3)]


@pytest.mark.parametrize("room", [True, False])
async def test_what_arrives_does_not_overtake_what_waits_in_the_spool(tmp_path: Path, room: bool) -> None:
    inbox = Inbox()
    async with Spool(tmp_path / "s") as spool:
        backlog = Backlog(spool, inbox, Ledger(), 4)
        await spool.append([delivery(n) for n in range(6)])
        if not room:
            spool.max_bytes = spool.bytes + 1
        order = []
        for n in range(6, 12):
            inbox.force(delivery(n))
        while backlog or inbox.messages:
            batch = await backlog.next() if backlog else await inbox.take(4, 0)
            if isinstance(batch, Entries):
                order += [d.received_at for d in batch.deliveries]
                await backlog.committed(batch)
            else:
                order += [d.received_at for d in batch]
        assert order == list(range(12))


async def test_of_a_file_with_bad_pages_all_else_is_salvaged_and_what_is_not_is_told(tmp_path: Path) -> None:
    path, token = tmp_path / "s", uuid4()
    put = [delivery(n, 3_000) for n in range(1, 101)]
    async with Spool(path) as spool:
        await spool.append([delivery(0), *put])
        await spool.forget(1)
        await spool.append([delivery(101)], token)
    page = 4096
    sound = path.read_bytes()
    for bad in (30, 70):  # of about a hundred, an entry each
        sound = sound[: bad * page] + bytes(page) + sound[(bad + 1) * page :]
    path.write_bytes(sound)
    async with Spool(path) as spool:
        assert spool.salvaged is not None
        assert spool.salvaged.entries + spool.salvaged.unreadable == 101
        assert 0 < spool.salvaged.unreadable < 10
        assert spool.salvaged.kept.read_bytes() == sound
        assert await spool.marked() == (token, 102)
        found = await everything(spool, 1_000)
        good = [d for d in found if not d.damaged]
        lost = [d for d in found if d.damaged]
        assert good == [d for d in [*put, delivery(101)] if d in good]
        assert len(good) == spool.salvaged.entries
        assert all(d.source == "s" and d.origin.startswith("spool, entries ") for d in lost)
        assert 1 <= len(lost) <= 2
        assert await spool.append([delivery(102)]) == 103
    async with Spool(path) as spool:
        assert spool.salvaged is None
        assert [d.received_at for d in await everything(spool)] == [102]
