"""What a broker writes and reads, byte by byte: written for the tests, and independent of the code they test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncio import StreamReader
    from collections.abc import Sequence

CONNECT, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBSCRIBE, PINGREQ, DISCONNECT = 1, 4, 5, 6, 7, 8, 12, 14


def number(value: int) -> bytes:
    """A variable byte integer: seven bits a byte, the lowest first."""
    if value < 128:
        return bytes([value])
    return bytes([128 + value % 128]) + number(value // 128)


def packet(first: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return bytes([first]) + number(len(body)) + body


def two(value: int) -> bytes:
    return value.to_bytes(2, "big")


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return two(len(raw)) + raw


def properties(*parts: bytes, five: bool = True) -> bytes:
    """The property part of a packet: nothing at all in 3.1.1."""
    body = b"".join(parts)
    return number(len(body)) + body if five else b""


def connack(code: int = 0, *props: bytes, present: bool = False, five: bool = True) -> bytes:
    return packet(0x20, bytes([present, code]), properties(*props, five=five))


def suback(packet_id: int, codes: Sequence[int], *props: bytes, five: bool = True) -> bytes:
    return packet(0x90, two(packet_id), properties(*props, five=five), bytes(codes))


def publish(
    topic: str | bytes,
    payload: bytes,
    packet_id: int = 0,
    *props: bytes,
    qos: int = 1,
    dup: bool = False,
    retain: bool = False,
    five: bool = True,
) -> bytes:
    return packet(
        0x30 | dup << 3 | qos << 1 | retain,
        text(topic),
        two(packet_id) if qos else b"",
        properties(*props, five=five),
        payload,
    )


def pubrel(packet_id: int) -> bytes:
    return packet(0x62, two(packet_id))


def pingresp() -> bytes:
    return packet(0xD0)


def disconnect(code: int, *props: bytes) -> bytes:
    return packet(0xE0, bytes([code]), properties(*props))


def reason_string(value: str) -> bytes:
    return b"\x1f" + text(value)


@dataclass(frozen=True, slots=True)
class Packet:
    """What a client sent: its type, the flags of its first byte, and the rest."""

    kind: int
    flags: int
    body: bytes

    @property
    def packet_id(self) -> int:
        return int.from_bytes(self.body[:2], "big")


async def read_packet(reader: StreamReader) -> Packet:
    """The next packet of a client.

    Raises:
        asyncio.IncompleteReadError: there is none any more.
    """
    first = (await reader.readexactly(1))[0]
    length, place = 0, 1
    while True:
        byte = (await reader.readexactly(1))[0]
        length += byte % 128 * place
        place *= 128
        if byte < 128:
            return Packet(first >> 4, first & 15, await reader.readexactly(length))
