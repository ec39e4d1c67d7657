"""MQTT bytes to packets: whatever the pieces they come in, and whatever the bytes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from ingest.sources.mqtt import wire
from ingest.sources.mqtt.properties import variable_integer
from ingest.sources.mqtt.reasons import MqttFault, words
from ingest.sources.mqtt.wire import PacketReader, Publish
from tests.servers import mqtt_packets as sent

if TYPE_CHECKING:
    from collections.abc import Sequence

LIMIT = 300
#: What a reader may hold beside a payload of LIMIT bytes, and the chunks that tests feed.
HEAD = 128 * 1024


def read(data: bytes, *, five: bool = True, cuts: Sequence[int] = (), most: int = 0) -> list[wire.Packet]:
    """All packets of a stream that comes in pieces; ordinary ones first where there are any, up to ``most`` of them."""
    reader = PacketReader(five=five, max_payload=LIMIT)
    out: list[wire.Packet] = []
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for start, stop in pairwise(edges):
        reader.feed(data[start:stop])
        while (packet := next(reader.packets(), None)) is not None:
            out += [packet, *reader.ordinary(most)]
    assert reader.held == 0
    return out


def paho_properties(values: dict[str, Any]) -> bytes:
    """Properties of a PUBLISH as paho writes them, with their length."""
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    for name, value in values.items():
        setattr(properties, name, value)
    packed: bytes = properties.pack()  # type: ignore[no-untyped-call]
    return packed


@dataclass
class Case:
    raw: bytes
    packet: wire.Packet


names = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=40)
payloads = st.one_of(st.binary(max_size=LIMIT), st.binary(min_size=120, max_size=140))
publish_properties = st.fixed_dictionaries(
    {},
    optional={
        "PayloadFormatIndicator": st.integers(0, 1),
        "MessageExpiryInterval": st.integers(0, 2**32 - 1),
        "ContentType": names,
        "ResponseTopic": names,
        "CorrelationData": st.binary(max_size=200),
        "SubscriptionIdentifier": st.integers(1, 268_435_455),
        "UserProperty": st.lists(st.tuples(names, names), min_size=1, max_size=3),
    },
)


@st.composite
def publishes(draw: st.DrawFn, five: bool) -> Case:
    topic, payload, qos = draw(names), draw(payloads), draw(st.integers(0, 2))
    dup, retain = bool(qos) and draw(st.booleans()), draw(st.booleans())
    packet_id = draw(st.integers(1, 65_535)) if qos else 0
    raw = sent.packet(
        0x30 | dup << 3 | qos << 1 | retain,
        sent.text(topic),
        sent.two(packet_id) if qos else b"",
        paho_properties(draw(publish_properties)) if five else b"",
        payload,
    )
    return Case(raw, Publish(topic, payload, qos, dup, retain, packet_id, len(payload)))


@st.composite
def others(draw: st.DrawFn, five: bool) -> Case:
    packet_id = draw(st.integers(1, 65_535))
    codes = tuple(draw(st.lists(st.sampled_from([0, 1, 2, 0x80, 0x87]), min_size=1, max_size=5)))
    code = draw(st.integers(0, 255))
    cases = [
        Case(sent.suback(packet_id, codes, five=five), wire.Suback(packet_id, codes, "")),
        Case(sent.pubrel(packet_id), wire.Pubrel(packet_id)),
        Case(sent.pingresp(), wire.Pingresp()),
        Case(sent.connack(code, present=True, five=five), wire.Connack(session_present=True, code=code, properties={})),
    ]
    if five:
        reason = draw(names)
        cases += [
            Case(sent.disconnect(code, sent.reason_string(reason)), wire.Disconnect(code, reason)),
            Case(sent.suback(packet_id, codes, sent.reason_string(reason)), wire.Suback(packet_id, codes, reason)),
        ]
    return draw(st.sampled_from(cases))


streams = st.booleans().flatmap(
    lambda five: st.tuples(st.just(five), st.lists(st.one_of(publishes(five), others(five)), max_size=8))
)


@given(streams, st.lists(st.integers(0, 5_000), max_size=12))
def test_any_split_of_the_stream_gives_the_same_packets(stream: tuple[bool, list[Case]], cuts: list[int]) -> None:
    five, cases = stream
    data = b"".join(case.raw for case in cases)
    assert read(data, five=five, cuts=cuts) == [case.packet for case in cases]


@given(streams, st.lists(st.integers(0, 5_000), max_size=12), st.integers(1, 9))
def test_ordinary_packets_are_read_in_a_quicker_way_to_the_same_end(
    stream: tuple[bool, list[Case]], cuts: list[int], most: int
) -> None:
    five, cases = stream
    data = 2 * b"".join(case.raw for case in cases)  # a topic that came before is an ordinary one
    assert read(data, five=five, cuts=cuts, most=most) == 2 * [case.packet for case in cases]


@given(streams)
def test_byte_by_byte_is_a_split_too(stream: tuple[bool, list[Case]]) -> None:
    five, cases = stream
    data = b"".join(case.raw for case in cases)
    assert read(data, five=five, cuts=range(len(data))) == [case.packet for case in cases]


@given(streams, st.integers(1, 3))
def test_what_was_not_taken_out_comes_the_next_time(stream: tuple[bool, list[Case]], at_once: int) -> None:
    five, cases = stream
    reader = PacketReader(five=five, max_payload=LIMIT)
    out: list[wire.Packet] = []
    for case in cases:
        reader.feed(case.raw)
        out += islice(reader.packets(), at_once)
    while reader.held:
        out += islice(reader.packets(), at_once)
    assert out == [case.packet for case in cases]


def drain(reader: PacketReader) -> tuple[list[wire.Packet], MqttFault | None]:
    """What comes out, and the fault that ends it, if one does."""
    out: list[wire.Packet] = []
    try:
        out.extend(reader.packets())
    except MqttFault as fault:
        return out, fault
    return out, None


@given(st.booleans(), st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=6))
def test_any_bytes_give_packets_or_a_typed_fault_within_bounds(five: bool, data: bytes, cuts: list[int]) -> None:
    reader = PacketReader(five=five, max_payload=LIMIT)
    packets: list[wire.Packet] = []
    for start, stop in pairwise([0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]):
        reader.feed(data[start:stop])
        came, fault = drain(reader)
        packets += came
        assert reader.held <= len(data)
        if fault is not None:
            assert fault.code in (0x81, 0x82, 0x94, 0x95)
            assert "\n" not in str(fault)
            break
    assert len(packets) <= len(data) // 2


@given(streams, st.data())
def test_a_damaged_stream_gives_packets_or_a_typed_fault(stream: tuple[bool, list[Case]], data: st.DataObject) -> None:
    five, cases = stream
    raw = bytearray(b"".join(case.raw for case in cases))
    for _ in range(data.draw(st.integers(1, 4))):
        if raw:
            raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    reader = PacketReader(five=five, max_payload=LIMIT)
    reader.feed(bytes(raw))
    packets, fault = drain(reader)
    assert fault is None or words(fault.code) in str(fault)
    assert all(len(p.payload) <= p.size for p in packets if isinstance(p, Publish))


@given(st.integers(0, 268_435_455))
def test_lengths_are_written_as_they_are_read(value: int) -> None:
    assert wire.encode_length(value) == sent.number(value)
    assert variable_integer(sent.number(value), 0, 4) == (value, len(sent.number(value)))


@pytest.mark.parametrize("five", [True, False])
@pytest.mark.parametrize("size", [HEAD + LIMIT + 1, 3_000_000])
@pytest.mark.parametrize("piece", [1_000, 70_000, 5_000_000])
def test_of_a_payload_too_large_only_a_beginning_is_held_and_the_next_packet_is_whole(
    five: bool, size: int, piece: int
) -> None:
    payload = bytes(n % 251 for n in range(1_000)) * (size // 1_000 + 1)
    payload = payload[:size]
    props = [b"\x26" + sent.text("k") + sent.text("v")] if five else []
    data = sent.publish("a/b", payload, 7, *props, five=five) + sent.publish("a/b", b"next", 8, five=five)
    reader = PacketReader(five=five, max_payload=LIMIT)
    out: list[wire.Packet] = []
    for start in range(0, len(data), piece):
        reader.feed(data[start : start + piece])
        out += reader.packets()
        assert reader.held <= HEAD + LIMIT + 10 + piece
    large, after = out
    assert isinstance(large, Publish)
    assert large == Publish("a/b", payload[: LIMIT + 1], 1, dup=False, retain=False, packet_id=7, size=size)
    assert after == Publish("a/b", b"next", 1, dup=False, retain=False, packet_id=8, size=4)


def test_a_packet_too_large_whose_properties_fill_it_can_still_be_acked() -> None:
    prop = b"\x26" + sent.text("k" * 60_000) + sent.text("v" * 60_000)
    (large,) = read(sent.publish("t", b"x", 9, prop, prop))
    assert isinstance(large, Publish)
    assert (large.topic, large.packet_id, large.payload) == ("t", 9, b"")
    assert large.size > LIMIT


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"\x00\x00", 0x81),  # a reserved type
        (b"\xf0\x00", 0x82),  # AUTH, which nobody asked for
        (b"\x10\x00", 0x82),  # CONNECT from a server
        (b"\x82\x05\0\x01\0\0\0", 0x82),  # SUBSCRIBE from a server
        (b"\x40\x02\0\x01", 0x82),  # PUBACK for what we never sent
        (b"\xd1\x00", 0x81),  # PINGRESP with flags
        (b"\xd0\x01\0", 0x81),  # PINGRESP with something in it
        (b"\x60\x02\0\x01", 0x81),  # PUBREL without its flags
        (b"\x62\x02\0\0", 0x82),  # PUBREL of packet id 0
        (b"\x36\x05\0\x01t\0\x01", 0x81),  # QoS 3
        (b"\x38\x04\0\x01t\0", 0x81),  # DUP at QoS 0
        (b"\x32\x06\0\x01t\0\0\0", 0x82),  # packet id 0
        (b"\x32\x03\0\x01t", 0x81),  # no packet id
        (b"\x30\x02\0\x09", 0x81),  # a topic longer than the packet
        (b"\x30\x00", 0x81),
        (b"\x30\x80\x00", 0x81),  # a length in more bytes than it needs
        (b"\x30\xff\xff\xff\xff", 0x81),  # a length without an end
        (b"\x20\xff\xff\xff\x7f", 0x95),  # a CONNACK of 256 MB
        (b"\x30\x07\0\x01t\x03\x23\0\x01", 0x94),  # a topic alias
        (b"\x30\x06\0\x01t\x02\x7f\0", 0x81),  # a property that is none
        (b"\x30\x08\0\x01t\x04\x01\0\x01\0", 0x82),  # a property twice
        (b"\x30\x05\0\x01t\x05\x01", 0x81),  # properties longer than the packet
    ],
)
def test_what_a_server_may_not_send_is_a_fault_with_its_reason(raw: bytes, code: int) -> None:
    reader = PacketReader(five=True, max_payload=LIMIT)
    reader.feed(sent.publish("t", b"sound", 1) + raw)
    packets = reader.packets()
    assert isinstance(next(packets), Publish)
    with pytest.raises(MqttFault) as caught:
        list(packets)
    assert caught.value.code == code


@pytest.mark.parametrize("first", [0x00, 0xF0, 0x10, 0xD1, 0x60])
def test_what_will_be_a_fault_is_not_waited_for(first: int) -> None:
    reader = PacketReader(five=True, max_payload=LIMIT)
    reader.feed(bytes([first, 0x50]))
    with pytest.raises(MqttFault):
        list(reader.packets())


def test_a_topic_that_is_no_text_is_handed_on_with_its_bytes_shown() -> None:
    (odd, nul) = read(sent.publish(b"a/\xff\xed\xa0\x80/b", b"1", 1) + sent.publish(b"a/\0", b"2", 2))
    assert isinstance(odd, Publish)
    assert isinstance(nul, Publish)
    assert odd.topic == "a/\\xff\\xed\\xa0\\x80/b"
    assert nul.topic == "a/\\x00"


def test_a_broker_of_3_1_1_refuses_version_5_in_its_own_way() -> None:
    (answer,) = read(b"\x20\x02\0\x01")
    assert isinstance(answer, wire.Connack)
    assert words(answer.code) == "unsupported protocol version"
