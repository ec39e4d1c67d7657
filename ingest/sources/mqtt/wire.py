r"""MQTT 5.0 and 3.1.1 on the wire, as far as a subscriber needs it: bytes in, packets out. No I/O, no clock.

Numbers of sections and normative statements are those of *MQTT Version 5.0* (OASIS Standard, 7 March 2019) unless
3.1.1 is named (*MQTT Version 3.1.1*, OASIS Standard, 29 October 2014).

One deviation, on purpose: a PUBLISH whose topic is no UTF-8, or has a NUL in it, is handed on with the odd bytes
written as ``\xNN`` instead of ending the connection [MQTT-1.5.4-1, MQTT-1.5.4-2]. A broker that let it in would send
it again at each reconnect, and nothing behind it would ever arrive.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from ingest.sources.mqtt.properties import Properties, encode_properties, read_properties, variable_integer
from ingest.sources.mqtt.reasons import (
    MALFORMED_PACKET,
    PACKET_TOO_LARGE,
    PROTOCOL_ERROR,
    TOPIC_ALIAS_INVALID,
    MqttFault,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# Types of control packets, in the high half of the first byte (2.1.2).
_CONNACK: Final = 2
_PUBLISH: Final = 3
_PUBREL: Final = 6
_SUBACK: Final = 9
_PINGRESP: Final = 13
_DISCONNECT: Final = 14
#: What a server sends a client that does not publish, and the flags each must have (2.1.3).
_FLAGS: Final = {_CONNACK: 0, _PUBREL: 2, _SUBACK: 0, _PINGRESP: 0, _DISCONNECT: 0}

PINGREQ: Final = b"\xc0\x00"

# Names of properties that matter here (2.2.2.2).
SESSION_EXPIRY: Final = 0x11
RECEIVE_MAXIMUM: Final = 0x21
SERVER_KEEP_ALIVE: Final = 0x13
REASON_STRING: Final = 0x1F
TOPIC_ALIAS: Final = 0x23

#: The first byte of a PUBLISH of QoS 1 with neither DUP nor RETAIN (3.3.1).
_ORDINARY: Final = 0x32
#: Topics remembered, so that each is decoded once, and the longest that is, in bytes: 1 MB at most.
_REMEMBERED: Final = 4096
_LONGEST: Final = 256

#: Bytes of a PUBLISH beside its payload that are kept for one that is too large: topic, packet id, properties.
_HEAD: Final = 128 * 1024


class Publish(NamedTuple):
    """An application message (3.3). ``size`` is that of its payload on the wire; of one too large, only a beginning is
    in ``payload``.
    """

    topic: str
    payload: bytes
    qos: int
    dup: bool
    retain: bool
    packet_id: int  # 0 at QoS 0
    size: int


class Connack(NamedTuple):
    """The answer to CONNECT (3.2). ``code``: 0 is success."""

    session_present: bool
    code: int
    properties: Properties


class Suback(NamedTuple):
    """The answer to SUBSCRIBE (3.9): for each topic filter the QoS granted, or a reason of 0x80 and above."""

    packet_id: int
    codes: tuple[int, ...]
    reason: str


class Pubrel(NamedTuple):
    """The third step of QoS 2 (3.6)."""

    packet_id: int


class Pingresp(NamedTuple):
    """The answer to PINGREQ (3.13)."""


class Disconnect(NamedTuple):
    """The server ends the connection, and says why (3.14, MQTT 5 only)."""

    code: int
    reason: str


Packet: TypeAlias = Publish | Connack | Suback | Pubrel | Pingresp | Disconnect


class PacketReader:
    """Cuts a stream of bytes from a server into packets, whatever pieces it comes in.

    Memory is bounded by ``max_payload`` and the size of the pieces: a PUBLISH too large for it is never held whole.
    Its beginning is kept and the rest passed over, so that it can be quarantined and acknowledged: refusing it
    (0x95) would have the broker send it again for ever, and announcing a Maximum Packet Size would have the broker
    throw it away in silence [MQTT-3.1.2-25].
    """

    def __init__(self, *, five: bool, max_payload: int) -> None:
        """Begin a connection.

        Args:
            five: MQTT 5; otherwise 3.1.1.
            max_payload: bytes of a payload that must come whole; of larger ones at least one byte more is kept.
        """
        self._five = five  # True counts as the one byte that no properties take
        self._max_payload = max_payload
        self._max_length = max_payload + _HEAD
        self._data = b""  # whole packets from _at on, but for the last
        self._at = 0
        self._tail = bytearray()  # an unfinished packet
        self._need = 0  # bytes it takes before looking at _tail again is worth it
        self._passing = 0  # bytes still to pass over of a packet that is too large
        self._large: Publish | None = None  # that packet
        self._topics: dict[bytes, str] = {}  # as they came, and as they are handed on

    @property
    def held(self) -> int:
        """Bytes kept."""
        return len(self._data) - self._at + len(self._tail)

    def feed(self, data: bytes) -> None:
        """Take in what arrived; ``packets`` brings out what it completes."""
        if self._tail:
            self._tail += data
            if len(self._tail) < self._need:
                return
            data = bytes(self._tail)
            self._tail = bytearray()
        self._data = self._data[self._at :] + data if self._at < len(self._data) else data
        self._at = 0

    def packets(self) -> Iterator[Packet]:  # noqa: C901  # the one loop, kept in one place
        """The packets that have arrived whole. May be left early: what was not taken comes the next time.

        Raises:
            MqttFault: the server does not keep to the standard; the connection must end, and with it this object.
        """
        while not self._tail:
            if self._large is not None:
                over = self._pass_over()
                if over is None:
                    return
                yield over
            data, at = self._data, self._at
            end = len(data)
            if end - at < 2:
                self._keep(2)
                return
            first, length, body = data[at], data[at + 1], at + 2
            if length > 0x7F:
                length, body = _remaining_length(data, at + 1)
                if body > end:
                    self._keep(body - at)
                    return
            stop = body + length
            if length > self._max_length:
                if not self._begin_large(first, length, body):
                    return
            elif stop > end:
                self._expect(first)
                self._keep(stop - at)
                return
            else:
                self._at = stop
                if first >> 4 == _PUBLISH:
                    yield self._publish(first, data, body, stop)
                else:
                    yield self._control(first, data[body:stop])

    def ordinary(self, most: int) -> list[Publish]:
        """Of the packets that ``packets`` would bring out, the first ones as long as they are of the ordinary kind: a
        PUBLISH of QoS 1 that came whole, on a topic that came before. The same to read, in half the time.
        """
        found: list[Publish] = []
        data, at = self._data, self._at
        end = 0 if self._tail or self._large is not None else len(data)
        while len(found) < most and end - at > 3 and data[at] == _ORDINARY:
            length, body = data[at + 1], at + 2
            if length > 0x7F:
                high, body = data[body], at + 3
                if not 0 < high < 0x80:
                    break
                length += (high - 1) << 7
            stop = body + length
            publish = self._ordinary(data, body, stop) if stop <= end and length <= self._max_length else None
            if publish is None:
                break
            found.append(publish)
            at = self._at = stop
        return found

    def _ordinary(self, data: bytes, body: int, stop: int) -> Publish | None:
        """A PUBLISH of QoS 1 on a topic that came before, without properties; None: it is another."""
        at = body + 2 + (data[body] << 8 | data[body + 1]) if stop - body > 2 else stop
        start = at + 2 + self._five
        if start > stop or (self._five and data[start - 1]):
            return None
        topic = self._topics.get(data[body + 2 : at])
        packet_id = data[at] << 8 | data[at + 1]
        if topic is None or not packet_id:
            return None
        return Publish(topic, data[start:stop], 1, False, False, packet_id, stop - start)

    def _publish(self, first: int, data: bytes, body: int, stop: int) -> Publish:
        """PUBLISH (3.3), read where it lies: what carries the load is not copied twice."""
        qos = first >> 1 & 3
        if qos == 3 or (first & 0x08 and not qos):  # [MQTT-3.3.1-4], [MQTT-3.3.1-2]
            raise MqttFault(MALFORMED_PACKET, "a PUBLISH with flags that cannot be")
        at = body + 2
        if at <= stop:
            at += data[body] << 8 | data[body + 1]
        topic = data[body + 2 : at]
        packet_id = 0
        if qos:
            at += 2
        if at + self._five > stop:
            raise MqttFault(MALFORMED_PACKET, "a PUBLISH too short for its topic")
        if qos:
            packet_id = data[at - 2] << 8 | data[at - 1]
            if not packet_id:
                raise MqttFault(PROTOCOL_ERROR, "a PUBLISH with packet id 0")
        if self._five:
            at = at + 1 if not data[at] else _publish_properties(data, at, stop)
        try:
            name = topic.decode()
        except UnicodeDecodeError:
            name = topic.decode(errors="backslashreplace")
        if 0 in topic:
            name = name.replace("\0", "\\x00")
        self._remember(topic, name)
        return Publish(name, data[at:stop], qos, first & 8 != 0, first & 1 != 0, packet_id, stop - at)

    def _remember(self, topic: bytes, name: str) -> None:
        if len(topic) <= _LONGEST:
            if len(self._topics) >= _REMEMBERED:
                self._topics.clear()
            self._topics[topic] = name

    def _expect(self, first: int) -> None:
        """Refuse at its first byte what need not be waited for."""
        kind = first >> 4
        if kind != _PUBLISH and _FLAGS.get(kind) != first & 0xF:
            self._control(first, b"")

    def _keep(self, need: int) -> None:
        """Put an unfinished packet by until it has ``need`` bytes."""
        self._tail = bytearray(self._data[self._at :])
        self._need = need
        self._data, self._at = b"", 0

    # --- what is too large

    def _begin_large(self, first: int, length: int, body: int) -> bool:
        """Keep the beginning of a packet that is too large; False: more of it must arrive first."""
        self._expect(first)
        if first >> 4 != _PUBLISH:
            raise MqttFault(PACKET_TOO_LARGE, f"a packet of {length} bytes that is no PUBLISH")
        if len(self._data) - body < self._max_length:
            self._keep(body - self._at + self._max_length)
            return False
        head = self._data[body : body + self._max_length]
        self._at = body
        self._passing = length
        self._large = self._beginning(first, head, length)
        return True

    def _beginning(self, first: int, head: bytes, length: int) -> Publish:
        topic_end = 2 + (head[0] << 8 | head[1])
        at = topic_end
        qos = first >> 1 & 3
        packet_id = 0
        if qos:
            packet_id = head[at] << 8 | head[at + 1]
            at += 2
        # The same bytes with no payload beyond the bound are an ordinary PUBLISH: read as one.
        properties = b""
        if self._five:
            size, start = variable_integer(head, at, len(head))
            properties_end = start + size
            if properties_end > len(head):  # Properties alone fill it: of the payload, nothing is kept.
                properties_end = len(head)
                properties = b"\0"
            else:
                properties = head[at:properties_end]
            at = properties_end
        payload = head[at : at + self._max_payload + 1]
        short = head[: topic_end + (2 if qos else 0)] + properties + payload
        reader = PacketReader(five=self._five, max_payload=self._max_payload + 1)
        reader.feed(bytes([first]) + encode_length(len(short)) + short)
        (publish,) = reader.packets()
        assert isinstance(publish, Publish)
        return publish._replace(packet_id=packet_id, size=length - at)

    def _pass_over(self) -> Publish | None:
        """Pass over what has come of it; the packet when all has."""
        passed = min(self._passing, len(self._data) - self._at)
        self._at += passed
        self._passing -= passed
        if self._passing:
            return None
        large, self._large = self._large, None
        return large

    # --- the rarer packets

    def _control(self, first: int, body: bytes) -> Packet:
        kind, flags = first >> 4, first & 0xF
        if kind not in _FLAGS:
            raise MqttFault(PROTOCOL_ERROR if kind else MALFORMED_PACKET, f"a packet of type {kind} from a server")
        if flags != _FLAGS[kind]:
            raise MqttFault(MALFORMED_PACKET, f"a packet of type {kind} with flags {flags:#x}")  # [MQTT-2.1.3-1]
        match kind:
            case 2:
                return self._connack(body)
            case 6:
                return self._pubrel(body)
            case 9:
                return self._suback(body)
            case 14:
                return self._disconnect(body)
        if body:
            raise MqttFault(MALFORMED_PACKET, "a PINGRESP with something in it")
        return Pingresp()

    def _connack(self, body: bytes) -> Connack:
        # A server of 3.1.1 answers a CONNECT of MQTT 5 in its own way: without properties.
        if len(body) < 2 or body[0] > 1 or (len(body) > 2 and not self._five):
            raise MqttFault(MALFORMED_PACKET, "a CONNACK of the wrong form")
        properties = _all_properties(body, 2, "CONNACK") if len(body) > 2 else {}
        return Connack(body[0] == 1, body[1], properties)

    def _pubrel(self, body: bytes) -> Pubrel:
        if len(body) < 2 or (len(body) > 2 and not self._five):
            raise MqttFault(MALFORMED_PACKET, "a PUBREL of the wrong form")
        if len(body) > 3:
            _all_properties(body, 3, "PUBREL")
        return Pubrel(_packet_id(body))

    def _suback(self, body: bytes) -> Suback:
        if len(body) < 3:
            raise MqttFault(MALFORMED_PACKET, "a SUBACK too short")
        reason, at = "", 2
        if self._five:
            properties, at = read_properties(body, 2, len(body), "SUBACK")
            reason = str(properties.get(REASON_STRING, ""))
        return Suback(_packet_id(body), tuple(body[at:]), reason)

    def _disconnect(self, body: bytes) -> Disconnect:
        if not self._five:
            raise MqttFault(PROTOCOL_ERROR, "a DISCONNECT from a server of MQTT 3.1.1")
        properties = _all_properties(body, 1, "DISCONNECT") if len(body) > 1 else {}
        return Disconnect(body[0] if body else 0, str(properties.get(REASON_STRING, "")))


def _remaining_length(data: bytes, at: int) -> tuple[int, int]:
    """The remaining length at ``at`` (2.1.4) and where the packet's body begins: past the data if more must come."""
    length = 0
    for index in range(4):
        if at + index == len(data):
            return 0, at + index + 1
        byte = data[at + index]
        length |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            if not byte and index:
                raise MqttFault(MALFORMED_PACKET, "a remaining length in more bytes than it needs")  # [MQTT-1.5.5-1]
            return length, at + index + 1
    raise MqttFault(MALFORMED_PACKET, "a remaining length of more than four bytes")


def _packet_id(body: bytes) -> int:
    number = body[0] << 8 | body[1]
    if not number:
        raise MqttFault(PROTOCOL_ERROR, "a packet id of 0")
    return number


def _all_properties(body: bytes, at: int, packet: str) -> Properties:
    """Properties that must fill the packet to its end."""
    properties, end = read_properties(body, at, len(body), packet)
    if end != len(body):
        raise MqttFault(MALFORMED_PACKET, f"a {packet} with something behind its properties")
    return properties


def _publish_properties(data: bytes, at: int, stop: int) -> int:
    """Pass over the properties of a PUBLISH; where they end."""
    properties, end = read_properties(data, at, stop, "PUBLISH")
    if TOPIC_ALIAS in properties:
        # We announce that we take none (3.1.2.11.5): the topic would have to be remembered.
        raise MqttFault(TOPIC_ALIAS_INVALID, "a topic alias, of which we allow none")
    return end


# --- what we send


def encode_length(value: int) -> bytes:
    """A variable byte integer (1.5.5)."""
    out = bytearray()
    while True:
        value, byte = value >> 7, value & 0x7F
        out.append(byte | 0x80 if value else byte)
        if not value:
            return bytes(out)


def _string(text: str | bytes) -> bytes:
    raw = text.encode() if isinstance(text, str) else text
    return struct.pack("!H", len(raw)) + raw


def connect(
    *,
    five: bool,
    client_id: str,
    clean: bool,
    keepalive: int,
    session_expiry: int,
    receive_maximum: int,
    username: str | None,
    password: str | None,
) -> bytes:
    """CONNECT (3.1), without a will. ``session_expiry`` and ``receive_maximum`` are MQTT 5's.

    No Maximum Packet Size and no Topic Alias Maximum is given: none of the first (see `PacketReader`), 0 of the second.
    """
    flags = (0x02 if clean else 0) | (0x80 if username is not None else 0) | (0x40 if password is not None else 0)
    body = _string("MQTT") + bytes([5 if five else 4, flags]) + struct.pack("!H", keepalive)
    if five:
        body += encode_properties({SESSION_EXPIRY: session_expiry, RECEIVE_MAXIMUM: receive_maximum})
    body += _string(client_id)
    for field in (username, password):
        if field is not None:
            body += _string(field)
    return b"\x10" + encode_length(len(body)) + body


def subscribe(packet_id: int, topics: Sequence[str], *, five: bool) -> bytes:
    """SUBSCRIBE (3.8) at QoS 1.

    Retain Handling 1 (3.8.3.1): retained messages come when a subscription is new, not when a resumed session
    subscribes again. They are wanted after a lost session, where they may be all that is left of what it held.
    """
    body = struct.pack("!H", packet_id) + (encode_properties({}) if five else b"")
    options = 0x11 if five else 0x01
    for topic in topics:
        body += _string(topic) + bytes([options])
    return b"\x82" + encode_length(len(body)) + body


_ACK: Final = struct.Struct("!BBH").pack


def puback(packet_id: int) -> bytes:
    """PUBACK (3.4): success, in the short form that both versions know."""
    return _ACK(0x40, 2, packet_id)


def pubrec(packet_id: int) -> bytes:
    """PUBREC (3.5): success."""
    return _ACK(0x50, 2, packet_id)


def pubcomp(packet_id: int) -> bytes:
    """PUBCOMP (3.7): success."""
    return _ACK(0x70, 2, packet_id)


def disconnect(code: int, *, five: bool) -> bytes:
    """DISCONNECT (3.14); 3.1.1 has no reasons."""
    return b"\xe0\x01" + bytes([code]) if five and code else b"\xe0\x00"
