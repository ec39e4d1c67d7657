"""The clock of a recorded log: what time it was when each line was received.

A line that says it (TAG block ``c:``, a receiver's epoch after the checksum) sets the clock. Otherwise the UTC
second that AIS position reports carry (ITU-R M.1371-5, "time stamp", 0..59) moves it on within the minute, so a
log without times gets them in a way that is the same at every replay.

What a line says is defined line by line (``absolute_time``, ``utc_second``); ``said`` finds it for many lines at once.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from decoders import armour, nmea_columns
from decoders.block import Block
from decoders.nmea import MILLISECONDS_FROM, checksum
from decoders.nmea_columns import OTHER, PREFIX, UNTOLD

if TYPE_CHECKING:
    from collections.abc import Sequence

    from decoders.nmea_columns import Ints, Lines

_TAG_TIME = re.compile(rb"^\\((?:[^\\*]*,)?c:(\d{1,16})(?:[.,][^\\*]*)?)\*([0-9A-Fa-f]{1,2})\\")
_TRAILING_EPOCH = re.compile(rb"\*[0-9A-Fa-f]{2}(?:,[^,\s]*)*?,(\d{12,13}|\d{9,10})(?:\.\d{1,9})?\s*$")
#: Characters from the asterisk on that a line with an epoch has more than: two digits, a comma, nine digits.
_LEAST_TRAILING = len("*00,") + 8
_PAYLOAD = re.compile(rb"!..VD[MO],1,1,[^,]*,[^,]*,([0-W`-w]{24,}),")

#: First bit of the 6-bit time stamp field, by message type (ITU-R M.1371-5, tables 48, 61, 67, 70, 75).
_SECOND_BIT = {1: 137, 2: 137, 3: 137, 9: 128, 18: 133, 19: 133, 21: 253}

_SECOND_BITS: Final = np.array([_SECOND_BIT.get(msg_type, 0) for msg_type in range(64)], np.int64)
_EVERY_SECOND_BIT: Final = sorted(set(_SECOND_BIT.values()))
#: Characters of a payload in which a second is looked for; of longer ones line by line.
_LEAST_PAYLOAD: Final = 24
_MOST_PAYLOAD: Final = 72
#: Beyond all times that a line is believed.
_LATEST: Final = 2**62

_SECOND = 1_000_000
_MINUTE = 60 * _SECOND
#: A step back of up to this much within the minute is a sentence out of order, not nearly a minute of silence.
_OUT_OF_ORDER = 20 * _SECOND


def absolute_time(line: bytes) -> int | None:
    """Microseconds since the epoch that a line of a log says of its own reception, or None.

    Times are in seconds or, where that would be thousands of years from now, milliseconds (NMEA 0183 v4.10, 7.9.1). A
    TAG block with a wrong checksum says nothing: a digit too many is centuries.
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
    value = int(digits)
    return min(value * (1000 if value >= MILLISECONDS_FROM else _SECOND), _LATEST)


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


class Said(NamedTuple):
    """What the lines of a text say of when they were received: columns of equal length."""

    start: Ints  # where each line begins
    time: Ints  # microseconds since the epoch; UNTOLD
    second: Ints  # of the UTC minute, where no time is said; -1 for none


def said(text: bytes) -> Said:
    """What ``absolute_time`` and ``utc_second`` say of every line of a text."""
    lines = nmea_columns.read([Block(text, 0, "", 0, 0, per_line=True)])
    found, data = lines.sentences, lines.text.bytes
    time = np.full(len(lines.start), UNTOLD, np.int64)
    second = np.full(len(lines.start), -1, np.int64)
    # Sentences tell all here, but those of more characters than are read at once; others, if nothing follows their
    # checksum, tell nothing.
    known = (lines.kind == OTHER) & (data[lines.end - 3] == ord("*"))
    known[found.line[found.length <= _MOST_PAYLOAD]] = True
    time[found.line] = found.time
    single = (found.time == UNTOLD) & (found.total == 1)
    index = np.flatnonzero(single & (found.length >= _LEAST_PAYLOAD) & (found.length <= _MOST_PAYLOAD))
    if len(index):
        second[found.line[index]] = _seconds(lines, index)
    for at in np.flatnonzero(~known).tolist():
        line = lines.raw(at)
        told, moved = absolute_time(line), utc_second(line)
        time[at] = UNTOLD if told is None else told
        second[at] = -1 if told is not None or moved is None else moved
    return Said(lines.start - PREFIX, time, second)


def _seconds(lines: Lines, index: Ints) -> Ints:
    """``utc_second`` of single sentences; -1 for none."""
    found, none = lines.sentences, np.zeros(len(index), np.int64)
    length = found.length[index]
    words, good = armour.read(lines.text, found.payload[index], length, _MOST_PAYLOAD, none, none)
    bits = armour.Bits(words, 6 * length)
    first = _SECOND_BITS[bits.integers(0, 6)]
    out = np.full(len(index), -1, np.int64)
    for bit in _EVERY_SECOND_BIT:
        chosen = np.flatnonzero(good & (first == bit) & (bits.length >= bit + 6))
        value = bits.take(chosen).integers(bit, 6)
        out[chosen] = np.where(value < 60, value, -1)
    return out


class LogClock:
    """Gives each line of a log the time it was received; the clock never runs backwards."""

    def __init__(self, start: int, latest: int | None = None) -> None:
        """A clock at the head of a log.

        Args:
            start: microseconds since the epoch at the first line.
            latest: a line that claims a later time than this is not believed, and does not move the clock.
        """
        self.now = start
        self._latest = _LATEST if latest is None else latest

    def line(self, line: bytes) -> int:
        """The time of the next line of the log, microseconds since the epoch."""
        told = absolute_time(line)
        if told is not None:
            self._told(told)
        elif (second := utc_second(line)) is not None:
            self._moved(second)
        return self.now

    def lines(self, said: Said) -> Ints:
        """The times of the next lines of the log."""
        told = (said.time != UNTOLD) & (said.time <= self._latest)
        moved = np.flatnonzero(said.second >= 0)
        if not len(moved):
            times: Ints = np.maximum.accumulate(np.where(told, said.time, self.now).clip(min=self.now))
            self.now = int(times[-1]) if len(times) else self.now
            return times
        steps = np.flatnonzero(told | (said.second >= 0))
        times = np.full(len(said.time), self.now, np.int64)
        for at, time, second in zip(
            steps.tolist(), said.time[steps].tolist(), said.second[steps].tolist(), strict=True
        ):
            if second < 0:
                self._told(time)
            else:
                self._moved(second)
            times[at] = self.now
        return np.maximum.accumulate(times)

    def _told(self, time: int) -> None:
        if time <= self._latest:
            self.now = max(self.now, time)

    def _moved(self, second: int) -> None:
        ahead = (second * _SECOND - self.now) % _MINUTE
        if ahead <= _MINUTE - _OUT_OF_ORDER:
            self.now += ahead


def times_until(parts: Sequence[Said], end: int) -> list[Ints]:
    """When the lines of a log were received that says no times and was written to its end by ``end``.

    All are in microseconds since the epoch. The last is at most a minute earlier than ``end``: at the UTC second that
    it carries.
    """
    seconds = (part.second[part.second >= 0] for part in parts)
    first = next((int(of[0]) for of in seconds if len(of)), None)
    if first is None:
        return [np.full(len(part.time), end, np.int64) for part in parts]
    clock = LogClock(first * _SECOND, latest=0)
    times = [clock.lines(part) for part in parts]
    start = (end - clock.now) // _MINUTE * _MINUTE
    return [start + of for of in times]
