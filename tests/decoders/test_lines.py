"""``haidang decode``: the objects it prints, and that it accounts for every line of any file."""

from __future__ import annotations

import json
import re

import orjson
from hypothesis import given
from hypothesis import strategies as st

from decoders.lines import decode_file, observation_objects
from decoders.mqtt import TopicDecoder
from tests.decoders.support import publish, sentence
from tests.decoders.test_json_topics import FIX, GOOD, POSITION, READINGS
from tests.decoders.test_nmea_decoder import ONE, two

CLASS_A = b"15MrVH0000KH<:V:NtBLoqFP2H9:"


def test_a_position_is_printed_as_the_contract_says() -> None:
    (found,) = decode_file([sentence(CLASS_A, tag="c:1418169601")])
    assert found == (
        True,
        {
            "kind": "position",
            "time": "2014-12-10T00:00:01Z",
            "mmsi": 366913120,
            "lon": -64.620662,
            "lat": 18.321188,
            "sog": 0.0,
            "cog": 329.5,
            "heading": 299,
            "nav_status": 0,
            "rot": 0.0,
            "accuracy": False,
            "msg_type": 1,
            "lines": [1],
        },
    )


def test_static_data_is_printed_as_the_contract_says_with_both_its_lines() -> None:
    (found,) = decode_file([b"\n".join(two())])
    assert found.accepted
    assert found.fields == {
        "kind": "static",
        "time": None,
        "mmsi": 351759000,
        "imo": 9134270,
        "callsign": "3FOF8",
        "name": "EVER DIADEM",
        "ship_type": 70,
        "to_bow": 225,
        "to_stern": 70,
        "to_port": 1,
        "to_starboard": 31,
        "draught": 12.2,
        "destination": "NEW YORK",
        "eta": "05-15T14:00Z",
        "msg_type": 5,
        "lines": [1, 2],
    }


def test_rejects_say_line_reason_and_raw_and_ignored_lines_their_kind() -> None:
    data = b"# hello\n\n$GPGGA,*00\r\njunk \xff\n" + two()[0]
    found = [output.fields for output in decode_file([data], ignored=True)]
    assert [(f["line"], f["reason"], f["raw"]) for f in found] == [
        (1, "ignored_comment", "# hello"),
        (2, "ignored_blank", ""),
        (3, "ignored_sentence", "$GPGGA,*00"),
        (4, "bad_sentence", "junk \\xff"),
        (5, "incomplete_message", two()[0].decode()),
    ]
    assert len(list(decode_file([data]))) == 2


def test_a_refused_message_of_two_lines_names_both() -> None:
    first = sentence(b"X", total=2, number=1, sequence="3")
    second = sentence(b"X", total=2, number=2, sequence="3")
    found = [output.fields for output in decode_file([b"\n".join([first, b"", second])])]
    assert [(f["line"], f["reason"], f["raw"]) for f in found] == [
        (1, "bad_payload", first.decode()),
        (3, "bad_payload", second.decode()),
    ]


def test_other_formats_have_objects_too() -> None:
    payloads = [(READINGS, GOOD), (POSITION, FIX)]
    blocks = [publish(topic, json.dumps(data).encode(), first=i) for i, (topic, data) in enumerate(payloads)]
    found = [fields for _, fields in observation_objects(TopicDecoder().decode(blocks), lambda message: [message + 1])]
    reading = {"kind": "reading", "time": "2026-01-02T03:04:00Z", "device": "gw-1/river-3", "metric": "pm2_5"}
    assert found[0] == {**reading, "value": 12.3, "lines": [1]}
    assert found[1]["transponder"] == "gw-1/HUE-0012"
    assert found[1]["mmsi"] is None
    assert found[1]["sog"] == 4.5


_ANY_LINE = st.one_of(
    st.sampled_from(
        [
            *two("1"),
            *two("2", tag="g:1-2-5"),
            sentence(ONE),
            sentence(ONE, tag="c:1"),
            sentence(b"C5MtL4eP0FK?P@4I96hG`urH@2fF0000000000000000?P000020"),
            b"",
            b"# x",
            b"$GPGGA,*00",
            b"$PGHP,1,2008,5,9,0,0,0,10,338,2,,1,09*17",
            b"$PGHP,1,2008,5,9,0,0,0,10,338,2,,1,09*17\r",
        ]
    ),
    st.binary(max_size=30).map(lambda b: b.replace(b"\n", b"")),
)


@given(st.lists(_ANY_LINE, max_size=30), st.booleans(), st.integers(1, 50), st.integers(1, 6))
def test_every_line_of_any_file_is_accounted_for(found: list[bytes], end: bool, piece: int, batch: int) -> None:
    data = b"\n".join(found) + b"\n" * (end and bool(found))
    count = len(re.findall(rb"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+", data))
    whole = [list(decode_file([data], ignored=True))]
    pieces = [data[i : i + piece] for i in range(0, len(data), piece)]
    whole.append(list(decode_file(pieces, ignored=True, batch_lines=batch)))
    for outputs in whole:
        seen: set[int] = set()
        for output in outputs:
            orjson.dumps(output.fields)
            seen.update(output.fields["lines"] if output.accepted else [output.fields["line"]])
        assert seen == set(range(1, count + 1))
    observations = [[o.fields for o in outputs if o.accepted] for outputs in whole]
    assert [{**o, "lines": None} for o in observations[0]] == [{**o, "lines": None} for o in observations[1]]


def test_a_line_without_end_is_not_kept_whole() -> None:
    (found,) = decode_file(b"x" * 10_000 for _ in range(100))
    assert found.fields["reason"] == "too_large"
    assert len(found.fields["raw"]) <= 65_536
