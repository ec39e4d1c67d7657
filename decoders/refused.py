"""The outcome of a step of decoding that did not work: a value, not an exception, since bad input is everyday."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from decoders.records import Reason


@dataclass(slots=True, frozen=True)
class Refused:
    """Why a line, a message or a part of one cannot be taken."""

    reason: Reason
    detail: str  # one line for a person
