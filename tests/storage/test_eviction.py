"""What floods quarantine makes room; nothing else does, and what went is counted."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting.model import Verdict
from decoders.identity import source_id
from decoders.records import Name, Observations, Reason, Reject
from storage import readers
from storage.batch import Batch
from storage.errors import ConfigurationError
from storage.eviction import OVERHEAD, evict, level
from storage.writer import Store
from tests.storage.samples import T0, ask
from tests.storage.test_roles import acting_as

SOURCE, OTHER = source_id("flooded"), source_id("quiet")
RAW = 4_000


async def fill(dsn: str, *rejects: tuple[int, Reason, int]) -> None:
    """(source, reason, how many): each of 4,000 bytes that do not compress, a second apart."""
    found = [
        Reject(0, reason, Random(n).randbytes(RAW), T0 + n * 1_000_000, source, "t")
        for source, reason, count in rejects
        for n in range(count)
    ]
    names = [Name("source", SOURCE, "flooded", "mqtt"), Name("source", OTHER, "quiet", "mqtt")]
    async with Store(dsn) as store:
        await store.commit(Batch(Observations(1, rejects=found, names=names), Verdict()))


def kept(dsn: str) -> Counter[tuple[int, str]]:
    return Counter(ask(dsn, "SELECT source_id, reason FROM quarantine"))


async def test_the_flood_loses_its_oldest_and_others_lose_nothing(any_migrated: str) -> None:
    await fill(any_migrated, (SOURCE, Reason.BAD_JSON, 240), (SOURCE, Reason.BAD_VALUE, 3), (OTHER, Reason.BAD_JSON, 5))
    bound = 100 * (RAW + OVERHEAD)
    evicted = evict(any_migrated, bound)
    left = kept(any_migrated)
    assert (left[SOURCE, "bad_value"], left[OTHER, "bad_json"]) == (3, 5)
    assert left[SOURCE, "bad_json"] == 240 - evicted
    assert sum(left.values()) == 90  # nine tenths of the bound
    ((first, last),) = ask(
        any_migrated,
        "SELECT min(extract(epoch FROM received_at))::bigint, max(extract(epoch FROM received_at))::bigint"
        f" FROM quarantine WHERE source_id = {SOURCE} AND reason = 'bad_json'",
    )
    assert (first - T0 // 1_000_000, last - T0 // 1_000_000) == (evicted, 239)
    assert evict(any_migrated, bound) == 0  # the files may be as large as before: what is in them is not

    await fill(any_migrated, (OTHER, Reason.BAD_TIME, 60))
    more = evict(any_migrated, bound)
    assert more > 0
    found = {(row["source"], row["reason"]): row for row in await readers.quarantine_summary(any_migrated)}
    assert found["flooded", "bad_json"]["evicted"] + found["quiet", "bad_time"]["evicted"] == evicted + more
    assert found["quiet", "bad_json"]["evicted"] == 0
    assert found["flooded", "bad_json"]["messages"] + found["flooded", "bad_json"]["evicted"] == 240


async def test_what_is_within_the_bound_stays(any_migrated: str) -> None:
    await fill(any_migrated, (SOURCE, Reason.BAD_JSON, 10))
    assert evict(any_migrated, 2**30) == 0
    assert sum(kept(any_migrated).values()) == 10


async def test_the_writer_of_the_service_may_make_room_and_no_more_and_a_reader_is_told(any_migrated: str) -> None:
    await fill(any_migrated, (SOURCE, Reason.BAD_JSON, 20))
    everything = f"SELECT quarantine_evict({SOURCE}, 'bad_json', now() + '9 years', gen_random_uuid(), 1000)"
    assert ask(acting_as(any_migrated, "haidang_writer"), everything) == [(None,)]  # what is small is left alone
    await fill(any_migrated, (SOURCE, Reason.BAD_JSON, 300))
    with pytest.raises(ConfigurationError, match="permission denied"):
        evict(acting_as(any_migrated, "haidang_reader"), 2**17)
    assert sum(kept(any_migrated).values()) == 300
    assert evict(acting_as(any_migrated, "haidang_writer"), 2**17) == 300 - sum(kept(any_migrated).values()) > 200


@given(st.lists(st.integers(0, 1_000), max_size=9), st.integers(0, 3_000))
def test_the_level_is_the_highest_that_fits(held: list[int], room: int) -> None:
    found = level(held, room)
    assert sum(min(size, found) for size in held) <= room or found == 0
    if held and found < max(held):
        assert sum(min(size, found + 1) for size in held) > room
