"""What the tests of this room share: real logs, and sentences of our own making."""

from __future__ import annotations

from functools import reduce
from operator import xor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from decoders.block import Block

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from decoders.records import Observations

HERE = Path(__file__).resolve().parent.parent / "data" / "ais"
SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "ais"

#: 2026-01-02T03:04:05Z
NOW = 1_767_323_045_000_000


def logs() -> list[Any]:
    """Every log there is: those in the project, and more where the larger data are at hand."""
    names = ["libais/test.aivdm", "libais/typeexamples.nmea", "libais/tagblock.nmea"]
    names += ["pyais/mixed.txt", "pyais/nmea_data_sample.txt", "gpsd/ais-raw-messages.log"]
    out = [pytest.param(HERE / name, id=name) for name in names]
    more = ["gpsd/ais-nmea.log", "gpsd/ais-nmea-type6-fid55.log"]
    more += ["signalk/nais300-merrimac.log", "signalk/nais400-merrimac.log"]
    absent = pytest.mark.skipif(not SHARED.is_dir(), reason="the larger logs are not at hand")
    return out + [pytest.param(SHARED / name, id=name, marks=absent) for name in more]


def checksum(body: bytes) -> int:
    return reduce(xor, body, 0)


def sentence(
    payload: bytes,
    fill: int = 0,
    *,
    total: int = 1,
    number: int = 1,
    sequence: str = "",
    channel: str = "A",
    tag: str = "",
    trailer: str = "",
    talker: str = "AIVDM",
) -> bytes:
    body = f"{talker},{total},{number},{sequence},{channel},".encode() + payload + f",{fill}".encode()
    head = f"\\{tag}*{checksum(tag.encode()):02X}\\".encode() if tag else b""
    return head + b"!" + body + f"*{checksum(body):02X}{trailer}".encode()


def block(
    data: bytes | Iterable[bytes],
    *,
    first: int = 0,
    source: int = 1,
    origin: str = "log",
    received_at: int = NOW,
    line: int = 1,
) -> Block:
    if not isinstance(data, bytes):
        data = b"".join(one + b"\n" for one in data)
    return Block(data, source, origin, received_at, first, per_line=True, line=line)


def publish(topic: str, data: bytes, *, first: int = 0, received_at: int = NOW) -> Block:
    return Block(data, 7, topic, received_at, first)


def everything(found: Sequence[Observations]) -> list[Any]:
    """What observations say in all, apart from which batch and message said it."""
    out: list[Any] = []
    for one in found:
        for rows in (one.positions, one.statics, one.readings, one.receptions):
            names = [name for name in rows.dtype.names or () if name != "message"]
            out += [(rows.dtype.names, *(repr(row[name]) for name in names)) for row in rows]
        out += [("record", r.time, r.transponder, r.digest, r.source, r.kind, repr(r.fields)) for r in one.records]
        out += [("reject", r.reason, r.raw, r.received_at, r.source, r.origin, r.detail) for r in one.rejects]
    return sorted(out, key=repr)
