"""Microseconds since 1970-01-01T00:00Z, as the tables of ``decoders.records`` count, to and from other forms."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def moment(microseconds: int) -> datetime:
    """An aware datetime, exactly.

    Raises:
        OverflowError: outside the years 1..9999.
    """
    return EPOCH + timedelta(microseconds=microseconds)


def iso(microseconds: int) -> str:
    """ISO 8601 in UTC, exactly; raises as ``moment``."""
    return moment(microseconds).isoformat()


def microseconds(time: datetime) -> int:
    """The inverse of ``moment``."""
    return (time - EPOCH) // _MICROSECOND
