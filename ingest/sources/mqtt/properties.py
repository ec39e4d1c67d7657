"""The properties of MQTT 5 packets (2.2.2)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, TypeAlias

from ingest.sources.mqtt.reasons import MALFORMED_PACKET, PROTOCOL_ERROR, MqttFault

if TYPE_CHECKING:
    from collections.abc import Mapping

Properties: TypeAlias = dict[int, int | str]

#: Identifier to (type, packets from a server that may carry it), from table 2-4. Types: numbers of 1, 2 or 4 bytes,
#: "v" variable byte integer, "s" string, "b" binary data, "p" string pair.
_TABLE: Final[dict[int, tuple[str, frozenset[str]]]] = {
    identifier: (kind, frozenset(packets.split()))
    for identifier, kind, packets in (
        (0x01, "1", "PUBLISH"),  # Payload Format Indicator
        (0x02, "4", "PUBLISH"),  # Message Expiry Interval
        (0x03, "s", "PUBLISH"),  # Content Type
        (0x08, "s", "PUBLISH"),  # Response Topic
        (0x09, "b", "PUBLISH"),  # Correlation Data
        (0x0B, "v", "PUBLISH"),  # Subscription Identifier
        (0x11, "4", "CONNACK DISCONNECT"),  # Session Expiry Interval
        (0x12, "s", "CONNACK"),  # Assigned Client Identifier
        (0x13, "2", "CONNACK"),  # Server Keep Alive
        (0x15, "s", "CONNACK"),  # Authentication Method
        (0x16, "b", "CONNACK"),  # Authentication Data
        (0x1A, "s", "CONNACK"),  # Response Information
        (0x1C, "s", "CONNACK DISCONNECT"),  # Server Reference
        (0x1F, "s", "CONNACK PUBREL SUBACK DISCONNECT"),  # Reason String
        (0x21, "2", "CONNACK"),  # Receive Maximum
        (0x22, "2", "CONNACK"),  # Topic Alias Maximum
        (0x23, "2", "PUBLISH"),  # Topic Alias
        (0x24, "1", "CONNACK"),  # Maximum QoS
        (0x25, "1", "CONNACK"),  # Retain Available
        (0x26, "p", "PUBLISH CONNACK PUBREL SUBACK DISCONNECT"),  # User Property
        (0x27, "4", "CONNACK"),  # Maximum Packet Size
        (0x28, "1", "CONNACK"),  # Wildcard Subscription Available
        (0x29, "1", "CONNACK"),  # Subscription Identifier Available
        (0x2A, "1", "CONNACK"),  # Shared Subscription Available
    )
}
#: These may be there more than once: one message can match several subscriptions (3.3.2.3.8).
_REPEATABLE: Final = frozenset({0x0B, 0x26})


def read_properties(data: bytes, at: int, stop: int, packet: str) -> tuple[Properties, int]:
    """The properties at ``at`` of a packet that ends at ``stop``, and where they end.

    Numbers and strings are kept (user properties and binary data are not).

    Raises:
        MqttFault: they run past ``stop``, or are not what a ``packet`` may carry.
    """
    size, at = variable_integer(data, at, stop)
    end = at + size
    if end > stop:
        raise _malformed(packet)
    out: Properties = {}
    while at < end:
        identifier, at = variable_integer(data, at, end)
        kind, packets = _TABLE.get(identifier, ("", frozenset()))
        if packet not in packets:
            raise MqttFault(MALFORMED_PACKET, f"a {packet} with property {identifier:#04x}")
        if identifier in out and identifier not in _REPEATABLE:
            raise MqttFault(PROTOCOL_ERROR, f"a {packet} with property {identifier:#04x} twice")
        match kind:
            case "1" | "2" | "4":
                after = at + int(kind)
                value: int | str = int.from_bytes(data[at:after])
            case "v":
                value, after = variable_integer(data, at, end)
            case "p":
                after = _skip(data, _skip(data, at, end), end)
                value = ""
            case _:
                after = _skip(data, at, end)
                # Text for a log line: what is wrong with it is of no consequence.
                value = data[at + 2 : after].decode(errors="backslashreplace") if kind == "s" else ""
        if after > end:
            raise _malformed(packet)
        out[identifier] = value
        at = after
    return out, end


def _malformed(packet: str) -> MqttFault:
    return MqttFault(MALFORMED_PACKET, f"a {packet} whose properties are cut off")


def _skip(data: bytes, at: int, end: int) -> int:
    """Where the string or binary data at ``at`` ends: past ``end`` if it is cut off."""
    if at + 2 > end:
        return end + 1
    return at + 2 + (data[at] << 8 | data[at + 1])


def variable_integer(data: bytes, at: int, end: int) -> tuple[int, int]:
    """A variable byte integer (1.5.5), and where it ends.

    Raises:
        MqttFault: it has no end within four bytes, or before ``end``.
    """
    value = 0
    for index in range(4):
        if at + index >= end:
            break
        byte = data[at + index]
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value, at + index + 1
    raise MqttFault(MALFORMED_PACKET, "a variable byte integer without an end")


def encode_properties(properties: Mapping[int, int]) -> bytes:
    """Numeric properties with their length in front."""
    body = b""
    for identifier, value in properties.items():
        body += bytes([identifier]) + struct.pack({"2": "!H", "4": "!I"}[_TABLE[identifier][0]], value)
    assert len(body) < 0x80
    return bytes([len(body)]) + body
