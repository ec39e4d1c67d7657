"""Holding on while the database is away."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, TypeVar

from storage.errors import CommitUnknown, DatabaseAway

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ingest.telemetry import Telemetry
    from storage.batch import Committed
    from storage.writer import Store

T = TypeVar("T")

_FIRST_BACKOFF = 0.1
_LONGEST_BACKOFF = 10.0


class Outage(Exception):  # noqa: N818  # a state, not a fault
    """The database has been away for longer than we hold on; ``unknown`` is set where a commit's answer was lost."""

    def __init__(self, unknown: CommitUnknown | None = None) -> None:
        super().__init__("the database stays away")
        self.unknown = unknown


class Hold:
    """Tries until the database answers, with full-jitter back-off: nothing is dropped, nothing is acked meanwhile.

    Args:
        store: the database.
        telemetry: told of the edges.
        patience: seconds after which to give up with ``Outage``; None: never.
    """

    def __init__(self, store: Store, telemetry: Telemetry, patience: float | None = None) -> None:
        self._store = store
        self._telemetry = telemetry
        self._patience = patience

    async def until(self, attempt: Callable[[], Awaitable[T]], *, patient: bool = False) -> T:
        """What ``attempt`` gives once the database answers.

        Raises:
            Outage: it has not for as long as our patience lasts (never if ``patient``).
        """
        ceiling, since = _FIRST_BACKOFF, time.monotonic()
        while True:
            try:
                result = await attempt()
            except DatabaseAway as exc:
                self._telemetry.database(up=False, reason=str(exc))
            else:
                self._telemetry.database(up=True)
                return result
            ceiling = await self._back_off(ceiling, since, None, patient=patient)

    async def commit(self, attempt: Callable[[], Awaitable[Committed]]) -> Committed:
        """Commit, once: where the answer to a COMMIT was lost on the wire, it is either all there or not at all.

        Raises:
            Outage: as ``until``.
            RowRefused: the database will not take a row of the batch.
        """
        ceiling, since = _FIRST_BACKOFF, time.monotonic()
        unknown: CommitUnknown | None = None
        while True:
            try:
                if unknown is None:
                    committed = await attempt()
                elif await self._store.resolve(unknown.token):
                    committed = unknown.committed
                else:
                    unknown = None
                    continue
            except CommitUnknown as exc:
                # Without its traceback, in which this frame is: the two would hold each other, and the batch.
                unknown = CommitUnknown(exc.token, exc.committed)
                self._telemetry.database(up=False, reason=str(exc))
            except DatabaseAway as exc:
                self._telemetry.database(up=False, reason=str(exc))
            else:
                self._telemetry.database(up=True)
                return committed
            ceiling = await self._back_off(ceiling, since, unknown)

    async def _back_off(
        self, ceiling: float, since: float, unknown: CommitUnknown | None, *, patient: bool = False
    ) -> float:
        pause = random.uniform(0, ceiling)  # noqa: S311  # jitter, not a secret
        if self._patience is not None and not patient:
            left = since + self._patience - time.monotonic()
            if left <= 0:
                raise Outage(unknown)
            pause = min(pause, left)
        await asyncio.sleep(pause)
        return min(ceiling * 2, _LONGEST_BACKOFF)
