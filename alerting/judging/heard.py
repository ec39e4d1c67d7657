"""One batch as the parts of the engine look at it: what came, which of it is news, and until when it is judged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from alerting.judging.outcome import Outcome
    from alerting.judging.series import Judged
    from alerting.model import RuleState
    from decoders.records import Observations
    from geofence.tracks import Advance


@dataclass(slots=True, frozen=True)
class Heard:
    """``readings`` and ``merged`` say which rows of the observations are news; the rest came too late to be judged.

    ``advance``: the same as ``merged``, with two vessels under one identity kept apart (``geofence.apart``).
    """

    observations: Observations
    readings: Judged
    advance: Advance
    merged: Advance
    now: int  # the tick that ends the batch, microseconds


class Part(Protocol):
    """What judges by one sort of rules. What it keeps between batches is its own, and told as rule states."""

    def take_up(self, state: RuleState) -> bool:
        """Go on with what was under way before a restart; False if it is not of this part, or nobody watches it now."""

    def judge(self, heard: Heard, out: Outcome) -> None:
        """Judge rows in arrival order, then what is due."""
