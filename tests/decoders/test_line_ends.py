"""Line ends of streams: CR LF, LF and lone CR, however the stream is cut."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from decoders.line_ends import LineEnds
from decoders.lines import decode_file
from decoders.mqtt import TopicDecoder
from tests.decoders.support import publish, sentence

ONE = sentence(b"15MrVH0000KH<:V:NtBLoqFP2H9:")


@given(st.lists(st.text("ab\r\n", max_size=6).map(str.encode), max_size=8))
def test_lines_are_those_of_the_whole_stream_however_it_is_cut(pieces: list[bytes]) -> None:
    ends = LineEnds()
    found = b"".join(ends.feed(piece) for piece in pieces)
    whole = b"".join(pieces)
    assert [line.removesuffix(b"\r") for line in found.split(b"\n")] == re.split(rb"\r\n|\r|\n", whole)


def test_sentences_that_a_lone_cr_ends_are_all_read() -> None:
    data = (ONE + b"\r") * 3
    assert [output.fields["lines"] for output in decode_file([data])] == [[1], [2], [3]]
    found = TopicDecoder().decode([publish("haidang/v1/a/nmea", data)])
    assert len(found.positions) == 3
    assert not found.rejects
