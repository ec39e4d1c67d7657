"""The bits of one AIS message, from its armoured payload. Of many at once: ``decoders.armour``."""

from __future__ import annotations

from binascii import a2b_base64
from typing import Final

_BASE64: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
#: Both alphabets write six bits a character (IEC 61162-1, table of 6-bit binary field conversion; RFC 4648, table 1).
_ARMOUR: Final = bytes.maketrans(bytes([*range(48, 88), *range(96, 120)]), _BASE64)
#: 6-bit ASCII (M.1371-5, Annex 8, table 47).
_CHARACTERS: Final = "".join(chr(code + 64 if code < 32 else code) for code in range(64))


class BitString:
    """Bits, the first the highest. Of a field that begins or ends behind the last bit there is what there is.

    Args:
        payload: armour characters alone (0 to W and ` to w), at least one.
        fill: bits of the last character that are no data, 0..5.
    """

    __slots__ = ("_value", "length")

    def __init__(self, payload: bytes, fill: int = 0) -> None:
        groups = -(-len(payload) // 4)
        octets = a2b_base64(payload.translate(_ARMOUR).ljust(4 * groups, b"A"), strict_mode=True)
        self.length: Final = 6 * len(payload) - fill
        self._value: Final = int.from_bytes(octets) >> 24 * groups - self.length

    def unsigned(self, first: int, width: int) -> int:
        """The field of ``width`` bits from bit ``first`` on."""
        there = min(width, self.length - first)
        return self._value >> self.length - first - there & (1 << there) - 1 if there > 0 else 0

    def signed(self, first: int, width: int) -> int:
        """The same in two's complement; all of it has to be there."""
        sign = 1 << width - 1
        return (self.unsigned(first, width) ^ sign) - sign

    def text(self, first: int, width: int) -> str:
        """6-bit ASCII, a character for each 6 of ``width`` bits, all of which have to be there; as it was sent."""
        return "".join(_CHARACTERS[self.unsigned(at, 6)] for at in range(first, first + width, 6))

    def octets(self, first: int, width: int) -> bytes:
        """Eight bits a byte; the last one is filled up with zeros."""
        there = max(0, min(width, self.length - first))
        count = -(-there // 8)
        return (self.unsigned(first, there) << 8 * count - there).to_bytes(count)
