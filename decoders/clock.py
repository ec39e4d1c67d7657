"""The clock of a recorded log: what time it was when each line was received.

A line that says it (TAG block ``c:``, a receiver's epoch after the checksum) sets the clock. Otherwise the UTC
second that AIS position reports carry (ITU-R M.1371-5, "time stamp", 0..59) moves it on within the minute, so a
log without times gets them in a way that is the same at every replay.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from decoders.nmea import checksum

if TYPE_CHECKING:
    from collections.abc import Sequence

_TAG_TIME = re.compile(rb"^\\((?:[^\\*]*,)?c:(\d{9,13})(?:[.,][^\\*]*)?)\*([0-9A-Fa-f]{1,2})\\")
_TRAILING_EPOCH = re.compile(rb"\*[0-9A-Fa-f]{2}(?:,[^,\s]*)*?,(\d{12,13}|\d{9,10})(?:\.\d{1,9})?\s*$")
#: Characters from the asterisk on that a line with an epoch has more than: two digits, a comma, nine digits.
_LEAST_TRAILING = len("*00,") + 8
_PAYLOAD = re.compile(rb"!..VD[MO],1,1,[^,]*,[^,]*,([0-W`-w]{24,}),")

#: First bit of the 6-bit time stamp field, by message type (ITU-R M.1371-5, tables 48, 61, 67, 70, 75).
_SECOND_BIT = {1: 137, 2: 137, 3: 137, 9: 128, 18: 133, 19: 133, 21: 253}

_SECOND = 1_000_000
_MINUTE = 60 * _SECOND
#: A step back of up to this much within the minute is a sentence out of order, not nearly a minute of silence.
_OUT_OF_ORDER = 20 * _SECOND


def absolute_time(line: bytes) -> int | None:
    """Microseconds since the epoch that a line of a log says of its own reception, or None.

    Times are in seconds or, with 12 or more digits, milliseconds (NMEA 0183 v4.10, 7.9.1). A TAG block
    with a wrong checksum says nothing: a digit too many is centuries.
    """
    if line.startswith(b"\\"):
        found = _TAG_TIME.match(line)
        if found and checksum(found[1]) == int(found[3], 16):
            return _epoch(found[2])
    star = line.find(b"*")
    if star < 0 or len(line) - star <= _LEAST_TRAILING:
        return None
    found = _TRAILING_EPOCH.search(line)
    return _epoch(found[1]) if found else None


def _epoch(digits: bytes) -> int:
    return int(digits) * (1000 if len(digits) >= 12 else _SECOND)


def utc_second(line: bytes) -> int | None:
    """The UTC second (0..59) that the AIS position report in a single-sentence line carries, or None."""
    found = _PAYLOAD.search(line)
    if not found:
        return None
    payload = found[1]
    first = _SECOND_BIT.get(_six_bits(payload[0]))
    if first is None or first + 6 > 6 * len(payload):
        return None
    at, shift = divmod(first, 6)
    value = _six_bits(payload[at]) << 6
    if at + 1 < len(payload):
        value |= _six_bits(payload[at + 1])
    second = value >> (6 - shift) & 0x3F
    return second if second < 60 else None


def _six_bits(char: int) -> int:
    """Payload armouring (IEC 61162-1): 48..87 are 0..39, 96..119 are 40..63."""
    return char - 48 if char < 96 else char - 56


class LogClock:
    """Gives each line of a log the time it was received; the clock never runs backwards."""

    def __init__(self, start: int, latest: int | None = None) -> None:
        """A clock at the head of a log.

        Args:
            start: microseconds since the epoch at the first line.
            latest: a line that claims a later time than this is not believed, and does not move the clock.
        """
        self.now = start
        self._latest = latest

    def line(self, line: bytes) -> int:
        """The time of the next line of the log, microseconds since the epoch."""
        said = absolute_time(line)
        if said is not None:
            if self._latest is None or said <= self._latest:
                self.now = max(self.now, said)
            return self.now
        second = utc_second(line)
        if second is not None:
            ahead = (second * _SECOND - self.now) % _MINUTE
            if ahead <= _MINUTE - _OUT_OF_ORDER:
                self.now += ahead
        return self.now


def times_until(lines: Sequence[bytes], end: int) -> list[int]:
    """When each line of a log was received that says no times and was written to its end by ``end``.

    All are in microseconds since the epoch. The last is at most a minute earlier than ``end``: at the UTC second that
    it carries.
    """
    first = next((second for second in map(utc_second, lines) if second is not None), None)
    if first is None:
        return [end] * len(lines)
    clock = LogClock(first * _SECOND, latest=0)
    times = [clock.line(line) for line in lines]
    start = (end - clock.now) // _MINUTE * _MINUTE
    return [start + time for time in times]
