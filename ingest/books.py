"""What a commit is entered into: the ledger, the metrics, and the totals since the start."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING

from decoders.records import Reason
from ingest.ledger import fates, settle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from decoders.block import Block
    from ingest.telemetry import Telemetry
    from ingest.thought import Thought
    from storage.batch import Committed


@dataclass(slots=True)
class Totals:
    """What has been written since the start."""

    rows: dict[str, int] = field(default_factory=lambda: {"positions": 0, "readings": 0, "statics": 0})
    alerts: int = 0  # fired


class Books:
    """Those of one pipeline.

    Args:
        telemetry: what is told, the ledger above all.
        names: source id to source name.
        live: whether receive times are of this machine's clock (not in a replay).
        on_committed: called after each commit.
    """

    def __init__(
        self,
        telemetry: Telemetry,
        names: Mapping[int, str],
        *,
        live: bool,
        on_committed: Callable[[Committed], None] | None = None,
    ) -> None:
        self._telemetry, self._names, self._live, self._on_committed = telemetry, names, live, on_committed
        self.totals = Totals()
        #: Messages that wait for their other parts, as last committed.
        self.unfinished = 0

    def open(self, fragments: Iterable[Block]) -> None:
        """Begin with what the database holds of unfinished messages."""
        self.unfinished = sum(block.messages for block in fragments)

    def inherit(self, fragments: Iterable[Block]) -> None:
        """Count as received what an earlier process had counted: their fate will be known to this one."""
        for block in fragments:
            self._telemetry.ledger.inherit(self._names[block.source], block.messages)

    def enter(self, thought: Thought, committed: Committed, seconds: float | None = None) -> None:
        """Enter a commit; ``seconds``: how long it took, where that is known."""
        deliveries, observations, verdict = thought.deliveries, thought.observations, thought.batch.verdict
        found = fates(observations, committed, thought.duplicates)
        spans: list[tuple[str, int, int]] = []
        for source, group in groupby(deliveries, attrgetter("source")):
            first = spans[-1][1] + spans[-1][2] if spans else 0
            spans.append((source, first, sum(delivery.messages for delivery in group)))
        settle(self._telemetry.ledger, observations, found, spans, self._names, committed.rejects.tolist())
        rows = {
            "positions": int(committed.positions.sum()),
            "readings": int(committed.readings.sum()),
            "statics": int(committed.statics.sum()),
            "ais_messages": int(committed.records.sum()),
            "receptions": int(committed.receptions.sum()),
            "quarantine": int(committed.rejects.sum()) + len(committed.conflicts),
        }
        for table in self.totals.rows:
            self.totals.rows[table] += rows[table]
        self.totals.alerts += committed.alerts_fired
        wait = time.time() - deliveries[0].received_at / 1e6 if deliveries and self._live else None
        self._telemetry.committed(seconds=seconds, wait=wait, rows=rows, batch_rows=sum(rows.values()))
        for reject in observations.rejects:
            self._telemetry.rejected(reject.reason)
        for _ in committed.conflicts:
            self._telemetry.rejected(Reason.CONFLICTING_VALUE)
        for transition in verdict.transitions:
            if not transition.shadow:
                self._telemetry.alert(transition.rule_id, transition.event)
        self._telemetry.late("positions", verdict.late_positions)
        self._telemetry.late("readings", verdict.late_readings)
        if thought.batch.until is not None:
            self._telemetry.crowded(verdict.crowded, thought.batch.until)
        if thought.batch.fragments is not None:
            self.open(thought.batch.fragments)
        if self._on_committed is not None:
            self._on_committed(committed)
