"""Streams of sentences: assembly, times, and that neither batches nor restarts change what comes out."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decoders.nmea_decoder import NmeaDecoder
from decoders.records import Observations, Reason
from decoders.times import EARLIEST
from tests.decoders.support import HERE, NOW, block, everything, sentence

if TYPE_CHECKING:
    from collections.abc import Sequence

    from decoders.block import Block

SECOND = 1_000_000
ONE = b"15MrVH0000KH<:V:NtBLoqFP2H9:"
#: A type 5 message of MMSI 351759000 in two parts.
FIRST, SECOND_PART = b"55?MbV02;H;s<HtKR20EHE:0@T4@Dn2222222216L961O5Gf0NSQEp6ClRp8", b"88888888880"


def two(sequence: str = "1", **more: Any) -> tuple[bytes, bytes]:
    return (
        sentence(FIRST, total=2, number=1, sequence=sequence, **more),
        sentence(SECOND_PART, 2, total=2, number=2, sequence=sequence, **more),
    )


def reasons(found: Observations) -> list[tuple[int, Reason]]:
    return [(r.message, r.reason) for r in found.rejects]


def test_two_sentences_make_a_message() -> None:
    decoder = NmeaDecoder()
    found = decoder.decode([block([*two(), sentence(ONE)])])
    assert found.statics["name"].tolist() == ["EVER DIADEM"]
    assert found.statics["message"].tolist() == [1]
    assert found.positions["message"].tolist() == [2]
    assert (found.joined, found.pending, found.released) == ([(0, 1)], [], [])
    assert decoder.pending() == []


def test_a_message_may_be_split_over_batches() -> None:
    decoder = NmeaDecoder()
    first, second = two()
    before = decoder.decode([block([sentence(ONE), first])])
    assert (before.pending, before.joined, len(before.statics)) == ([1], [], 0)
    after = decoder.decode([block([second], received_at=NOW + SECOND)])
    assert len(after.statics) == 1
    assert (after.pending, after.joined, after.released) == ([], [], [(0, 1, 1)])


def test_ships_with_the_same_message_id_are_not_spliced() -> None:
    first, second = two()
    other = sentence(FIRST.replace(b"?MbV0", b"?MbW0"), total=2, number=1, sequence="1")
    found = NmeaDecoder().decode([block([first, other, second])])
    assert found.statics["transponder"].tolist() == [351759004]
    assert reasons(found) == [(0, Reason.INCOMPLETE_MESSAGE)]


@pytest.mark.parametrize("order", [(1, 0), (1,), (1, 1)])
def test_a_second_part_without_its_first_is_refused_and_joins_nothing_later(order: tuple[int, ...]) -> None:
    parts = two()
    found = NmeaDecoder().decode([block([parts[i] for i in order])])
    assert len(found.statics) == 0
    assert (0, Reason.INCOMPLETE_MESSAGE) in reasons(found)


def test_a_part_that_is_delivered_again_changes_nothing() -> None:
    first, second = two()
    decoder = NmeaDecoder()
    decoder.decode([block([first])])
    again = NmeaDecoder()
    again.decode(decoder.pending())
    assert again.decode([block([first], received_at=NOW + 1)]).pending == [0]
    found = again.decode([block([second], received_at=NOW + 2)])
    assert len(found.statics) == 1
    assert found.released == [(0, 1, 2)]
    assert found.rejects == []


def test_a_tag_group_tells_messages_apart_so_order_does_not_matter() -> None:
    first, _ = two(tag="g:1-2-7,s:a,c:1418169601")
    _, second = two(tag="g:2-2-7")
    other, _ = two(tag="g:1-2-8,s:a")
    found = NmeaDecoder().decode([block([second, other, first])])
    assert found.statics["time"].tolist() == [1_418_169_601 * SECOND]
    assert (found.joined, found.pending) == ([(0, 2)], [1])


@pytest.mark.parametrize("apart", [{"origin": "other"}, {"source": 2}])
def test_fragments_of_two_streams_never_join(apart: dict[str, Any]) -> None:
    first, second = two()
    found = NmeaDecoder().decode([block([first]), block([second], first=1, **apart)])
    assert len(found.statics) == 0
    assert found.pending == [0]


def test_fragments_of_two_stations_interleave() -> None:
    a, b = two(tag="s:a"), two(tag="s:b")
    found = NmeaDecoder().decode([block([a[0], b[0], a[1], b[1]])])
    assert found.statics["message"].tolist() == [2, 3]


def test_a_part_that_fits_two_stations_joins_neither() -> None:
    (a, _), (b, _), (_, second) = two(tag="s:a"), two(tag="s:b"), two()
    found = NmeaDecoder().decode([block([a, b, second])])
    assert reasons(found) == [(2, Reason.INCOMPLETE_MESSAGE)]
    assert found.pending == [0, 1]


def test_after_the_time_out_nothing_joins_whether_or_not_expire_was_called() -> None:
    first, second = two()
    for expire in (False, True):
        decoder = NmeaDecoder()
        found = [decoder.decode([block([first])])]
        assert decoder.expire(NOW + 30 * SECOND).rejects == []
        if expire:
            found.append(decoder.expire(NOW + 30 * SECOND + 1))
        found.append(decoder.decode([block([second], received_at=NOW + 30 * SECOND + 1)]))
        rejects = [r for one in found for r in one.rejects]
        assert [(r.message, r.raw, r.detail) for r in rejects] == [
            (-1, first, "only 1 of 2 came"),
            (0, second, "sentence 2 of 2 without the ones before it"),
        ]


def test_parts_that_say_themselves_that_they_are_far_apart_do_not_join() -> None:
    (first, _), (_, second) = two(tag="c:1418169601"), two(tag="c:1418169700")
    found = NmeaDecoder().decode([block([first, second])])
    assert reasons(found) == [(0, Reason.INCOMPLETE_MESSAGE), (1, Reason.INCOMPLETE_MESSAGE)]


def test_the_oldest_unfinished_message_gives_way() -> None:
    decoder = NmeaDecoder(cap=2)
    found = decoder.decode([block([two(str(n))[0] for n in range(4)])])
    assert reasons(found) == [(0, Reason.FRAGMENT_OVERFLOW), (1, Reason.FRAGMENT_OVERFLOW)]
    assert found.pending == [2, 3]


def test_unfinished_messages_are_bounded_per_source() -> None:
    decoder = NmeaDecoder()
    lines = [two(tag=f"g:1-2-{n}")[0] for n in range(1500)]
    found = decoder.decode([block(lines)])
    assert len(found.pending) == len(decoder.pending()) == 1000
    assert len(found.rejects) == 500


@pytest.mark.parametrize("columns_from", [0, 1 << 60])
def test_what_repeats_a_part_for_ever_does_not_wait_for_ever(columns_from: int) -> None:
    first, second = two()
    decoder = NmeaDecoder(columns_from=columns_from)
    found = decoder.decode([block([first] * 1000)])
    assert (found.pending, found.repeated) == (list(range(16)), list(range(16, 1000)))
    again = decoder.decode([block([first] * 1000, received_at=NOW + SECOND)])
    assert (again.pending, again.repeated) == ([], list(range(1000)))
    assert len(decoder.pending()) == 16
    whole = decoder.decode([block([second], received_at=NOW + SECOND)])
    assert (whole.statics["message"].tolist(), whole.released) == ([0], [(0, 1, 16)])


def test_the_best_time_said_is_taken() -> None:
    pghp = b"$PGHP,1,2008,5,9,0,0,0,10,338,2,,1,"
    pghp += f"2F*{_xor(pghp[1:] + b'2F'):02X}".encode()
    lines = {
        sentence(ONE): NOW,
        sentence(ONE, tag="c:1418169601", trailer=",b003669794,1272412827"): 1_418_169_601 * SECOND,
        sentence(ONE, trailer=",b003669794,1272412827"): 1_272_412_827 * SECOND,
        pghp + b"\n" + sentence(ONE): 1_210_291_200_010_000,
        pghp + b"\n# a comment\n\n" + sentence(ONE): 1_210_291_200_010_000,
        pghp + b"\n$GPGGA,*00\n" + sentence(ONE): NOW,
        pghp + b"\n" + sentence(ONE, channel="B"): NOW,  # its checksum is not the one announced
    }
    for line, time in lines.items():
        assert NmeaDecoder().decode([block([line])]).positions["time"].tolist() == [time], line
        assert NmeaDecoder(trusted=False).decode([block([line])]).positions["time"].tolist() == [NOW], line


def _xor(body: bytes) -> int:
    out = 0
    for byte in body:
        out ^= byte
    return out


def test_times_out_of_bounds_are_refused() -> None:
    early, late = EARLIEST // SECOND - 1, NOW // SECOND + 601
    found = NmeaDecoder().decode([block([sentence(ONE, tag=f"c:{t}") for t in (early, late, late - 1, 10**15)])])
    assert reasons(found) == [(0, Reason.TIME_TOO_OLD), (1, Reason.TIME_IN_FUTURE), (3, Reason.TIME_IN_FUTURE)]
    assert found.positions["message"].tolist() == [2]
    assert len(NmeaDecoder(max_future_us=None).decode([block([sentence(ONE, tag=f"c:{late}")])]).positions) == 1


def test_a_publish_of_many_sentences_is_one_message() -> None:
    from decoders.block import Block

    first, second = two()
    data = b"\n".join([sentence(ONE), first, b"junk", b""])
    decoder = NmeaDecoder()
    found = decoder.decode([Block(data, 1, "t", NOW, 0), Block(second, 1, "t", NOW, 1)])
    assert found.messages == 2
    assert found.positions["message"].tolist() == [0]
    assert found.statics["message"].tolist() == [1]
    assert reasons(found) == [(0, Reason.BAD_SENTENCE)]
    assert found.joined == [(0, 1)]


def test_rejects_are_whole_enough_to_be_sent_again() -> None:
    first, _ = two()
    _, bad = (first, sentence(b"XX", 2, total=2, number=2, sequence="1"))
    (reject,) = NmeaDecoder().decode([block([first, bad])]).rejects
    assert reject.reason is Reason.BAD_PAYLOAD
    (again,) = NmeaDecoder().decode([block([reject.raw])]).rejects
    assert again.raw == reject.raw


# --- any stream, any batches, any restarts

_STATIONS = ["", "a", "b"]


def _line(draw: st.DrawFn) -> bytes:
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return sentence(ONE)
    if kind == 1:
        return draw(st.sampled_from([b"", b"# x", b"$GPGGA,*00", b"junk", b"!AIVDM,1,1,,A,x,0*00"]))
    if kind == 2:
        body = b"PGHP,1,2026,1,2,3,4,5,10,338,2,,1,"
        return b"$" + body + f"*{_xor(body):02X}".encode()
    total = draw(st.sampled_from([2, 2, 2, 3]))
    number = draw(st.integers(1, total))
    station = draw(st.sampled_from(_STATIONS))
    group = draw(st.sampled_from(["", "", "1", "2"]))
    tag = ",".join(x for x in (f"s:{station}" if station else "", f"g:{number}-{total}-{group}" if group else "") if x)
    payload = FIRST[:30] if number == 1 and total == 3 else FIRST if number == 1 else SECOND_PART
    return sentence(
        payload, 2 * (number == total), total=total, number=number, sequence=draw(st.sampled_from("01")), tag=tag
    )


@st.composite
def streams(draw: st.DrawFn) -> list[Block]:
    """Lines, each a block of its own, at times that do not fall."""
    now = NOW
    out = []
    for number in range(draw(st.integers(1, 40))):
        now += draw(st.sampled_from([0, 0, SECOND, 10 * SECOND, 31 * SECOND]))
        source = draw(st.sampled_from([1, 1, 2]))
        out.append(block([_line(draw)], received_at=now, source=source, line=number + 1))
    return out


def _renumber(blocks: Sequence[Block]) -> list[Block]:

    return [one._replace(first=first) for first, one in enumerate(blocks)]


@given(streams(), st.data())
def test_neither_batches_nor_restarts_nor_ticks_change_what_comes_out(stream: list[Block], data: st.DataObject) -> None:
    whole = NmeaDecoder(cap=3, repeats=2)
    expected = [whole.decode(_renumber(stream)), whole.flush()]
    decoder = NmeaDecoder(cap=3, repeats=2)
    found = []
    at = 0
    while at < len(stream):
        size = data.draw(st.integers(1, 8))
        part = _renumber(stream[at : at + size])
        at += size
        found.append(decoder.decode(part))
        match data.draw(st.sampled_from(["go on", "restart", "tick"])):
            case "restart":
                pending = decoder.pending()
                decoder = NmeaDecoder(cap=3, repeats=2)
                again = decoder.decode(pending)
                assert everything([again]) == []
                assert list(decoder.pending()) == list(pending)
            case "tick":
                found.append(decoder.expire(part[-1].received_at))
    found.append(decoder.flush())
    assert everything(found) == everything(expected)


@given(streams(), st.data())
def test_every_message_meets_one_fate(stream: list[Block], data: st.DataObject) -> None:
    decoder = NmeaDecoder(cap=3, repeats=2, keep_ignored=True)
    waiting: dict[int, int] = {1: 0, 2: 0}
    at = 0
    while at < len(stream):
        part = _renumber(stream[at : at + data.draw(st.integers(1, 8))])
        at += len(part)
        found = decoder.decode(part)
        assert found.messages == len(part)
        settled = [*found.positions["message"], *found.statics["message"], *(r.message for r in found.records)]
        settled += [r.message for r in found.rejects if r.message >= 0]
        settled += [i.message for i in decoder.ignored if i.message not in {-1, *(j for j, _ in found.joined)}]
        settled += [*(m for m, _ in found.joined), *found.pending, *found.repeated]
        assert sorted(settled) == list(range(len(part)))
        for message in found.pending:
            waiting[part[message].source] += 1
        for _, source, count in found.released:
            waiting[source] -= count
        for reject in found.rejects:
            waiting[reject.source] -= reject.message < 0
        assert sum(waiting.values()) == len(decoder.pending())
    for reject in decoder.flush().rejects:
        assert reject.message == -1
        waiting[reject.source] -= 1
    assert set(waiting.values()) == {0}


def _oracle(lines: Sequence[tuple[str, int]]) -> list[tuple[str, str]]:
    """In order only: a message is whole iff its second part is the next of its key after its first."""
    last: dict[str, tuple[str, int]] = {}
    out = []
    for ship, number in lines:
        key = ship[0]
        if number == 2 and key in last and last[key][1] == 1:
            out.append((last[key][0], ship))
        last[key] = (ship, number)  # a repeated first part takes over from itself
    return out


@given(st.lists(st.tuples(st.sampled_from(["0x", "0y", "1x", "1y", "2z"]), st.sampled_from([1, 2])), max_size=30))
def test_fragments_join_as_a_simple_oracle_says(lines: list[tuple[str, int]]) -> None:
    sentences = [
        sentence(
            f"{ship}{number}".encode().translate(bytes.maketrans(b"xyz", b"ABC")),
            total=2,
            number=number,
            sequence=ship[0],
        )
        for ship, number in lines
    ]
    found = NmeaDecoder().decode([block(sentences)])
    # Payloads are no messages, so whole ones are refused with the lines they came from.
    whole = [r.raw for r in found.rejects if r.reason is not Reason.INCOMPLETE_MESSAGE]
    pairs = [[line.split(b",")[5][:2].decode() for line in dict.fromkeys(raw.split(b"\n"))] for raw in whole]
    translate = str.maketrans("ABC", "xyz")
    assert [(a.translate(translate), b.translate(translate)) for a, b in pairs] == _oracle(lines)


@given(st.lists(st.binary(max_size=80), max_size=10))
def test_any_bytes_give_observations_or_typed_rejects(lines: list[bytes]) -> None:
    decoder = NmeaDecoder()
    found = decoder.decode([block(b"\n".join(lines))])
    assert all(isinstance(r.reason, Reason) for r in found.rejects)
    decoder.flush()


def calls(data: bytes) -> tuple[int, int]:
    """Positions in some lines, and how many functions are called to decode them."""
    made = 0

    def count(_frame: object, what: str, _argument: object) -> None:
        nonlocal made
        made += what in ("call", "c_call")

    decoder = NmeaDecoder()
    sys.setprofile(count)
    try:
        found = decoder.decode([block(data)])
    finally:
        sys.setprofile(None)
    return len(found.positions), made


def test_ten_times_as_many_lines_are_ten_times_the_work_and_no_more() -> None:
    data = (HERE / "pyais/nmea_data_sample.txt").read_bytes() + b"\n"
    calls(data)  # what is only done the first time
    few, work = calls(data)
    many, more = calls(data * 10)
    assert (few, many) == (758, 7580)
    assert more < 11 * work
