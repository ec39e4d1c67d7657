"""The sentence layer: what each line is, and that nothing makes it raise."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decoders.nmea import MAX_LINE, Group, Ignored, Kind, Line, ReceiveTime, Sentence, Tag, checksum, parse, parse_tag
from decoders.records import Reason
from decoders.refused import Refused
from tests.decoders import support

PAYLOAD = b"15MrVH0000KH<:V:NtBLoqFP2H9:"
VALID = b"!AIVDM,1,1,,A,15MrVH0000KH<:V:NtBLoqFP2H9:,0*2F"


@given(st.binary(max_size=300))
def test_checksum_is_the_exclusive_or_of_all_bytes(data: bytes) -> None:
    assert checksum(data) == support.checksum(data)


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b" \r\n"])
def test_a_sentence_is_read_whatever_its_line_end(end: bytes) -> None:
    found = parse(VALID + end)
    assert isinstance(found, Sentence)
    assert (found.talker, found.formatter, found.total, found.number) == ("AI", "VDM", 1, 1)
    assert (found.sequence, found.channel, found.payload, found.fill) == ("", "A", PAYLOAD, 0)
    assert (found.tag, found.time, found.station) == (Tag(), None, "")


@pytest.mark.parametrize("talker", ["AB", "AD", "AI", "AN", "AR", "AS", "AT", "AX", "BS", "SA"])
@pytest.mark.parametrize("formatter", ["VDM", "VDO"])
def test_every_talker_is_heard(talker: str, formatter: str) -> None:
    found = parse(support.sentence(PAYLOAD, talker=talker + formatter))
    assert isinstance(found, Sentence)
    assert (found.talker, found.formatter) == (talker, formatter)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (VALID[:-3], Reason.BAD_CHECKSUM),
        (VALID[:-2] + b"2E", Reason.BAD_CHECKSUM),
        (VALID[:-1], Reason.BAD_CHECKSUM),
        (VALID.replace(b"!", b"$"), Reason.BAD_SENTENCE),
        (VALID[1:], Reason.BAD_SENTENCE),
        (b"!", Reason.BAD_CHECKSUM),
        (b"\\", Reason.BAD_TAG_BLOCK),
        (b"\\s:x\\" + VALID, Reason.BAD_TAG_BLOCK),
        (b"\\s:x*00\\" + VALID, Reason.BAD_TAG_BLOCK),
        (b"foobar", Reason.BAD_SENTENCE),
        (b"\xff\xfe\x00", Reason.BAD_SENTENCE),
        (b"$GPGGA,\xff*00", Reason.BAD_SENTENCE),
        (b"!" + b"x" * MAX_LINE, Reason.TOO_LARGE),
        (support.sentence(PAYLOAD, total=1, number=2), Reason.BAD_SENTENCE),
        (VALID + VALID, Reason.BAD_SENTENCE),
        (VALID + b" " + VALID, Reason.BAD_SENTENCE),
        (VALID + b"\r" + VALID, Reason.BAD_SENTENCE),
        (VALID + b",b003669794,1272412827" + VALID, Reason.BAD_SENTENCE),
        (VALID + b"$GPZDA,1*00", Reason.BAD_SENTENCE),
        (support.sentence(b"x", talker="AIABM") + VALID, Reason.BAD_SENTENCE),
        (b"$GPGGA,no,matter*00" + VALID, Reason.BAD_SENTENCE),
        (support.sentence(PAYLOAD, total=0, number=0), Reason.BAD_SENTENCE),
        (support.sentence(PAYLOAD, 6), Reason.BAD_SENTENCE),
        (support.sentence(PAYLOAD, channel="ABC"), Reason.BAD_SENTENCE),
    ],
)
def test_broken_lines_are_refused_with_the_reason(line: bytes, reason: Reason) -> None:
    found = parse(line)
    assert isinstance(found, Refused)
    assert found.reason is reason
    assert found.detail


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (b"", Kind.BLANK),
        (b" \r\n", Kind.BLANK),
        (b"# a comment", Kind.COMMENT),
        (b"#\xff", Kind.COMMENT),
        (b"$GPGGA,184353.07,1929.045,S,02410.506,E,1,04,2.6,100.00,M,-33.9,M,,0000*6D", Kind.SENTENCE),
        (b"$GPR00,A,B,C*29", Kind.SENTENCE),
        (b"$GPTXT,01,01,02,a note!*00", Kind.SENTENCE),
        (b"$GPGGA,no,matter*00", Kind.SENTENCE),
        (support.sentence(b"x", talker="AIABM"), Kind.SENTENCE),
        (b"$PGHP,1,2009,5,9,0,0,0,10,338,2,,1,09*17", Kind.SENTENCE),  # its checksum is wrong: no time in it
    ],
)
def test_lines_that_are_not_ours_are_ignored_with_their_kind(line: bytes, kind: Kind) -> None:
    assert parse(line) == Ignored(kind)


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("s:rORBCOMM008,c:1418169601", Tag(1_418_169_601_000_000, "rORBCOMM008")),
        ("c:1418169601123", Tag(1_418_169_601_123_000)),
        ("c:1418169601.5", Tag(1_418_169_601_500_000)),
        ("g:1-2-1604,s:b0", Tag(None, "b0", Group(1, 2, "1604"))),
        ("1G2:0125,c:1428621738", Tag(1_428_621_738_000_000, "", Group(1, 2, "0125"))),
        ("g:2G3:77", Tag(None, "", Group(2, 3, "77"))),
        ("n:157036,q:u,T:2014-12-10 00.35.22", Tag()),
    ],
)
def test_tag_blocks_say_time_station_and_group(tag: str, expected: Tag) -> None:
    found = parse(support.sentence(PAYLOAD, tag=tag))
    assert isinstance(found, Sentence)
    assert found.tag == expected


@pytest.mark.parametrize("tag", ["c:soon", "g:2-1-7", "g:x", "nonsense", "c:", "g:0-2-7", "c:123456789012345678"])
def test_malformed_tag_blocks_are_refused(tag: str) -> None:
    body = tag.encode()
    found = parse_tag(body + f"*{support.checksum(body):02X}".encode())
    assert isinstance(found, Refused)
    assert found.reason is Reason.BAD_TAG_BLOCK


def test_a_second_tag_block_adds_to_the_first() -> None:
    second = support.sentence(PAYLOAD, tag="g:1-2-7")
    found = parse(support.sentence(PAYLOAD, tag="c:1418169601,s:a").split(b"!")[0] + second)
    assert isinstance(found, Sentence)
    assert found.tag == Tag(1_418_169_601_000_000, "a", Group(1, 2, "7"))


@pytest.mark.parametrize(
    ("trailer", "time", "station"),
    [
        (",b003669794,1272412827", 1_272_412_827, "b003669794"),
        (",d-109,S2105,t050056.00,T56.13718694,r003669946,1325394060,1325394001", 1_325_394_001, "r003669946"),
        (",rCUDJOE_01,1272672306", 1_272_672_306, "rCUDJOE_01"),
        (",r003669946", None, "r003669946"),
        (",rHUE,1420070400.5", 1_420_070_400.5, "rHUE"),
        (",rHUE,1420070400123", 1_420_070_400.123, "rHUE"),
        (",d-109,S2105", None, ""),
    ],
)
def test_coast_guard_fields_after_the_checksum(trailer: str, time: float | None, station: str) -> None:
    found = parse(support.sentence(PAYLOAD, trailer=trailer))
    assert isinstance(found, Sentence)
    assert found.time == (None if time is None else round(time * 1_000_000))
    assert found.station == station


def test_pghp_announces_the_time_of_the_next_sentence() -> None:
    assert parse(b"$PGHP,1,2008,5,9,0,0,0,10,338,2,,1,09*17") == ReceiveTime(1_210_291_200_010_000, 9)


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_any_bytes_are_one_of_the_four_outcomes(line: bytes) -> None:
    for start in (b"", b"!", b"\\", b"!AIVDM,", b"\\g:", b"$PGHP,"):
        assert isinstance(parse(start + line), get_args(Line))


@given(st.integers(1, len(VALID) - 4), st.integers(0, 255))
def test_no_sentence_with_one_byte_changed_passes(at: int, byte: int) -> None:
    mutated = VALID[:at] + bytes([byte]) + VALID[at + 1 :]
    if mutated != VALID:
        assert not isinstance(parse(mutated), Sentence)
