"""NMEA 0183 sentences (IEC 61162-1) and TAG blocks (NMEA 0183 v4.10): one line in, what it is out.

Only VDM and VDO are taken apart, and Gatehouse's ``$PGHP``, which carries the receive time of the sentence after it.
Every other line is one of: ignored with its kind, or refused with its reason. Nothing here raises.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from decoders.records import Reason
from decoders.refused import Refused

#: Longest line looked at. The standard allows 82 characters of sentence and as many of TAG block; receivers that put
#: a whole message into one sentence, or fields after the checksum, need several times that.
MAX_LINE: Final = 1024

_SECOND: Final = 1_000_000
_MILLISECOND: Final = 1_000
#: From this value on a TAG block time is in milliseconds: as seconds it would lie after the year 5000.
MILLISECONDS_FROM: Final = 100_000_000_000


class Kind(StrEnum):
    """What a line that is nothing of ours, and nothing broken, is."""

    BLANK = "blank"
    COMMENT = "comment"
    SENTENCE = "sentence"  # well formed, but neither VDM nor VDO


@dataclass(slots=True, frozen=True)
class Ignored:
    """A line to pass over."""

    kind: Kind


@dataclass(slots=True, frozen=True)
class Group:
    """TAG block parameter ``g``: line ``number`` of ``total`` that belong together under ``id``."""

    number: int
    total: int
    id: str


@dataclass(slots=True, frozen=True)
class Tag:
    """What a TAG block says of its line; parameters of no use here (``d``, ``n``, ``q``, ``r``, ``t``) are dropped."""

    time: int | None = None  # ``c``, microseconds since the epoch
    station: str = ""  # ``s``
    group: Group | None = None


NO_TAG: Final = Tag()


@dataclass(slots=True)
class Sentence:
    """A VDM or VDO sentence whose checksum is right."""

    talker: str  # AI, AB, BS, SA, ...
    formatter: str  # VDM: heard; VDO: own ship
    total: int  # 1..9 sentences make the message
    number: int  # 1..total, this one
    sequence: str  # sequential message id, "" or a digit
    channel: str
    payload: bytes  # armoured: 6 bits a character
    fill: int  # 0..5 bits of the last character are no data
    checksum: int
    tag: Tag = NO_TAG
    time: int | None = None  # the receiver's epoch, after the checksum
    station: str = ""  # the receiver's name, after the checksum


@dataclass(slots=True, frozen=True)
class ReceiveTime:
    """``$PGHP``: when, says Gatehouse's base station, the sentence after this one was received."""

    time: int
    checksum: int | None  # of the sentence meant


Line = Sentence | ReceiveTime | Ignored | Refused

BLANK: Final = Ignored(Kind.BLANK)
COMMENT: Final = Ignored(Kind.COMMENT)
OTHER: Final = Ignored(Kind.SENTENCE)

_VDM: Final = re.compile(rb"!([A-Z][A-Z0-9])(VD[MO]),([1-9]),([1-9]),([0-9]{0,2}),([A-Za-z0-9]{0,2}),([^,*]*),([0-5])")
_CLAIMS_VDM: Final = re.compile(rb"[!$]?[A-Za-z0-9]{2}VD[MO],", re.IGNORECASE)
#: Address field of any sentence: talker and formatter, or P and a maker's code (IEC 61162-1, 7.3.2).
_ADDRESS: Final = re.compile(rb"[!$][A-Z0-9]{3,}(?:,|\*|$)")
_CHECKSUM: Final = re.compile(rb"\*([0-9A-Fa-f]{2})(?![0-9A-Fa-f])")
_TAG_CHECKSUM: Final = re.compile(rb"[0-9A-Fa-f]{1,2}")  # some writers drop the leading zero
_TAG_TIME: Final = re.compile(r"\d{1,16}(?:\.\d{1,9})?", re.ASCII)
_TAG_GROUP: Final = re.compile(r"g:(\d{1,3})-(\d{1,3})-(\w{1,32})", re.ASCII)
#: The form of NMEA 0183 v4.00's first printings: ``1G2:1234``.
_OLD_GROUP: Final = re.compile(r"(?:[Gg]:)?(\d{1,3})[Gg](\d{1,3}):(\w{1,32})", re.ASCII)
#: Station field of the U.S. Coast Guard's format: b(ase) or r(eceiver) and a name.
_USCG_STATION: Final = re.compile(rb"[br][A-Za-z0-9_]{1,32}")
_USCG_EPOCH: Final = re.compile(rb"[0-9]{9,10}(?:\.[0-9]{1,9})?|[0-9]{12,13}")  # seconds; milliseconds
#: What only a second sentence brings behind a checksum, and a VDM or VDO sentence within another line.
_SECOND_SENTENCE: Final = re.compile(rb"[!$\r]")
_VDM_WITHIN: Final = re.compile(rb"![A-Z][A-Z0-9]VD[MO],")
_PGHP: Final = re.compile(
    rb"\$PGHP,\d+,(\d{4}),(\d{1,2}),(\d{1,2}),(\d{1,2}),(\d{1,2}),(\d{1,2}),(\d{1,3}),"
    rb"[^,*]*,[^,*]*,[^,*]*,[^,*]*,([0-9A-Fa-f]{0,2})"
)


def checksum(data: bytes) -> int:
    """The exclusive or of all bytes (IEC 61162-1, 7.2.4), by folding one long integer in halves."""
    value = int.from_bytes(data)
    shift = 8
    while shift < 8 * len(data):
        shift <<= 1
    while shift > 8:
        shift >>= 1
        value ^= value >> shift
    return value & 0xFF


def parse(line: bytes) -> Line:
    """What a line is. The line's end, and blanks at either side, do not matter."""
    line = line.strip()
    if len(line) > MAX_LINE:
        return Refused(Reason.TOO_LARGE, f"{len(line)} bytes in one line, more than {MAX_LINE}")
    if not line:
        return BLANK
    first = line[0]
    if first == 0x21:  # !
        return _sentence(line, NO_TAG)
    if first == 0x23:  # #
        return COMMENT
    if first == 0x5C:  # backslash
        return _tagged(line)
    return _other(line)


def _tagged(line: bytes) -> Line:
    tag = NO_TAG
    while line[:1] == b"\\":
        end = line.find(b"\\", 1)
        if end < 0:
            return Refused(Reason.BAD_TAG_BLOCK, "no backslash ends the TAG block")
        found = parse_tag(line[1:end])
        if isinstance(found, Refused):
            return found
        if tag is not NO_TAG:
            found = Tag(
                tag.time if found.time is None else found.time, found.station or tag.station, found.group or tag.group
            )
        tag = found
        line = line[end + 1 :].lstrip()
    if not line:
        return OTHER
    return _sentence(line, tag) if line[0] == 0x21 else _other(line)


def parse_tag(block: bytes) -> Tag | Refused:
    """A TAG block without its backslashes: ``s:STATION,c:1418169601*hh``."""
    body, star, given = block.partition(b"*")
    if not star or not _TAG_CHECKSUM.fullmatch(given):
        return Refused(Reason.BAD_TAG_BLOCK, "no checksum in the TAG block")
    actual = checksum(body)
    if int(given, 16) != actual:
        return Refused(Reason.BAD_TAG_BLOCK, f"TAG block checksum is {actual:02X}, not {given.decode()}")
    if not body.isascii():
        return Refused(Reason.BAD_TAG_BLOCK, "TAG block is not ASCII")
    out: dict[str, Any] = {}
    for parameter in body.decode("ascii").split(","):
        code, colon, value = parameter.partition(":")
        read: Group | int | str | None = value
        if code == "g" or _OLD_GROUP.match(parameter):
            out["group"] = read = _tag_group(parameter)
        elif code == "c":
            out["time"] = read = _tag_time(value)
        elif code == "s":
            out["station"] = value
        if read is None or not colon:
            return Refused(Reason.BAD_TAG_BLOCK, f"TAG block parameter {parameter!r}")
    return Tag(**out)


def _tag_group(parameter: str) -> Group | None:
    found = _TAG_GROUP.fullmatch(parameter) or _OLD_GROUP.fullmatch(parameter)
    if found and 1 <= int(found[1]) <= int(found[2]):
        return Group(int(found[1]), int(found[2]), found[3])
    return None


def _tag_time(text: str) -> int | None:
    if not _TAG_TIME.fullmatch(text):
        return None
    whole, _, fraction = text.partition(".")
    unit = _MILLISECOND if int(whole) >= MILLISECONDS_FROM else _SECOND
    part = int((fraction + "000000000")[:9]) * unit // 1_000_000_000
    return int(whole) * unit + part


def _checked(line: bytes) -> tuple[bytes, int, bytes] | Refused:
    """A sentence without its delimiter and checksum, the checksum, and what follows it."""
    found = _CHECKSUM.search(line)
    if not found:
        return Refused(Reason.BAD_CHECKSUM, "no checksum")
    body = line[1 : found.start()]
    actual = checksum(body)
    if int(found[1], 16) != actual:
        return Refused(Reason.BAD_CHECKSUM, f"checksum is {actual:02X}, not {found[1].decode()}")
    return body, actual, line[found.end() :]


def _sentence(line: bytes, tag: Tag) -> Line:
    checked = _checked(line)
    if isinstance(checked, Refused):
        return checked
    body, check, trailer = checked
    if _SECOND_SENTENCE.search(trailer):
        return Refused(Reason.BAD_SENTENCE, "another sentence in the same line")
    found = _VDM.fullmatch(line, 0, len(body) + 1)
    if not found:
        if _ADDRESS.match(line) and not _CLAIMS_VDM.match(line) and body.isascii():
            return OTHER  # another encapsulated sentence, such as ABM or BBM
        return Refused(Reason.BAD_SENTENCE, "not of the form !ttVDM,n,n,n?,c?,payload,fill*hh")
    total, number = int(found[3]), int(found[4])
    if number > total:
        return Refused(Reason.BAD_SENTENCE, f"sentence {number} of {total}")
    out = Sentence(
        found[1].decode(),
        found[2].decode(),
        total,
        number,
        found[5].decode(),
        found[6].decode(),
        found[7],
        int(found[8]),
        check,
        tag,
    )
    if trailer:
        fields = trailer.split(b",")
        if _USCG_EPOCH.fullmatch(fields[-1]):
            out.time = _tag_time(fields[-1].decode())
        out.station = next((f.decode() for f in fields if _USCG_STATION.fullmatch(f)), "")
    return out


def _other(line: bytes) -> Line:
    """A line that starts with neither ``!`` nor ``#`` nor a backslash."""
    if _CLAIMS_VDM.match(line):
        return Refused(Reason.BAD_SENTENCE, "VDM and VDO start with !")
    if not _ADDRESS.match(line):
        return Refused(Reason.BAD_SENTENCE, "not an NMEA sentence")
    if not line.isascii():
        return Refused(Reason.BAD_SENTENCE, "not ASCII")
    if b"!" in line and _VDM_WITHIN.search(line):
        return Refused(Reason.BAD_SENTENCE, "another sentence in the same line")
    if line.startswith(b"$PGHP,"):
        return _receive_time(line)
    return OTHER


def _receive_time(line: bytes) -> Line:
    checked = _checked(line)
    if isinstance(checked, Refused):
        return OTHER
    found = _PGHP.fullmatch(line, 0, len(checked[0]) + 1)
    if not found:
        return OTHER
    year, month, day, hour, minute, second, millisecond = (int(part) for part in found.groups()[:7])
    try:
        time = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return OTHER
    return ReceiveTime(
        int(time.timestamp()) * _SECOND + millisecond * _MILLISECOND, int(found[8], 16) if found[8] else None
    )
