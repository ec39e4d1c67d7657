"""The short way of ordinary readings comes to the same end as the long one, whatever is sent and in whatever order."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decoders.bounds import Bounds
from decoders.readings import ReadingsDecoder
from decoders.register import Register
from tests.decoders.support import NOW, publish

if TYPE_CHECKING:
    from decoders.records import Observations

RANGES = {"pm2_5": (0.0, 2000.0), "humidity": (0.0, 100.0), "odd": (0.0, 1e300), "free": None}
#: Tight enough that a few messages run into every bound.
BOUNDS = Bounds(
    payload_bytes=2_000, json_depth=5, text_chars=300, entries=4, readings=4, devices=4, devices_per_gateway=3,
    metrics=28, metrics_per_device=4,
)  # fmt: skip

_TIMES: st.SearchStrategy[Any] = st.sampled_from(
    [
        "2026-01-02T03:04:00Z",
        "2026-01-02T10:04:00.123456+07:00",
        "2026-01-02 03:04:00+00:00",
        "2026-01-02T03:04:00",
        "2026-01-02T03:14:05.000001Z",  # ahead by one microsecond more than allowed
        "2026-01-02T03:14:05Z",
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59",
        "2016-12-31T23:59:60Z",
        "",
        "::::",
        0,
        -1,
        True,
        None,
        NOW // 1000,
        NOW // 1000 + 600_000,
        NOW // 1000 + 600_001,
        NOW / 1000,
        NOW,
        NOW // 1_000_000,
        2**63,
        10**30,
        [],
        {},
    ]
)
_VALUES = st.one_of(
    st.floats(-10, 2100),
    st.integers(-10, 2100),
    st.sampled_from([2**53 + 1, 2**63 - 1, 2**63, -(2**63), 2**64, 1e300, -0.0, 5e-324, 1.7e308]),
    st.sampled_from([None, True, "1", ":", "\\", "\ud83d\ude00", [1], [[[[[[1]]]]]], {"a": 1}]),
)
_NAMES = st.sampled_from(["pm2_5", "humidity", "odd", "free", "extra", "Bad", "a:b", "", 'q"', "x" * 301])
_READINGS = st.dictionaries(_NAMES, _VALUES, max_size=5)
_GOOD = st.fixed_dictionaries(
    {
        "time": st.sampled_from(["2026-01-02T03:04:00Z", "2026-01-02T03:04:01+00:00", NOW // 1000 - 5]),
        "readings": st.dictionaries(
            st.sampled_from(["pm2_5", "humidity"]), st.floats(-1, 120) | st.integers(0, 101), max_size=2
        ),
    }
)
_ENTRY = st.one_of(
    _GOOD,
    _GOOD,
    st.fixed_dictionaries(
        {"time": _TIMES, "readings": _READINGS | _VALUES},
        optional={
            "device": st.sampled_from(["d0", "d1", "g0/d0", 1, "x:y"]),
            "gateway": st.sampled_from(["g0", "g1"]),
            "fw": st.sampled_from(["2.4.1", "2:4", 7, 0.5, True, None]),
            "a:b": st.sampled_from([1, "x"]),
            "note": st.sampled_from(["a:b", "x" * 301, [[[[1]]]], {"a": {"a": ":"}}]),
        },
    ),
)
_TOPIC = st.tuples(st.integers(0, 1), st.integers(0, 3)).map(lambda gd: f"haidang/v1/g{gd[0]}/d{gd[1]}/readings")


@st.composite
def _payload(draw: st.DrawFn) -> bytes:
    """JSON in several spellings, sometimes damaged."""
    value: Any = draw(st.one_of(_ENTRY, _ENTRY, st.lists(_ENTRY | st.integers(), max_size=5)))
    separators = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", " :\t")]))
    data = json.dumps(value, ensure_ascii=draw(st.booleans()), separators=separators).encode("utf-8", "surrogatepass")
    match draw(st.integers(0, 9)):
        case 0:  # a byte changed, put in or taken out
            at = draw(st.integers(0, len(data)))
            data = data[:at] + draw(st.binary(max_size=2)) + data[at + draw(st.integers(0, 1)) :]
        case 1:  # a name twice
            name = draw(st.sampled_from([b'"time"', b'"readings"', b'"pm2_5"', b'"humidity"']))
            data = data.replace(name, name + draw(st.sampled_from([b":1,", b" : 1 ,", b':":",'])) + name, 1)
        case 2:  # the same name, spelt another way
            data = data.replace(b'"pm2_5"', b'"\\u0070m2_5":1,"pm2_5"', 1)
        case 3:
            data = data[: draw(st.integers(0, len(data)))]
    return data


def _told(found: Observations) -> Any:
    return found.messages, found.readings.tolist(), found.rejects, found.names


@settings(max_examples=300)
@given(
    st.lists(st.lists(st.tuples(_TOPIC, _payload()), max_size=8), min_size=1, max_size=4),
    st.sampled_from([None, 600_000_000]),
)
def test_both_ways_give_the_same_rows_rejects_and_names(
    batches: list[list[tuple[str, bytes]]], future: int | None
) -> None:
    quick, long = (
        ReadingsDecoder(ranges=RANGES, register=Register(BOUNDS), bounds=BOUNDS, max_future_us=future, quick=way)
        for way in (True, False)
    )
    for batch in batches:
        blocks = [publish(topic, data, first=n, received_at=NOW + n) for n, (topic, data) in enumerate(batch)]
        assert _told(quick.decode(blocks)) == _told(long.decode(blocks))


@given(st.lists(st.tuples(_TOPIC, _payload()), max_size=12), st.data())
def test_cutting_a_batch_changes_nothing(messages: list[tuple[str, bytes]], data: st.DataObject) -> None:
    whole, parts = (ReadingsDecoder(ranges=RANGES, register=Register(BOUNDS), bounds=BOUNDS) for _ in range(2))
    blocks = [publish(topic, payload, first=n) for n, (topic, payload) in enumerate(messages)]
    cut = data.draw(st.integers(0, len(blocks)))
    one, first, second = whole.decode(blocks), parts.decode(blocks[:cut]), parts.decode(blocks[cut:])
    assert one.readings.tolist() == first.readings.tolist() + second.readings.tolist()
    assert one.rejects == first.rejects + second.rejects
    assert set(one.names) == {*first.names, *second.names}


def test_an_ordinary_payload_takes_the_short_way(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = ReadingsDecoder(ranges=RANGES)
    topic = "haidang/v1/g/d/readings"
    decoder.decode([publish(topic, b'{"time":"2026-01-02T03:04:00Z","readings":{"pm2_5":1,"free":2.5}}')])
    monkeypatch.setattr(decoder, "_payload", pytest.fail)
    for time in (b'"2026-01-02T03:04:01Z"', b'"2026-01-02T10:04:02.5+07:00"', b"%d" % (NOW // 1000)):
        found = decoder.decode([publish(topic, b'{ "time": %b, "readings": {"pm2_5": 3, "free": -1e9}}' % time)])
        assert found.readings["value"].tolist() == [3.0, -1e9]
    (reject,) = decoder.decode(
        [publish(topic, b'{"time":"2026-01-02T03:04:05Z","readings":{"pm2_5":-1,"free":0}}')]
    ).rejects
    assert (reject.reason, reject.detail) == ("out_of_range", "pm2_5 -1 is outside 0 to 2000")


AT = b'"2026-01-02T03:04:05Z"'
#: Each differs from an ordinary payload of a known device in one thing alone.
ODD = [
    b'{"time":%b,"readings":{"pm2_5":1,"pm2_5":2,"free":3}}' % AT,
    b'{"time":%b,"time":%b,"readings":{"pm2_5":1,"free":3}}' % (AT, AT),
    # A name twice, and as many colons less in the text of the time as it brings.
    b'{"time":"2026-01-02T03\\u003a04:05Z","readings":{"pm2_5":1,"pm2_5":2,"free":3}}',
    b'{"time":%b,"readings":{"free":1,"odd":3}}' % AT,  # metrics that are known, but not of this device
    b'{"time":%b,"readings":{"pm2_5":true,"free":3}}' % AT,
    b'{"time":%b,"readings":{"pm2_5":null,"free":3}}' % AT,
    b'{"time":%b,"readings":{"pm2_5":"1","free":3}}' % AT,
    b'{"time":%b,"readings":{"pm2_5":[1],"free":3}}' % AT,
    b'{"time":%b,"readings":{"pm2_5":[[[[[[1]]]]]],"free":3}}' % AT,
    b'{"time":%b,"readings":{"pm2_5":1,"free":1e300}}' % AT,
    b'{"time":%b,"readings":{"pm2_5":1,"free":9223372036854775808}}' % AT,
    b'{"time":%b,"readings":{"pm2_5":1,"free":-9223372036854775808}}' % AT,
    *(  # whole numbers below 2^63, of which some are that as a float
        b'{"time":%b,"readings":{"pm2_5":1,"free":%d}}' % (AT, sign * (2**63 - below))
        for sign in (1, -1)
        for below in (1, 511, 512, 513, 1024, 1025)
    ),
    b'{"time":%b,"readings":{"pm2_5":2000.0000000000002,"free":3}}' % AT,
    b'{"time":%b,"readings":{"pm2_5":-1e-300,"free":3}}' % AT,
    b'{"time":%b,"device":"other","readings":{"pm2_5":1,"free":3}}' % AT,
    b'{"time":%b,"gateway":7,"readings":{"pm2_5":1,"free":3}}' % AT,
    b'{"time":%b,"x":[[[[[[[]]]]]]],"readings":{"pm2_5":1,"free":3}}' % AT,
    b'{"time":%b,"readings":["pm2_5","free"]}' % AT,
    b'{"time":%d,"readings":{"pm2_5":1,"free":3}}' % (NOW // 1000 + 600_001),
    b'{"time":"2026-01-02T03:14:05.000001Z","readings":{"pm2_5":1,"free":3}}',
    b'{"time":"1999-12-31T23:59:59Z","readings":{"pm2_5":1,"free":3}}',
    b'{"time":"2026-01-02T03:04:05","readings":{"pm2_5":1,"free":3}}',
    b'{"time":true,"readings":{"pm2_5":1,"free":3}}',
    b'{"time":%d,"readings":{"pm2_5":1,"free":3}}' % (NOW // 1_000_000),
    b'{"time":%b,"readings":{"pm2_5":1,"free":3}}%b' % (AT, b" " * 2_000),
    b'[{"time":%b,"readings":{"pm2_5":1,"free":3}}]' % AT,
    b'{"time":%b,"readings":{}}' % AT,
]


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("future", [None, 600_000_000])
def test_each_thing_that_is_out_of_the_ordinary_goes_the_long_way(odd: bytes, future: int | None) -> None:
    bounds = replace(BOUNDS, metrics=40)
    ordinary = b'{"time":%b,"readings":{"pm2_5":1,"free":3}}' % AT
    quick, long = (
        ReadingsDecoder(ranges=RANGES, register=Register(bounds), bounds=bounds, max_future_us=future, quick=way)
        for way in (True, False)
    )
    other = b'{"time":%b,"readings":{"free":1,"odd":3}}' % AT
    for decoder in (quick, long):
        decoder.decode(
            [publish("haidang/v1/g/d/readings", ordinary), publish("haidang/v1/g/e/readings", other, first=1)]
        )
    blocks = [publish("haidang/v1/g/d/readings", data, first=n) for n, data in enumerate((ordinary, odd, ordinary))]
    assert _told(quick.decode(blocks)) == _told(long.decode(blocks))
    # What either has learnt is the same too: the bounds that are left, for one.
    more = b'{"time":%b,"readings":{"pm2_5":1,"a1":1,"a2":1,"a3":1}}' % AT
    assert _told(quick.decode([publish("haidang/v1/g/d/readings", more)])) == _told(
        long.decode([publish("haidang/v1/g/d/readings", more)])
    )
