"""Real logs: every line is accounted for, and every field is what pyais and libais read."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pyais
import pytest
from pyais.exceptions import AISBaseException

from decoders.ais_fields import MINIMUM_BITS
from decoders.lines import Output, decode_file
from tests.decoders.support import HERE, logs

if TYPE_CHECKING:
    from pathlib import Path

#: Our name -> pyais's name, where they differ.
RENAMED = {
    "sog": "speed",
    "cog": "course",
    "nav_status": "status",
    "rot": "turn",
    "altitude": "alt",
}
#: Ours alone, or compared by themselves.
OWN = {"kind", "time", "mmsi", "lines", "eta", "data", "text", "dac", "fid", "radio", "name", "name_ext", "msg_type"}
#: pyais's values of "not available", by our name.
SENTINELS: dict[str, set[Any]] = {
    "lon": {181.0},
    "lat": {91.0},
    "sog": {102.3, 1023.0, 63.0},
    "cog": {float(c) for c in range(360, 512)} | {c / 10 for c in range(3600, 4096)},
    "heading": set(range(360, 512)),
    "nav_status": {15},
    "rot": {-128.0},
    "altitude": {4095},
    "imo": {0},
    "draught": {0.0},
    "year": {0},
    "month": {0},
    "day": {0},
    "hour": {24},
    "minute": {60},
    "second": {60},
    **{name: {0} for name in ("to_bow", "to_stern", "to_port", "to_starboard")},
    **{name: {0} for name in ("mmsi1", "mmsi2", "mmsi3", "mmsi4", "dest_mmsi", "dest1", "dest2")},
}
#: pyais gives these in minutes.
MINUTES = {"ne_lon", "ne_lat", "sw_lon", "sw_lat"}
#: Codes that pyais turns into another where it does not know them.
FOLDED = {"ship_type", "station_type", "interval", "epfd"}


def decoded(path: Path) -> list[Output]:
    return list(decode_file([path.read_bytes()], name=path.name, ignored=True))


@pytest.mark.parametrize("path", logs())
def test_every_line_is_accounted_for_once(path: Path) -> None:
    data = path.read_bytes()
    seen: list[int] = []
    for output in decoded(path):
        # A type 19 message gives two objects of the same line.
        if output.accepted and output.fields["kind"] == "static" and output.fields["msg_type"] == 19:
            continue
        seen += output.fields["lines"] if output.accepted else [output.fields["line"]]
    assert sorted(seen) == list(range(1, data.count(b"\n") + (not data.endswith(b"\n")) + 1))


@pytest.mark.parametrize("path", logs())
def test_every_field_is_what_pyais_reads(path: Path) -> None:
    lines = path.read_bytes().split(b"\n")
    compared = 0
    for output in decoded(path):
        if not output.accepted:
            continue
        sentences = [_untagged(lines[n - 1]) for n in output.fields["lines"]]
        theirs = pyais.decode(*(s for s in sentences if s[:1] == b"!"), error_if_checksum_invalid=True)
        _compare(output.fields, theirs)
        compared += 1
    assert compared >= 4


@pytest.mark.parametrize("path", logs())
def test_what_is_refused_pyais_does_not_read_whole_either(path: Path) -> None:
    for output in decoded(path):
        if output.accepted or output.fields["reason"] not in ("bad_payload", "bad_mmsi"):
            continue
        raw = _untagged(output.fields["raw"].encode())
        if re.match(rb"!..VD[MO],[2-9]", raw):
            continue
        try:
            theirs: Any = pyais.decode(raw)
        except AISBaseException:
            continue
        minimum = MINIMUM_BITS[theirs.msg_type]
        if theirs.msg_type in (25, 26):
            minimum += 30 * theirs.addressed + 16 * theirs.structured
        assert not 0 < (theirs.mmsi or 0) < 10**9 or _bits(raw) < minimum


def _bits(line: bytes) -> int:
    fields = line.split(b",")
    return 6 * len(fields[5]) - int(fields[6][:1])


def _untagged(line: bytes) -> bytes:
    line = line.strip()
    return line.rsplit(b"\\", 1)[1] if line.startswith(b"\\") else re.sub(rb"(\*[0-9A-F]{2}).*", rb"\1", line)


def _compare(ours: dict[str, Any], theirs: Any) -> None:
    assert ours["mmsi"] == theirs.mmsi
    assert ours["msg_type"] == theirs.msg_type
    own = OWN | {"lon", "lat"} if theirs.msg_type == 17 else OWN  # pyais reads those in minutes and without a sign
    for name, value in ours.items():
        their_name = RENAMED.get(name, name)
        if name not in own and hasattr(theirs, their_name):
            expected = getattr(theirs, their_name)
            assert _equal(name, value, expected) or (value is None and _cut(theirs)), (name, value, expected)
    for name in {"text", "name_ext"} & set(ours):
        # pyais makes a character of what is left of the last byte
        text = (getattr(theirs, name) or "").partition("@")[0].rstrip()
        assert text.startswith(ours[name] or "")
        assert len(text) - len(ours[name] or "") <= 1
    if ours.get("name") is not None:
        assert ours["name"] == (theirs.name if ours["kind"] == "aton" else theirs.shipname).partition("@")[0].rstrip()
    if ours.get("eta"):
        parts = {"month": 0, "day": 0, "hour": 24, "minute": 60}
        shown = ["--" if getattr(theirs, n) == none else f"{getattr(theirs, n):02d}" for n, none in parts.items()]
        assert ours["eta"] == f"{shown[0]}-{shown[1]}T{shown[2]}:{shown[3]}Z"
    if ours.get("data") and hasattr(theirs, "data") and ours["msg_type"] not in (25, 26):
        assert ours["data"] == theirs.data.hex()


def _equal(name: str, value: Any, expected: Any) -> bool:
    """Whether our value of a field is pyais's, "not available" and what it is known to lose aside."""
    if isinstance(expected, str):
        return bool(value == (expected.partition("@")[0].rstrip() or None))
    if value is None:
        return expected is None or expected in SENTINELS.get(name, ())
    if name in FOLDED:
        return bool(value == int(expected) or value not in type(expected)._value2member_map_)
    return bool(abs(value - (round(expected / 60, 6) if name in MINUTES else float(expected))) < 1e-9)


def _cut(theirs: Any) -> bool:
    """Whether the message ends within a field, of which pyais then gives the bits there are."""
    return theirs.msg_type in (15, 16, 20, 7, 13)


#: libais's name -> ours.
LIBAIS = {
    "course": "cog",
    "speed": "sog",
    "status": "nav_status",
    "turn": "rot",
    "shipname": "name",
    "shiptype": "ship_type",
    "stationtype": "station_type",
    "alt": "altitude",
}


def test_examples_of_each_type_are_what_libais_reads() -> None:
    theirs = [json.loads(line) for line in (HERE / "libais/typeexamples.json").read_text().splitlines() if line]
    found = decoded(HERE / "libais/typeexamples.nmea")
    compared = set()
    for line, expected in enumerate(theirs, start=1):
        (ours,) = (o for o in found if (line in o.fields["lines"] if o.accepted else line == o.fields["line"]))
        if not ours.accepted:
            assert ours.fields["reason"] in ("bad_mmsi", "bad_position")
            assert expected["mmsi"] >= 10**9 or abs(expected["lat"]) > 90 or abs(expected["lon"]) > 180
            continue
        for their_name, value in expected.items():
            name = LIBAIS.get(their_name, their_name)
            if name not in ours.fields:
                continue
            if (expected["type"], name) == (6, "retransmit"):
                continue  # libais turns the flag round in type 6, and only there
            compared.add((expected["type"], name))
            if name == "imo":
                value = int(value)  # noqa: PLW2901  # theirs is text
            if ours.fields[name] is None:
                assert value in {None, 511, 181.0, 91.0, 0}, name
            elif name == "name" and expected["type"] == 21:
                # libais's table of characters has "-" and "`" where the standard has "_" and "'".
                assert ours.fields[name] == value.replace("-", "_").replace("`", "'")
            else:
                assert ours.fields[name] == (pytest.approx(value, abs=5e-6) if isinstance(value, float) else value)
    assert {kind for kind, _ in compared} == set(range(1, 28)) - {2, 9, 15, 17, 19, 26, 27}
    assert len(compared) > 80
