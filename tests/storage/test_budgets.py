"""A rule that tells of too many in a shift is said so once, with the first alert beyond its budget."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from alerting.desk.book import Budget
from alerting.desk.notify import ChannelSpec, notifications
from alerting.model import AlertState, Verdict
from storage import budgets, desk
from storage.audit import audit
from storage.writer import Store
from tests.storage.samples import ask, batch, connected
from tests.storage.test_desk import about

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alerting.model import Transition

LOG = [ChannelSpec("log")]
SHIFT = Budget(id="shift", match={"rule": ("quiet",)}, per_shift=3)
COUNTS = "SELECT rule_id, shift_start, alerts, exceeded_by IS NOT NULL FROM alert_budgets ORDER BY 1, 2"


async def happen(dsn: str, *moved: Transition, tells: bool = True) -> None:
    async with Store(dsn, tells=tells) as store:
        await store.commit(batch(Verdict(list(moved)), notifications(moved, LOG)))


@pytest.mark.parametrize("cuts", [(5,), (1, 1, 1, 1, 1), (2, 3), (4, 1)])
async def test_the_first_alert_beyond_a_budget_is_told_once_however_alerts_fall_into_batches(
    tables: str, cuts: Sequence[int]
) -> None:
    await desk.import_policies(tables, [SHIFT])
    story = [about(f"gate/{name}", after=n) for n, name in enumerate("edcba")]
    for size in cuts:
        some, story = story[:size], story[size:]
        await happen(tables, *some)
        await happen(tables, *some)  # delivered twice
    await happen(tables, about("gate/a", "loud"))
    assert [(rule, count, over) for rule, _, count, over in ask(tables, COUNTS)] == [("quiet", 5, True)]
    assert [await budgets.warn(tables, "desk", LOG) for _ in range(2)] == [1, 0]
    told = "SELECT payload -> 'subject' ->> 'name', payload -> 'details' ->> 'per_shift' FROM notifications"
    assert ask(tables, told + " WHERE event = 'over_budget'") == [("gate/b", "3")]
    assert ask(tables, "SELECT actor, from_state, to_state FROM alert_history WHERE change = 'over_budget'") == [
        ("desk", "firing", "firing")
    ]
    assert (await audit(tables)).faults == []


async def test_every_shift_has_its_own_budget(tables: str) -> None:
    await desk.import_policies(tables, [SHIFT])
    for hour in (0, 8, 16):
        await happen(tables, *(about(f"gate/{hour}-{n}", after=3600 * hour + n) for n in range(3)))
    assert [(count, over) for _, _, count, over in ask(tables, COUNTS)] == [(3, False)] * 3
    assert await budgets.warn(tables, "desk", LOG) == 0
    assert [row["alerts"] for row in await budgets.budgets(tables, limit=2)] == [3, 3]


async def test_alerts_that_nobody_is_told_of_cost_nothing(tables: str) -> None:
    await desk.import_policies(tables, [SHIFT])
    await happen(tables, *(about(f"gate/{n}", shadow=True) for n in range(5)))
    await happen(tables, *(about(f"other/{n}") for n in range(5)), tells=False)
    await happen(tables, about("gate/x"), about("gate/x", after=5, state=AlertState.RESOLVED))
    assert [count for _, _, count, _ in ask(tables, COUNTS)] == [1]


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seconds=st.integers(-(10**9), 4 * 10**9),
    changes=st.lists(st.tuples(st.integers(0, 23), st.integers(0, 59)), min_size=1, max_size=4),
    east=st.integers(-12, 14),
)
def test_a_shift_begins_at_the_last_change_of_duty(
    tables: str, seconds: int, changes: list[tuple[int, int]], east: int
) -> None:
    at = datetime.fromtimestamp(seconds, UTC)
    offset = f"{'-' if east < 0 else '+'}{abs(east):02d}:00"
    policy = Budget.model_validate(
        {
            "id": "b",
            "match": {"rule": "*"},
            "per_shift": 1,
            "shifts": [f"{h:02d}:{m:02d}" for h, m in changes],
            "utc_offset": offset,
        }
    )
    with connected(tables) as connection:
        row = connection.execute("SELECT shift_start(%s, %s)", (Jsonb(policy.body), at)).fetchone()
    local = at + timedelta(hours=east)
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
    starts = [midnight + timedelta(days=d, hours=h, minutes=m) for d in (-1, 0) for h, m in changes]
    expected = max(start for start in starts if start <= local) - timedelta(hours=east)
    assert row is not None
    assert row[0] == expected
