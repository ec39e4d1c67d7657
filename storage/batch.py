"""One batch, one transaction: what goes in, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    import numpy as np
    from numpy.typing import NDArray

    from alerting.model import Notification, Verdict
    from decoders.block import Block
    from decoders.records import Observations


class Deciding(NamedTuple):
    """A message that decided a change of an alert, as received; columns of ``alert_messages``."""

    alert: UUID
    received_at: int  # of its delivery, microseconds UTC
    message: int  # which of that, from 0
    source: int
    origin: str
    format: str  # key of the decoder that read it
    per_line: bool
    raw: bytes
    size: int


@dataclass(slots=True)
class Batch:
    """Everything one transaction writes."""

    observations: Observations
    verdict: Verdict
    notifications: Sequence[Notification] = ()
    #: The unfinished multi-sentence messages of every source after this batch; None: unchanged since the last one.
    fragments: Sequence[Block] | None = None
    #: The tick that ended it: everything received before has been taken in. None: the latest time within it.
    until: int | None = None
    #: The messages that decided the changes of alerts.
    deciding: Sequence[Deciding] = ()


@dataclass(slots=True)
class Committed:
    """What the database took: per table, whether the row is new (True) or was already there (False), row by row.

    A reading whose key is taken by *another* value went to quarantine: ``conflicts`` holds its index in
    ``observations.readings``, unless the same reading was in quarantine already, which makes it a duplicate.
    """

    positions: NDArray[np.bool_]
    readings: NDArray[np.bool_]
    statics: NDArray[np.bool_]
    receptions: NDArray[np.bool_]
    records: NDArray[np.bool_]
    rejects: NDArray[np.bool_]
    conflicts: list[int] = field(default_factory=list)
    #: Alerts that this transaction fired, changed, ended; a change for each time.
    alerts_fired: int = 0
    alerts_changed: int = 0
    alerts_resolved: int = 0
