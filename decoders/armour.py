"""Armoured AIS payloads to bits, many at once.

The data's way: the characters of a payload (6 bits each) are taken from wherever they lie in a text, eight to a
64-bit integer, and squeezed to 48 bits. A message is then a few such *words*, its first bit the highest of the first
word; any field is a shift and a mask away, and characters beyond the end are 0. Words of many messages are kept
word by word (one row per word, one column per message), so that a field of all is one pass over memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from decoders.nmea_columns import Flags, Ints, Text, Words

WORD_BITS: Final = 48
_WORD_CHARS: Final = 8

#: What six bits each character stands for (IEC 61162-1, table of 6-bit binary field conversion); 128 for none.
_SIX: Final = bytes(
    c - 48 if 48 <= c < 88 else c - 56 if 96 <= c < 120 else 128  # 0 to W and ` to w
    for c in range(256)
)
_ALL: Final = 0xFFFFFFFFFFFFFFFF
_BAD: Final = np.uint64(0x8080808080808080)

_U: Final = np.uint64


@dataclass(slots=True)
class Bits:
    """The bits of many messages."""

    words: Words  # (words, messages)
    length: Ints  # bits of each message

    def take(self, index: Ints) -> Bits:
        """Some of the messages."""
        return Bits(self.words[:, index], self.length[index])

    def since(self, first: int, without: int = 0) -> Bits:
        """From bit ``first`` on, without as many at the end: messages of their own."""
        count = max(1, -(-(WORD_BITS * len(self.words) - first) // WORD_BITS))
        words = np.stack([self.unsigned(first + WORD_BITS * place, WORD_BITS) for place in range(count)])
        return Bits(words, self.length - first - without)

    def last(self, width: int) -> Ints:
        """The last ``width`` (1..48) bits of each message."""
        word, offset = np.divmod(self.length - width, WORD_BITS)
        both = np.vstack([self.words, np.zeros_like(self.words[:1])])
        high, low = (np.take_along_axis(both, (word + i)[None], axis=0)[0] for i in range(2))
        # The bits of two words that begin with the first asked for: as many of the one as are not before it.
        value = high << offset.astype(_U) | low >> (WORD_BITS - offset).astype(_U)
        out: Ints = (value >> _U(WORD_BITS - width) & _U((1 << width) - 1)).view(np.int64)
        return out

    def unsigned(self, first: int, width: int) -> Words:
        """The field of ``width`` (1..48) bits from bit ``first`` on; without meaning beyond ``length``."""
        word, offset = divmod(first, WORD_BITS)
        if word >= len(self.words):
            return np.zeros(self.words.shape[1], _U)
        over = offset + width - WORD_BITS
        value: Words
        if over <= 0:
            value = self.words[word] >> _U(-over) & _U((1 << width) - 1)
            return value
        value = (self.words[word] & _U((1 << (width - over)) - 1)) << _U(over)
        if word + 1 < len(self.words):
            value |= self.words[word + 1] >> _U(WORD_BITS - over)
        return value

    def integers(self, first: int, width: int) -> Ints:
        """The same, as signed integers of the same value."""
        return self.unsigned(first, width).view(np.int64)

    def signed(self, first: int, width: int) -> Ints:
        """The same in two's complement."""
        sign = 1 << (width - 1)
        return (self.integers(first, width) ^ sign) - sign

    def text(self, first: int, width: int) -> NDArray[np.bytes_]:
        """6-bit ASCII (M.1371-5, Annex 8, table 47), one character for each 6 of ``width`` bits, as it was sent."""
        out = np.empty((self.words.shape[1], -(-width // WORD_BITS)), ">u8")
        for place in range(out.shape[1]):
            value = self.unsigned(first + WORD_BITS * place, WORD_BITS)
            # 48 bits to eight bytes of six: in two, in four, in eight.
            value = (value & _U(0xFFFFFF000000)) << _U(8) | value & _U(0xFFFFFF)
            value = (value & _U(0x00FFF00000FFF000)) << _U(4) | value & _U(0x00000FFF00000FFF)
            value = (value & _U(0x0FC00FC00FC00FC0)) << _U(2) | value & _U(0x003F003F003F003F)
            # Codes below 32 are the characters from 64 on.
            out[:, place] = value | (~value & _U(0x2020202020202020)) << _U(1)
        return np.ascontiguousarray(out.view(np.uint8)[:, : width // 6]).view(f"S{width // 6}")[:, 0]

    def data(self, first: int, width: int) -> list[bytes]:
        """Up to ``width`` bits from ``first``, a multiple of 8, to the end; the last byte filled up with zeros."""
        octets = self.words.T.astype(">u8", order="C").view(np.uint8)
        octets = octets.reshape(len(self.length), -1, 8)[:, :, 2:].reshape(len(self.length), -1)
        whole = octets.tobytes()
        row_bytes = octets.shape[1]
        out = []
        for row, bits in enumerate(np.minimum(self.length, first + width).tolist()):
            begin, end = row * row_bytes + first // 8, row * row_bytes + bits // 8
            part = whole[begin:end]
            if bits % 8 and bits > first:
                part += bytes([whole[end] & 0xFF00 >> bits % 8])
            out.append(part)
        return out


def read(text: Text, start: Ints, length: Ints, width: int, more: Ints, more_length: Ints) -> tuple[Words, Flags]:
    """The words of payloads of at most ``width`` characters, fill bits included, and which are made of armour alone.

    Args:
        text: where they lie.
        start: of each payload.
        length: its characters.
        width: a multiple of 8.
        more: where it is continued, if ``more_length`` is not 0.
        more_length: characters of that, which ``length`` includes.
    """
    chars = text.chars(width)[start]
    joined = np.flatnonzero(more_length)
    if len(joined):
        matrix = chars.view(np.uint8).reshape(-1, width)
        split = (length - more_length)[joined]
        rest = text.chars(width)[more[joined]].view(np.uint8).reshape(-1, width)
        for at in np.unique(split).tolist():
            chosen = np.flatnonzero(split == at)
            matrix[joined[chosen], at:] = rest[chosen, : width - at]
    sixes = np.frombuffer(chars.tobytes().translate(_SIX), ">u8").reshape(-1, width // _WORD_CHARS)
    value = sixes.astype(_U) & _masks(width)[length]
    good: Flags = np.bitwise_or.reduce(value & _BAD, axis=1) == 0
    value = (value & _U(0x3F003F003F003F00)) >> _U(2) | value & _U(0x003F003F003F003F)
    value = (value & _U(0x0FFF00000FFF0000)) >> _U(4) | value & _U(0x00000FFF00000FFF)
    value = (value & _U(0x00FFFFFF00000000)) >> _U(8) | value & _U(0x0000000000FFFFFF)
    return np.ascontiguousarray(value.T), good


def _masks(width: int) -> Words:
    """For each number of characters, which of ``width`` there are, as bytes of big-endian words."""
    found = _MASKS.get(width)
    if found is None:
        there = np.arange(width) < np.arange(width + 1)[:, None]
        found = _MASKS[width] = (there * np.uint8(255)).view(">u8").astype(_U)
    return found


_MASKS: Final[dict[int, Words]] = {}
