"""Reason codes in words (MQTT 5.0, 2.4 and 3.2.2.2; 3.1.1, table 3.1), and faults that carry one."""

from __future__ import annotations

from typing import Final

NORMAL: Final = 0x00
MALFORMED_PACKET: Final = 0x81
PROTOCOL_ERROR: Final = 0x82
SESSION_TAKEN_OVER: Final = 0x8E
TOPIC_ALIAS_INVALID: Final = 0x94
PACKET_TOO_LARGE: Final = 0x95
_WORDS: Final = {
    0x00: "normal disconnection",
    0x80: "unspecified error",
    0x81: "malformed packet",
    0x82: "protocol error",
    0x83: "implementation specific error",
    0x84: "unsupported protocol version",
    0x85: "client identifier not valid",
    0x86: "bad user name or password",
    0x87: "not authorized",
    0x88: "server unavailable",
    0x89: "server busy",
    0x8A: "banned",
    0x8B: "server shutting down",
    0x8C: "bad authentication method",
    0x8D: "keep alive timeout",
    0x8E: "session taken over",
    0x8F: "topic filter invalid",
    0x90: "topic name invalid",
    0x91: "packet identifier in use",
    0x93: "receive maximum exceeded",
    0x94: "topic alias invalid",
    0x95: "packet too large",
    0x96: "message rate too high",
    0x97: "quota exceeded",
    0x98: "administrative action",
    0x99: "payload format invalid",
    0x9A: "retain not supported",
    0x9B: "QoS not supported",
    0x9C: "use another server",
    0x9D: "server moved",
    0x9E: "shared subscriptions not supported",
    0x9F: "connection rate exceeded",
    0xA0: "maximum connect time",
    0xA1: "subscription identifiers not supported",
    0xA2: "wildcard subscriptions not supported",
}
#: Return codes of CONNACK in MQTT 3.1.1 (3.2.2.3), as the reason codes that mean the same.
_OLD: Final = {1: 0x84, 2: 0x85, 3: 0x88, 4: 0x86, 5: 0x87}


class MqttFault(Exception):  # noqa: N818  # the standard's word would be "error" for both sides' faults
    """The server breaks the protocol; ``code`` is the reason to disconnect with, the text says what was found."""

    def __init__(self, code: int, found: str) -> None:
        super().__init__(f"{words(code)}: the broker sent {found}")
        self.code = code


def words(code: int, detail: str = "") -> str:
    """A reason code as text, with what the server adds to it."""
    code = _OLD.get(code, code)
    text = _WORDS.get(code, f"reason code {code:#04x}")
    return f"{text} ({' '.join(detail.split())})" if detail else text
