"""The clock of a log: set by what lines say, moved on by UTC seconds, never back."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyais.encode import encode_dict

from decoders.clock import LogClock, absolute_time, said, times_until, utc_second
from decoders.nmea_columns import UNTOLD
from tests.decoders import support
from tests.decoders.test_columns import streams

if TYPE_CHECKING:
    from pathlib import Path

SECOND = 1_000_000


def sentence(msg_type: int, second: int, **fields: float) -> bytes:
    encoded = encode_dict(
        {"type": msg_type, "mmsi": 574000001, "lon": 107.6, "lat": 16.5, "second": second, **fields}, talker_id="AI"
    )
    return encoded[0].encode()


def tagged(tag: str) -> bytes:
    return support.sentence(b"x", tag=tag)


@given(msg_type=st.sampled_from([1, 2, 3, 9, 18]), second=st.integers(0, 63), course=st.floats(0, 359))
def test_the_second_of_a_position_report_is_read_from_its_bits(msg_type: int, second: int, course: float) -> None:
    line = sentence(msg_type, second, course=course)
    assert utc_second(line) == (second if second < 60 else None)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"# comment",
        b"$GPGGA,1,2",
        b"!AIVDM,2,1,6,A,53@o0E000001Q0CG37U8u<Tp4q@D00000000000018330400000000000000,0*63",
        b"!AIVDM,1,1,,B,,0*25",
        b"!AIVDM,1,1,,B,0*25",
    ],
)
def test_a_line_without_a_second_has_none(line: bytes) -> None:
    assert utc_second(line) is None


def test_tag_blocks_and_trailing_epochs_say_the_time() -> None:
    assert absolute_time(b"\\s:r1,q:u,c:1418172113,T:2014*23\\!AIVDM,1,1,,B,x,0*78") == 1_418_172_113 * SECOND
    assert absolute_time(b"\\c:1418172113123*62\\!AIVDM,1,1,,B,x,0*78") == 1_418_172_113_123_000
    assert absolute_time(b"!AIVDM,1,1,,A,15B4,0*70,b003669794,1272412827") == 1_272_412_827 * SECOND
    assert absolute_time(b"!AIVDM,1,1,,A,15B4,0*70,b003669794,1272412827.5") == 1_272_412_827 * SECOND
    assert absolute_time(b"!AIVDM,1,1,,A,15B4,0*70,b003669794,1272412827123") == 1_272_412_827_123_000
    assert absolute_time(b"!AIVDM,1,1,,A,15B4,0*70") is None


def test_a_tag_block_whose_checksum_is_wrong_says_no_time() -> None:
    line = tagged("s:r1,c:1418172113")
    assert absolute_time(line) == 1_418_172_113 * SECOND
    assert absolute_time(line.replace(b"c:1418172113", b"c:12418172113")) is None
    clock = LogClock(10 * SECOND)
    assert clock.line(line.replace(b"c:1", b"c:2")) == 10 * SECOND


def test_a_log_without_times_is_moved_on_by_the_seconds_it_carries() -> None:
    start = int(datetime(2024, 1, 1, 12, 0, 50, tzinfo=UTC).timestamp()) * SECOND
    clock = LogClock(start)
    at = [clock.line(sentence(1, second)) - start for second in (52, 58, 3, 2, 40)]
    # 58 -> 3 wraps into the next minute; 2 after 3 is out of order, not 59 s later; 40 moves on.
    assert [a // SECOND for a in at] == [2, 8, 13, 13, 50]


@given(st.lists(st.one_of(st.integers(0, 63), st.integers(1_400_000_000, 1_400_000_600).map(str)), max_size=60))
def test_the_clock_never_runs_backwards_and_agrees_with_the_seconds_it_followed(steps: list[int | str]) -> None:
    clock = LogClock(1_400_000_000 * SECOND)
    last = clock.now
    for step in steps:
        line = sentence(1, step) if isinstance(step, int) else tagged(f"c:{step}")
        now = clock.line(line)
        assert now >= last
        assert now - last < max(60 * SECOND, 600 * SECOND + 1)
        last = now


def test_a_time_later_than_believable_does_not_move_the_clock() -> None:
    clock = LogClock(10 * SECOND, latest=100 * SECOND)
    assert clock.line(tagged("c:4102444800")) == 10 * SECOND


@given(
    st.lists(st.one_of(st.integers(0, 63), st.just(None)), max_size=60),
    st.integers(1_400_000_000_000_000, 1_400_000_100_000_000),
)
def test_a_log_without_times_ends_at_the_second_it_carries_within_the_minute_before_its_end(
    seconds: list[int | None], end: int
) -> None:
    lines = [b"# nothing" if second is None else sentence(1, second) for second in seconds]
    halves = lines[: len(lines) // 2], lines[len(lines) // 2 :]
    of_halves = times_until([said(text(half)) for half in halves], end)
    assert [len(times) for times in of_halves] == [len(half) for half in halves]
    times = [time for of_half in of_halves for time in of_half.tolist()]
    if lines:
        assert 0 <= end - times[-1] < 60 * SECOND
        # It is the clock's own reading from that start on: a replay with --start says the same.
        clock = LogClock(times[0])
        assert [clock.line(line) for line in lines] == times


def text(lines: list[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)


def line_by_line(line: bytes) -> tuple[int, int]:
    time, second = absolute_time(line), utc_second(line)
    return (UNTOLD, -1 if second is None else second) if time is None else (time, -1)


def columns(lines: bytes) -> list[tuple[int, int]]:
    found = said(lines)
    return list(zip(found.time.tolist(), found.second.tolist(), strict=True))


@settings(max_examples=50)
@given(streams(), st.integers(0, 9), st.sampled_from([None, 1_300_000_000 * SECOND, 2**61]))
def test_many_lines_at_once_say_what_each_of_them_says_and_move_the_clock_as_one_by_one(
    stream: list[tuple[bytes, int, str, int]], cut: int, latest: int | None
) -> None:
    lines = text([line for line, *_ in stream]).split(b"\n")[:-1]
    found = columns(text(lines))
    assert found == [line_by_line(line) for line in lines]
    one, many = (LogClock(1_200_000_000 * SECOND, latest) for _ in range(2))
    pieces = [said(text(lines[:cut])), said(text(lines[cut:]))]
    assert [time for piece in pieces for time in many.lines(piece).tolist()] == [one.line(line) for line in lines]
    assert many.now == one.now


@pytest.mark.parametrize("log", support.logs())
def test_every_line_of_a_real_log_says_the_same_alone_and_among_others(log: Path) -> None:
    lines = log.read_bytes().removesuffix(b"\n").split(b"\n")
    assert columns(text(lines)) == [line_by_line(line) for line in lines]
