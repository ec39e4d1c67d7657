"""Which event times are believed, and how they are written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from decoders.records import Reason
from decoders.refused import Refused

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

#: 2000-01-01T00:00Z in microseconds: no gateway or receiver of ours is older; a clock that was never set often is.
EARLIEST: Final = 946_684_800_000_000

#: The last second that a ``datetime`` and PostgreSQL's text form of a time can both hold: 9999-12-31T23:59:59Z.
LATEST: Final = 253_402_300_799_000_000

#: How far a live event time may lie ahead of its reception: more than clocks of gateways drift.
MAX_FUTURE_US: Final = 600_000_000


def check_time(time: int, received_at: int, max_future_us: int | None) -> Refused | None:
    """Why an event time is not believed, or None.

    Args:
        time: microseconds since the epoch.
        received_at: likewise.
        max_future_us: how far ``time`` may lie ahead; None where ``received_at`` is no real clock.
    """
    if time < EARLIEST:
        return Refused(Reason.TIME_TOO_OLD, f"{to_iso(time)} is before {to_iso(EARLIEST)}")
    if time > LATEST:
        return Refused(Reason.TIME_IN_FUTURE, f"{to_iso(time)} is after the year 9999")
    if max_future_us is not None and time > received_at + max_future_us:
        return Refused(Reason.TIME_IN_FUTURE, f"{to_iso(time)} is {(time - received_at) / 1e6:.0f} s ahead")
    return None


def microseconds(moment: datetime) -> int:
    """An aware time as microseconds since the epoch.

    Raises:
        OverflowError: in UTC it lies outside the years 1 to 9999.
    """
    return (moment - _EPOCH) // _MICROSECOND


def to_iso(time: int) -> str:
    """RFC 3339 in UTC with as many digits as it takes: ``2026-01-02T03:04:05Z``, ``…05.678Z``."""
    try:
        text = (_EPOCH + time * _MICROSECOND).isoformat(timespec="microseconds")
    except OverflowError:
        return f"{time:.3g} us"
    return text[:-6].rstrip("0").rstrip(".") + "Z"
