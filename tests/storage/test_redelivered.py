"""Transmissions delivered again are found, under the event time they were stored with."""

from __future__ import annotations

import numpy as np
import pytest

from storage.writer import Store
from tests.storage.samples import SECOND, T0
from tests.storage.streams import cut, stream


@pytest.mark.parametrize("seed", range(2))
async def test_each_transmission_asked_after_is_answered_with_its_first_time_within_the_bounds(
    tables: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    whole = stream(rng, 40)
    stored = [(int(r["transponder"]), int(r["digest"]), int(r["time"])) for r in (*whole.positions, *whole.statics)]
    stored += [(r.transponder, r.digest, r.time) for r in whole.records]
    asked = [(who, digest) for who in range(6) for digest in range(6)] * 2  # the same one may come twice
    who, digests = (np.array(column, np.int64) for column in zip(*asked, strict=True))
    async with Store(tables) as store:
        for part in cut(whole, []):
            await store.commit(part)
        for since, until in ((T0, T0 + 86_400 * SECOND), (T0 + 2 * SECOND, T0 + 4 * SECOND), (T0 - 9, T0 - 1)):
            found, _ = await store.known(who, digests, since, until)
            times = [[t for w, d, t in stored if (w, d) == one and since <= t <= until] for one in asked]
            assert found.tolist() == [min(some, default=np.iinfo(np.int64).min) for some in times]
