"""NMEA 0183 lines to columns: what ``decoders.nmea`` says of a line, for all lines of a batch at once.

The data's way:

1. The bytes of all blocks become one buffer (``Text``), a line end after each line.
2. ``_lines`` finds the bytes that divide: line end, comma, ``*``, backslash. All that follows is arithmetic on where
   those are; a line is never searched twice.
3. ``_tags`` reads TAG blocks, ``_sentences`` the VDM and VDO sentences behind them: address, numbers, payload, fill
   bits, checksum, what follows it.

Only lines of the *plain* form are read here, and of those exactly what ``decoders.nmea.parse`` reads. Whatever is out
of the ordinary, be it right or wrong, is left to ``parse``, one by one (``Lines.kind`` is ``UNUSUAL``): so there is one
place that refuses, and one that says why. Plain are: no blanks around, at most one TAG block, of parameters with
one-letter codes, ``c`` of at most 16 digits, ``g`` as ``1-2-ID``, and after the checksum nothing, or the fields of the
U.S. Coast Guard's format with a ten-digit epoch. A ``$`` line with a ``!`` in it is not plain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from decoders.nmea import MAX_LINE, MILLISECONDS_FROM

if TYPE_CHECKING:
    from collections.abc import Sequence

    from decoders.block import Block

Ints = NDArray[np.int64]
Words = NDArray[np.uint64]
Flags = NDArray[np.bool_]

#: What a line is.
UNUSUAL, SENTENCE, OTHER, NOTHING = range(4)

#: The time of a sentence that says none.
UNTOLD: Final = int(np.iinfo(np.int64).min)

#: Zeros before and after the text, so that a few bytes either side of any place in it can be read.
PREFIX: Final = 16
SUFFIX: Final = 1024
#: Fields of which keys are made (station, TAG group) are this long at most in a plain line.
KEY_BYTES: Final = 16

_COMMA, _STAR, _LF, _CR, _BACKSLASH, _COLON, _BANG, _DOLLAR = b",*\n\r\\:!$"
_DIGIT, _UPPER, _ALNUM, _WORD, _LETTER = (1 << i for i in range(5))
_HEX_OF: Final = np.full(256, 255, np.uint8)
_CLASS: Final = np.zeros(256, np.uint8)
for _byte in range(128):
    _c = chr(_byte)
    if _c in "0123456789abcdefABCDEF":
        _HEX_OF[_byte] = int(_c, 16)
    _CLASS[_byte] = (
        _DIGIT * _c.isdigit()
        | _UPPER * ("A" <= _c <= "Z")
        | _ALNUM * _c.isalnum()
        | _WORD * (_c.isalnum() or _c == "_")
        | _LETTER * _c.isalpha()
    )

#: ``!``, talker, ``VD``, ``M`` or ``O`` (which differ in one bit), comma, digit: eight bytes, the first the highest.
_HEADER: Final = np.uint64(int.from_bytes(b"!\0\0VDM,\0"))
_HEADER_MASK: Final = np.uint64(int.from_bytes(b"\xff\0\0\xff\xff\xfd\xff\0"))
#: The same without its first character.
_ADDRESS: Final = _HEADER & np.uint64((1 << 56) - 1)
_ADDRESS_MASK: Final = _HEADER_MASK & np.uint64((1 << 56) - 1)

#: The first ``n`` of eight bytes, the first the lowest.
_FIRST_BYTES: Final = np.array([(1 << 8 * n) - 1 for n in range(9)], np.uint64)
_ZEROS: Final = np.uint64(0x3030303030303030)
_SECOND: Final = 1_000_000


class Text:
    """The bytes of a batch, and views of them that read any place at once."""

    def __init__(self, parts: Sequence[bytes]) -> None:
        """Join ``parts``, with a line end after each that has none."""
        ended = [part if part.endswith(b"\n") or not part else part + b"\n" for part in parts]
        size = PREFIX + sum(map(len, ended))
        self.data = b"".join([bytes(PREFIX), *ended, bytes(SUFFIX + -size % 8)])
        self.size = size
        self.bytes: NDArray[np.uint8] = np.frombuffer(self.data, np.uint8)

    def extended(self, more: Sequence[bytes]) -> tuple[Text, Ints]:
        """This text and then ``more`` (without line ends), and where each of those begins."""
        lengths = [len(part) + bool(part) for part in more]
        starts = self.size + np.cumsum([0, *lengths])[:-1]
        return Text([self.data[PREFIX : self.size], *more]), starts

    def chars(self, width: int) -> NDArray[Any]:
        """``width`` bytes from any place on, as one item."""
        return np.ndarray(len(self.data) - width + 1, dtype=f"V{width}", buffer=self.data, strides=(1,))

    def words(self, order: str) -> Words:
        """Eight bytes from any place on; ``order`` is ``<`` for the first the lowest, ``>`` for the highest."""
        return np.ndarray(len(self.data) - 7, dtype=f"{order}u8", buffer=self.data, strides=(1,))


@dataclass(slots=True)
class Sentences:
    """Plain VDM and VDO sentences whose checksum is right, in arrival order: columns of equal length."""

    line: Ints  # index of the line
    address: Ints  # where "AIVDM" begins
    total: Ints
    number: Ints
    channel_end: Ints  # end of the header, before the payload's comma
    payload: Ints  # where it begins
    length: Ints  # of the payload, in characters
    fill: Ints
    time: Ints  # microseconds since the epoch, from the TAG block or else after the checksum; UNTOLD
    station: Ints  # where it begins, and its bytes: of the TAG block, or else after the checksum; 0 bytes is none
    station_length: Ints
    group: Ints  # where TAG parameter g, "1-2-ID", begins, and its bytes; 0 bytes is none
    group_length: Ints
    keyed: Flags  # station and group are short enough to be part of a key, and known

    def take(self, index: Any) -> Sentences:
        """Some of them."""
        return Sentences(*(getattr(self, name)[index] for name in self.__slots__))


@dataclass(slots=True)
class Lines:
    """The lines of a batch: columns of equal length, and the sentences among them."""

    text: Text
    block: Ints  # index of the block the line is of
    start: Ints
    end: Ints  # without the line end and one carriage return before it
    kind: NDArray[np.uint8]  # UNUSUAL, SENTENCE, OTHER (a sentence of no use here) or NOTHING (blank or comment)
    sentences: Sentences

    def raw(self, line: int) -> bytes:
        """A line without its end."""
        return self.text.data[self.start[line] : self.end[line]]


def read(blocks: Sequence[Block]) -> Lines:
    """The lines of all blocks, one after the other."""
    text = Text([block.data for block in blocks])
    start, end, divider, dividers = _lines(text)
    first = text.bytes[start]
    whole = end - start <= MAX_LINE
    if not text.data.isascii():
        whole[np.searchsorted(end, np.flatnonzero(text.bytes > 127))] = False
    kind = np.full(len(start), UNUSUAL, np.uint8)
    kind[whole & ((start == end) | (first == ord("#")))] = NOTHING
    dollar = np.flatnonzero(whole & (first == ord("$")))
    kind[dollar[_others(text, start[dollar], end[dollar])]] = OTHER

    tags = _Tags(text, dividers, len(start))
    bang, at = start.copy(), np.concatenate([[0], divider[:-1] + 1])[: len(start)]
    tags.read(np.flatnonzero(whole & (first == _BACKSLASH)), start, divider, bang, at)
    index = np.flatnonzero(whole & ((first == _BANG) | tags.good))
    good, sentences = _sentences(text, dividers, index, bang[index], at[index], end[index], divider[index], tags)
    kind[index[good]] = SENTENCE
    begins = PREFIX + np.cumsum([0, *(len(b.data) + (not b.data.endswith(b"\n") and bool(b.data)) for b in blocks)])
    counts = np.diff(np.searchsorted(start, begins))
    block = np.repeat(np.arange(len(blocks)), counts)
    return Lines(text, block, start, end, kind, sentences)


def _lines(text: Text) -> tuple[Ints, Ints, Ints, Ints]:
    """Where lines start and end; the index of each line end among the dividers; where dividers are."""
    data = text.bytes
    found = (data == _COMMA) | (data == _STAR) | (data == _LF) | (data == _BACKSLASH)
    dividers = np.flatnonzero(found)
    divider = np.flatnonzero(data[dividers] == _LF)
    end = dividers[divider]
    start = np.concatenate([[PREFIX], end[:-1] + 1])[: len(end)]
    end = end - ((end > start) & (data[end - 1] == _CR))
    # Beyond the last line there are as many more as are ever looked ahead.
    return start, end, divider, np.concatenate([dividers, np.full(16, text.size)])


def _others(text: Text, start: Ints, end: Ints) -> Flags:
    """Whether a line that starts with ``$`` is a sentence of no use: five capitals or digits and a comma follow, and
    nothing that may be a sentence within it.
    """
    data = text.bytes
    good: Flags = (data[start + 6] == _COMMA) & ((text.words(">")[start] & _ADDRESS_MASK) != _ADDRESS)
    for place in range(1, 6):
        good &= (_CLASS[data[start + place]] & (_DIGIT | _UPPER)) != 0
    return good & ~_any_within(np.flatnonzero(data == _BANG), start, end) if len(start) else good


def _any_within(places: Ints, begin: Ints, end: Ints) -> Flags:
    """Whether any of ``places`` (in order) lies from ``begin`` to before ``end``."""
    found: Flags = np.searchsorted(places, begin) < np.searchsorted(places, end)
    return found


class _Tags:
    """What TAG blocks say, by line."""

    def __init__(self, text: Text, dividers: Ints, lines: int) -> None:
        self._text = text
        self._dividers = dividers
        self.good = np.zeros(lines, np.bool_)
        self.time = np.full(lines, UNTOLD, np.int64)
        self.station, self.station_length, self.group, self.group_length = np.zeros((4, lines), np.int64)

    def read(self, lines: Ints, start: Ints, divider: Ints, bang: Ints, at: Ints) -> None:
        """Read the TAG blocks of ``lines``, which start with a backslash.

        Where one is plain and a ``!`` follows, ``good`` is set, ``bang`` is where, and ``at`` is the index of the next
        divider.
        """
        if not len(lines):
            return
        data, dividers = self._text.bytes, self._dividers
        backslashes = np.flatnonzero(data[dividers] == _BACKSLASH)
        backslashes = np.append(backslashes, [len(dividers) - 1] * 2)
        opening = at[lines]
        place = np.searchsorted(backslashes, opening)
        closing, after = backslashes[place + 1], backslashes[place + 2]
        close = dividers[closing]
        star = dividers[closing - 1]
        digits = close - star - 1
        high, low = _HEX_OF[data[star + 1]], _HEX_OF[data[star + 2]]
        given = np.where(digits == 2, high.astype(np.int64) << 4 | low, high)
        good = (closing > opening) & (closing < divider[lines]) & (after > divider[lines])
        good &= (data[star] == _STAR) & (data[close + 1] == _BANG) & (high < 16)
        good &= (digits == 1) | ((digits == 2) & (low < 16))
        good &= given == _checksums(self._text, start[lines] + 1, star)
        lines, opening, closing = lines[good], opening[good], closing[good]
        if not len(lines):
            return
        bad = self._parameters(np.repeat(lines, closing - opening - 1), _runs(opening, closing - opening - 1))
        self.good[lines] = True
        self.good[bad] = False
        lines, closing = lines[self.good[lines]], closing[self.good[lines]]
        bang[lines] = dividers[closing] + 1
        at[lines] = closing + 1

    def _parameters(self, line: Ints, index: Ints) -> Ints:
        """Read the parameters that begin after each divider of ``index``; returns the lines of bad ones."""
        data, dividers = self._text.bytes, self._dividers
        begin, end = dividers[index] + 1, dividers[index + 1]
        last = np.append(line[1:] != line[:-1], True)
        code = data[begin]
        good = ((_CLASS[code] & _LETTER) != 0) & (code != ord("G")) & (end - begin >= 2)
        good &= (data[begin + 1] == _COLON) & (data[end] == np.where(last, _STAR, _COMMA))
        begin += 2
        for wanted, reader in ((ord("c"), self._time), (ord("s"), self._station), (ord("g"), self._group)):
            chosen = np.flatnonzero(code == wanted)
            if len(chosen):
                good[chosen] &= reader(line[chosen], begin[chosen], end[chosen])
        bad: Ints = line[~good]
        return bad

    def _time(self, line: Ints, begin: Ints, end: Ints) -> Flags:
        good, value = _number(self._text, begin, end)
        good &= value < 1_000_000_000_000_000  # as microseconds, milliseconds beyond this would not fit
        unit = np.where(value >= MILLISECONDS_FROM, 1_000, _SECOND)
        self.time[line] = np.where(good, value, 0) * unit
        return good

    def _station(self, line: Ints, begin: Ints, end: Ints) -> Flags:
        self.station[line] = begin
        self.station_length[line] = end - begin
        return np.ones(len(line), np.bool_)

    def _group(self, line: Ints, begin: Ints, end: Ints) -> Flags:
        data = self._text.bytes
        number, total = data[begin].astype(np.int64) - 48, data[begin + 2].astype(np.int64) - 48
        length = end - begin
        good = (number >= 1) & (number <= total) & (total <= 9) & (length >= 5) & (length <= KEY_BYTES)
        good &= (data[begin + 1] == ord("-")) & (data[begin + 3] == ord("-"))
        for place in range(4, KEY_BYTES):
            good &= ((_CLASS[data[begin + place]] & _WORD) != 0) | (place >= length)
        self.group[line] = begin
        self.group_length[line] = length
        return good


def _sentences(
    text: Text, dividers: Ints, line: Ints, bang: Ints, at: Ints, end: Ints, line_end: Ints, tags: _Tags
) -> tuple[Flags, Sentences]:
    """The VDM and VDO sentences at ``bang``; ``at`` is the first divider after it, ``line_end`` that of the line's end.

    Returns:
        Which of those are plain, and these.
    """
    data = text.bytes
    one, two, three, sequence, channel, payload, star = (dividers[at + i] for i in range(7))
    total, number = data[bang + 7].astype(np.int64) - 48, data[bang + 9].astype(np.int64) - 48
    good = (text.words(">")[bang] & _HEADER_MASK) == _HEADER
    good &= ((_CLASS[data[bang + 1]] & _UPPER) != 0) & ((_CLASS[data[bang + 2]] & (_UPPER | _DIGIT)) != 0)
    good &= (one == bang + 6) & (two == bang + 8) & (three == bang + 10)
    for comma in (two, three, sequence, channel, payload):
        good &= data[comma] == _COMMA
    good &= (number >= 1) & (number <= total) & (total <= 9)
    good &= _between(data, three, sequence, _DIGIT) & _between(data, sequence, channel, _ALNUM)
    fill = data[payload + 1].astype(np.int64) - 48
    good &= (star == payload + 2) & (data[star] == _STAR) & (fill >= 0) & (fill <= 5)
    high, low = _HEX_OF[data[star + 1]], _HEX_OF[data[star + 2]]
    good &= (high < 16) & (low < 16) & (star + 3 <= end)
    good &= _checksums(text, bang + 1, star) == high.astype(np.int64) << 4 | low
    time = tags.time[line]
    station, station_length = tags.station[line], tags.station_length[line]
    keyed = (station_length <= KEY_BYTES) & good
    trailing = np.flatnonzero(good & (star + 3 != end))
    if len(trailing):
        _trailers(text, dividers, trailing, at + 7, end, line_end, good, keyed, time, station, station_length)
    found = Sentences(
        line,
        bang + 1,
        total,
        number,
        channel,
        channel + 1,
        payload - channel - 1,
        fill,
        time,
        station,
        station_length,
        tags.group[line],
        tags.group_length[line],
        keyed,
    )
    return good, found if good.all() else found.take(np.flatnonzero(good))


def _trailers(
    text: Text,
    dividers: Ints,
    index: Ints,
    at: Ints,
    end: Ints,
    line_end: Ints,
    good: Flags,
    keyed: Flags,
    time: Ints,
    station: Ints,
    station_length: Ints,
) -> None:
    """Fields after the checksum, of the U.S. Coast Guard's format: stations and such, and the epoch as the last."""
    data = text.bytes
    first, last = dividers[at[index]], dividers[line_end[index] - 1]
    epoch_good, epoch = _number(text, last + 1, end[index])
    plain = (first == dividers[at[index] - 1] + 3) & (data[first] == _COMMA) & (data[last] == _COMMA)
    plain &= epoch_good & (end[index] - last == 11)
    good[index] &= plain
    index, first, last, epoch = index[plain], first[plain], last[plain], epoch[plain]
    time[index] = np.where(time[index] == UNTOLD, epoch * _SECOND, time[index])
    # One station, of a known form, before the epoch: else it takes a closer look to know which it is.
    length = last - first - 1
    known = (line_end[index] == at[index] + 2) & (length >= 2) & (length <= KEY_BYTES)
    known &= (data[first + 1] == ord("b")) | (data[first + 1] == ord("r"))
    for place in range(2, KEY_BYTES + 1):
        known &= ((_CLASS[data[first + place]] & _WORD) != 0) | (place > length)
    if not known.all():
        # What else stands there may be a sentence.
        odd = np.flatnonzero((data == _BANG) | (data == _DOLLAR) | (data == _CR))
        good[index[~known]] &= ~_any_within(odd, first[~known], last[~known])
    untold = station_length[index] == 0
    index, first, length = index[untold], first[untold], length[untold]
    keyed[index] &= known[untold]
    station[index] = first + 1
    station_length[index] = length


def _between(data: NDArray[np.uint8], before: Ints, after: Ints, wanted: int) -> Flags:
    """Whether between two places there are at most two characters, of a class."""
    length = after - before - 1
    one, two = (_CLASS[data[before + i]] & wanted != 0 for i in (1, 2))
    good: Flags = (length == 0) | (one & ((length == 1) | (two & (length == 2))))
    return good


def _runs(first: Ints, length: Ints) -> Ints:
    """``first``, ``first + 1``, ... of each, ``length`` of them."""
    ends = np.cumsum(length)
    out: Ints = np.arange(ends[-1]) + np.repeat(first - ends + length, length)
    return out


def _checksums(text: Text, begin: Ints, end: Ints) -> Ints:
    """The exclusive or of the bytes from ``begin`` to before ``end`` (IEC 61162-1, 7.2.4).

    Eight bytes at a time: what all bytes before ``end`` give, without what those before ``begin`` give.
    """
    words = text.bytes.view("<u8")
    before = np.zeros(len(words) + 1, np.uint64)
    np.bitwise_xor.accumulate(words, out=before[1:])

    def prefix(place: Ints) -> Words:
        word = place >> 3
        out: Words = before[word] ^ (words[word] & _FIRST_BYTES[place & 7])
        return out

    value = prefix(end) ^ prefix(begin)
    for shift in (32, 16, 8):
        value ^= value >> np.uint64(shift)
    return (value & np.uint64(0xFF)).astype(np.int64)


def _number(text: Text, begin: Ints, end: Ints) -> tuple[Flags, Ints]:
    """Decimal numbers of 1 to 16 digits: whether they are, and their values."""
    length = end - begin
    good = (length >= 1) & (length <= 16)
    value = np.zeros(len(begin), np.int64)
    words = text.words("<")
    for low, place in ((8, end - 16), (0, end - 8)):
        digits = np.clip(length - low, 0, 8)
        word = words[np.maximum(place, 0)]
        none = _FIRST_BYTES[8 - digits]
        word = (word & ~none | _ZEROS & none) - _ZEROS
        # A byte that is no digit is now above 9, or has borrowed and is far above.
        high = np.uint64(0x8080808080808080)
        good &= ((word + np.uint64(0x7676767676767676)) | word) & high == 0
        word = word * np.uint64(10) + (word >> np.uint64(8))
        mask = np.uint64(0x000000FF000000FF)
        upper = (word & mask) * np.uint64(100 + (1_000_000 << 32))
        lower = (word >> np.uint64(16) & mask) * np.uint64(1 + (10_000 << 32))
        value = value * 100_000_000 + ((upper + lower) >> np.uint64(32)).astype(np.int64)
    return good, value
