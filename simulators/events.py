"""What a simulation says, in the order it says it: bytes for a wire, or a line of ground truth.

A simulation is a pure iterator of events, each at an instant in microseconds UTC; drivers (``simulators.drive``)
do the waiting and the sending. The same seed and start give the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

SECOND: Final = 1_000_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(slots=True, frozen=True)
class Sentences:
    """One AIS message as one receiver puts it out: a line, or all lines of a multi-sentence message, with CR LF."""

    time: int
    receiver: str
    data: bytes


@dataclass(slots=True, frozen=True)
class Publish:
    """One MQTT publish, QoS 1, by one gateway."""

    time: int
    gateway: str
    topic: str
    payload: bytes


@dataclass(slots=True, frozen=True)
class Truth:
    """One line of ground truth. ``time`` is when a perfect observer of the wire could know; the instant at which it
    became true is ``fields["time"]``.
    """

    time: int
    fields: Mapping[str, Any] = field(default_factory=dict)


class BadConfig(ValueError):  # noqa: N818  # named for what is known
    """Something asked of a simulation that it cannot be: one line for a person."""


Event = Sentences | Publish | Truth


def iso(time: int) -> str:
    """An instant as ISO 8601 in UTC with milliseconds, cut, not rounded: ``2026-01-02T03:04:05.678Z``."""
    at = _EPOCH + timedelta(microseconds=time)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{time // 1000 % 1000:03d}Z"


def utc(time: int) -> datetime:
    """An instant as an aware ``datetime``."""
    return _EPOCH + timedelta(microseconds=time)
