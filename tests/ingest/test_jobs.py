"""What is done by the clock goes on whatever hinders it, and says so once."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from decoders.records import Reason
from ingest.jobs import every, evicting
from storage import eviction
from storage.errors import ConfigurationError, DatabaseAway
from tests.ingest.running import until
from tests.storage.test_eviction import SOURCE, fill
from tests.storage.test_roles import acting_as


async def done(*outcomes: Exception | None) -> list[str]:
    """What is logged while a job comes out so, time after time."""
    left = iter(outcomes)

    async def job() -> None:
        try:
            outcome = next(left)
        except StopIteration:
            raise asyncio.CancelledError from None
        if outcome is not None:
            raise outcome

    with capture_logs() as logs, pytest.raises(asyncio.CancelledError):
        await every(0, job, "job", {ConfigurationError: "not_allowed"})
    return [" ".join((entry["event"], *([entry["reason"]] if "reason" in entry else []))) for entry in logs]


async def test_what_hinders_a_job_is_logged_when_it_begins_and_when_it_is_over() -> None:
    one, other, refused = DatabaseAway("a"), DatabaseAway("b"), ConfigurationError("r")
    assert await done(None, one, other, one, None, None, other) == ["job_postponed a", "job_resumed", "job_postponed b"]
    assert await done(one, refused, refused, one) == ["job_postponed a", "not_allowed r", "job_postponed a"]


async def test_an_error_that_nobody_expects_ends_it() -> None:
    with pytest.raises(ZeroDivisionError):
        await done(None, ZeroDivisionError())


async def test_a_quarantine_over_its_bound_that_may_not_be_cut_is_logged_once(
    migrated: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(migrated, (SOURCE, Reason.BAD_JSON, 200))
    looks = 0

    def look(dsn: str, most: int) -> int:
        nonlocal looks
        looks += 1
        return eviction.evict(dsn, most)

    monkeypatch.setattr("ingest.jobs.evict", look)
    monkeypatch.setattr("ingest.jobs.EVICT_SECONDS", 0.01)
    with capture_logs() as logs:
        task = asyncio.create_task(evicting(acting_as(migrated, "haidang_reader"), 2**17))
        await until(lambda: looks >= 4)
        task.cancel()
        await asyncio.wait([task])
    assert [entry["event"] for entry in logs] == ["quarantine_over_bound"]
