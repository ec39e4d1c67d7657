"""Batches read in columns say exactly what reading them line by line says, whatever the lines and the cuts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyais.encode import encode_dict

from decoders import armour, nmea_columns
from decoders.ais import Transmission, decode
from decoders.assembler import CAP
from decoders.identity import ais_digest, ais_digests
from decoders.nmea import Sentence, parse
from decoders.nmea_columns import NOTHING, OTHER, SENTENCE, UNTOLD, UNUSUAL, Text
from decoders.nmea_decoder import NmeaDecoder
from tests.decoders.support import NOW, block, checksum, logs, sentence

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from decoders.block import Block
    from decoders.records import Observations

SECOND = 1_000_000
ARMOUR = [chr(c) for c in (*range(48, 88), *range(96, 120))]
NEVER = 1 << 60


def said(found: Observations) -> dict[str, Any]:
    """Everything in observations, in a form that tells 1 from 1.0 and from True."""
    out: dict[str, Any] = {}
    for name in ("positions", "statics", "readings", "receptions"):
        rows = getattr(found, name)
        out[name] = [repr(row) for row in rows.tolist()]
    out["records"] = [repr(record._replace(said=record.fields)) for record in found.records]
    for name in ("messages", "rejects", "joined", "pending", "repeated", "released"):
        out[name] = repr(getattr(found, name))
    return out


class Both:
    """A decoder that reads in columns and one that reads line by line, given the same."""

    def __init__(self, **options: Any) -> None:
        self.columns = NmeaDecoder(**options, columns_from=0)
        self.lines = NmeaDecoder(**options, columns_from=NEVER)

    def decode(self, blocks: Sequence[Block]) -> Observations:
        found, expected = self.columns.decode(blocks), self.lines.decode(blocks)
        assert said(found) == said(expected)
        assert self.columns.lines == self.lines.lines
        assert self.columns.ignored == self.lines.ignored
        assert self.columns.pending() == self.lines.pending()
        return found

    def expire(self, now: int) -> None:
        assert said(self.columns.expire(now)) == said(self.lines.expire(now))

    def flush(self) -> None:
        assert said(self.columns.flush()) == said(self.lines.flush())


@pytest.mark.parametrize("path", logs())
@pytest.mark.parametrize("trusted", [True, False])
@pytest.mark.parametrize("ignored", [True, False])
def test_logs_say_the_same_either_way(path: Path, trusted: bool, ignored: bool) -> None:
    data = path.read_bytes()
    for size in (7, 200, 100_000):
        both = Both(trusted=trusted, keep_ignored=ignored, max_future_us=None)
        lines = data.split(b"\n")
        for at in range(0, len(lines), size):
            both.decode([block(b"\n".join(lines[at : at + size]), line=at + 1, received_at=NOW + at * 1000)])
        both.flush()


@pytest.mark.parametrize("path", logs())
def test_what_the_columns_read_of_a_line_is_what_the_parser_reads(path: Path) -> None:
    lines = nmea_columns.read([block(path.read_bytes())])
    _same_lines(lines)
    (of_vdm,) = np.nonzero(lines.kind == SENTENCE)
    assert len(of_vdm) > 0


def _same_lines(lines: nmea_columns.Lines) -> None:
    found = lines.sentences
    at = {line: index for index, line in enumerate(found.line.tolist())}
    data = lines.text.data
    for line, kind in enumerate(lines.kind.tolist()):
        expected = parse(lines.raw(line))
        if kind == SENTENCE:
            i = at[line]
            assert isinstance(expected, Sentence)
            header = f"{expected.talker}{expected.formatter},{expected.total},{expected.number},"
            header += f"{expected.sequence},{expected.channel}"
            assert data[found.address[i] : found.channel_end[i]] == header.encode()
            assert (found.total[i], found.number[i], found.fill[i]) == (expected.total, expected.number, expected.fill)
            assert data[found.payload[i] : found.payload[i] + found.length[i]] == expected.payload
            time = next((t for t in (expected.tag.time, expected.time) if t is not None), UNTOLD)
            assert found.time[i] == time
            if found.keyed[i]:
                station = data[found.station[i] : found.station[i] + found.station_length[i]].decode()
                assert station == expected.tag.station or expected.station
            group = expected.tag.group
            text = data[found.group[i] : found.group[i] + found.group_length[i]].decode()
            assert text == (f"{group.number}-{group.total}-{group.id}" if group else "")
        elif kind != UNUSUAL:
            assert type(expected).__name__ == "Ignored"
            assert (kind == OTHER) == (getattr(expected, "kind", None) == "sentence")
            assert (kind == NOTHING) == (getattr(expected, "kind", None) in ("blank", "comment"))


# --- sentences of every kind, right and wrong


@st.composite
def encoded(draw: st.DrawFn) -> list[tuple[bytes, int]]:
    """A message of any type with any values, as (payload, fill) of each sentence; now and then of an odd length."""
    msg_type = draw(st.integers(0, 30))
    bits = draw(st.sampled_from([168, 168, 168, 424, 424, 160, 96, 312, 272, 330, 72, 88, 1008, 1040]))
    bits += draw(st.sampled_from([0, 0, 0, 0, -1, -2, -6, 1, 3, 6, 50]))
    mmsi = draw(st.sampled_from([574123456, 574123457, 111574001, 2320061, 985740001, 992320061, 0, 10**9, 1]))
    low = draw(st.integers(0, 2 ** max(bits - 38, 0) - 1))
    shape = draw(st.sampled_from(["any", "any", "sound", "none", "zeros", "ones"]))
    value = {"zeros": 0, "ones": 2 ** max(bits - 38, 0) - 1}.get(shape, low)
    text = f"{msg_type:06b}{draw(st.integers(0, 3)):02b}{mmsi:030b}" + (f"{value:0{bits - 38}b}" if bits > 38 else "")
    if shape in ("sound", "none") and (places := _LONGITUDE.get(msg_type)):
        text = _placed(draw, text, places, nowhere=shape == "none")
    fill = -len(text) % 6
    text += "".join(draw(st.lists(st.sampled_from("01"), min_size=fill, max_size=fill)))
    payload = bytes(c + 48 if c < 40 else c + 56 for c in (int(text[i : i + 6], 2) for i in range(0, len(text), 6)))
    if len(payload) <= 60 or draw(st.integers(0, 5)) == 0:
        return [(payload, fill)]
    cut = draw(st.sampled_from([60, 59, 56, 30, 60, len(payload)]))
    return [(payload[:cut], 0), (payload[cut:], fill)]


#: First bit and width of the longitude, by type; the latitude follows, a bit shorter.
_LONGITUDE = {
    **dict.fromkeys((1, 2, 3, 9), (61, 28)),
    **dict.fromkeys((18, 19), (57, 28)),
    **dict.fromkeys((4, 11), (79, 28)),
    21: (164, 28),
    27: (44, 18),
    17: (40, 18),
}


def _placed(draw: st.DrawFn, text: str, place: tuple[int, int], *, nowhere: bool) -> str:
    first, width = place
    unit = 600_000 if width == 28 else 600
    lon, lat = draw(st.floats(-180, 180)), draw(st.floats(-90, 90))
    if nowhere:
        lon, lat = draw(st.sampled_from([(181.0, 91.0), (181.0, lat), (lon, 91.0)]))
    for value, size in ((lon, width), (lat, width - 1)):
        text = text[:first] + f"{round(value * unit) & (1 << size) - 1:0{size}b}" + text[first + size :]
        first += size
    return text


_STATION = st.sampled_from(["", "", "a", "b", "rHUE", "a-station-with-a-name-of-some-length"])
_TIME = st.sampled_from(
    (
        "",
        "",
        "1418169601",
        "1418169602",
        "1418169700",
        "1767323045",
        "1767323046123",
        "1418169601.5",
        "5",
        "99999999999",
        "9999999999999999",
        "946684799",
        "12a",
        "1767400000",
        "00000000001418169601",
    )
)
_OTHER_PARAMETER = st.sampled_from(
    ["", "", "n:12", "q:u", "T:2014-12-10 00.32.41", "x", "1G2:34", "G:1G2:34", "d:", "s:", "xy:1"]
)


@st.composite
def tags(draw: st.DrawFn, number: int = 1, total: int = 1) -> str:
    group = draw(st.sampled_from(["", "", "", "7", "8", "12345", "a_b", "a-b", "id_of_more_than_twelve"]))
    form = draw(st.sampled_from(["{}-{}-{}"] * 6 + ["{}-0{}-{}", "{}{}{}", "0-{}-{}"]))
    station, time = draw(_STATION), draw(_TIME)
    parameters = [
        f"g:{form.format(number, total, group)}" if group else "",
        f"s:{station}" if station else "",
        f"c:{time}" if time else "",
        draw(_OTHER_PARAMETER),
    ]
    return ",".join(one for one in draw(st.permutations(parameters)) if one)


_TRAILER = st.sampled_from(
    (
        "",
        "",
        "",
        "",
        "",
        ",b003669794,1272412827",
        ",rHUE,1272412828",
        ",d-119,S1234,rHUE,1272412827",
        ",1272412827",
        ",x,1272412827",
        " ",
        "0",
        ",b003669794,127241282",
        ",b003669794,12724128270",
        ",*00,1272412827",
        ",b0036697940123456789,1272412827",
        ",a!b,1272412827",
        ",b003669794,$x,1272412827",
        ",rHUE,1272412827.25",
        ",rHUE,1272412827123",
    )
)


@st.composite
def lines_of_a_message(draw: st.DrawFn) -> list[bytes]:
    """The sentences of a message, mostly right."""
    parts = draw(encoded())
    total = len(parts)
    tagged = draw(st.integers(0, 2)) == 0
    sequence = draw(st.sampled_from(["0", "1", "2", "", "12"])) if total > 1 else draw(st.sampled_from(["", "", "3"]))
    channel = draw(st.sampled_from(["A", "B", "", "1"]))
    talker = draw(st.sampled_from(["AIVDM"] * 6 + ["AIVDO", "BSVDM", "B2VDM", "aivdm", "AIABM", "2AVDM"]))
    trailer = draw(_TRAILER)
    return [
        sentence(
            payload,
            fill,
            total=total,
            number=number,
            sequence=sequence,
            channel=channel,
            talker=talker,
            tag=draw(tags(number, total)) if tagged else "",
            trailer=trailer,
        )
        for number, (payload, fill) in enumerate(parts, start=1)
    ]


@st.composite
def mutated(draw: st.DrawFn, lines: st.SearchStrategy[list[bytes]]) -> list[bytes]:  # noqa: C901
    """Lines as they are, or with something done to them."""
    out = []
    for line in draw(lines):
        match draw(st.integers(0, 24)):
            case 0:  # a byte changed, its checksum wrong or (with a fresh one) right
                at = draw(st.integers(0, len(line) - 1))
                changed = line[:at] + bytes([draw(st.integers(0, 255))]) + line[at + 1 :]
                star, begin = changed.rfind(b"*"), changed.rfind(b"!")
                if draw(st.booleans()) and 0 <= begin < star:
                    changed = changed[: star + 1] + b"%02X" % checksum(changed[begin + 1 : star]) + changed[star + 3 :]
                out.append(changed)
            case 1:
                out.append(line[: draw(st.integers(0, len(line)))])
            case 2:
                out.append(line + draw(st.sampled_from([b"\r", b" ", b"\r\r", b"\t\r", b"\0"])))
            case 3:
                out.append(draw(st.sampled_from([b" ", b"\t", b"\\s:x*0B\\", b"\\s:x*B\\", b"\0", b"x"])) + line)
            case 4:
                head, _, rest = line.rpartition(b"*")
                out.append(head + b"*" + rest.lower())
            case 5:
                out.append(line + draw(st.sampled_from([b"," + b"x" * 900, b"," + b"x" * 1100])))
            case 6:
                pass  # lost
            case 7:
                out += [line, line]
            case 8:  # the line end lost, or a blank or a lone CR instead of it
                out.append(line + draw(st.sampled_from([b"", b" ", b"\r"])) + line)
            case _:
                out.append(line)
    return out


def _pghp(second: int, check: str) -> bytes:
    body = f"PGHP,1,2026,1,2,3,4,{second},10,338,2,,1,{check}".encode()
    return b"$" + body + b"*%02X" % checksum(body)


_JUNK = st.one_of(
    st.sampled_from(
        [b"", b"\r", b"# x", b"# \xff", b"$GPGGA,1*00", b"$GPGGA", b"$PASHR,1", b"$AIVDM,1", b"!AIVDM,1,1,,A,x,0*00"]
    )
    | st.sampled_from(
        [_pghp(5, ""), _pghp(6, "2F"), b"$GPVDM,", b"$gpgga,", b"$GPGG\xff,", b"\\", b"\\\\", b"\\*00\\", b"\\c:1*6A\\"]
    )
    | st.sampled_from(
        [
            b"$PSTT,10A",
            b"$PRWIZCH,00",
            b"$GPTXT,01,a!",
            b"$GPGGA,1*00!AIVDM,1,1,,A,,0*26",
            b"!AIVDM,1,1,,A,,0*26",
            b"!AIVDM,1,1,,,,0*67",
            b"!",
            b"$",
            b"!AIVDM",
        ]
    ),
    st.binary(max_size=40).map(lambda b: b.replace(b"\n", b"")),
)


@st.composite
def streams(draw: st.DrawFn) -> list[tuple[bytes, int, str, int]]:
    """(line, source, origin, received_at): messages whose sentences interleave."""
    waiting: list[list[bytes]] = []
    out = []
    now = NOW
    messages = draw(st.lists(mutated(lines_of_a_message()) | st.lists(_JUNK, max_size=2), max_size=14))
    together = draw(st.integers(1, 3))
    while messages or waiting:
        while messages and len(waiting) < together:
            waiting.append(messages.pop())
        chosen = draw(st.integers(0, len(waiting) - 1))
        if not waiting[chosen]:
            waiting.pop(chosen)
            continue
        now += draw(st.sampled_from([0, 0, 0, 0, SECOND, 10 * SECOND, 31 * SECOND]))
        source = draw(st.sampled_from([1, 1, 1, 1, 2]))
        origin = draw(st.sampled_from(["a", "a", "a", "b"]))
        out.append((waiting[chosen].pop(0), source, origin, now))
    return out


@settings(max_examples=400)
@given(streams(), st.data())
def test_any_stream_in_any_batches_says_the_same_either_way(
    stream: list[tuple[bytes, int, str, int]], data: st.DataObject
) -> None:
    both = Both(
        trusted=data.draw(st.booleans()),
        keep_ignored=data.draw(st.booleans()),
        cap=data.draw(st.sampled_from([1, 2, 3, CAP])),
        max_future_us=data.draw(st.sampled_from([None, 600 * SECOND])),
        default_time=data.draw(st.sampled_from([None, 0])),
    )
    at = 0
    while at < len(stream):
        size = data.draw(st.integers(1, 20))
        blocks: list[Block] = []
        first = 0
        per_line = data.draw(st.booleans())
        for line, source, origin, received_at in stream[at : at + size]:
            ended = line + (b"\n" if data.draw(st.integers(0, 4)) else b"")
            one = block(ended, first=first, source=source, origin=origin, received_at=received_at, line=at + first + 1)
            one = one._replace(per_line=per_line)
            last = blocks[-1] if blocks else None
            if last and last._replace(data=b"", first=0, line=0) == one._replace(data=b"", first=0, line=0):
                joined = (last.data if last.data[-1:] == b"\n" else last.data + b"\n") + one.data
                blocks[-1] = last._replace(data=joined)
            else:
                blocks.append(one)
            first = blocks[-1].first + blocks[-1].messages
        at += size
        both.decode(blocks)
        if data.draw(st.integers(0, 5)) == 0:
            both.expire(stream[min(at, len(stream)) - 1][3])
    both.flush()


@given(st.lists(mutated(lines_of_a_message()) | st.lists(_JUNK, max_size=3), max_size=10))
def test_any_line_is_read_as_the_parser_reads_it_or_left_to_it(messages: list[list[bytes]]) -> None:
    _same_lines(nmea_columns.read([block([line for lines in messages for line in lines])]))


def test_times_that_fall_within_a_batch_change_nothing() -> None:
    first, second = (
        sentence(b"5" + b"0" * 59, total=2, number=1, sequence="1"),
        sentence(b"0" * 11, 2, total=2, number=2, sequence="1"),
    )
    blocks = [block([first], received_at=NOW), block([first], first=1, received_at=NOW - 40 * SECOND)]
    blocks += [block([second], first=2, received_at=NOW)]
    Both().decode(blocks)


_PAYLOADS = st.lists(
    st.tuples(st.text(ARMOUR, min_size=1, max_size=168).map(str.encode), st.integers(0, 5)), min_size=1, max_size=9
)


@given(_PAYLOADS)
def test_bits_and_digests_of_columns_are_those_of_one(payloads: list[tuple[bytes, int]]) -> None:
    text = Text([payload for payload, _ in payloads])
    length = np.array([len(payload) for payload, _ in payloads])
    start = nmea_columns.PREFIX + np.cumsum([0, *(length + 1)])[:-1]
    fill = np.array([fill for _, fill in payloads])
    none = np.zeros(len(payloads), np.int64)
    words, armoured = armour.read(text, start, length, 168, none, none)
    assert armoured.all()
    bits = armour.Bits(words, 6 * length - fill)
    digests = ais_digests(words, length, fill)
    for index, (payload, count) in enumerate(payloads):
        sixes = "".join(f"{c - 48 if c < 88 else c - 56:06b}" for c in payload).ljust(1008, "0")
        assert digests[index] == ais_digest(
            [int(sixes[i : i + 48], 2) for i in range(0, 1008, 48)], len(payload), count
        )
        for first, width in ((0, 6), (8, 30), (38, 1), (40, 48), (93, 27), (120, 17), (960, 48)):
            assert bits.unsigned(first, width)[index] == int(sixes[first : first + width], 2)
            value = int(sixes[first : first + width], 2)
            assert bits.signed(first, width)[index] == value - (value >> (width - 1) << width)


@given(st.lists(st.tuples(st.text(ARMOUR, max_size=40), st.integers(0, 5)), unique=True, max_size=50))
def test_unlike_transmissions_have_unlike_digests(payloads: list[tuple[str, int]]) -> None:
    digests = set()
    for payload, fill in payloads:
        value = [ord(c) - 48 if ord(c) < 88 else ord(c) - 56 for c in payload]
        value += [0] * (-len(value) % 8)
        words = [sum(six << 42 - 6 * i for i, six in enumerate(value[at : at + 8])) for at in range(0, len(value), 8)]
        digests.add(ais_digest(words, len(payload), fill))
    assert len(digests) == len(payloads)


@pytest.mark.parametrize("place", range(0, 168, 7))
def test_each_bit_of_a_transmission_changes_about_half_of_its_digest(place: int) -> None:
    random = np.random.default_rng(place)
    words = random.integers(0, 1 << 48, (4, 500), np.uint64)
    words[3] &= np.uint64(0xFFFFFF000000)
    length, fill = np.full(500, 28), np.zeros(500, np.int64)
    other = words.copy()
    other[place // 48] ^= np.uint64(1 << 47 - place % 48)
    changed = np.bitwise_count(ais_digests(words, length, fill) ^ ais_digests(other, length, fill))
    assert 30 < changed.mean() < 34
    assert changed.min() > 5


@given(st.integers(1, 27), st.data())
def test_messages_of_any_type_that_pyais_encodes_are_read_as_one_by_one(msg_type: int, data: st.DataObject) -> None:
    fields: dict[str, Any] = {
        "type": msg_type,
        "mmsi": data.draw(st.integers(1, 999_999_999)),
        "shipname": "THUAN AN",
        "dest_mmsi": 5,
    }
    fields |= {"lon": data.draw(st.floats(-180, 180)), "lat": data.draw(st.floats(-90, 90)), "text": "BAO SO 5"}
    fields |= {"speed": data.draw(st.integers(0, 60)), "partno": data.draw(st.integers(0, 1)), "data": b"\xaa\x01"}
    fields |= {"mmsi1": 7, "mmsi2": 8, "ne_lon": 1.0, "ne_lat": 1.0, "sw_lon": 0.0, "sw_lat": 0.0}
    if msg_type == 17:
        fields["data"] = b""
    lines = [line.encode() for line in encode_dict(fields)] * 10
    found = Both().decode([block(lines)])
    parts = [line.split(b",") for line in lines[: len(lines) // 10]]
    payload = b"".join(part[5] for part in parts)
    alone = decode([Transmission(payload, int(parts[-1][6][:1]), NOW, NOW, 1, 0)])
    assert 10 * len(alone.positions) == len(found.positions)
    assert 10 * len(alone.records) == len(found.records)


_FRAGMENT = st.tuples(
    st.sampled_from([1, 2]),
    st.sampled_from("001"),  # message id
    st.sampled_from(["", "", "", "a", "b"]),  # station
    st.sampled_from(["", "", "", "7"]),  # TAG group
    st.sampled_from(["", "", "", "1767323045", "1767323099"]),  # TAG time
    st.sampled_from([0, 0, 0, 0, 20, 31]),  # seconds after the one before
    st.sampled_from([1, 1, 1, 2]),  # source
    st.sampled_from([b"55?MbV02;H;s<HtKR20EHE:0@T4@Dn2222222216L961O5Gf0NSQEp6ClRp8", b"0"]),
)


@settings(max_examples=300)
@given(
    st.lists(_FRAGMENT | st.tuples(_FRAGMENT, st.none()), min_size=2, max_size=30),
    st.sampled_from([1, 2, 3, CAP]),
    st.lists(st.integers(1, 12), min_size=1, max_size=5),
)
def test_fragments_meet_the_same_fate_either_way(stream: list[Any], cap: int, sizes: list[int]) -> None:
    now = NOW
    blocks: list[Block] = []
    for one in stream:
        # A fragment alone, or both of a message.
        for number in (1, 2) if one[1] is None else (one[0],):
            _, sequence, station, group, time, step, source, payload = one[0] if one[1] is None else one
            now += step * SECOND
            given_ = (
                f"g:{number}-2-{group}" if group else "",
                f"s:{station}" if station else "",
                f"c:{time}" if time else "",
            )
            tag = ",".join(part for part in given_ if part)
            line = sentence(
                payload if number == 1 else b"88888888880",
                2 * number - 2,
                total=2,
                number=number,
                sequence=sequence,
                tag=tag,
            )
            blocks.append(block([line], source=source, received_at=now, line=len(blocks) + 1))
    both = Both(cap=cap, max_future_us=None)
    at = count = 0
    while at < len(blocks):
        part = blocks[at : at + sizes[count % len(sizes)]]
        both.decode([one._replace(first=first) for first, one in enumerate(part)])
        at += len(part)
        count += 1
    both.flush()


def test_parts_that_say_that_they_are_far_apart_are_no_plain_pair() -> None:
    first = sentence(b"5" + b"0" * 59, total=2, number=1, sequence="1", tag="c:1767323045")
    second = sentence(b"0" * 11, 2, total=2, number=2, sequence="1", tag="c:1767323099")
    assert len(Both(max_future_us=None).decode([block([first, second])]).rejects) == 2


@settings(max_examples=60)
@given(
    st.sampled_from([22, 25, 26]),
    st.lists(st.tuples(st.integers(40, 336), st.integers(0, 2**298 - 1), st.booleans()), min_size=8, max_size=14),
)
def test_messages_whose_layout_hangs_on_flags_are_read_as_one_by_one(
    msg_type: int, messages: list[tuple[int, int, bool]]
) -> None:
    lines = []
    for length, value, corners in messages:
        text = f"{msg_type:06b}00{574123456:030b}{value:0298b}"[:length]
        if corners and length >= 140:  # of an area on the globe
            text = f"{text[:69]}{0:070b}0{text[140:]}"
        fill = -len(text) % 6
        text += "0" * fill
        sixes = (int(text[i : i + 6], 2) for i in range(0, len(text), 6))
        lines.append(sentence(bytes(six + 48 if six < 40 else six + 56 for six in sixes), fill))
    Both().decode([block(lines)])
