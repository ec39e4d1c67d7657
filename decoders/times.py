"""Which event times are believed, and how they are written."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from decoders.records import Reason
from decoders.refused import Refused

#: 1970-01-01T00:00Z.
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

#: 2000-01-01T00:00Z in microseconds: no gateway or receiver of ours is older; a clock that was never set often is.
EARLIEST: Final = 946_684_800_000_000

#: The last second that a ``datetime`` and PostgreSQL's text form of a time can both hold: 9999-12-31T23:59:59Z.
LATEST: Final = 253_402_300_799_000_000

#: 2100-01-01T00:00Z: seconds, milliseconds, microseconds and nanoseconds until then cannot be taken for one another.
_PLAUSIBLE_UNTIL: Final = 4_102_444_800_000_000

#: What else a number of a time may be meant in, by its parts of a second.
_UNITS: Final = {"seconds": 1, "microseconds": 1_000_000, "nanoseconds": 1_000_000_000}

_LEAP: Final = re.compile(r"T\d\d:?\d\d:?60", re.ASCII | re.IGNORECASE)

#: How far a live event time may lie ahead of its reception: more than clocks of gateways drift.
MAX_FUTURE_US: Final = 600_000_000

#: How far what a recording says may lie ahead of the clock. A simulation may have been started on a day to come; what
#: lies further ahead is a clock that was wrong, and would make all that follows late for as long.
MAX_AHEAD_US: Final = 366 * 86_400_000_000


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


def iso_time(text: str) -> int | Refused:
    """ISO 8601 with an offset from UTC as microseconds since the epoch, or why it is none."""
    try:
        moment = datetime.fromisoformat(text[:-1] + "Z" if text.endswith("z") else text)  # RFC 3339, 5.6
        if moment.tzinfo is None:
            return Refused(Reason.BAD_TIME, "time without an offset from UTC")
        return microseconds(moment)
    except (ValueError, OverflowError):
        if _LEAP.search(text):
            return Refused(Reason.BAD_TIME, "a leap second, which cannot be told from the second after it")
        return Refused(Reason.BAD_TIME, "time is not ISO-8601")


def epoch_time(value: float, received_at: int, max_future_us: int | None) -> int | Refused:
    """A number of milliseconds since 1970 as microseconds, or why it is not believed.

    A number that is only believable in another unit is refused with that unit's name, and never converted: a guess
    that is right today is silently wrong for the next device.
    """
    time = value * 1000 if isinstance(value, int) else round(min(max(value, -1e18), 1e18) * 1000.0)
    refused = check_time(time, received_at, max_future_us)
    if refused is None:
        return time
    for unit, per_second in _UNITS.items():
        # Whole seconds suffice to tell units apart, and no number overflows.
        seconds = int(min(max(value, -1e20), 1e20)) // per_second
        if EARLIEST <= seconds * 1_000_000 < _PLAUSIBLE_UNTIL:
            return Refused(Reason.TIME_UNIT, f"not milliseconds: as {unit} it would be {to_iso(seconds * 1_000_000)}")
    return refused


def microseconds(moment: datetime) -> int:
    """An aware time as microseconds since the epoch.

    Raises:
        OverflowError: in UTC it lies outside the years 1 to 9999.
    """
    return (moment - EPOCH) // _MICROSECOND


def to_iso(time: int) -> str:
    """RFC 3339 in UTC with as many digits as it takes: ``2026-01-02T03:04:05Z``, ``…05.678Z``."""
    try:
        text = (EPOCH + time * _MICROSECOND).isoformat(timespec="microseconds")
    except OverflowError:
        return f"{time:.3g} us"
    return text[:-6].rstrip("0").rstrip(".") + "Z"
